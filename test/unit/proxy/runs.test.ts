/** Many runs in one question: what MLflow says to each, to those who may ask, at no less than the single questions. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { AT_ONCE, type RunsAnswer } from "../../../proxy/runs/asking.ts";
import { MOST } from "../../../proxy/runs/ids.ts";
import { SCOPES } from "../../../proxy/scopes.ts";
import { type Asked, ask as askAt, eventually, quiet, type Rig, rig, type Said } from "./support.ts";

let it: Rig;
afterEach(async () => {
	await it?.close();
});

/** An id like MLflow's. */
const id = (n: number): string => n.toString(16).padStart(32, "0");
const ids = (count: number): string[] => Array.from({ length: count }, (_, n) => id(n));
const asking = (all: readonly string[]): string =>
	`/door/runs?${all.map((one) => `run_id=${one}`).join("&")}`;
const single = (one: string): string => `/ajax-api/2.0/mlflow/runs/get?run_id=${one}`;

const ask = (path: string, { method = "GET", ...asked }: Asked & { method?: string } = {}) =>
	askAt(it.port, method, path, asked);

const runsOf = ({ body }: Said): RunsAnswer => JSON.parse(body.toString());

const runOf = (req: IncomingMessage): string =>
	new URL(req.url ?? "", "http://mlflow").searchParams.get("run_id") ?? "";

/** What no parser gives back as it was: a NaN, more digits than a double has, an order, white space. */
const body = (one: string): string =>
	`{\n  "run": {"info": {"run_id": "${one}", "n": 12345678901234567890123}, "v": NaN, "w": -0.0, "x": 1.50, "b": 1, "a": "\\u00e9 é\u2028 😀"}\n}`;

const answering = (say: (one: string, res: ServerResponse) => void) => {
	it.upstream.answer = (req, res) => {
		res.setHeader("content-type", "application/json");
		say(runOf(req), res);
	};
};

describe("the answer", () => {
	test("carries MLflow's own to each, bytes, status and type, in the order of the question", async () => {
		it = await rig();
		answering((one, res) => {
			if (one === id(1)) res.writeHead(404).end('{"error_code": "RESOURCE_DOES_NOT_EXIST"}');
			else if (one === id(2)) res.writeHead(500, { "content-type": "text/html" }).end("<p>a page\n");
			else setTimeout(() => res.end(body(one)), one === id(0) ? 50 : 0);
		});
		const asked = [id(0), id(1), id(2), id(3)];
		const said = await ask(asking(asked)).answer;
		expect(said.status).toBe(200);
		expect(said.headers).toMatchObject({ "content-type": "application/json", "cache-control": "no-store" });
		const { runs, left_out } = runsOf(said);
		expect(left_out).toEqual([]);
		expect(runs).toEqual([
			{ run_id: id(0), status: 200, content_type: "application/json", body: body(id(0)) },
			{
				run_id: id(1),
				status: 404,
				content_type: "application/json",
				body: '{"error_code": "RESOURCE_DOES_NOT_EXIST"}',
			},
			{ run_id: id(2), status: 500, content_type: "text/html", body: "<p>a page\n" },
			{ run_id: id(3), status: 200, content_type: "application/json", body: body(id(3)) },
		]);
		for (const [at, one] of asked.entries()) {
			const plain = await ask(single(one)).answer;
			expect([plain.status, plain.headers["content-type"], plain.body.toString()]).toEqual([
				runs[at]?.status,
				runs[at]?.content_type,
				runs[at]?.body,
			]);
		}
	});

	test.each<[string, string | undefined, (bytes: Buffer) => Buffer]>([
		["gzip, deflate, br", "br", brotliDecompressSync],
		["gzip", "gzip", gunzipSync],
		["identity", undefined, (bytes) => bytes],
	])("goes to a client that takes %s as %s", async (accepted, coding, decode) => {
		it = await rig();
		answering((one, res) => res.end(body(one)));
		const said = await ask(asking(ids(100)), { headers: { "accept-encoding": accepted } }).answer;
		expect([said.headers["content-encoding"], said.headers.vary]).toEqual([coding, "Accept-Encoding"]);
		const { runs } = runsOf({ ...said, body: decode(said.body) });
		expect(runs.map((run) => run.body)).toEqual(ids(100).map(body));
	});

	test("asks for a run once, however often it is named, and a few at a time", async () => {
		it = await rig();
		const open: ServerResponse[] = [];
		answering((_, res) => void open.push(res));
		const all = ids(20);
		const { answer } = ask(asking([...all, ...all]));
		for (let answered = 0; answered < all.length; ) {
			await eventually(() => open.length > 0);
			await quiet(20);
			expect(open.length).toBe(Math.min(AT_ONCE, all.length - answered));
			for (const res of open.splice(0)) {
				res.end("{}");
				answered++;
			}
		}
		expect(runsOf(await answer).runs.map(({ run_id }) => run_id)).toEqual(all);
		expect(it.upstream.seen.map(({ url }) => url).sort()).toEqual(all.map(single).sort());
	});

	test("leaves out what there is no room for, or is no text, and gives the room back", async () => {
		it = await rig({ runs: { memory: 3_000, largest: 2_000 } });
		answering((one, res) => {
			if (one === id(1)) res.end("x".repeat(2_500));
			else if (one === id(2)) res.end(Buffer.from([0xff, 0xfe]));
			// Fits as it is, and not once it is written as a text of JSON.
			else if (one === id(3)) res.end('"'.repeat(1_000));
			else res.end("{}");
		});
		for (let i = 0; i < 5; i++) {
			for (const [one, left] of [0, 1, 2, 3].map((n) => [id(n), n === 0 ? [] : [id(n)]] as const)) {
				expect(runsOf(await ask(asking([one])).answer).left_out).toEqual(left);
			}
		}
		answering((_, res) => res.end("x".repeat(800)));
		const { runs, left_out } = runsOf(await ask(asking(ids(5))).answer);
		expect([runs.length + left_out.length, runs.length > 0, left_out.length > 0]).toEqual([5, true, true]);
	});
});

describe("a question that is none", () => {
	test.each([
		["without a run", "/door/runs", "RUN_IDS"],
		["with an empty id", "/door/runs?run_id=", "RUN_IDS"],
		["in upper case", `/door/runs?run_id=${"A".repeat(32)}`, "RUN_IDS"],
		["too short", `/door/runs?run_id=${"a".repeat(31)}`, "RUN_IDS"],
		["that brings along another parameter", `/door/runs?run_id=${id(1)}%26run_uuid%3D${id(2)}`, "RUN_IDS"],
		["with a line end", `/door/runs?run_id=${id(1)}%0A`, "RUN_IDS"],
		["by the old name", `/door/runs?run_uuid=${id(1)}`, "RUN_IDS"],
		["with something else", `/door/runs?run_id=${id(1)}&experiment_id=0`, "RUN_IDS"],
		["in a list", `/door/runs?run_id%5B%5D=${id(1)}`, "RUN_IDS"],
		["for too many", asking(ids(MOST + 1)), "TOO_MANY_RUNS"],
	])("%s is refused, and nobody is asked", async (_, path, code) => {
		it = await rig();
		const { status, headers, body: said } = await ask(path).answer;
		expect([status, headers["x-door-error"]]).toEqual([400, code]);
		expect(JSON.parse(said.toString())).toMatchObject({ error_code: "INVALID_PARAMETER_VALUE" });
		expect(it.upstream.seen).toEqual([]);
	});

	test("for as many as may be is answered", async () => {
		it = await rig();
		expect(runsOf(await ask(asking(ids(MOST))).answer).runs).toHaveLength(MOST);
	});

	test.each(["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])("by %s is no route", async (method) => {
		it = await rig();
		const { status } = await ask(asking([id(1)]), { role: "admin", method }).answer;
		expect(status).toBe(403);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		`/door/runs/?run_id=${id(1)}`,
		`/door//runs?run_id=${id(1)}`,
		`/door/%72uns?run_id=${id(1)}`,
		`/door/./runs?run_id=${id(1)}`,
		`/Door/runs?run_id=${id(1)}`,
	])("%s is no spelling of it", async (path) => {
		it = await rig();
		expect((await ask(path, { role: "admin" }).answer).status).toBeGreaterThanOrEqual(400);
		expect(it.upstream.seen).toEqual([]);
	});
});

describe("who may ask", () => {
	test("every role, and no stranger", async () => {
		it = await rig();
		for (const role of ["viewer", "editor", "admin"] as const)
			expect((await ask(asking([id(1)]), { role }).answer).status).toBe(200);
		it.upstream.seen.length = 0;
		const { status, headers } = await ask(asking([id(1)]), { role: null }).answer;
		expect([status, headers["x-door-error"]]).toEqual([401, "NO_CREDENTIAL"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each(SCOPES)("with the scope %s gets no run that runs/get would not give", async (scope) => {
		it = await rig();
		it.authority.refusal = {
			ok: true,
			identity: { kind: "token", user: "ada", role: "viewer", credential: "tok-1", scope },
		};
		const [registered, other] = [id(1), id(2)];
		it.upstream.answer = (req, res) => {
			res.setHeader("content-type", "application/json");
			const source = `mlflow-artifacts:/7/${registered}/artifacts/m`;
			if (req.url?.includes("/model-versions/search"))
				res.end(JSON.stringify({ model_versions: [{ source, run_id: registered }] }));
			else res.end(JSON.stringify({ secret: `of ${runOf(req)}`, run: { info: {} } }));
		};
		for (const one of [registered, other]) {
			const plain = await ask(single(one)).answer;
			const many = await ask(asking([one])).answer;
			if (plain.status !== 200) expect(many.body.toString()).not.toContain("secret");
			// A scope is a list of routes, and this one is on none: what is not on it is refused whatever it asks for.
			expect([scope, many.status]).toEqual([scope, scope === "all" ? 200 : 403]);
		}
		const both = await ask(asking([registered, other])).answer;
		expect(both.body.toString().includes("secret")).toBe(scope === "all");
	});
});

describe("the limits of a credential", () => {
	const rates = { perSecond: 0.001, burst: 30, atOnce: 20 };

	test("one question counts as many requests as it asks, and is refused whole", async () => {
		it = await rig({ rates });
		expect((await ask(asking(ids(20))).answer).status).toBe(200);
		expect(it.upstream.seen).toHaveLength(20);
		const { status, headers } = await ask(asking(ids(11))).answer;
		expect([status, headers["x-door-error"]]).toEqual([429, "TOO_MANY_REQUESTS"]);
		expect(Number(headers["retry-after"])).toBeGreaterThanOrEqual(15);
		expect(it.upstream.seen).toHaveLength(20);
		// The refusal itself was one request: nine are left.
		expect((await ask(asking(ids(9))).answer).status).toBe(200);
		expect((await ask(single(id(1))).answer).status).toBe(429);
		expect((await ask(asking(ids(9)), { role: "editor" }).answer).status).toBe(200);
	});

	test("and as many at once as are on their way", async () => {
		it = await rig({ rates: { ...rates, burst: 1_000 } });
		const open: ServerResponse[] = [];
		answering((_, res) => void open.push(res));
		const [one, two] = [ask(asking(ids(8))), ask(asking(ids(9)))];
		await eventually(() => open.length === 16);
		expect((await ask(asking(ids(8))).answer).status).toBe(429);
		const small = ask(asking(ids(4)));
		await eventually(() => open.length === 20);
		for (const res of open.splice(0)) res.end("{}");
		await eventually(() => open.length === 1);
		for (const res of open.splice(0)) res.end("{}");
		for (const { answer } of [one, two, small]) expect((await answer).status).toBe(200);
		const again = ask(asking(ids(8)));
		await eventually(() => open.length === 8);
		for (const res of open.splice(0)) res.end("{}");
		expect((await again.answer).status).toBe(200);
	});
});

describe("equal questions on their way", () => {
	/** Answers each run with what holds when it is asked. */
	const holding = () => {
		const open: (() => void)[] = [];
		const finish = () => {
			for (const end of open.splice(0)) end();
		};
		const mlflow = { state: "before", open, finish };
		answering((_, res) => {
			const { state } = mlflow;
			open.push(() => res.end(state));
		});
		return mlflow;
	};
	const bodies = async ({ answer }: ReturnType<typeof ask>) =>
		runsOf(await answer).runs.map((run) => run.body);

	test("are one, whoever of them leaves", async () => {
		it = await rig();
		const mlflow = holding();
		const [first, ...others] = Array.from({ length: 5 }, () => ask(asking(ids(3))));
		await eventually(() => it.door.live().transfers === 5);
		await eventually(() => mlflow.open.length === 3);
		first?.left();
		await eventually(() => it.door.live().transfers === 4);
		mlflow.finish();
		for (const other of others) expect(await bodies(other)).toEqual(Array(3).fill("before"));
		expect([it.upstream.seen.length, it.upstream.broken]).toEqual([3, 0]);
		const later = ask(asking(ids(3)));
		await eventually(() => mlflow.open.length === 3);
		mlflow.finish();
		expect((await later.answer).status).toBe(200);
	});

	test("are not, with another role or other runs", async () => {
		it = await rig();
		const mlflow = holding();
		const all = [ask(asking(ids(3))), ask(asking(ids(3)), { role: "editor" }), ask(asking(ids(2)))];
		await eventually(() => mlflow.open.length === 8);
		mlflow.finish();
		for (const { answer } of all) expect((await answer).status).toBe(200);
	});

	test("are not, with a write between them", async () => {
		it = await rig();
		const mlflow = holding();
		const early = ask(asking(ids(3)));
		await eventually(() => mlflow.open.length === 3);
		const write = ask("/api/2.0/mlflow/runs/set-tag", {
			role: "editor",
			method: "POST",
			headers: { "content-length": "0" },
		});
		await eventually(() => mlflow.open.length === 4);
		mlflow.open.pop()?.();
		expect((await write.answer).status).toBe(200);
		mlflow.state = "after";
		const late = ask(asking(ids(3)));
		await eventually(() => mlflow.open.length === 6);
		mlflow.finish();
		expect([await bodies(early), await bodies(late)]).toEqual([
			Array(3).fill("before"),
			Array(3).fill("after"),
		]);
	});

	test("end for those alone whose credential ends, and fail together", async () => {
		it = await rig({ transfers: { sweep: 20 } });
		const mlflow = holding();
		const all = [ask(asking(ids(3))), ask(asking(ids(3)))];
		await eventually(() => mlflow.open.length === 3 && it.door.live().transfers === 2);
		it.authority.revoked.add("viewer");
		for (const { answer } of all) expect((await answer).status).toBe(401);
		await eventually(() => it.upstream.broken === 3);
		it.authority.revoked.clear();
		it.upstream.answer = (_, res) => res.socket?.destroy();
		const more = [ask(asking(ids(3))), ask(asking(ids(3)))];
		for (const { answer } of more) expect((await answer).status).toBe(503);
	});
});

describe("what ends it", () => {
	test("a client that leaves takes along what is asked, and what is not asked yet", async () => {
		it = await rig({ runs: { memory: 1_000 } });
		const open: ServerResponse[] = [];
		answering((_, res) => void open.push(res));
		const { left } = ask(asking(ids(100)));
		await eventually(() => open.length === AT_ONCE);
		for (const res of open) res.write("x".repeat(100));
		left();
		await eventually(() => it.upstream.broken === AT_ONCE);
		await quiet(60);
		expect(it.upstream.seen).toHaveLength(AT_ONCE);
		expect(it.door.live()).toMatchObject({ transfers: 0, running: 0, queued: 0 });
		// The room is free again.
		answering((_, res) => res.end("x".repeat(300)));
		expect(runsOf(await ask(asking([id(1)])).answer).left_out).toEqual([]);
	});

	test("a credential that ends gets nothing, and MLflow is asked no more", async () => {
		it = await rig({ transfers: { sweep: 20 } });
		const open: ServerResponse[] = [];
		answering((_, res) => void open.push(res));
		const { answer } = ask(asking(ids(20)));
		await eventually(() => open.length === AT_ONCE);
		it.authority.revoked.add("viewer");
		expect((await answer).status).toBe(401);
		await eventually(() => it.upstream.broken === AT_ONCE);
		expect(it.upstream.seen).toHaveLength(AT_ONCE);
	});

	test("an MLflow that breaks one answer off fails the whole, as runs/get would fail", async () => {
		it = await rig();
		answering((one, res) => (one === id(3) ? res.socket?.destroy() : res.end("{}")));
		const { status, headers } = await ask(asking(ids(5))).answer;
		expect([status, headers["x-door-error"]]).toEqual([503, "UPSTREAM_UNAVAILABLE"]);
		await eventually(() => it.door.live().transfers === 0);
	});
});

describe("while MLflow is held", () => {
	test("it waits, and is answered when MLflow is back", async () => {
		it = await rig();
		await it.door.holds.hold("mlflow", 0);
		const { answer } = ask(asking(ids(20)));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		expect(it.upstream.seen).toEqual([]);
		await it.door.holds.release("mlflow");
		expect(runsOf(await answer).runs).toHaveLength(20);
	});

	test("what goes away in the middle is waited for, for as long as a request waits and not eight times as short", async () => {
		it = await rig({ holdSeconds: 2 });
		let away = true;
		// MLflow's word for a database that is away.
		answering((_, res) => {
			if (away) res.writeHead(503).end('{"message": "(psycopg2.OperationalError) gone"}');
			else res.end("{}");
		});
		const { answer } = ask(asking(ids(8)));
		setTimeout(() => {
			away = false;
		}, 1_000);
		expect(runsOf(await answer).runs).toHaveLength(8);
	});

	test("what does not come back is 503", async () => {
		it = await rig({ holdSeconds: 0.5 });
		answering((_, res) => void res.writeHead(503).end('{"message": "(psycopg2.OperationalError) gone"}'));
		expect((await ask(asking(ids(8))).answer).status).toBe(503);
	});
});
