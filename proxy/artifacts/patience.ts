/** Waiting for the store while it restarts. */
import { setTimeout as sleep } from "node:timers/promises";

/**
 * How long a request waits for a store that does not answer, in milliseconds. MLflow's clients give up a request
 * after 120 s, and ask again after a 503.
 */
export const HOLD = 90_000;

/** The store did not answer, or asks to be asked later. */
export class StoreUnavailable extends Error {
	override readonly name = "StoreUnavailable";
}

/** One wait for the store: pauses that grow, up to a limit that `moved` starts again. */
export class Patience {
	readonly #hold: number;
	#until: number | undefined;
	#pause = 50;

	/** @param hold milliseconds */
	constructor(hold: number = HOLD) {
		this.#hold = hold;
	}

	/** The store has done something useful: whatever comes next is a new wait. */
	moved(): void {
		this.#until = undefined;
		this.#pause = 50;
	}

	/**
	 * Waits before the next attempt.
	 * @throws the error it was given, once the limit is reached or if waiting cannot help
	 */
	async wait(error: unknown, signal: AbortSignal): Promise<void> {
		signal.throwIfAborted();
		const now = performance.now();
		this.#until ??= now + this.#hold;
		if (!(error instanceof StoreUnavailable) || now + this.#pause > this.#until) throw error;
		await sleep(this.#pause, undefined, { signal });
		this.#pause = Math.min(this.#pause * 2, 1000);
	}
}

/** Asks the store again until it answers; for questions that may be asked twice. */
export async function patiently<T>(signal: AbortSignal, hold: number, ask: () => Promise<T>): Promise<T> {
	const patience = new Patience(hold);
	for (;;) {
		try {
			return await ask();
		} catch (error) {
			await patience.wait(error, signal);
		}
	}
}
