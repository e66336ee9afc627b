/**
 * Creates over a real Postgres with MLflow's tables as they are, and a server that makes rows in them and can be made to
 * die at any point of it.
 */
import { createHash, randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import pg from "pg";
import { pino } from "pino";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Database } from "../../../../proxy/accounts/database.ts";
import { migrate } from "../../../../proxy/accounts/migrate.ts";
import { type Creates, openCreates } from "../../../../proxy/creates/index.ts";
import { startPostgres, type TestDatabase, type TestPostgres } from "../../../support/postgres.ts";
import { eventually, exchange, quiet, Raw, type Rig, request, rig, type Seen } from "../support.ts";

const log = pino({ level: "silent" });

/** The columns that MLflow 2.13.0 has and the door reads. */
const TABLES = `
create table experiments (experiment_id serial primary key, name varchar(256) unique not null, creation_time bigint, lifecycle_stage varchar(32));
create table experiment_tags (experiment_id int, key varchar(250), value varchar(5000), primary key (key, experiment_id));
create table runs (run_uuid varchar(32) primary key, name varchar(250), user_id varchar(256), status varchar(20), start_time bigint,
	end_time bigint, lifecycle_stage varchar(20), experiment_id int);
create table tags (key varchar(250), value varchar(5000), run_uuid varchar(32), primary key (key, run_uuid));
create table latest_metrics (key varchar(250), run_uuid varchar(32));
create table params (key varchar(250), run_uuid varchar(32));
create table inputs (destination_id varchar(36));
create table registered_models (name varchar(256) primary key, creation_time bigint, description varchar(5000));
create table registered_model_tags (name varchar(256), key varchar(250), value varchar(5000));
create table model_versions (name varchar(256), version int, creation_time bigint, description varchar(5000), source varchar(500),
	run_id varchar(32), run_link varchar(500), primary key (name, version));
create table model_version_tags (name varchar(256), version int, key varchar(250), value varchar(5000));`;

let postgres: TestPostgres;
let door: TestDatabase;
let mlflow: TestDatabase;
let creates: Creates;
let it: Rig;
let pool: pg.Pool;

const query = async (text: string, values: unknown[] = []) => (await pool.query(text, values)).rows;

const open = () =>
	openCreates(
		{ url: door.url, passwordFile: door.passwordFile },
		new URL(mlflow.url).pathname.slice(1),
		log,
		{ settle: 100 },
	);

/** What MLflow does with the rows. @returns its answer */
async function make(path: string, body: Record<string, string>): Promise<object> {
	const tags = (body.tags ?? []) as unknown as { key: string; value: string }[];
	const now = Date.now();
	if (path.endsWith("/runs/create")) {
		const id = randomUUID().replaceAll("-", "");
		const name = body.run_name ?? `random-${id.slice(0, 4)}`;
		const client = await pool.connect();
		try {
			await client.query("begin");
			await client.query("insert into runs values ($1, $2, $3, 'RUNNING', $4, null, 'active', $5)", [
				id,
				name,
				body.user_id ?? "",
				body.start_time,
				body.experiment_id,
			]);
			for (const { key, value } of [...tags, { key: "mlflow.runName", value: name }]) {
				await client.query("insert into tags values ($1, $2, $3)", [key, value, id]);
			}
			await client.query("commit");
		} finally {
			client.release();
		}
		return { run: { info: { run_id: id, run_name: name }, data: {} } };
	}
	if (path.endsWith("/experiments/create")) {
		const rows = await query(
			"insert into experiments (name, creation_time, lifecycle_stage) values ($1, $2, 'active') returning experiment_id",
			[body.name, now],
		);
		return { experiment_id: String(rows[0]?.experiment_id) };
	}
	if (path.endsWith("/registered-models/create")) {
		await query("insert into registered_models values ($1, $2, $3)", [body.name, now, body.description]);
		return { registered_model: { name: body.name, creation_timestamp: now } };
	}
	if (path.endsWith("/model-versions/create")) {
		const [{ next }] = (await query(
			"select coalesce(max(version), 0) + 1 as next from model_versions where name = $1",
			[body.name],
		)) as [{ next: number }];
		await query("insert into model_versions values ($1, $2, $3, '', $4, '', '')", [
			body.name,
			next,
			now,
			body.source,
		]);
		return { model_version: { name: body.name, version: String(next), creation_timestamp: now } };
	}
	if (path.endsWith("/runs/delete-tag")) {
		const gone = await query("delete from tags where run_uuid = $1 and key = $2 returning key", [
			body.run_id,
			body.key,
		]);
		if (gone.length === 0) throw Object.assign(new Error("No tag with name"), { code: "missing" });
		return {};
	}
	const [row] = await query(
		"select value from tags where key = 'mlflow.log-model.history' and run_uuid = $1",
		[body.run_id],
	);
	const list = [...JSON.parse((row?.value as string) ?? "[]"), JSON.parse(body.model_json ?? "{}")];
	await query(
		`insert into tags values ('mlflow.log-model.history', $2, $1)
			on conflict (key, run_uuid) do update set value = excluded.value`,
		[body.run_id, JSON.stringify(list)],
	);
	return {};
}

/** What MLflow answers about a thing. */
function describeIt(url: string): object {
	const { pathname, searchParams } = new URL(url, "http://mlflow");
	const at = (name: string) => searchParams.get(name);
	if (pathname.endsWith("/runs/get"))
		return { run: { info: { run_id: at("run_id") }, data: {}, inputs: {} } };
	if (pathname.endsWith("/experiments/get")) return { experiment: { experiment_id: at("experiment_id") } };
	if (pathname.endsWith("/registered-models/get")) return { registered_model: { name: at("name") } };
	if (pathname.endsWith("/model-versions/get"))
		return { model_version: { name: at("name"), version: at("version") } };
	return {};
}

/** Where in a create the server dies, for the creates to come; afterwards it lives. */
let deaths: ("before" | "after")[] = [];
/** Answers of creates wait for it. */
let answering: Promise<void> = Promise.resolve();

async function serve(res: ServerResponse, { method, url, body }: Seen): Promise<void> {
	const creating = method === "POST";
	const death = creating ? deaths.shift() : undefined;
	if (death === "before") return void res.socket?.destroy();
	let answer: object;
	try {
		answer = creating ? await make(url, JSON.parse(body.toString())) : describeIt(url);
	} catch (error) {
		const statuses: Record<string, number> = { "23505": 400, missing: 404 };
		res
			.writeHead(statuses[(error as { code?: string }).code ?? ""] ?? 500)
			.end(JSON.stringify({ error_code: "X", message: String(error) }));
		return;
	}
	if (death === "after") return void res.socket?.destroy();
	if (creating) await answering;
	res.end(JSON.stringify(answer));
}

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);
afterAll(async () => await postgres?.close());

beforeEach(async () => {
	await postgres.start();
	[door, mlflow] = await Promise.all([postgres.database(), postgres.database()]);
	await mlflow.query(TABLES);
	await mlflow.query("insert into experiments (name, creation_time) values ('Default', 0)");
	const database = new Database({ url: door.url, passwordFile: door.passwordFile }, log);
	await migrate(database, log);
	await database.close();
	const { hostname, port, pathname } = new URL(mlflow.url);
	const password = (await import("node:fs")).readFileSync(mlflow.passwordFile, "utf8").trim();
	pool = new pg.Pool({
		...{ host: hostname, port: Number(port), user: "door", password, database: pathname.slice(1), max: 8 },
	});
	pool.on("error", () => {});
	pool.on("connect", (client) => client.on("error", () => {}));
	creates = await open();
	deaths = [];
	answering = Promise.resolve();
	it = await rig({ creates, holdSeconds: 20 });
	it.upstream.answer = (_req, res, seen) => void serve(res, seen);
});
afterEach(async () => {
	await it?.close();
	await creates?.close();
	await pool?.end();
});

const RUN = { experiment_id: "1", start_time: "1700000000000", user_id: "ada", run_name: "one" };
const RUNS = "/api/2.0/mlflow/runs/create";
const bytes = (path: string, body: object, role: "editor" | "admin" = "editor") => {
	const text = JSON.stringify(body);
	return request("POST", path, {
		role,
		headers: ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(text)}`],
		body: text,
	});
};
const post = (path: string, body: object, role: "editor" | "admin" = "editor") =>
	exchange(it.port, bytes(path, body, role));
const runs = () => query("select run_uuid from runs order by run_uuid");
const sent = (path: string) => it.upstream.seen.filter(({ url }) => url === path).length;

/** What a door leaves that died between asking MLflow and hearing its answer. @param body as it was sent, or its value */
const intend = (credential: string, route: string, body: object | string) =>
	creates.intents.record({
		credential,
		route,
		body: createHash("sha256")
			.update(typeof body === "string" ? body : JSON.stringify(body))
			.digest(),
	});

/** A new door on the same databases, as after a restart. */
async function restart(): Promise<void> {
	await it.close();
	await creates.close();
	creates = await open();
	it = await rig({ creates, holdSeconds: 20 });
	it.upstream.answer = (_req, res, seen) => void serve(res, seen);
}

const MODEL = { artifact_path: "m", utc_time_created: "now", model_uuid: "u1", flavors: {}, run_id: "r" };
const EVERY = [
	["a run", RUNS, RUN, "runs"],
	["an experiment", "/api/2.0/mlflow/experiments/create", { name: "exp" }, "experiments where name = 'exp'"],
	["a registered model", "/api/2.0/mlflow/registered-models/create", { name: "m x" }, "registered_models"],
	[
		"a model version",
		"/ajax-api/2.0/mlflow/model-versions/create",
		{ name: "m", source: "runs:/r/model" },
		"model_versions",
	],
	[
		"a logged model",
		"/api/2.0/mlflow/runs/log-model",
		{ run_id: "r", model_json: JSON.stringify(MODEL) },
		"(select json_array_elements(value::json) from tags) x",
	],
] as const;

describe.each(EVERY)("%s", (_, path, body, rows) => {
	const count = async () => Number((await query(`select count(*) as n from ${rows}`))[0]?.n);
	const plain = async () => {
		const answer = await post(path, body);
		expect(answer.status).toBe(200);
		return JSON.parse(answer.body);
	};

	test("is made once when the server dies after it made it, and the client gets what was made", async () => {
		deaths = ["after"];
		const answer = await plain();
		expect(await count()).toBe(1);
		expect(sent(path)).toBe(1);
		if (path === RUNS)
			expect(answer).toEqual({ run: { info: { run_id: (await runs())[0]?.run_uuid }, data: {} } });
		if (path.includes("experiments")) expect(answer).toEqual({ experiment_id: "2" });
		if (path.includes("versions")) expect(answer).toEqual({ model_version: { name: "m", version: "1" } });
	});

	test("is made once when the server dies before it made it", async () => {
		deaths = ["before"];
		await plain();
		expect(await count()).toBe(1);
		expect(sent(path)).toBe(2);
	});

	test("is made once when the door dies too, and the client asks again", async () => {
		deaths = ["after"];
		const text = JSON.stringify(body);
		// What a door leaves behind that is killed after the server made it.
		await intend("editor", path.replace(/^\/(ajax-)?api\/2\.0/, ""), text);
		await make(path, JSON.parse(text));
		await restart();
		await plain();
		expect(await count()).toBe(1);
		expect(sent(path)).toBe(0);
	});
});

describe("two equal creates", () => {
	test("make two runs, one after the other and at once", async () => {
		await post(RUNS, RUN);
		await post(RUNS, RUN);
		await Promise.all([post(RUNS, RUN), post(RUNS, RUN)]);
		expect(await runs()).toHaveLength(4);
	});

	test("make two runs over a restart of the door", async () => {
		await post(RUNS, RUN);
		await restart();
		expect((await post(RUNS, RUN)).status).toBe(200);
		expect(await runs()).toHaveLength(2);
	});

	test("of which one is lost: it gets its own run, not the other's", async () => {
		const first = JSON.parse((await post(RUNS, RUN)).body);
		deaths = ["after"];
		const second = JSON.parse((await post(RUNS, RUN)).body);
		expect(await runs()).toHaveLength(2);
		expect(second.run.info.run_id).not.toBe(first.run.info.run_id);
		deaths = ["before"];
		const third = JSON.parse((await post(RUNS, RUN)).body);
		expect(await runs()).toHaveLength(3);
		expect([first, second].map(({ run }) => run.info.run_id)).not.toContain(third.run.info.run_id);
	});

	test("of one name: the second is refused as MLflow refuses it, also when the first one was lost", async () => {
		const path = "/api/2.0/mlflow/experiments/create";
		deaths = ["after"];
		expect((await post(path, { name: "exp" })).status).toBe(200);
		expect((await post(path, { name: "exp" })).status).toBe(400);
		deaths = ["before"];
		expect((await post(path, { name: "exp" })).status).toBe(400);
	});
});

describe("an unknown outcome", () => {
	const leave = async (credential: string) => {
		await intend(credential, "/mlflow/runs/create", RUN);
		await make(RUNS, RUN);
		await restart();
	};

	test("is nobody else's: another credential makes its own run", async () => {
		await leave("editor");
		await post(RUNS, RUN, "admin");
		expect(await runs()).toHaveLength(2);
	});

	test("is matched once", async () => {
		await leave("editor");
		await post(RUNS, RUN);
		expect(await runs()).toHaveLength(1);
		await post(RUNS, RUN);
		expect(await runs()).toHaveLength(2);
	});

	test("is matched for five minutes", async () => {
		await intend("editor", "/mlflow/runs/create", RUN);
		await make(RUNS, RUN);
		await door.query("update creates set at = at - interval '301 seconds'");
		await restart();
		await post(RUNS, RUN);
		expect(await runs()).toHaveLength(2);
	});

	test("is not a run that was there before, nor one that somebody logs to", async () => {
		await make(RUNS, RUN);
		await intend("editor", "/mlflow/runs/create", RUN);
		await restart();
		await post(RUNS, RUN);
		expect(await runs()).toHaveLength(2);
		await leave("editor");
		await query("insert into params select 'lr', run_uuid from runs");
		await post(RUNS, RUN);
		expect(await runs()).toHaveLength(4);
	});

	test("is waited for while it is being written", async () => {
		const writer = await pool.connect();
		await intend("editor", "/mlflow/runs/create", RUN);
		await writer.query("begin");
		await writer.query(
			"insert into runs values ('slow', 'one', 'ada', 'RUNNING', 1700000000000, null, 'active', 1)",
		);
		await writer.query("insert into tags values ('mlflow.runName', 'one', 'slow')");
		await restart();
		const answer = post(RUNS, RUN);
		await quiet(500);
		expect(sent(RUNS)).toBe(0);
		await writer.query("commit");
		writer.release();
		expect(JSON.parse((await answer).body).run.info.run_id).toBe("slow");
		expect(await runs()).toHaveLength(1);
	});
});

describe("a client that leaves", () => {
	test("before its answer, and asks again: it gets the run that was made, while it is under way and after", async () => {
		for (const late of [false, true]) {
			let go = () => {};
			answering = new Promise((resolve) => {
				go = resolve;
			});
			const before = (await runs()).length;
			const raw = new Raw(it.port);
			const body = { ...RUN, run_name: `late ${late}` };
			raw.send(bytes(RUNS, body));
			await eventually(() => sent(RUNS) === before + 1);
			raw.destroy();
			await quiet(50);
			if (late) {
				go();
				await quiet(100);
			}
			const again = post(RUNS, body);
			await quiet(50);
			go();
			expect((await again).status).toBe(200);
			expect(await runs()).toHaveLength(before + 1);
		}
	});
});

describe("a tag that is deleted", () => {
	const UNTAG = "/api/2.0/mlflow/runs/delete-tag";
	const tag = { run_id: "r", key: "done" };
	const rows = () => query("select key from tags where run_uuid = 'r'");
	beforeEach(async () => void (await query("insert into tags values ('done', 'yes', 'r')")));

	test("is deleted, and what is not there is said in MLflow's words", async () => {
		expect((await post(UNTAG, tag)).status).toBe(200);
		expect((await post(UNTAG, tag)).status).toBe(404);
	});

	test.each(["after", "before"] as const)("is gone when the server dies %s it did it", async (death) => {
		deaths = [death];
		const answer = await post(UNTAG, tag);
		expect([answer.status, answer.body]).toEqual([200, "{}"]);
		expect(await rows()).toEqual([]);
	});

	test("is gone when the door dies too, and the client asks again", async () => {
		await intend("editor", "/mlflow/runs/delete-tag", tag);
		await make(UNTAG, tag);
		await restart();
		const answer = await post(UNTAG, tag);
		expect([answer.status, answer.body]).toEqual([200, "{}"]);
		expect((await post(UNTAG, tag)).status).toBe(404);
	});
});

describe("a database that the door does not reach", () => {
	test("holds creates before MLflow sees them and nothing else, and they are made once when it is back", async () => {
		await postgres.stop();
		it.upstream.answer = (req, res, seen) =>
			req.method === "GET" ? void res.end("{}") : void serve(res, seen);
		const raw = new Raw(it.port);
		raw.send(bytes(RUNS, RUN));
		await eventually(() =>
			it.door.holds.list().some(({ part, waiting }) => part === "door-database" && waiting === 1),
		);
		expect(sent(RUNS)).toBe(0);
		expect(it.door.holds.list().map(({ part }) => part)).not.toContain("postgres");
		const read = request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=1", { role: "viewer" });
		expect((await exchange(it.port, read)).status).toBe(200);
		await postgres.start();
		await eventually(() => raw.statuses.length > 0, 20_000);
		expect(raw.statuses).toEqual([200]);
		expect(await runs()).toHaveLength(1);
	});
});

test("a create that MLflow refuses is answered in its words, and is no open question", async () => {
	it.upstream.answer = (_req, res) => void res.writeHead(400).end('{"error_code":"X","message":"no"}');
	const answer = await post(RUNS, RUN);
	expect([answer.status, answer.body]).toEqual([400, '{"error_code":"X","message":"no"}']);
	await eventually(() => it.upstream.seen.length === 1);
	await quiet(100);
	const rows = await door.query("select outcome from creates");
	expect(rows).toEqual([{ outcome: "" }]);
});
