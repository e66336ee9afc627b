/** The audit trail: what is folded, what waits where while Postgres is away, and that no row is ever changed. */
import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Database } from "../../../../proxy/accounts/database.ts";
import type { Log } from "../../../../proxy/accounts/log.ts";
import { migrate } from "../../../../proxy/accounts/migrate.ts";
import type { AuditEvent } from "../../../../proxy/audit/event.ts";
import { AuditTrail, TRAIL_LIMITS, type TrailLimits } from "../../../../proxy/audit/trail.ts";
import { startPostgres, type TestDatabase, type TestPostgres } from "../../../support/postgres.ts";

let postgres: TestPostgres;
let where: TestDatabase;
let database: Database;
let folder: string;
let now: number;
let lines: string[];
let log: Log;
const trails: AuditTrail[] = [];

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.close());

beforeEach(async () => {
	await postgres.start();
	lines = [];
	log = pino({ level: "debug" }, { write: (line: string) => void lines.push(line) });
	where = await postgres.database();
	database = new Database(where, log);
	await migrate(database, log);
	folder = await mkdtemp(join(tmpdir(), "mlgate-test-audit-"));
	now = Date.parse("2026-11-01T12:00:00Z");
}, 60_000);

afterEach(async () => {
	await postgres.start();
	for (const trail of trails.splice(0)) await trail.close();
	await database.close();
	await rm(folder, { recursive: true, force: true });
}, 60_000);

const spoolFile = () => join(folder, "spool.jsonl");

/** Writes when it is told to, and not by itself. */
async function open(limits: Partial<TrailLimits> = {}, file = spoolFile()): Promise<AuditTrail> {
	const trail = new AuditTrail({
		database,
		spoolFile: file,
		clock: () => now,
		log,
		limits: { ...TRAIL_LIMITS, every: 3_600_000, retry: 0, ...limits },
	});
	await trail.open();
	trails.push(trail);
	return trail;
}

const write = (more: Partial<AuditEvent> = {}): AuditEvent => ({
	act: "mlflow.write",
	actor: "ada",
	role: "editor",
	credential: "tok-1",
	listener: "edge",
	address: "172.18.0.1",
	class: "write",
	route: "/api/2.0/mlflow/runs/create",
	target: "run 0123",
	status: 200,
	...more,
});
const refusal = (more: Partial<AuditEvent> = {}): AuditEvent =>
	write({
		act: "request.refuse",
		actor: "vera",
		role: "viewer",
		status: 403,
		reason: "ROLE_EDITOR",
		...more,
	});

const rows = () => where.query("select * from audit order by id");
const logged = () =>
	lines.map((line) => JSON.parse(line)).flatMap(({ audit }) => (audit === undefined ? [] : [audit]));

describe("an event", () => {
	it("is a line of the log at once, and a row with everything that was known", async () => {
		const trail = await open();
		trail.note(write({ detail: { run_id: "0123", key: "loss" } }));
		expect(logged()).toMatchObject([{ act: "mlflow.write", actor: "ada", run_id: "0123" }]);
		await trail.flush();
		expect(await rows()).toMatchObject([
			{
				at: new Date(now),
				actor: "ada",
				role: "editor",
				credential: "tok-1",
				act: "mlflow.write",
				class: "write",
				route: "/api/2.0/mlflow/runs/create",
				target: "run 0123",
				listener: "edge",
				address: "172.18.0.1",
				status: 200,
				reason: null,
				count: 1,
				detail: { run_id: "0123", key: "loss" },
			},
		]);
	});

	it("that repeats within a minute is told once more, with its number and its end", async () => {
		const trail = await open();
		for (let i = 0; i < 40; i++) {
			trail.note(refusal({ target: `run ${i}` }));
			now += 1_000;
		}
		await trail.flush();
		expect(await rows()).toMatchObject([{ count: 1, last_at: null }]);
		now += 60_000;
		await trail.flush();
		expect(await rows()).toMatchObject([
			{ count: 1 },
			{
				count: 39,
				at: new Date("2026-11-01T12:00:01Z"),
				last_at: new Date("2026-11-01T12:00:39Z"),
				reason: "ROLE_EDITOR",
			},
		]);
	});

	it("of another actor, address, route or reason is another one", async () => {
		const trail = await open();
		for (const more of [
			{},
			{ actor: "eve" },
			{ address: "172.18.0.9" },
			{ route: "/api/2.0/mlflow/runs/delete" },
			{ reason: "ROLE_ADMIN" },
		]) {
			trail.note(refusal(more));
		}
		await trail.flush();
		expect(await rows()).toHaveLength(5);
	});

	it("of two different subjects is two, where it changed something", async () => {
		const trail = await open();
		for (const target of ["run 1", "run 2", "run 2"]) trail.note(write({ target }));
		now += 61_000;
		await trail.flush();
		expect((await rows()).map(({ target, count }) => [target, count])).toEqual([
			["run 1", 1],
			["run 2", 1],
			["run 2", 1],
		]);
	});

	it("with text that no database takes is taken all the same, cut to its measure", async () => {
		const trail = await open();
		trail.note(write({ target: "a\0b\ud800", detail: { name: "x".repeat(5_000) } }));
		await trail.flush();
		const [row] = await rows();
		expect(row).toMatchObject({ target: "ab\ufffd", detail: { name: "x".repeat(256) } });
	});
});

describe("append-only", () => {
	beforeEach(async () => {
		const trail = await open();
		trail.note(write());
		trail.note(refusal());
		await trail.flush();
	});

	it.each([
		["changed", "update audit set actor = 'nobody'"],
		["taken away", "delete from audit"],
		["emptied", "truncate audit"],
	])("no row can be %s by the door's own role", async (_, statement) => {
		await expect(where.query(statement)).rejects.toThrow(/append-only|permission denied/);
		expect(await rows()).toHaveLength(2);
	});

	it("what is old enough goes: refusals after thirty days, the rest after a year", async () => {
		const add =
			"insert into audit (at, actor, act, listener, address) values (now() - $1::interval, 'old', $2, 'edge', '')";
		for (const act of ["mlflow.write", "request.refuse"]) {
			for (const age of ["29 days", "31 days", "364 days", "366 days"]) await where.query(add, [age, act]);
		}
		const trail = await open();
		await trail.flush();
		const left = await where.query("select act from audit where actor = 'old' order by act");
		expect(left.map(({ act }) => act)).toEqual([
			"mlflow.write",
			"mlflow.write",
			"mlflow.write",
			"request.refuse",
		]);
	});
});

describe("while Postgres is away", () => {
	it("rows lie on the door's own disk, outlive the process, and are written once, in order", async () => {
		const trail = await open();
		trail.note(write({ target: "run 1" }));
		await trail.flush();
		await postgres.stop();
		trail.note(write({ target: "run 2" }));
		trail.note(refusal());
		await trail.flush();
		await trail.close();
		expect((await stat(spoolFile())).mode & 0o777).toBe(0o600);
		expect((await readFile(spoolFile(), "utf8")).trim().split("\n")).toHaveLength(2);
		await postgres.start();
		const next = await open();
		next.note(write({ target: "run 3" }));
		await next.flush();
		await next.flush();
		expect((await rows()).map(({ act, target }) => `${act} ${target}`)).toEqual([
			"mlflow.write run 1",
			"mlflow.write run 2",
			"request.refuse run 0123",
			"mlflow.write run 3",
		]);
		await expect(stat(spoolFile())).rejects.toThrow("ENOENT");
	}, 60_000);

	it("the last words of a door that stops go to the database if that is back, however lately it was away", async () => {
		const trail = await open({ retry: 3_600_000 });
		await postgres.stop();
		trail.note(write());
		await trail.flush();
		await postgres.start();
		await trail.flush();
		expect(await rows()).toHaveLength(0);
		await trail.close();
		expect(await rows()).toHaveLength(1);
	}, 60_000);

	it("a row that was committed although the answer was lost is one row", async () => {
		const trail = await open();
		await postgres.stop();
		trail.note(write());
		await trail.flush();
		const spooled = await readFile(spoolFile(), "utf8");
		await postgres.start();
		await trail.flush();
		expect(await rows()).toHaveLength(1);
		// As if the process had died between the commit and the end of its spool.
		await appendFile(spoolFile(), spooled);
		const next = await open();
		await next.flush();
		expect(await rows()).toHaveLength(1);
	}, 60_000);

	it("a line that a crash has cut is left out, and told", async () => {
		await appendFile(spoolFile(), '{"act":"mlflow.wr\n');
		const trail = await open();
		trail.note(write());
		await trail.flush();
		expect(await rows()).toHaveLength(1);
		expect(lines.join("")).toContain("lines of the audit spool cannot be read");
	});
});

describe("on a full disk", () => {
	it("rows wait in memory; when that is full nobody may act, and the log says so; then all is written", async () => {
		const trail = await open({ rows: 5 }, "/dev/full");
		await postgres.stop();
		for (let i = 0; i < 4; i++) trail.note(write({ target: `run ${i}` }));
		await trail.flush();
		expect(trail.full).toBe(false);
		trail.note(write({ target: "run 4" }));
		await trail.flush();
		expect(trail.full).toBe(true);
		expect(lines.join("")).toContain("the audit spool cannot be written");
		await postgres.start();
		await trail.flush();
		expect(trail.full).toBe(false);
		expect(await rows()).toHaveLength(5);
	}, 60_000);

	it("a spool that has reached its bound takes no more, and what it took stays whole", async () => {
		const trail = await open({ spool: 1_000, rows: 4 });
		await postgres.stop();
		for (let i = 0; i < 8; i++) {
			trail.note(write({ target: `run ${i}` }));
			await trail.flush();
		}
		expect((await stat(spoolFile())).size).toBeLessThanOrEqual(1_000);
		expect(trail.full).toBe(true);
		await postgres.start();
		await trail.flush();
		expect(trail.full).toBe(false);
		expect((await rows()).map(({ target }) => target)).toEqual(
			[0, 1, 2, 3, 4, 5, 6, 7].map((i) => `run ${i}`),
		);
	}, 60_000);
});

describe("a flood of refusals", () => {
	it("of many kinds is counted, and leaves the room for acts alone", async () => {
		const trail = await open({ kinds: 10, rows: 40 });
		for (let i = 0; i < 500; i++) trail.note(refusal({ address: `198.51.100.${i}` }));
		trail.note(write());
		expect(trail.full).toBe(false);
		await trail.flush();
		const all = await rows();
		expect(all.filter(({ act }) => act === "request.refuse")).toHaveLength(10);
		expect(all).toContainEqual(expect.objectContaining({ act: "mlflow.write" }));
		expect(all).toContainEqual(
			expect.objectContaining({ act: "audit.refuse", reason: "TOO_MANY_KINDS", count: 490 }),
		);
	});
});
