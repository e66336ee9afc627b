/** Pieces of uploads on their way to the store: an object, or one part of it. */
import { createHash } from "node:crypto";
import { ArtifactError } from "./errors.ts";
import type { Shared } from "./exchange.ts";
import type { Intake } from "./intake.ts";
import { BLOCK, type Memory } from "./memory.ts";
import { Patience, StoreUnavailable } from "./patience.ts";

/** Bytes that are kept as they come, in blocks: a body that comes byte by byte costs no more than another. */
export class Kept {
	readonly #memory: Memory;
	/** The most that will come. */
	readonly #room: number;
	readonly #blocks: Buffer[] = [];
	#length = 0;

	/** @param memory must have granted `room` bytes */
	constructor(memory: Memory, room: number) {
		this.#memory = memory;
		this.#room = room;
	}

	get length(): number {
		return this.#length;
	}

	add(chunk: Buffer): void {
		for (let rest = chunk; rest.length > 0; ) {
			const at = this.#length % BLOCK;
			if (at === 0) this.#blocks.push(this.#memory.block(Math.min(BLOCK, this.#room - this.#length)));
			const copied = rest.copy(this.#blocks.at(-1) as Buffer, at);
			if (copied === 0) throw new RangeError(`more than ${this.#room} bytes came`);
			this.#length += copied;
			rest = rest.subarray(copied);
		}
	}

	/** The bytes from a position on, as far as they lie together; undefined if there are none yet. */
	from(position: number): Buffer | undefined {
		if (position >= this.#length) return undefined;
		const start = position - (position % BLOCK);
		const end = Math.min(this.#length, start + BLOCK);
		return this.#blocks[start / BLOCK]?.subarray(position - start, end - start);
	}

	/** All bytes so far, block by block. */
	*[Symbol.iterator](): Generator<Buffer> {
		for (let at = 0; at < this.#length; at += BLOCK) yield this.from(at) as Buffer;
	}

	/** Lets others write into the blocks. Only when nobody can still be sending from them. */
	recycle(): void {
		this.#memory.recycle(this.#blocks.splice(0));
		this.#length = 0;
	}
}

/** A stretch of a request's body, of known length. */
export class Piece {
	readonly length: number;
	readonly #intake: Intake;
	/** What has come, if it may have to be sent again. */
	readonly #kept: Kept | undefined;
	/** Came and was not sent yet, where nothing is kept. */
	#next: Buffer | undefined;
	readonly #hash = createHash("md5");
	#md5: Buffer | undefined;
	#taken = 0;
	#taking: Promise<void> | undefined;

	/** @param kept undefined: it can be sent once only. What is already in it is the beginning of the piece. */
	constructor(intake: Intake, length: number, kept: Kept | undefined) {
		this.#intake = intake;
		this.length = length;
		this.#kept = kept;
		for (const chunk of kept ?? []) this.#count(chunk);
		if (length === 0) this.#md5 = this.#hash.digest();
	}

	/** Bytes that have come from the client so far. */
	get taken(): number {
		return this.#taken;
	}

	/** Whether it can be sent, or sent again. */
	get whole(): boolean {
		return this.#kept !== undefined || this.#taken === 0;
	}

	/** Of all bytes, once they have all been taken. */
	get md5(): Buffer | undefined {
		return this.#md5;
	}

	/** All bytes from the first: those that were kept, then those that still come. */
	async *body(): AsyncGenerator<Buffer> {
		for (let sent = 0; sent < this.length; ) {
			const bytes = this.#kept === undefined ? this.#next : this.#kept.from(sent);
			if (bytes === undefined) {
				// A body that was given up may still wait for the same bytes.
				this.#taking ??= this.#take();
				await this.#taking;
				continue;
			}
			this.#next = undefined;
			sent += bytes.length;
			yield bytes;
		}
	}

	async #take(): Promise<void> {
		try {
			const chunk = await this.#intake.take(this.length - this.#taken);
			if (chunk === undefined) throw new ArtifactError("UPLOAD_LENGTH");
			if (this.#kept === undefined) this.#next = chunk;
			else this.#kept.add(chunk);
			this.#count(chunk);
		} finally {
			this.#taking = undefined;
		}
	}

	/** It has arrived: what was kept of it is not needed any more. */
	arrived(): void {
		this.#kept?.recycle();
	}

	#count(chunk: Buffer): void {
		this.#hash.update(chunk);
		this.#taken += chunk.length;
		if (this.#taken === this.length) this.#md5 = this.#hash.digest();
	}
}

/**
 * Sends a piece. A store that is lost on the way gets it again from the start, if it was kept.
 * @param query which part of which upload; empty for a whole object
 * @returns the ETag with its quotes, which is the MD5 of what arrived: it has been compared with what was sent
 */
export async function sendPiece(
	{ store, limits }: Pick<Shared, "store" | "limits">,
	key: string,
	query: Readonly<Record<string, string>>,
	piece: Piece,
	signal: AbortSignal,
): Promise<string> {
	const patience = new Patience(limits.hold);
	for (;;) {
		const before = piece.taken;
		try {
			const known = piece.md5?.toString("base64");
			const etag = await store.put(key, query, piece.body(), piece.length, known, signal);
			if (etag !== `"${piece.md5?.toString("hex")}"`) throw new ArtifactError("STORE_CHECKSUM");
			piece.arrived();
			return etag;
		} catch (error) {
			if (error instanceof StoreUnavailable && !piece.whole) {
				throw new ArtifactError("STORE_LOST", { cause: error });
			}
			if (piece.taken > before) patience.moved();
			await patience.wait(error, signal);
		}
	}
}
