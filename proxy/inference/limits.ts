/** How much of the door the inference API and its clients may hold at once. */

export interface Most {
	/** Of all credentials together. */
	all: number;
	/** Of one credential. */
	each: number;
}

export const MOST = {
	requests: { all: 512, each: 128 },
	/** Each holds two sockets for as long as its client likes. */
	tunnels: { all: 128, each: 16 },
} as const satisfies Record<string, Most>;

/** Counts what is held, by credential. */
export class Places {
	readonly #most: Most;
	readonly #held = new Map<string, number>();
	#all = 0;

	constructor(most: Most) {
		this.#most = most;
	}

	get taken(): number {
		return this.#all;
	}

	/** @returns how to give the place back, once; undefined if there is none */
	take(credential: string): (() => void) | undefined {
		const held = this.#held.get(credential) ?? 0;
		if (this.#all >= this.#most.all || held >= this.#most.each) return undefined;
		this.#all++;
		this.#held.set(credential, held + 1);
		return () => {
			this.#all--;
			const left = (this.#held.get(credential) ?? 1) - 1;
			if (left === 0) this.#held.delete(credential);
			else this.#held.set(credential, left);
		};
	}
}
