/**
 * MLflow's static files, answered from the door's own image, where they lie compressed (`infra/images/door/ui.mjs`).
 * What is not there is MLflow's to answer, as everything is on a door that has no such folder.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { z } from "zod";
import type { Allowed, Answerer } from "../answerer.ts";
import type { Identity } from "../authority.ts";
import { codingFor } from "../encoding.ts";
import type { Transfers } from "../forward/transfers.ts";
import { safetyOf } from "../safety.ts";

const listing = z.record(
	z.string(),
	z.object({ hash: z.string(), codings: z.array(z.enum(["br", "gzip"])) }),
);

const RULE = "/static-files/<path:path>";

/** As MLflow says it. */
const TYPES: Readonly<Record<string, string>> = {
	css: "text/css; charset=utf-8",
	eot: "application/vnd.ms-fontobject",
	ico: "image/vnd.microsoft.icon",
	js: "text/javascript; charset=utf-8",
	json: "application/json",
	png: "image/png",
	svg: "image/svg+xml; charset=utf-8",
	ttf: "font/ttf",
	txt: "text/plain; charset=utf-8",
	woff: "font/woff",
	woff2: "font/woff2",
};

/** Bytes. */
const PIECE = 64 * 1024;

/** RFC 9110 section 13.1.2: weakly compared, and what is in another coding is still the same. */
const isKnown = (header: string | undefined, tags: readonly string[]): boolean =>
	header?.split(",").some((tag) => tag.trim() === "*" || tags.includes(tag.trim().replace(/^W\//, ""))) ===
	true;

/**
 * @param folder what `ui.mjs` made
 * @throws if there is no such folder, or its list cannot be read
 */
export function uiAnswerer(folder: string, transfers: Pick<Transfers, "watch">): Answerer {
	const files = new Map(
		Object.entries(listing.parse(JSON.parse(readFileSync(join(folder, "files.json"), "utf8")))),
	);
	/** What has been asked for once is kept: all of it is a few MB. */
	const kept = new Map<string, Promise<Buffer>>();
	const bytesOf = (name: string): Promise<Buffer> => {
		let bytes = kept.get(name);
		if (bytes === undefined) {
			bytes = readFile(join(folder, name));
			kept.set(name, bytes);
		}
		return bytes;
	};

	async function serve({ req, res, route, target, identity }: Allowed): Promise<boolean> {
		const name = target.path.slice(target.prefix?.length ?? 0);
		const file = files.get(name);
		const type = TYPES[name.slice(name.lastIndexOf(".") + 1)];
		if (file === undefined || type === undefined) return false;
		const wanted = codingFor(req.headers["accept-encoding"]);
		const coding = wanted === undefined || file.codings.includes(wanted) ? wanted : undefined;
		const tagOf = (suffix: string) => `"${file.hash}${suffix}"`;
		const safety = safetyOf(route, target.path);
		const headers = [
			...safety.headers,
			...["Cache-Control", safety.cache ?? "no-cache"],
			...["ETag", tagOf(coding === undefined ? "" : `-${coding}`)],
			...["Vary", "Accept-Encoding"],
		];
		if (isKnown(req.headers["if-none-match"], [tagOf(""), tagOf("-br"), tagOf("-gzip")])) {
			res.writeHead(304, headers);
			res.end();
			return true;
		}
		const bytes = await bytesOf(coding === undefined ? name : `${name}.${coding}`);
		if (res.closed || res.destroyed) return true;
		if (coding !== undefined) headers.push("Content-Encoding", coding);
		headers.push("Content-Type", type, "Content-Length", String(bytes.length));
		res.writeHead(200, headers);
		if (req.method === "HEAD") res.end();
		else send(res, bytes, identity);
		return true;
	}

	/** A piece at a time: a client that takes none is ended like any other, one on a slow line is not. */
	function send(res: ServerResponse, bytes: Buffer, identity: Identity): void {
		let at = 0;
		let waitingSince = performance.now();
		const more = () => {
			waitingSince = performance.now();
			while (at < bytes.length) {
				const piece = bytes.subarray(at, at + PIECE);
				at += piece.length;
				if (!res.write(piece)) return;
			}
			res.end();
		};
		const watched = {
			identity,
			get waitingSince() {
				return waitingSince;
			},
			end: () => void res.destroy(),
		};
		transfers.watch(res, watched);
		res.on("drain", more);
		more();
	}

	return (allowed) => {
		const { method, rule } = allowed.route;
		return rule === RULE && (method === "GET" || method === "HEAD") && serve(allowed);
	};
}
