/**
 * What was published about MLflow, about doors like this one and about the libraries that they are made of: each
 * advisory as the request that its exploit sends, by whoever sends it, and the refusal that it meets here.
 */
import { createHmac } from "node:crypto";
import type { Role } from "../../proxy/roles.ts";

/** What there is to aim at. */
export interface Aim {
	/** Of the door. */
	host: string;
	/** A run, its experiment, and a model with a version 1. */
	run: string;
	experiment: string;
	model: string;
	/** What the door's session cookie is called. */
	cookie: string;
	/** A good token of a viewer, for those who change it. */
	token: string;
}

export interface Shot {
	/** The request line without the version. */
	line: string;
	headers?: readonly string[];
	/** Framed by Content-Length unless the headers say otherwise. */
	body?: string;
	/** Bytes that stand for the whole request. */
	bytes?: string;
}

export interface Advisory {
	id: string;
	what: string;
	/** Who tries; null: a stranger. */
	as: readonly (Role | null)[];
	shots(aim: Aim): readonly Shot[];
	/** Any of these, with the row of `errors.ts` that says why. */
	refused: Readonly<Record<number, readonly string[]>>;
	/** What the door itself asks of MLflow before it can refuse. */
	asks?: RegExp;
}

const JSON_TYPE = "Content-Type: application/json";
const CHUNKED = "Transfer-Encoding: chunked";
const TWINS = ["/api/2.0", "/ajax-api/2.0"];

const json = (line: string, body: unknown, headers: readonly string[] = []): Shot => ({
	line,
	headers: [JSON_TYPE, ...headers],
	body: typeof body === "string" ? body : JSON.stringify(body),
});
const both = (shot: (twin: string) => Shot | readonly Shot[]): Shot[] => TWINS.flatMap((twin) => shot(twin));
const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
const hidden = ({ host }: Aim): string =>
	`GET /api/2.0/mlflow/runs/get?run_id=hidden HTTP/1.1\r\nHost: ${host}\r\nX-Remote-User: admin\r\n\r\n`;

const STRANGER = { 401: ["NO_CREDENTIAL"] } as const;
const LOW = { 403: ["ROLE_EDITOR", "ROLE_ADMIN"] } as const;
const UNKNOWN = { 403: ["ROUTE_UNKNOWN"] } as const;
const SHUT = { 401: ["NO_CREDENTIAL"], 403: ["ROUTE_UNKNOWN", "ROLE_EDITOR", "ROLE_ADMIN"] } as const;
const PATH = [
	"TARGET_FORM",
	"TARGET_EMPTY_SEGMENT",
	"TARGET_ENCODING",
	"TARGET_ENCODED_SLASH",
	"TARGET_NOT_CANONICAL",
	"TARGET_DOT_SEGMENT",
	"TARGET_FRAGMENT",
	"TARGET_PARAMETERS",
	"TARGET_BACKSLASH",
	"ARTIFACT_AMBIGUOUS",
	"ARTIFACT_EMPTY",
];

const experiments = (locations: readonly string[]) => (): Shot[] =>
	both((twin) =>
		locations.flatMap((artifact_location) => [
			json(`POST ${twin}/mlflow/experiments/create`, { name: "advisory", artifact_location }),
			json(`POST ${twin}/mlflow/experiments/create`, {
				name: "advisory",
				artifactLocation: artifact_location,
			}),
		]),
	);
const versions =
	(sources: readonly string[], more: object = {}) =>
	({ model }: Aim): Shot[] =>
		both((twin) =>
			sources.map((source) =>
				json(`POST ${twin}/mlflow/model-versions/create`, { name: model, source, ...more }),
			),
		);

const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Of MLflow. */
export const MLFLOW: readonly Advisory[] = [
	{
		id: "mlflow#7166",
		what: "a path that climbs out of the artifacts",
		as: ["viewer"],
		shots: ({ run, model }) =>
			[
				"../../../../etc/passwd",
				"..%2F..%2Fetc%2Fpasswd",
				"%252e%252e/%252e%252e/etc",
				"/etc/passwd",
			].flatMap((path) => [
				{ line: `GET /get-artifact?path=${path}&run_uuid=${run}` },
				{
					line: `GET /model-versions/get-artifact?path=${path}&name=${encodeURIComponent(model)}&version=1`,
				},
			]),
		refused: { 400: ["ARTIFACT_PATH"], 404: ["ARTIFACT_MISSING"] },
	},
	{
		id: "CVE-2023-1177",
		what: "a model version whose source is a folder of the server",
		as: ["editor"],
		shots: versions(["/etc/", "file:///etc", "//etc/", "etc/", "./", "C:\\\\"]),
		refused: { 403: ["MODEL_SOURCE"] },
	},
	{
		id: "CVE-2024-3573",
		what: "a source that does not look local, and is",
		as: ["editor"],
		shots: versions([
			"file:etc",
			"file://./etc",
			"file://localhost/etc",
			":///etc",
			"file:\\\\etc",
			"FILE:/etc",
		]),
		refused: { 403: ["MODEL_SOURCE"] },
	},
	{
		id: "CVE-2025-11201",
		what: "a source that climbs",
		as: ["editor"],
		shots: versions([
			"mlflow-artifacts:/../../etc",
			"mlflow-artifacts:/1/%2e%2e/%2e%2e/etc",
			"mlflow-artifacts:/1/..%252f..%252fetc",
			"mlflow-artifacts://host:9000/models/..%2f..%2fartifacts",
			"mlflow-artifacts:/artifact%00",
			"runs:/../../etc",
		]),
		refused: { 403: ["MODEL_SOURCE"] },
	},
	{
		id: "CVE-2026-2614",
		what: "a source that a tag makes a prompt's",
		as: ["editor"],
		shots: versions(["/etc"], { tags: [{ key: "mlflow.prompt.is_prompt", value: "true" }] }),
		refused: { 403: ["MODEL_SOURCE"] },
	},
	{
		id: "mlflow#23500",
		what: "a source somewhere else, which the server fetches",
		as: ["editor"],
		shots: versions([
			"http://oast.example/x",
			"s3://other-bucket/m",
			"ftp://host/m",
			"sftp://host/m",
			"hdfs://host/m",
			"dbfs:/m",
		]),
		refused: { 403: ["MODEL_SOURCE"] },
	},
	{
		id: "CVE-2024-1593",
		what: "an artifact_location that climbs in its parameters",
		as: ["editor"],
		shots: experiments(["http://host/;..%2F..%2F..%2Fetc", "http://host/;%2e%2e/"]),
		refused: { 403: ["ARTIFACT_LOCATION"] },
	},
	{
		id: "CVE-2024-2928, CVE-2024-1483, CVE-2024-1558, CVE-2024-1594, CVE-2024-3848",
		what: "an artifact_location that climbs in its fragment or query",
		as: ["editor"],
		shots: experiments([
			"http:///#/../../../../etc/",
			"http:///?/../../../etc",
			"scheme:///x#/../../",
			"http://host#/abc/etc/",
			"file:///etc",
			"s3://any-bucket/",
			"ftp://host/",
		]),
		refused: { 403: ["ARTIFACT_LOCATION"] },
	},
	{
		id: "CVE-2023-6831, CVE-2024-1560, mlflow-oidc-auth#289",
		what: "a DELETE that is decoded until it means a folder above, or everything",
		as: ["admin", "viewer", null],
		shots: () =>
			both((twin) =>
				[
					"%252E%252E%252F%252E%252E%252Fx",
					"%252e%252e/x",
					"%2e%2e/x",
					".",
					"./.",
					"%2e",
					"%252e",
					"%25252e",
					"",
					"%20",
					".%3F",
					".%23",
					".;",
					"file:",
					"file:.",
					"%2F",
					"1/..",
					"1/%2e%2e",
					"?",
				].map((name) => ({ line: `DELETE ${twin}/mlflow-artifacts/artifacts/${name}` })),
			),
		refused: { 400: PATH },
	},
	{
		id: "CVE-2025-0453",
		what: "GraphQL that occupies every worker: ten thousand aliases, batches, fragments, depth",
		as: ["viewer", "admin"],
		shots: () => {
			const field = "mlflowSearchModelVersions(input:{}){modelVersions{name}}";
			const many = (count: number, of: (i: number) => string) =>
				Array.from({ length: count }, (_, i) => of(i)).join(" ");
			return [
				{ query: `{${many(10_000, (i) => `a${i}:${field}`)}}` },
				{ query: `{${many(11, (i) => `a${i}:${field}`)}}` },
				{ query: `{${many(11, () => field)}}` },
				{ query: `query a{...f} fragment f on Query{${many(20, (i) => `a${i}:${field}`)}}` },
				{ query: `{${many(9, (i) => `a${i}{`)}${"}".repeat(9)}}` },
				{ query: "{mlflowSearchModelVersions(input:{maxResults:200000}){modelVersions{name}}}" },
				{ query: "{__schema{types{fields{type{fields{name}}}}}}" },
				{ query: `query a{${field}} query b{${field}}`, operationName: "a" },
			]
				.map((body) => json("POST /graphql", body))
				.concat(json("POST /graphql", [{ query: `{${field}}` }, { query: `{${field}}` }]));
		},
		refused: { 400: ["GRAPHQL_LIMIT", "GRAPHQL_QUERY", "BODY_JSON"] },
	},
	{
		id: "CVE-2025-14297, mlflow#25676",
		what: "Flask's own routes and GraphQL, which had no check",
		as: [null],
		shots: ({ run }) => [
			{ line: `GET /get-artifact?path=a&run_uuid=${run}` },
			{ line: `GET /model-versions/get-artifact?path=a&name=b&version=1` },
			{ line: `POST /ajax-api/2.0/mlflow/upload-artifact?run_uuid=${run}&path=a`, body: "x" },
			json("POST /graphql", { query: "{test{output}}" }),
			{ line: "GET /graphql?query={test}" },
			{ line: "GET /version" },
			{ line: "GET /" },
			{ line: "GET /static-files/manifest.json" },
			{ line: "GET /build/manifest.json" },
		],
		refused: STRANGER,
	},
	{
		id: "CVE-2025-14297 (writes)",
		what: "the routes beside the API that write",
		as: ["viewer"],
		shots: ({ run, experiment }) => [
			{ line: `POST /ajax-api/2.0/mlflow/upload-artifact?run_uuid=${run}&path=a`, body: "x" },
			json("POST /ajax-api/2.0/mlflow/runs/create-promptlab-run", { experiment_id: experiment }),
			json("POST /ajax-api/2.0/mlflow/gateway-proxy", { gateway_path: "x" }),
		],
		refused: LOW,
	},
	{
		id: "CVE-2025-14297 (GraphQL)",
		what: "a mutation by who may read",
		as: ["viewer", "editor", "admin"],
		shots: () => [
			json("POST /graphql", { query: 'mutation{testMutation(inputString:"x"){echo}}' }),
			json("POST /graphql", '{"query":"\\ufeff mutation m{testMutation(inputString:1){echo}}"}'),
			json("POST /graphql", { query: "subscription{x}" }),
		],
		refused: { 403: ["GRAPHQL_READ_ONLY"] },
	},
	{
		id: "CVE-2025-14279",
		what: "DNS rebinding: a browser in the network, and a name of the attacker's",
		as: ["admin", null],
		shots: ({ host, token }) =>
			[
				"attacker.example",
				`attacker.example:${host.split(":")[1]}`,
				"127.0.0.1.nip.io",
				`x.${host}`,
				"0",
			].map((name) => ({
				line: "",
				bytes: `POST /api/2.0/mlflow/experiments/create HTTP/1.1\r\nHost: ${name}\r\nOrigin: http://${name}\r\nAuthorization: Bearer ${token}\r\n${JSON_TYPE}\r\nContent-Length: 12\r\n\r\n{"name":"x"}`,
			})),
		refused: { 400: ["HOST_UNKNOWN"] },
	},
	{
		id: "CVE-2026-0545",
		what: "jobs of the server, for strangers",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			json("POST /ajax-api/3.0/jobs/", { job_name: "x", params: {} }),
			json("POST /ajax-api/3.0/jobs", { job_name: "x", params: {} }),
			json("POST /ajax-api/3.0/jobs/search", {}),
			{ line: "PATCH /ajax-api/3.0/jobs/cancel/1" },
			{ line: "GET /ajax-api/3.0/jobs/1" },
			json("POST /ajax-api/3.0/mlflow/scorer/invoke", {}),
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "CVE-2026-2652",
		what: "OpenTelemetry's way in, for strangers",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			{ line: "POST /v1/traces", headers: ["Content-Type: application/x-protobuf"], body: "\n\0" },
			json("POST /v1/traces", {}, ["X-MLflow-Experiment-Id: 0"]),
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "GHSA-46r5, GHSA-qqq6 (mlflow#23317)",
		what: "the twin of version 3, which nobody gated",
		as: [null, "viewer", "editor", "admin"],
		shots: ({ run, experiment }) =>
			["/api/3.0", "/ajax-api/3.0"].flatMap((twin) => [
				json(`POST ${twin}/mlflow/runs/search`, { experiment_ids: [experiment] }),
				json(`POST ${twin}/mlflow/runs/delete`, { run_id: run }),
				{ line: `GET ${twin}/mlflow/runs/get?run_id=${run}` },
				{ line: `GET ${twin}/mlflow/get-trace-artifact?request_id=x` },
				{ line: `DELETE ${twin}/mlflow-artifacts/artifacts/${experiment}` },
			]),
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "GHSA-3p64",
		what: "LogInputs, which had no check",
		as: [null, "viewer"],
		shots: ({ run }) =>
			both((twin) => json(`POST ${twin}/mlflow/runs/log-inputs`, { run_id: run, datasets: [] })),
		refused: SHUT,
	},
	{
		id: "GHSA-8c7q, CVE-2026-2651",
		what: "multipart uploads, which had no check",
		as: [null, "viewer"],
		shots: ({ run, experiment }) =>
			both((twin) =>
				["create", "complete", "abort"].map((step) =>
					json(`POST ${twin}/mlflow-artifacts/mpu/${step}/${experiment}/${run}/artifacts/model`, {
						path: "model.pkl",
						num_parts: 2,
						upload_id: "x",
					}),
				),
			),
		refused: SHUT,
	},
	{
		id: "CVE-2026-2651 (tickets)",
		what: "a part of an upload, with a ticket of one's own making",
		as: [null],
		shots: ({ experiment }) => {
			const claims = part([`${experiment}/x`, "id", 1, '{"kind":"token","user":"a","role":"admin"}', 9e15]);
			return [
				claims,
				`${claims}.`,
				`${claims}.${createHmac("sha256", "").update(claims).digest("base64url")}`,
				"",
			].map((ticket) => ({ line: `PUT /door/artifact-part?part=1&ticket=${ticket}`, body: "x" }));
		},
		refused: { 403: ["UPLOAD_TICKET"] },
	},
	{
		id: "CVE-2025-15381",
		what: "traces and assessments of others",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			{ line: "GET /api/3.0/mlflow/traces/tr-1" },
			{ line: "GET /api/2.0/mlflow/traces/tr-1/info" },
			json("POST /api/3.0/mlflow/traces/search", {}),
			json("POST /api/3.0/mlflow/traces/tr-1/assessments", {}),
			{ line: "DELETE /api/2.0/mlflow/traces/tr-1/tags" },
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "CVE-2026-2635, GHSA-gq3w",
		what: "the password that everybody knows",
		as: [null],
		shots: () =>
			["admin:password", "admin:password1234", "admin:", "admin:admin", "mlflow:mlflow"].map((pair) => ({
				line: "GET /api/2.0/mlflow/experiments/search?max_results=1",
				headers: [`Authorization: Basic ${Buffer.from(pair).toString("base64")}`],
			})),
		refused: {
			401: ["PASSWORD_WRONG", "AUTHORIZATION_UNREADABLE", "TOKEN_MALFORMED"],
			429: ["SIGN_IN_LIMITED"],
		},
	},
	{
		id: "CVE-2025-11200",
		what: "a user of one's own making, with an empty password",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			json("POST /api/2.0/mlflow/users/create", { username: "x", password: "" }),
			json("POST /signup", { username: "x", password: "" }),
			{ line: "GET /signup" },
			json("PATCH /api/2.0/mlflow/users/update-admin", { username: "x", is_admin: true }),
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "CVE-2026-2393",
		what: "a webhook that makes the server ask its own network",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			json("POST /api/2.0/mlflow/webhooks", { name: "x", url: "http://169.254.169.254/latest" }),
			json("POST /api/2.0/mlflow/webhooks/1/test", {}),
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "CVE-2026-2611",
		what: "the assistant, which runs programs",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			json("PUT /ajax-api/3.0/mlflow/assistant/config", { full_access: true }),
			json("POST /ajax-api/3.0/mlflow/assistant/message", { message: "x" }),
			json("POST /ajax-api/3.0/mlflow/assistant/skills/install", {}),
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "CVE-2026-2734",
		what: "model versions for who may not see any",
		as: [null],
		shots: () => [
			...both((twin) => ({ line: `GET ${twin}/mlflow/model-versions/search` })),
			json("POST /graphql", { query: "{mlflowSearchModelVersions(input:{}){modelVersions{name}}}" }),
		],
		refused: STRANGER,
	},
	{
		id: "CVE-2026-33866",
		what: "artifacts of logged models",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			{ line: "GET /ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files?artifact_file_path=x" },
			{ line: "DELETE /api/2.0/mlflow/logged-models/m-1" },
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "CVE-2026-13484",
		what: "label schemas",
		as: [null, "viewer", "editor", "admin"],
		shots: () => [
			json("POST /api/3.0/mlflow/label-schemas", { name: "x" }),
			{ line: "DELETE /api/3.0/mlflow/label-schemas/1" },
		],
		refused: { ...STRANGER, ...UNKNOWN },
	},
	{
		id: "gateway-proxy (mlflow.md 6, without a number)",
		what: "a request to a path of the caller's choice",
		as: [null, "viewer", "editor"],
		shots: () => [
			{ line: "GET /ajax-api/2.0/mlflow/gateway-proxy?gateway_path=../../x" },
			{ line: "GET /ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/&gateway_path=../x" },
			json("POST /ajax-api/2.0/mlflow/gateway-proxy", { gateway_path: "@169.254.169.254/" }),
		],
		refused: SHUT,
	},
	{
		id: "HEAD that downloads (mlflow.md 1.1, without a number)",
		what: "a HEAD for which the server would fetch the file",
		as: ["viewer", "admin"],
		shots: ({ experiment, model }) => [
			{ line: `HEAD /get-artifact?path=m/MLmodel&run_uuid=${"0".repeat(32)}` },
			{ line: `HEAD /get-artifact?path=x&path=y&run_uuid=${"0".repeat(32)}` },
			{ line: `HEAD /model-versions/get-artifact?path=MLmodel&name=${encodeURIComponent(model)}&version=99` },
			{ line: `HEAD /api/2.0/mlflow-artifacts/artifacts/${experiment}/none` },
		],
		refused: { 404: ["ARTIFACT_MISSING"], 405: ["HEAD_DOWNLOAD"] },
		// Where the artifacts of a run or version lie.
		asks: /^GET \/api\/2\.0\/mlflow\/(?:runs\/get|model-versions\/get-download-uri)\?/,
	},
	{
		id: "searches without a bound (mlflow.md 6, without a number)",
		what: "all rows at once",
		as: ["viewer", "editor"],
		shots: ({ experiment }) => [
			...both((twin) =>
				[50_000, "50000", 10_001].flatMap((rows) => [
					json(`POST ${twin}/mlflow/runs/search`, { experiment_ids: [experiment], max_results: rows }),
					json(`POST ${twin}/mlflow/runs/search`, { experiment_ids: [experiment], maxResults: rows }),
					json(`POST ${twin}/mlflow/runs/search`, JSON.stringify(JSON.stringify({ maxResults: rows }))),
				]),
			),
			...both((twin) => [
				{ line: `GET ${twin}/mlflow/model-versions/search?max_results=200000` },
				{ line: `GET ${twin}/mlflow/metrics/get-history-bulk-interval?metric_key=m&run_ids=a&runIds=b` },
			]),
		],
		refused: { 400: ["TOO_MANY_ROWS", "QUERY_AMBIGUOUS"] },
	},
	{
		id: "bodies without a bound (mlflow.md 6, without a number)",
		what: "more JSON than the server has memory for, announced or in chunks",
		as: ["editor", "admin"],
		shots: ({ run }) => {
			const body = `{"run_id":"${run}","tags":[{"key":"k","value":"${"x".repeat(17 * 1024 * 1024)}"}]}`;
			return [
				json("POST /api/2.0/mlflow/runs/log-batch", body),
				{
					line: "POST /api/2.0/mlflow/runs/log-batch",
					headers: [JSON_TYPE, CHUNKED],
					body: chunk(body),
				},
			];
		},
		refused: { 400: ["BODY_TOO_LARGE"] },
	},
	{
		id: "mlflow-oidc-auth#270",
		what: "both spellings of a field, one of them harmless",
		as: ["editor"],
		shots: () =>
			both((twin) => [
				json(
					`POST ${twin}/mlflow/experiments/create`,
					'{"name":"x","artifact_location":"","artifactLocation":"s3://b"}',
				),
				json(
					`POST ${twin}/mlflow/experiments/create`,
					'{"name":"x","artifactLocation":"s3://b","artifact_location":""}',
				),
				json(
					`POST ${twin}/mlflow/experiments/create`,
					'{"name":"x","artifact_location":"s3://b","artifact_location":""}',
				),
				json(
					`POST ${twin}/mlflow/experiments/create`,
					JSON.stringify('{"name":"x","artifact\\u005flocation":"s3://b"}'),
				),
			]),
		refused: { 400: ["BODY_AMBIGUOUS"], 403: ["ARTIFACT_LOCATION"] },
	},
	{
		id: "mlflow-oidc-auth#285",
		what: "a query that says what a body decides",
		as: ["viewer"],
		shots: ({ run }) => [
			json("POST /api/2.0/mlflow/runs/delete?run_id=other", { run_id: run }),
			json("POST /api/2.0/mlflow/runs/set-tag?role=admin", { run_id: run, key: "k", value: "v" }),
		],
		refused: LOW,
	},
	{
		id: "mlflow-oidc-auth#286",
		what: "a GET or HEAD whose body MLflow reads",
		as: ["viewer", null],
		shots: ({ run }) =>
			["GET", "HEAD"].flatMap((method) => [
				json(`${method} /api/2.0/mlflow/runs/get`, { run_id: run }),
				json(`${method} /graphql`, { query: "{test{output}}" }),
				{
					line: `${method} /api/2.0/mlflow/runs/get`,
					headers: [JSON_TYPE, CHUNKED],
					body: chunk(JSON.stringify({ run_id: run })),
				},
			]),
		refused: { 400: ["BODY_REFUSED"] },
	},
];

const READ = "/api/2.0/mlflow/experiments/search?max_results=2";

/** Of doors and of what doors are made of. */
export const DOORS: readonly Advisory[] = [
	{
		id: "CVE-2026-29057, node-http-proxy#1720",
		what: "a chunked DELETE whose body is the next request",
		as: [null, "admin"],
		shots: (aim) =>
			["/api/2.0/mlflow/registered-models/delete", "/inference/x"].flatMap((path) => [
				{ line: `DELETE ${path}`, headers: [CHUNKED], body: chunk(hidden(aim)) },
				{ line: `DELETE ${path}`, headers: [CHUNKED, "Expect: 100-continue"], body: chunk(hidden(aim)) },
			]),
		refused: { 400: ["BODY_CHUNKED"] },
	},
	{
		id: "node-http-proxy#1721",
		what: "a chunked OPTIONS whose body is the next request",
		as: [null, "admin"],
		shots: (aim) => [
			{ line: `OPTIONS ${READ}`, headers: [CHUNKED], body: chunk(hidden(aim)) },
			{ line: `OPTIONS ${READ}`, headers: [CHUNKED, "Content-Length: 4"], body: chunk(hidden(aim)) },
		],
		refused: { 400: ["BODY_REFUSED", "REQUEST_MALFORMED"] },
	},
	{
		id: "httpxy#153",
		what: "a length and a coding, in every order and disguise",
		as: ["admin"],
		shots: (aim) =>
			[
				[CHUNKED, "Content-Length: 5"],
				["Content-Length: 5", CHUNKED],
				["Content-Length: 5", "Content-Length: 6"],
				["Content-Length: 5, 5"],
				["Content-Length: +5"],
				["Transfer-Encoding: xchunked"],
				["Transfer-Encoding: chunked, identity"],
				["Transfer-Encoding: \x0bchunked"],
				["Transfer-Encoding : chunked"],
				[CHUNKED, "Transfer-Encoding: identity"],
				["X: y\nTransfer-Encoding: chunked"],
				["X: y\rTransfer-Encoding: chunked"],
				["Transfer-Encoding:\r\n chunked", "Content-Length: 5"],
			].map((headers) => ({
				line: "POST /api/2.0/mlflow/runs/search",
				headers: [JSON_TYPE, ...headers],
				body: `0\r\n\r\n${hidden(aim)}`,
			})),
		refused: { 400: ["REQUEST_MALFORMED", "BODY_CODING", "BODY_LENGTH", "HEADER_DUPLICATE"] },
	},
	{
		id: "CVE-2026-1525",
		what: "two lengths that only differ in the case of their name",
		as: ["admin"],
		shots: () => [
			{
				line: "POST /api/2.0/mlflow/runs/search",
				headers: [JSON_TYPE, "Content-Length: 2", "content-length: 40"],
				body: "{}",
			},
		],
		refused: { 400: ["REQUEST_MALFORMED"] },
	},
	{
		id: "Expect and proxyReq (front-door.md 0, fact 2)",
		what: "an identity brought along under Expect, where no filter looks",
		as: [null, "viewer"],
		shots: ({ run }) =>
			["X-Remote-User: admin", "Tailscale-User-Login: root@example.com"].map((header) =>
				json("POST /api/2.0/mlflow/runs/delete", { run_id: run }, ["Expect: 100-continue", header]),
			),
		refused: SHUT,
	},
	{
		id: "CVE-2025-64484, GHSA-vjrc",
		what: "a header with an underscore, which is the same header to WSGI",
		as: ["viewer", null],
		shots: () =>
			[
				"X_Remote_User: admin",
				"X-Forwarded_User: admin",
				"Tailscale_User_Login: root@example.com",
				"Content_Length: 0",
			].map((header) => ({ line: `GET ${READ}`, headers: [header] })),
		refused: { 400: ["HEADER_UNDERSCORE"] },
	},
	{
		id: "GHSA-5hvv",
		what: "the User-Agent of a health check",
		as: [null],
		shots: () =>
			["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0", "mlgate-health"].flatMap((agent) => [
				{ line: `GET ${READ}`, headers: [`User-Agent: ${agent}`] },
				{ line: "GET /health", headers: [`User-Agent: ${agent}`] },
			]),
		refused: STRANGER,
	},
	{
		id: "CVE-2026-40575, GHSA-7x63",
		what: "X-Forwarded-Uri and its like, naming a public path",
		as: [null],
		shots: () =>
			[
				"X-Forwarded-Uri",
				"X-Original-URL",
				"X-Rewrite-URL",
				"X-Original-URI",
				"X-Forwarded-Path",
				"X-Envoy-Original-Path",
			].map((name) => ({ line: `GET ${READ}`, headers: [`${name}: /door/health`] })),
		refused: STRANGER,
	},
	{
		id: "GHSA-pxq7",
		what: "a fragment that makes a shut path look public",
		as: [null, "admin"],
		shots: () => [
			{ line: `GET ${READ}#/door/health` },
			{ line: "GET /door/health#/../api/2.0/mlflow/experiments/search" },
			{ line: "GET /login#/x" },
		],
		refused: { 400: ["TARGET_FRAGMENT"] },
	},
	{
		id: "GHSA-c5c4",
		what: "an e-mail address with several @",
		as: [null],
		shots: () => [
			{ line: `GET ${READ}`, headers: ["X-Forwarded-Email: root@example.com@evil.example"] },
			{ line: `GET ${READ}`, headers: ["Tailscale-User-Login: root@example.com@evil.example"] },
		],
		refused: STRANGER,
	},
	{
		id: "GHSA-f24x",
		what: "a session brought along (fixation)",
		as: [null],
		shots: ({ token, cookie }) =>
			["x", "1", token, `${part({ alg: "none" })}.${part({ sub: "admin" })}.`].flatMap((value) =>
				[cookie, "__Host-mlgate", "session", "_oauth2_proxy"].map((name) => ({
					line: `GET ${READ}`,
					headers: [`Cookie: ${name}=${value}`],
				})),
			),
		refused: { 401: ["NO_CREDENTIAL", "SESSION_INVALID"] },
	},
	{
		id: "CVE-2025-48865",
		what: "Connection names a header to be taken away on the way",
		as: ["viewer", null],
		shots: () =>
			["close, X-Forwarded-For", "keep-alive, Authorization", "Cookie", "Host"].map((value) => ({
				line: `GET ${READ}`,
				headers: [`Connection: ${value}`],
			})),
		refused: { 400: ["CONNECTION_OPTION"] },
	},
	{
		id: "CVE-2026-3635",
		what: "X-Forwarded-Host and -Proto of somebody who is no proxy of ours",
		as: [null],
		shots: ({ host }) => [
			{
				line: "",
				bytes: `GET ${READ} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: ${host}\r\nX-Forwarded-Proto: https\r\n\r\n`,
			},
			{
				line: "",
				bytes: `GET ${READ} HTTP/1.1\r\nHost: evil.example\r\nForwarded: host="${host}";for=127.0.0.1\r\n\r\n`,
			},
		],
		refused: { 400: ["HOST_UNKNOWN"] },
	},
	{
		id: "GHSA-g6q3",
		what: "an encoded path that middleware and router read differently",
		as: [null, "viewer", "admin"],
		shots: () => [
			{ line: "POST /%61pi/2.0/mlflow/runs/create" },
			{ line: "POST /api%2f2.0/mlflow/runs/create" },
			{ line: "POST //api/2.0/mlflow/runs/create" },
			{ line: "POST /api/2.0/mlflow/runs%2Fcreate" },
			{ line: "GET /%2561pi/2.0/mlflow/runs/get" },
		],
		refused: { 400: PATH },
	},
	{
		id: "GHSA-64mm-vxmg-q3vj",
		what: "a Host that carries a path to be routed by",
		as: [null, "admin"],
		shots: ({ host }) =>
			[`${host}/door/health`, `${host}/login?`, `x@${host}`, `${host}#`].map((name) => ({
				line: "",
				bytes: `GET ${READ} HTTP/1.1\r\nHost: ${name}\r\n\r\n`,
			})),
		refused: { 400: ["HOST_UNKNOWN", "REQUEST_MALFORMED"] },
	},
	{
		id: "denoland/clawpatrol#825",
		what: "Tailscale's identity headers from a process beside us",
		as: [null],
		shots: () => [
			{
				line: `GET ${READ}`,
				headers: [
					"Tailscale-User-Login: root@example.com",
					"Tailscale-User-Name: root",
					'Tailscale-App-Capabilities: {"example.com/cap/mlgate":[{"role":"admin"}]}',
					"Tailscale-Headers-Info: https://tailscale.com/s/serve-headers",
					"X-Forwarded-For: 100.64.0.1",
					"X-Forwarded-Proto: https",
				],
			},
		],
		refused: STRANGER,
	},
	{
		id: "Wycheproof, jwt_tool",
		what: "a token that nobody gave: no algorithm, another one, other claims, another spelling",
		as: [null],
		shots: ({ token }) => {
			const [head = "", claims = "", signature = ""] = token.split(".");
			const read = (text: string) => JSON.parse(Buffer.from(text, "base64url").toString()) as object;
			const forged = part({ ...read(claims), role: "admin" });
			const mac = (key: string, text: string) => createHmac("sha256", key).update(text).digest("base64url");
			const hs = part({ ...read(head), alg: "HS256" });
			return [
				`${part({ ...read(head), alg: "none" })}.${forged}.`,
				`${part({ ...read(head), alg: "NoNe" })}.${claims}.${signature}`,
				`${hs}.${forged}.${mac("", `${hs}.${forged}`)}`,
				`${hs}.${forged}.${mac("secret", `${hs}.${forged}`)}`,
				`${head}.${forged}.${signature}`,
				`${part({ ...read(head), kid: "../../../../dev/null" })}.${claims}.${signature}`,
				`${part({ ...read(head), jku: "http://evil.example/jwks.json" })}.${claims}.${signature}`,
				`${part({ ...read(head), crit: ["x"], x: 1 })}.${claims}.${signature}`,
				`${head}.${part({})}.${signature}`,
				`${head}.${claims}.${signature}=`,
				`${head}.${claims}.${signature}==`,
				`${head}.${claims}.${signature}.`,
				`${head}.${claims}.`,
				`${head}.${claims}`,
				`.${claims}.${signature}`,
				`${token} ${token}`,
				`${token},${token}`,
			].map((value) => ({ line: `GET ${READ}`, headers: [`Authorization: Bearer ${value}`] }));
		},
		refused: {
			401: [
				"TOKEN_INVALID",
				"TOKEN_MALFORMED",
				"TOKEN_UNKNOWN",
				"AUTHORIZATION_UNREADABLE",
				"AUTHORIZATION_SCHEME",
			],
		},
	},
];
