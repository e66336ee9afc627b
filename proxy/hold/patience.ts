/** How long one request may be held, whatever it is held for and however often. */
export class Patience {
	/** Made for the few that are held. */
	#leave: AbortController | undefined;
	#gone = false;
	/** Milliseconds. */
	left: number;

	/** @param limit milliseconds */
	constructor(limit: number) {
		this.left = limit;
	}

	/** Aborted once nobody waits for an answer any more. */
	get signal(): AbortSignal {
		this.#leave ??= new AbortController();
		if (this.#gone) this.#leave.abort();
		return this.#leave.signal;
	}

	get gone(): boolean {
		return this.#gone;
	}

	/** Its client has left: nothing is done for it any more. */
	leave(): void {
		this.#gone = true;
		this.#leave?.abort();
	}
}
