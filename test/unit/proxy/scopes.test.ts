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

const RUN = "0123456789abcdef0123456789abcdef";
const OTHER = "fedcba9876543210fedcba9876543210";
const FOLDER = `7/${RUN}/artifacts/embeddings`;

/** What the upstream's registry holds. */
let versions: { source: string; run_id?: string }[];

beforeEach(() => {
	versions = [{ source: `mlflow-artifacts:/${FOLDER}`, run_id: RUN }];
	it.upstream.answer = (_req, res, { url }) => {
		const { pathname, searchParams } = new URL(url, "http://mlflow");
		res.setHeader("content-type", "application/json");
		if (pathname.endsWith("/model-versions/search")) {
			// One a page.
			const page = Number(searchParams.get("page_token") ?? 0);
			const next_page_token = page + 1 < versions.length ? String(page + 1) : undefined;
			res.end(JSON.stringify({ model_versions: versions.slice(page, page + 1), next_page_token }));
		} else if (pathname.endsWith("/runs/get")) {
			const artifact_uri = `mlflow-artifacts:/7/${searchParams.get("run_id")}/artifacts`;
			res.end(JSON.stringify({ run: { info: { artifact_uri } } }));
		} else res.end("{}");
	};
});

/** What loading `models:/<name>/<stage>` with the stock client takes, below `/api/2.0` and `/ajax-api/2.0`. */
const OPEN: Readonly<Record<string, string>> = {
	"GET /mlflow/registered-models/get": "?name=m",
	"GET /mlflow/registered-models/search": "",
	"GET /mlflow/registered-models/get-latest-versions": "?name=m",
	"POST /mlflow/registered-models/get-latest-versions": "",
	"GET /mlflow/registered-models/alias": "?name=m&alias=a",
	"GET /mlflow/model-versions/get": "?name=m&version=1",
	"GET /mlflow/model-versions/search": "",
	"GET /mlflow/model-versions/get-download-uri": "?name=m&version=1",
	"GET /mlflow/runs/get": `?run_id=${RUN}`,
	"GET /mlflow/artifacts/list": `?run_id=${RUN}&path=embeddings`,
	"GET /mlflow-artifacts/artifacts": `?path=${FOLDER}`,
	"GET /mlflow-artifacts/artifacts/<path:artifact_path>": "",
};
const PLAIN: Readonly<Record<string, string>> = {
	"GET /get-artifact": `?run_uuid=${RUN}&path=embeddings/x.bin`,
	"GET /model-versions/get-artifact": "?name=m&version=1&path=x.bin",
};

/** The query that it passes with; undefined: shut. */
const queryOf = (method: string, rule: string): string | undefined =>
	PLAIN[`${method} ${rule}`] ?? OPEN[`${method} ${rule.replace(/^\/(?:ajax-)?api\/2\.0/, "")}`];

const spelled = (rule: string) => rule.replace(/<path:\w+>/, `${FOLDER}/x.bin`);

test("passes with the routes of models and their artifacts", async () => {
	const open = ROUTES.filter(({ method, rule }) => queryOf(method, rule) !== undefined);
	expect(open).toHaveLength(2 * Object.keys(OPEN).length + 2);
	for (const { method, rule } of open)
		expect([method, rule, (await ask(method, spelled(rule) + queryOf(method, rule))).status]).toEqual([
			method,
			rule,
			200,
		]);
});

test("is refused on all others, whatever the role would allow, and told why", async () => {
	const shut = ROUTES.filter(({ method, rule }) => queryOf(method, rule) === undefined);
	expect(shut.length).toBeGreaterThan(150);
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
	["GET", `/door/runs?run_id=${RUN}`],
	["GET", "/inference/similar"],
	["POST", "/inference/similar"],
	["GET", "/no/such/route"],
	["GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/"],
])("is refused on %s %s", async (method, path) => {
	expect(await ask(method, path)).toMatchObject({ status: 403, code: "SCOPE_MODELS" });
});

const ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts";

test.each([
	["a run that no version came from", `/api/2.0/mlflow/runs/get?run_id=${OTHER}`],
	["two runs at once", `/api/2.0/mlflow/runs/get?run_id=${RUN}&run_id=${OTHER}`],
	["two runs by two names", `/api/2.0/mlflow/runs/get?run_id=${RUN}&run_uuid=${OTHER}`],
	// MLflow reads the last of both spellings.
	["two runs by two spellings", `/api/2.0/mlflow/runs/get?run_id=${RUN}&runId=${OTHER}`],
	["two runs by three", `/ajax-api/2.0/mlflow/runs/get?run_uuid=${RUN}&run_id=${RUN}&runUuid=${OTHER}`],
	["a run in a list", `/api/2.0/mlflow/runs/get?run_id=${RUN}&run_id%5B%5D=${OTHER}`],
	["the files of two runs", `/api/2.0/mlflow/artifacts/list?runId=${OTHER}&run_id=${RUN}&path=embeddings`],
	["no run", "/api/2.0/mlflow/runs/get"],
	["another run's artifact", `${ARTIFACTS}/7/${OTHER}/artifacts/embeddings/x.bin`],
	["what lies beside the version", `${ARTIFACTS}/7/${RUN}/artifacts/secret.txt`],
	["a folder that begins like the version's", `${ARTIFACTS}/${FOLDER}-private/x.bin`],
	["the list of everything", ARTIFACTS],
	["the list of everything, by its other name", `${ARTIFACTS}?path=`],
	["the list of an experiment", `${ARTIFACTS}?path=7`],
	["the list of the version's run", `${ARTIFACTS}?path=7/${RUN}/artifacts`],
	["a list that climbs", `${ARTIFACTS}?path=${FOLDER}/../..`],
	["two lists at once", `${ARTIFACTS}?path=${FOLDER}&path=7`],
	["the list of a whole run", `/api/2.0/mlflow/artifacts/list?run_id=${RUN}`],
	["the list of another run", `/api/2.0/mlflow/artifacts/list?run_id=${OTHER}&path=embeddings`],
	["a run's other file", `/get-artifact?run_uuid=${RUN}&path=secret.txt`],
	["another run's file", `/get-artifact?run_uuid=${OTHER}&path=embeddings/x.bin`],
	["a file of two runs", `/get-artifact?run_uuid=${RUN}&run_id=${OTHER}&path=embeddings/x.bin`],
])("is refused %s", async (_, path) => {
	expect(await ask("GET", path)).toMatchObject({ status: 403, code: "SCOPE_MODELS" });
	// Asked about, and not asked for.
	const asked = it.upstream.seen.map(({ url }) => url.split("?")[0]);
	expect(asked.filter((one) => !one?.endsWith("/model-versions/search"))).toEqual(
		path.includes(`list?run_id=${RUN}`) || path.includes(`run_uuid=${RUN}&path`)
			? ["/api/2.0/mlflow/runs/get"]
			: [],
	);
});

test("the run of a version is a stock client's, who gives its id under both names", async () => {
	const answer = await ask("GET", `/api/2.0/mlflow/runs/get?run_uuid=${RUN}&run_id=${RUN}`);
	expect(answer).toMatchObject({ status: 200 });
});

test("a version that has just been registered is found, however soon", async () => {
	const path = `${ARTIFACTS}/8/${OTHER}/artifacts/model/MLmodel`;
	expect(await ask("GET", path)).toMatchObject({ code: "SCOPE_MODELS" });
	versions.push({ source: `runs:/${OTHER}/model`, run_id: OTHER });
	it.upstream.answer = withRun(it.upstream.answer, `mlflow-artifacts:/8/${OTHER}/artifacts`);
	expect(await ask("GET", path)).toMatchObject({ status: 200 });
});

test("a version of the whole store opens nothing", async () => {
	versions = [{ source: "mlflow-artifacts:/" }, { source: "s3://elsewhere/7" }, {} as never];
	expect(await ask("GET", `${ARTIFACTS}/7/x`)).toMatchObject({ code: "SCOPE_MODELS" });
	expect(await ask("GET", `${ARTIFACTS}?path=7`)).toMatchObject({ code: "SCOPE_MODELS" });
});

test("nothing passes while the registry cannot be asked", async () => {
	it.upstream.answer = (_req, res) => res.writeHead(500).end();
	expect(await ask("GET", `${ARTIFACTS}/${FOLDER}/x.bin`)).toMatchObject({
		status: 503,
		code: "UPSTREAM_UNAVAILABLE",
	});
});

type Answer = Rig["upstream"]["answer"];

/** The same upstream, where every run has this root. */
const withRun =
	(answer: Answer, artifact_uri: string): Answer =>
	(req, res, seen) =>
		seen.url.includes("/runs/get")
			? res.end(JSON.stringify({ run: { info: { artifact_uri } } }))
			: answer(req, res, seen);
