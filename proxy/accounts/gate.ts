import { AccountsError } from "./errors.ts";

/** Lets so many run at once and so many wait; more are refused. */
export class Gate {
	readonly #atOnce: number;
	readonly #mostWaiting: number;
	readonly #waiting: (() => void)[] = [];
	#running = 0;

	constructor(atOnce: number, mostWaiting: number) {
		this.#atOnce = atOnce;
		this.#mostWaiting = mostWaiting;
	}

	/** True when a newcomer would be refused. */
	get full(): boolean {
		return this.#running >= this.#atOnce && this.#waiting.length >= this.#mostWaiting;
	}

	/** @throws AccountsError BUSY */
	async run<T>(work: () => Promise<T>): Promise<T> {
		if (this.full) throw new AccountsError("BUSY");
		if (this.#running < this.#atOnce) this.#running++;
		// Whoever leaves hands the place over, so `running` stays as it is.
		else await new Promise<void>((enter) => this.#waiting.push(enter));
		try {
			return await work();
		} finally {
			const next = this.#waiting.shift();
			if (next) next();
			else this.#running--;
		}
	}
}
