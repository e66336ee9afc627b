/**
 * Published attacks, over raw sockets, against the door of a whole stack. Whatever is refused has not reached
 * MLflow: its own network is listened to, so that nobody who could be fooled is asked.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hostName, PORT } from "../../infra/contract.ts";
import type { Role } from "../../proxy/roles.ts";
import { type Advisory, type Aim, DOORS, MLFLOW, type Shot } from "../attacks/advisories.ts";
import { Caller } from "../support/caller.ts";
import { makeThings, type Things } from "../support/calls.ts";
import { openWire, type Wire } from "../support/mlflow.ts";
import { docker, NAME, stackPort, token } from "../support/mlgate.ts";
import { exchange, Raw } from "../support/raw.ts";

const READ = "/api/2.0/mlflow/experiments/search?max_results=2";
/** Milliseconds. Hashing a password, or taking in a body that is refused, takes its time on a busy machine. */
const PATIENCE = 30_000;
const DOOR = hostName.container(NAME, "door");

let port: number;
let host: string;
let tokens: Record<Role, string>;
let things: Things;
let aim: Aim;
let caller: Caller;
let wire: Wire;

beforeAll(async () => {
	port = await stackPort();
	host = `localhost:${port}`;
	caller = new Caller(port);
	tokens = { viewer: await token("viewer"), editor: await token("editor"), admin: await token("admin") };
	things = await makeThings(caller, tokens.admin, "/api/2.0", `attacks ${Date.now().toString(36)}`);
	aim = {
		host,
		run: things.run.main,
		experiment: things.experiment.main,
		model: things.model.main,
		token: tokens.viewer,
		cookie: `mlgate-${NAME}`,
	};
	// Where the artifacts of a run lie is asked of MLflow once; from here on the door knows.
	await caller.say({ method: "GET", target: `/get-artifact?path=a.txt&run_uuid=${aim.run}` }, tokens.viewer);
	await caller.say(
		{
			method: "GET",
			target: `/model-versions/get-artifact?path=x&name=${encodeURIComponent(aim.model)}&version=1`,
		},
		tokens.viewer,
	);
	wire = await openWire();
});
afterAll(async () => {
	caller?.close();
	await wire?.end();
});

function bytesOf({ line, headers = [], body = "", bytes }: Shot, role: Role | null): string {
	if (bytes !== undefined) return bytes;
	const framed = headers.some((header) => /content-length|transfer-encoding/i.test(header));
	const method = line.split(" ")[0] ?? "";
	return [
		`${line} HTTP/1.1`,
		`Host: ${host}`,
		...(role === null ? [] : [`Authorization: Bearer ${tokens[role]}`]),
		...headers,
		...(framed || (body === "" && !["POST", "PUT", "PATCH"].includes(method))
			? []
			: [`Content-Length: ${Buffer.byteLength(body)}`]),
		"",
		body,
	].join("\r\n");
}

async function refused(_: string, { as, shots, refused: by, asks }: Advisory): Promise<void> {
	const mark = wire.mark();
	for (const role of as) {
		for (const shot of shots(aim)) {
			const { status, code } = await exchange(port, bytesOf(shot, role), PATIENCE);
			const asked = `${role ?? "a stranger"}: ${(shot.line || shot.bytes || "").slice(0, 200)} ${(shot.body ?? "").slice(0, 200)}`;
			expect({ asked, status, code: by[status]?.includes(code ?? "") ? true : code }).toEqual({
				asked,
				status: expect.toSatisfy((found: number) => found in by),
				code: true,
			});
		}
	}
	expect((await wire.since(mark)).filter((line) => !asks?.test(line))).toEqual([]);
}

const named = (advisories: readonly Advisory[]) =>
	advisories.map((advisory) => [`${advisory.id}: ${advisory.what}`, advisory] as const);

test("what is not refused is seen on MLflow's network", async () => {
	const mark = wire.mark();
	const answer = await exchange(port, bytesOf({ line: `GET ${READ}` }, "viewer"));
	expect(answer.status).toBe(200);
	expect(await wire.since(mark)).toEqual([`GET ${READ} HTTP/1.1`]);
});

describe("MLflow's advisories", () => {
	test.each(named(MLFLOW))("%s", refused);

	test("CVE-2024-3099: two names that a server may decode into one stay two", async () => {
		const [plain, encoded] = [`${things.mark}/x`, `${things.mark}%2Fx`];
		const ask = async (method: string, target: string, body?: object) => {
			const said = await caller.say(
				{
					method,
					target: `/api/2.0/mlflow/registered-models/${target}`,
					headers: { "content-type": "application/json" },
					body: body && JSON.stringify(body),
				},
				tokens.admin,
			);
			return { status: said.status, name: JSON.parse(said.body.toString()).registered_model?.name };
		};
		const get = (name: string) => ask("GET", `get?name=${encodeURIComponent(name)}`);
		for (const name of [plain, encoded]) expect((await ask("POST", "create", { name })).status).toBe(200);
		expect(await get(plain)).toEqual({ status: 200, name: plain });
		expect(await get(encoded)).toEqual({ status: 200, name: encoded });
		expect((await ask("DELETE", "delete", { name: encoded })).status).toBe(200);
		expect((await get(encoded)).status).toBe(404);
		expect(await get(plain)).toEqual({ status: 200, name: plain });
	});

	test("mlflow#21175: a `javascript:` link in a run's source finds no page that runs it", async () => {
		const set = { run_id: aim.run, key: "mlflow.source.name", value: "javascript:alert(1)" };
		await caller.say(
			{
				method: "POST",
				target: "/api/2.0/mlflow/runs/set-tag",
				headers: { "content-type": "application/json" },
				body: JSON.stringify(set),
			},
			tokens.editor,
		);
		const page = await caller.say({ method: "GET", target: "/" }, tokens.viewer);
		const policy = String(page.headers["content-security-policy"]);
		expect(page.status).toBe(200);
		expect(/script-src ([^;]*)/.exec(policy)?.[1]).toBe("'self' 'unsafe-eval'");
	});

	test("mlflow#21435 (AFINE): an MLmodel with code in it reaches no page", async () => {
		const folder = `/api/2.0/mlflow-artifacts/artifacts/${aim.experiment}/${aim.run}/artifacts`;
		const file = "flavors: !!js/function 'function () { alert(1) }'\n";
		const put = await caller.say(
			{ method: "PUT", target: `${folder}/evil/MLmodel`, body: file },
			tokens.editor,
		);
		expect(put.status).toBe(200);
		const ask = (method: string) =>
			caller.say({ method, target: `/get-artifact?path=evil/MLmodel&run_uuid=${aim.run}` }, tokens.admin);
		const page = await ask("GET");
		expect([page.status, page.code]).toEqual([403, "MODEL_FILE_CODE"]);
		const mark = wire.mark();
		expect((await ask("HEAD")).body).toHaveLength(0);
		expect(await wire.since(mark)).toEqual([]);
		const client = await caller.say({ method: "GET", target: `${folder}/evil/MLmodel` }, tokens.viewer);
		expect([client.status, client.body.toString()]).toEqual([200, file]);
	});

	test("prefix delete (mlflow.md 3.5): what is deleted takes no neighbour along", async () => {
		const root = `/api/2.0/mlflow-artifacts/artifacts/${aim.experiment}/${aim.run}/artifacts/prefix`;
		const names = ["1", "10", "1x/a", "1.txt"];
		for (const name of names) {
			const put = await caller.say({ method: "PUT", target: `${root}/${name}`, body: name }, tokens.editor);
			expect(put.status).toBe(200);
		}
		expect((await caller.say({ method: "DELETE", target: `${root}/1` }, tokens.admin)).status).toBe(200);
		const left = await Promise.all(
			names.map(
				async (name) =>
					(await caller.say({ method: "GET", target: `${root}/${name}` }, tokens.viewer)).status,
			),
		);
		expect(left).toEqual([404, 200, 200, 200]);
	});
});

describe("advisories of doors, and of what they are made of", () => {
	test.each(named(DOORS))("%s", refused);

	test("a connection whose request was refused serves nothing that was hidden in it", async () => {
		const raw = new Raw(port);
		const hidden = `GET ${READ} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${tokens.viewer}\r\n\r\n`;
		const mark = wire.mark();
		raw.send(
			bytesOf(
				{
					line: "DELETE /api/2.0/mlflow/registered-models/delete",
					headers: ["Transfer-Encoding: chunked"],
					body: `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
				},
				"admin",
			),
		);
		await raw.until(({ statuses }) => statuses.length > 0);
		await sleep(200);
		raw.destroy();
		expect(raw.statuses).toEqual([400]);
		expect(await wire.since(mark)).toEqual([]);
	});
});

describe("clients that leave, by the hundred", () => {
	/** Connections of the door to MLflow, by the kernel's own list. */
	async function upstream(): Promise<number> {
		const remote = `:${PORT.mlflow.toString(16).toUpperCase().padStart(4, "0")}`;
		const lines = (await docker("exec", DOOR, "cat", "/proc/net/tcp")).split("\n").slice(1);
		return lines.filter((line) => {
			const [, local = "", to = "", of] = line.trim().split(/\s+/);
			return to.endsWith(remote) && !local.endsWith(remote) && of === "01";
		}).length;
	}

	test("take nothing along: no connection to MLflow stays, no request of others fails", async () => {
		const started = await docker("inspect", DOOR, "--format", "{{.State.StartedAt}} {{.RestartCount}}");
		const json = "Content-Type: application/json";
		const body = '{"experiment_ids":[]}';
		const shots: [Shot, Role | null][] = [
			[{ line: `GET ${READ}` }, "viewer"],
			[{ line: `GET ${READ}`, headers: ["Authorization: Bearer a.b.c"] }, null],
			[{ line: `GET ${READ}`, headers: [`Authorization: Basic ${btoa("admin:wrong password")}`] }, null],
			[{ line: "POST /api/2.0/mlflow/runs/search", headers: [json], body }, "viewer"],
			[
				{ line: "POST /api/2.0/mlflow/runs/search", headers: [json, "Content-Length: 100"], body: '{"half' },
				"viewer",
			],
			[{ line: "POST /login", headers: ["Content-Length: 100"], body: "username=" }, null],
			[
				{
					line: "PUT /api/2.0/mlflow-artifacts/artifacts/9/left.bin",
					headers: ["Content-Length: 900000"],
					body: "x".repeat(9000),
				},
				"editor",
			],
			[{ line: `GET /get-artifact?path=a.txt&run_uuid=${aim.run}` }, "viewer"],
		];
		for (let lap = 0; lap < 5; lap++) {
			const raws = Array.from({ length: 80 }, (_, i) => {
				const raw = new Raw(port);
				const [shot, role] = shots[i % shots.length] as [Shot, Role | null];
				raw.send(bytesOf(shot, role));
				setTimeout(() => raw.socket.resetAndDestroy(), Math.random() * 60);
				return raw;
			});
			await sleep(80);
			const fine = await caller.say({ method: "GET", target: READ }, tokens.editor);
			expect(fine.status).toBe(200);
			for (const raw of raws) raw.destroy();
		}
		// Idle connections are closed after ten seconds; what a lost request held would stay.
		const end = Date.now() + 30_000;
		while ((await upstream()) > 2 && Date.now() < end) await sleep(1000);
		expect(await upstream()).toBeLessThanOrEqual(2);
		const left = await caller.say(
			{ method: "GET", target: "/api/2.0/mlflow-artifacts/artifacts/9/left.bin" },
			tokens.viewer,
		);
		expect(left.status).toBe(404);
		expect(await docker("inspect", DOOR, "--format", "{{.State.StartedAt}} {{.RestartCount}}")).toBe(started);
	});
});
