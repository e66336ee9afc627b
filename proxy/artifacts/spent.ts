/**
 * The buffers that bytes leave behind on their way through. Node reads each 64 KiB into memory of its own, which is
 * free again only when V8 collects, and V8 goes by its heap, where such a buffer is a few words. So a fast download
 * has a hundred MB lying about, each page of it touched for the first time. Collecting the young ones after a few MB
 * uses the same memory again and again: a fifth of it, and about half of the CPU.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Bytes between two collections. One takes about a millisecond. */
const EACH = 8 * 1024 * 1024;

/** V8's own; it is there only for contexts that are made after the flag is set, and stays out of everybody's globals. */
function collector(): (wish: { type: "minor" }) => void {
	setFlagsFromString("--expose-gc");
	const collect: unknown = runInNewContext("gc");
	setFlagsFromString("--no-expose-gc");
	return typeof collect === "function" ? (wish) => void collect(wish) : () => {};
}

export class Spent {
	readonly #collect = collector();
	#bytes = 0;

	/** So many bytes have come from one side and are on their way to the other. */
	passed(bytes: number): void {
		this.#bytes += bytes;
		if (this.#bytes < EACH) return;
		this.#bytes = 0;
		this.#collect({ type: "minor" });
	}
}
