/** A token that is held to models: every route of MLflow, of the door and of the inference API, asked with one. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { ROUTES } from "../../../proxy/routes/match.ts";
import { exchange, HOST, type Rig, rig } from "./support.ts";

let it: Rig;
beforeEach(async () => {
	it = await rig();
	it.authority.refusal = {
		ok: true,
		identity: { kind: "token", user: "inference-api", role: "viewer", credential: "tok-1", scope: "models" },
	};
});
afterEach(() => it.close());

const ask = (method: string, path: string) =>
	exchange(it.port, `${method} ${path} HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer x\r\n\r\n`);

/** What loading `models:/<name>/<stage>` with the stock client takes, below `/api/2.0` and `/ajax-api/2.0`. */
const OPEN = [
	"GET /mlflow/registered-models/get",
	"GET /mlflow/registered-models/search",
	"GET /mlflow/registered-models/get-latest-versions",
	"POST /mlflow/registered-models/get-latest-versions",
	"GET /mlflow/registered-models/alias",
	"GET /mlflow/model-versions/get",
	"GET /mlflow/model-versions/search",
	"GET /mlflow/model-versions/get-download-uri",
	"GET /mlflow/runs/get",
	"GET /mlflow/artifacts/list",
	"GET /mlflow-artifacts/artifacts",
	"GET /mlflow-artifacts/artifacts/<path:artifact_path>",
];

const isOpen = (method: string, rule: string) =>
	["GET /get-artifact", "GET /model-versions/get-artifact"].includes(`${method} ${rule}`) ||
	OPEN.includes(`${method} ${rule.replace(/^\/(?:ajax-)?api\/2\.0/, "")}`);

const spelled = (rule: string) => rule.replace(/<path:\w+>/, "a/b");

test("passes with the routes of models and their artifacts", async () => {
	const open = ROUTES.filter(({ method, rule }) => isOpen(method, rule));
	expect(open).toHaveLength(2 * OPEN.length + 2);
	for (const { method, rule } of open)
		expect([method, rule, (await ask(method, spelled(rule))).status]).toEqual([method, rule, 200]);
	expect(it.upstream.seen).toHaveLength(open.length);
});

test("is refused on all others, whatever the role would allow, and told why", async () => {
	const shut = ROUTES.filter(({ method, rule }) => !isOpen(method, rule));
	expect(shut.length).toBeGreaterThan(200);
	for (const { method, rule } of shut) {
		const { status, code, body } = await ask(method, spelled(rule));
		expect([method, rule, status]).toEqual([method, rule, 403]);
		expect(code).toBe("SCOPE_MODELS");
		if (method !== "HEAD") expect(JSON.parse(body)).toMatchObject({ error_code: "PERMISSION_DENIED" });
	}
	expect(it.upstream.seen).toEqual([]);
});

test.each([
	["GET", "/door/whoami"],
	["GET", "/door/why?path=/"],
	["GET", "/door/ready"],
	["GET", "/door/jwks.json"],
	["GET", "/inference/similar"],
	["POST", "/inference/similar"],
	["GET", "/no/such/route"],
	["GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/"],
])("is refused on %s %s", async (method, path) => {
	expect(await ask(method, path)).toMatchObject({ status: 403, code: "SCOPE_MODELS" });
});
