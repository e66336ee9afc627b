/**
 * Answers of the door that keep MLflow's own from breaking its client or its pages. Each is a row of
 * `deviations.md`, and says nothing that a viewer may not know.
 */
import type { Role } from "../roles.ts";
import type { Route } from "./match.ts";
import { perRoute } from "./per-route.ts";

interface Quirk {
	/** With the end of MLflow's rule. */
	method: string;
	ruleEnd: string;
	when(query: URLSearchParams, role: Role): boolean;
	answer: object;
}

const QUIRKS: readonly Quirk[] = [
	{
		// Every experiment page asks for the endpoints of an AI gateway. The route is an admin's, because it sends
		// requests to paths of the caller's choice; this stack has no gateway, and MLflow says then what we say.
		method: "GET",
		ruleEnd: "/mlflow/gateway-proxy",
		when: (query, role) =>
			role !== "admin" && query.size === 1 && query.get("gateway_path") === "api/2.0/endpoints/",
		answer: { endpoints: [] },
	},
];

const quirkOf = perRoute((route: Route) =>
	QUIRKS.find(({ method, ruleEnd }) => route.method === method && route.rule.endsWith(ruleEnd)),
);

/**
 * @param query the canonical query
 * @returns the JSON to answer with, if the door is to answer
 */
export function quirk(route: Route, query: string, role: Role): object | undefined {
	const found = quirkOf(route);
	return found?.when(new URLSearchParams(query), role) ? found.answer : undefined;
}
