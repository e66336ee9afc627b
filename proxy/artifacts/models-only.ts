/**
 * For tokens that are held to models (`scopes.ts`): which artifacts and runs are a model's. The routes are the ones
 * that stock clients load a model by, and most of them take any path of the store; so the path is looked at, too.
 */
import { refuse } from "../answer.ts";
import type { Allowed, Answerer } from "../answerer.ts";
import { TWINS } from "../routes/classes.ts";
import { Registered } from "./registered.ts";
import type { AskMlflow } from "./roots.ts";

/** Whether what a request asks for is a model's. */
type Asks = (registered: Registered, request: { path: string; query: URLSearchParams }) => Promise<boolean>;

/** A parameter that occurs once; what occurs twice is read differently by different programs. */
const single = (query: URLSearchParams, name: string): string | undefined => {
	const [value, ...more] = query.getAll(name);
	return more.length > 0 ? undefined : value;
};

const inRun: Asks = async (registered, { query }) => {
	const names = ["run_id", "run_uuid"].filter((name) => query.has(name));
	const run = names.length === 1 ? single(query, names[0] ?? "") : undefined;
	const path = query.has("path") ? single(query, "path") : "";
	return run !== undefined && path !== undefined && (await registered.hasInRun(run, path));
};

const REST: Readonly<Record<string, Asks>> = {
	"/mlflow/runs/get": async (registered, { query }) => {
		const run = query.has("run_uuid") ? undefined : single(query, "run_id");
		return run !== undefined && (await registered.hasRun(run));
	},
	"/mlflow/artifacts/list": inRun,
	"/mlflow-artifacts/artifacts": async (registered, { query }) => {
		const path = single(query, "path");
		return path !== undefined && (await registered.hasPath(path));
	},
	"/mlflow-artifacts/artifacts/<path:artifact_path>": (registered, { path }) => registered.hasPath(path),
};

/** By whole rule; all of them are GETs. */
const ASKS: ReadonlyMap<string, Asks> = new Map([
	["/get-artifact", inRun],
	...Object.entries(REST).flatMap(([rule, asks]) =>
		TWINS.map((twin): [string, Asks] => [`${twin}${rule}`, asks]),
	),
]);

/** @param bucket of our store */
export function modelsOnly(mlflow: AskMlflow, bucket: string): Answerer {
	const registered = new Registered(mlflow, bucket);

	async function judge(asks: Asks, allowed: Allowed): Promise<boolean> {
		const { req, res, target } = allowed;
		const path = target.path.slice(target.prefix?.length ?? 0);
		const code = await asks(registered, { path, query: new URLSearchParams(target.query) }).then(
			(isModels) => (isModels ? undefined : ("SCOPE_MODELS" as const)),
			(error: Error) => {
				allowed.failed(error);
				return "UPSTREAM_UNAVAILABLE" as const;
			},
		);
		if (code === undefined) return false;
		if (!res.headersSent) allowed.refused(code);
		refuse(req, res, code);
		return true;
	}

	return (allowed) => {
		if (allowed.identity.scope !== "models") return false;
		const asks = ASKS.get(allowed.route.rule);
		return asks !== undefined && judge(asks, allowed);
	};
}
