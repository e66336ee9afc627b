import {
	appendFileSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { hostName } from "../../../infra/contract.ts";
import { contentsOf, isEmpty } from "../../../ops/lib/backup/contents.ts";
import { type Backup, findBackup, listBackups } from "../../../ops/lib/backup/folder.ts";
import { blobPath, type ObjectEntry } from "../../../ops/lib/backup/format.ts";
import { makeBackup } from "../../../ops/lib/backup/make.ts";
import { stores as storesOf } from "../../../ops/lib/backup/parts.ts";
import { putBack } from "../../../ops/lib/backup/restore.ts";
import { verify } from "../../../ops/lib/backup/verify.ts";
import type { Context } from "../../../ops/lib/command.ts";
import { execMarked } from "../../../ops/lib/docker-stream.ts";
import { OpsError } from "../../../ops/lib/errors.ts";
import { silent } from "../../../ops/lib/report.ts";
import { startStores, type TestStores } from "../../support/stores.ts";

// Containers start slowly on a busy machine.
vi.setConfig({ testTimeout: 300_000 });
/** On a new machine the images are built first. */
const START = 1_800_000;

let stores: TestStores;
let checkout: string;
let root: string;

/** What the schemas have that a backup looks at, and some of what makes a dump hard. */
const SCHEMA = {
	mlflow: `
		create table alembic_version (version_num text primary key);
		insert into alembic_version values ('4465047574b1');
		create table experiments (experiment_id int primary key, name text);
		insert into experiments values (0, 'Default'), (1, 'with ''quotes'' and 日本');
		create table runs (run_uuid text primary key, metric double precision, blob bytea, at timestamptz);
		insert into runs select md5(n::text), n / 7.0, decode(md5(n::text), 'hex'), now() from generate_series(1, 500) n;
		insert into runs values ('nan', 'NaN', null, null), ('inf', 'Infinity', '', '-infinity');
		create table registered_models (name text primary key);
		create schema "Odd Schema"; create table "Odd Schema"."Odd Table" ("Odd Column" text);
		insert into "Odd Schema"."Odd Table" values (null), (E'tab\\tnewline\\nbackslash\\\\');
		alter table runs owner to mlflow;`,
	door: `
		create table schema_migrations (version int primary key); insert into schema_migrations values (3);
		create table users (name text primary key, system boolean); insert into users values ('operator', true), ('vera', false);`,
} as const;

const OBJECTS: Readonly<Record<string, string>> = {
	"0/run/artifacts/plain.txt": "hello",
	"0/run/artifacts/empty.bin": "",
	"0/run/artifacts/same as plain.txt": "hello",
	"0/run/artifacts/a b&c=d+e%20f;'\"<>.txt": "odd name",
	"0/run/artifacts/日本/é.txt": "names",
	"0/run/artifacts/large.bin": "x".repeat(3 * 1024 * 1024 + 1),
};

beforeAll(async () => {
	stores = await startStores();
	checkout = mkdtempSync(join(tmpdir(), "mlgate-test-backup-"));
	root = join(checkout, "backups");
	writeFileSync(join(checkout, "Pulumi.lab.yaml"), `config:\n  mlgate:name: ${stores.name}\n`);
	await stores.sql("mlflow", SCHEMA.mlflow);
	await stores.sql("door", SCHEMA.door);
	for (const [key, content] of Object.entries(OBJECTS)) await stores.put(key, content);
}, START);

afterAll(async () => {
	await stores?.close();
	if (checkout) rmSync(checkout, { recursive: true, force: true });
});

function context(interrupted: AbortSignal = new AbortController().signal): Context {
	return {
		...{ stack: "lab", yes: true, json: false, interactive: false, checkout, report: silent, interrupted },
		print() {},
		about() {},
	};
}

const backup = (): Promise<Backup> => makeBackup(context(), root);

async function restore(from: Backup): Promise<void> {
	const { postgres } = await storesOf(stores.name);
	await putBack(context(), { name: stores.name, backup: from, postgres });
}

const rows = () =>
	stores.sql("mlflow", "select md5(string_agg(r::text, '|' order by run_uuid)), count(*) from runs r");

async function refusal(work: Promise<unknown>): Promise<OpsError> {
	try {
		await work;
	} catch (error) {
		if (error instanceof OpsError) return error;
		throw error;
	}
	throw new Error("it was not refused");
}

describe("a backup", () => {
	let made: Backup;

	test("holds every table with its rows, every object with its hash, the key and the settings", async () => {
		made = await backup();
		const { databases, objects, versions, settings } = made.manifest;
		expect(databases.mlflow.tables["public.runs"]).toMatchObject({ rows: 502 });
		expect(databases.mlflow.tables['"Odd Schema"."Odd Table"']).toMatchObject({ rows: 2 });
		expect(databases.door.tables["public.users"]).toMatchObject({ rows: 2 });
		expect(versions).toMatchObject({ alembic: "4465047574b1", mlflow: "2.13.0", door: 3 });
		expect(versions.postgres).toMatch(/^15\.\d+$/);
		expect(objects.count).toBe(Object.keys(OBJECTS).length);
		expect(settings?.bytes).toBeGreaterThan(0);
		expect(readFileSync(join(made.path, "wrapping-key"), "utf8")).toBe("the first key");
		const entries = readFileSync(join(made.path, "objects.jsonl"), "utf8")
			.trim()
			.split("\n")
			.map((line) => JSON.parse(line) as ObjectEntry);
		const kept = Object.fromEntries(
			entries.map(({ key, sha256 }) => [key, readFileSync(join(made.path, blobPath(sha256)), "latin1")]),
		);
		expect(kept).toEqual(latin1(OBJECTS));
	});

	test("gets all that a command writes, however late it is read", async () => {
		// About what fits between a command that has ended and a reader that does nothing: Docker keeps it for two seconds.
		const sizes = [1_400, 1_600, 1_800].map((kib) => kib * 1024);
		const found = await Promise.all(
			sizes.map(async (size) => {
				const command = ["head", "-c", String(size), "/dev/zero"];
				const { output, ended } = execMarked(hostName.container(stores.name, "postgres"), command);
				let bytes = 0;
				for await (const chunk of output) {
					if (bytes === 0) await sleep(4_500);
					bytes += chunk.length;
				}
				await ended;
				return bytes;
			}),
		);
		expect(found).toEqual(sizes);
	});

	test("is readable by its owner alone, holds no password of a store, and is listed as verified", async () => {
		expect(statSync(made.path).mode & 0o777).toBe(0o700);
		for (const file of readdirSync(made.path, { recursive: true, withFileTypes: true }))
			if (file.isFile()) expect(statSync(join(file.parentPath, file.name)).mode & 0o077).toBe(0);
		const [listed] = listBackups(root).backups;
		expect(listed?.id).toBe(made.id);
		expect(listed?.verified?.at).toBeTruthy();
	});

	test("comes back whole over what was changed since, and what is one too many goes", async () => {
		const before = await rows();
		await stores.sql(
			"mlflow",
			"delete from runs where run_uuid < '8'; update runs set metric = 0; create table extra (x int)",
		);
		await stores.sql("door", "delete from users");
		await stores.put("0/run/artifacts/plain.txt", "overwritten");
		await stores.put("9/later.txt", "one too many");
		await stores.key.write("another key");
		await restore(made);
		expect(await rows()).toBe(before);
		expect(await stores.sql("mlflow", "select to_regclass('extra') is null")).toBe("t");
		expect(await stores.sql("door", "select count(*) from users")).toBe("2");
		expect(await stores.objects()).toEqual(latin1(OBJECTS));
		expect(await stores.key.read()).toBe("the first key");
		expect(
			await stores.sql(
				"postgres",
				"select string_agg(datname, ' ' order by datname) from pg_database where not datistemplate",
			),
		).toBe("door mlflow postgres");
		// Owner and rights are as the image declares them for databases that it made itself.
		expect(
			await stores.sql(
				"postgres",
				"select pg_get_userbyid(datdba), has_database_privilege('public', 'mlflow', 'connect') from pg_database where datname = 'mlflow'",
			),
		).toBe("mlflow|f");
		expect(await stores.sql("mlflow", "select tableowner from pg_tables where tablename = 'runs'")).toBe(
			"mlflow",
		);
	});

	test("counts what a stack has that it has not", async () => {
		const { postgres } = await storesOf(stores.name);
		const counted = await contentsOf(stores.name, postgres, new Set(Object.keys(OBJECTS)));
		expect(counted).toEqual({ runs: 502, experiments: 1, models: 0, users: 1, objects: 0 });
		expect(isEmpty(counted)).toBe(false);
	});

	test("that lost or changed a byte is not restored, and nothing of the stack is touched", async () => {
		const [entry] = readFileSync(join(made.path, "objects.jsonl"), "utf8").split("\n");
		const blob = join(made.path, blobPath((JSON.parse(entry ?? "") as ObjectEntry).sha256));
		const content = readFileSync(blob);
		writeFileSync(blob, Buffer.from(content.map((byte) => byte ^ 1)));
		expect(await verify(made)).toEqual([expect.stringMatching(/other content|has \d+ bytes/)]);
		expect(findBackup(root, made.id).verified).toBeUndefined();
		writeFileSync(blob, content);
		expect(await verify(made)).toEqual([]);
		appendFileSync(join(made.path, "mlflow.dump"), "x");
		expect(await verify(made)).toEqual([expect.stringContaining("mlflow.dump has")]);
		rmSync(join(made.path, "mlflow.dump"));
		expect(await verify(made)).toEqual(["mlflow.dump is missing"]);
	});

	test("whose manifest was changed, or is of a newer format, is named as such", async () => {
		const file = join(made.path, "manifest.json");
		const text = readFileSync(file, "utf8");
		writeFileSync(file, text.replace('"rows": 502', '"rows": 501'));
		expect((await refusal(Promise.resolve().then(() => findBackup(root, made.id)))).problem).toMatchObject({
			code: "BACKUP_UNUSABLE",
			kind: "precondition",
		});
		writeFileSync(file, text);
		expect(listBackups(root).backups).toHaveLength(1);
	});
});

describe("a backup that does not come to its end", () => {
	test("leaves nothing that looks like one: interrupted", async () => {
		const before = readdirSync(root);
		const interruption = new AbortController();
		setTimeout(() => interruption.abort(new Error("Ctrl-C")), 900);
		await expect(makeBackup(context(interruption.signal), root)).rejects.toThrow();
		expect(readdirSync(root)).toEqual(before);
	});

	test("leaves nothing that looks like one: killed; the next one removes what it left", async () => {
		const partial = join(root, "lab-20200101-000000.partial");
		mkdirSync(partial);
		const other = join(root, "other-20200101-000000.partial");
		mkdirSync(other);
		expect(listBackups(root).backups.map(({ id }) => id)).not.toContain("lab-20200101-000000");
		expect(
			(await refusal(Promise.resolve().then(() => findBackup(root, "lab-20200101-000000")))).problem.why,
		).toBe("It was never finished.");
		await backup();
		expect(existsSync(partial)).toBe(false);
		// That of another stack may be at work.
		expect(existsSync(other)).toBe(true);
		rmSync(other, { recursive: true });
	});

	test("an unknown one is refused with those there are", async () => {
		const error = await refusal(Promise.resolve().then(() => findBackup(root, "lab-19990101-000000")));
		expect(error.exitCode).toBe(2);
		expect(error.problem.why).toMatch(/lab-\d{8}-\d{6}/);
		for (const odd of ["../../etc", "", "lab", "lab-20200101-000000/.."])
			expect((await refusal(Promise.resolve().then(() => findBackup(root, odd)))).problem.code).toBe(
				"BACKUP_UNKNOWN",
			);
	});
});

describe("a restore that does not come to its end", () => {
	test("leaves the stack as it was, and the next one completes", async () => {
		const made = await backup();
		await stores.sql("mlflow", "insert into runs values ('after the backup', 1, null, null)");
		const before = await rows();
		const { postgres } = await storesOf(stores.name);
		const interruption = new AbortController();
		const stepwise = {
			...silent,
			step: (async (title, work) => {
				if (title.startsWith("Putting the database door")) interruption.abort(new Error("Ctrl-C"));
				return await work({ detail() {} });
			}) as typeof silent.step,
		};
		const interrupted = { ...context(interruption.signal), report: stepwise };
		await expect(putBack(interrupted, { name: stores.name, backup: made, postgres })).rejects.toThrow();
		expect(await rows()).toBe(before);
		expect(
			await stores.sql("postgres", "select count(*) from pg_database where datname like '%restore%'"),
		).toBe("0");
		await restore(made);
		expect(await stores.sql("mlflow", "select count(*) from runs where run_uuid = 'after the backup'")).toBe(
			"0",
		);
	});
});

/** As the objects come back: byte by byte. */
function latin1(objects: Readonly<Record<string, string>>): Record<string, string> {
	return Object.fromEntries(
		Object.entries(objects).map(([key, content]) => [key, Buffer.from(content).toString("latin1")]),
	);
}
