/**
 * What a token is held to besides its role: a table of routes for each scope, and everything else is refused.
 * The pipeline asks it once for every request; a scope is a property of the token's row, never of the request.
 */
import type { DoorErrorCode } from "./errors.ts";
import { TWINS } from "./routes/classes.ts";

/** `all`: whatever the role may. `models`: registered models and their artifacts, to load and serve them. */
export const SCOPES = ["all", "models"] as const;
export type Scope = (typeof SCOPES)[number];

export const isScope = (value: unknown): value is Scope => (SCOPES as readonly unknown[]).includes(value);

interface Bounds {
	/** By method and path below a twin. */
	rest: readonly string[];
	/** By method and whole rule. */
	plain: readonly string[];
	refusal: DoorErrorCode;
}

const BOUNDS: Readonly<Record<Exclude<Scope, "all">, Bounds>> = {
	models: {
		rest: [
			"GET /mlflow/registered-models/get",
			"GET /mlflow/registered-models/search",
			"GET /mlflow/registered-models/get-latest-versions",
			"POST /mlflow/registered-models/get-latest-versions",
			"GET /mlflow/registered-models/alias",
			"GET /mlflow/model-versions/get",
			"GET /mlflow/model-versions/search",
			"GET /mlflow/model-versions/get-download-uri",
			// A version whose source is `runs:/<id>/<path>`: stock clients ask the run where its artifacts lie.
			"GET /mlflow/runs/get",
			"GET /mlflow/artifacts/list",
			"GET /mlflow-artifacts/artifacts",
			"GET /mlflow-artifacts/artifacts/<path:artifact_path>",
		],
		plain: ["GET /get-artifact", "GET /model-versions/get-artifact"],
		refusal: "SCOPE_MODELS",
	},
};

const RULES = new Map(
	Object.entries(BOUNDS).map(([scope, { rest, plain }]) => [
		scope,
		new Set([
			...plain,
			...rest.flatMap((key) => {
				const [method, path] = key.split(" ");
				return TWINS.map((twin) => `${method} ${twin}${path}`);
			}),
		]),
	]),
);

/**
 * @param rule the route as MLflow writes it, or the path of a route of the door's own; undefined: no such route
 * @returns the row of the table of errors that refuses it; undefined: within the scope
 */
export function outOfScope(
	scope: Scope,
	method: string,
	rule: string | undefined,
): DoorErrorCode | undefined {
	if (scope === "all") return undefined;
	return rule !== undefined && RULES.get(scope)?.has(`${method} ${rule}`) ? undefined : BOUNDS[scope].refusal;
}
