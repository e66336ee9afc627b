import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually, exchange, quiet, Raw, type Rig, request, rig } from "../support.ts";

let it: Rig;
let port: number;
beforeEach(async () => {
	it = await rig({ holdSeconds: 10 });
	port = (it.upstream.server.address() as { port: number }).port;
});
afterEach(async () => await it.close());

const JSON_TYPE = "Content-Type: application/json";
const send = (method: string, target: string, body = "{}") =>
	request(method, target, { headers: [JSON_TYPE, `Content-Length: ${body.length}`], body });
const API = "/api/2.0/mlflow";
const asked = (url: string) => it.upstream.seen.filter((seen) => seen.url === url).length;
const back = () =>
	new Promise<void>((resolve) => it.upstream.server.listen(port, "127.0.0.1", () => resolve()));

describe("an MLflow that is away", () => {
	test("is waited for, whatever the method, and asked once each", async () => {
		await it.upstream.close();
		const all = [
			request("GET", `${API}/experiments/search`),
			send("POST", `${API}/runs/search`),
			send("POST", `${API}/runs/create`),
			send("POST", `${API}/registered-models/rename`),
			send("PATCH", `${API}/registered-models/update`),
			send("DELETE", `${API}/registered-models/delete`),
			send("POST", `${API}/runs/log-batch`, JSON.stringify({ x: "y".repeat(200_000) })),
		].map((bytes) => {
			const raw = new Raw(it.port);
			raw.send(bytes);
			return raw;
		});
		await eventually(() => it.door.holds.list()[0]?.waiting === all.length);
		expect(it.door.holds.list()).toMatchObject([{ part: "mlflow", reason: "unannounced" }]);
		await back();
		for (const raw of all)
			expect((await raw.until(({ statuses }) => statuses.length > 0)).statuses).toEqual([200]);
		expect(asked(`${API}/runs/create`)).toBe(1);
		expect(asked(`${API}/registered-models/rename`)).toBe(1);
		expect(it.door.holds.list()).toEqual([]);
	});

	test("a credential that is revoked meanwhile is refused, and nothing is done for it", async () => {
		await it.upstream.close();
		const raw = new Raw(it.port);
		raw.send(send("POST", `${API}/runs/set-tag`));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		it.authority.revoked.add("admin");
		await back();
		expect((await raw.until(({ statuses }) => statuses.length > 0)).statuses).toEqual([401]);
		expect(asked(`${API}/runs/set-tag`)).toBe(0);
	});

	test("a client that leaves meanwhile is forgotten, and nothing is done for it", async () => {
		await it.upstream.close();
		const raw = new Raw(it.port);
		raw.send(send("POST", `${API}/runs/set-tag`));
		await eventually(() => it.door.holds.list()[0]?.waiting === 1);
		raw.destroy();
		await eventually(() => it.door.holds.list()[0]?.waiting === 0);
		await back();
		await eventually(() => it.door.holds.list().length === 0);
		await quiet(100);
		expect(asked(`${API}/runs/set-tag`)).toBe(0);
	});
});

describe("a lost answer", () => {
	const dieOnce = () => {
		let first = true;
		it.upstream.answer = (req, res) => {
			if (!first) return void res.end('{"ok":true}');
			first = false;
			req.socket.destroy();
		};
	};

	test.each([
		["POST", `${API}/runs/log-metric`],
		["POST", `${API}/runs/log-batch`],
		["POST", `${API}/runs/set-tag`],
		["PATCH", `${API}/model-versions/update`],
		["POST", `${API}/model-versions/transition-stage`],
	])("%s %s is sent again", async (method, target) => {
		dieOnce();
		expect((await exchange(it.port, send(method, target))).status).toBe(200);
		expect(asked(target)).toBe(2);
	});

	test.each([
		["POST", `${API}/runs/create`],
		["POST", `${API}/registered-models/rename`],
	])("%s %s is not: the client decides", async (method, target) => {
		dieOnce();
		const answer = await exchange(it.port, send(method, target));
		expect([answer.status, answer.code]).toEqual([503, "UPSTREAM_UNAVAILABLE"]);
		expect(asked(target)).toBe(1);
	});

	test("to a delete: what is gone the second time was deleted the first time", async () => {
		const missing = '{"error_code":"RESOURCE_DOES_NOT_EXIST"}';
		for (const first of [true, false]) {
			let lost = !first;
			it.upstream.answer = (req, res) => {
				if (lost) return void res.writeHead(404, { "content-length": missing.length }).end(missing);
				lost = true;
				req.socket.destroy();
			};
			const { status, body } = await exchange(it.port, send("POST", `${API}/experiments/delete`));
			expect([status, body]).toEqual(first ? [200, "{}"] : [404, missing]);
		}
	});
});

describe("an MLflow whose database is away", () => {
	const troubled = (times: number) => {
		it.upstream.answer = (_req, res, { url }) => {
			const says =
				'{"error_code":"BAD_REQUEST","message":"(psycopg2.InterfaceError) connection already closed"}';
			if (url.includes("max_results=1") || times-- <= 0) return void res.end('{"ok":true}');
			res.writeHead(400, { "content-type": "application/json" }).end(says);
		};
	};

	test.each([
		["GET", `${API}/runs/get?run_id=r`],
		["POST", `${API}/runs/search`],
		["POST", `${API}/runs/log-metric`],
	])("%s %s is sent again until it is back", async (method, target) => {
		troubled(2);
		const bytes = method === "GET" ? request("GET", target) : send(method, target);
		const answer = await exchange(it.port, bytes);
		expect([answer.status, answer.body]).toEqual([200, '{"ok":true}']);
		expect(asked(target)).toBe(3);
	});

	test("what may not be sent again is a 503, which the client asks again after, and no 400", async () => {
		troubled(1);
		const answer = await exchange(it.port, send("POST", `${API}/registered-models/rename`));
		expect([answer.status, answer.code]).toEqual([503, "DATABASE_TROUBLE"]);
		expect(JSON.parse(answer.body).error_code).toBe("TEMPORARILY_UNAVAILABLE");
	});

	test("a full disk of it is called so: at once where it may not be sent again, else when the wait is over", async () => {
		await it.close();
		it = await rig({ holdSeconds: 1 });
		const says = '{"error_code":"BAD_REQUEST","message":"(psycopg2.errors.DiskFull) could not extend file"}';
		it.upstream.answer = (_req, res, { url }) => {
			if (url.includes("max_results=1")) return void res.end("{}");
			res.writeHead(400, { "content-type": "application/json" }).end(says);
		};
		for (const route of ["registered-models/rename", "runs/log-metric"]) {
			const begun = performance.now();
			const answer = await exchange(it.port, send("POST", `${API}/${route}`));
			expect([answer.status, answer.code]).toEqual([503, "DATABASE_FULL"]);
			expect(JSON.parse(answer.body).message).toContain("disk");
			expect(performance.now() - begun).toBeLessThan(3_000);
		}
		expect(asked(`${API}/runs/log-metric`)).toBeGreaterThan(1);
	});

	test("an error of MLflow's that is about what was asked for is passed on as it is", async () => {
		const says =
			'{"error_code":"BAD_REQUEST","message":"(psycopg2.errors.NumericValueOutOfRange) bigint out of range"}';
		it.upstream.answer = (_req, res) => void res.writeHead(400, { "content-length": says.length }).end(says);
		const answer = await exchange(it.port, send("POST", `${API}/runs/log-metric`));
		expect([answer.status, answer.body]).toEqual([400, says]);
		expect(asked(`${API}/runs/log-metric`)).toBe(1);
	});
});
