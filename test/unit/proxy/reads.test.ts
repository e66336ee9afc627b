/** Reads that are computed once for all who ask at the same time, and what they must never be answered with. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { request as httpRequest } from "node:http";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Asked, ask as askAt, eventually, HOST, quiet, type Rig, rig, type Said } from "./support.ts";

let it: Rig;
/** Reads that wait for the test, in the order in which they came. */
let held: { req: IncomingMessage; res: ServerResponse; url: string }[];
/** What MLflow answers now; a read is answered with what held when it began. */
let state: string;

const SEARCH = "/api/2.0/mlflow/runs/search";
const GET = "/ajax-api/2.0/mlflow/runs/get?run_id=a";
const WRITE = "/api/2.0/mlflow/runs/set-tag";

beforeEach(async () => {
	held = [];
	state = "before";
	it = await rig({ transfers: { sweep: 20 }, reads: { memory: 2_000_000 } });
	it.upstream.answer = (req, res) => {
		res.setHeader("content-type", "application/json");
		held.push({ req, res, url: req.url ?? "" });
	};
});
afterEach(() => it.close());

const ask = (method: string, path: string, asked?: Asked) => askAt(it.port, method, path, asked);

const arrived = (count: number) => eventually(() => held.length >= count);
/** Time in which another request to MLflow would have come. */
const settled = () => quiet(60);
const finish = (at: number, text = JSON.stringify({ state })) => held[at]?.res.end(text);
const text = async ({ answer }: { answer: Promise<Said> }) => (await answer).body.toString();

describe("equal reads on their way", () => {
	test.each([
		["GET", GET, undefined],
		["POST", SEARCH, '{"experiment_ids":["1"]}'],
	])("%s %s: ten at once are one computation", async (method, path, body) => {
		const all = Array.from({ length: 10 }, () => ask(method, path, { body }));
		await arrived(1);
		await settled();
		expect(held).toHaveLength(1);
		finish(0, '{"runs":[]}');
		for (const one of all) {
			const { status, headers, body: said } = await one.answer;
			expect([status, said.toString()]).toEqual([200, '{"runs":[]}']);
			expect(headers["content-type"]).toBe("application/json");
			expect(headers["content-length"]).toBe("11");
			expect(headers["x-content-type-options"]).toBe("nosniff");
		}
		expect(it.upstream.seen[0]?.body.toString()).toBe(body ?? "");
	});

	test("errors of MLflow's are shared as they are, and nothing is kept", async () => {
		const all = [ask("GET", GET), ask("GET", GET)];
		await arrived(1);
		await settled();
		if (held[0]) held[0].res.statusCode = 404;
		finish(0, '{"error_code":"RESOURCE_DOES_NOT_EXIST"}');
		for (const one of all) expect((await one.answer).status).toBe(404);
		const later = ask("GET", GET);
		await arrived(2);
		finish(1);
		expect((await later.answer).status).toBe(200);
	});

	test.each<[string, Asked, string?]>([
		["another role", { role: "editor" }],
		["another body", { body: '{"experiment_ids":["2"]}' }],
		["another query", {}, `${SEARCH}?a=b`],
		["another name of the route", {}, "/ajax-api/2.0/mlflow/runs/search"],
		["another content type", { headers: { "content-type": "text/plain" } }],
		["another Accept", { headers: { accept: "text/html" } }],
	])("%s is another question", async (_, other, path = SEARCH) => {
		const body = '{"experiment_ids":["1"]}';
		const one = ask("POST", SEARCH, { body });
		await arrived(1);
		const two = ask("POST", path, { body, ...other });
		await arrived(2);
		finish(0, '{"for":1}');
		finish(1, '{"for":2}');
		expect([await text(one), await text(two)]).toEqual(['{"for":1}', '{"for":2}']);
	});

	test("whoever leaves takes nobody along, and the last one stops MLflow's work", async () => {
		const [first, second, third] = [ask("GET", GET), ask("GET", GET), ask("GET", GET)];
		await arrived(1);
		await settled();
		first?.left();
		await settled();
		expect(it.upstream.broken).toBe(0);
		finish(0);
		expect(await text(second as ReturnType<typeof ask>)).toBe('{"state":"before"}');
		await third?.answer;
		const alone = ask("GET", GET);
		await arrived(2);
		alone.left();
		await eventually(() => it.upstream.broken === 1);
		// Nobody waits for what was given up.
		const next = ask("GET", GET);
		await arrived(3);
		finish(2);
		expect((await next.answer).status).toBe(200);
	});

	test("a credential that ends gets nothing of what others still get", async () => {
		it.authority.revoked.clear();
		const all = [ask("GET", GET), ask("GET", GET)];
		await arrived(1);
		it.authority.revoked.add("viewer");
		for (const one of all) expect((await one.answer).status).toBe(401);
		await eventually(() => it.upstream.broken === 1);
	});

	test("a connection that breaks is tried three times more, then it is 503 for all", async () => {
		const all = [ask("POST", SEARCH, { body: "{}" }), ask("POST", SEARCH, { body: "{}" })];
		await arrived(1);
		await settled();
		for (const tried of [0, 1, 2]) {
			held[tried]?.req.socket.destroy();
			await arrived(tried + 2);
		}
		held[3]?.req.socket.destroy();
		for (const one of all) {
			const { status, headers } = await one.answer;
			expect([status, headers["x-door-error"]]).toEqual([503, "UPSTREAM_UNAVAILABLE"]);
		}
		expect(held).toHaveLength(4);
	});
});

describe("a write that the door has seen", () => {
	const write = () => ask("POST", WRITE, { role: "editor", body: "{}" });

	test("acknowledged: no read that follows is answered from before it", async () => {
		const early = ask("GET", GET);
		await arrived(1);
		const written = write();
		await arrived(2);
		const old = JSON.stringify({ state });
		state = "after";
		finish(1, "{}");
		expect((await written.answer).status).toBe(200);
		const late = ask("GET", GET);
		await arrived(3);
		finish(2);
		expect(await text(late)).toBe('{"state":"after"}');
		finish(0, old);
		expect(await text(early)).toBe('{"state":"before"}');
	});

	test("begun: nothing is shared until it has ended, and nothing across its end", async () => {
		const one = ask("GET", GET);
		await arrived(1);
		const written = write();
		await arrived(2);
		const two = ask("GET", GET);
		await arrived(3);
		const three = ask("GET", GET);
		await arrived(4);
		finish(1, "{}");
		await written.answer;
		const four = ask("GET", GET);
		await arrived(5);
		const five = ask("GET", GET);
		await settled();
		// Only the last two may share.
		expect(held).toHaveLength(5);
		for (const at of [0, 2, 3, 4]) finish(at);
		for (const { answer } of [one, two, three, four, five]) expect((await answer).status).toBe(200);
	});

	test.each([
		["whose client left", async (w: ReturnType<typeof ask>) => w.left()],
		["whose connection to MLflow broke", async () => void held[1]?.req.socket.destroy()],
	])("%s may still be going on: nothing is shared for a long while", async (_, end) => {
		const one = ask("GET", GET);
		await arrived(1);
		const written = write();
		await arrived(2);
		await end(written);
		await eventually(() => it.upstream.broken === 1);
		await settled();
		const count = held.length;
		const two = ask("GET", GET);
		await arrived(count + 1);
		const three = ask("GET", GET);
		await arrived(count + 2);
		for (const { res } of held) if (!res.destroyed) res.end("{}");
		for (const { answer } of [one, two, three]) expect((await answer).status).toBe(200);
	});

	test("and refused by the door was none of MLflow's", async () => {
		const one = ask("GET", GET);
		await arrived(1);
		expect((await ask("POST", WRITE, { role: "viewer", body: "{}" }).answer).status).toBe(403);
		const two = ask("GET", GET);
		await settled();
		expect(held).toHaveLength(1);
		finish(0);
		for (const { answer } of [one, two]) expect((await answer).status).toBe(200);
	});

	test("read your writes, however reads and writes fall together", async () => {
		let counter = 0;
		it.upstream.answer = (req, res) => {
			res.setHeader("content-type", "application/json");
			if (req.method === "POST") {
				setTimeout(() => {
					counter++;
					const now = counter;
					setTimeout(() => res.end(JSON.stringify({ n: now })), Math.random() * 2);
				}, Math.random() * 2);
				return;
			}
			// Reads take a while, too, and see what is there when they begin.
			const seen = counter;
			setTimeout(() => res.end(JSON.stringify({ n: seen })), 20 + Math.random() * 40);
		};
		let acknowledged = 0;
		const wrong: string[] = [];
		const reader = async () => {
			for (let i = 0; i < 30; i++) {
				await quiet(Math.random() * 20);
				const least = acknowledged;
				const { n } = JSON.parse(await text(ask("GET", GET)));
				if (n < least) wrong.push(`${n} after ${least}`);
			}
		};
		const writer = async () => {
			for (let i = 0; i < 12; i++) {
				const { n } = JSON.parse(await text(write()));
				acknowledged = Math.max(acknowledged, n);
				await quiet(30 + Math.random() * 60);
			}
		};
		await Promise.all([...Array.from({ length: 8 }, reader), writer(), writer()]);
		expect(wrong).toEqual([]);
		// Otherwise this test would have shown nothing.
		expect(it.upstream.seen.length).toBeLessThan(8 * 30);
	});
});

describe("answers", () => {
	const json = JSON.stringify({ runs: Array.from({ length: 2000 }, (_, i) => ({ id: i, key: "value" })) });

	test.each<[string, string | undefined, (bytes: Buffer) => Buffer]>([
		["br", "gzip, deflate, br, zstd", brotliDecompressSync],
		["gzip", "gzip, deflate", gunzipSync],
		["gzip", "br;q=0, gzip;q=0.5", gunzipSync],
		["br", "*", brotliDecompressSync],
	])("go out as %s to a client that says %s", async (coding, accepted, decode) => {
		const one = ask("GET", GET, { headers: { "accept-encoding": accepted ?? "" } });
		const two = ask("GET", GET);
		await arrived(1);
		await settled();
		finish(0, json);
		const { headers, body } = await one.answer;
		expect(headers["content-encoding"]).toBe(coding);
		expect(headers.vary).toBe("Accept-Encoding");
		expect(Number(headers["content-length"])).toBe(body.length);
		expect(body.length).toBeLessThan(json.length / 4);
		expect(decode(body).toString()).toBe(json);
		const as = await two.answer;
		expect([as.headers["content-encoding"], as.body.toString()]).toEqual([undefined, json]);
	});

	test("that fit into a packet go out as they are", async () => {
		const one = ask("GET", GET, { headers: { "accept-encoding": "br" } });
		await arrived(1);
		finish(0, "{}");
		expect((await one.answer).headers["content-encoding"]).toBeUndefined();
	});

	test("too large to be kept go to one as they come, and are asked for again by the others", async () => {
		const large = JSON.stringify({ history: "0123456789abcdef".repeat(400_000) });
		const all = [
			ask("GET", GET),
			ask("GET", GET, { headers: { "accept-encoding": "gzip" } }),
			ask("GET", GET, { headers: { "accept-encoding": "br" } }),
		];
		await arrived(1);
		await settled();
		finish(0, large);
		await arrived(3);
		finish(1, large);
		finish(2, large);
		const bodies = await Promise.all(all.map(({ answer }) => answer));
		for (const { headers, body } of bodies) {
			const coding = headers["content-encoding"];
			const plain =
				coding === "br" ? brotliDecompressSync(body) : coding === "gzip" ? gunzipSync(body) : body;
			expect(plain.toString() === large).toBe(true);
		}
		// What was kept has been given back: the next one fits again.
		const next = [ask("GET", GET), ask("GET", GET)];
		await arrived(4);
		await settled();
		finish(3, json.repeat(20));
		for (const { answer } of next) expect((await answer).body.length).toBe(json.length * 20);
		expect(held).toHaveLength(4);
	});

	test("a large one to a single reader is compressed as it comes", async () => {
		const large = JSON.stringify({ history: "0123456789abcdef".repeat(400_000) });
		const one = ask("GET", GET, { headers: { "accept-encoding": "gzip" } });
		await arrived(1);
		finish(0, large);
		const { headers, body } = await one.answer;
		expect(headers["content-encoding"]).toBe("gzip");
		expect(gunzipSync(body).toString() === large).toBe(true);
	});
});

test("a question that dribbles holds nothing of MLflow's, and ends with its client", async () => {
	const sent = httpRequest({
		port: it.port,
		host: "127.0.0.1",
		method: "POST",
		path: SEARCH,
		headers: { host: HOST, authorization: "Bearer viewer", "content-length": "10" },
	});
	sent.on("error", () => {});
	sent.write("{");
	await settled();
	expect(it.upstream.connections).toBe(0);
	sent.destroy();
	await eventually(() => it.door.live().transfers === 0);
	expect(held).toHaveLength(0);
});
