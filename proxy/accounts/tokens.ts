/** API tokens: named, never stronger than their owner, shown once, revoked at once. */
import { randomBytes } from "node:crypto";
import { atLeast, type Role } from "../roles.ts";
import type { Scope } from "../scopes.ts";
import { AccountsError } from "./errors.ts";
import type { Claims, Jwts } from "./jwt.ts";
import { tokenName } from "./names.ts";
import type { Token } from "./snapshot.ts";
import type { Actor, Change, Store } from "./store.ts";
import type { Users } from "./users.ts";

/** What may be told about a token. Times are ISO 8601; null: never. */
export interface TokenView {
	id: string;
	name: string;
	/** As issued; what it can do now is the lower of this and its owner's. */
	role: Role;
	/** `models`: held to models and their artifacts. */
	scope: Scope;
	user: string;
	state: "active" | "expired" | "revoked" | "owner disabled";
	created: string;
	createdBy: string;
	expires: string | null;
	lastUsed: string | null;
	lastAddress: string | null;
}

/** Unless asked otherwise. */
const DEFAULT_EXPIRY = "90d";

const UNITS = { h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

/** Beyond this no time can be written. */
const LAST_TIME = 8.64e15;

export class Tokens {
	readonly #store: Store;
	readonly #users: Users;
	readonly #jwts: Jwts;

	constructor(store: Store, users: Users, jwts: Jwts) {
		this.#store = store;
		this.#users = users;
		this.#jwts = jwts;
	}

	/**
	 * @param wish.user the owner's name.
	 * @param wish.scope what it is held to besides its role; nothing if left out.
	 * @param wish.expires `12h`, `90d`, `52w`, an ISO 8601 time, or `never`; 90 days if left out.
	 * @returns the token's text, which is kept nowhere, and what may be told about it.
	 * @throws AccountsError TOKEN_NAME, TOKEN_EXPIRY, TOKEN_ROLE, USER_UNKNOWN, USER_DISABLED, DATABASE_AWAY, BUSY
	 */
	async create(
		actor: Actor,
		wish: { name: string; role: Role; user: string; scope?: Scope; expires?: string },
	): Promise<{ text: string; token: TokenView }> {
		const name = tokenName(wish.name);
		if (name === undefined) throw new AccountsError("TOKEN_NAME");
		const token = await this.#store.change(actor, async (change): Promise<Token> => {
			const user = this.#users.named(wish.user);
			if (user.disabled !== null) throw new AccountsError("USER_DISABLED", user.name);
			if (!atLeast(user.role, wish.role))
				throw new AccountsError("TOKEN_ROLE", user.name, user.role, wish.role);
			const expires = expiry(wish.expires ?? DEFAULT_EXPIRY, change.now);
			const made: Token = {
				id: `tok-${randomBytes(10).toString("hex")}`,
				user,
				name,
				role: wish.role,
				scope: wish.scope ?? "all",
				kid: this.#jwts.signer,
				created: change.now,
				createdBy: actor.name,
				expires,
				revoked: null,
				lastUsed: null,
				lastAddress: null,
			};
			await change.sql(
				"insert into tokens (id, user_id, name, role, scope, kid, created_at, created_by, expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
				[
					made.id,
					user.id,
					name,
					made.role,
					made.scope,
					made.kid,
					new Date(made.created),
					actor.name,
					expires === null ? null : new Date(expires),
				],
			);
			await change.audit("token.create", user.name, {
				tokenId: made.id,
				name,
				role: made.role,
				...(made.scope !== "all" && { scope: made.scope }),
				expires: iso(expires),
			});
			change.onCommit(() => this.#store.snapshot.tokens.set(made.id, made));
			return made;
		});
		const text = await this.#jwts.sign("token", token.kid, { ...claimsOf(token), name });
		return { text, token: this.#view(token) };
	}

	list(): TokenView[] {
		return [...this.#store.snapshot.tokens.values()].map((token) => this.#view(token));
	}

	/**
	 * When this returns, the token is refused for good. Revoking twice changes nothing.
	 * @throws AccountsError TOKEN_UNKNOWN, DATABASE_AWAY, BUSY
	 */
	async revoke(actor: Actor, id: string): Promise<TokenView> {
		return await this.#store.change(actor, async (change) => {
			const token = this.#store.snapshot.tokens.get(id);
			if (!token) throw new AccountsError("TOKEN_UNKNOWN", id);
			if (token.revoked !== null) return this.#view(token);
			await this.end(change, [token]);
			return this.#view({ ...token, revoked: change.now });
		});
	}

	/** Revokes tokens as part of a larger change. */
	async end(change: Change, tokens: readonly Token[]): Promise<void> {
		await change.sql("update tokens set revoked_at = $2 where id = any($1)", [
			tokens.map(({ id }) => id),
			new Date(change.now),
		]);
		for (const { id, name, user } of tokens)
			await change.audit("token.revoke", user.name, { tokenId: id, name });
		change.onCommit(() => {
			for (const token of tokens) token.revoked = change.now;
		});
	}

	/** The token whose text makes these claims, if it works now; else why not. */
	standing(claims: Claims): Token | "TOKEN_UNKNOWN" | "TOKEN_INVALID" | Over {
		const token = this.#store.snapshot.tokens.get(claims.jti);
		if (!token) return "TOKEN_UNKNOWN";
		// What the token says is what was noted when it was made; a signed text that says more is not that token.
		if (!isWhatWasNoted(claims, token)) return "TOKEN_INVALID";
		return this.over(token) ?? token;
	}

	/** Why a token does not work; undefined while it does. */
	over(token: Token): Over | undefined {
		if (token.revoked !== null) return "TOKEN_REVOKED";
		if (token.expires !== null && token.expires <= this.#store.clock()) return "TOKEN_EXPIRED";
		return token.user.disabled === null ? undefined : "USER_DISABLED";
	}

	#view(token: Token): TokenView {
		const over = this.over(token);
		return {
			id: token.id,
			name: token.name,
			role: token.role,
			scope: token.scope,
			user: token.user.name,
			state: over === undefined ? "active" : STATES[over],
			created: new Date(token.created).toISOString(),
			createdBy: token.createdBy,
			expires: iso(token.expires),
			lastUsed: iso(token.lastUsed),
			lastAddress: token.lastAddress,
		};
	}
}

/** Why a token that was made does not work any more. */
type Over = "TOKEN_REVOKED" | "TOKEN_EXPIRED" | "USER_DISABLED";

/** What a token's text says of it. */
const claimsOf = ({ id, user, role, scope, expires }: Token): Claims => ({
	jti: id,
	sub: user.id,
	role,
	scope: scope === "all" ? undefined : scope,
	exp: expires === null ? undefined : expires / 1000,
});

function isWhatWasNoted(claims: Claims, token: Token): boolean {
	const { jti, sub, role, scope, exp } = claimsOf(token);
	return (
		claims.jti === jti &&
		claims.sub === sub &&
		claims.role === role &&
		claims.scope === scope &&
		claims.exp === exp
	);
}

const STATES = {
	TOKEN_REVOKED: "revoked",
	TOKEN_EXPIRED: "expired",
	USER_DISABLED: "owner disabled",
} as const satisfies Record<Over, TokenView["state"]>;

const iso = (time: number | null): string | null => (time === null ? null : new Date(time).toISOString());

/** Milliseconds, on a whole second as the token will say it; null: never. */
function expiry(wish: string, now: number): number | null {
	if (wish === "never") return null;
	const [, count, unit] = /^(\d{1,6})([hdw])$/.exec(wish) ?? [];
	const time = unit ? now + Number(count) * UNITS[unit as keyof typeof UNITS] : isoTime(wish);
	const whole = Math.floor(time / 1000) * 1000;
	if (!(whole > now && whole <= LAST_TIME)) throw new AccountsError("TOKEN_EXPIRY", JSON.stringify(wish));
	return whole;
}

/** `2027-01-31` or `2027-01-31T12:00:00Z`; other spellings mean different things to different people. */
const isoTime = (text: string): number =>
	/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)
		? Date.parse(text)
		: Number.NaN;
