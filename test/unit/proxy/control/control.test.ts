import { spawn } from "node:child_process";
import { stat } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { text as readText } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { ask } from "../../../../proxy/control/client.ts";
import { command, openControlServer } from "../../../../proxy/control/server.ts";
import {
	basic,
	bearer,
	facts,
	PASSWORD,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let socket: string;
let upstream = true;

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	socket = join(accounts.folder, "control.sock");
	await accounts.control.listen({
		checks: async () => [{ name: "mlflow", ok: upstream, ms: 1 }],
		commands: {
			"test/echo": command(z.strictObject({ say: z.string() }), async ({ say }) => ({ said: say })),
			"test/fail": command(z.strictObject({}), () => Promise.reject(new Error("secret detail"))),
		},
	});
}, 60_000);

afterAll(async () => {
	await accounts?.remove();
	await postgres?.close();
});

// biome-ignore lint/suspicious/noExplicitAny: answers of every command
async function run(name: string, body: object = {}): Promise<any> {
	const answer = await ask(socket, name, JSON.stringify(body));
	return answer.ok ? JSON.parse(answer.body) : Promise.reject(JSON.parse(answer.body).error);
}

const CLIENT = new URL("../../../../proxy/control/client.ts", import.meta.url).pathname;

/** The client as ops call it. */
async function cli(
	args: string[],
	stdin = "",
): Promise<{ code: number | null; answer: Record<string, unknown> }> {
	const child = spawn(process.execPath, [CLIENT, ...args], {
		env: { ...process.env, DOOR_CONTROL_SOCKET: socket },
	});
	child.stdin.end(stdin);
	const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
	const answer = await readText(child.stdout);
	return { code: await ended, answer: JSON.parse(answer) };
}

describe("the control socket", () => {
	it("is for its owner alone", async () => {
		expect((await stat(socket)).mode & 0o777).toBe(0o600);
	});

	it("is no second door's while it answers", async () => {
		await expect(accounts.control.listen()).rejects.toThrow("another door already listens");
	});

	it("is taken over when its door died without a word", async () => {
		const path = join(accounts.folder, "left.sock");
		const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
		const dead = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "ignore"] });
		await new Promise((resolve) => dead.stdout.once("data", resolve));
		const ended = new Promise((resolve) => dead.once("close", resolve));
		dead.kill("SIGKILL");
		await ended;
		expect((await stat(path)).isSocket()).toBe(true);
		const log = { debug() {}, info() {}, warn() {}, error() {} };
		const server = await openControlServer(
			path,
			{ ping: command(z.strictObject({}), async () => ({ pong: true })) },
			log,
		);
		expect(await ask(path, "ping", "")).toEqual({ ok: true, body: '{"pong":true}' });
		await server.close();
	});

	it("answers the command line's client, with the exit code that fits", async () => {
		expect(await cli(["test/echo"], '{"say": "hé"}')).toEqual({ code: 0, answer: { said: "hé" } });
		expect(await cli(["users/list"])).toMatchObject({ code: 0, answer: { users: expect.any(Array) } });
		expect(await cli(["users/reset"], '{"name": "nobody"}')).toEqual({
			code: 1,
			answer: {
				error: { code: "USER_UNKNOWN", message: 'There is no user "nobody".', fix: expect.any(String) },
			},
		});
		expect(await cli([])).toMatchObject({ code: 1, answer: { error: { code: "USAGE" } } });
	});

	it("is told apart from a door that is not there", async () => {
		const answer = await ask(join(accounts.folder, "none.sock"), "status", "");
		expect(answer.ok).toBe(false);
		expect(JSON.parse(answer.body)).toMatchObject({ error: { code: "DOOR_UNREACHABLE" } });
	});

	it.each<[string, string, string, string]>([
		["an unknown command", "users/rule", "{}", "COMMAND_UNKNOWN"],
		["a command that is no own key", "__proto__", "{}", "COMMAND_UNKNOWN"],
		["no JSON", "users/list", "{", "INPUT"],
		["no object", "users/list", "[]", "INPUT"],
		["an unknown key", "users/list", '{"all": true}', "INPUT"],
		["a missing key", "users/add", '{"name": "ada"}', "INPUT"],
		["an unknown role", "users/add", '{"name": "ada", "role": "constructor"}', "INPUT"],
		["a number for a name", "users/reset", '{"name": 7}', "INPUT"],
		["too long a body", "users/reset", JSON.stringify({ name: "x".repeat(70_000) }), "INPUT"],
	])("answers %s with a coded error", async (_name, name, body, code) => {
		const answer = await ask(socket, name, body);
		expect(answer.ok).toBe(false);
		expect(JSON.parse(answer.body)).toEqual({
			error: { code, message: expect.any(String), fix: expect.any(String) },
		});
	});

	it("keeps a fault of its own to the log", async () => {
		await expect(run("test/fail")).rejects.toMatchObject({
			code: "INTERNAL",
			message: "The command test/fail failed.",
		});
		expect(accounts.logged()).toContain("secret detail");
	});

	it("survives GET, clients that leave and bytes that are no HTTP", async () => {
		const status = await new Promise((resolve) => {
			request({ socketPath: socket, path: "/status" }, (res) => resolve(res.statusCode)).end();
		});
		expect(status).toBe(405);
		for (const bytes of [
			"",
			"\0\0\0",
			"POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
			"POST /status",
		]) {
			await new Promise<void>((resolve) => {
				const client = connect(socket, () => client.write(bytes, () => client.destroy()));
				client.on("close", () => resolve());
				client.on("error", () => {});
			});
		}
		expect(await run("status")).toMatchObject({ ok: true });
	});
});

describe("status", () => {
	it("joins the accounts' checks with the pipeline's, and writes", async () => {
		expect(await run("status")).toEqual({
			ok: true,
			checks: [
				{ name: "postgres", ok: true, ms: expect.any(Number) },
				{ name: "mlflow", ok: true, ms: 1 },
				{ name: "postgres: write and read", ok: true, ms: expect.any(Number) },
			],
		});
		upstream = false;
		expect(await run("status")).toMatchObject({ ok: false });
		upstream = true;
	});
});

describe("users and tokens from the shell", () => {
	it("walks the first day: first admin, an invitation, roles, tokens, the end", async () => {
		const first = await run("first-admin");
		expect(first).toEqual({
			needed: true,
			path: expect.stringMatching(/^\/invite\/[\w-]{43}$/),
			expires: expect.any(String),
		});
		const edge = facts({}, { listener: "edge" });
		await accounts.links.spend(first.path.slice(8), { name: "root", password: PASSWORD }, edge);
		expect(await run("first-admin")).toEqual({ needed: false });

		expect(await run("users/add", { name: "grace", role: "viewer" })).toEqual({
			user: expect.objectContaining({ name: "grace", role: "viewer", state: "invited" }),
			path: expect.stringMatching(/^\/invite\//),
			expires: expect.any(String),
		});
		const added = await run("users/add", { name: "ada", role: "editor", password: PASSWORD });
		expect(added).toEqual({ user: expect.objectContaining({ name: "ada", state: "active" }) });
		expect(await accounts.authority.authenticate(facts(basic("ada", PASSWORD)))).toMatchObject({ ok: true });
		expect(await run("users/role", { name: "ada", role: "viewer" })).toMatchObject({
			user: { role: "viewer" },
		});
		expect(await run("users/reset", { name: "ada" })).toMatchObject({
			user: { name: "ada" },
			path: expect.stringMatching(/^\/invite\//),
		});

		const made = await run("tokens/create", { name: "ci", role: "editor" });
		expect(made).toMatchObject({
			id: expect.stringMatching(/^tok-/),
			name: "ci",
			role: "editor",
			user: "operator",
			expires: expect.any(String),
		});
		expect(await accounts.authority.authenticate(facts(bearer(made.token)))).toMatchObject({
			ok: true,
			identity: { role: "editor" },
		});
		await expect(run("tokens/create", { name: "ci", role: "editor", user: "ada" })).rejects.toMatchObject({
			code: "TOKEN_ROLE",
		});
		expect(
			await run("tokens/create", { name: "own", role: "viewer", user: "ada", expires: "never" }),
		).toMatchObject({ user: "ada", expires: null });
		const { tokens } = await run("tokens/list");
		expect(tokens.map((token: { name: string; user: string }) => [token.name, token.user])).toEqual([
			["ci", "operator"],
			["own", "ada"],
		]);
		expect(JSON.stringify(tokens)).not.toContain(made.token.split(".")[2]);
		expect(await run("tokens/revoke", { id: made.id })).toMatchObject({
			token: { id: made.id, state: "revoked" },
		});
		expect(await accounts.authority.authenticate(facts(bearer(made.token)))).toMatchObject({
			reason: "TOKEN_REVOKED",
		});

		expect(await run("users/disable", { name: "ada" })).toMatchObject({ user: { state: "disabled" } });
		await expect(run("users/disable", { name: "root" })).rejects.toMatchObject({ code: "LAST_ADMIN" });
		expect(await run("users/enable", { name: "ada" })).toMatchObject({ user: { state: "active" } });
		const { users } = await run("users/list");
		expect(users.map((user: { name: string; state: string }) => `${user.name} ${user.state}`)).toEqual([
			"ada active",
			"grace invited",
			"root active",
			"inference-api system",
			"operator system",
		]);
		const trail = await accounts.database.query(
			"select distinct actor, listener from audit where act like 'token.%' or act = 'user.role'",
		);
		expect(trail).toEqual([{ actor: "operator", listener: "control" }]);
	});
});
