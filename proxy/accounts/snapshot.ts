/**
 * Everything that decides a request, in memory: users, tokens, sessions and one-time links. It is read from
 * the database at start and changed only after the database has committed the same change (store.ts), so a
 * request never waits for Postgres and never sees a change that could still be lost. Times are milliseconds
 * since 1970 by the door's clock.
 */
import { isRole, type Role } from "../roles.ts";
import { isScope, type Scope } from "../scopes.ts";
import type { Row, Sql } from "./database.ts";
import { userName } from "./names.ts";

export interface User {
	readonly id: string;
	readonly name: string;
	role: Role;
	/** argon2id in PHC form; null: invited, cannot sign in yet. */
	password: string | null;
	/** Built in: owns tokens, cannot sign in. */
	readonly system: boolean;
	readonly created: number;
	disabled: number | null;
	lastSeen: number | null;
	/** Moves on with every change of the user; a password verdict kept from before it is worth nothing. */
	generation: number;
}

export interface Token {
	readonly id: string;
	readonly user: User;
	readonly name: string;
	readonly role: Role;
	readonly scope: Scope;
	/** Which key signed its text. */
	readonly kid: string;
	readonly created: number;
	readonly createdBy: string;
	/** null: never. */
	readonly expires: number | null;
	revoked: number | null;
	lastUsed: number | null;
	lastAddress: string | null;
}

export interface Session {
	readonly id: string;
	readonly user: User;
	/** Which key signed its cookie. */
	readonly kid: string;
	readonly created: number;
	/** The absolute limit. */
	readonly expires: number;
	lastUsed: number;
	lastAddress: string;
	readonly listener: string;
	readonly userAgent: string;
	/** When the person behind it last typed the password; a restart of the door forgets all but the sign-in. */
	proved: number;
}

export type LinkKind = "first-admin" | "invite" | "reset";

export interface Link {
	/** Hexadecimal sha256 of the code. */
	readonly hash: string;
	readonly kind: LinkKind;
	/** null: the link makes the user. */
	readonly user: User | null;
	readonly created: number;
	readonly expires: number;
	spent: number | null;
}

/** How long things that no longer work are still told apart from things that never were. */
export const REMEMBER = {
	tokens: 90 * 86_400_000,
	sessions: 30 * 86_400_000,
	links: 7 * 86_400_000,
} as const;

/** A row that cannot be made sense of. */
export interface BrokenRow {
	table: string;
	key: string;
	why: string;
}

const LINK_KINDS: ReadonlySet<unknown> = new Set<LinkKind>(["first-admin", "invite", "reset"]);

/** Milliseconds; `infinity` and the like are no times that anything could end at. */
function time(value: unknown): number {
	if (value instanceof Date && !Number.isNaN(value.getTime())) return value.getTime();
	throw new Error(`it has a time that is none: ${String(value)}`);
}

const ms = (value: unknown): number | null => (value === null ? null : time(value));

function role(value: unknown): Role {
	if (isRole(value)) return value;
	throw new Error(`its role is ${JSON.stringify(value)}`);
}

function scope(value: unknown): Scope {
	if (isScope(value)) return value;
	throw new Error(`its scope is ${JSON.stringify(value)}`);
}

export class Snapshot {
	readonly users = new Map<string, User>();
	readonly tokens = new Map<string, Token>();
	/** Live ones alone: a session that ended is not here. */
	readonly sessions = new Map<string, Session>();
	readonly links = new Map<string, Link>();

	userNamed(name: string): User | undefined {
		for (const user of this.users.values()) if (user.name === name) return user;
		return undefined;
	}

	sessionsOf(user: User): Session[] {
		return [...this.sessions.values()].filter((session) => session.user === user);
	}

	/** Admins who can sign in now. */
	admins(): User[] {
		return [...this.users.values()].filter(
			(user) => user.role === "admin" && !user.system && user.disabled === null && user.password !== null,
		);
	}

	/** Drops what is too old to tell anybody anything. */
	tidy(now: number): void {
		drop(this.tokens, (token) => (token.revoked ?? token.expires ?? now) < now - REMEMBER.tokens);
		drop(this.sessions, (session) => session.expires < now);
		drop(this.links, (link) => link.expires < now - REMEMBER.links);
	}

	/**
	 * Reads everything anew. Uses that are newer in memory than in the database stay, and every user counts
	 * as changed. A row that cannot be made sense of is as if it were not there: what it stood for is refused.
	 * @returns such rows, by table and key
	 */
	async load(sql: Sql, now: number): Promise<BrokenRow[]> {
		const users = await sql("select * from users");
		const tokens = await sql(
			"select * from tokens where coalesce(revoked_at, expires_at, 'infinity') > $1 order by created_at, id",
			[new Date(now - REMEMBER.tokens)],
		);
		const sessions = await sql("select * from sessions where ended_at is null and expires_at > $1", [
			new Date(now),
		]);
		const links = await sql("select * from links where expires_at > $1", [new Date(now - REMEMBER.links)]);

		// No await below: nobody may see a half-filled snapshot.
		const before = {
			users: new Map(this.users),
			tokens: new Map(this.tokens),
			sessions: new Map(this.sessions),
		};
		for (const map of [this.users, this.tokens, this.sessions, this.links]) map.clear();
		const broken: BrokenRow[] = [];
		const addAll = (table: string, rows: Row[], add: (row: Row) => void) => {
			for (const row of rows) {
				try {
					add(row);
				} catch (error) {
					const key = table === "links" ? "(a link)" : String(row.id);
					broken.push({ table, key, why: (error as Error).message });
				}
			}
		};
		addAll("users", users, (row) => this.#addUser(row, before.users.get(row.id)));
		addAll("tokens", tokens, (row) => this.#addToken(row, before.tokens.get(row.id)));
		addAll("sessions", sessions, (row) => this.#addSession(row, before.sessions.get(row.id)));
		addAll("links", links, (row) => this.#addLink(row));
		return broken;
	}

	#owner(row: Row): User {
		const user = this.users.get(row.user_id);
		if (!user) throw new Error(`its user ${row.user_id} is not there`);
		return user;
	}

	#addLink(row: Row): void {
		const hash = row.hash.toString("hex");
		if (!LINK_KINDS.has(row.kind)) throw new Error(`its kind is ${JSON.stringify(row.kind)}`);
		this.links.set(hash, {
			hash,
			kind: row.kind,
			user: row.user_id === null ? null : this.#owner(row),
			created: time(row.created_at),
			expires: time(row.expires_at),
			spent: ms(row.spent_at),
		});
	}

	#addUser(row: Row, known: User | undefined): void {
		if (userName(row.name) !== row.name) throw new Error(`its name is ${JSON.stringify(row.name)}`);
		this.users.set(row.id, {
			id: row.id,
			name: row.name,
			role: role(row.role),
			password: row.password,
			system: row.system,
			created: time(row.created_at),
			disabled: ms(row.disabled_at),
			lastSeen: later(ms(row.last_seen_at), known?.lastSeen),
			generation: (known?.generation ?? 0) + 1,
		});
	}

	#addToken(row: Row, known: Token | undefined): void {
		const lastUsed = ms(row.last_used_at);
		const newer = known?.lastUsed != null && known.lastUsed > (lastUsed ?? 0);
		this.tokens.set(row.id, {
			id: row.id,
			user: this.#owner(row),
			name: row.name,
			role: role(row.role),
			scope: scope(row.scope),
			kid: row.kid,
			created: time(row.created_at),
			createdBy: row.created_by,
			expires: ms(row.expires_at),
			revoked: ms(row.revoked_at),
			lastUsed: newer ? known.lastUsed : lastUsed,
			lastAddress: newer ? known.lastAddress : row.last_used_address,
		});
	}

	#addSession(row: Row, known: Session | undefined): void {
		const lastUsed = time(row.last_used_at);
		const newer = known !== undefined && known.lastUsed > lastUsed;
		this.sessions.set(row.id, {
			id: row.id,
			user: this.#owner(row),
			kid: row.kid,
			created: time(row.created_at),
			expires: time(row.expires_at),
			lastUsed: newer ? known.lastUsed : lastUsed,
			lastAddress: newer ? known.lastAddress : row.last_used_address,
			listener: row.listener,
			userAgent: row.user_agent,
			proved: known?.proved ?? time(row.created_at),
		});
	}
}

function later(one: number | null, other: number | null | undefined): number | null {
	return other == null ? one : Math.max(one ?? 0, other);
}

function drop<T>(map: Map<string, T>, useless: (value: T) => boolean): void {
	for (const [key, value] of map) if (useless(value)) map.delete(key);
}
