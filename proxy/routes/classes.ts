/**
 * The class of every route of MLflow, by hand: the one place that says what a request does.
 * `roles.ts` says which role each class needs. HEAD follows GET, because MLflow runs the GET handler for it;
 * OPTIONS runs no handler and reads.
 *
 * Two decisions of ours: tags and aliases may be taken away by whoever may set them (`delete-label`), and
 * deleting a model version counts as hard although MLflow keeps a redacted row, because nothing restores it.
 */
import type { DoorErrorCode } from "../errors.ts";
import type { RouteClass } from "../roles.ts";

/** The routes of MLflow's REST API: each exists under `/api/2.0` and `/ajax-api/2.0`. */
export const TWINS = ["/api/2.0", "/ajax-api/2.0"] as const;

/** What comes after its twin; undefined: the rule has none. */
export const belowTwin = (rule: string): string | undefined => {
	const twin = TWINS.find((prefix) => rule.startsWith(`${prefix}/`));
	return twin && rule.slice(twin.length);
};

type Table = Readonly<Record<string, RouteClass>>;

/** By method and path below a twin. */
export const REST: Table = {
	"GET /mlflow/experiments/get": "read",
	"GET /mlflow/experiments/get-by-name": "read",
	"GET /mlflow/experiments/search": "read",
	"POST /mlflow/experiments/search": "read",
	"POST /mlflow/experiments/create": "write",
	"POST /mlflow/experiments/update": "write",
	"POST /mlflow/experiments/set-experiment-tag": "write",
	"POST /mlflow/experiments/delete": "delete-soft",
	"POST /mlflow/experiments/restore": "undelete",

	"GET /mlflow/runs/get": "read",
	"POST /mlflow/runs/search": "read",
	"GET /mlflow/artifacts/list": "read",
	"GET /mlflow/metrics/get-history": "read",
	"GET /mlflow/metrics/get-history-bulk-interval": "read",
	"POST /mlflow/runs/create": "write",
	"POST /mlflow/runs/update": "write",
	"POST /mlflow/runs/log-metric": "write",
	"POST /mlflow/runs/log-parameter": "write",
	"POST /mlflow/runs/log-batch": "write",
	"POST /mlflow/runs/log-model": "write",
	"POST /mlflow/runs/log-inputs": "write",
	"POST /mlflow/runs/set-tag": "write",
	"POST /mlflow/runs/delete-tag": "delete-label",
	"POST /mlflow/runs/delete": "delete-soft",
	"POST /mlflow/runs/restore": "undelete",

	// Registered without a handler: MLflow answers them with 404, `{request_id}` literally.
	"GET /mlflow/traces": "read",
	"GET /mlflow/traces/{request_id}/info": "read",
	"POST /mlflow/traces": "write",
	"PATCH /mlflow/traces/{request_id}": "write",
	"PATCH /mlflow/traces/{request_id}/tags": "write",
	"DELETE /mlflow/traces/{request_id}/tags": "delete-label",
	"POST /mlflow/traces/delete-traces": "delete-hard",

	"GET /mlflow/registered-models/get": "read",
	"GET /mlflow/registered-models/search": "read",
	"GET /mlflow/registered-models/get-latest-versions": "read",
	"POST /mlflow/registered-models/get-latest-versions": "read",
	"GET /mlflow/registered-models/alias": "read",
	"POST /mlflow/registered-models/create": "write",
	"POST /mlflow/registered-models/rename": "write",
	"PATCH /mlflow/registered-models/update": "write",
	"POST /mlflow/registered-models/set-tag": "write",
	"POST /mlflow/registered-models/alias": "write",
	"DELETE /mlflow/registered-models/delete-tag": "delete-label",
	"DELETE /mlflow/registered-models/alias": "delete-label",
	"DELETE /mlflow/registered-models/delete": "delete-hard",

	"GET /mlflow/model-versions/get": "read",
	"GET /mlflow/model-versions/search": "read",
	"GET /mlflow/model-versions/get-download-uri": "read",
	"POST /mlflow/model-versions/create": "write",
	"PATCH /mlflow/model-versions/update": "write",
	"POST /mlflow/model-versions/transition-stage": "write",
	"POST /mlflow/model-versions/set-tag": "write",
	"DELETE /mlflow/model-versions/delete-tag": "delete-label",
	"DELETE /mlflow/model-versions/delete": "delete-hard",

	"GET /mlflow-artifacts/artifacts": "read",
	"GET /mlflow-artifacts/artifacts/<path:artifact_path>": "read",
	"PUT /mlflow-artifacts/artifacts/<path:artifact_path>": "write",
	"DELETE /mlflow-artifacts/artifacts/<path:artifact_path>": "delete-hard",
	"POST /mlflow-artifacts/mpu/create/<path:artifact_path>": "write",
	"POST /mlflow-artifacts/mpu/complete/<path:artifact_path>": "write",
	"POST /mlflow-artifacts/mpu/abort/<path:artifact_path>": "write",
};

/** The other routes, by method and whole path. */
export const PLAIN: Table = {
	"GET /": "static",
	"GET /static-files/<path:path>": "static",
	"GET /health": "static",
	/** The same files as `/static-files`, which is what the pages use. */
	"GET /build/<path:filename>": "deny",
	"GET /version": "read",
	/** Every field of the schema reads; its one mutation echoes its argument. */
	"GET /graphql": "read",
	"POST /graphql": "read",
	"GET /get-artifact": "read",
	"GET /model-versions/get-artifact": "read",
	"GET /ajax-api/2.0/mlflow/metrics/get-history-bulk": "read",
	"POST /ajax-api/2.0/mlflow/experiments/search-datasets": "read",
	"POST /ajax-api/2.0/mlflow/runs/create-promptlab-run": "write",
	"POST /ajax-api/2.0/mlflow/upload-artifact": "write",
	/** Both make the server send a request to a path of the caller's choice. */
	"GET /ajax-api/2.0/mlflow/gateway-proxy": "admin",
	"POST /ajax-api/2.0/mlflow/gateway-proxy": "admin",
};

/** Looks a method of a rule up in the two tables. */
function find<T>(
	plain: Readonly<Record<string, T>>,
	rest: Readonly<Record<string, T>>,
	key: string,
	rule: string,
) {
	const whole = `${key} ${rule}`;
	if (Object.hasOwn(plain, whole)) return plain[whole];
	const below = belowTwin(rule);
	return below !== undefined && Object.hasOwn(rest, `${key} ${below}`) ? rest[`${key} ${below}`] : undefined;
}

/** The class of one method of one rule as MLflow writes it, `undefined` where nobody gave it one. */
export function classOf(method: string, rule: string): RouteClass | undefined {
	if (method !== "OPTIONS") return find(PLAIN, REST, method === "HEAD" ? "GET" : method, rule);
	const others = ["GET", "POST", "PUT", "PATCH", "DELETE"].map((verb) => find(PLAIN, REST, verb, rule));
	const given = others.filter((routeClass) => routeClass !== undefined);
	if (given.length === 0) return undefined;
	return given.every((routeClass) => routeClass === "deny") ? "deny" : "read";
}

type Answers = Readonly<Record<string, DoorErrorCode>>;

/** What is never forwarded. Mostly the door's artifacts answer these; this is for what they leave to MLflow. */
const PLAIN_ANSWERS: Answers = {
	"HEAD /get-artifact": "HEAD_DOWNLOAD",
	"HEAD /model-versions/get-artifact": "HEAD_DOWNLOAD",
};
const REST_ANSWERS: Answers = {
	"HEAD /mlflow-artifacts/artifacts/<path:artifact_path>": "HEAD_DOWNLOAD",
	"POST /mlflow-artifacts/mpu/create/<path:artifact_path>": "MULTIPART_UNSUPPORTED",
	"POST /mlflow-artifacts/mpu/complete/<path:artifact_path>": "MULTIPART_UNSUPPORTED",
	"POST /mlflow-artifacts/mpu/abort/<path:artifact_path>": "MULTIPART_UNSUPPORTED",
};

export const answerOf = (method: string, rule: string): DoorErrorCode | undefined =>
	find(PLAIN_ANSWERS, REST_ANSWERS, method, rule);
