/** Which requests the audit trail tells of: what changes something, and what was refused. Reads cost nothing. */
import type { Identity } from "../authority.ts";
import { DOOR_ERRORS, type DoorErrorCode } from "../errors.ts";
import type { Kind } from "../metrics.ts";
import type { RouteClass } from "../roles.ts";
import { subjectOf, targetOf } from "./subjects.ts";
import type { AuditTrail } from "./trail.ts";

/** Told whether they were let through or not. */
const ACTS: ReadonlySet<Kind> = new Set<RouteClass>([
	"write",
	"delete-label",
	"delete-soft",
	"undelete",
	"delete-hard",
	"admin",
]);

export const isAct = (kind: Kind): boolean => ACTS.has(kind);

/** Answers that mean "you may not" or "not like this"; others mean "it did not work". */
const REFUSING: ReadonlySet<number> = new Set([400, 401, 403, 405, 413, 417, 429, 431]);

/** Told by whoever looked at the password, who knows whose it was to be. */
const TOLD_ELSEWHERE: ReadonlySet<DoorErrorCode> = new Set(["PASSWORD_WRONG", "SIGN_IN_LIMITED"]);

/** Every experiment page of an admin asks a gateway that this stack has not for its endpoints: a read in all but class. */
const isPagesOwn = ({ rule, query, code }: Answered): boolean =>
	rule?.endsWith("/mlflow/gateway-proxy") === true &&
	code === undefined &&
	new URLSearchParams(query).get("gateway_path") === "api/2.0/endpoints/";

/** One request that has been answered. */
export interface Answered {
	identity: Identity | undefined;
	listener: string;
	address: string;
	kind: Kind;
	/** The route as MLflow writes it. */
	rule: string | undefined;
	/** Canonical. */
	path: string;
	query: string;
	/** Its JSON body, where it was small enough to be held. */
	body: Buffer | undefined;
	status: number;
	code: DoorErrorCode | undefined;
}

export interface RequestAudit {
	/** True while nothing more can be put down: nobody may act then. */
	readonly full: boolean;
	/** Never throws, never waits. */
	answered(request: Answered): void;
}

export function auditRequests(trail: AuditTrail): RequestAudit {
	return {
		get full() {
			return trail.full;
		},
		answered(request) {
			const { identity, listener, address, kind, rule, path, query, body, status, code } = request;
			const refused =
				code !== undefined &&
				REFUSING.has(status) &&
				REFUSING.has(DOOR_ERRORS[code].status) &&
				!TOLD_ELSEWHERE.has(code);
			if (!refused && (!ACTS.has(kind) || isPagesOwn(request))) return;
			const detail = rule === undefined ? {} : subjectOf(rule, path, query, body);
			trail.note({
				act: refused ? "request.refuse" : `mlflow.${kind}`,
				actor: identity?.user ?? "",
				role: identity?.role,
				credential: identity?.credential,
				listener,
				address,
				class: kind === "unknown" ? undefined : kind,
				route: rule,
				target: targetOf(detail),
				status,
				reason: code,
				detail,
			});
		},
	};
}
