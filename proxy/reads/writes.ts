/**
 * Writes that the door has seen. Whoever reads what somebody else asked for may be given it only if no write lies
 * between the two questions.
 */
import type { ServerResponse } from "node:http";
import { onceClosed } from "../closed.ts";

/**
 * A write whose end nobody saw may still be going on in MLflow, for as long as a request there may take
 * (gunicorn's timeout). Milliseconds.
 */
const UNSEEN = 600_000;

/** The door's own answers to a write that it had sent on and lost sight of. MLflow never says 401 or 408. */
const isUnsure = (status: number): boolean => status === 401 || status === 408 || status >= 500;

export class Writes {
	readonly #unseen: number;
	#running = 0;
	#epoch = 0;
	/** Of `performance.now()`. */
	#loudUntil = 0;

	/** @param unseen milliseconds, for tests */
	constructor(unseen: number = UNSEEN) {
		this.#unseen = unseen;
	}

	/** A write has come and has not been sent on yet. It ends with its answer. */
	begin(res: ServerResponse): void {
		this.#running++;
		this.#epoch++;
		onceClosed(res, () => {
			this.#running--;
			this.#epoch++;
			if (!res.writableFinished || isUnsure(res.statusCode))
				this.#loudUntil = performance.now() + this.#unseen;
		});
	}

	/** Names a stretch of time without a write in it; undefined while there is one, or may be. */
	get quiet(): number | undefined {
		return this.#running === 0 && performance.now() >= this.#loudUntil ? this.#epoch : undefined;
	}
}
