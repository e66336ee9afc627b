/**
 * What a backup is: a folder that is complete by itself and can be copied anywhere.
 *
 *   manifest.json       what it holds, with sizes and hashes
 *   manifest.sha256     the hash of the manifest, as `sha256sum -c` reads it
 *   mlflow.dump         pg_dump -Fc of MLflow's database
 *   door.dump           the same of the door's
 *   objects.jsonl       one line an object: {"key", "size", "sha256"}
 *   objects/ab/abcd...  the objects' bytes, named after their hash: equal ones lie there once
 *   wrapping-key        opens the token-signing keys in door.dump
 *   settings.yaml       the stack's settings; secrets in it are sealed, and the passphrase is not here
 *   verified.json       when every byte was last read again and found right; not part of what was backed up
 *
 * Files are never changed once the folder has its name. Objects by hash let later backups share what has not changed.
 */
import { z } from "zod";

/** The only one there is. A later one is refused by this mlgate. */
export const FORMAT = 1;

export const FILE = {
	manifest: "manifest.json",
	manifestHash: "manifest.sha256",
	objects: "objects.jsonl",
	blobs: "objects",
	key: "wrapping-key",
	settings: "settings.yaml",
	verified: "verified.json",
} as const;

const count = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const file = z.object({ file: z.string(), bytes: count, sha256 });

/** A table's rows, and a digest over their content that does not depend on their order. */
const table = z.object({ rows: count, digest: z.string() });

const database = file.extend({ tables: z.record(z.string(), table) });

const manifest = z.object({
	format: z.literal(FORMAT),
	id: z.string(),
	/** The stack, and what it is called on the host: tokens carry that name. */
	stack: z.string(),
	name: z.string(),
	/** ISO time at which the databases were as they are in here. Everything acknowledged before is in here. */
	taken: z.iso.datetime(),
	/** ISO time at which the last object was copied. */
	finished: z.iso.datetime(),
	versions: z.object({
		mlgate: z.string(),
		mlflow: z.string(),
		/** As the server says it: 15.14. */
		postgres: z.string(),
		/** Revision of MLflow's schema. */
		alembic: z.string(),
		/** Version of the door's schema. */
		door: count,
	}),
	/** By part: the image that ran. */
	images: z.record(z.string(), z.string()),
	databases: z.object({ mlflow: database, door: database }),
	objects: file.extend({ count, totalBytes: count }),
	key: file,
	/** Missing if nobody had set anything. */
	settings: file.optional(),
});

export type Manifest = z.infer<typeof manifest>;
export type FileEntry = z.infer<typeof file>;
export type Tables = Manifest["databases"]["mlflow"]["tables"];
export type DatabaseName = keyof Manifest["databases"];
export const DATABASES = ["mlflow", "door"] as const satisfies readonly DatabaseName[];

/** A line of `objects.jsonl`. */
export interface ObjectEntry {
	key: string;
	size: number;
	sha256: string;
}

/** @returns the manifest, the number of a format that this mlgate does not know, or undefined for no manifest at all. */
export function readManifest(text: string): Manifest | { unknownFormat: number } | undefined {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		return undefined;
	}
	const { format } = (value ?? {}) as { format?: unknown };
	if (typeof format === "number" && format > FORMAT) return { unknownFormat: format };
	const parsed = manifest.safeParse(value);
	return parsed.success ? parsed.data : undefined;
}

/** Where an object's bytes lie. */
export const blobPath = (sha256: string): string => `${FILE.blobs}/${sha256.slice(0, 2)}/${sha256}`;
