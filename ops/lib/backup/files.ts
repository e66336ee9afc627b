/** Files of a backup: written with their hash, read again, and read line by line. */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { FileEntry } from "./format.ts";

type Bytes = AsyncIterable<Buffer> | Iterable<Buffer>;

/** Whoever may read one may sign in as anybody. */
const OWNER_ONLY = 0o600;

/** Counts and hashes what passes. */
function measuring(hash: Hash) {
	const measure = { bytes: 0 };
	const stream = new Transform({
		transform(chunk: Buffer, _encoding, done) {
			measure.bytes += chunk.length;
			hash.update(chunk);
			done(null, chunk);
		},
	});
	return { stream, measure };
}

/** Writes a new file. @returns its entry for the manifest. */
export async function writeMeasured(folder: string, file: string, bytes: Bytes): Promise<FileEntry> {
	const hash = createHash("sha256");
	const { stream, measure } = measuring(hash);
	const target = createWriteStream(join(folder, file), { flags: "wx", mode: OWNER_ONLY });
	await pipeline(Readable.from(bytes), stream, target);
	return { file, bytes: measure.bytes, sha256: hash.digest("hex") };
}

/** Writes bytes to a file named by `nameOf` after their hash; equal ones are kept once. @returns size and hash. */
export async function writeByHash(
	folder: string,
	bytes: Bytes,
	nameOf: (sha256: string) => string,
): Promise<{ bytes: number; sha256: string }> {
	const draft = `draft-${randomBytes(8).toString("hex")}`;
	const { bytes: size, sha256 } = await writeMeasured(folder, draft, bytes);
	const target = join(folder, nameOf(sha256));
	if (existsSync(target)) rmSync(join(folder, draft));
	else {
		mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
		renameSync(join(folder, draft), target);
	}
	return { bytes: size, sha256 };
}

/** @returns undefined if there is no such file. */
export async function measure(path: string): Promise<Omit<FileEntry, "file"> | undefined> {
	if (!existsSync(path)) return undefined;
	const hash = createHash("sha256");
	let bytes = 0;
	for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) {
		bytes += chunk.length;
		hash.update(chunk);
	}
	return { bytes, sha256: hash.digest("hex") };
}

/** The lines of a stream, each as JSON. */
export async function* jsonLines<T>(input: Readable): AsyncGenerator<T> {
	for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY }))
		if (line !== "") yield JSON.parse(line) as T;
}
