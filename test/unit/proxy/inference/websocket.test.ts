/** WebSockets through the door: a client by hand, an API by hand, and everything between is real. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { eventually, HOST, quiet, Raw, type Rig, rig } from "../support.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const accept = (key: string) =>
	createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const ORIGIN = `Origin: http://${HOST}`;

let api: Server;
let port: number;
let it: Rig;
/** Requests to switch that arrived. */
let asked: IncomingMessage[];
/** Connections that were switched and are still open. */
let open: Set<Socket>;
/** What the API does with a request to switch. */
let onUpgrade: (req: IncomingMessage, socket: Socket) => void;

const echo = (req: IncomingMessage, socket: Socket, more: string[] = []): void => {
	const key = String(req.headers["sec-websocket-key"]);
	const lines = [
		"Connection: Upgrade",
		"Upgrade: websocket",
		`Sec-WebSocket-Accept: ${accept(key)}`,
		...more,
	];
	socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\n`);
	socket.pipe(socket);
};

beforeAll(async () => {
	api = createServer((_req, res) => res.end("plain"));
	api.on("upgrade", (req, socket: Socket) => {
		asked.push(req);
		open.add(socket);
		socket.on("error", () => {}).on("close", () => open.delete(socket));
		socket.on("end", () => socket.end()).resume();
		onUpgrade(req, socket);
	});
	await new Promise<void>((resolve) => api.listen(0, "127.0.0.1", resolve));
	port = (api.address() as AddressInfo).port;
	it = await rig({
		api: `http://127.0.0.1:${port}`,
		inference: {
			patience: 300,
			most: { requests: { all: 10, each: 10 }, tunnels: { all: 4, each: 2 } },
		},
		transfers: { sweep: 20, clientIdle: 400 },
	});
});
afterAll(async () => {
	await it.close();
	api.closeAllConnections();
	api.close();
});
beforeEach(() => {
	asked = [];
	open = new Set();
	onUpgrade = echo;
	it.authority.revoked.clear();
});
afterEach(async () => {
	await eventually(() => it.door.live().transfers === 0 && open.size === 0);
	expect(it.logged.filter(({ level }) => level === 50)).toEqual([]);
	expect(it.upstream.seen).toEqual([]);
});

function handshake(headers: string[], target = "/inference/ws?room=%E7%9B%90", method = "GET"): string {
	return [
		`${method} ${target} HTTP/1.1`,
		`Host: ${HOST}`,
		"Connection: keep-alive, Upgrade",
		"Upgrade: websocket",
		"Sec-WebSocket-Version: 13",
		`Sec-WebSocket-Key: ${KEY}`,
		...headers,
		"",
		"",
	].join("\r\n");
}
const TOKEN = "Authorization: Bearer viewer";
const SESSION = "Cookie: session=viewer";

async function answered(bytes: string): Promise<Raw> {
	const raw = new Raw(it.port);
	raw.send(bytes);
	return await raw.until(({ received, closed }) => closed || received.includes("\r\n\r\n"));
}

describe("a WebSocket", () => {
	test.each([
		["a token, no Origin", [TOKEN]],
		["a token, our Origin", [TOKEN, ORIGIN]],
		["a session, our Origin", [SESSION, ORIGIN]],
		[
			"a session, our Origin, a browser that says same-origin",
			[SESSION, ORIGIN, "Sec-Fetch-Site: same-origin"],
		],
	])("opens with %s, and carries bytes both ways", async (_what, headers) => {
		const raw = await answered(handshake(headers));
		expect(raw.received).toMatch(/^HTTP\/1\.1 101 /);
		expect(raw.received).toContain(`sec-websocket-accept: ${accept(KEY)}`);
		raw.send(Buffer.from([0x81, 0x85, 1, 2, 3, 4, 0x69, 0x67, 0x6f, 0x68, 0x6e]));
		await raw.until(({ received }) => received.endsWith("\x69\x67\x6f\x68\x6e"));
		expect(it.door.live().transfers).toBe(1);
		raw.destroy();
		await eventually(() => open.size === 0);
		await eventually(() => it.logged.at(-1)?.msg === "request");
		expect(it.logged.at(-1)).toMatchObject({ class: "inference", status: 101 });
		expect(it.logged.at(-1)).not.toHaveProperty("cut");
	});

	test("what the client sends right behind its handshake is not lost", async () => {
		const raw = new Raw(it.port);
		raw.send(`${handshake([TOKEN])}early`);
		await raw.until(({ received }) => received.endsWith("early"));
		raw.destroy();
	});

	test("the API gets the handshake and nothing that says who asks", async () => {
		const raw = await answered(
			handshake([
				TOKEN,
				ORIGIN,
				"Cookie: session=admin",
				"X-Forwarded-For: 6.6.6.6",
				"X-Remote-User: admin",
				"Sec-WebSocket-Protocol: chat",
				"Sec-WebSocket-Extensions: permessage-deflate",
			]),
		);
		expect(asked[0]?.url).toBe("/ws?room=%E7%9B%90");
		expect(asked[0]?.headers).toEqual({
			host: `127.0.0.1:${port}`,
			connection: "Upgrade",
			upgrade: "websocket",
			"sec-websocket-key": KEY,
			"sec-websocket-version": "13",
			"sec-websocket-protocol": "chat",
			"sec-websocket-extensions": "permessage-deflate",
			"x-forwarded-prefix": "/inference",
		});
		raw.destroy();
	});

	test("a cookie in the answer that switches is not passed on", async () => {
		onUpgrade = (req, socket) =>
			echo(req, socket, ["Set-Cookie: mlgate-lab=stolen", "Clear-Site-Data: *", "X-Door-Error: X"]);
		const raw = await answered(handshake([TOKEN]));
		const [head] = raw.received.split("\r\n\r\n");
		expect(head?.split("\r\n").sort()).toEqual([
			"HTTP/1.1 101 Switching Protocols",
			"connection: Upgrade",
			`sec-websocket-accept: ${accept(KEY)}`,
			"upgrade: websocket",
		]);
		raw.destroy();
	});
});

describe("cross-site WebSocket hijacking", () => {
	test.each([
		["another site's page, with the session's cookie", [SESSION, "Origin: http://evil.example"]],
		["another port of ours", [SESSION, "Origin: http://door.test:8000"]],
		["another scheme", [SESSION, `Origin: https://${HOST}`]],
		["a sandboxed page of the API itself", [SESSION, "Origin: null"]],
		["no Origin, with a session", [SESSION]],
		["our Origin, but a browser that says cross-site", [SESSION, ORIGIN, "Sec-Fetch-Site: cross-site"]],
		["a remembered Basic password, from another site", [TOKEN, "Origin: http://evil.example"]],
	])("%s is refused", async (_what, headers) => {
		const raw = await answered(handshake(headers));
		expect(raw.received).toMatch(/^HTTP\/1\.1 403 /);
		expect(raw.received).toContain("X-Door-Error: CSRF_ORIGIN");
		await raw.until(({ closed }) => closed);
		expect(asked).toEqual([]);
	});

	test("a stranger is 401, and the connection ends", async () => {
		const raw = await answered(handshake([ORIGIN]));
		expect(raw.statuses).toEqual([401]);
		await raw.until(({ closed }) => closed);
		expect(asked).toEqual([]);
	});
});

describe("upgrade smuggling", () => {
	const HIDDEN = "GET /secret HTTP/1.1\r\nHost: api\r\n\r\n";

	test.each([
		["h2c", handshake([TOKEN]).replace("Upgrade: websocket", "Upgrade: h2c")],
		["a list of protocols", handshake([TOKEN]).replace("Upgrade: websocket", "Upgrade: websocket, h2c")],
		["a POST", handshake([TOKEN, "Content-Length: 0"], "/inference/ws", "POST")],
		["a body", handshake([TOKEN, `Content-Length: ${HIDDEN.length}`]) + HIDDEN],
		["a chunked body", `${handshake([TOKEN, "Transfer-Encoding: chunked"])}0\r\n\r\n`],
		["no key", handshake([TOKEN]).replace(/Sec-WebSocket-Key.*\r\n/, "")],
		["a short key", handshake([TOKEN]).replace(KEY, "eA==")],
		["another version", handshake([TOKEN]).replace("Version: 13", "Version: 8")],
		["Expect", handshake([TOKEN, "Expect: 100-continue"])],
		["MLflow's paths", handshake([TOKEN], "/api/2.0/mlflow/experiments/search")],
		["a page of ours", handshake([TOKEN], "/login")],
		["no blank after the prefix", handshake([TOKEN], "/inference")],
	])("%s: refused, and nothing of it is asked", async (_what, bytes) => {
		const raw = await answered(bytes);
		expect(raw.statuses[0]).toBe(400);
		expect(raw.received).toContain("UPGRADE_REFUSED");
		await quiet(20);
		expect(raw.statuses).toHaveLength(1);
		expect(asked).toEqual([]);
		raw.destroy();
	});

	test("a path that climbs out of /inference/ is refused as ever", async () => {
		const raw = await answered(handshake([TOKEN], "/inference/../api/2.0/mlflow/runs/delete"));
		expect(raw.received).toContain("TARGET_DOT_SEGMENT");
		await raw.until(({ closed }) => closed);
	});

	test("an API that does not switch answers as ever, filtered, and nothing after it is read", async () => {
		onUpgrade = (_req, socket) => {
			socket.end(
				"HTTP/1.1 404 Not Found\r\nSet-Cookie: a=b\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nnone",
			);
		};
		const raw = new Raw(it.port);
		raw.send(`${handshake([TOKEN])}${HIDDEN}`);
		await raw.until(({ closed }) => closed);
		expect(raw.statuses).toEqual([404]);
		expect(raw.received).toContain("Content-Security-Policy: sandbox allow-scripts");
		expect(raw.received).not.toMatch(/set-cookie/i);
		expect(raw.received.endsWith("none")).toBe(true);
		expect(asked).toHaveLength(1);
	});

	test.each([
		["another protocol", ["Connection: Upgrade", "Upgrade: h2c"]],
		["no proof that it read the handshake", ["Connection: Upgrade", "Upgrade: websocket"]],
		["a wrong proof", ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: eA=="]],
	])("an API that switches to %s is cut off: 503", async (_what, lines) => {
		onUpgrade = (_req, socket) => {
			socket.write(
				`HTTP/1.1 101 Switching Protocols\r\n${lines.join("\r\n")}\r\n\r\nHTTP/1.1 200 OK\r\n\r\n`,
			);
		};
		const raw = new Raw(it.port);
		raw.send(handshake([TOKEN]));
		await raw.until(({ closed }) => closed);
		expect(raw.statuses).toEqual([503]);
	});

	test("a handshake behind an unanswered request of the same connection ends it", async () => {
		let release = () => {};
		it.authority.until = new Promise<void>((resolve) => {
			release = resolve;
		});
		const raw = new Raw(it.port);
		raw.send(`GET /inference/x HTTP/1.1\r\nHost: ${HOST}\r\n${TOKEN}\r\n\r\n${handshake([TOKEN])}`);
		await raw.until(({ closed }) => closed);
		release();
		it.authority.until = undefined;
		expect(asked).toEqual([]);
	});
});

describe("the end of a WebSocket", () => {
	test("comes with the end of its credential", async () => {
		const raw = await answered(handshake([TOKEN]));
		it.authority.revoked.add("viewer");
		await raw.until(({ closed }) => closed);
		await eventually(() => open.size === 0);
	});

	test("comes with the API's end", async () => {
		const raw = await answered(handshake([TOKEN]));
		for (const socket of open) socket.destroy();
		await raw.until(({ closed }) => closed);
	});

	test("an API that resets takes nothing else along", async () => {
		onUpgrade = (req, socket) => {
			echo(req, socket);
			setTimeout(() => socket.resetAndDestroy(), 20);
		};
		const raw = await answered(handshake([TOKEN]));
		await raw.until(({ closed }) => closed);
	});

	test("a client that leaves during the handshake leaves nothing behind, once the API has switched", async () => {
		let late = () => {};
		onUpgrade = (req, socket) => {
			late = () => echo(req, socket);
		};
		const raw = new Raw(it.port);
		raw.send(handshake([TOKEN]));
		await eventually(() => open.size === 1);
		raw.destroy();
		late();
		await eventually(() => open.size === 0);
	});

	test("comes with the end of its credential during the handshake, too", async () => {
		onUpgrade = () => {};
		const raw = new Raw(it.port);
		raw.send(handshake([TOKEN]));
		await eventually(() => open.size === 1);
		it.authority.revoked.add("viewer");
		await raw.until(({ closed }) => closed);
		expect(raw.statuses).toEqual([401]);
	});

	test("a flood: beyond its share one credential opens no more, others still do", async () => {
		const mine = [await answered(handshake([TOKEN])), await answered(handshake([TOKEN]))];
		const refused = await answered(handshake([TOKEN]));
		expect(refused.received).toContain("X-Door-Error: API_BUSY");
		const other = await answered(handshake(["Authorization: Bearer editor"]));
		expect(other.statuses).toEqual([101]);
		for (const raw of [...mine, other, refused]) raw.destroy();
		await eventually(() => open.size === 0);
		const again = await answered(handshake([TOKEN]));
		expect(again.statuses).toEqual([101]);
		again.destroy();
	});

	test("a flood of bytes that nobody reads waits where it comes from", async () => {
		const pushed = { bytes: 0 };
		onUpgrade = (req, socket) => {
			echo(req, socket);
			socket.unpipe(socket);
			const chunk = Buffer.alloc(65_536);
			const more = (): void => {
				while (socket.write(chunk)) pushed.bytes += chunk.length;
				socket.once("drain", more);
			};
			more();
		};
		const raw = await answered(handshake([TOKEN]));
		raw.socket.pause();
		await quiet(300);
		const before = pushed.bytes;
		await quiet(300);
		expect(pushed.bytes - before).toBeLessThan(30_000_000);
		raw.destroy();
	});

	test("comes at once when the door stops", async () => {
		const its = await rig({ api: `http://127.0.0.1:${port}`, drainSeconds: 20 });
		const raw = new Raw(its.port);
		raw.send(handshake([TOKEN]));
		await raw.until(({ received }) => received.includes(" 101 "));
		const started = performance.now();
		expect(await its.door.stop()).toBe(true);
		expect(performance.now() - started).toBeLessThan(5_000);
		await raw.until(({ closed }) => closed);
		await its.upstream.close();
	});

	test("an API that is away is 503, once patience has run out", async () => {
		const its = await rig({ api: "http://127.0.0.1:9", inference: { patience: 200 } });
		const raw = new Raw(its.port);
		raw.send(handshake([TOKEN]));
		await raw.until(({ closed }) => closed);
		expect(raw.statuses).toEqual([503]);
		await its.close();
	});
});
