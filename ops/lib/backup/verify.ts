/** Whether a backup still is what was written: every byte is read again. */
import { createReadStream, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OpsError } from "../errors.ts";
import { jsonLines, measure } from "./files.ts";
import type { Backup } from "./folder.ts";
import { blobPath, FILE, type FileEntry, type ObjectEntry } from "./format.ts";

/** More are counted, not named. */
const NAMED = 5;

/** What is wrong with a backup's files, in words; nothing if all is well. The time of a good look is kept in it. */
export async function verify({ path, manifest }: Backup, signal?: AbortSignal): Promise<string[]> {
	const { databases, objects, key, settings } = manifest;
	const files: FileEntry[] = [
		databases.mlflow,
		databases.door,
		objects,
		key,
		...(settings ? [settings] : []),
	];
	const wrong: string[] = [];
	for (const entry of files) {
		signal?.throwIfAborted();
		wrong.push(...(await differences(path, entry)));
	}
	// Without a good list of objects nobody knows what to look for.
	if (wrong.length === 0) wrong.push(...(await wrongObjects({ path, manifest }, signal)));
	const record = join(path, FILE.verified);
	if (wrong.length > 0) rmSync(record, { force: true });
	else writeFileSync(record, `${JSON.stringify({ at: new Date().toISOString() })}\n`, { mode: 0o600 });
	return wrong;
}

async function wrongObjects(
	backup: Pick<Backup, "path" | "manifest">,
	signal?: AbortSignal,
): Promise<string[]> {
	const wrong: string[] = [];
	const seen = new Set<string>();
	let count = 0;
	for await (const { key, size, sha256 } of objectsIn(backup)) {
		signal?.throwIfAborted();
		count += 1;
		if (seen.has(sha256)) continue;
		seen.add(sha256);
		const found = await differences(backup.path, { file: blobPath(sha256), bytes: size, sha256 });
		wrong.push(...found.map((text) => `${key}: ${text}`));
	}
	if (count !== backup.manifest.objects.count)
		wrong.push(`${count} objects of ${backup.manifest.objects.count} are listed`);
	return wrong;
}

/** The objects of a backup, in the order in which they were copied. */
export const objectsIn = ({ path }: Pick<Backup, "path">): AsyncIterable<ObjectEntry> =>
	jsonLines<ObjectEntry>(createReadStream(join(path, FILE.objects)));

async function differences(folder: string, { file, bytes, sha256 }: FileEntry): Promise<string[]> {
	const found = await measure(join(folder, file));
	if (found === undefined) return [`${file} is missing`];
	if (found.bytes !== bytes) return [`${file} has ${found.bytes} bytes instead of ${bytes}`];
	return found.sha256 === sha256 ? [] : [`${file} has other content than was written`];
}

export function damaged(id: string, wrong: readonly string[]): OpsError {
	const more = wrong.length > NAMED ? ` (and ${wrong.length - NAMED} more)` : "";
	return new OpsError({
		code: "BACKUP_DAMAGED",
		kind: "precondition",
		what: `The backup ${id} is damaged.`,
		why: `${wrong.slice(0, NAMED).join("; ")}${more}.`,
		fix: "Take an older backup (npx mlgate backups), or copy this one anew from where else it is kept.",
	});
}
