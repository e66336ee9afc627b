/**
 * Puts a backup into a stack: objects first, then the databases beside those in use, which are compared with the
 * manifest before they take their place in one moment; the other way round a stack could name objects that it has not.
 * Until that moment the stack is what it was, and whoever is interrupted runs the same command again.
 */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PARTS, type Part } from "../../../infra/contract.ts";
import { frame } from "../../../infra/object-stream.ts";
import type { Context } from "../command.ts";
import { type Container, containerOf, docker, inspectContainer, partOf, stop } from "../docker.ts";
import { type DockerStream, reasonOf } from "../docker-stream.ts";
import { OpsError } from "../errors.ts";
import { sleep } from "../sleep.ts";
import { askAgent, startAgent } from "./agent.ts";
import { aside, dropIfThere, restoreAside, swap } from "./database.ts";
import { jsonLines } from "./files.ts";
import type { Backup } from "./folder.ts";
import { blobPath, DATABASES, type DatabaseName, FILE, type ObjectEntry, type Tables } from "./format.ts";
import { objectsIn } from "./verify.ts";

/** Who writes to the stores. They stand still during a restore. */
const WRITERS = ["api", "door", "mlflow"] as const satisfies readonly Part[];

/**
 * Ends with the stack's parts running again, whether it went well or not.
 * @param postgres running, as is MinIO.
 */
export async function putBack(
	context: Context,
	{ name, backup, postgres }: { name: string; backup: Backup; postgres: Container },
): Promise<{ objects: number; removed: number }> {
	const { report, interrupted } = context;
	const writers = (await Promise.all(WRITERS.map((part) => containerOf(name, part)))).filter(
		(one) => one !== undefined,
	);
	await report.step("Stopping what writes to the stores", async () => {
		for (const one of writers) await stop(one);
	});
	try {
		await report.step("Putting the objects back", ({ detail }) =>
			importObjects(name, backup, interrupted, detail),
		);
		for (const database of DATABASES)
			await report.step(`Putting the database ${database} back`, () =>
				fillAside(postgres, database, backup, interrupted),
			);
		interrupted.throwIfAborted();
		await report.step("Changing over", async () => {
			for (const database of DATABASES) await dropIfThere(postgres, aside.going(database));
			// Nothing can be done about an interruption from here on but to go on.
			await writeKey(name, backup);
			await swap(postgres, DATABASES);
		});
		// Its start sets roles and rights as they are declared, for the databases that are new.
		await report.step("Starting Postgres anew", async () => {
			await docker(["restart", postgres.Id]);
			await untilHealthy(postgres);
		});
		const removed = await report.step("Removing objects that the backup has not", () =>
			keepOnly(name, backup, interrupted),
		);
		const objects = await report.step("Reading every object again", ({ detail }) =>
			checkObjects(name, backup, interrupted, detail),
		);
		for (const database of DATABASES) await dropIfThere(postgres, aside.going(database));
		return { objects, removed };
	} finally {
		// What an interruption or a failure left half full.
		for (const database of DATABASES) await dropIfThere(postgres, aside.coming(database)).catch(() => {});
		await report.step("Starting the parts again", async () => {
			for (const part of PARTS) {
				const one = writers.find((writer) => partOf(writer) === part);
				if (one) await docker(["start", one.Id]);
			}
		});
	}
}

async function importObjects(
	name: string,
	backup: Backup,
	signal: AbortSignal,
	detail: (text: string) => void,
): Promise<void> {
	const agent = startAgent(name, "import", signal);
	let sent = 0;
	async function* frames(): AsyncGenerator<Buffer> {
		for await (const { key, size, sha256 } of objectsIn(backup)) {
			yield frame({ key, size });
			yield* createReadStream(join(backup.path, blobPath(sha256)));
			sent += 1;
		}
		yield frame({ end: sent });
	}
	let stored = 0;
	const confirmed = async () => {
		for await (const _ of jsonLines(agent.output)) {
			stored += 1;
			if (stored % 100 === 0) detail(`${stored} of ${backup.manifest.objects.count}`);
		}
	};
	await conversation(agent, Readable.from(frames()), confirmed);
	if (stored !== sent) throw new Error(`the store confirmed ${stored} objects of ${sent}`);
}

/** Sends and listens at once: neither side waits for the other to be read. */
async function conversation(
	agent: DockerStream,
	input: Readable,
	listen: () => Promise<void>,
): Promise<void> {
	try {
		await Promise.all([pipeline(input, agent.input), listen(), agent.ended]);
	} catch (error) {
		throw await reasonOf(agent, error);
	}
}

async function fillAside(
	postgres: Container,
	database: DatabaseName,
	backup: Backup,
	signal: AbortSignal,
): Promise<void> {
	const { file, tables } = backup.manifest.databases[database];
	const found = await restoreAside(postgres, database, createReadStream(join(backup.path, file)), signal);
	const wrong = differentTables(tables, found);
	if (wrong.length > 0) throw notEqual(backup.id, `the database ${database}`, wrong);
}

/** Tables whose rows are not those of the manifest, in words. */
export function differentTables(expected: Tables, found: Tables): string[] {
	return [...new Set([...Object.keys(expected), ...Object.keys(found)])].flatMap((table) => {
		const [then, now] = [expected[table], found[table]];
		if (then?.rows === now?.rows && then?.digest === now?.digest) return [];
		if (!then || !now) return [`${table} ${then ? "is missing" : "is one too many"}`];
		return [
			then.rows === now.rows
				? `${table} has other rows`
				: `${table} has ${now.rows} rows instead of ${then.rows}`,
		];
	});
}

async function writeKey(name: string, { path }: Backup): Promise<void> {
	const agent = startAgent(name, "write-key");
	await pipeline(createReadStream(join(path, FILE.key)), agent.input).catch(() => {});
	await agent.ended;
}

async function keepOnly(name: string, backup: Backup, signal: AbortSignal): Promise<number> {
	const agent = startAgent(name, "keep", signal);
	async function* keys(): AsyncGenerator<string> {
		for await (const { key } of objectsIn(backup)) yield `${JSON.stringify(key)}\n`;
	}
	let removed = 0;
	await conversation(agent, Readable.from(keys()), async () => {
		for await (const answer of jsonLines<{ removed: number }>(agent.output)) removed = answer.removed;
	});
	return removed;
}

async function checkObjects(
	name: string,
	backup: Backup,
	signal: AbortSignal,
	detail: (text: string) => void,
): Promise<number> {
	const expected = new Map<string, ObjectEntry>();
	for await (const entry of objectsIn(backup)) expected.set(entry.key, entry);
	const wrong: string[] = [];
	const agent = askAgent(name, "check", signal);
	let seen = 0;
	for await (const { key, sha256 } of jsonLines<ObjectEntry>(agent.output)) {
		seen += 1;
		if (seen % 100 === 0) detail(`${seen} of ${expected.size}`);
		if (expected.get(key)?.sha256 !== sha256)
			wrong.push(`${key} ${expected.has(key) ? "has other content" : "is one too many"}`);
		expected.delete(key);
	}
	await agent.ended;
	wrong.push(...[...expected.keys()].map((key) => `${key} is missing`));
	if (wrong.length > 0) throw notEqual(backup.id, "the object store", wrong);
	return seen;
}

const notEqual = (id: string, what: string, wrong: readonly string[]): OpsError =>
	new OpsError({
		code: "RESTORE_UNEQUAL",
		kind: "unhealthy",
		what: `After the restore ${what} is not what the backup ${id} says.`,
		why: `${wrong.slice(0, 5).join("; ")}${wrong.length > 5 ? ` (and ${wrong.length - 5} more)` : ""}.`,
		fix: "Look at the disk and the logs (npx mlgate logs --tail 50), then run the same command again.",
	});

const HEALTHY_MS = 300_000;

async function untilHealthy({ Id }: Container): Promise<void> {
	for (const begun = Date.now(); ; await sleep(500)) {
		if ((await inspectContainer(Id))?.State.Health?.Status === "healthy") return;
		if (Date.now() - begun > HEALTHY_MS) throw new Error(`it was not healthy within ${HEALTHY_MS / 1000} s`);
	}
}
