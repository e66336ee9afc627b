/**
 * The disk of everything becomes full while people work: data, images, Docker's own files and the checkout lie on it, and
 * nothing is kept back for root. On an engine of its own, whose disk is a small one.
 */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DATA_VOLUMES, hostName } from "../../infra/contract.ts";
import { Checkout } from "../support/checkout.ts";
import { python } from "../support/client.ts";
import { underLoad } from "../support/load.ts";
import { backByItself, type Ended, RUNNING_PARTS } from "../support/mlgate.ts";
import { PrivateEngine } from "../support/private-engine.ts";
import { DISK_FULL } from "./faults.ts";
import { keep, markdown, type Row } from "./results.ts";

const STACK = "full";
const NAME = `mlgate-${STACK}`;
const URI = "http://localhost:5000";
const PROCESSES = 8;
/** The images take 1.4 GiB of it, and `up` wants half a GiB for itself. */
const DISK_MIB = 3072;
/** For the backup that is at it when the disk becomes full: it is not done at once. */
const LARGE_MB = 300;
/** How long the disk stays full, at least: the clients meet every way of failing. */
const FULL_MS = 60_000;
/** Of going on by itself. */
const PATIENCE_MS = 300_000;

let checkout: Checkout;
let engine: PrivateEngine;
let folder: string;
let editor: string;
/** Of the run that is there before anything happens. */
let known: { experiment: string; run: string };
const rows: Row[] = [];

beforeAll(async () => {
	checkout = await Checkout.copy([]);
	engine = await PrivateEngine.open([...RUNNING_PARTS, "keeper", "courier"], { diskMiB: DISK_MIB });
	folder = engine.onDisk("checkout");
	const { code, stderr } = await engine.runInside("cp", ["-a", checkout.folder, folder]);
	expect(code, stderr).toBe(0);
	const up = await mustRun("up", "--yes");
	process.stderr.write(`up: ${Math.round(up.seconds)} s, ${await roomLeft()} left\n`);
	editor = (await mustRun("tokens", "create", "--name", "full", "--role", "editor")).stdout.trim();
	known = JSON.parse(await client(LOG, { LARGE_MB: String(LARGE_MB) }));
});

afterAll(async () => {
	process.stderr.write(`\n${markdown(rows)}\n\n`);
	if (process.env.MLGATE_FAULTS_KEEP && rows.length > 0) keep(rows, PROCESSES);
	try {
		await engine?.close();
	} finally {
		await checkout?.remove();
	}
});

const mlgate = (...args: string[]): Promise<Ended> =>
	engine.runInside("node", [join(folder, "ops/mlgate.mjs"), ...args, "--stack", STACK]);

async function mustRun(...args: string[]): Promise<Ended> {
	const ended = await mlgate(...args);
	if (ended.code !== 0)
		throw new Error(`mlgate ${args.join(" ")} ended with ${ended.code}\n${ended.stdout}\n${ended.stderr}`);
	return ended;
}

const roomLeft = async () => `${Math.round((await engine.freeBytes()) / 2 ** 20)} MiB`;

const LOG = `
import json, os, mlflow
mlflow.set_experiment("before")
with mlflow.start_run() as run:
    mlflow.log_metric("kept", 42)
    mlflow.log_text("still here", "note.txt")
    for number in range(3):
        with open("/tmp/large.bin", "wb") as file:
            for _ in range(int(os.environ["LARGE_MB"]) // 3):
                file.write(os.urandom(1_000_000))
        mlflow.log_artifact("/tmp/large.bin", str(number))
print(json.dumps({"run": run.info.run_id, "experiment": run.info.experiment_id}))
`;

/** @returns the last line that it says. */
async function client(script: string, more: Record<string, string> = {}): Promise<string> {
	const env = {
		MLFLOW_TRACKING_URI: URI,
		MLFLOW_TRACKING_TOKEN: editor,
		MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR: "false",
		...more,
	};
	const { code, stdout, stderr } = await python(script, env, engine.network);
	if (code !== 0) throw new Error(`the client ended with ${code}: ${stderr}`);
	return stdout.trim().split("\n").at(-1) ?? "";
}

const ask = (path: string, init: RequestInit = {}) =>
	engine.fetch(`${URI}${path}`, {
		...init,
		headers: { authorization: `Bearer ${editor}`, "content-type": "application/json" },
	});

/** What was there before can be read, and found. */
async function expectReadable(): Promise<void> {
	const { experiment, run } = known;
	const found = await ask(`/api/2.0/mlflow/runs/get?run_id=${run}`);
	expect(found.status).toBe(200);
	expect(await found.text()).toMatch(/"key": ?"kept"/);
	const listed = await ask(`/api/2.0/mlflow/artifacts/list?run_id=${run}`);
	expect(await listed.text()).toContain('"note.txt"');
	const note = await ask(`/get-artifact?path=note.txt&run_uuid=${run}`);
	expect(await note.text()).toBe("still here");
	const searched = await ask("/api/2.0/mlflow/runs/search", {
		method: "POST",
		body: JSON.stringify({ experiment_ids: [experiment] }),
	});
	expect(searched.status).toBe(200);
	expect(await searched.text()).toContain(run);
}

/** An upload is refused at once, small or large, in MLflow's words. */
async function expectUploadRefused(bytes: number): Promise<void> {
	const { experiment, run } = known;
	const begun = performance.now();
	const answer = await ask(`/api/2.0/mlflow-artifacts/artifacts/${experiment}/${run}/artifacts/more.bin`, {
		method: "PUT",
		body: "x".repeat(bytes),
	});
	expect(answer.status).toBe(507);
	expect(await answer.json()).toEqual({
		error_code: "RESOURCE_EXHAUSTED",
		message: "The artifact store is full",
	});
	expect(performance.now() - begun).toBeLessThan(30_000);
	const listed = await ask(`/api/2.0/mlflow/artifacts/list?run_id=${run}`);
	expect(await listed.text()).not.toContain("more.bin");
}

const VOLUME = hostName.dataVolume(NAME, DATA_VOLUMES[0]);

async function expectNamed(): Promise<void> {
	const status = await mlgate("status");
	expect(status.code, status.stdout + status.stderr).toBe(5);
	expect(status.stdout).toMatch(/^Wrong: The disk is full: /m);
	expect(status.stdout).toContain(VOLUME);
	expect(status.stdout).toMatch(/^Do this: Free some space on the disk where Docker keeps its volumes/m);
	const doctor = await mlgate("doctor");
	expect(doctor.code, doctor.stdout + doctor.stderr).toBe(5);
	expect(doctor.stdout).toMatch(
		/^Wrong: The disk of \S+ has .+ left; runs and artifacts need room\.\n {2}Do this: Free /m,
	);
}

/** @param what happened to which backup; its place must be as it was before. */
function expectDiskFull(what: string, { code, stdout, stderr }: Ended): void {
	expect(code, `${what}: ${stdout}${stderr}`).toBe(3);
	expect(stderr, what).toMatch(/^Error: The disk /m);
	expect(stderr, what).toMatch(/^Do this: Free (some space|\d+ MiB)/m);
}

const inside = async (place: string) =>
	(await engine.runInside("ls", ["-A", place])).stdout.split("\n").filter(Boolean);

/** It needs a new file of its log, for which there is no room. */
async function endPostgres(): Promise<void> {
	const script = `
		for _ in 1 2 3 4 5 6 7 8; do
			psql -qAt -h /run/postgresql -U postgres -c 'select txid_current()' -c 'select pg_switch_wal()' || exit 1
		done`;
	const asked = ["exec", hostName.container(NAME, "postgres"), "sh", "-c", script];
	const { stderr } = await engine.run("docker", asked);
	expect(stderr).toMatch(/server terminated abnormally|connection to server was lost|in recovery mode/);
}

/**
 * All that a client may be told: by the store, or by the database and whoever asks it. Waits that end late, and requests
 * whose connection broke when Postgres ended, say that something is away, and to ask again.
 */
const CLEAR =
	/RESOURCE_EXHAUSTED.*The artifact store is full|TEMPORARILY_UNAVAILABLE|507 Server Error|too many 503 error responses/;

/** Fills the disk and looks at everything. @param backups a folder on it; @param elsewhere one on another disk */
async function whileFull(backups: string, elsewhere: string): Promise<void> {
	// The disk becomes full in the middle of a backup onto it.
	let filled: Promise<void> | undefined;
	const cut = await engine.runInside(
		"node",
		[join(folder, "ops/mlgate.mjs"), "backup", "--folder", backups, "--stack", STACK],
		{
			once: {
				said: "Copying the objects",
				run: () => {
					filled = engine.fillDisk();
				},
			},
		},
	);
	await filled;
	const since = performance.now();
	expectDiskFull("the backup that was at it", cut);
	expect(await inside(backups)).toEqual([]);

	await expectUploadRefused(1_000);
	await expectUploadRefused(500_000);
	await expectReadable();
	await engine.fillDisk();
	await expectNamed();
	expectDiskFull("a backup onto the full disk", await mlgate("backup", "--folder", backups));
	expect(await inside(backups)).toEqual([]);
	// The commands' own files are on the full disk as well.
	expectDiskFull("a backup onto another disk", await mlgate("backup", "--folder", elsewhere));
	expect(readdirSync(elsewhere)).toEqual([]);
	expectDiskFull("up", await mlgate("up", "--yes"));
	while (performance.now() - since < FULL_MS) {
		// What is freed meanwhile is taken again.
		await engine.fillDisk();
		await sleep(2_000);
	}
	await expectReadable();
	await expectNamed();
	// The worst that can happen to Postgres: it has no room for its log, ends, and cannot come back.
	await endPostgres();
	await sleep(10_000);
	await expectNamed();
	process.stderr.write(`full for ${Math.round((performance.now() - since) / 1000)} s\n`);
}

describe("the disk is full", () => {
	test("while people work: refusals are clear, reads go on, nothing acknowledged is lost, and it goes on by itself when there is room", async () => {
		const backups = engine.onDisk("backups");
		const elsewhere = mkdtempSync(join(tmpdir(), "mlgate-backups-"));
		try {
			const { result: back, load } = await underLoad(
				URI,
				editor,
				async () => {
					try {
						await whileFull(backups, elsewhere);
					} finally {
						await engine.freeDisk();
					}
					return await backByItself(mlgate, PATIENCE_MS);
				},
				{ processes: PROCESSES, engine },
			);
			process.stderr.write(`back by itself after ${Math.round(back)} s\n${told(load.failed)}\n`);
			rows.push({ ...DISK_FULL, held: undefined, load });
			expect(load.runs).toBeGreaterThan(0);
			expect(load.failed.length).toBeGreaterThan(0);
			expect(load.failed.filter((text) => !CLEAR.test(text))).toEqual([]);
			expect(load.lost).toEqual([]);
			expect(load.twice).toEqual([]);
		} finally {
			rmSync(elsewhere, { recursive: true, force: true });
		}
	});

	test("afterwards everything works: new runs and artifacts, a backup, and up has nothing to do", async () => {
		await expectReadable();
		known = JSON.parse(await client(LOG, { LARGE_MB: "3" }));
		await expectReadable();
		const up = await mustRun("up", "--yes");
		expect(up.stdout).toContain("Nothing to change");
		await mustRun("backup", "--folder", engine.onDisk("backups"));
		expect(await inside(engine.onDisk("backups"))).toHaveLength(1);
	});
});

/** Every kind of answer once, with how often it came. */
function told(failed: readonly string[]): string {
	const kinds = Map.groupBy(failed, (text) =>
		text.replaceAll(/[0-9a-f]{32}|load-[\w-]+|\d+/g, "#").slice(0, 250),
	);
	return [...kinds].map(([kind, all]) => `  ${all.length} times: ${kind}`).join("\n");
}
