/**
 * Makes a backup: databases first, objects second. An object that came in between is one too many, which harms nobody;
 * the other way round the databases would name objects that are not there. The stack works on meanwhile.
 */
import { createReadStream, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MLFLOW_VERSION, PARTS } from "../../../infra/contract.ts";
import { readObjects } from "../../../infra/object-stream.ts";
import { ensureImages } from "../build-images.ts";
import type { Context } from "../command.ts";
import { ensureDiskSpace, isDiskFull } from "../disk.ts";
import { type Container, containersOf, imageNames, partOf } from "../docker.ts";
import { OpsError } from "../errors.ts";
import { exec, lastLine } from "../exec.ts";
import { identify } from "../identity.ts";
import { configPath } from "../stack/config-file.ts";
import { bytesInWords } from "../text.ts";
import { askAgent } from "./agent.ts";
import { dump, sizeOf, versionsOf } from "./database.ts";
import { jsonLines, measure, writeByHash, writeMeasured } from "./files.ts";
import { type Backup, freeId, makePartial, removePartials } from "./folder.ts";
import { blobPath, DATABASES, type DatabaseName, FILE, FORMAT, type Manifest } from "./format.ts";
import { stores } from "./parts.ts";
import { damaged, verify } from "./verify.ts";

/** For lists, hashes and the file system's own. */
const ROOM_MIB = 64;

/**
 * @param root the folder that holds the backups.
 * @throws OpsError; nothing is left behind then.
 */
export async function makeBackup(context: Context, root: string): Promise<Backup> {
	const { report, stack, interrupted } = context;
	const { name } = identify(context);
	const { postgres } = await stores(name);
	await ensureImages(report, ["door"], context);
	for (const left of removePartials(root, stack))
		report.note(`Removed ${left}: that backup was ended before it was whole.`);
	await ensureRoom(context, name, postgres, root);
	interrupted.throwIfAborted();

	const id = await freeId(root, stack);
	const path = makePartial(root, id);
	try {
		const manifest = await fill(context, { id, name, path, postgres });
		const text = `${JSON.stringify(manifest, null, "\t")}\n`;
		await writeMeasured(path, FILE.manifest, [Buffer.from(text)]);
		const hash = (await measure(join(path, FILE.manifest)))?.sha256 ?? "";
		writeFileSync(join(path, FILE.manifestHash), `${hash}  ${FILE.manifest}\n`, { mode: 0o600 });
		await report.step("Reading it again", async () => {
			const wrong = await verify({ id, path, manifest }, interrupted);
			if (wrong.length > 0) throw damaged(id, wrong);
		});
		await onDisk(path);
		interrupted.throwIfAborted();
		const whole = join(root, id);
		renameSync(path, whole);
		return { id, path: whole, manifest };
	} catch (error) {
		rmSync(path, { recursive: true, force: true });
		throw asDiskFull(error, root);
	}
}

interface Place {
	id: string;
	name: string;
	/** The folder, not yet whole. */
	path: string;
	postgres: Container;
}

async function fill(context: Context, { id, name, path, postgres }: Place): Promise<Manifest> {
	const { report, stack, interrupted } = context;
	const [versions, images] = await Promise.all([versionsOf(postgres), imagesOf(name)]);
	// Before the first dump: whatever was acknowledged by now is in it.
	const taken = new Date().toISOString();
	const databases = {} as Manifest["databases"];
	for (const database of DATABASES) {
		databases[database] = await report.step(`Dumping the database ${database}`, () =>
			dumpTo(path, postgres, database, interrupted),
		);
	}
	// After the door's database: a key that is made now would only be one too many.
	const key = await report.step("Copying the door's key", () => copyKey(name, path, interrupted));
	const objects = await report.step("Copying the objects", ({ detail }) =>
		copyObjects(name, path, interrupted, detail),
	);
	const config = configPath(context);
	const settings = existsSync(config)
		? await writeMeasured(path, FILE.settings, createReadStream(config))
		: undefined;
	return {
		...{ format: FORMAT, id, stack, name, taken, finished: new Date().toISOString() },
		versions: { mlgate: ownVersion(), mlflow: MLFLOW_VERSION, ...versions },
		...{ images, databases, objects, key },
		...(settings && { settings }),
	};
}

function dumpTo(
	path: string,
	postgres: Container,
	database: DatabaseName,
	signal: AbortSignal,
): Promise<Manifest["databases"][DatabaseName]> {
	return dump(postgres, database, signal, async ({ tables, bytes }) => ({
		...(await writeMeasured(path, `${database}.dump`, bytes)),
		tables,
	}));
}

async function copyKey(name: string, path: string, signal: AbortSignal): Promise<Manifest["key"]> {
	const agent = askAgent(name, "read-key", signal);
	const entry = await writeMeasured(path, FILE.key, agent.output);
	await agent.ended;
	return entry;
}

async function copyObjects(
	name: string,
	path: string,
	signal: AbortSignal,
	detail: (text: string) => void,
): Promise<Manifest["objects"]> {
	const agent = askAgent(name, "export", signal);
	const total = { count: 0, totalBytes: 0 };
	async function* copied(): AsyncGenerator<Buffer> {
		for await (const { key, size, body } of readObjects(agent.output)) {
			const { sha256 } = await writeByHash(path, body, blobPath);
			total.count += 1;
			total.totalBytes += size;
			if (total.count % 100 === 0) detail(`${total.count} objects, ${bytesInWords(total.totalBytes)}`);
			yield Buffer.from(`${JSON.stringify({ key, size, sha256 })}\n`);
		}
	}
	try {
		const entry = await writeMeasured(path, FILE.objects, copied());
		await agent.ended;
		return { ...entry, ...total };
	} catch (error) {
		agent.kill();
		throw error;
	}
}

async function ensureRoom(
	{ report }: Context,
	name: string,
	postgres: Container,
	root: string,
): Promise<void> {
	const agent = askAgent(name, "list");
	let bytes = 0;
	for await (const { size } of jsonLines<{ size: number }>(agent.output)) bytes += size;
	await agent.ended;
	for (const database of DATABASES) bytes += await sizeOf(postgres, database);
	const needMiB = Math.ceil(bytes / 2 ** 20) + ROOM_MIB;
	await ensureDiskSpace(report, { path: root, needMiB, purpose: "the backup" });
}

async function imagesOf(name: string): Promise<Record<string, string>> {
	const [containers, names] = await Promise.all([containersOf(name), imageNames()]);
	const rows = PARTS.flatMap((part) => {
		const image = containers.find((one) => partOf(one) === part)?.Config.Image;
		return image === undefined ? [] : [[part, names.get(image) ?? image]];
	});
	return Object.fromEntries(rows);
}

function ownVersion(): string {
	const text = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
	return (JSON.parse(text) as { version: string }).version;
}

/** A machine that loses its power now must not have a whole name over half the content. */
async function onDisk(path: string): Promise<void> {
	const { code, stderr } = await exec(["sync", "--file-system", path]);
	if (code !== 0) throw new Error(`sync failed: ${lastLine(stderr)}`);
}

function asDiskFull(error: unknown, root: string): unknown {
	if (!isDiskFull(error)) return error;
	return new OpsError(
		{
			code: "DISK_FULL",
			kind: "precondition",
			what: "The disk became full before the backup was whole; what there was of it is removed.",
			why: `${root} has no space left.`,
			fix: "Free some space there, or give another folder: npx mlgate backup --folder <folder>",
		},
		{ cause: error },
	);
}
