/** Where the door listens, what it counts and logs, and how it stops. */
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { afterEach, describe, expect, test } from "vitest";
import { openDoor } from "../../../proxy/door.ts";
import { ListenerError, ownAddress, resolveListeners, TRUST } from "../../../proxy/listeners.ts";
import { openLog } from "../../../proxy/log.ts";
import {
	eventually,
	exchange,
	HOST,
	MemoryAudit,
	MemoryAuthority,
	quiet,
	Raw,
	type Rig,
	request,
	rig,
	TestPages,
} from "./support.ts";

let it: Rig | undefined;
afterEach(async () => {
	await it?.close();
	it = undefined;
});

const PUT = "/api/2.0/mlflow-artifacts/artifacts/1/x";
const log = openLog({ name: "test", logLevel: "error" });

describe("listeners", () => {
	test("bind to the address behind their name, if it is ours", async () => {
		expect(await ownAddress("127.0.0.1")).toBe("127.0.0.1");
		expect(
			Object.values(networkInterfaces())
				.flat()
				.map((found) => found?.address),
		).toContain(await ownAddress("localhost"));
		const [bound] = await resolveListeners([{ name: "serve", bind: "127.0.0.1", port: 1, hosts: ["a:1"] }]);
		expect(bound).toEqual({
			name: "serve",
			address: "127.0.0.1",
			port: 1,
			hosts: new Set(["a:1"]),
			trust: { scheme: "http", tailnet: false },
		});
	});

	test.each([
		["everything", "0.0.0.0"],
		["everything, in IPv6", "::"],
		["somebody else", "192.0.2.1"],
		["nobody", "no-such-name.invalid"],
	])("%s is refused", (_, name) => expect(ownAddress(name)).rejects.toThrow(ListenerError));

	test("a start with one that is not ours leaves nothing listening", async () => {
		const settings = (bind: string, port: number) => ({
			listeners: [
				{ name: "edge" as const, bind: "127.0.0.1", port: 0, hosts: [HOST] },
				{ name: "serve" as const, bind, port, hosts: [HOST] },
			],
			mlflow: { url: "http://127.0.0.1:1" },
			metrics: undefined,
			drainSeconds: 0,
			holdSeconds: 90,
		});
		const rest = { authority: new MemoryAuthority(), pages: new TestPages(), audit: new MemoryAudit(), log };
		await expect(openDoor({ settings: settings("192.0.2.1", 5000), ...rest })).rejects.toThrow(ListenerError);

		const taken = createServer().listen(0, "127.0.0.1");
		await new Promise((resolve) => taken.once("listening", resolve));
		const { port } = taken.address() as { port: number };
		const before = process.getActiveResourcesInfo().filter((name) => name === "TCPServerWrap").length;
		await expect(openDoor({ settings: settings("127.0.0.1", port), ...rest })).rejects.toThrow(/EADDRINUSE/);
		await quiet(20);
		expect(process.getActiveResourcesInfo().filter((name) => name === "TCPServerWrap")).toHaveLength(before);
		await new Promise((resolve) => taken.close(resolve));
	});

	test("each has its own trust: behind ident's TLS an origin is https", async () => {
		expect(Object.keys(TRUST).sort()).toEqual(["clients", "edge", "ident", "serve"]);
		it = await rig();
		for (const [i, name, origin] of [
			[0, "edge", `http://${HOST}`],
			[1, "ident", `https://${HOST}`],
		] as const) {
			const forged = [
				"X-Forwarded-Proto: gopher",
				"X-Forwarded-Host: evil",
				"Tailscale-User-Login: root@example.com",
			];
			const answer = await exchange(
				it.door.listeners[i]?.port ?? 0,
				request("GET", "/door/whoami", { role: null, headers: forged }),
			);
			expect(answer.status).toBe(401);
			expect(it.authority.facts).toMatchObject({ listener: name, origin, remoteAddress: "127.0.0.1" });
		}
	});
});

describe("stopping", () => {
	test("lets what runs finish, answers who comes meanwhile, takes nothing new after that, and closes what falls idle", async () => {
		it = await rig();
		let finish = () => {};
		it.upstream.answer = (_req, res) => {
			res.write("half ");
			finish = () => res.end("whole");
		};
		const running = new Raw(it.port);
		const idle = new Raw(it.port);
		running.send(request("GET", PUT));
		await running.until(({ received }) => received.includes("half"));
		idle.send(request("GET", "/door/health"));
		await idle.until(({ statuses }) => statuses.length === 1);

		const stopped = it.door.stop();
		await idle.until(({ closed }) => closed);
		// One that takes long shuts nobody else out.
		const late = new Raw(it.port);
		late.send(request("GET", "/door/health"));
		await late.until(({ closed }) => closed);
		expect(late.received).toMatch(/HTTP\/1\.1 200 OK.*connection: close/is);
		expect(running.closed).toBe(false);
		finish();
		await running.until(({ closed }) => closed);
		expect(running.received).toContain("whole");
		expect(await stopped).toBe(true);
		const after = new Raw(it.port);
		await after.until(({ closed }) => closed);
		expect(after.received).toBe("");
	});

	test("a request on a kept connection is still answered, and closes it", async () => {
		it = await rig();
		let finish = () => {};
		it.upstream.answer = (req, res) => {
			if (req.url === PUT) finish = () => res.end();
			else res.end("{}");
		};
		const first = new Raw(it.port);
		const second = new Raw(it.port);
		first.send(request("GET", PUT));
		second.send(request("GET", `${PUT}2`).slice(0, 20));
		await eventually(() => it?.upstream.seen.length === 1);
		await quiet(20);
		const stopped = it.door.stop();
		second.send(request("GET", `${PUT}2`).slice(20));
		await second.until(({ statuses }) => statuses.length === 1);
		expect(second.received).toMatch(/HTTP\/1\.1 200 OK.*connection: close/is);
		finish();
		expect(await stopped).toBe(true);
		first.destroy();
	});

	test("what does not finish in time is cut", async () => {
		it = await rig({ drainSeconds: 1 });
		it.upstream.answer = () => {};
		const raw = new Raw(it.port);
		raw.send(request("GET", PUT));
		await eventually(() => it?.upstream.seen.length === 1);
		const began = performance.now();
		expect(await it.door.stop()).toBe(false);
		expect(performance.now() - began).toBeLessThan(2_500);
		await raw.until(({ closed }) => closed);
	});
});

describe("metrics", () => {
	test("count requests by listener, class and status, and refusals by code", async () => {
		it = await rig();
		await exchange(it.port, request("GET", "/api/2.0/mlflow/experiments/search"));
		await exchange(it.port, request("POST", "/api/2.0/mlflow/runs/create", { role: "viewer" }));
		await exchange(it.port, request("GET", "//x"));
		await quiet(20);
		const text = await it.door.metrics.registry.metrics();
		expect(text).toContain('door_requests_total{listener="edge",class="read",status="200"} 1');
		expect(text).toContain('door_requests_total{listener="edge",class="write",status="403"} 1');
		expect(text).toContain('door_refusals_total{code="ROLE_EDITOR"} 1');
		expect(text).toContain('door_refusals_total{code="TARGET_EMPTY_SEGMENT"} 1');
		expect(text).toContain('door_request_seconds_count{class="read"} 1');
		expect(text).toContain("door_transfers 0");
		expect(text).toContain('door_upstream_requests{state="running"} 0');
	});

	test("are served on an address of their own, and never by a listener", async () => {
		it = await rig();
		const server = await it.door.metrics.listen("127.0.0.1", 0);
		const { port } = server.address() as { port: number };
		expect(
			(await exchange(port, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).body,
		).toContain("door_requests_total");
		expect((await exchange(port, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).status).toBe(404);
		expect((await exchange(it.port, request("GET", "/metrics"))).status).toBe(403);
		await new Promise((resolve) => server.close(resolve));
	});
});

describe("the log", () => {
	test("keeps no secret, wherever it stands", () => {
		const lines: string[] = [];
		const log = openLog(
			{ name: "test", logLevel: "debug" },
			{ write: (line: string) => void lines.push(line) },
		);
		const SECRET = "hunter2";
		log.info({ authorization: SECRET, cookie: SECRET, token: SECRET, password: SECRET, query: SECRET });
		log.info({ req: { headers: { authorization: SECRET } } });
		log.info({ facts: { "x-csrf-token": SECRET, secret: SECRET, "set-cookie": [SECRET] } });
		log.info({ a: { b: { password: SECRET, authorization: SECRET } } });
		const error = Object.assign(new Error("failed", { cause: new Error("deeper") }), {
			code: "ECONNRESET",
			config: { headers: { authorization: SECRET } },
		});
		log.error({ err: error }, "x");
		log.error({ err: SECRET.length });
		expect(lines.join("")).not.toContain(SECRET);
		expect(JSON.parse(lines[4] ?? "")).toMatchObject({
			level: "error",
			stack: "test",
			err: { type: "Error", message: "failed", code: "ECONNRESET", cause: { message: "deeper" } },
		});
	});

	test("has a level", () => {
		const lines: string[] = [];
		const log = openLog(
			{ name: "test", logLevel: "warn" },
			{ write: (line: string) => void lines.push(line) },
		);
		log.info("no");
		log.warn("yes");
		expect(lines).toHaveLength(1);
	});
});
