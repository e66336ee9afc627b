/**
 * Whether a request whose answer was lost may be sent again. MLflow may have done what it said, or not; nobody knows.
 * (`reference`: MLflow 2.13.0, `store/tracking/sqlalchemy_store.py` and `store/model_registry/sqlalchemy_store.py`.)
 */
import { belowTwin } from "../routes/classes.ts";
import type { Route } from "../routes/match.ts";
import { perRoute } from "../routes/per-route.ts";

/**
 * `safe`: twice is once.
 * `gone`: twice is once, but of the second MLflow says 404; that it is not there is then what was asked for.
 * `create`: twice makes two, or is refused the second time; `proxy/creates` sees to it.
 * `never`: twice is not once, and nobody can tell afterwards; the client is told and decides.
 */
export type Repeat = "safe" | "gone" | "create" | "never";

/** By method and whole rule. */
const PLAIN: Readonly<Record<string, Repeat>> = {
	"POST /ajax-api/2.0/mlflow/runs/create-promptlab-run": "never",
	"POST /ajax-api/2.0/mlflow/upload-artifact": "safe",
	"GET /ajax-api/2.0/mlflow/gateway-proxy": "safe",
	"POST /ajax-api/2.0/mlflow/gateway-proxy": "never",
};

/** By method and rule below a twin: everything that changes something. */
const REST: Readonly<Record<string, Repeat>> = {
	"POST /mlflow/experiments/create": "create",
	"POST /mlflow/experiments/update": "safe",
	"POST /mlflow/experiments/set-experiment-tag": "safe",
	"POST /mlflow/experiments/delete": "gone",
	"POST /mlflow/experiments/restore": "gone",

	"POST /mlflow/runs/create": "create",
	"POST /mlflow/runs/update": "safe",
	/** The same point is found by its key and not written again. */
	"POST /mlflow/runs/log-metric": "safe",
	"POST /mlflow/runs/log-parameter": "safe",
	"POST /mlflow/runs/log-batch": "safe",
	/** Appends to a list in a tag. */
	"POST /mlflow/runs/log-model": "create",
	/** Looks for the same datasets and inputs before it adds any. */
	"POST /mlflow/runs/log-inputs": "safe",
	"POST /mlflow/runs/set-tag": "safe",
	/** As `gone`; and training jobs send it, so `proxy/creates` knows what became of it after the door's own death, too. */
	"POST /mlflow/runs/delete-tag": "create",
	"POST /mlflow/runs/delete": "safe",
	"POST /mlflow/runs/restore": "safe",

	// MLflow has no handlers for these.
	"POST /mlflow/traces": "safe",
	"PATCH /mlflow/traces/{request_id}": "safe",
	"PATCH /mlflow/traces/{request_id}/tags": "safe",
	"DELETE /mlflow/traces/{request_id}/tags": "safe",
	"POST /mlflow/traces/delete-traces": "safe",

	"POST /mlflow/registered-models/create": "create",
	"POST /mlflow/registered-models/rename": "never",
	"PATCH /mlflow/registered-models/update": "safe",
	"POST /mlflow/registered-models/set-tag": "safe",
	"POST /mlflow/registered-models/alias": "safe",
	"DELETE /mlflow/registered-models/delete-tag": "safe",
	"DELETE /mlflow/registered-models/alias": "safe",
	"DELETE /mlflow/registered-models/delete": "gone",

	"POST /mlflow/model-versions/create": "create",
	"PATCH /mlflow/model-versions/update": "safe",
	"POST /mlflow/model-versions/transition-stage": "safe",
	"POST /mlflow/model-versions/set-tag": "safe",
	"DELETE /mlflow/model-versions/delete-tag": "safe",
	"DELETE /mlflow/model-versions/delete": "gone",

	"PUT /mlflow-artifacts/artifacts/<path:artifact_path>": "safe",
	"DELETE /mlflow-artifacts/artifacts/<path:artifact_path>": "safe",
	"POST /mlflow-artifacts/mpu/create/<path:artifact_path>": "never",
	"POST /mlflow-artifacts/mpu/complete/<path:artifact_path>": "never",
	"POST /mlflow-artifacts/mpu/abort/<path:artifact_path>": "safe",
};

/** Reads may be repeated; of what changes something, what no table names may not. */
export const repeatOf = perRoute(
	({ method, rule, class: routeClass }: Pick<Route, "method" | "rule" | "class">): Repeat => {
		if (routeClass === "read" || routeClass === "static") return "safe";
		return PLAIN[`${method} ${rule}`] ?? REST[`${method} ${belowTwin(rule) ?? rule}`] ?? "never";
	},
);
