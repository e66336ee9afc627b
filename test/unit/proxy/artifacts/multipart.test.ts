/** What MLflow's client does with `MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD`. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Tickets } from "../../../../proxy/artifacts/tickets.ts";
import { startMinio, type TestMinio } from "../../../support/minio.ts";
import { eventually, pattern, type Rig, rig } from "./support.ts";

const START = 900_000;
const MIB = 1024 * 1024;

let minio: TestMinio;
let door: Rig;

beforeAll(async () => {
	minio = await startMinio();
	door = await rig(minio);
}, START);

afterAll(async () => {
	await door?.close();
	await minio?.close();
});

afterEach(() => vi.useRealTimers());

const post = async (path: string, body: unknown, at = door) =>
	await fetch(`${at.origin}${path}`, { method: "POST", body: JSON.stringify(body) });

/** What fetch wants beside a body that is a stream; its types do not know it. */
const HALF = { duplex: "half" } as object;

interface Created {
	upload_id: string;
	credentials: { url: string; part_number: number }[];
}

const create = async (directory: string, file: string, parts: number, at = door) =>
	(await (await post(`/create/${directory}`, { path: file, num_parts: parts }, at)).json()) as Created;

const send = (url: string | undefined, body: Buffer) =>
	fetch(url ?? "", { method: "PUT", body: new Uint8Array(body) });

async function sendAll({ credentials }: Created, bodies: Buffer[]) {
	return await Promise.all(
		credentials.map(async ({ url, part_number }, i) => {
			const answer = await send(url, bodies[i] ?? Buffer.alloc(0));
			return { part_number, etag: answer.headers.get("etag") ?? "", url, status: answer.status };
		}),
	);
}

const bodies = [pattern(5 * MIB, 1), pattern(5 * MIB, 2), pattern(1000, 3)];

test("parts become one artifact, and only at the end", async () => {
	const created = await create("1/r/artifacts/sub", "/home/me/model.bin", 3);
	expect(created.credentials.map(({ part_number }) => part_number)).toEqual([1, 2, 3]);
	expect(created.credentials.every(({ url }) => url.startsWith(`${door.origin}/door/`))).toBe(true);
	const parts = await sendAll(created, bodies);
	expect(parts.map(({ status }) => status)).toEqual([200, 200, 200]);
	expect(await minio.get("1/r/artifacts/sub/model.bin")).toBeUndefined();
	const finish = () =>
		post("/complete/1/r/artifacts/sub", { path: "/home/me/model.bin", upload_id: created.upload_id, parts });
	const answer = await finish();
	expect([answer.status, await answer.text()]).toEqual([200, "{}"]);
	expect((await minio.get("1/r/artifacts/sub/model.bin"))?.equals(Buffer.concat(bodies))).toBe(true);
	// A client whose answer was lost asks again.
	expect((await finish()).status).toBe(200);
	expect(await minio.partsOnDisk()).toEqual([]);
});

test("an aborted upload leaves nothing", async () => {
	const created = await create("1/a", "x.bin", 2);
	await sendAll(created, bodies);
	expect((await minio.partsOnDisk()).length).toBeGreaterThan(0);
	const abort = () => post("/abort/1/a", { path: "x.bin", upload_id: created.upload_id });
	for (const answer of [await abort(), await abort()]) {
		expect([answer.status, await answer.text()]).toEqual([200, "{}"]);
	}
	expect(await minio.partsOnDisk()).toEqual([]);
	expect((await send(created.credentials[0]?.url, bodies[0] as Buffer)).status).toBe(404);
});

test("a Windows client's file is called by its last name", async () => {
	const created = await create("1/w", "C:\\models\\model.bin", 1);
	const parts = await sendAll(created, [bodies[2] as Buffer]);
	await post("/complete/1/w", { path: "C:\\models\\model.bin", upload_id: created.upload_id, parts });
	expect(await minio.get("1/w/model.bin")).toBeDefined();
});

describe("a ticket", () => {
	test("says to whom it was given, and only if it is ours and still good", async () => {
		const { credentials } = await create("1/t", "x", 1);
		const query = new URL(credentials[0]?.url ?? "").searchParams;
		expect(door.artifacts.ticket(query)).toMatchObject({ owner: "somebody" });
		expect(door.artifacts.ticket(new URLSearchParams())).toBeUndefined();
		vi.useFakeTimers({ now: Date.now() + 24 * 3_600_000 + 1000, toFake: ["Date"] });
		expect(door.artifacts.ticket(query)).toBeUndefined();
	});

	test("cannot be changed, nor made by somebody else", async () => {
		const { credentials, upload_id: id } = await create("1/t", "x", 1);
		const url = new URL(credentials[0]?.url ?? "");
		const ticket = url.searchParams.get("ticket") ?? "";
		const [text = "", mac = ""] = ticket.split(".");
		const claims = Buffer.from(text, "base64url").toString();
		const forged = [
			"",
			".",
			text,
			`${text}.`,
			`${text}.${mac.slice(0, -2)}`,
			`${ticket}.x`,
			`${Buffer.from(claims.replace("1/t/x", "1/t/y")).toString("base64url")}.${mac}`,
			new Tickets("another secret").issue({ key: "1/t/x", id, parts: 1, owner: "somebody" }),
		];
		for (const value of forged) {
			url.searchParams.set("ticket", value);
			const answer = await send(url.href, Buffer.from("x"));
			expect([value, answer.status]).toEqual([value, 403]);
			expect(await answer.json()).toMatchObject({ error_code: "PERMISSION_DENIED" });
		}
	});

	test("is good for the parts that were asked for, and no others", async () => {
		const { credentials } = await create("1/t", "x", 2);
		const url = new URL(credentials[0]?.url ?? "");
		for (const part of ["0", "3", "-1", "1.5", "x", "", "10001"]) {
			url.searchParams.set("part", part);
			expect([part, (await send(url.href, Buffer.from("x"))).status]).toEqual([part, 403]);
		}
	});

	test("survives a restart of the door, and so does the upload", async () => {
		const created = await create("1/t", "long.bin", 2);
		const first = await send(created.credentials[0]?.url, bodies[0] as Buffer);
		const next = await rig(minio, { journal: door.journal });
		const url = (created.credentials[1]?.url ?? "").replace(door.origin, next.origin);
		const second = await send(url, bodies[2] as Buffer);
		const parts = [first, second].map((answer, i) => ({
			part_number: i + 1,
			etag: answer.headers.get("etag"),
		}));
		const answer = await post(
			"/complete/1/t",
			{ path: "long.bin", upload_id: created.upload_id, parts },
			next,
		);
		expect(answer.status).toBe(200);
		await next.close();
	});
});

describe("what is wrong is refused for good", () => {
	test("parts that were not uploaded, in the wrong order, or of another upload", async () => {
		const created = await create("1/p", "x", 2);
		const parts = await sendAll(created, bodies);
		const complete = (body: object, directory = "1/p") =>
			post(`/complete/${directory}`, { path: "x", upload_id: created.upload_id, parts, ...body });
		expect((await complete({ parts: [...parts].reverse() })).status).toBe(400);
		expect((await complete({ parts: [{ part_number: 1, etag: '"0"' }] })).status).toBe(400);
		expect((await complete({ upload_id: "bm90aGluZw" })).status).toBe(404);
		// The upload belongs to its path.
		expect((await complete({}, "1/other")).status).toBe(404);
		expect((await post("/abort/1/other", { path: "x", upload_id: created.upload_id })).status).toBe(200);
		expect((await complete({})).status).toBe(200);
		expect(await minio.get("1/other/x")).toBeUndefined();
	});

	test.each([
		["create", "{"],
		["create", "[]"],
		["create", "null"],
		["create", { num_parts: 1 }],
		["create", { path: "x", num_parts: 10_001 }],
		["create", { path: "x", num_parts: -1 }],
		["create", { path: "dir/", num_parts: 1 }],
		["create", { path: "..", num_parts: 1 }],
		["complete", { path: "x", upload_id: "y" }],
		["complete", { path: "x", upload_id: "y", parts: [] }],
		["abort", { path: "x" }],
	])("%s %j", async (what, body) => {
		const text = typeof body === "string" ? body : JSON.stringify(body);
		const answer = await fetch(`${door.origin}/${what}/1/bad`, { method: "POST", body: text });
		expect(answer.status).toBe(400);
		expect(await answer.json()).toMatchObject({ error_code: "INVALID_PARAMETER_VALUE" });
	});

	test("a part of unknown length", async () => {
		const { credentials } = await create("1/p", "x", 1);
		const body = new ReadableStream({
			start(controller) {
				controller.enqueue(Buffer.from("x"));
				controller.close();
			},
		});
		const answer = await fetch(credentials[0]?.url ?? "", { method: "PUT", body, ...HALF });
		expect(answer.status).toBe(411);
	});
});

describe("what nobody finishes is swept", () => {
	const uploads = async () => {
		const text = await (await minio.s3("GET", "", { uploads: "" })).text();
		return [...text.matchAll(/<UploadId>([^<]+)/g)].map(([, id = ""]) => id);
	};

	test("a client that has gone, but not one that is at work", async () => {
		const swift = await rig(minio, { pace: { sweep: 50, idle: 600 } });
		const gone = await create("1/s", "gone", 1, swift);
		await sendAll(gone, bodies);
		const working = await create("1/s", "working", 30, swift);
		for (const { url } of working.credentials.slice(0, 12)) {
			await send(url, Buffer.from("x"));
			await sleep(100);
		}
		expect(await uploads()).not.toContain(gone.upload_id);
		expect(await uploads()).toContain(working.upload_id);
		await eventually(async () => !(await uploads()).includes(working.upload_id));
		await swift.close();
	});

	test("what a door that was killed had begun, even if MinIO was killed too and lists nothing", async () => {
		const dying = await rig(minio);
		const others = (await minio.partsOnDisk()).length;
		const abandon = new AbortController();
		const body = new ReadableStream({
			async start(controller) {
				controller.enqueue(pattern(20 * MIB));
				await sleep(60_000, undefined, { signal: abandon.signal }).catch(() => {});
			},
		});
		const upload = fetch(`${dying.origin}/artifacts/1/dying`, {
			method: "PUT",
			body,
			signal: abandon.signal,
			...HALF,
		}).catch(() => {});
		await eventually(async () => (await minio.partsOnDisk()).length > others + 1);
		// The door is gone before it can clean up: its way to the store goes first.
		dying.wire.dead = true;
		dying.wire.cut();
		abandon.abort();
		await upload;
		await minio.kill();
		await minio.start();
		expect(await uploads()).toEqual([]);
		expect((await minio.partsOnDisk()).length).toBeGreaterThan(others + 1);
		const next = await rig(minio, { journal: dying.journal });
		await eventually(async () => (await minio.partsOnDisk()).length === others);
		await next.close();
		await dying.close();
	}, 120_000);

	test("what somebody else left behind, but nothing of theirs that is young or grows", async () => {
		const begin = async (key: string) =>
			/<UploadId>([^<]+)/.exec(await (await minio.s3("POST", key, { uploads: "" })).text())?.[1] ?? "";
		const [left, growing] = [await begin("1/foreign/left"), await begin("1/foreign/growing")];
		const swift = await rig(minio, { pace: { sweep: 50, foreignIdle: 3000 } });
		for (let part = 1; part <= 8; part++) {
			await minio.s3("PUT", "1/foreign/growing", { uploadId: growing, partNumber: String(part) }, "x");
			await sleep(500);
		}
		const young = await begin("1/foreign/young");
		await eventually(async () => !(await uploads()).includes(left));
		expect(await uploads()).toEqual(expect.arrayContaining([growing, young]));
		await eventually(async () => (await uploads()).length === 0);
		await swift.close();
	}, 60_000);
});
