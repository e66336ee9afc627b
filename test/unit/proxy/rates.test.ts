/** What one credential may ask, and how many connections strangers may hold. */
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { Connections, knownOn } from "../../../proxy/connections.ts";
import { RATES, RateLimits } from "../../../proxy/rates.ts";
import { createDoorServer, LIMITS } from "../../../proxy/server.ts";
import { eventually, exchange, quiet, Raw, type Rig, request, rig } from "./support.ts";

const SEARCH = "/api/2.0/mlflow/experiments/search";
const one = { kind: "token", credential: "one" } as const;
const two = { kind: "token", credential: "two" } as const;
const passes = (limits: RateLimits, who: typeof one | typeof two) => {
	const taken = limits.take(who);
	if ("done" in taken) taken.done();
	return "done" in taken;
};

describe("a credential's bucket", () => {
	test("lets a burst through, then as many as flow in, and forgets what is over", () => {
		let now = 0;
		const limits = new RateLimits({ perSecond: 10, burst: 100, atOnce: 50 }, () => now);
		expect(Array.from({ length: 150 }, () => passes(limits, one)).filter(Boolean)).toHaveLength(100);
		now = 1_000;
		expect(Array.from({ length: 50 }, () => passes(limits, one)).filter(Boolean)).toHaveLength(10);
		now = 3_600_000;
		expect(Array.from({ length: 150 }, () => passes(limits, one)).filter(Boolean)).toHaveLength(100);
	});

	test("is its own: the other credential notices nothing", () => {
		const limits = new RateLimits({ perSecond: 1, burst: 1, atOnce: 50 }, () => 0);
		expect([passes(limits, one), passes(limits, one), passes(limits, two)]).toEqual([true, false, true]);
		expect("done" in limits.take({ kind: "session", credential: "one" })).toBe(true);
	});

	test("counts what runs at once, and ends each of them once", () => {
		const limits = new RateLimits({ perSecond: 1, burst: 100, atOnce: 2 }, () => 0);
		const [first, second] = [limits.take(one), limits.take(one)];
		expect(passes(limits, one)).toBe(false);
		if ("done" in first) for (let i = 0; i < 5; i++) first.done();
		expect("done" in second).toBe(true);
		const third = limits.take(one);
		expect("done" in third).toBe(true);
		expect(passes(limits, one)).toBe(false);
	});

	test("takes all that a request weighs, or nothing of it", () => {
		const limits = new RateLimits({ perSecond: 0, burst: 10, atOnce: 5 }, () => 0);
		expect("done" in limits.take(one, { requests: 11, atOnce: 1 })).toBe(false);
		expect("done" in limits.take(one, { requests: 1, atOnce: 6 })).toBe(false);
		const whole = limits.take(one, { requests: 8, atOnce: 5 });
		expect(["done" in whole, passes(limits, one)]).toEqual([true, false]);
		if ("done" in whole) whole.done();
		expect([passes(limits, one), passes(limits, one), passes(limits, one)]).toEqual([true, true, false]);
	});

	test("says when to come back so that MLflow's client keeps its patience, and not all at once", () => {
		const limits = new RateLimits({ perSecond: 0, burst: 0, atOnce: 1 }, () => 0);
		const said = new Set(
			Array.from({ length: 200 }, () => {
				const taken = limits.take(one);
				return "retryAfter" in taken ? taken.retryAfter : 0;
			}),
		);
		expect(Math.min(...said)).toBeGreaterThanOrEqual(15);
		expect(Math.max(...said)).toBeLessThanOrEqual(20);
		expect(said.size).toBeGreaterThan(1);
	});

	test("is forgotten once it is full again", () => {
		let now = 0;
		const limits = new RateLimits({ perSecond: 10, burst: 10, atOnce: 1 }, () => now);
		for (let i = 0; i < 1_000; i++) limits.take({ kind: "token", credential: `used ${i}` });
		now = 60_000;
		for (let i = 0; i < 2_000; i++) {
			const taken = limits.take({ kind: "token", credential: `done ${i}` });
			if ("done" in taken) taken.done();
			now += 1_000;
		}
		// Those that are still running stay, whatever their bucket says.
		expect(limits.size).toBeGreaterThanOrEqual(1_000);
		expect(limits.size).toBeLessThan(2_500);
	});

	test("is wide enough for what trainers do", () => {
		expect(RATES.perSecond).toBeGreaterThanOrEqual(200);
		expect(RATES.burst).toBeGreaterThanOrEqual(1_000);
	});
});

let it: Rig | undefined;
afterEach(async () => {
	await it?.close();
	it = undefined;
});

describe("through the door", () => {
	test("too many requests are 429 in MLflow's words, and others go on", async () => {
		it = await rig({ rates: { perSecond: 0.001, burst: 3, atOnce: 10 } });
		const statuses = [];
		for (let i = 0; i < 5; i++) {
			const answer = await exchange(it.port, request("GET", SEARCH, { role: "viewer" }));
			statuses.push(answer.status);
			if (answer.status !== 429) continue;
			expect(JSON.parse(answer.body).error_code).toBe("REQUEST_LIMIT_EXCEEDED");
			expect(answer.code).toBe("TOO_MANY_REQUESTS");
			expect(answer.head.match(/^retry-after: .*$/gim)).toHaveLength(1);
			expect(Number(/retry-after: (\d+)/i.exec(answer.head)?.[1])).toBeGreaterThanOrEqual(15);
		}
		expect(statuses).toEqual([200, 200, 200, 429, 429]);
		expect(it.upstream.seen).toHaveLength(3);
		expect((await exchange(it.port, request("GET", SEARCH, { role: "editor" }))).status).toBe(200);
	});

	test("refusals count too: a viewer's forbidden writes are no way to keep the door busy", async () => {
		it = await rig({ rates: { perSecond: 0.001, burst: 2, atOnce: 10 } });
		const statuses = [];
		for (let i = 0; i < 4; i++) {
			const forbidden = request("POST", "/api/2.0/mlflow/runs/create", {
				role: "viewer",
				headers: ["Content-Length: 0"],
			});
			statuses.push((await exchange(it.port, forbidden)).status);
		}
		expect(statuses).toEqual([403, 403, 429, 429]);
	});

	test("what has left or was answered is at once no more", async () => {
		const door = await rig({ rates: { perSecond: 1_000, burst: 1_000, atOnce: 2 } });
		it = door;
		door.upstream.answer = () => {};
		const held = [new Raw(door.port), new Raw(door.port)];
		// Equal ones would be asked of MLflow once.
		for (const [i, raw] of held.entries()) raw.send(request("GET", `${SEARCH}?max_results=${i + 1}`));
		await eventually(() => door.upstream.seen.length === 2);
		expect((await exchange(door.port, request("GET", SEARCH))).status).toBe(429);
		for (const raw of held) raw.destroy();
		await eventually(() => door.door.live().running === 0);
		door.upstream.answer = (_, res) => void res.end("{}");
		expect((await exchange(door.port, request("GET", SEARCH))).status).toBe(200);
	});

	test("a wait that the sign-in limits ask for is told, in a number that MLflow's client survives", async () => {
		it = await rig();
		for (const [wait, said] of [
			[2, "15"],
			[540, "540"],
		] as const) {
			it.authority.refusal = { ok: false, presented: true, reason: "SIGN_IN_LIMITED", retryAfter: wait };
			const answer = await exchange(it.port, request("GET", SEARCH));
			expect([answer.status, answer.head.match(/^retry-after: .*$/gim)]).toEqual([
				429,
				[`Retry-After: ${said}`],
			]);
		}
	});
});

describe("a client that takes its time", () => {
	test("with its headers is sent away, or before its first byte; with its upload it is not, however long that takes", async () => {
		const uploads: string[] = [];
		const door = createDoorServer(
			{
				name: "edge",
				address: "127.0.0.1",
				port: 0,
				hosts: new Set(),
				trust: { scheme: "http", tailnet: false },
			},
			async (req, res) => {
				let text = "";
				for await (const chunk of req) text += chunk;
				uploads.push(text);
				res.end();
			},
			new Connections(),
			{ ...LIMITS, headersTimeout: 400, connectionsCheckingInterval: 50 },
		);
		await new Promise<void>((resolve) => door.listen(0, "127.0.0.1", resolve));
		const at = door.address();
		const port = typeof at === "object" && at !== null ? at.port : 0;
		const [silent, dripping, sending] = [new Raw(port), new Raw(port), new Raw(port)];
		sending.send("PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n");
		dripping.send("GET / HTTP/1.1\r\n");
		for (let i = 0; i < 30; i++) {
			await quiet(50);
			sending.send("x");
			if (!dripping.closed) dripping.send(`X-${i}: y\r\n`);
		}
		await sending.until(({ statuses }) => statuses[0] === 200);
		expect(uploads).toEqual(["x".repeat(30)]);
		await dripping.until(({ closed }) => closed);
		expect(dripping.statuses).toEqual([408]);
		await silent.until(({ closed }) => closed);
		sending.destroy();
		await new Promise((resolve) => door.close(resolve));
	});

	test("has 30 seconds for its headers, and no end for what follows", () => {
		expect(LIMITS).toMatchObject({ headersTimeout: 30_000, requestTimeout: 0, maxHeaderSize: 32_768 });
	});
});

describe("strangers' connections", () => {
	test("the one that has been idle for the longest goes; who was known stays", async () => {
		const connections = new Connections(5);
		const door = createDoorServer(
			{
				name: "edge",
				address: "127.0.0.1",
				port: 0,
				hosts: new Set(),
				trust: { scheme: "http", tailnet: false },
			},
			(req, res) => {
				if (req.headers.authorization !== undefined)
					knownOn(req.socket, { kind: "token", credential: req.headers.authorization });
				res.end();
			},
			connections,
		);
		await new Promise<void>((resolve) => door.listen(0, "127.0.0.1", resolve));
		const at = door.address();
		const port = typeof at === "object" && at !== null ? at.port : 0;
		const member = new Raw(port);
		member.send("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\n\r\n");
		await member.until(({ statuses }) => statuses.length === 1);
		const first = new Raw(port);
		await quiet(30);
		const busy = new Raw(port);
		await quiet(30);
		const crowd = Array.from({ length: 3 }, () => new Raw(port));
		await eventually(() => connections.strangers === 5);
		first.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		await first.until(({ statuses }) => statuses.length === 1);
		// `first` has moved: of the idle ones `busy` is now the oldest.
		crowd.push(new Raw(port));
		await busy.until(({ closed }) => closed);
		expect(connections.strangers).toBe(5);
		expect([first.closed, member.closed]).toEqual([false, false]);
		for (let i = 0; i < 40; i++) {
			crowd.push(new Raw(port));
			await quiet(2);
		}
		await eventually(() => crowd.filter(({ closed }) => !closed).length <= 5);
		member.send("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: y\r\n\r\n");
		await member.until(({ statuses }) => statuses.length === 2);
		for (const raw of [...crowd, first, member]) raw.destroy();
		await new Promise((resolve) => door.close(resolve));
	});

	test("of one credential's many connections only so many are no stranger's", async () => {
		const connections = new Connections(3, 2);
		const door = createDoorServer(
			{
				name: "edge",
				address: "127.0.0.1",
				port: 0,
				hosts: new Set(),
				trust: { scheme: "http", tailnet: false },
			},
			(req, res) => {
				if (req.headers.authorization !== undefined)
					knownOn(req.socket, { kind: "token", credential: req.headers.authorization });
				res.end();
			},
			connections,
		);
		await new Promise<void>((resolve) => door.listen(0, "127.0.0.1", resolve));
		const at = door.address();
		const port = typeof at === "object" && at !== null ? at.port : 0;
		const ask = async (raw: Raw, who: string) => {
			const before = raw.statuses.length;
			raw.send(`GET / HTTP/1.1\r\nHost: x\r\nAuthorization: ${who}\r\n\r\n`);
			return await raw.until(({ statuses, closed }) => closed || statuses.length > before);
		};
		const greedy: Raw[] = [];
		for (let i = 0; i < 8; i++) greedy.push(await ask(new Raw(port), "greedy"));
		await eventually(() => greedy.filter(({ closed }) => !closed).length === 5);
		expect(connections.strangers).toBe(3);
		const other = await ask(new Raw(port), "other");
		expect([other.closed, connections.strangers]).toEqual([false, 2]);
		// A place is free again when its connection ends.
		greedy[0]?.destroy();
		await quiet(20);
		const next = await ask(new Raw(port), "greedy");
		expect([next.closed, connections.strangers]).toEqual([false, 2]);
		for (const raw of [...greedy, other, next]) raw.destroy();
		await new Promise((resolve) => door.close(resolve));
	});

	test("1,500 of them do not keep a member out", async () => {
		it = await rig();
		const { port } = it;
		const member = new Raw(port);
		member.send(request("GET", SEARCH));
		await member.until(({ statuses }) => statuses.length === 1);
		const crowd: Socket[] = [];
		// In parts: more at once than the queue of the kernel holds come again after seconds.
		while (crowd.length < 1_500) {
			const some = Array.from({ length: 250 }, () =>
				connect(port, "127.0.0.1")
					.on("error", () => {})
					.resume(),
			);
			crowd.push(...some);
			await eventually(() => some.every(({ pending }) => !pending), 15_000);
		}
		await eventually(() => crowd.filter(({ destroyed }) => destroyed).length >= 400, 15_000);
		member.send(request("GET", SEARCH));
		await member.until(({ statuses }) => statuses.length === 2);
		expect((await exchange(port, request("GET", SEARCH))).status).toBe(200);
		for (const socket of crowd) socket.destroy();
		member.destroy();
	});
});
