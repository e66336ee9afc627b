/**
 * Downloads: the store's answer goes to the client as it comes, with back-pressure. A store that is lost in the
 * middle is asked again for the rest, and the client notices nothing but a pause.
 */
import type { ServerResponse } from "node:http";
import type { Dispatcher } from "undici";
import { ARTIFACT, SAFE_HEADERS } from "../safety.ts";
import { contentRange, evaluate, isConditional, rangeOf, rangeStands } from "./conditions.ts";
import { ArtifactError, answer } from "./errors.ts";
import type { Exchange, Shared } from "./exchange.ts";
import { mimeType } from "./mime.ts";
import { attachment, baseName } from "./names.ts";
import { Patience, patiently, StoreUnavailable } from "./patience.ts";
import { type ObjectInfo, passes, StoreError } from "./store.ts";

/** So much may wait for a slow client before the store is made to wait, in bytes. */
const AHEAD = 1024 * 1024;
/** An error of the store is a few lines of XML. */
const ERROR_SIZE = 64 * 1024;
/** An object that is replaced again and again, just when it is asked for. */
const REPLACED = 3;

/**
 * Cuts a client that does not read what waits for it, for `idle` ms or up to twice as long.
 * @returns ends the watch; the end of the answer does so too
 */
function watch(res: ServerResponse, idle: number): () => void {
	let waiting = res.writableLength;
	const timer = setInterval(() => {
		if (res.writableLength >= waiting) res.destroy();
		waiting = res.writableLength;
	}, idle);
	const stop = () => {
		clearInterval(timer);
		res.off("close", stop);
	};
	res.once("close", stop);
	return stop;
}

/** The bytes of an object that an answer consists of. */
interface Span extends ObjectInfo {
	first: number;
	last: number;
}

type Outcome =
	| { is: "whole" }
	/** The store's word instead of the object. */
	| { is: "error"; error: StoreError }
	| { is: "lost"; error: Error };

/** The object's own headers and those that keep a browser from running it on our origin. */
const describe = (key: string, { etag, lastModified }: ObjectInfo): string[] => [
	...ARTIFACT.headers,
	"Content-Type",
	mimeType(key),
	"Content-Disposition",
	attachment(baseName(key)),
	"Cache-Control",
	ARTIFACT.cache,
	"Accept-Ranges",
	"bytes",
	"ETag",
	etag,
	"Last-Modified",
	lastModified,
];

class Download {
	readonly #x: Exchange;
	readonly #shared: Shared;
	readonly #key: string;
	/** Set once the answer has begun. */
	#span: Span | undefined;
	#sent = 0;

	constructor(x: Exchange, shared: Shared, key: string) {
		this.#x = x;
		this.#shared = shared;
		this.#key = key;
	}

	async run(): Promise<void> {
		const { req } = this.#x;
		for (let tries = 0; tries < REPLACED; tries++) {
			const known = req.method === "HEAD" || isConditional(req.headers) ? await this.#head() : undefined;
			if (known !== undefined && this.#answered(known)) return;
			const range = known === undefined || rangeStands(req.headers, known) ? rangeOf(req.headers) : undefined;
			const outcome = await this.#stream(known, range);
			if (outcome.is === "whole") return;
			if (outcome.error.status === 416) return await this.#outOfRange();
			if (outcome.error.status === 404) throw await this.#missing();
			if (outcome.error.status !== 412) throw outcome.error;
		}
		throw new ArtifactError("ARTIFACT_CHANGING");
	}

	async #head(): Promise<ObjectInfo> {
		const { store, limits } = this.#shared;
		const { signal } = this.#x;
		const info = await patiently(signal, limits.hold, () => store.head(this.#key, signal));
		if (info === undefined) throw await this.#missing();
		return info;
	}

	/** Whether the headers alone are the whole answer. */
	#answered(info: ObjectInfo): boolean {
		const { req, res, signal } = this.#x;
		signal.throwIfAborted();
		const status = evaluate(req.headers, info);
		if (status === 412) throw new ArtifactError("ARTIFACT_PRECONDITION");
		if (status === 200 && req.method !== "HEAD") return false;
		const headers = describe(this.#key, info);
		if (status === 200) headers.push("Content-Length", String(info.size));
		res.writeHead(status, headers);
		res.end();
		return true;
	}

	async #missing(): Promise<ArtifactError> {
		const { store, limits } = this.#shared;
		const { signal } = this.#x;
		const under = await patiently(signal, limits.hold, () =>
			store.page(`${this.#key}/`, true, undefined, signal, 1),
		);
		const directory = under.files.length + under.folders.length > 0;
		const detail = baseName(this.#key);
		return new ArtifactError(directory ? "ARTIFACT_DIRECTORY" : "ARTIFACT_MISSING", { detail });
	}

	async #outOfRange(): Promise<void> {
		const info = await this.#head();
		const range = ["Content-Range", `bytes */${info.size}`];
		if (info.size > 0) throw new ArtifactError("ARTIFACT_RANGE", { headers: range });
		// Nothing has no bytes, and all of it is the answer: so say MLflow and most other servers.
		answer(this.#x.req, this.#x.res, 200, describe(this.#key, info).slice(SAFE_HEADERS.length), "");
	}

	/** Streams until the answer is whole, or the store has refused before it began. */
	async #stream(
		known: ObjectInfo | undefined,
		range: string | undefined,
	): Promise<Exclude<Outcome, { is: "lost" }>> {
		const { signal, res } = this.#x;
		const { log, limits } = this.#shared;
		const patience = new Patience(limits.hold);
		for (;;) {
			signal.throwIfAborted();
			const before = this.#sent;
			const outcome = await this.#attempt(
				this.#span === undefined
					? { ...(range && { Range: range }), ...(known && { "If-Match": known.etag }) }
					: this.#rest(this.#span),
			);
			// The last byte may have come before the connection broke.
			if (outcome.is === "whole" || this.#left === 0) {
				res.end();
				watch(res, limits.idle);
				return { is: "whole" };
			}
			if (outcome.is === "error" && this.#span === undefined) return outcome;
			// From here on the answer has begun: what is not whole can only be cut.
			if (this.#sent > before) patience.moved();
			try {
				await patience.wait(outcome.error, signal);
			} catch (error) {
				if (this.#span === undefined || signal.aborted) throw error;
				log.warn({ err: outcome.error, sent: this.#sent }, "a download could not be resumed and was cut");
				res.destroy();
				throw error;
			}
			if (this.#span !== undefined) log.info({ sent: this.#sent }, "a download is being resumed");
		}
	}

	get #left(): number {
		return this.#span === undefined ? Number.NaN : this.#span.last - this.#span.first + 1 - this.#sent;
	}

	/** Asks for what has not been sent yet, of this very object. */
	#rest({ first, last, etag }: Span): Record<string, string> {
		return { Range: `bytes=${first + this.#sent}-${last}`, "If-Match": etag };
	}

	async #attempt(headers: Record<string, string>): Promise<Outcome> {
		const { signal } = this.#x;
		const { promise, resolve } = Promise.withResolvers<Outcome>();
		const handler = new Attempt(this.#x, this.#shared.limits.idle, {
			begun: (status, answer) => this.#begin(status, answer),
			sent: (bytes) => {
				this.#sent += bytes;
				this.#shared.moved("down", bytes);
			},
			ended: resolve,
		});
		const abort = () => handler.abort(signal.reason as Error);
		signal.addEventListener("abort", abort, { once: true });
		this.#shared.store.stream(this.#key, headers, handler);
		const outcome = await promise;
		signal.removeEventListener("abort", abort);
		return outcome;
	}

	/** @returns whether the store sends what was asked for */
	#begin(status: number, headers: Record<string, string | string[] | undefined>): boolean {
		const one = (name: string) => String(headers[name] ?? "");
		const length = Number(one("content-length"));
		const range = contentRange(one("content-range"));
		if (this.#span !== undefined) {
			return (
				status === 206 && range?.first === this.#span.first + this.#sent && range.last === this.#span.last
			);
		}
		const info: ObjectInfo = {
			size: range?.size ?? length,
			etag: one("etag"),
			lastModified: one("last-modified"),
		};
		this.#span = { ...info, first: range?.first ?? 0, last: range?.last ?? length - 1 };
		const all = describe(this.#key, info);
		if (range !== undefined) all.push("Content-Range", one("content-range"));
		all.push("Content-Length", String(length));
		// MinIO answers a range of an empty object with 206 and a range that is none.
		this.#x.res.writeHead(range === undefined ? 200 : 206, all);
		return true;
	}
}

interface Listener {
	begun(status: number, headers: Record<string, string | string[] | undefined>): boolean;
	sent(bytes: number): void;
	ended(outcome: Outcome): void;
}

/** One request to the store on behalf of a download. */
class Attempt implements Dispatcher.DispatchHandler {
	readonly #x: Exchange;
	readonly #idle: number;
	readonly #listener: Listener;
	#controller: Dispatcher.DispatchController | undefined;
	#status = 0;
	#error: Buffer | undefined;
	#aborted: Error | undefined;

	constructor(x: Exchange, idle: number, listener: Listener) {
		this.#x = x;
		this.#idle = idle;
		this.#listener = listener;
	}

	abort(reason: Error): void {
		this.#aborted = reason;
		this.#controller?.abort(reason);
		this.#listener.ended({ is: "lost", error: reason });
	}

	onRequestStart(controller: Dispatcher.DispatchController): void {
		this.#controller = controller;
		if (this.#aborted !== undefined) controller.abort(this.#aborted);
	}

	onResponseStart(
		controller: Dispatcher.DispatchController,
		status: number,
		headers: Record<string, string | string[] | undefined>,
	): void {
		if (status < 200) return;
		this.#status = status;
		if (status !== 200 && status !== 206) this.#error = Buffer.alloc(0);
		else if (!this.#listener.begun(status, headers)) controller.abort(new Error("not the bytes asked for"));
	}

	onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
		if (this.#error !== undefined) {
			this.#error = Buffer.concat([this.#error, chunk]);
			if (this.#error.length > ERROR_SIZE) controller.abort(new Error("an endless error"));
			return;
		}
		const { res } = this.#x;
		this.#listener.sent(chunk.length);
		if (res.write(chunk) || res.writableLength < AHEAD) return;
		controller.pause();
		const stop = watch(res, this.#idle);
		res.once("drain", () => {
			stop();
			controller.resume();
		});
	}

	onResponseEnd(): void {
		this.#listener.ended(this.#error === undefined ? { is: "whole" } : this.#refusal(this.#error.toString()));
	}

	#refusal(body: string): Outcome {
		const error = new StoreError(this.#status, body);
		return passes(this.#status)
			? { is: "lost", error: new StoreUnavailable("the store asks to be asked later", { cause: error }) }
			: { is: "error", error };
	}

	onResponseError(_: unknown, cause: Error): void {
		this.#listener.ended({ is: "lost", error: new StoreUnavailable("the store was lost", { cause }) });
	}
}

/**
 * Answers GET and HEAD for one object.
 * @throws {ArtifactError} before the answer has begun
 */
export const download = (x: Exchange, shared: Shared, key: string): Promise<void> =>
	new Download(x, shared, key).run();
