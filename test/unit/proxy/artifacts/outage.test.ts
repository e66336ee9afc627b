/** The store is lost, slow or gone. */
import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startMinio, type TestMinio } from "../../../support/minio.ts";
import { eventually, pattern, type Rig, rig } from "./support.ts";

const START = 900_000;
const MIB = 1024 * 1024;

let minio: TestMinio;
let door: Rig;
const big = pattern(64 * MIB);
const PATH = "1/r/artifacts/big.bin";

beforeAll(async () => {
	minio = await startMinio();
	door = await rig(minio, { limits: { hold: 60_000 } });
	await minio.put(PATH, big);
}, START);

afterAll(async () => {
	await door?.close();
	await minio?.close();
});

/** Reads a body, with something that happens once part of it has come. */
async function readWith(
	answer: Response,
	after: number,
	happen: () => Promise<void> | void,
): Promise<Buffer> {
	const chunks: Buffer[] = [];
	let length = 0;
	let happened = false;
	for await (const chunk of answer.body ?? []) {
		chunks.push(Buffer.from(chunk));
		length += chunk.length;
		if (!happened && length >= after) {
			happened = true;
			await happen();
		}
	}
	return Buffer.concat(chunks);
}

describe("a download", () => {
	test("goes on where it was when its connection to the store breaks, again and again", async () => {
		const cutter = setInterval(() => door.wire.cut(), 25);
		try {
			const answer = await fetch(`${door.origin}/artifacts/${PATH}`);
			const body = await readWith(answer, MIB, () => {});
			expect(body.equals(big)).toBe(true);
		} finally {
			clearInterval(cutter);
		}
	});

	test("of a range goes on inside the range", async () => {
		const answer = await fetch(`${door.origin}/artifacts/${PATH}`, {
			headers: { range: "bytes=1000-50000999" },
		});
		const body = await readWith(answer, MIB, () => door.wire.cut());
		expect(answer.status).toBe(206);
		expect(body.equals(big.subarray(1000, 50_001_000))).toBe(true);
	});

	test("survives a MinIO that is killed and started again, and new ones wait for it", async () => {
		const answer = await fetch(`${door.origin}/artifacts/${PATH}`);
		let late: Promise<Response> | undefined;
		const body = await readWith(answer, 4 * MIB, async () => {
			await minio.kill();
			late = fetch(`${door.origin}/artifacts/${PATH}`, { headers: { range: "bytes=-5" } });
			void sleep(1000).then(() => minio.start());
		});
		expect(body.equals(big)).toBe(true);
		const waited = await late;
		expect([waited?.status, Buffer.from((await waited?.arrayBuffer()) ?? new ArrayBuffer(0))]).toEqual([
			206,
			big.subarray(-5),
		]);
	}, 120_000);

	test("of a file that was replaced meanwhile is cut, never mixed", async () => {
		await minio.put("1/r/artifacts/changing.bin", big);
		const answer = await fetch(`${door.origin}/artifacts/1/r/artifacts/changing.bin`);
		const reading = readWith(answer, MIB, async () => {
			door.wire.dead = true;
			door.wire.cut();
			await minio.put("1/r/artifacts/changing.bin", pattern(64 * MIB, 2));
			door.wire.dead = false;
		});
		await expect(reading).rejects.toThrow();
	});
});

describe("a store that stays away", () => {
	test("is 503 once the limit is reached, and a download in progress is cut", async () => {
		const short = await rig(minio, { limits: { hold: 700 } });
		try {
			const running = await fetch(`${short.origin}/artifacts/${PATH}`);
			const reading = readWith(running, MIB, () => {
				short.wire.dead = true;
				short.wire.cut();
			});
			await expect(reading).rejects.toThrow();
			for (const [method, path, body] of [
				["GET", `/artifacts/${PATH}`],
				["HEAD", `/artifacts/${PATH}`],
				["GET", "/artifacts?path=1"],
				["PUT", "/artifacts/1/x", "small"],
				["PUT", "/artifacts/1/x", new Uint8Array(big)],
				["DELETE", "/artifacts/1/none"],
			] as const) {
				const began = performance.now();
				const answer = await fetch(`${short.origin}${path}`, {
					method,
					...(body === undefined ? {} : { body }),
				});
				expect([method, answer.status]).toEqual([method, 503]);
				if (method !== "HEAD") {
					expect(await answer.json()).toMatchObject({ error_code: "TEMPORARILY_UNAVAILABLE" });
				}
				expect(answer.headers.get("retry-after")).toBeNull();
				expect(performance.now() - began).toBeGreaterThan(300);
			}
			const check = await short.artifacts.check();
			expect(check).toMatchObject({ name: "minio", ok: false });
			short.wire.dead = false;
			expect(await short.artifacts.check()).toMatchObject({ name: "minio", ok: true });
		} finally {
			await short.close();
		}
	}, 60_000);

	test("does not keep a client that leaves while it waits", async () => {
		door.wire.dead = true;
		door.wire.cut();
		const leave = new AbortController();
		const waiting = fetch(`${door.origin}/artifacts/${PATH}`, { signal: leave.signal });
		await sleep(300);
		door.outcome = undefined;
		leave.abort();
		await expect(waiting).rejects.toThrow();
		await eventually(() => door.outcome === "handled", 1000);
		door.wire.dead = false;
	});
});

describe("an upload", () => {
	/** Sends a body in steps, with something that happens between two of them. */
	const send = (path: string, body: Buffer, at: number, happen: () => Promise<void> | void) =>
		new Promise<number>((resolve, reject) => {
			const req = request(`${door.origin}${path}`, {
				method: "PUT",
				headers: { "content-length": body.length },
				agent: false,
			});
			req.on("response", (res) => {
				res.resume();
				resolve(res.statusCode ?? 0);
			});
			req.on("error", reject);
			req.write(body.subarray(0, at), async () => {
				await happen();
				req.end(body.subarray(at));
			});
		});

	test("sends a part again whose connection broke", async () => {
		const status = await send("/artifacts/1/up/a.bin", big, 20 * MIB, () => door.wire.cut());
		expect(status).toBe(200);
		expect((await minio.get("1/up/a.bin"))?.equals(big)).toBe(true);
	});

	test("survives a MinIO that is killed and started again", async () => {
		const status = await send("/artifacts/1/up/b.bin", big, 20 * MIB, async () => {
			await minio.kill();
			void sleep(500).then(() => minio.start());
		});
		expect(status).toBe(200);
		expect((await minio.get("1/up/b.bin"))?.equals(big)).toBe(true);
	}, 120_000);

	test("whose last answer was lost has still succeeded", async () => {
		// The answer to the completion is the first that names the bucket's object as a whole.
		let swallowed = false;
		door.wire.tamper = (bytes, towards) => {
			if (towards === "door" && !swallowed && bytes.includes("CompleteMultipartUploadResult")) {
				swallowed = true;
				setImmediate(() => door.wire.cut());
				return Buffer.alloc(0);
			}
			return bytes;
		};
		const status = await send("/artifacts/1/up/c.bin", big, MIB, () => {});
		door.wire.tamper = undefined;
		expect([swallowed, status]).toEqual([true, 200]);
		expect((await minio.get("1/up/c.bin"))?.equals(big)).toBe(true);
	});

	test.each([
		["small", 1000],
		["large", 20 * MIB],
	])("that arrives damaged in the store is never visible (%s)", async (kind, length) => {
		const body = randomBytes(length);
		const marker = body.subarray(length - 40, length - 20);
		let damaged = 0;
		door.wire.tamper = (bytes, towards) => {
			const at = towards === "store" ? bytes.indexOf(marker) : -1;
			if (at < 0) return bytes;
			damaged++;
			const copy = Buffer.from(bytes);
			copy.writeUInt8((copy[at] ?? 0) ^ 1, at);
			return copy;
		};
		const status = await send(`/artifacts/1/up/damaged-${kind}.bin`, body, 500, () => {});
		door.wire.tamper = undefined;
		expect(damaged).toBeGreaterThan(0);
		expect(status).toBe(503);
		expect(await minio.get(`1/up/damaged-${kind}.bin`)).toBeUndefined();
		await eventually(async () => (await minio.partsOnDisk()).length === 0);
	});
});

test("a store that hangs is given up and asked again", async () => {
	const answer = await fetch(`${door.origin}/artifacts/${PATH}`);
	const body = await readWith(answer, 4 * MIB, async () => {
		await minio.pause();
		void sleep(2000).then(() => minio.unpause());
	});
	expect(body.equals(big)).toBe(true);
}, 60_000);
