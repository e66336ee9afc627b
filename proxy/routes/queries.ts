/**
 * Where the query decides. MLflow bounds what it reads by names that protobuf's JSON spells in two ways, and
 * looks at one: `run_ids=a&runIds=b&runIds=c...` has no bound. Nobody's client writes the other spelling.
 */
import type { DoorErrorCode } from "../errors.ts";
import { ROWS } from "./bodies.ts";
import { belowTwin } from "./classes.ts";
import { isWithin } from "./json.ts";

/** @returns why somebody who is no admin may not ask this */
export type QueryRule = (query: URLSearchParams) => DoorErrorCode | undefined;

/** Every parameter in MLflow's own spelling. */
const plainNames = (query: URLSearchParams): boolean =>
	[...query.keys()].every((name) => /^[a-z_]+(?:\[\d{0,3}\])?$/.test(name));

const RULES: Readonly<Record<string, QueryRule>> = {
	"GET /mlflow/metrics/get-history-bulk-interval": (query) =>
		plainNames(query) ? undefined : "QUERY_AMBIGUOUS",
	"GET /mlflow/model-versions/search": (query) => {
		const rows = query.getAll("max_results");
		const listed = [...query.keys()].some((name) => name.startsWith("max_results["));
		if (!plainNames(query) || listed || rows.length > 1) return "QUERY_AMBIGUOUS";
		return rows.every((value) => isWithin(value, ROWS)) ? undefined : "TOO_MANY_ROWS";
	},
};

/** The rule for one method of one of MLflow's rules. */
export const queryRuleOf = (method: string, rule: string): QueryRule | undefined => {
	const below = belowTwin(rule);
	const like = method === "HEAD" ? "GET" : method;
	return below === undefined ? undefined : RULES[`${like} ${below}`];
};
