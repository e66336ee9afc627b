/** Where the door answers so that MLflow's client and pages do not break. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { exchange, type Rig, request, rig } from "./support.ts";

let it: Rig;
beforeAll(async () => {
	it = await rig();
});
afterAll(() => it.close());
beforeEach(() => {
	it.upstream.seen.length = 0;
});

const TWINS = ["/api/2.0", "/ajax-api/2.0"];

describe("a name with a # in MLflow's own client", () => {
	const LIST = "/mlflow-artifacts/artifacts?path=1%2F0f%2Fartifacts%2Fweights+v1%23%C3%A9.bin";

	test("is no folder, so that the client goes on to fetch the file", async () => {
		for (const twin of TWINS) {
			const answer = await exchange(it.port, request("GET", twin + LIST, { role: "viewer" }));
			expect([answer.status, answer.body]).toEqual([200, "{}\n"]);
		}
		expect(it.upstream.seen).toEqual([]);
	});

	test("anything else is MLflow's to answer", async () => {
		for (const path of [
			"/api/2.0/mlflow-artifacts/artifacts?path=a",
			"/api/2.0/mlflow-artifacts/artifacts?other=%23",
			"/api/2.0/mlflow/artifacts/list?path=%23",
			"/api/2.0/mlflow-artifacts/artifacts/a%23b?path=%23",
		]) {
			await exchange(it.port, request("GET", path));
		}
		expect(it.upstream.seen).toHaveLength(4);
		expect((await exchange(it.port, request("GET", `/api/2.0${LIST}`, { role: null }))).status).toBe(401);
	});
});

describe("the gateway's endpoints, which every experiment page asks for", () => {
	const GATEWAY = "/ajax-api/2.0/mlflow/gateway-proxy";
	const ENDPOINTS = `${GATEWAY}?gateway_path=api%2F2.0%2Fendpoints%2F`;

	test("are none for a viewer and an editor, without asking anybody", async () => {
		for (const role of ["viewer", "editor"] as const) {
			const answer = await exchange(it.port, request("GET", ENDPOINTS, { role }));
			expect([answer.status, answer.body]).toEqual([200, '{"endpoints":[]}\n']);
		}
		expect(it.upstream.seen).toEqual([]);
	});

	test("any other use of the gateway needs an admin", async () => {
		for (const [method, path] of [
			["GET", `${GATEWAY}?gateway_path=api%2F2.0%2Fendpoints%2F..%2F..%2Fsecrets`],
			["GET", `${ENDPOINTS}&gateway_path=x`],
			["GET", `${ENDPOINTS}&x=y`],
			["GET", GATEWAY],
			["HEAD", ENDPOINTS],
			["POST", ENDPOINTS],
		] as const) {
			const answer = await exchange(it.port, request(method, path, { role: "editor" }));
			expect([method, path, answer.status]).toEqual([method, path, 403]);
		}
		expect(it.upstream.seen).toEqual([]);
		expect((await exchange(it.port, request("GET", ENDPOINTS))).status).toBe(200);
		expect(it.upstream.seen).toHaveLength(1);
		expect((await exchange(it.port, request("GET", ENDPOINTS, { role: null }))).status).toBe(401);
	});
});
