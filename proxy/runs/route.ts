/** `/door/runs`: the one route of the door's own that is answered by asking MLflow. */
import type { Target } from "../gate/target.ts";
import { NEEDED, type RouteClass } from "../roles.ts";
import type { Route } from "../routes/match.ts";

const CLASS: RouteClass = "read";

/** A scope that does not list it has none of it, as with everything. */
export const RUNS_ROUTE: Route = {
	method: "GET",
	rule: "/door/runs",
	class: CLASS,
	needs: NEEDED[CLASS],
	answer: undefined,
	body: undefined,
	query: undefined,
};

/** @param target as the gate let it through */
export const runsRoute = (method: string, { path }: Pick<Target, "path">): Route | undefined =>
	method === RUNS_ROUTE.method && path === RUNS_ROUTE.rule ? RUNS_ROUTE : undefined;
