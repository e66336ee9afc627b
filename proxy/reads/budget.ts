/** How much may be kept at one time, all together. */
export class Budget {
	#free: number;

	/** @param total bytes */
	constructor(total: number) {
		this.#free = total;
	}

	/** @returns whether there is so much; if so it is taken */
	take(bytes: number): boolean {
		if (bytes > this.#free) return false;
		this.#free -= bytes;
		return true;
	}

	give(bytes: number): void {
		this.#free += bytes;
	}
}
