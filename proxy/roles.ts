/**
 * What a credential may do. Each role may do everything that the ones before it may.
 * The classes come from `routes/classes.ts`, which gives one to every route of MLflow.
 */

export const ROLES = ["viewer", "editor", "admin"] as const;
export type Role = (typeof ROLES)[number];

export type RouteClass =
	/** Changes nothing, whatever the method: MLflow reads by POST too. */
	| "read"
	/** The files of MLflow's pages. */
	| "static"
	| "write"
	/** A tag or an alias goes. Whoever may set one may overwrite it, so taking it away destroys no more. */
	| "delete-label"
	/** MLflow can restore it. */
	| "delete-soft"
	| "undelete"
	/** Gone for good. */
	| "delete-hard"
	/** Spends the server's own rights on behalf of the caller. */
	| "admin"
	/** Asks the inference API, whatever the method. */
	| "inference"
	/** Nobody gets through. */
	| "deny";

/** The lowest role that may use a class; `undefined`: nobody. */
export const NEEDED: Readonly<Record<RouteClass, Role | undefined>> = {
	read: "viewer",
	static: "viewer",
	write: "editor",
	"delete-label": "editor",
	"delete-soft": "editor",
	undelete: "editor",
	"delete-hard": "admin",
	admin: "admin",
	inference: "viewer",
	deny: undefined,
};

const RANK: Readonly<Record<Role, number>> = { viewer: 0, editor: 1, admin: 2 };

/** Whether `role` may do what needs `needed`. */
export const atLeast = (role: Role, needed: Role): boolean => RANK[role] >= RANK[needed];

export const lower = (a: Role, b: Role): Role => (RANK[a] <= RANK[b] ? a : b);

export const isRole = (value: unknown): value is Role => (ROLES as readonly unknown[]).includes(value);
