/** Sessions: one a sign-in, known to the door, so that signing out ends them wherever their cookie is. */
import { randomBytes } from "node:crypto";
import type { RequestFacts } from "../authority.ts";
import { type Cookies, cookieValues } from "./cookies.ts";
import { AccountsError } from "./errors.ts";
import type { Jwts } from "./jwt.ts";
import type { Keyring } from "./keys.ts";
import type { Place } from "./limits.ts";
import type { Session, User } from "./snapshot.ts";
import type { Actor, Change, Store } from "./store.ts";

export interface SessionSettings {
	/** Hours without a request after which a session is over. */
	idleHours: number;
	/** Days after which it is over whatever happens. */
	maxDays: number;
}

/** Sessions a user may have at once; a new one ends the one used longest ago. */
const MOST_SESSIONS = 50;

/** Milliseconds for which a typed password stands for the person at the keyboard. */
export const PROOF_LASTS = 600_000;

/** Characters of the browser's name that are kept. */
const AGENT_LENGTH = 256;

export interface SignedIn {
	session: Session;
	/** `Set-Cookie` values. */
	cookies: string[];
}

export class Sessions {
	readonly #store: Store;
	readonly #jwts: Jwts;
	readonly #keyring: Keyring;
	readonly #cookies: Cookies;
	readonly #settings: SessionSettings;

	constructor(store: Store, jwts: Jwts, keyring: Keyring, cookies: Cookies, settings: SessionSettings) {
		this.#store = store;
		this.#jwts = jwts;
		this.#keyring = keyring;
		this.#cookies = cookies;
		this.#settings = settings;
	}

	/**
	 * Signs in whoever has just proved to be that user; a session that the browser had before is ended with it.
	 * @throws AccountsError USER_CHANGED when the user changed after the proof; DATABASE_AWAY, BUSY
	 */
	async signIn(userId: string, generation: number, facts: RequestFacts): Promise<SignedIn> {
		const before = await this.cookieSession(facts);
		const session = await this.#store.change(
			actorOf(facts, this.#store.snapshot.users.get(userId)),
			async (change) => {
				const user = this.#store.snapshot.users.get(userId);
				if (!user || user.generation !== generation || user.disabled !== null)
					throw new AccountsError("USER_CHANGED");
				return await this.add(change, user, facts, before);
			},
		);
		return await this.signedIn(session, facts);
	}

	/** Adds a session as part of a larger change. @param before what the browser had until now; it ends. */
	async add(change: Change, user: User, facts: RequestFacts, before: Session | undefined): Promise<Session> {
		if (before) await this.endThese(change, [before], "replaced");
		const spare = this.#store.snapshot.sessionsOf(user).sort((one, other) => other.lastUsed - one.lastUsed);
		await this.endThese(change, spare.slice(MOST_SESSIONS - 1), "too many");
		const expires = Math.floor(change.now / 1000) * 1000 + this.#settings.maxDays * 86_400_000;
		const session: Session = {
			id: `ses-${randomBytes(16).toString("hex")}`,
			user,
			kid: this.#jwts.signer,
			created: change.now,
			expires,
			lastUsed: change.now,
			lastAddress: facts.remoteAddress,
			listener: facts.listener,
			userAgent: (facts.headers["user-agent"] ?? "").slice(0, AGENT_LENGTH),
			proved: change.now,
		};
		await change.sql(
			"insert into sessions (id, user_id, created_at, expires_at, last_used_at, last_used_address, listener, user_agent, kid) values ($1, $2, $3, $4, $3, $5, $6, $7, $8)",
			[
				session.id,
				user.id,
				new Date(change.now),
				new Date(expires),
				session.lastAddress,
				session.listener,
				session.userAgent,
				session.kid,
			],
		);
		await change.audit("session.start", user.name, { sessionId: session.id });
		change.onCommit(() => {
			this.#store.snapshot.sessions.set(session.id, session);
			this.#store.userSeen(user);
		});
		return session;
	}

	async signedIn(session: Session, facts: RequestFacts): Promise<SignedIn> {
		const exp = session.expires / 1000;
		const values = {
			session: await this.#jwts.sign("session", session.kid, { jti: session.id, sub: session.user.id, exp }),
			csrf: this.csrfToken(session.id),
			device: this.#deviceMark(session.user.id, randomBytes(9).toString("base64url")),
		};
		return {
			session,
			cookies: this.#cookies.signedIn(
				facts,
				values,
				Math.max(0, exp - Math.floor(this.#store.clock() / 1000)),
			),
		};
	}

	/** Ends one session. When this returns, it is over for good. An unknown one is over already. */
	async end(id: string, actor: Actor, why = "signed out"): Promise<void> {
		await this.#store.change(actor, async (change) => {
			const session = this.#store.snapshot.sessions.get(id);
			if (session) await this.endThese(change, [session], why);
		});
	}

	/** Signs a user out everywhere. */
	async endEverywhere(user: User, actor: Actor): Promise<void> {
		await this.#store.change(
			actor,
			async (change) => await this.endAll(change, user, "signed out everywhere"),
		);
	}

	/** Those that are on, of one user or of all, the one used last first. */
	list(user?: User): Session[] {
		return [...this.#store.snapshot.sessions.values()]
			.filter((session) => (user === undefined || session.user === user) && this.over(session) === undefined)
			.sort((one, other) => other.lastUsed - one.lastUsed);
	}

	/** Whether the person typed the password in this session not long ago. */
	isProved(session: Session): boolean {
		const age = this.#store.clock() - session.proved;
		return age >= 0 && age < PROOF_LASTS;
	}

	/** Notes that the person has just typed the password. */
	prove(session: Session): void {
		session.proved = this.#store.clock();
	}

	/** Ends all sessions of a user as part of a larger change. */
	async endAll(change: Change, user: User, why: string): Promise<void> {
		await this.endThese(change, this.#store.snapshot.sessionsOf(user), why);
	}

	/** Why a session is over; undefined while it is not. */
	over(session: Session): "SESSION_EXPIRED" | "SESSION_IDLE" | "USER_DISABLED" | undefined {
		const now = this.#store.clock();
		if (session.user.disabled !== null) return "USER_DISABLED";
		if (session.expires <= now) return "SESSION_EXPIRED";
		return session.lastUsed + this.#settings.idleHours * 3_600_000 <= now ? "SESSION_IDLE" : undefined;
	}

	/** The session that the request's cookie names, if it is still on; counts as no use. */
	async cookieSession(facts: RequestFacts): Promise<Session | undefined> {
		const [cookie, ...others] = cookieValues(facts, this.#cookies.sessionName(facts));
		if (cookie === undefined || others.length > 0) return undefined;
		const claims = await this.#jwts.verify("session", cookie);
		const session = claims && this.#store.snapshot.sessions.get(claims.jti);
		return session && this.over(session) === undefined ? session : undefined;
	}

	/** What the header `X-CSRF-Token` or the form field `csrf` must say in that session. */
	csrfToken(sessionId: string): string {
		return this.#keyring.mac("csrf", sessionId);
	}

	/** Where a try to sign in comes from, with the browser's device mark if that user signed in there before. */
	placeOf(facts: RequestFacts, user: User | undefined): Place {
		const place: Place = { listener: facts.listener, address: facts.remoteAddress };
		for (const mark of user ? cookieValues(facts, this.#cookies.deviceName(facts)) : []) {
			const id = mark.split(".")[0] ?? "";
			if (user && mark === this.#deviceMark(user.id, id)) return { ...place, device: id };
		}
		return place;
	}

	#deviceMark(userId: string, id: string): string {
		return `${id}.${this.#keyring.mac("device", `${userId} ${id}`)}`;
	}

	/** Ends sessions as part of a larger change. */
	async endThese(change: Change, sessions: readonly Session[], why: string): Promise<void> {
		if (sessions.length === 0) return;
		await change.sql("update sessions set ended_at = $2 where id = any($1) and ended_at is null", [
			sessions.map((session) => session.id),
			new Date(change.now),
		]);
		for (const session of sessions)
			await change.audit("session.end", session.user.name, { sessionId: session.id, why });
		change.onCommit(() => {
			for (const session of sessions) this.#store.snapshot.sessions.delete(session.id);
		});
	}
}

/** @param session the id of the one that the user acts in. */
export function actorOf(facts: RequestFacts, user: User | undefined, session?: string): Actor {
	return {
		name: user?.name ?? "",
		listener: facts.listener,
		address: facts.remoteAddress,
		role: user?.role,
		credential: session,
	};
}
