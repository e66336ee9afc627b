/**
 * The map of MLflow's routes, built once from what the pinned image serves, and the exact matcher on it.
 * What is not in the map does not exist; what has no class stays shut.
 */
import type { DoorErrorCode } from "../errors.ts";
import type { Tail, Target } from "../gate/target.ts";
import { NEEDED, type Role, type RouteClass } from "../roles.ts";
import { type BodyRule, bodyRuleOf } from "./bodies.ts";
import { answerOf, classOf } from "./classes.ts";
import generated from "./mlflow-2.13.0.json" with { type: "json" };
import { type QueryRule, queryRuleOf } from "./queries.ts";

export interface Route {
	method: string;
	/** As MLflow writes it: `/api/2.0/mlflow/runs/get`, `/static-files/<path:path>`. */
	rule: string;
	class: RouteClass;
	/** The lowest role that may use it; `undefined`: nobody. */
	needs: Role | undefined;
	/** The row of `errors.ts` that stands for asking MLflow: nobody else at the door could answer. */
	answer: DoorErrorCode | undefined;
	/** What the body may not say. */
	body: BodyRule | undefined;
	/** What the query may not say. */
	query: QueryRule | undefined;
}

/** A rule that ends in a path of the caller's: everything before it is the prefix. */
const TAIL_RULE = /^(\/(?:[^<>]+\/)?)<path:\w+>$/;

const FIXED = new Map<string, Map<string, Route>>();
const BELOW = new Map<string, Map<string, Route>>();

for (const { rule, methods } of generated.routes) {
	const prefix = TAIL_RULE.exec(rule)?.[1];
	const of = new Map<string, Route>();
	for (const method of methods) {
		const routeClass = classOf(method, rule) ?? "deny";
		of.set(method, {
			method,
			rule,
			class: routeClass,
			needs: NEEDED[routeClass],
			answer: answerOf(method, rule),
			body: bodyRuleOf(method, rule),
			query: queryRuleOf(method, rule),
		});
	}
	if (prefix === undefined) FIXED.set(rule, of);
	else BELOW.set(prefix, of);
}

/** Longest first, so that no prefix hides another. */
export const TAILS: readonly Tail[] = [...BELOW.keys()]
	.sort((a, b) => b.length - a.length)
	.map((prefix) => ({ prefix, kind: prefix.includes("/mlflow-artifacts/") ? "artifact" : "plain" }));

/** Every route of the map, for tests and tables. */
export const ROUTES: readonly Route[] = [...FIXED.values(), ...BELOW.values()].flatMap((of) => [
	...of.values(),
]);

/** @param target as the gate let it through with `TAILS` */
export function match(method: string, target: Pick<Target, "path" | "prefix">): Route | undefined {
	const of =
		target.prefix === undefined
			? FIXED.get(target.path)
			: target.path.length > target.prefix.length
				? BELOW.get(target.prefix)
				: undefined;
	return of?.get(method);
}
