/** Where backups lie, and which there are. One that is being made has another name until it is whole. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { OpsError } from "../errors.ts";
import { sleep } from "../sleep.ts";
import { list as inWords } from "../text.ts";
import { FILE, type Manifest, readManifest } from "./format.ts";

const PARTIAL = ".partial";
/** `local-20261127-142530`: the stack, and when it was begun in UTC. */
const ID = /^[a-z][a-z0-9-]*-\d{8}-\d{6}$/;

export interface Verified {
	/** ISO time of the last time every byte was read and found right. */
	at: string;
}

export interface Backup {
	id: string;
	path: string;
	manifest: Manifest;
	verified?: Verified;
}

/** A folder that looks like a backup and is none that can be used. */
export interface Unusable {
	id: string;
	path: string;
	why: string;
}

export const backupFolder = (checkout: string, given: string | undefined): string =>
	given ?? join(checkout, ".mlgate", "backups");

const idAt = (stack: string, now: Date): string =>
	`${stack}-${now
		.toISOString()
		.replace(/[-:]|\.\d+Z$/g, "")
		.replace("T", "-")}`;

/** An id that no backup has; they are made of the time in seconds. */
export async function freeId(folder: string, stack: string): Promise<string> {
	for (;;) {
		const id = idAt(stack, new Date());
		if (!existsSync(join(folder, id)) && !existsSync(partialPath(folder, id))) return id;
		await sleep(200);
	}
}

export const partialPath = (folder: string, id: string): string => join(folder, `${id}${PARTIAL}`);

export function makePartial(folder: string, id: string): string {
	const path = partialPath(folder, id);
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	mkdirSync(path, { mode: 0o700 });
	return path;
}

/** Removes what killed backups of a stack left behind. Only while the stack's lock is held: nobody is at them then. */
export function removePartials(folder: string, stack: string): string[] {
	const left = entries(folder).filter(
		(name) => name.endsWith(PARTIAL) && stackOf(name.slice(0, -PARTIAL.length)) === stack,
	);
	for (const name of left) rmSync(join(folder, name), { recursive: true, force: true });
	return left;
}

const stackOf = (id: string): string | undefined => (ID.test(id) ? id.slice(0, -16) : undefined);

const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

/** All backups in a folder, the youngest first. */
export function listBackups(folder: string): { backups: Backup[]; unusable: Unusable[] } {
	const found = entries(folder)
		.filter((name) => ID.test(name))
		.map((name) => look(folder, name));
	const backups = found.filter((one): one is Backup => "manifest" in one);
	return {
		backups: backups.sort((a, b) => b.manifest.taken.localeCompare(a.manifest.taken)),
		unusable: found.filter((one): one is Unusable => "why" in one),
	};
}

function look(folder: string, id: string): Backup | Unusable {
	const path = join(folder, id);
	const text = read(join(path, FILE.manifest));
	if (text === undefined) return { id, path, why: `It has no ${FILE.manifest}.` };
	const [hash] = (read(join(path, FILE.manifestHash)) ?? "").split(" ");
	if (hash !== createHash("sha256").update(text).digest("hex"))
		return { id, path, why: `${FILE.manifest} is not what was written: its hash is another one.` };
	const manifest = readManifest(text);
	if (manifest === undefined) return { id, path, why: `${FILE.manifest} cannot be read.` };
	if ("unknownFormat" in manifest)
		return { id, path, why: `Its format ${manifest.unknownFormat} is of a newer mlgate.` };
	const verified = readVerified(path);
	return { id, path, manifest, ...(verified && { verified }) };
}

function readVerified(path: string): Verified | undefined {
	try {
		const { at } = JSON.parse(read(join(path, FILE.verified)) ?? "");
		return typeof at === "string" ? { at } : undefined;
	} catch {
		return undefined;
	}
}

function read(path: string): string | undefined {
	try {
		return readFileSync(path, "utf8");
	} catch {
		return undefined;
	}
}

/** @throws OpsError BACKUP_UNKNOWN or BACKUP_UNUSABLE */
export function findBackup(folder: string, id: string): Backup {
	if (existsSync(partialPath(folder, id))) throw unusable(id, "It was never finished.");
	if (!ID.test(id) || !existsSync(join(folder, id))) throw unknown(folder, id);
	const found = look(folder, id);
	if ("manifest" in found) return found;
	throw unusable(id, found.why);
}

function unknown(folder: string, id: string): OpsError {
	const ids = listBackups(folder).backups.map((backup) => backup.id);
	const last = ids.slice(0, 3);
	return new OpsError({
		code: "BACKUP_UNKNOWN",
		kind: "usage",
		what: `There is no backup ${id} in ${folder}.`,
		why: ids.length === 0 ? "There is none at all." : `The last ones are ${inWords(last)}.`,
		fix: "npx mlgate backups",
	});
}

const unusable = (id: string, why: string): OpsError =>
	new OpsError({
		code: "BACKUP_UNUSABLE",
		kind: "precondition",
		what: `The backup ${id} cannot be used.`,
		why,
		fix: "Take another one: npx mlgate backups",
	});
