/** An answer of the inference API on its way to the client: headers by allow-list, the body as it comes. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { headersFromApi } from "./headers.ts";

export interface ReplyEnd {
	/** Nothing has gone out: the answer cannot be passed on. */
	unfit(): void;
	/** The whole answer has been handed to the client's connection. */
	whole(): void;
	/** It broke off in the middle. */
	cut(error: Error): void;
}

export class Reply {
	readonly #answer: IncomingMessage;
	readonly #res: ServerResponse;
	#waitingSince: number | undefined;

	/** Since when it waits for the client to read, in ms of `performance.now()`. */
	get waitingSince(): number | undefined {
		return this.#waitingSince;
	}

	/** A stream of events has no end of its own. */
	readonly endless: boolean;

	/** @param asked the path that the API was asked for */
	constructor(answer: IncomingMessage, res: ServerResponse, asked: string, host: string, end: ReplyEnd) {
		this.#answer = answer;
		this.#res = res;
		this.endless = answer.headers["content-type"]?.startsWith("text/event-stream") === true;
		answer.on("error", (error) => end.cut(error));
		const status = answer.statusCode ?? 0;
		const headers =
			status >= 200 && status <= 599 ? headersFromApi(status, answer.headers, asked, host) : undefined;
		try {
			if (headers === undefined) throw new Error("not to be passed on");
			res.writeHead(status, headers);
		} catch {
			answer.destroy();
			end.unfit();
			return;
		}
		// Whoever waits for events wants to know that they were accepted before there is one.
		if (answer.headers["content-length"] === undefined) res.flushHeaders();
		answer
			.on("data", (chunk: Buffer) => this.#write(chunk))
			.once("end", () => {
				res.end();
				end.whole();
			});
	}

	#write(chunk: Buffer): void {
		if (this.#res.write(chunk)) return;
		this.#answer.pause();
		this.#waitingSince = performance.now();
		this.#res.once("drain", () => {
			this.#waitingSince = undefined;
			this.#answer.resume();
		});
	}
}
