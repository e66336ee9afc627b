/** The memory that bodies on their way to the store may take, all together. */
import { setTimeout as sleep } from "node:timers/promises";
import { StoreUnavailable } from "./patience.ts";

/** Bytes of a block. What is smaller is not worth keeping for the next one. */
export const BLOCK = 8 * 1024 * 1024;

export class Memory {
	readonly #total: number;
	#free: number;
	/** Blocks for the next one: what lies about for the garbage collector is memory, too. */
	#spare: Buffer[] = [];
	#waiting: { bytes: number; granted: () => void }[] = [];

	/** @param total bytes */
	constructor(total: number) {
		this.#total = total;
		this.#free = total;
	}

	/** Takes a share if there is one right now and nobody waits. Larger wishes than the total never come true. */
	tryTake(bytes: number): boolean {
		if (bytes > this.#free || this.#waiting.length > 0) return false;
		this.#free -= bytes;
		return true;
	}

	/**
	 * Waits for a share, in turn.
	 * @param hold milliseconds
	 * @throws {StoreUnavailable} when it does not come in time
	 */
	async take(bytes: number, hold: number, signal: AbortSignal): Promise<void> {
		if (bytes > this.#total) throw new RangeError(`${bytes} bytes are more than there are in all`);
		if (this.tryTake(bytes)) return;
		const settled = new AbortController();
		const turn = Promise.withResolvers<true>();
		const wish = { bytes, granted: () => turn.resolve(true) };
		this.#waiting.push(wish);
		const leave = () => settled.abort();
		signal.addEventListener("abort", leave, { once: true });
		const late = sleep(hold, false as const, { signal: settled.signal, ref: false }).catch(
			() => false as const,
		);
		const granted = await Promise.race([turn.promise, late]);
		signal.removeEventListener("abort", leave);
		settled.abort();
		if (granted) {
			if (!signal.aborted) return;
			this.give(bytes);
		}
		this.#waiting = this.#waiting.filter((other) => other !== wish);
		this.#grant();
		signal.throwIfAborted();
		throw new StoreUnavailable("too many uploads wait for the store");
	}

	give(bytes: number): void {
		this.#free += bytes;
		this.#grant();
	}

	/** A buffer for a share that was granted. */
	block(bytes: number): Buffer {
		return (bytes === BLOCK ? this.#spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(bytes);
	}

	/** Takes back buffers that nobody reads or writes any more. Giving back the share is another matter. */
	recycle(blocks: readonly Buffer[]): void {
		this.#spare.push(...blocks.filter(({ length }) => length === BLOCK));
	}

	#grant(): void {
		for (
			let next = this.#waiting[0];
			next !== undefined && next.bytes <= this.#free;
			next = this.#waiting[0]
		) {
			this.#waiting.shift();
			this.#free -= next.bytes;
			next.granted();
		}
	}
}
