import { afterEach, describe, expect, test } from "vitest";
import { eventually, exchange, quiet, Raw, type Rig, request, rig } from "../support.ts";

let it: Rig;
afterEach(async () => await it?.close());

const SEARCH = "/api/2.0/mlflow/experiments/search?max_results=7";
const SET_TAG = "/api/2.0/mlflow/runs/set-tag";
const body = '{"run_id":"r","key":"k","value":"v"}';
const post = (target: string, text = body, role: "viewer" | "editor" | "admin" = "editor") =>
	request("POST", target, {
		role,
		headers: ["Content-Type: application/json", `Content-Length: ${text.length}`],
		body: text,
	});
/** Requests of clients that reached MLflow; the door's own looks are not theirs. */
const asked = (url: string) => it.upstream.seen.filter((seen) => seen.url === url).length;

describe("an announced hold", () => {
	test("lets what runs finish, holds what comes, and lets it go when the part answers", async () => {
		it = await rig();
		let finish = () => {};
		it.upstream.answer = (_req, res, { url }) => {
			if (url !== SEARCH) return void res.end("{}");
			finish = () => res.end('{"slow":true}');
		};
		const running = new Raw(it.port);
		running.send(request("GET", SEARCH));
		await eventually(() => it.upstream.seen.length === 1);

		const drained = it.door.holds.hold("mlflow", 5_000);
		const late = new Raw(it.port);
		late.send(post(SET_TAG));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		expect(asked(SET_TAG)).toBe(0);
		finish();
		expect(await drained).toMatchObject({ part: "mlflow", drained: true, running: 0 });
		expect((await running.until(({ received }) => received.includes("slow"))).statuses).toEqual([200]);

		expect(it.door.holds.list()).toEqual([
			{ part: "mlflow", since: expect.any(String), waiting: 1, reason: "announced" },
		]);
		const released = await it.door.holds.release("mlflow");
		expect(released).toMatchObject({ healthy: true, held: 1, refused: 0 });
		expect(released.longestMs).toBeGreaterThan(0);
		expect((await late.until(({ statuses }) => statuses.length > 0)).statuses).toEqual([200]);
		expect(asked(SET_TAG)).toBe(1);
		expect(it.door.holds.list()).toEqual([]);
	});

	test("says what still runs when the time is over, and asking again is no error", async () => {
		it = await rig();
		let finish = () => {};
		it.upstream.answer = (_req, res, { url }) => {
			if (url === SEARCH) finish = () => res.end("{}");
			else res.end("{}");
		};
		const running = new Raw(it.port);
		running.send(request("GET", SEARCH));
		await eventually(() => it.upstream.seen.length === 1);
		expect(await it.door.holds.hold("postgres", 50)).toMatchObject({ drained: false, running: 1 });
		finish();
		expect(await it.door.holds.hold("postgres", 5_000)).toMatchObject({ drained: true, running: 0 });
		expect(it.door.holds.list()).toHaveLength(1);
	});

	test("holds only what needs the part", async () => {
		it = await rig();
		await it.door.holds.hold("minio", 0);
		await it.door.holds.hold("api", 0);
		expect((await exchange(it.port, request("GET", SEARCH))).status).toBe(200);
		expect((await exchange(it.port, request("GET", "/door/whoami"))).status).toBe(200);
		const held = new Raw(it.port);
		held.send(request("GET", "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/model.bin"));
		await eventually(() => it.door.holds.list().find(({ part }) => part === "minio")?.waiting === 1);
		const inference = new Raw(it.port);
		inference.send(request("GET", "/inference/predict"));
		await eventually(() => it.door.holds.list().find(({ part }) => part === "api")?.waiting === 1);
	});

	test("a credential that is revoked while it waits is refused, and nothing is done for it", async () => {
		it = await rig();
		await it.door.holds.hold("mlflow", 0);
		const held = new Raw(it.port);
		held.send(post(SET_TAG));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		it.authority.revoked.add("editor");
		await it.door.holds.release("mlflow");
		const { statuses, received } = await held.until((raw) => raw.statuses.length > 0);
		expect(statuses).toEqual([401]);
		expect(received).toContain("CREDENTIAL_ENDED");
		expect(asked(SET_TAG)).toBe(0);
	});

	test("a client that leaves while it waits is forgotten, and nothing is done for it", async () => {
		it = await rig();
		await it.door.holds.hold("mlflow", 0);
		const held = new Raw(it.port);
		held.send(post(SET_TAG));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		held.destroy();
		await eventually(() => it.door.holds.list()[0]?.waiting === 0);
		await it.door.holds.release("mlflow");
		await quiet(50);
		expect(asked(SET_TAG)).toBe(0);
	});

	test("past the limit the client gets a 503 that it asks again after, and no Retry-After", async () => {
		it = await rig({ holdSeconds: 0.2 });
		await it.door.holds.hold("mlflow", 0);
		const { status, head, body } = await exchange(it.port, post(SET_TAG));
		expect(status).toBe(503);
		expect(JSON.parse(body).error_code).toBe("TEMPORARILY_UNAVAILABLE");
		expect(head).not.toMatch(/retry-after/i);
		expect(asked(SET_TAG)).toBe(0);
	});

	test("beyond the number that may wait the client gets a 503 at once, and is told to come back late", async () => {
		it = await rig({ holds: { most: 2 } });
		await it.door.holds.hold("mlflow", 0);
		const waiting = [new Raw(it.port), new Raw(it.port)];
		for (const raw of waiting) raw.send(post(SET_TAG));
		await eventually(() => it.door.holds.list()[0]?.waiting === 2);
		const { status, head } = await exchange(it.port, post(SET_TAG));
		expect(status).toBe(503);
		expect(Number(/retry-after: (\d+)/i.exec(head)?.[1])).toBeGreaterThanOrEqual(15);
		expect(await it.door.holds.release("mlflow")).toMatchObject({ held: 2, refused: 1 });
	});

	test("that nobody releases ends by itself", async () => {
		it = await rig({ holdSeconds: 0.2, holds: { longest: 1_000 } });
		await it.door.holds.hold("mlflow", 0);
		await eventually(() => it.door.holds.list().length === 0, 5_000);
		expect((await exchange(it.port, post(SET_TAG))).status).toBe(200);
	});

	test("of an upload keeps no more of its body than one buffer", async () => {
		it = await rig();
		await it.door.holds.hold("minio", 0);
		const held = new Raw(it.port);
		const length = 64 * 1024 * 1024;
		held.send(
			request("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/big", {
				role: "editor",
				headers: [`Content-Length: ${length}`],
			}),
		);
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		held.send(Buffer.alloc(length));
		await quiet(300);
		// What the door does not take stays with the kernel and with the sender.
		expect(held.socket.writableLength).toBeGreaterThan(length / 2);
	});

	test("ends with the door: who waits is told to ask again", async () => {
		it = await rig();
		await it.door.holds.hold("mlflow", 0);
		const held = new Raw(it.port);
		held.send(post(SET_TAG));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		const stopped = it.door.stop();
		expect((await held.until(({ statuses }) => statuses.length > 0)).statuses).toEqual([503]);
		await stopped;
	});
});
