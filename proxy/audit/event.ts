/** What the audit trail tells of one act or refusal. Never a secret, a link's code or a request's body. */
import { randomUUID } from "node:crypto";
import type { Role } from "../roles.ts";

/** Small facts: ids, names, numbers. */
export type Detail = Record<string, string | number | boolean | null>;

export interface AuditEvent {
	/** Reads `<thing>.<verb>`; refusals end in `.refuse`. */
	act: string;
	/** A user's name; empty: nobody who could be told. */
	actor: string;
	role?: Role;
	/** Token, session or user id. */
	credential?: string;
	listener: string;
	/** Empty where there is none. */
	address: string;
	/** The route's class. */
	class?: string;
	/** The route as MLflow writes it, or the door's own path. */
	route?: string;
	target?: string | null;
	status?: number;
	/** A code of `errors.ts`. */
	reason?: string;
	detail?: Detail;
}

/** One row of the table: `count` equal events. Times are ISO 8601. */
export interface AuditRow extends AuditEvent {
	event: string;
	at: string;
	last_at: string | null;
	count: number;
}

export const isRefusal = ({ act }: Pick<AuditEvent, "act">): boolean => act.endsWith(".refuse");

/** Longer texts are cut. Characters. */
const LONGEST = 256;

/** Text that Postgres takes: no NUL, no half of a surrogate pair. */
const clean = (text: string): string => text.slice(0, LONGEST).replaceAll("\0", "").toWellFormed();

/** A copy with nothing in it that the database would refuse. */
export function cleanEvent(event: AuditEvent): AuditEvent {
	const cleaned = Object.entries(event).map(([key, value]) => [
		key,
		typeof value === "string" ? clean(value) : value,
	]);
	const detail = Object.entries(event.detail ?? {}).map(([key, value]) => [
		key,
		typeof value === "string" ? clean(value) : value,
	]);
	return { ...Object.fromEntries(cleaned), detail: Object.fromEntries(detail) } as AuditEvent;
}

export const rowOf = (event: AuditEvent, first: number, last: number, count: number): AuditRow => ({
	...event,
	event: randomUUID(),
	at: new Date(first).toISOString(),
	last_at: count > 1 ? new Date(last).toISOString() : null,
	count,
});
