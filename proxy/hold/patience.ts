/** How long one request may be held, whatever it is held for and however often. */
export class Patience {
	readonly #leave = new AbortController();
	/** Milliseconds. */
	left: number;

	/** @param limit milliseconds */
	constructor(limit: number) {
		this.left = limit;
	}

	/** Aborted once nobody waits for an answer any more. */
	get signal(): AbortSignal {
		return this.#leave.signal;
	}

	get gone(): boolean {
		return this.#leave.signal.aborted;
	}

	/** Its client has left: nothing is done for it any more. */
	leave(): void {
		this.#leave.abort();
	}
}
