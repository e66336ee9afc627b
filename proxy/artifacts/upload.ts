/**
 * Uploads: a body goes into the store as it comes, in parts, and becomes an artifact only when all of it has
 * arrived and every checksum is right.
 */
import { createHash } from "node:crypto";
import { ArtifactError, answer, JSON_HEADERS } from "./errors.ts";
import type { Exchange, Shared } from "./exchange.ts";
import { Intake } from "./intake.ts";
import { BLOCK } from "./memory.ts";
import { Kept, Piece, sendPiece } from "./part.ts";
import { patiently } from "./patience.ts";
import { type Part, StoreError } from "./store.ts";
import type { Upload } from "./unfinished.ts";

/** Of a part, in bytes. Up to this size an upload is one request to the store. S3 takes no part below 5 MiB. */
const PART = BLOCK;
/** S3 takes no more. */
export const MOST_PARTS = 10_000;
/** A body of unknown length gets parts of twice the size after so many of them: 368 GiB in all. */
const DOUBLING = 2000;
const MOST_DOUBLINGS = 3;

/** What the last piece of a body needs to know about itself. */
interface Stretch {
	piece: Piece;
	/** Nothing comes after it. */
	last: boolean;
}

/** The pieces of a body that says how long it is. Each is kept for the time it is sent, if there is memory. */
async function* announced(intake: Intake, length: number, { memory, limits }: Shared, signal: AbortSignal) {
	const size = Math.max(PART, Math.ceil(length / MOST_PARTS));
	let left = length;
	do {
		const bytes = Math.min(size, left);
		left -= bytes;
		// One that is an object by itself is waited for: its checksum goes before it.
		const alone = length <= PART;
		if (alone) await memory.take(bytes, limits.hold, signal);
		const keeps = alone || memory.tryTake(bytes);
		try {
			const kept = keeps ? new Kept(memory, bytes) : undefined;
			if (alone && kept !== undefined) await collect(intake, kept, bytes);
			yield { piece: new Piece(intake, bytes, kept), last: left === 0 } satisfies Stretch;
		} finally {
			if (keeps) memory.give(bytes);
		}
	} while (left > 0);
}

/** The pieces of a body whose length nobody knows: each must be whole before the store can be told its length. */
async function* unannounced(intake: Intake, { memory, limits }: Shared, signal: AbortSignal) {
	for (let number = 0, last = false; !last; number++) {
		const size = PART << Math.min(MOST_DOUBLINGS, Math.floor(number / DOUBLING));
		await memory.take(size, limits.hold, signal);
		try {
			const kept = new Kept(memory, size);
			await collect(intake, kept, size);
			last = await intake.ended();
			yield { piece: new Piece(intake, kept.length, kept), last } satisfies Stretch;
		} finally {
			memory.give(size);
		}
	}
}

/** @param most bytes; fewer come only at the end of the body */
export async function collect(intake: Intake, into: Kept, most: number): Promise<void> {
	while (into.length < most) {
		const chunk = await intake.take(most - into.length);
		if (chunk === undefined) return;
		into.add(chunk);
	}
}

/** The ETag that the store gives an object of these parts. */
function etagOf(parts: readonly Part[]): string {
	const hash = createHash("md5");
	for (const { etag } of parts) hash.update(Buffer.from(etag.replaceAll('"', ""), "hex"));
	return `"${hash.digest("hex")}-${parts.length}"`;
}

/** Puts the parts of an upload together. Doing so twice is no error while the result still stands. */
export async function complete(
	{ store, limits }: Pick<Shared, "store" | "limits">,
	{ key, id }: Pick<Upload, "key" | "id">,
	parts: readonly Part[],
	signal: AbortSignal,
): Promise<void> {
	const expected = etagOf(parts);
	const etag = await patiently(signal, limits.hold, async () => {
		try {
			return await store.completeUpload(key, id, parts, signal);
		} catch (error) {
			if (!(error instanceof StoreError && error.code === "NoSuchUpload")) throw error;
			// Its answer may have been lost on the way.
			const there = await store.head(key, signal);
			if (there?.etag === expected) return expected;
			throw error;
		}
	});
	if (etag !== expected) throw new ArtifactError("STORE_CHECKSUM");
}

/** @throws {ArtifactError} and nothing of the body is visible then */
export async function upload(x: Exchange, shared: Shared, key: string): Promise<void> {
	const { req, res, signal } = x;
	const length = req.headers["content-length"];
	if (req.headers.expect !== undefined) res.writeContinue();
	const intake = new Intake(req, signal, shared);
	const stretches =
		length === undefined
			? unannounced(intake, shared, signal)
			: announced(intake, Number(length), shared, signal);
	let begun: Upload | undefined;
	const parts: Part[] = [];
	try {
		for await (const { piece, last } of stretches) {
			const number = parts.length + 1;
			if (last && number === 1) {
				await sendPiece(shared, key, {}, piece, signal);
				break;
			}
			if (number > MOST_PARTS) throw new ArtifactError("ARTIFACT_TOO_LARGE");
			begun ??= await shared.unfinished.begin(key, false, shared.limits.hold, signal);
			const query = { partNumber: String(number), uploadId: begun.id };
			parts.push({ number, etag: await sendPiece(shared, key, query, piece, signal) });
		}
		if (begun !== undefined) {
			await complete(shared, begun, parts, signal);
			shared.unfinished.over(begun);
		}
	} catch (error) {
		if (begun !== undefined) shared.unfinished.abandon(begun);
		throw error;
	}
	answer(req, res, 200, JSON_HEADERS, "{}");
}
