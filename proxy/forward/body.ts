/** Bodies on their way to MLflow. */
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { linger } from "../answer.ts";

/**
 * Up to this size a body whose length is announced is taken in whole before an upstream connection is: a
 * client that dribbles holds nothing but its own. In bytes.
 */
export const SMALL = 64 * 1024;

/**
 * What is no artifact is a message that MLflow takes into memory whole before it looks at it. Its own largest
 * limit is 10 MiB (a file that one of its pages uploads). In bytes.
 */
export const LARGEST = 16 * 1024 * 1024;

/**
 * Streams a request's body with back-pressure. The upstream side may drop it at any time (an answer before the
 * end of the upload, a lost connection): the client's connection survives that and its rest is drained. Only a
 * client that leaves makes it fail.
 */
export class UploadBody extends Readable {
	readonly #req: IncomingMessage;
	#started: (() => void) | undefined;
	/** Since when it waits for the client, in ms of `performance.now()`; undefined while it does not. */
	waitingSince: number | undefined;

	/** @param started called once, when the first of the body (or its end) has arrived */
	constructor(req: IncomingMessage, started: () => void) {
		super({ highWaterMark: SMALL });
		this.#req = req;
		this.#started = started;
		// Without a listener a failed stream ends the process, and undici listens only once it has a connection.
		this.on("error", () => {});
		req.on("data", this.#onData).once("end", this.#onEnd).once("close", this.#onClose);
		this.waitingSince = performance.now();
	}

	#start(): void {
		this.#started?.();
		this.#started = undefined;
	}

	readonly #onData = (chunk: Buffer): void => {
		if (this.push(chunk)) {
			this.waitingSince = performance.now();
		} else {
			this.waitingSince = undefined;
			this.#req.pause();
		}
		this.#start();
	};

	readonly #onEnd = (): void => {
		this.waitingSince = undefined;
		this.push(null);
		this.#start();
	};

	readonly #onClose = (): void => {
		if (!this.#req.complete) this.destroy(new Error("the client left before its upload was whole"));
	};

	override _read(): void {
		if (this.#req.readableEnded) return;
		// It may have arrived whole while it was paused: what is left of it, or its end alone, still comes.
		if (!this.#req.complete) this.waitingSince ??= performance.now();
		this.#req.resume();
	}

	override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
		this.waitingSince = undefined;
		this.#started = undefined;
		this.#req.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onClose);
		linger(this.#req);
		done(error);
	}
}
