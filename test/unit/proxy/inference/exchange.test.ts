/** A real door in front of an API that does as each test says, over raw sockets. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { eventually, exchange, quiet, Raw, type Rig, request, rig, Upstream } from "../support.ts";

let api: Upstream;
let port: number;
let it: Rig;

beforeAll(async () => {
	api = new Upstream();
	port = await api.listen();
	it = await rig({
		api: `http://127.0.0.1:${port}`,
		inference: { patience: 600 },
		transfers: { sweep: 20, clientIdle: 400 },
	});
});
afterAll(async () => {
	await it.close();
	await api.close();
});
const plain = new Upstream().answer;
beforeEach(() => {
	api.seen.length = 0;
	api.answer = plain;
	api.early = undefined;
	it.authority.revoked.clear();
});
afterEach(async () => {
	await eventually(() => it.door.live().transfers === 0);
	expect(it.upstream.seen).toEqual([]);
	expect(it.logged.filter(({ level }) => level === 50)).toEqual([]);
});

const ask = (method: string, target: string, more: Parameters<typeof request>[2] = {}) =>
	exchange(it.port, request(method, target, { role: "viewer", ...more }));
const last = () => api.seen.at(-1);

describe("what the API is asked", () => {
	test.each([
		["/inference/similar?ingredient=%E7%9B%90&k=5", "/similar?ingredient=%E7%9B%90&k=5"],
		["/inference/", "/"],
		["/inference/?a=1", "/?a=1"],
		["/inference/v1/models/half_plus_two:predict", "/v1/models/half_plus_two:predict"],
		["/inference/%E7%9B%90/%e7%b3%96", "/%E7%9B%90/%E7%B3%96"],
		["/inference/a%20b/", "/a%20b/"],
		["/inference/a%3Ab,c@d$e&f+g=h!", "/a:b,c@d$e&f+g=h!"],
		["/inference/100%25", "/100%25"],
		["/inference/x?q=a+b&r=%5B%5D&flag", "/x?q=a%20b&r=%5B%5D&flag="],
		["/inference/x?next=/../..//admin", "/x?next=/../..//admin"],
		["/inference/x?", "/x"],
	])("%s: the canonical path, as it was authorised", async (target, sent) => {
		expect((await ask("GET", target)).status).toBe(200);
		expect(last()?.url).toBe(sent);
	});

	test.each([
		["/inference/a%2Fb", "TARGET_ENCODED_SLASH"],
		["/inference/a%2fb", "TARGET_ENCODED_SLASH"],
		["/inference/a%5Cb", "TARGET_BACKSLASH"],
		["/inference/a\\b", "TARGET_BACKSLASH"],
		["/inference/../api/2.0/mlflow/runs/delete", "TARGET_DOT_SEGMENT"],
		["/inference/%2e%2e/admin", "TARGET_DOT_SEGMENT"],
		["/inference/%252e%252e%252fadmin", "TARGET_DOT_SEGMENT"],
		["/inference/./x", "TARGET_DOT_SEGMENT"],
		["/inference//x", "TARGET_EMPTY_SEGMENT"],
		["/inference/x//y", "TARGET_EMPTY_SEGMENT"],
		["//inference/x", "TARGET_EMPTY_SEGMENT"],
		["/inference/x;y", "TARGET_PARAMETERS"],
		["/inference/%00", "TARGET_CHARACTER"],
		["/inference/%0d%0aX:y", "TARGET_CHARACTER"],
		["/inference/%ff", "TARGET_ENCODING"],
		["/inference/%zz", "TARGET_ENCODING"],
		["/inference/x?a=%ff", "QUERY_ENCODING"],
		["/%69nference/x", "TARGET_NOT_CANONICAL"],
		["http://evil.example/inference/x", "TARGET_FORM"],
	])("%s is refused, and the API hears nothing", async (target, code) => {
		const answer = await ask("GET", target);
		expect([answer.status, answer.code]).toEqual([400, code]);
		expect(api.seen).toEqual([]);
	});

	test.each(["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])("%s", async (method) => {
		const answer = await ask(method, "/inference/x", {
			headers: method.startsWith("P") ? ["Content-Length: 2"] : [],
			body: method.startsWith("P") ? "{}" : "",
		});
		expect(answer.status).toBe(200);
		expect([last()?.method, last()?.body.toString()]).toEqual([method, method.startsWith("P") ? "{}" : ""]);
	});

	test("no credential, no cookie, no name, no address of the client, and nothing it made up", async () => {
		await ask("GET", "/inference/x", {
			headers: [
				"Cookie: session=admin; a=b",
				"Proxy-Authorization: Basic eDp5",
				"X-Forwarded-For: 6.6.6.6",
				"X-Forwarded-Host: evil.example",
				"X-Forwarded-Prefix: /evil",
				"Forwarded: for=6.6.6.6",
				"X-Remote-User: admin",
				"Tailscale-User-Login: root@example.org",
				"X-CSRF-Token: csrf-admin",
				"Origin: http://door.test:5000",
				"Referer: http://door.test:5000/secret",
				"Sec-Fetch-Site: same-origin",
				"Accept: application/json",
				"Accept-Language: zh",
				'If-None-Match: "1"',
				"Range: bytes=0-1",
				"Last-Event-ID: 7",
				"User-Agent: test/1",
				"X-Request-ID: r-1",
			],
		});
		expect(last()?.headers).toEqual({
			host: `127.0.0.1:${port}`,
			connection: "close",
			"x-forwarded-prefix": "/inference",
			accept: "application/json",
			"accept-language": "zh",
			"if-none-match": '"1"',
			range: "bytes=0-1",
			"last-event-id": "7",
			"user-agent": "test/1",
			"x-request-id": "r-1",
		});
	});

	test("/inference leads to /inference/, with its query, and is no route for a write", async () => {
		const answer = await ask("GET", "/inference?a=1");
		expect(answer.status).toBe(303);
		expect(answer.head).toContain("Location: /inference/?a=1");
		expect((await ask("POST", "/inference", { headers: ["Content-Length: 0"] })).status).toBe(403);
		expect((await ask("GET", "/inferences/x")).status).toBe(403);
		expect(api.seen).toEqual([]);
	});
});

describe("who may ask", () => {
	test("a stranger gets 401, a browser the sign-in page", async () => {
		expect((await ask("GET", "/inference/x", { role: null })).status).toBe(401);
		const page = await ask("GET", "/inference/x?a=1", { role: null, headers: ["Accept: text/html"] });
		expect(page.status).toBe(303);
		expect(page.head).toContain("/login?next=%2Finference%2Fx%3Fa%3D1");
		expect(api.seen).toEqual([]);
	});

	test("cross-site request forgery: a session's write without the token is refused", async () => {
		const write = (headers: string[]) =>
			ask("POST", "/inference/x", {
				role: null,
				headers: ["Cookie: session=admin", "Content-Length: 0", ...headers],
			});
		expect((await write([])).code).toBe("CSRF_TOKEN");
		expect(api.seen).toEqual([]);
		expect((await write(["X-CSRF-Token: csrf-admin"])).status).toBe(200);
	});

	test.each(["serviceworker", "script", "style", "worker", "sharedworker", "object", "embed"])(
		"a page of ours cannot be made to run what the API serves: Sec-Fetch-Dest %s",
		async (dest) => {
			const answer = await ask("GET", "/inference/x.js", { headers: [`Sec-Fetch-Dest: ${dest}`] });
			expect([answer.status, answer.code]).toEqual([403, "API_NO_CODE"]);
			expect(api.seen).toEqual([]);
		},
	);

	test("the header of a service worker's script fetch is refused even without Sec-Fetch-Dest", async () => {
		expect((await ask("GET", "/inference/sw.js", { headers: ["Service-Worker: script"] })).code).toBe(
			"API_NO_CODE",
		);
	});

	test("/door/why knows it", async () => {
		const said = JSON.parse((await ask("GET", "/door/why?method=DELETE&path=/inference/a%2520b")).body);
		expect(said).toMatchObject({
			canonical: "/inference/a%20b",
			route: "/inference/<path:path>",
			class: "inference",
			needs: "viewer",
			allowed: true,
		});
	});
});

describe("smuggling", () => {
	const HIDDEN = "GET /secret HTTP/1.1\r\nHost: api\r\nX-Remote-User: admin\r\n\r\n";
	const chunked = `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`;

	test.each(["DELETE", "OPTIONS", "GET", "HEAD"])(
		"CVE-2026-29057: a chunked %s hides no second request",
		async (method) => {
			const answer = await ask(method, "/inference/x", {
				headers: ["Transfer-Encoding: chunked"],
				body: chunked,
			});
			expect(answer.status).toBe(400);
			await quiet(50);
			expect(api.seen).toEqual([]);
		},
	);

	test("a DELETE's body of known length arrives as its body", async () => {
		await ask("DELETE", "/inference/x", { headers: [`Content-Length: ${HIDDEN.length}`], body: HIDDEN });
		expect(api.seen.map(({ url, body }) => [url, body.toString()])).toEqual([["/x", HIDDEN]]);
	});

	test("a chunked POST arrives whole, as one request", async () => {
		await ask("POST", "/inference/x", { headers: ["Transfer-Encoding: chunked"], body: chunked });
		expect(api.seen.map(({ url, body }) => [url, body.toString()])).toEqual([["/x", HIDDEN]]);
	});

	test("Expect: 100-continue strips nothing less", async () => {
		const raw = new Raw(it.port);
		const headers = ["Expect: 100-continue", "X-Remote-User: admin", "Content-Length: 2"];
		raw.send(request("POST", "/inference/x", { role: "viewer", headers, body: "{}" }));
		await raw.until(({ received }) => received.includes('{"from":"upstream"}'));
		expect(raw.statuses).toEqual([100, 200]);
		raw.destroy();
		expect(Object.keys(last()?.headers ?? {}).sort()).toEqual([
			"connection",
			"content-length",
			"host",
			"x-forwarded-prefix",
		]);
	});

	test("X_Remote_User: a header with an underscore is refused", async () => {
		expect((await ask("GET", "/inference/x", { headers: ["X_Remote_User: admin"] })).code).toBe(
			"HEADER_UNDERSCORE",
		);
		expect(api.seen).toEqual([]);
	});

	test("Content-Length with Transfer-Encoding, Connection that names a header, a Trailer", async () => {
		for (const headers of [
			["Content-Length: 5", "Transfer-Encoding: chunked"],
			["Connection: close, X-Forwarded-Prefix"],
			["Transfer-Encoding: gzip, chunked"],
		]) {
			expect((await ask("POST", "/inference/x", { headers, body: "0\r\n\r\n" })).status).toBe(400);
		}
		expect(api.seen).toEqual([]);
	});

	test("bytes that the API sends after its answer meet nobody", async () => {
		api.answer = (_req, res) => {
			res.socket?.write(
				"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfooled",
			);
		};
		expect((await ask("GET", "/inference/1")).body).toBe("ok");
		api.answer = (_req, res) => res.end("second");
		expect((await ask("GET", "/inference/2")).body).toBe("second");
	});
});

describe("bodies", () => {
	test("an upload is streamed: the API has the beginning before the client has sent the end", async () => {
		let got = 0;
		api.early = (req, res) => {
			req.on("data", (chunk: Buffer) => {
				got += chunk.length;
			});
			req.on("end", () => res.end(String(got)));
		};
		const raw = new Raw(it.port);
		raw.send(request("POST", "/inference/x", { role: "viewer", headers: ["Content-Length: 200000"] }));
		raw.send("x".repeat(100_000));
		await eventually(() => got >= 100_000);
		raw.send("x".repeat(100_000));
		await raw.until(({ received }) => received.includes("200000"));
		raw.destroy();
	});

	test("back-pressure: an API that does not read does not fill the door", async () => {
		api.early = (req) => {
			req.pause();
		};
		const raw = new Raw(it.port);
		raw.send(request("POST", "/inference/x", { role: "viewer", headers: ["Content-Length: 80000000"] }));
		const chunk = Buffer.alloc(1_000_000);
		for (let i = 0; i < 80; i++) raw.send(chunk);
		await quiet(300);
		const waiting = raw.socket.writableLength;
		raw.destroy();
		expect(waiting).toBeGreaterThan(40_000_000);
		// Of a connection that nobody reads from, nobody learns that it has gone: the API's end or silence ends it.
		api.server.closeAllConnections();
		await eventually(() => api.connections === 0);
	});

	test("back-pressure: a client that does not read does not fill the door, and is let go", async () => {
		api.answer = (_req, res) => {
			res.writeHead(200, { "content-type": "application/octet-stream" });
			const more = (): void => {
				while (res.write(Buffer.alloc(65_536)));
				res.once("drain", more);
			};
			more();
		};
		const before = process.memoryUsage().rss;
		const raw = new Raw(it.port);
		raw.socket.pause();
		raw.send(request("GET", "/inference/big", { role: "viewer" }));
		await eventually(() => api.seen.length === 1);
		await quiet(200);
		expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
		await eventually(() => it.door.live().transfers === 0);
		raw.destroy();
		await eventually(() => api.connections === 0);
	});

	test("a client that leaves takes the API's connection along", async () => {
		api.early = () => {};
		const raw = new Raw(it.port);
		raw.send(request("GET", "/inference/slow", { role: "viewer" }));
		await eventually(() => api.connections === 1);
		raw.destroy();
		await eventually(() => api.connections === 0 && it.door.live().transfers === 0);
	});

	test("an answer before the end of the upload is passed on", async () => {
		api.early = (_req, res) => {
			res.writeHead(413, { "content-type": "text/plain", "content-length": "3" });
			res.end("big");
		};
		const raw = new Raw(it.port);
		raw.send(request("POST", "/inference/x", { role: "viewer", headers: ["Content-Length: 1000000"] }));
		raw.send("x".repeat(70_000));
		await raw.until(({ received }) => received.endsWith("big"));
		expect(raw.statuses).toEqual([413]);
		raw.destroy();
	});

	test("server-sent events arrive one by one, and end with the credential", async () => {
		api.early = (_req, res) => {
			res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
			res.flushHeaders();
			setTimeout(() => res.write("data: one\n\n"), 50);
		};
		const raw = new Raw(it.port);
		raw.send(request("GET", "/inference/events", { role: "viewer", headers: ["Accept: text/event-stream"] }));
		await raw.until(({ received }) => received.includes("\r\n\r\n"));
		expect(raw.received).not.toContain("data: one");
		await raw.until(({ received }) => received.includes("data: one"));
		it.authority.revoked.add("viewer");
		await eventually(() => raw.closed);
		await eventually(() => api.connections === 0);
	});

	test("many requests of one connection, one after the other", async () => {
		api.answer = (_req, res, seen) => res.end(seen.url);
		const raw = new Raw(it.port);
		for (let i = 0; i < 5; i++) raw.send(request("GET", `/inference/${i}`, { role: "viewer" }));
		await raw.until(({ received }) => received.includes("/4"));
		expect(raw.statuses).toEqual([200, 200, 200, 200, 200]);
		raw.destroy();
	});
});

describe("an API that misbehaves", () => {
	/** Answers each connection with these bytes. */
	async function answering(bytes: string | Buffer, then: (socket: Socket) => void = () => {}) {
		const server: Server = createServer((socket) => {
			socket.on("error", () => {});
			socket.once("data", () => {
				socket.write(bytes);
				then(socket);
			});
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const address = server.address();
		const its = await rig({
			api: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`,
			inference: { patience: 300 },
			transfers: { sweep: 20, clientIdle: 400 },
		});
		return {
			its,
			ask: (target = "/inference/x", headers: string[] = []) =>
				exchange(its.port, request("GET", target, { role: "viewer", headers })),
			async close() {
				expect(its.logged.filter(({ msg }) => String(msg).includes("unexpectedly"))).toEqual([]);
				await eventually(() => its.door.live().transfers === 0);
				await its.close();
				server.close();
			},
		};
	}

	test.each([
		["no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n"],
		["huge headers", `HTTP/1.1 200 OK\r\n${`X-A: ${"a".repeat(2000)}\r\n`.repeat(40)}\r\n`],
		["a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"],
		["a status beyond all", "HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n"],
		["both lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
		["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"],
		["a header cut by a line feed", "HTTP/1.1 200 OK\nSet-Cookie: a=b\n\nx"],
		["a control character in a header", 'HTTP/1.1 200 OK\r\nETag: "\x01"\r\nContent-Length: 0\r\n\r\n'],
	])("%s: 502, and the door goes on", async (_what, bytes) => {
		const api = await answering(bytes, (socket) => socket.end());
		const answer = await api.ask();
		expect([answer.status, answer.code]).toEqual([502, "API_ANSWER"]);
		expect(answer.head).not.toMatch(/set-cookie/i);
		await api.close();
	});

	test("an answer that switches protocols unasked ends in 503, and nothing hangs", async () => {
		const api = await answering(
			"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
		);
		expect((await api.ask()).status).toBe(503);
		await api.close();
	});

	test("interim answers are not passed on", async () => {
		const api = await answering(
			"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		);
		const answer = await api.ask();
		expect([answer.status, answer.body]).toEqual([200, "ok"]);
		await api.close();
	});

	test.each([
		["a length it does not keep", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"],
		["chunks without an end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
		["a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"],
	])("%s: the client's connection is cut, never ended as if whole", async (_what, bytes) => {
		const api = await answering(bytes, (socket) => socket.end());
		const raw = new Raw(api.its.port);
		raw.send(request("GET", "/inference/x", { role: "viewer" }));
		await raw.until(({ closed }) => closed);
		expect(raw.received).toContain("half");
		expect(raw.received).not.toContain("\r\n0\r\n\r\n");
		await api.close();
	});

	test("a reset before the answer: GET is asked once more, POST is not", async () => {
		let asked = 0;
		const server = createServer((socket) => {
			socket.on("error", () => {});
			socket.once("data", () => {
				asked++;
				socket.resetAndDestroy();
			});
		});
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const address = server.address();
		const its = await rig({ api: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}` });
		expect((await exchange(its.port, request("GET", "/inference/x", { role: "viewer" }))).status).toBe(503);
		expect(asked).toBe(2);
		const post = request("POST", "/inference/x", {
			role: "viewer",
			headers: ["Content-Length: 2"],
			body: "{}",
		});
		expect((await exchange(its.port, post)).code).toBe("API_UNAVAILABLE");
		expect(asked).toBe(3);
		await its.close();
		server.close();
	});

	test("resets by the hundred during a request leave no connection and no transfer behind", async () => {
		api.early = () => {};
		for (let i = 0; i < 100; i++) {
			const socket = connect(it.port, "127.0.0.1", () => {
				socket.write(request("GET", "/inference/x", { role: "viewer" }));
				setTimeout(() => socket.resetAndDestroy(), i % 7);
			});
			socket.on("error", () => {});
		}
		await quiet(150);
		await eventually(() => api.connections === 0 && it.door.live().transfers === 0);
		api.early = undefined;
		expect((await ask("GET", "/inference/x")).status).toBe(200);
	});
});

describe("an API that is away", () => {
	/** A port where nobody listens. */
	async function freePort(): Promise<number> {
		const other = new Upstream();
		const free = await other.listen();
		await other.close();
		return free;
	}

	test("none at all: 503 with words, and a page for browsers", async () => {
		const its = await rig();
		const answer = await exchange(its.port, request("GET", "/inference/x", { role: "viewer" }));
		expect([answer.status, answer.code]).toEqual([503, "API_NONE"]);
		expect(JSON.parse(answer.body)).toEqual({
			error_code: "TEMPORARILY_UNAVAILABLE",
			message: "This stack runs no inference API.",
		});
		const page = await exchange(
			its.port,
			request("GET", "/inference/", { role: null, headers: ["Cookie: session=viewer", "Accept: text/html"] }),
		);
		expect(page.status).toBe(503);
		expect(page.head).toMatch(/content-type: text\/html/i);
		expect(page.body).toContain("This stack runs no inference API.");
		await its.close();
	});

	test("refused for a while and back in time: the request waits, uploads too", async () => {
		const free = await freePort();
		const its = await rig({ api: `http://127.0.0.1:${free}`, inference: { patience: 5_000 } });
		const post = exchange(
			its.port,
			request("POST", "/inference/x", { role: "viewer", headers: ["Content-Length: 5"], body: "hello" }),
		);
		const get = exchange(its.port, request("GET", "/inference/y", { role: "viewer" }));
		await quiet(500);
		const late = new Upstream();
		await late.listen(free);
		expect((await get).status).toBe(200);
		expect((await post).status).toBe(200);
		expect(late.seen.map(({ url, body }) => url + body).sort()).toEqual(["/xhello", "/y"]);
		await its.close();
		await late.close();
	});

	test("refused for too long: 503 with Retry-After, in MLflow's shape or as a page", async () => {
		const its = await rig({ api: `http://127.0.0.1:${await freePort()}`, inference: { patience: 300 } });
		const started = performance.now();
		const answer = await exchange(its.port, request("GET", "/inference/x", { role: "viewer" }));
		expect(performance.now() - started).toBeGreaterThan(290);
		expect([answer.status, answer.code]).toEqual([503, "API_UNAVAILABLE"]);
		expect(answer.head).toMatch(/retry-after: 5/i);
		expect(JSON.parse(answer.body).error_code).toBe("TEMPORARILY_UNAVAILABLE");
		const page = await exchange(
			its.port,
			request("GET", "/inference/x", {
				role: null,
				headers: ["Cookie: session=viewer", "Accept: text/html"],
			}),
		);
		expect(page.head).toMatch(/retry-after: 5/i);
		expect(page.body).toContain("The inference API is away");
		await its.close();
	});

	test("those who wait beyond what one credential may hold are told so, others are not kept out", async () => {
		const its = await rig({
			api: `http://127.0.0.1:${await freePort()}`,
			inference: { patience: 800, most: { requests: { all: 3, each: 2 }, tunnels: { all: 1, each: 1 } } },
		});
		const as = (role: "viewer" | "editor" | "admin") =>
			exchange(its.port, request("GET", "/inference/x", { role }));
		const held = [as("viewer"), as("viewer")];
		await quiet(100);
		expect((await as("viewer")).code).toBe("API_BUSY");
		const third = as("editor");
		await quiet(100);
		expect((await as("admin")).code).toBe("API_BUSY");
		for (const one of [...held, third]) expect((await one).code).toBe("API_UNAVAILABLE");
		expect((await as("viewer")).code).toBe("API_UNAVAILABLE");
		await its.close();
	});
});

test("its requests are counted and logged as a class of their own", async () => {
	await ask("GET", "/inference/x");
	expect(await it.door.metrics.registry.metrics()).toMatch(
		/door_requests_total\{listener="edge",class="inference",status="200"\} \d+/,
	);
	expect(it.logged.at(-1)).toMatchObject({
		class: "inference",
		route: "/inference/<path:path>",
		status: 200,
	});
});
