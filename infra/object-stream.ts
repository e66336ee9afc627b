/**
 * How objects travel between the store and a backup: what the door's image writes and `ops` reads, and the other way.
 * Each object is a frame (4 bytes: the length of the head, big-endian; the head as JSON) and then its bytes. The last
 * frame says how many there were, so that a stream that broke off is not taken for a whole one.
 */

export interface ObjectHead {
	/** The object's name in the bucket. */
	key: string;
	/** Bytes. */
	size: number;
}

/** Ends the stream. */
export interface StreamEnd {
	/** Objects before it. */
	end: number;
}

/** One object on its way. The body must be read to its end before the next object is asked for. */
export interface TravellingObject extends ObjectHead {
	body: AsyncIterable<Buffer>;
}

/** Longer heads are no heads: S3 allows keys of 1024 bytes. */
const LONGEST_HEAD = 16_384;

export function frame(head: ObjectHead | StreamEnd): Buffer {
	const json = Buffer.from(JSON.stringify(head));
	const length = Buffer.alloc(4);
	length.writeUInt32BE(json.length);
	return Buffer.concat([length, json]);
}

/**
 * @throws Error when the stream breaks off, or is none of these.
 */
export async function* readObjects(input: AsyncIterable<Buffer>): AsyncGenerator<TravellingObject> {
	const source = new Source(input);
	for (let count = 0; ; count += 1) {
		const head = await readHead(source);
		if ("end" in head) {
			if (head.end !== count) throw new Error(`the stream has ${count} objects and says ${head.end}`);
			return await source.end();
		}
		const body = source.take(head.size);
		yield { ...head, body };
		// What nobody read is skipped: the next head lies behind it.
		for await (const _ of body);
	}
}

async function readHead(source: Source): Promise<ObjectHead | StreamEnd> {
	const length = (await source.exactly(4)).readUInt32BE();
	if (length > LONGEST_HEAD) throw new Error("this is no stream of objects");
	return JSON.parse((await source.exactly(length)).toString("utf8"));
}

/** Bytes by number instead of by chunk. */
class Source {
	readonly #chunks: AsyncIterator<Buffer>;
	#rest: Buffer = Buffer.alloc(0);

	constructor(input: AsyncIterable<Buffer>) {
		this.#chunks = input[Symbol.asyncIterator]();
	}

	/** The next bytes, at most so many and at least one. */
	async #some(most: number): Promise<Buffer> {
		while (this.#rest.length === 0) {
			const { done, value } = await this.#chunks.next();
			if (done) throw new Error("the stream broke off");
			this.#rest = value;
		}
		const piece = this.#rest.subarray(0, most);
		this.#rest = this.#rest.subarray(piece.length);
		return piece;
	}

	/** @throws Error if there is more. */
	async end(): Promise<void> {
		const { done } = this.#rest.length > 0 ? { done: false } : await this.#chunks.next();
		if (!done) throw new Error("the stream goes on behind its end");
	}

	async exactly(count: number): Promise<Buffer> {
		const pieces: Buffer[] = [];
		for await (const piece of this.take(count)) pieces.push(piece);
		return Buffer.concat(pieces);
	}

	async *take(count: number): AsyncGenerator<Buffer> {
		for (let left = count; left > 0; ) {
			const piece = await this.#some(left);
			left -= piece.length;
			yield piece;
		}
	}
}
