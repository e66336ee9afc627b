/**
 * `MLmodel` files on their way to MLflow's pages, which parse them with js-yaml's full schema: `!!js/function` in
 * one makes a function of its author's in the reader's session (AFINE's stored XSS, mlflow#21435). No model that
 * MLflow writes has such a tag. Downloads by MLflow's client go another way and are not touched.
 */
import type { Dispatcher } from "undici";
import { refuse } from "../answer.ts";
import type { Allowed, Answerer } from "../answerer.ts";
import type { DoorErrorCode } from "../errors.ts";
import { safetyOf } from "../safety.ts";
import { headersFromUpstream, headersToUpstream } from "./headers.ts";
import { refusalOf } from "./transfer.ts";

/** Bytes. MLmodel files have a few thousand; the pages read no file beyond 50 MB. */
export const LARGEST = 4 * 1024 * 1024;

const PAGES_ROUTES: ReadonlySet<string> = new Set(["/get-artifact", "/model-versions/get-artifact"]);

/** js-yaml 3 takes a tag as it stands, in full, or by a handle that the file declares. Nothing in it is decoded. */
const CODE_TAG = /!!js\/|!<|^\s*%TAG/m;

/** Whether js-yaml might make code of a file. What is not UTF-8 a browser may read as something else. */
export function isCode(file: Buffer): boolean {
	try {
		return CODE_TAG.test(new TextDecoder("utf-8", { fatal: true }).decode(file));
	} catch {
		return true;
	}
}

/** @param query canonical */
const asksForModelFile = (rule: string, query: string): boolean =>
	PAGES_ROUTES.has(rule) &&
	new URLSearchParams(query).getAll("path").some((path) => /(?:^|\/)MLmodel$/.test(path));

/** Whole or not at all: a part of a file cannot be judged. */
const PARTS = new Set([
	"range",
	"if-range",
	"if-match",
	"if-none-match",
	"if-modified-since",
	"if-unmodified-since",
]);

export const modelFiles =
	(upstream: Dispatcher): Answerer =>
	(allowed) =>
		allowed.route.method === "GET" &&
		asksForModelFile(allowed.route.rule, allowed.target.query) &&
		serve(upstream, allowed);

async function serve(
	upstream: Dispatcher,
	{ req, res, target, route, refused, failed }: Allowed,
): Promise<true> {
	const leave = new AbortController();
	const left = (): void => leave.abort();
	res.once("close", left);
	const end = (code: DoorErrorCode): true => {
		refused(code);
		refuse(req, res, code);
		return true;
	};
	try {
		const sent = headersToUpstream(req.headers);
		const answer = await upstream.request({
			path: target.forward,
			method: "GET",
			headers: sent.filter((_, i) => !PARTS.has(sent[i - (i % 2)] ?? "")),
			signal: leave.signal,
			responseHeaders: "raw",
		});
		const chunks: Buffer[] = [];
		let size = 0;
		for await (const chunk of answer.body as AsyncIterable<Buffer>) {
			size += chunk.length;
			if (size > LARGEST) return end("MODEL_FILE_CODE");
			chunks.push(chunk);
		}
		const file = Buffer.concat(chunks);
		if (answer.statusCode === 200 && isCode(file)) return end("MODEL_FILE_CODE");
		const raw = answer.headers as unknown as string[];
		res.writeHead(
			answer.statusCode,
			headersFromUpstream(raw, answer.statusCode, safetyOf(route, target.path)),
		);
		res.end(file);
		return true;
	} catch (error) {
		if (leave.signal.aborted) return true;
		failed(error as Error);
		return end(refusalOf(error as Error));
	} finally {
		res.off("close", left);
	}
}
