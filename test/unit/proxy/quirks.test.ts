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
