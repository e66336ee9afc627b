/**
 * One-time links: the first admin, an invitation, a new password. Looking at one costs nothing and changes
 * nothing; spending it takes a password and signs in. The code is 256 random bits, kept as its SHA-256.
 */
import { createHash, randomBytes } from "node:crypto";
import type { RequestFacts } from "../authority.ts";
import type { Role } from "../roles.ts";
import { AccountsError } from "./errors.ts";
import { hashPassword } from "./passwords.ts";
import { actorOf, type Sessions, type SignedIn } from "./sessions.ts";
import type { Link, LinkKind, User } from "./snapshot.ts";
import type { Actor, Change, Store } from "./store.ts";
import { type Users, type UserView, view } from "./users.ts";

const LIFETIME = 24 * 3_600_000;
const CODE_BYTES = 32;
const CODE = /^[\w-]{43}$/;

/** Where the first-admin link works: the published loopback port. */
const FIRST_ADMIN_LISTENER = "edge";

export interface NewLink {
	/** `/invite/<code>`: a secret, shown once. */
	path: string;
	/** ISO 8601. */
	expires: string;
}

/** What the page behind a link asks for. */
export interface LinkView {
	kind: LinkKind;
	/** The name is given, unless the link makes the first admin. */
	name: string | null;
	role: Role;
}

/** A link that was sent and not spent yet. Its code is known to nobody here. Times are ISO 8601. */
export interface PendingLink {
	kind: LinkKind;
	user: string;
	role: Role;
	created: string;
	expires: string;
}

const iso = (time: number): string => new Date(time).toISOString();

const sha256 = (code: string): string => createHash("sha256").update(code).digest("hex");

export class Links {
	readonly #store: Store;
	readonly #users: Users;
	readonly #sessions: Sessions;

	constructor(store: Store, users: Users, sessions: Sessions) {
		this.#store = store;
		this.#users = users;
		this.#sessions = sessions;
	}

	/** A link for the first admin, while there is no admin who can sign in; else undefined. */
	async firstAdmin(actor: Actor): Promise<NewLink | undefined> {
		if (this.#store.snapshot.admins().length > 0) return undefined;
		return await this.#store.change(actor, async (change) => {
			const link = await this.#add(change, "first-admin", null);
			await change.audit("link.first-admin", null);
			return link;
		});
	}

	/**
	 * Adds a user who chooses the password by the link.
	 * @throws AccountsError USER_NAME, USER_EXISTS, DATABASE_AWAY, BUSY
	 */
	async invite(actor: Actor, wish: { name: string; role: Role }): Promise<{ user: UserView; link: NewLink }> {
		return await this.#store.change(actor, async (change) => {
			const user = await this.#users.insert(change, { ...wish, password: null });
			const link = await this.#add(change, "invite", user);
			await change.audit("link.invite", user.name);
			return { user: view(user), link };
		});
	}

	/**
	 * A link for a new password (or, for one who never chose any, the invitation anew). Earlier links of that
	 * user stop working; the old password works until the link is spent.
	 * @throws AccountsError USER_UNKNOWN, USER_SYSTEM, USER_DISABLED, DATABASE_AWAY, BUSY
	 */
	async reset(actor: Actor, name: string): Promise<{ user: UserView; link: NewLink }> {
		return await this.#store.change(actor, async (change) => {
			const user = this.#users.person(name);
			if (user.disabled !== null) throw new AccountsError("USER_DISABLED", user.name);
			const kind = user.password === null ? "invite" : "reset";
			await this.#users.voidLinks(change, user);
			const link = await this.#add(change, kind, user);
			await change.audit(`link.${kind}`, user.name);
			return { user: view(user), link };
		});
	}

	/** Links that somebody could still spend, the newest first. */
	pending(): PendingLink[] {
		const now = this.#store.clock();
		return [...this.#store.snapshot.links.values()]
			.flatMap(({ kind, user, created, expires, spent }): PendingLink[] =>
				user && user.disabled === null && spent === null && expires > now
					? [{ kind, user: user.name, role: user.role, created: iso(created), expires: iso(expires) }]
					: [],
			)
			.sort((one, other) => (one.created < other.created ? 1 : -1));
	}

	/**
	 * Takes a user's open links back. One who was invited and never came is gone with them, and the name is free.
	 * @throws AccountsError USER_UNKNOWN, USER_SYSTEM, DATABASE_AWAY, BUSY
	 */
	async withdraw(actor: Actor, name: string): Promise<void> {
		await this.#store.change(actor, async (change) => {
			const user = this.#users.person(name);
			const { snapshot } = this.#store;
			const came =
				user.password !== null || [...snapshot.tokens.values()].some((token) => token.user === user);
			await this.#users.voidLinks(change, user);
			await change.audit("link.withdraw", user.name, { userRemoved: !came });
			if (came) return;
			await change.sql("delete from links where user_id = $1", [user.id]);
			await change.sql("delete from users where id = $1", [user.id]);
			change.onCommit(() => snapshot.users.delete(user.id));
		});
	}

	/**
	 * What a code is good for.
	 * @throws AccountsError LINK_UNKNOWN, LINK_SPENT, LINK_EXPIRED, LINK_ELSEWHERE
	 */
	look(code: string, facts: Pick<RequestFacts, "listener">): LinkView {
		const { kind, user } = this.#find(code, facts);
		return { kind, name: user?.name ?? null, role: user?.role ?? "admin" };
	}

	/**
	 * Spends a link: once, whoever else tries at the same time.
	 * @param wish.name the first admin's; other links have theirs.
	 * @throws AccountsError as `look`; USER_NAME, USER_EXISTS, PASSWORD_POLICY (the link stays good); DATABASE_AWAY, BUSY
	 */
	async spend(
		code: string,
		wish: { name: string; password: string },
		facts: RequestFacts,
	): Promise<SignedIn> {
		const seen = this.#find(code, facts);
		const password = await hashPassword(wish.password, seen.user?.name ?? this.#users.freeName(wish.name));
		const before = await this.#sessions.cookieSession(facts);
		const actor: Actor = {
			...actorOf(facts, seen.user ?? undefined),
			name: seen.user?.name ?? `link ${seen.kind}`,
		};
		const session = await this.#store.change(actor, async (change) => {
			const link = this.#find(code, facts);
			const spent = await change.sql(
				"update links set spent_at = $2 where hash = $1 and spent_at is null returning 1",
				[Buffer.from(link.hash, "hex"), new Date(change.now)],
			);
			if (spent.length !== 1) throw new AccountsError("LINK_SPENT");
			change.onCommit(() => {
				link.spent = change.now;
			});
			const user =
				link.user ?? (await this.#users.insert(change, { name: wish.name, role: "admin", password }));
			if (link.user) await this.#users.setPassword(change, user, password);
			// The user's own sessions have ended with the old password.
			return await this.#sessions.add(change, user, facts, before?.user === user ? undefined : before);
		});
		return await this.#sessions.signedIn(session, facts);
	}

	#find(code: string, { listener }: Pick<RequestFacts, "listener">): Link {
		const link = CODE.test(code) ? this.#store.snapshot.links.get(sha256(code)) : undefined;
		if (!link || (link.user && link.user.disabled !== null)) throw new AccountsError("LINK_UNKNOWN");
		if (link.spent !== null) throw new AccountsError("LINK_SPENT");
		if (link.expires <= this.#store.clock()) throw new AccountsError("LINK_EXPIRED");
		if (link.kind === "first-admin") {
			if (listener !== FIRST_ADMIN_LISTENER) throw new AccountsError("LINK_ELSEWHERE");
			if (this.#store.snapshot.admins().length > 0) throw new AccountsError("LINK_SPENT");
		}
		return link;
	}

	async #add(change: Change, kind: LinkKind, user: User | null): Promise<NewLink> {
		const code = randomBytes(CODE_BYTES).toString("base64url");
		const link: Link = {
			hash: sha256(code),
			kind,
			user,
			created: change.now,
			expires: change.now + LIFETIME,
			spent: null,
		};
		await change.sql(
			"insert into links (hash, kind, user_id, created_at, expires_at) values ($1, $2, $3, $4, $5)",
			[Buffer.from(link.hash, "hex"), kind, user?.id ?? null, new Date(link.created), new Date(link.expires)],
		);
		change.onCommit(() => this.#store.snapshot.links.set(link.hash, link));
		return { path: `/invite/${code}`, expires: new Date(link.expires).toISOString() };
	}
}
