/** What is taken back acts at once, and what the door cannot reach fails nobody who is signed in. */
import { type ClientRequest, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { hostName } from "../../infra/contract.ts";
import { docker, mlgate, mustAnswer, mustRun, NAME, stackPort, token } from "../support/mlgate.ts";

const MIB = 1024 * 1024;
const PASSWORD = "correct horse battery staple";
const POSTGRES = hostName.container(NAME, "postgres");
const SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1";
const BIG = "/api/2.0/mlflow-artifacts/artifacts/failsafe/big.bin";

/** Another one each time: with a stack that was kept, users and tokens of the last time are still there. */
const TAG = Date.now().toString(36);

/** Seconds within which what is running ends once its credential has. */
const ENDS_WITHIN = 5;

let port: number;
let uri: string;
let admin: string;

beforeAll(async () => {
	port = await stackPort();
	uri = `http://localhost:${port}`;
	admin = await token("admin", "failsafe-admin");
	const body = new Uint8Array(256 * MIB);
	const answer = await fetch(uri + BIG, { method: "PUT", body, headers: bearer(admin) });
	expect(answer.status).toBe(200);
});

const bearer = (text: string) => ({ authorization: `Bearer ${text}` });
const status = async (headers: Record<string, string>, path = SEARCH) =>
	(await fetch(uri + path, { headers })).status;
const sql = (statement: string) =>
	docker("exec", "--user", "postgres", POSTGRES, "psql", "-h", "/run/postgresql", "-qAtc", statement);

/** A new user with the role, and a token of theirs by way of the page that makes it. */
async function member(name: string, role: string): Promise<Record<"cookie" | "csrf", string>> {
	await mustRun(["users", "add", name, "--role", role, "--password-stdin"], { input: PASSWORD });
	const signedIn = await fetch(`${uri}/login`, {
		method: "POST",
		redirect: "manual",
		body: new URLSearchParams({ username: name, password: PASSWORD }),
	});
	expect(signedIn.status).toBe(303);
	const cookie = signedIn.headers
		.getSetCookie()
		.map((one) => one.split(";")[0])
		.join("; ");
	return { cookie, csrf: /X-CSRF-Token=([\w-]+)/.exec(cookie)?.[1] ?? "" };
}

/** A download that reads slowly; resolves when its connection has ended, with the bytes that came. */
function slowDownload(headers: Record<string, string>): { begun: Promise<void>; ended: Promise<number> } {
	const began = Promise.withResolvers<void>();
	const ended = Promise.withResolvers<number>();
	let bytes = 0;
	request(uri + BIG, { headers }, (res) => {
		const pace = setInterval(() => bytes < 250 * MIB && res.resume(), 100);
		res.on("data", (chunk: Buffer) => {
			bytes += chunk.length;
			res.pause();
			began.resolve();
		});
		res.on("error", () => {});
		res.on("close", () => {
			clearInterval(pace);
			ended.resolve(bytes);
		});
	})
		.on("error", (error) => ended.reject(error))
		.end();
	return { begun: began.promise, ended: ended.promise };
}

/** An upload that never comes to its end by itself; resolves with its status, or 0 for a broken connection. */
function endlessUpload(headers: Record<string, string>): { begun: Promise<unknown>; ended: Promise<number> } {
	const ended = Promise.withResolvers<number>();
	const req: ClientRequest = request(`${uri}/api/2.0/mlflow-artifacts/artifacts/failsafe/endless.bin`, {
		method: "PUT",
		headers: { ...headers, "transfer-encoding": "chunked" },
	});
	req.on("response", (res) => {
		res.resume();
		ended.resolve(res.statusCode ?? 0);
	});
	req.on("error", () => ended.resolve(0));
	const chunk = Buffer.alloc(64 * 1024);
	const pace = setInterval(() => req.write(chunk), 50);
	void ended.promise.finally(() => {
		clearInterval(pace);
		req.destroy();
	});
	return { begun: sleep(1_000), ended: ended.promise };
}

describe("what is taken back acts on the next request, and ends what is running", () => {
	const running = async (headers: Record<string, string>, end: () => Promise<unknown>) => {
		const download = slowDownload(headers);
		const upload = endlessUpload(headers);
		await Promise.all([download.begun, upload.begun]);
		await end();
		const from = performance.now();
		expect(await status(headers)).toBe(401);
		expect([0, 401]).toContain(await upload.ended);
		expect((performance.now() - from) / 1000).toBeLessThan(ENDS_WITHIN);
		// Its slow reader sees the end later, behind what was on its way; by itself it would take minutes.
		expect(await download.ended).toBeLessThan(64 * MIB);
		// Nothing of the upload is there.
		const left = await fetch(`${uri}/api/2.0/mlflow-artifacts/artifacts?path=failsafe`, {
			headers: bearer(admin),
		});
		expect(await left.text()).not.toContain("endless.bin");
	};

	test("a revoked token", async () => {
		const text = await token("editor", `failsafe-editor-${TAG}`);
		const { tokens } = await mustAnswer(["tokens", "list"]);
		const { id } = tokens.find(({ name }: { name: string }) => name === `failsafe-editor-${TAG}`);
		await running(bearer(text), () => mustRun(["tokens", "revoke", id]));
	});

	test("a disabled user's session", async () => {
		const { cookie, csrf } = await member(`eve-disabled-${TAG}`, "editor");
		await running({ cookie, "x-csrf-token": csrf }, () =>
			mustRun(["users", "disable", `eve-disabled-${TAG}`]),
		);
	});

	test("a role that became less: the session reads on, and its running upload ends", async () => {
		const { cookie, csrf } = await member(`eve-demoted-${TAG}`, "editor");
		const headers = { cookie, "x-csrf-token": csrf };
		const upload = endlessUpload(headers);
		await upload.begun;
		await mustRun(["users", "role", `eve-demoted-${TAG}`, "viewer"]);
		const from = performance.now();
		expect([0, 401]).toContain(await upload.ended);
		expect((performance.now() - from) / 1000).toBeLessThan(ENDS_WITHIN);
		expect(await status({ cookie })).toBe(200);
		const write = await fetch(`${uri}/api/2.0/mlflow/experiments/create`, {
			method: "POST",
			headers: { ...headers, "content-type": "application/json" },
			body: JSON.stringify({ name: "by eve" }),
		});
		expect(write.status).toBe(403);
	});
});

describe("a minute without the door's own database connection", () => {
	test("fails no signed-in request; changes are refused; what was done meanwhile is in the trail afterwards", async () => {
		const { cookie, csrf } = await member(`vera-outage-${TAG}`, "viewer");
		const editor = await token("editor", `outage-editor-${TAG}`);
		const basic = `Basic ${Buffer.from(`vera-outage-${TAG}:${PASSWORD}`).toString("base64")}`;
		const ways: Record<string, Record<string, string>> = {
			token: bearer(editor),
			session: { cookie },
			password: { authorization: basic },
		};
		for (const headers of Object.values(ways)) expect(await status(headers)).toBe(200);
		const answers: Record<string, number> = {};
		let tags = 0;
		let created: number | undefined;
		const create = async () => {
			const answer = await fetch(`${uri}/api/2.0/mlflow/runs/create`, {
				method: "POST",
				headers: { ...bearer(editor), "content-type": "application/json" },
				body: JSON.stringify({ experiment_id: "0", run_name: `outage-${TAG}` }),
			});
			created = answer.status;
		};
		let creating: Promise<void> | undefined;
		await sql("alter role door nologin");
		try {
			await sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'door'");
			creating = create();
			const until = performance.now() + 60_000;
			while (performance.now() < until) {
				for (const [way, headers] of Object.entries(ways)) {
					const key = `${way} ${await status(headers)}`;
					answers[key] = (answers[key] ?? 0) + 1;
				}
				// MLflow has a role of its own there: what people do goes on. Only creates wait, which the door puts down first.
				const tagged = await fetch(`${uri}/api/2.0/mlflow/experiments/set-experiment-tag`, {
					method: "POST",
					headers: { ...bearer(editor), "content-type": "application/json" },
					body: JSON.stringify({ experiment_id: "0", key: `outage ${TAG}`, value: String(tags) }),
				});
				expect(tagged.status).toBe(200);
				tags++;
				await sleep(1_000);
			}
			expect(created).toBeUndefined();
			// Nobody waited along with it.
			expect(tags).toBeGreaterThan(20);
			const change = await mlgate(["users", "role", `vera-outage-${TAG}`, "editor", "--json"]);
			expect(change.code).not.toBe(0);
			expect(change.stdout).toContain("does not answer");
			const login = new URLSearchParams({ username: `vera-outage-${TAG}`, password: PASSWORD });
			expect((await fetch(`${uri}/login`, { method: "POST", body: login })).status).toBe(503);
			const form = new URLSearchParams({ csrf });
			const out = await fetch(`${uri}/logout`, {
				method: "POST",
				body: form,
				headers: { cookie },
				redirect: "manual",
			});
			expect(out.status).toBe(503);
			expect(await status(bearer(admin), "/door/ready")).toBe(503);
		} finally {
			await sql("alter role door login");
		}
		await creating;
		expect(created).toBe(200);
		const found = await fetch(`${uri}/api/2.0/mlflow/runs/search`, {
			method: "POST",
			headers: { ...bearer(editor), "content-type": "application/json" },
			body: JSON.stringify({ experiment_ids: ["0"], filter: `attributes.run_name = 'outage-${TAG}'` }),
		});
		expect((await found.json()).runs).toHaveLength(1);
		expect(Object.keys(answers).sort()).toEqual(["password 200", "session 200", "token 200"]);
		await expect
			.poll(() => status(bearer(admin), "/door/ready"), { timeout: 30_000, interval: 500 })
			.toBe(200);
		// Nothing half: who was to be editor is viewer, who was to be signed out is signed in.
		expect(await status({ cookie })).toBe(200);
		const told = () =>
			docker(
				"exec",
				"--user",
				"postgres",
				POSTGRES,
				...["psql", "-h", "/run/postgresql", "-d", "door", "-qAtc"],
				`select coalesce(sum(count), 0) from audit where act = 'mlflow.write' and route like '%/experiments/set-experiment-tag' and credential in (select id from tokens where name = 'outage-editor-${TAG}')`,
			);
		await expect.poll(told, { timeout: 90_000, interval: 2_000 }).toBe(String(tags));
	});
});
