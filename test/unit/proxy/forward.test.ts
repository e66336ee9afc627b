/** Bodies both ways, and whoever leaves in the middle. */
import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, exchange, HOST, quiet, Raw, type Rig, request, rig } from "./support.ts";

let it: Rig;
beforeEach(async () => {
	it = await rig({ transfers: { sweep: 50, clientIdle: 400 } });
});
afterEach(() => it.close());

const PUT = "/api/2.0/mlflow-artifacts/artifacts/1/big.bin";
const SEARCH = "/api/2.0/mlflow/runs/search";
const MIB = 1024 * 1024;
const JSON_TYPE = "Content-Type: application/json";
const idle = () => it.door.live();

/** No transfer and no upstream request is left behind. */
async function nothingLeft(ms?: number): Promise<void> {
	await eventually(() => idle().transfers === 0 && idle().running === 0 && idle().queued === 0, ms);
}

/** A node:http client, for what is too long to write by hand. */
function call(
	method: string,
	path: string,
	{
		headers = {},
		body,
		role = "admin",
	}: { headers?: Record<string, string>; body?: Iterable<Buffer>; role?: string } = {},
): Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }> {
	return new Promise((resolve, reject) => {
		const req = httpRequest(
			`${it.origin}${path}`,
			{ method, headers: { host: HOST, authorization: `Bearer ${role}`, ...headers } },
			(res) => {
				const chunks: Buffer[] = [];
				res.on("data", (chunk) => chunks.push(chunk));
				res.on("error", reject);
				res.on("end", () =>
					resolve({ status: res.statusCode ?? 0, headers: res.headers, body: Buffer.concat(chunks) }),
				);
			},
		);
		req.on("error", reject);
		for (const chunk of body ?? []) req.write(chunk);
		req.end();
	});
}

describe("bodies", () => {
	test.each(["POST", "PUT", "PATCH", "DELETE"])(
		"a small JSON body of a %s arrives as it was",
		async (method) => {
			const path = {
				POST: SEARCH,
				PUT,
				PATCH: "/api/2.0/mlflow/registered-models/update",
				DELETE: "/api/2.0/mlflow/registered-models/alias",
			}[method];
			const body = '{"name":"é","x":1}';
			const answer = await call(method, path ?? "", {
				headers: { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) },
				body: [Buffer.from(body)],
			});
			expect(answer.status).toBe(200);
			const [seen] = it.upstream.seen;
			expect(seen?.body.toString()).toBe(body);
			expect(seen?.headers["content-type"]).toBe("application/json");
			expect(seen?.headers["content-length"]).toBe(String(Buffer.byteLength(body)));
			expect(seen?.headers).not.toHaveProperty("transfer-encoding");
		},
	);

	test("a chunked body is framed anew", async () => {
		const answer = await exchange(
			it.port,
			request("POST", SEARCH, {
				headers: [JSON_TYPE, "Transfer-Encoding: chunked"],
				body: "2;ext=1\r\n{}\r\n0\r\nX-Trailer: admin\r\n\r\n",
			}),
		);
		expect(answer.status).toBe(200);
		const [seen] = it.upstream.seen;
		expect(seen?.body.toString()).toBe("{}");
		expect(JSON.stringify(seen)).not.toMatch(/trailer/i);
	});

	test("a big JSON body keeps its length", async () => {
		const body = Buffer.from(JSON.stringify({ x: "y".repeat(500_000) }));
		const answer = await call("POST", SEARCH, {
			headers: { "content-type": "application/json", "content-length": String(body.length) },
			body: [body],
		});
		expect(answer.status).toBe(200);
		expect(it.upstream.seen[0]?.headers["content-length"]).toBe(String(body.length));
		expect(it.upstream.seen[0]?.body.equals(body)).toBe(true);
	});

	test.each([65_537, 100_000, 131_072, 140_000, 200_000, 1_000_000])(
		"%i bytes of JSON that are all here before MLflow is asked do not wait for more",
		async (size) => {
			const body = "x".repeat(size);
			const headers = [JSON_TYPE, `Content-Length: ${size}`];
			const answer = await exchange(
				it.port,
				request("POST", "/api/2.0/mlflow/runs/log-batch", { headers, body }),
			);
			expect(answer.status).toBe(200);
			expect(it.upstream.seen[0]?.body.length).toBe(size);
		},
	);

	test.each([
		["announced", [`Content-Length: ${17 * MIB}`], ""],
		["in chunks", ["Transfer-Encoding: chunked"], `${(2 * MIB).toString(16)}\r\n${"x".repeat(2 * MIB)}\r\n`],
	])("JSON that would fill MLflow's memory, %s, is refused and never sent on", async (_, headers, body) => {
		const answer = await exchange(
			it.port,
			request("POST", "/api/2.0/mlflow/runs/log-batch", { headers: [JSON_TYPE, ...headers], body }),
		);
		expect([answer.status, answer.code]).toEqual([400, "BODY_TOO_LARGE"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test("an empty chunked body, and none at all", async () => {
		for (const [headers, body] of [
			[[JSON_TYPE, "Transfer-Encoding: chunked"], "0\r\n\r\n"],
			[[JSON_TYPE, "Content-Length: 0"], ""],
			[[JSON_TYPE], ""],
		] as const) {
			const answer = await exchange(it.port, request("POST", SEARCH, { headers: [...headers], body }));
			expect(answer.status).toBe(200);
			expect(it.upstream.seen.at(-1)?.body).toHaveLength(0);
			expect(it.upstream.seen.at(-1)?.whole).toBe(true);
		}
	});

	test.each([
		["announced", true],
		["chunked", false],
	])("32 MiB up, %s, byte for byte, without holding them", async (_, announced) => {
		const piece = randomBytes(MIB);
		const sent = createHash("sha256");
		const body = Array.from({ length: 32 }, () => piece);
		for (const chunk of body) sent.update(chunk);
		let bytes = 0;
		const got = createHash("sha256");
		it.upstream.early = (req, res) => {
			req.on("data", (chunk) => {
				bytes += chunk.length;
				got.update(chunk);
			});
			req.on("end", () => res.end("{}"));
		};
		const answer = await call("PUT", PUT, {
			headers: announced ? { "content-length": String(32 * MIB) } : { "transfer-encoding": "chunked" },
			body,
		});
		expect(answer.status).toBe(200);
		expect(bytes).toBe(32 * MIB);
		// A length that is announced and not met is taken for a short file.
		expect(it.upstream.seen[0]?.headers).toMatchObject({ "transfer-encoding": "chunked" });
		expect(got.digest("hex")).toBe(sent.digest("hex"));
	});

	test("32 MiB down, byte for byte, with the headers of MLflow and none of its server's", async () => {
		const piece = randomBytes(MIB);
		const sent = createHash("sha256");
		for (let i = 0; i < 32; i++) sent.update(piece);
		it.upstream.answer = (_req, res) => {
			res.writeHead(200, [
				...[
					"Server",
					"gunicorn",
					"Set-Cookie",
					"a=b",
					"Location",
					"http://tracking:5000/x",
					"X-Powered-By",
					"y",
				],
				...["Content-Type", "application/octet-stream", "Content-Length", String(32 * MIB)],
				...[
					"Content-Disposition",
					"attachment; filename=weights.bin",
					"ETag",
					'"x"',
					"Keep-Alive",
					"timeout=1",
				],
			]);
			for (let i = 0; i < 32; i++) res.write(piece);
			res.end();
		};
		const answer = await call("GET", PUT);
		expect(createHash("sha256").update(answer.body).digest("hex")).toBe(sent.digest("hex"));
		expect(answer.headers).toMatchObject({
			"content-length": String(32 * MIB),
			"content-disposition": "attachment; filename=weights.bin",
			etag: '"x"',
			"x-content-type-options": "nosniff",
			"cache-control": "private, no-cache",
		});
		for (const name of ["server", "set-cookie", "location", "x-powered-by"]) {
			expect(answer.headers).not.toHaveProperty(name);
		}
	});

	test("header bytes beyond ASCII pass as they are", async () => {
		it.upstream.answer = (_req, res) => {
			res.socket?.end(
				Buffer.from(
					"HTTP/1.1 200 OK\r\nContent-Disposition: attachment; filename=é.bin\r\nContent-Length: 2\r\n\r\nok",
					"latin1",
				),
			);
		};
		const answer = await exchange(it.port, request("GET", PUT));
		expect(answer.status).toBe(200);
		expect(answer.head).toContain("content-disposition: attachment; filename=é.bin");
	});

	test("status, body and Cache-Control of MLflow's errors and files stay", async () => {
		it.upstream.answer = (_req, res) => {
			res.writeHead(404, { "content-type": "application/json", "cache-control": "public, max-age=9" });
			res.end('{"error_code":"RESOURCE_DOES_NOT_EXIST"}');
		};
		const answer = await call("GET", "/static-files/a.js");
		expect(answer.status).toBe(404);
		expect(answer.body.toString()).toBe('{"error_code":"RESOURCE_DOES_NOT_EXIST"}');
		expect(answer.headers["cache-control"]).toBe("public, max-age=9");
	});

	test("a client that does not read stops the upstream from sending", async () => {
		let produced = 0;
		it.upstream.answer = (_req, res) => {
			res.writeHead(200);
			const more = () => {
				while (produced < 200 * MIB && res.write(Buffer.alloc(64 * 1024))) produced += 64 * 1024;
			};
			res.on("drain", more);
			more();
		};
		const raw = new Raw(it.port);
		raw.socket.pause();
		raw.send(request("GET", PUT));
		await quiet(250);
		const held = produced;
		expect(held).toBeLessThan(40 * MIB);
		raw.destroy();
		await nothingLeft();
	});

	test("an upstream that does not read stops the client from sending", async () => {
		let resume = () => {};
		it.upstream.early = (req) => {
			req.pause();
			resume = () => req.resume();
		};
		const raw = new Raw(it.port);
		raw.send(request("PUT", PUT, { headers: [`Content-Length: ${400 * MIB}`] }));
		let taken = 0;
		const pump = () => {
			while (taken < 400 * MIB) {
				taken += 64 * 1024;
				if (!raw.socket.write(Buffer.alloc(64 * 1024))) return;
			}
		};
		raw.socket.on("drain", pump);
		pump();
		await quiet(300);
		expect(taken).toBeLessThan(60 * MIB);
		// Nobody reads from the client now, so that it leaves is noticed when the upstream moves again.
		raw.destroy();
		resume();
		await nothingLeft();
	});
});

describe("a client that leaves", () => {
	test("before it is known who it is: no upstream request is made", async () => {
		let known = () => {};
		it.authority.until = new Promise((resolve) => {
			known = resolve;
		});
		const raws = Array.from({ length: 100 }, () => new Raw(it.port));
		for (const raw of raws) raw.send(request("GET", "/api/2.0/mlflow/experiments/search"));
		await eventually(() => it.authority.asked === 100);
		for (const raw of raws) raw.socket.resetAndDestroy();
		await eventually(() => it.logged.filter(({ status }) => status === 499).length === 100);
		known();
		await quiet(50);
		expect(it.upstream.seen).toEqual([]);
		expect(it.upstream.connections).toBe(0);
		expect(idle()).toMatchObject({ transfers: 0, running: 0, queued: 0 });
		expect((await call("GET", "/api/2.0/mlflow/experiments/search")).status).toBe(200);
	});

	test("in the middle of a small body: the upstream hears nothing", async () => {
		const raw = new Raw(it.port);
		raw.send(request("POST", SEARCH, { headers: [JSON_TYPE, "Content-Length: 100"], body: '{"half":' }));
		await eventually(() => idle().transfers === 1);
		raw.socket.resetAndDestroy();
		await nothingLeft();
		expect(it.upstream.seen).toEqual([]);
	});

	test("before the first byte of a big body: the upstream hears nothing", async () => {
		const raw = new Raw(it.port);
		raw.send(request("PUT", PUT, { headers: [`Content-Length: ${MIB}`] }));
		await eventually(() => idle().transfers === 1);
		raw.socket.resetAndDestroy();
		await nothingLeft();
		expect(it.upstream.connections).toBe(0);
	});

	test("in the middle of an upload: the upstream sees a broken one, not a short one", async () => {
		for (const headers of [[`Content-Length: ${10 * MIB}`], ["Transfer-Encoding: chunked"]]) {
			it.upstream.seen.length = 0;
			const raw = new Raw(it.port);
			const chunk = headers[0]?.startsWith("T") ? `10000\r\n${"x".repeat(65536)}\r\n` : "x".repeat(65536 + 1);
			raw.send(request("PUT", PUT, { headers, body: chunk }));
			await eventually(() => it.upstream.seen.length === 1);
			raw.socket.resetAndDestroy();
			await nothingLeft();
			await quiet(20);
			expect(it.upstream.seen[0]?.whole).toBe(false);
		}
	});

	test("while MLflow still thinks, or in the middle of a download: the upstream request is ended", async () => {
		for (const begin of [false, true]) {
			it.upstream.broken = 0;
			it.upstream.answer = (_req, res) => {
				if (begin) res.write("x".repeat(1000));
			};
			const raw = new Raw(it.port);
			raw.send(request("GET", PUT));
			await eventually(() => it.upstream.seen.length > 0 && idle().running === 1);
			if (begin) await raw.until(({ received }) => received.includes("xxx"));
			raw.socket.resetAndDestroy();
			await nothingLeft();
			await eventually(() => it.upstream.broken === 1);
			it.upstream.seen.length = 0;
		}
	});

	test("with a second request already sent: that one is never made", async () => {
		it.upstream.answer = () => {};
		const raw = new Raw(it.port);
		raw.send(request("GET", `${PUT}?first=1`) + request("GET", `${PUT}?second=1`));
		await eventually(() => it.upstream.seen.length === 1);
		raw.socket.resetAndDestroy();
		await nothingLeft();
		await quiet(50);
		expect(it.upstream.seen.map(({ url }) => url)).toEqual([`${PUT}?first=1`]);
	});

	test("five hundred at once, at any moment: no connection is lost to them", async () => {
		it.authority.delay = 5;
		it.upstream.answer = (_req, res) =>
			void setTimeout(() => res.end("x".repeat(100_000)), Math.random() * 20);
		for (let lap = 0; lap < 5; lap++) {
			const raws = Array.from({ length: 100 }, () => new Raw(it.port));
			for (const [i, raw] of raws.entries()) {
				raw.send(
					i % 3 === 0
						? request("GET", PUT)
						: i % 3 === 1
							? request("POST", SEARCH, { headers: [JSON_TYPE, "Content-Length: 2"], body: "{}" })
							: request("PUT", PUT, { headers: [`Content-Length: ${MIB}`], body: "x".repeat(200_000) }),
				);
				setTimeout(() => raw.socket.resetAndDestroy(), Math.random() * 40);
			}
			await quiet(60);
		}
		it.authority.delay = 0;
		it.upstream.answer = (_req, res) => void res.end("{}");
		// Three event loops' work in one: new connections are dropped, and tried again by the kernel after seconds.
		await nothingLeft(10_000);
		const answers = await Promise.all(
			Array.from({ length: 50 }, () => call("GET", "/api/2.0/mlflow/experiments/search")),
		);
		expect(answers.every(({ status }) => status === 200)).toBe(true);
		expect(it.logged.filter(({ level }) => level === 50)).toEqual([]);
	});
});

describe("an upstream that leaves", () => {
	test("is not there for longer than a request waits: 503 in MLflow's words, and well again when it is back", async () => {
		await it.close();
		it = await rig({ holdSeconds: 0.2 });
		const { port } = it.upstream.server.address() as { port: number };
		await it.upstream.close();
		const body = '{"x":1}';
		for (const bytes of [
			request("GET", SEARCH.replace("runs", "experiments")),
			request("POST", SEARCH, { headers: [JSON_TYPE, `Content-Length: ${body.length}`], body }),
			request("PUT", PUT, { headers: [`Content-Length: ${MIB}`], body: "x".repeat(MIB) }),
		]) {
			const answer = await exchange(it.port, bytes);
			expect([answer.status, answer.code]).toEqual([503, "HOLD_LATE"]);
			expect(JSON.parse(answer.body)).toEqual({
				error_code: "TEMPORARILY_UNAVAILABLE",
				message: "A part of this stack is away, longer than a request can wait. Try again in a moment.",
			});
			// MLflow's clients wait this long instead of their own, longer back-off.
			expect(answer.head).not.toMatch(/retry-after/i);
		}
		it.upstream.server.listen(port, "127.0.0.1");
		expect((await call("GET", "/api/2.0/mlflow/experiments/search")).status).toBe(200);
	});

	test("without an answer: 503 for what may not be asked twice", async () => {
		it.upstream.answer = (req) => req.socket.destroy();
		const answer = await exchange(
			it.port,
			request("POST", "/api/2.0/mlflow/runs/create", {
				headers: [JSON_TYPE, "Content-Length: 2"],
				body: "{}",
			}),
		);
		expect([answer.status, answer.code]).toEqual([503, "UPSTREAM_UNAVAILABLE"]);
		expect(it.upstream.seen).toHaveLength(1);
	});

	test("without an answer to a GET: it is asked three times more", async () => {
		let first = true;
		it.upstream.answer = (req, res) => {
			if (first) req.socket.destroy();
			else res.end("{}");
			first = false;
		};
		expect((await call("GET", PUT)).status).toBe(200);
		expect(it.upstream.seen).toHaveLength(2);
		it.upstream.answer = (req) => req.socket.destroy();
		expect((await call("GET", PUT)).status).toBe(503);
		expect(it.upstream.seen).toHaveLength(6);
	});

	test("in the middle of its answer: the client sees that it is not whole", async () => {
		for (const announced of [true, false]) {
			it.upstream.answer = (req, res) => {
				res.writeHead(200, announced ? { "content-length": "1000" } : {});
				res.write("half");
				setTimeout(() => req.socket.destroy(), 20);
			};
			const raw = new Raw(it.port);
			raw.send(request("GET", PUT));
			await raw.until(({ closed }) => closed);
			expect(raw.received).toContain("half");
			expect(raw.received).not.toContain("0\r\n\r\n");
		}
	});

	test("with an answer that is no HTTP: 503", async () => {
		for (const garbage of [
			"nonsense\r\n\r\n",
			"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
			"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		]) {
			it.upstream.answer = (req) => void req.socket.end(garbage);
			const answer = await exchange(
				it.port,
				request("POST", SEARCH, { headers: [JSON_TYPE, "Content-Length: 2"], body: "{}" }),
			);
			expect(answer.status).toBe(503);
		}
		it.upstream.answer = (_req, res) => void res.end("{}");
		expect((await call("GET", PUT)).status).toBe(200);
	});

	test("information before the answer is not taken for it", async () => {
		it.upstream.answer = (_req, res) => {
			res.writeEarlyHints({ link: "</x>; rel=preload" });
			res.end("{}");
		};
		const answer = await exchange(it.port, request("GET", PUT));
		expect(answer.status).toBe(200);
		expect(answer.head).not.toMatch(/link:/i);
	});

	test("answers before an upload is over: the answer arrives, the rest is drained, the connection lives", async () => {
		it.upstream.early = (_req, res) => {
			res.writeHead(400, { "content-type": "application/json" });
			res.end('{"error_code":"INVALID_PARAMETER_VALUE"}');
		};
		const raw = new Raw(it.port);
		raw.send(request("PUT", PUT, { headers: [`Content-Length: ${4 * MIB}`] }));
		for (let i = 0; i < 64; i++) {
			raw.send(Buffer.alloc(64 * 1024));
			await quiet(1);
		}
		await raw.until(({ statuses }) => statuses.length === 1);
		it.upstream.early = undefined;
		raw.send(request("GET", SEARCH.replace("runs", "experiments")));
		await raw.until(({ statuses }) => statuses.length === 2);
		expect(raw.statuses).toEqual([400, 200]);
		raw.destroy();
	});
});

describe("a refused upload", () => {
	test("is told why, and may go on with the connection once its body is through", async () => {
		const raw = new Raw(it.port);
		raw.send(
			request("PUT", PUT, {
				role: "viewer",
				headers: [`Content-Length: ${4 * MIB}`],
				body: "x".repeat(4 * MIB),
			}),
		);
		raw.send(request("GET", SEARCH.replace("runs", "experiments"), { role: "viewer" }));
		await raw.until(({ statuses }) => statuses.length === 2);
		expect(raw.statuses).toEqual([403, 200]);
		expect(it.upstream.seen).toHaveLength(1);
		raw.destroy();
	});
});

describe("while a transfer runs", () => {
	test("its credential is asked for: a revoked one ends the download", async () => {
		it.upstream.answer = (_req, res) => {
			res.writeHead(200);
			const timer = setInterval(() => res.write("x".repeat(1000)), 10);
			res.on("close", () => clearInterval(timer));
		};
		const raw = new Raw(it.port);
		raw.send(request("GET", PUT, { role: "viewer" }));
		await raw.until(({ received }) => received.includes("xxx"));
		it.authority.revoked.add("viewer");
		await raw.until(({ closed }) => closed);
		await nothingLeft();
		expect(it.upstream.broken).toBe(1);
	});

	test("and the upload, with a 401 if nothing has been answered", async () => {
		it.upstream.early = (req) => req.resume();
		const raw = new Raw(it.port);
		raw.send(
			request("PUT", PUT, { role: "editor", headers: [`Content-Length: ${MIB}`], body: "x".repeat(1000) }),
		);
		await eventually(() => it.upstream.seen.length === 1);
		it.authority.revoked.add("editor");
		await raw.until(({ statuses }) => statuses.length === 1);
		expect(raw.statuses).toEqual([401]);
		expect(raw.received).toContain("CREDENTIAL_ENDED");
		await eventually(() => it.upstream.broken === 1);
		raw.destroy();
	});

	test("a client that stops sending is ended", async () => {
		for (const [length, body] of [
			[100, "{"],
			[MIB, "x".repeat(1000)],
		] as const) {
			const raw = new Raw(it.port);
			raw.send(request("POST", SEARCH, { headers: [JSON_TYPE, `Content-Length: ${length}`], body }));
			await raw.until(({ statuses }) => statuses.length === 1);
			expect(raw.received).toContain("CLIENT_IDLE");
			await nothingLeft();
			raw.destroy();
		}
	});

	test("a client that stops reading is ended", async () => {
		it.upstream.answer = (_req, res) => {
			res.writeHead(200);
			const more = () => {
				while (res.write(Buffer.alloc(256 * 1024)));
			};
			res.on("drain", more);
			more();
		};
		const raw = new Raw(it.port);
		raw.socket.pause();
		raw.send(request("GET", PUT));
		await eventually(() => idle().transfers === 1);
		await nothingLeft();
		await eventually(() => it.upstream.broken === 1);
		raw.destroy();
	});

	test("a client that waits for a slow answer is not, nor one that sends slowly but moves", async () => {
		it.upstream.answer = (_req, res) => void setTimeout(() => res.end("{}"), 900);
		const waiting = call("GET", PUT);
		const raw = new Raw(it.port);
		raw.send(request("PUT", `${PUT}2`, { headers: [`Content-Length: ${MIB}`] }));
		for (let i = 0; i < 8; i++) {
			await quiet(150);
			raw.send("x".repeat(MIB / 8));
		}
		expect((await waiting).status).toBe(200);
		await raw.until(({ statuses }) => statuses.length === 1);
		expect(raw.statuses).toEqual([200]);
		raw.destroy();
	});
});
