/** The door's own routes, JSON all of them. They need a viewer; `HEALTH_PATH` alone is public. */
import type { Authority, Check, Identity } from "../authority.ts";
import { DOOR_ERRORS } from "../errors.ts";
import { canonicalTarget } from "../gate/target.ts";
import { atLeast, type Role, type RouteClass } from "../roles.ts";
import { EVERY_TAIL, routeOf } from "../routes/every.ts";

export interface DoorRoutesOptions {
	authority: Pick<Authority, "jwks" | "checks">;
	/** Round trips through what lies behind the door. */
	probe(): Promise<Check[]>;
	/** False once the door is stopping. */
	accepting(): boolean;
}

export interface Said {
	status: number;
	value: unknown;
}

export type DoorRoute = (identity: Identity, query: URLSearchParams) => Promise<Said> | Said;

/** What `/door/why` says of a request that nobody has made yet. */
export interface Why {
	method: string;
	/** As it was asked about. */
	path: string;
	/** As it would be sent on; null if it would be refused whoever asks. */
	canonical: string | null;
	/** The code of the refusal that everybody gets, from the table of errors. */
	refused: string | null;
	/** The rule that it would match, MLflow's or `/inference/<path:path>`. */
	route: string | null;
	class: RouteClass | null;
	/** The lowest role that may. */
	needs: Role | null;
	/** The role of who asks, and whether it would do. */
	role: Role;
	allowed: boolean;
	message: string;
}

function why(identity: Identity, method: string, path: string): Why {
	const told = { method, path, canonical: null, refused: null, route: null, class: null, needs: null };
	const { role } = identity;
	const target = canonicalTarget(method, path, EVERY_TAIL);
	if ("refused" in target) {
		const { message } = DOOR_ERRORS[target.refused];
		return { ...told, role, refused: target.refused, allowed: false, message };
	}
	const canonical = target.forward;
	const route = routeOf(method, target);
	if (route?.needs === undefined) {
		const { message } = DOOR_ERRORS.ROUTE_UNKNOWN;
		return { ...told, role, canonical, refused: "ROUTE_UNKNOWN", allowed: false, message };
	}
	const known = { ...told, role, canonical, route: route.rule, class: route.class, needs: route.needs };
	if (!atLeast(role, route.needs)) {
		return { ...known, allowed: false, message: `This needs the role ${route.needs}; you are ${role}.` };
	}
	return { ...known, allowed: true, message: `Your role ${role} will do.` };
}

/** By path; GET and HEAD alone. */
export function doorRoutes({
	authority,
	probe,
	accepting,
}: DoorRoutesOptions): ReadonlyMap<string, DoorRoute> {
	return new Map<string, DoorRoute>([
		[
			"/door/ready",
			async () => {
				const checks = (await Promise.all([authority.checks(), probe()])).flat();
				const ok = accepting() && checks.every((check) => check.ok);
				return { status: ok ? 200 : 503, value: { ok, checks } };
			},
		],
		[
			"/door/whoami",
			({ user, role, kind, credential, granted, name }) => ({
				status: 200,
				value: {
					...{ user, role, kind, credential },
					...(granted && { granted }),
					...(name === undefined ? {} : { name }),
				},
			}),
		],
		[
			"/door/why",
			(identity, query) => ({
				status: 200,
				value: why(identity, (query.get("method") ?? "GET").toUpperCase(), query.get("path") ?? "/"),
			}),
		],
		["/door/jwks.json", () => ({ status: 200, value: authority.jwks() })],
	]);
}
