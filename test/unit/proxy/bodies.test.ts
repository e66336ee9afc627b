/** Where body or query decide: `artifact_location`, a model version's `source`, and how much a search may ask for. */
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Role } from "../../../proxy/roles.ts";
import { isTracked, messageOf } from "../../../proxy/routes/bodies.ts";
import { isAmbiguous } from "../../../proxy/routes/json.ts";
import { ROUTES } from "../../../proxy/routes/match.ts";
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
const EXPERIMENT = "/mlflow/experiments/create";
const VERSION = "/mlflow/model-versions/create";
const RUNS = "/mlflow/runs/search";

async function post(path: string, body: string | Buffer, role: Role = "editor", headers: string[] = []) {
	const bytes = Buffer.from(body);
	const head = request("POST", path, {
		role,
		headers: ["Content-Type: application/json", `Content-Length: ${bytes.length}`, ...headers],
	});
	return exchange(it.port, Buffer.concat([Buffer.from(head), bytes]));
}

describe("an experiment's artifact_location", () => {
	test.each([
		'{"name":"x","artifact_location":"s3://other-bucket/"}',
		'{"name":"x","artifactLocation":"ftp://host/"}',
		'{"name":"x","artifact\\u005flocation":"file:///etc"}',
		'{"artifact_location":"","artifactLocation":"s3://b","name":"x"}',
		'{"name":"x","artifact_location":["s3://b"]}',
		JSON.stringify('{"name":"x","artifact_location":"s3://b"}'),
	])("%s needs an admin", async (body) => {
		for (const twin of TWINS) {
			const answer = await post(twin + EXPERIMENT, body);
			expect([answer.status, answer.code]).toEqual([403, "ARTIFACT_LOCATION"]);
			expect(JSON.parse(answer.body)).toMatchObject({ error_code: "PERMISSION_DENIED" });
			expect(it.upstream.seen).toEqual([]);
			expect((await post(twin + EXPERIMENT, body, "admin")).status).toBe(200);
			expect(it.upstream.seen.pop()?.body.toString()).toBe(body);
		}
	});

	test.each([
		'{"name":"x"}',
		'{"name":"x","artifact_location":""}',
		'{"name":"x","artifact_location":null}',
		JSON.stringify('{"name":"x"}'),
		'\ufeff{"name":"é"}',
	])("%s is an editor's", async (body) => {
		expect((await post(TWINS[0] + EXPERIMENT, body)).status).toBe(200);
		expect(it.upstream.seen[0]?.body.toString()).toBe(body);
	});

	test("a chunked body is judged too, in as many pieces as it may come", async () => {
		const pieces = ['{"name":"x","artifact_', 'location":"s3://b"}'];
		const answer = await exchange(
			it.port,
			request("POST", TWINS[0] + EXPERIMENT, {
				role: "editor",
				headers: ["Content-Type: application/json", "Transfer-Encoding: chunked"],
				body: `${pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join("")}0\r\n\r\n`,
			}),
		);
		expect([answer.status, answer.code]).toEqual([403, "ARTIFACT_LOCATION"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		["UTF-16, which MLflow reads", Buffer.from('{"name":"x","artifact_location":"s3://b"}', "utf16le")],
		["broken UTF-8", Buffer.from('{"name":"\xff","artifact_location":"s3://b"}', "latin1")],
		["what Python takes for JSON", '{"name":"x","artifact_location":"s3://b","n":NaN}'],
		["no object", "[]"],
		["a string in a string", JSON.stringify(JSON.stringify('{"name":"x"}'))],
	])("%s is refused", async (_, body) => {
		const answer = await post(TWINS[0] + EXPERIMENT, body);
		expect([answer.status, answer.code]).toEqual([400, "BODY_JSON"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test("a body beyond 1 MiB is refused, and its rest drained", async () => {
		const answer = await post(TWINS[0] + EXPERIMENT, JSON.stringify({ name: "x".repeat(2 * 1024 * 1024) }));
		expect([answer.status, answer.code]).toEqual([400, "BODY_TOO_LARGE"]);
		expect(it.upstream.seen).toEqual([]);
	});
});

describe("a model version's source", () => {
	const TRACKED = [
		"mlflow-artifacts:/1/0f/artifacts/model",
		"mlflow-artifacts:/1/0f/artifacts/my model (v2)",
		"mlflow-artifacts:/1/0f/artifacts/100%",
		"runs:/0f/model",
		"models:/recipes/3",
		"models:/recipes@champion",
	];
	const FOREIGN = [
		"s3://other-bucket/model",
		"ftp://host/model",
		"file:///etc",
		"/etc",
		"./model",
		"http://169.254.169.254/latest",
		"mlflow-artifacts://host:9000/models",
		"mlflow-artifacts:///1/model",
		"mlflow-artifacts:1/model",
		"MLFLOW-ARTIFACTS:/1/model",
		" mlflow-artifacts:/1/model",
		"mlflow-artifacts:/../etc",
		"mlflow-artifacts:/1/../../etc",
		"mlflow-artifacts:/1/%2e%2e/etc",
		"mlflow-artifacts:/1/..%2f..%2fetc",
		"mlflow-artifacts:/1/%25252e%25252e/etc",
		`mlflow-artifacts:/1/%${"25".repeat(12)}41`,
		"mlflow-artifacts:/1/..",
		"mlflow-artifacts:/1/a\\..\\b",
		"mlflow-artifacts:/1/a%5cb",
		"mlflow-artifacts:/1/a?x=../..",
		"mlflow-artifacts:/1/a#/../..",
		"mlflow-artifacts:/1/a;/..",
		"mlflow-artifacts:/1/a%00",
		"mlflow-artifacts:/1/a\nb",
		"runs:/0f/../..",
		"models:/../x",
	];

	test.each(TRACKED)("%s is tracked", (source) => expect(isTracked(source)).toBe(true));
	test.each(FOREIGN)("%j is not", (source) => expect(isTracked(source)).toBe(false));
	test.each([undefined, null, "", 1, ["runs:/x"], {}])("%j is no source", (source) =>
		expect(isTracked(source)).toBe(false),
	);

	test("what is not tracked needs an admin", async () => {
		for (const twin of TWINS) {
			for (const source of FOREIGN) {
				const answer = await post(twin + VERSION, JSON.stringify({ name: "m", source }));
				expect([source, answer.status, answer.code]).toEqual([source, 403, "MODEL_SOURCE"]);
			}
			expect(it.upstream.seen).toEqual([]);
			expect((await post(twin + VERSION, '{"name":"m","source":"s3://b/"}', "admin")).status).toBe(200);
			expect((await post(twin + VERSION, '{"name":"m","source":"runs:/0f/model"}')).status).toBe(200);
			it.upstream.seen.length = 0;
		}
	});

	test("a missing or empty one is MLflow's to refuse", async () => {
		for (const body of ['{"name":"m"}', '{"name":"m","source":""}', '{"name":"m","source":null}', ""]) {
			expect((await post(TWINS[0] + VERSION, body)).status).toBe(200);
			expect((await post(TWINS[0] + EXPERIMENT, body)).status).toBe(200);
		}
		expect(it.upstream.seen).toHaveLength(8);
	});
});

describe("a name that occurs twice, or that no field has", () => {
	test.each([
		'{"artifact_location":"s3://b","name":"x","artifact_location":""}',
		'{"name":"x","name":"y"}',
		'{"name":"x","tags":[{"key":"a","key":"b"}]}',
		'{"name":"x","n\\u0061me":"y"}',
		JSON.stringify('{"name":"x","name":"y"}'),
		`{"name":${"[".repeat(80)}${"]".repeat(80)}}`,
		// Protobuf reads a field's name up to a NUL.
		'{"name":"x","artifact_location\\u0000":"s3://b"}',
		'{"name":"x","source\\u0000x":"s3://b"}',
		'{"max_results\\u0000":50000}',
		'{"name":"x","[mlflow.source]":"s3://b"}',
	])("%s is refused where the body decides", async (body) => {
		for (const path of [EXPERIMENT, VERSION, RUNS]) {
			const answer = await post(TWINS[0] + path, body);
			expect([answer.status, answer.code]).toEqual([400, "BODY_AMBIGUOUS"]);
		}
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		'{"name":"x","tags":[{"key":"a"},{"key":"a"}]}',
		'{"name":"a,b:{\\"name\\"}","x":{"name":1}}',
		'{"other":[],"a":{}}',
	])("%s has none", async (body) => {
		expect((await post(TWINS[0] + EXPERIMENT, body)).status).toBe(200);
	});
});

describe("runs/search", () => {
	test.each([10_001, 50_000, "50000", 1e9, -1, 1.5, "1_0", "\uff15\uff10000", " 5", [], {}, true])(
		"max_results %j is refused to whoever is no admin, in both spellings",
		async (value) => {
			for (const [twin, name] of [
				[TWINS[0], "max_results"],
				[TWINS[1], "maxResults"],
			]) {
				const answer = await post(
					twin + RUNS,
					JSON.stringify({ experiment_ids: ["0"], [name ?? ""]: value }),
					"viewer",
				);
				expect([value, answer.status, answer.code]).toEqual([value, 400, "TOO_MANY_ROWS"]);
				expect(JSON.parse(answer.body)).toMatchObject({ error_code: "INVALID_PARAMETER_VALUE" });
			}
			expect(it.upstream.seen).toEqual([]);
		},
	);

	test("a small one beside a big one of the other spelling is refused", async () => {
		const answer = await post(TWINS[0] + RUNS, '{"max_results":1,"maxResults":50000}', "viewer");
		expect(answer.code).toBe("TOO_MANY_ROWS");
	});

	test.each([
		"{}",
		"",
		'{"max_results":10000}',
		'{"max_results":"1000","filter":"a = \'b\'"}',
		'{"max_results":null}',
	])("%s is a viewer's", async (body) => {
		expect((await post(TWINS[0] + RUNS, body, "viewer")).status).toBe(200);
		expect(it.upstream.seen[0]?.body.toString()).toBe(body);
	});

	test("an admin asks what MLflow allows", async () => {
		expect((await post(TWINS[0] + RUNS, '{"max_results":50000}', "admin")).status).toBe(200);
	});
});

describe("queries", () => {
	test.each([
		["/mlflow/metrics/get-history-bulk-interval?run_ids=a&metric_key=m&runIds=b&runIds=c", "QUERY_AMBIGUOUS"],
		["/mlflow/metrics/get-history-bulk-interval?run_ids=a&metric_key=m&run%49ds=b", "QUERY_AMBIGUOUS"],
		["/mlflow/model-versions/search?max_results=200000", "TOO_MANY_ROWS"],
		["/mlflow/model-versions/search?max_results=1&max_results=200000", "QUERY_AMBIGUOUS"],
		["/mlflow/model-versions/search?maxResults=200000", "QUERY_AMBIGUOUS"],
		["/mlflow/model-versions/search?max_results%5B0%5D=200000", "QUERY_AMBIGUOUS"],
	])("%s is refused to whoever is no admin", async (path, code) => {
		for (const twin of TWINS) {
			const answer = await exchange(it.port, request("GET", twin + path, { role: "editor" }));
			expect([answer.status, answer.code]).toEqual([400, code]);
		}
		expect(it.upstream.seen).toEqual([]);
		expect((await exchange(it.port, request("GET", TWINS[0] + path))).status).toBe(200);
	});

	test.each([
		`/mlflow/metrics/get-history-bulk-interval?${Array.from({ length: 100 }, (_, i) => `run_ids=${i}`).join("&")}&metric_key=m&max_results=320`,
		"/mlflow/metrics/get-history-bulk-interval?run_ids%5B%5D=a&metric_key=m",
		"/mlflow/model-versions/search?filter=run_id%20IN%20%28%27a%27%29&max_results=10000",
		"/mlflow/model-versions/search?order_by=name&order_by=version",
	])("%s is a viewer's", async (path) => {
		const answer = await exchange(it.port, request("GET", TWINS[1] + path, { role: "viewer" }));
		expect(answer.status).toBe(200);
	});
});

describe("the rules", () => {
	test("stand where a body decides, under both twins", () => {
		expect(
			ROUTES.filter(({ body }) => body !== undefined)
				.map(({ method, rule }) => `${method} ${rule}`)
				.sort(),
		).toEqual(
			[
				"POST /graphql",
				...TWINS.flatMap((twin) => [EXPERIMENT, VERSION, RUNS].map((path) => `POST ${twin}${path}`)),
			].sort(),
		);
		expect(
			ROUTES.filter(({ query }) => query !== undefined)
				.map(({ method, rule }) => `${method} ${rule}`)
				.sort(),
		).toEqual(
			TWINS.flatMap((twin) =>
				["/mlflow/metrics/get-history-bulk-interval", "/mlflow/model-versions/search"].flatMap((path) => [
					`GET ${twin}${path}`,
					`HEAD ${twin}${path}`,
				]),
			).sort(),
		);
	});

	test("a message is an object, once or twice encoded", () => {
		expect(messageOf(Buffer.from('{"a":1}'))).toEqual({ message: { a: 1 } });
		expect(messageOf(Buffer.from(JSON.stringify('{"a":1}')))).toEqual({ message: { a: 1 } });
		expect(messageOf(Buffer.from("null"))).toEqual({ refused: "BODY_JSON" });
		expect(messageOf(Buffer.from("1"))).toEqual({ refused: "BODY_JSON" });
	});

	const field = fc.stringMatching(/^[A-Za-z_]\w{0,8}$/);

	test("whatever a serializer writes of fields has each name once", () => {
		const values = [fc.string(), fc.double(), fc.boolean(), fc.constant(null)];
		const message = fc.object({ key: field, maxDepth: 5, values });
		fc.assert(fc.property(message, (value) => !isAmbiguous(JSON.stringify(value))));
		fc.assert(
			fc.property(field, fc.json(), fc.json(), (name, one, other) =>
				isAmbiguous(`{${JSON.stringify(name)}:${one},${JSON.stringify(name)}:${other}}`),
			),
		);
	});

	test("no name but a field's passes, however deep it stands", () => {
		fc.assert(
			fc.property(fc.string(), fc.nat(5), (name, depth) => {
				const text = `${'{"a":['.repeat(depth)}{${JSON.stringify(name)}:1}${"]}".repeat(depth)}`;
				return isAmbiguous(text) === !/^[A-Za-z_]\w*$/.test(name);
			}),
			{ examples: [["artifact_location\0", 0]] },
		);
	});
});
