/**
 * `/inference/*`: somebody else's server on our own origin. The door decides who may ask it, and nothing else
 * about it: what lies below the prefix is that server's own.
 */
import type { Tail, Target } from "../gate/target.ts";
import { NEEDED, type RouteClass } from "../roles.ts";
import type { Route } from "../routes/match.ts";

/** Without the slash at its end it is redirected to the one with it. */
export const BARE = "/inference";
export const PREFIX = `${BARE}/`;

export const INFERENCE_TAIL: Tail = { prefix: PREFIX, kind: "open" };

const CLASS: RouteClass = "inference";

const route = (rule: string, method: string): Route => ({
	method,
	rule,
	class: CLASS,
	needs: NEEDED[CLASS],
	answer: undefined,
	body: undefined,
	query: undefined,
});

/** Every method that the gate lets through. */
const METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"];
const BELOW = new Map(METHODS.map((method) => [method, route(`${PREFIX}<path:path>`, method)]));
const BARE_ROUTES = new Map(["GET", "HEAD"].map((method) => [method, route(BARE, method)]));

/** @param target as the gate let it through with `INFERENCE_TAIL` among its tails */
export function inferenceRoute(method: string, target: Pick<Target, "path" | "prefix">): Route | undefined {
	if (target.prefix === PREFIX) return BELOW.get(method);
	return target.path === BARE ? BARE_ROUTES.get(method) : undefined;
}

/** What the API is asked for: the canonical path and query without our prefix. */
export const pathAtApi = (forward: string): string => forward.slice(BARE.length);
