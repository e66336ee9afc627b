/** Users: who they are, what they may do, and that one admin who can sign in is always left. */
import { randomUUID } from "node:crypto";
import type { RequestFacts } from "../authority.ts";
import type { Role } from "../roles.ts";
import { AccountsError } from "./errors.ts";
import { userName } from "./names.ts";
import { hashPassword } from "./passwords.ts";
import type { Sessions, SignedIn } from "./sessions.ts";
import type { User } from "./snapshot.ts";
import type { Actor, Change, Store } from "./store.ts";

/** The built-in owner of tokens made from the shell; the first migration adds it. */
export const OPERATOR = "operator";

/** What may be told about a user. Times are ISO 8601. */
export interface UserView {
	id: string;
	name: string;
	role: Role;
	/** `invited`: has not chosen a password yet. `system`: built in, cannot sign in. */
	state: "active" | "invited" | "disabled" | "system";
	created: string;
	lastSeen: string | null;
}

export class Users {
	readonly #store: Store;
	readonly #sessions: Sessions;

	constructor(store: Store, sessions: Sessions) {
		this.#store = store;
		this.#sessions = sessions;
	}

	/** @throws AccountsError USER_UNKNOWN */
	named(text: string): User {
		const name = userName(text);
		const user = name === undefined ? undefined : this.#store.snapshot.userNamed(name);
		if (!user) throw new AccountsError("USER_UNKNOWN", JSON.stringify(text));
		return user;
	}

	/** A user that people may change. @throws AccountsError USER_UNKNOWN, USER_SYSTEM */
	person(text: string): User {
		const user = this.named(text);
		if (user.system) throw new AccountsError("USER_SYSTEM", user.name);
		return user;
	}

	/** By name, the built-in one last. */
	list(): UserView[] {
		return [...this.#store.snapshot.users.values()]
			.sort((one, other) => Number(one.system) - Number(other.system) || (one.name < other.name ? -1 : 1))
			.map(view);
	}

	/**
	 * Adds a user with a password.
	 * @throws AccountsError USER_NAME, USER_EXISTS, PASSWORD_POLICY, DATABASE_AWAY, BUSY
	 */
	async add(actor: Actor, wish: { name: string; role: Role; password: string }): Promise<UserView> {
		const password = await hashPassword(wish.password, this.freeName(wish.name));
		return await this.#store.change(actor, async (change) =>
			view(await this.insert(change, { ...wish, password })),
		);
	}

	/** The name as it is stored. @throws AccountsError USER_NAME, USER_EXISTS */
	freeName(text: string): string {
		const name = userName(text);
		if (name === undefined) throw new AccountsError("USER_NAME");
		if (this.#store.snapshot.userNamed(name)) throw new AccountsError("USER_EXISTS", name);
		return name;
	}

	/** Adds a user as part of a larger change. @param wish.password a hash, or null for one who is invited. */
	async insert(change: Change, wish: { name: string; role: Role; password: string | null }): Promise<User> {
		const user: User = {
			id: randomUUID(),
			name: this.freeName(wish.name),
			role: wish.role,
			password: wish.password,
			system: false,
			created: change.now,
			disabled: null,
			lastSeen: null,
			generation: 1,
		};
		await change.sql("insert into users (id, name, role, password, created_at) values ($1, $2, $3, $4, $5)", [
			user.id,
			user.name,
			user.role,
			user.password,
			new Date(change.now),
		]);
		await change.audit("user.add", user.name, { role: user.role });
		change.onCommit(() => this.#store.snapshot.users.set(user.id, user));
		return user;
	}

	/** @throws AccountsError USER_UNKNOWN, USER_SYSTEM, LAST_ADMIN, DATABASE_AWAY, BUSY */
	async setRole(actor: Actor, name: string, role: Role): Promise<UserView> {
		return await this.#store.change(actor, async (change) => {
			const user = this.person(name);
			if (user.role === role) return view(user);
			if (role !== "admin") this.#keepAnAdmin(user);
			await change.sql("update users set role = $2 where id = $1", [user.id, role]);
			await change.audit("user.role", user.name, { from: user.role, to: role });
			return this.#apply(change, user, { role });
		});
	}

	/**
	 * From then on no credential of the user works; sessions and open links are over for good.
	 * @throws AccountsError USER_UNKNOWN, USER_SYSTEM, LAST_ADMIN, DATABASE_AWAY, BUSY
	 */
	async disable(actor: Actor, name: string): Promise<UserView> {
		return await this.#store.change(actor, async (change) => {
			const user = this.person(name);
			if (user.disabled !== null) return view(user);
			this.#keepAnAdmin(user);
			await change.sql("update users set disabled_at = $2 where id = $1", [user.id, new Date(change.now)]);
			await this.voidLinks(change, user);
			await this.#sessions.endAll(change, user, "user disabled");
			await change.audit("user.disable", user.name);
			return this.#apply(change, user, { disabled: change.now });
		});
	}

	/** Password and tokens work again. @throws AccountsError USER_UNKNOWN, USER_SYSTEM, DATABASE_AWAY, BUSY */
	async enable(actor: Actor, name: string): Promise<UserView> {
		return await this.#store.change(actor, async (change) => {
			const user = this.person(name);
			if (user.disabled === null) return view(user);
			await change.sql("update users set disabled_at = null where id = $1", [user.id]);
			await change.audit("user.enable", user.name);
			return this.#apply(change, user, { disabled: null });
		});
	}

	/**
	 * A new password for somebody who has just typed the old one. All sessions end but the new one, and links
	 * for yet another password are void.
	 * @param generation the user's, when the old password was looked at
	 * @throws AccountsError PASSWORD_POLICY, USER_CHANGED, DATABASE_AWAY, BUSY
	 */
	async changePassword(
		actor: Actor,
		user: User,
		generation: number,
		password: string,
		facts: RequestFacts,
	): Promise<SignedIn> {
		const hash = await hashPassword(password, user.name);
		const session = await this.#store.change(actor, async (change) => {
			const current = this.#store.snapshot.users.get(user.id);
			if (current?.generation !== generation) throw new AccountsError("USER_CHANGED");
			await this.voidLinks(change, current);
			await this.setPassword(change, current, hash);
			return await this.#sessions.add(change, current, facts, undefined);
		});
		return await this.#sessions.signedIn(session, facts);
	}

	/** Gives the user a new password (a hash) as part of a larger change; all sessions end. */
	async setPassword(change: Change, user: User, password: string): Promise<void> {
		await change.sql("update users set password = $2 where id = $1", [user.id, password]);
		await this.#sessions.endAll(change, user, "new password");
		await change.audit("user.password", user.name);
		this.#apply(change, user, { password });
	}

	/** Ends the user's unspent links as part of a larger change. */
	async voidLinks(change: Change, user: User): Promise<void> {
		await change.sql("delete from links where user_id = $1 and spent_at is null", [user.id]);
		change.onCommit(() => {
			const { links } = this.#store.snapshot;
			for (const link of links.values())
				if (link.user === user && link.spent === null) links.delete(link.hash);
		});
	}

	#keepAnAdmin(user: User): void {
		const admins = this.#store.snapshot.admins();
		if (admins.length === 1 && admins[0] === user) throw new AccountsError("LAST_ADMIN", user.name);
	}

	#apply(change: Change, user: User, news: Partial<Pick<User, "role" | "password" | "disabled">>): UserView {
		change.onCommit(() => Object.assign(user, news, { generation: user.generation + 1 }));
		return view({ ...user, ...news });
	}
}

export function view(user: User): UserView {
	return {
		id: user.id,
		name: user.name,
		role: user.role,
		state: stateOf(user),
		created: new Date(user.created).toISOString(),
		lastSeen: user.lastSeen === null ? null : new Date(user.lastSeen).toISOString(),
	};
}

function stateOf(user: User): UserView["state"] {
	if (user.system) return "system";
	if (user.disabled !== null) return "disabled";
	return user.password === null ? "invited" : "active";
}
