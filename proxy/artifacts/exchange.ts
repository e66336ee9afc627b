/** One request for artifacts: its two ends, and the moment from which nobody waits for an answer any more. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Log } from "../log.ts";
import type { Memory } from "./memory.ts";
import type { Store } from "./store.ts";
import type { Unfinished } from "./unfinished.ts";

/** Milliseconds. */
export interface Limits {
	/** How long a request waits for a store that does not answer. */
	hold: number;
	/** How long a client may neither send what it announced nor read what it asked for. */
	idle: number;
}

/** What all requests share. */
export interface Shared {
	readonly store: Store;
	readonly unfinished: Unfinished;
	readonly memory: Memory;
	readonly limits: Limits;
	readonly log: Log;
	/** Told of bytes that go to a client or come from one. */
	readonly moved: (way: "down" | "up", bytes: number) => void;
}

const GONE = new Error("nobody waits for this artifact any more");

export class Exchange {
	readonly req: IncomingMessage;
	readonly res: ServerResponse;
	readonly #controller = new AbortController();

	/** @param ended the door has decided that this request ends; it answers the client itself */
	constructor(req: IncomingMessage, res: ServerResponse, ended: AbortSignal) {
		this.req = req;
		this.res = res;
		const abort = () => this.#controller.abort(GONE);
		if (ended.aborted || res.closed || res.destroyed) abort();
		ended.addEventListener("abort", abort, { once: true });
		res.once("close", () => {
			ended.removeEventListener("abort", abort);
			abort();
		});
	}

	/** Aborted once the client has left or the door has ended the request, and after the answer's end. */
	get signal(): AbortSignal {
		return this.#controller.signal;
	}
}
