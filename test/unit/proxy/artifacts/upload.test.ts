import { type ClientRequest, request } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type TestMinio } from "../../../support/minio.ts";
import { eventually, pattern, type Rig, rig } from "./support.ts";

const START = 900_000;
const MIB = 1024 * 1024;

let minio: TestMinio;
let door: Rig;

beforeAll(async () => {
	minio = await startMinio();
	door = await rig(minio, { limits: { idle: 1000 } });
}, START);

afterAll(async () => {
	await door?.close();
	await minio?.close();
});

afterEach(() => {
	door.wire.tamper = undefined;
});

const put = (path: string, body: Buffer | string) =>
	fetch(`${door.origin}/artifacts/${path}`, { method: "PUT", body: new Uint8Array(Buffer.from(body)) });

interface Sending {
	req: ClientRequest;
	status: Promise<number>;
}

/** An upload whose body the test writes itself. */
function sending(path: string, headers: Record<string, string | number>): Sending {
	const req = request(`${door.origin}/artifacts/${path}`, { method: "PUT", headers, agent: false });
	const status = new Promise<number>((resolve) => {
		req.on("response", (res) => {
			res.resume();
			resolve(res.statusCode ?? 0);
		});
		req.on("error", () => resolve(0));
	});
	return { req, status };
}

const nothingLeft = async () => {
	await eventually(async () => (await minio.partsOnDisk()).length === 0);
	const uploads = await (await minio.s3("GET", "", { uploads: "" })).text();
	expect(uploads).not.toContain("<Upload>");
};

describe("an upload", () => {
	test.each([
		["nothing", 0],
		["one byte", 1],
		["just one request", 8 * MIB],
		["one byte more", 8 * MIB + 1],
		["many parts", 37 * MIB + 12345],
	])("of %s is what was sent, and the answer is MLflow's", async (name, length) => {
		const body = pattern(length);
		const answer = await put(`1/up/${name}`, body);
		expect([answer.status, answer.headers.get("content-type"), await answer.text()]).toEqual([
			200,
			"application/json",
			"{}",
		]);
		expect((await minio.get(`1/up/${name}`))?.equals(body)).toBe(true);
		await nothingLeft();
	});

	test.each([
		["nothing", 0],
		["one request", 8 * MIB],
		["many parts", 20 * MIB + 1],
	])("of unknown length may have %s", async (name, length) => {
		const body = pattern(length);
		const { req, status } = sending(`1/chunked/${name}`, { "transfer-encoding": "chunked" });
		for (let at = 0; at < length; at += 100_000) req.write(body.subarray(at, at + 100_000));
		req.end();
		expect(await status).toBe(200);
		expect((await minio.get(`1/chunked/${name}`))?.equals(body)).toBe(true);
		await nothingLeft();
	});

	test("replaces what was there, in either direction of size", async () => {
		for (const body of [pattern(20 * MIB), Buffer.from("small"), pattern(20 * MIB, 2)]) {
			expect((await put("1/again", body)).status).toBe(200);
			expect((await minio.get("1/again"))?.equals(body)).toBe(true);
		}
	});

	test.each(['q"uote.bin', "日本 ü.txt", "h#sh.txt", "100%.txt", "a%20b.txt", "😀'(x)!*+&.bin"])(
		"may be called %s",
		async (name) => {
			expect((await put(`1/odd/${encodeURIComponent(name)}`, name)).status).toBe(200);
			expect(String(await minio.get(`1/odd/${name}`))).toBe(name);
		},
	);

	test("many at once come through whole, in the memory of a few", async () => {
		const bodies = Array.from({ length: 12 }, (_, i) => pattern(18 * MIB, i + 1));
		const answers = await Promise.all(bodies.map((body, i) => put(`1/many/${i}`, body)));
		expect(answers.map(({ status }) => status)).toEqual(bodies.map(() => 200));
		for (const [i, body] of bodies.entries())
			expect((await minio.get(`1/many/${i}`))?.equals(body)).toBe(true);
	});

	test("is asked for only when it is wanted", async () => {
		const { req, status } = sending("1/expected", { "content-length": 5, expect: "100-continue" });
		req.flushHeaders();
		await new Promise((resolve) => req.once("continue", resolve));
		req.end("hello");
		expect(await status).toBe(200);
		const refused = sending("1%2F..%2Fexpected", { "content-length": 5, expect: "100-continue" });
		let continued = false;
		refused.req.on("continue", () => {
			continued = true;
		});
		refused.req.flushHeaders();
		expect([await refused.status, continued]).toEqual([400, false]);
		refused.req.destroy();
	});
});

describe("an upload that is not finished", () => {
	test.each([
		["announced", { "content-length": 40 * MIB }],
		["not announced", { "transfer-encoding": "chunked" }],
		["small", { "content-length": 4 * MIB }],
	])("because the client left is nowhere to be seen (%s)", async (name, headers) => {
		await put(`1/left/${name}`, "before");
		const { req, status } = sending(`1/left/${name}`, headers);
		req.write(pattern(3 * MIB));
		if (name !== "small") {
			req.write(pattern(22 * MIB));
			await eventually(async () => (await minio.partsOnDisk()).length > 1);
		}
		req.destroy();
		await status;
		await nothingLeft();
		expect(String(await minio.get(`1/left/${name}`))).toBe("before");
	});

	test("because its credential has ended is nowhere to be seen", async () => {
		const { req, status } = sending("1/ended", { "content-length": 40 * MIB });
		req.write(pattern(20 * MIB));
		await eventually(async () => (await minio.partsOnDisk()).length > 1);
		door.end();
		await nothingLeft();
		req.destroy();
		await status;
		expect(await minio.get("1/ended")).toBeUndefined();
	});

	test("because the client fell silent is 408", async () => {
		for (const [name, value] of [
			["content-length", 40 * MIB],
			["transfer-encoding", "chunked"],
		] as const) {
			const { req, status } = sending("1/silent", { [name]: value });
			req.write(pattern(20 * MIB));
			expect(await status).toBe(408);
			req.destroy();
		}
		await nothingLeft();
		expect(await minio.get("1/silent")).toBeUndefined();
	});
});

test("a client that is slow, but moves, is not cut however long it takes", async () => {
	const { req, status } = sending("1/slow", { "content-length": 10 });
	for (let i = 0; i < 10; i++) {
		req.write(String(i));
		await sleep(250);
	}
	req.end();
	expect(await status).toBe(200);
	expect(String(await minio.get("1/slow"))).toBe("0123456789");
});

test("a body that comes byte by byte costs no more than another", async () => {
	const socket = connect(door.port, "127.0.0.1").setNoDelay(true);
	let received = "";
	socket.on("data", (chunk) => {
		received += String(chunk);
	});
	socket.write("PUT /artifacts/1/bytes HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
	const chunks = Array.from({ length: 60_000 }, (_, i) => `1\r\n${String.fromCharCode(97 + (i % 26))}\r\n`);
	const before = process.memoryUsage().arrayBuffers;
	for (let i = 0; i < chunks.length; i += 500) socket.write(chunks.slice(i, i + 500).join(""));
	await sleep(500);
	expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(24 * MIB);
	socket.write("0\r\n\r\n");
	await eventually(() => received.includes("\r\n\r\n{}"));
	socket.destroy();
	const stored = String(await minio.get("1/bytes"));
	expect([stored.length, stored.slice(0, 3), stored.slice(-1)]).toEqual([60_000, "abc", "r"]);
});

describe("a name that the store cannot keep", () => {
	test("is refused for good, so that nobody tries again", async () => {
		const long = `1/${"x".repeat(300)}/y`;
		const answer = await put(long, "x");
		expect(answer.status).toBe(400);
		expect(await answer.json()).toMatchObject({ error_code: "INVALID_PARAMETER_VALUE" });
	});

	test.each(["1/../x", "1//x", "1/./x", "1/x/", "1/a\\b", "1/a\0b"])("%j", async (path) => {
		expect((await put(encodeURIComponent(path), "x")).status).toBe(400);
	});
});

test("a store that refuses the door is the door's fault, and nobody learns why", async () => {
	const stranger = await rig({ ...minio, user: "nobody-at-all" });
	const answer = await fetch(`${stranger.origin}/artifacts/1/x`, { method: "PUT", body: "x" });
	const text = await answer.text();
	expect([answer.status, JSON.parse(text).error_code]).toEqual([500, "INTERNAL_ERROR"]);
	expect(text).not.toContain("nobody-at-all");
	expect(stranger.logged.some(({ msg }) => msg === "the artifact store failed a request")).toBe(true);
	await stranger.close();
});
