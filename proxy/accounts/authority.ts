/** Who is asking. Everything is decided from memory; only a password's first check in a minute costs more. */
import { timingSafeEqual } from "node:crypto";
import type { Authority, Check, Identity, RequestFacts } from "../authority.ts";
import { atLeast, lower } from "../roles.ts";
import type { GrantedRole } from "../tailnet/grant.ts";
import type { Members, Membership } from "../tailnet/members.ts";
import { type Cookies, CSRF_COOKIE, CSRF_HEADER, cookieValues, plantedCookies } from "./cookies.ts";
import type { Claims, Jwts } from "./jwt.ts";
import { looksLikeJwt } from "./jwt.ts";
import type { Keyring } from "./keys.ts";
import type { Log } from "./log.ts";
import { userName } from "./names.ts";
import type { Reason } from "./reasons.ts";
import type { Sessions } from "./sessions.ts";
import type { SignIn } from "./signin.ts";
import type { Store } from "./store.ts";
import type { Tokens } from "./tokens.ts";

export interface Refusal {
	ok: false;
	presented: boolean;
	/** A key of `REASONS`. */
	reason: Reason;
	/** Seconds; for the header `Retry-After` of 429 and 503. */
	retryAfter?: number;
}

/** An identity that remembers which state of its user it was made from. */
export interface AccountIdentity extends Identity {
	/** The user's generation then; counts for passwords, which have no row of their own to look up later. */
	generation: number;
}

export type AccountVerdict = { ok: true; identity: AccountIdentity } | Refusal;

const refuse = (reason: Reason, retryAfter?: number): Refusal => ({
	ok: false,
	presented: true,
	reason,
	retryAfter,
});

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

/** As MLflow's client spells it. Any other spelling is read with more care. */
const BEARER = "Bearer ";

/** As long as a sign-in usually lasts without a request. A member is known anew with each request. */
const MEMBER_COOKIE_SECONDS = 12 * 3_600;

export interface AuthorityParts {
	store: Store;
	keyring: Keyring;
	jwts: Jwts;
	cookies: Cookies;
	sessions: Sessions;
	tokens: Tokens;
	signIn: SignIn;
	members: Members;
	log: Log;
}

export class AccountsAuthority implements Authority {
	readonly #parts: AuthorityParts;

	constructor(parts: AuthorityParts) {
		this.#parts = parts;
	}

	/** Never throws and never rejects. Reasons: `REASONS` (reasons.ts). What was checked before is known at once. */
	authenticate(facts: RequestFacts): AccountVerdict | Promise<AccountVerdict> {
		try {
			const verdict = this.#judge(facts);
			return verdict instanceof Promise ? verdict.catch(this.#unchecked) : verdict;
		} catch (error) {
			return this.#unchecked(error);
		}
	}

	readonly #unchecked = (error: unknown): AccountVerdict => {
		this.#parts.log.error({ err: error }, "a credential could not be checked");
		return refuse("DOOR_ERROR");
	};

	#judge(facts: RequestFacts): AccountVerdict | Promise<AccountVerdict> {
		if (this.#parts.store.superseded) return refuse("SUPERSEDED");
		if (plantedCookies(facts).length > 0) return refuse("HEADER_COOKIE");
		const { authorization } = facts.headers;
		if (authorization === undefined) return this.#byCookie(facts);
		const known = authorization.startsWith(BEARER)
			? this.#parts.jwts.known("token", authorization.slice(BEARER.length))
			: undefined;
		return known === undefined ? this.#byHeader(authorization, facts) : this.#byClaims(known, facts);
	}

	/**
	 * Guards unsafe methods against other sites' pages. A session needs the CSRF pair, and an Origin that is ours
	 * where one is sent (browsers always send it). A browser may also remember a Basic password and add it to
	 * another site's request, so with Authorization, too, a foreign Origin is refused; scripts send none. A member of
	 * the tailnet is known without sending anything, so their browser needs the pair, too, and what has none of a
	 * browser's marks is a script.
	 * @returns CSRF_ORIGIN, CSRF_TOKEN or undefined
	 */
	checkCsrf(facts: RequestFacts, identity: Identity): Reason | undefined {
		if (SAFE_METHODS.has(facts.method)) return undefined;
		if (!isSameOrigin(facts)) return "CSRF_ORIGIN";
		if (identity.kind === "token" || identity.kind === "password") return undefined;
		if (identity.kind === "tailnet" && isScript(facts)) return undefined;
		const sent = facts.headers[CSRF_HEADER];
		return typeof sent === "string" && equal(sent, this.csrfToken(identity)) ? undefined : "CSRF_TOKEN";
	}

	/** What a session's forms and its `X-CSRF-Token` header must say. */
	csrfToken(identity: Identity): string {
		return this.#parts.sessions.csrfToken(identity.credential);
	}

	/**
	 * `Set-Cookie` values to add to an answer to that session: the CSRF cookie if the browser lacks it or holds
	 * another one. Ports share cookies, so a second stack on localhost overwrites the first one's.
	 */
	setCookies(facts: RequestFacts, identity: Identity): string[] {
		const left = this.#cookieSeconds(facts, identity);
		if (left === undefined || facts.headers.authorization !== undefined) return [];
		const token = this.csrfToken(identity);
		if (cookieValues(facts, CSRF_COOKIE).includes(token)) return [];
		return [this.#parts.cookies.csrf(facts, token, Math.max(0, left))];
	}

	/** How long an identity's CSRF cookie lasts; undefined: it gets none. */
	#cookieSeconds(facts: RequestFacts, { kind, credential }: Identity): number | undefined {
		const { store } = this.#parts;
		// A member's script that kept a cookie would look like a browser.
		if (kind === "tailnet") return isScript(facts) ? undefined : MEMBER_COOKIE_SECONDS;
		const session = kind === "session" ? store.snapshot.sessions.get(credential) : undefined;
		return session && Math.floor((session.expires - store.clock()) / 1000);
	}

	/** `Set-Cookie` values for the answer to HEADER_COOKIE; none where the request carries Authorization. */
	clearPlanted(facts: RequestFacts): string[] {
		return facts.headers.authorization === undefined ? this.#parts.cookies.clearPlanted(facts) : [];
	}

	stillValid(identity: Identity): boolean {
		const { store } = this.#parts;
		if (store.superseded) return false;
		const role = this.#roleNow(identity);
		return role !== undefined && atLeast(role, identity.role);
	}

	jwks(): { keys: object[] } {
		return this.#parts.keyring.jwks();
	}

	async checks(): Promise<Check[]> {
		const began = performance.now();
		const result = (ok: boolean, detail?: string): Check[] => [
			{ name: "postgres", ok, ms: Math.round(performance.now() - began), ...(detail ? { detail } : {}) },
		];
		try {
			await this.#parts.store.ping();
			return result(true);
		} catch (error) {
			return result(false, (error as Error).message);
		}
	}

	/** What the credential behind an identity may do by now; undefined: nothing. */
	#roleNow(identity: Identity): Identity["role"] | undefined {
		const { store, sessions, tokens } = this.#parts;
		if (identity.kind === "token") {
			const token = store.snapshot.tokens.get(identity.credential);
			return token && tokens.over(token) === undefined ? lower(token.role, token.user.role) : undefined;
		}
		if (identity.kind === "session") {
			const session = store.snapshot.sessions.get(identity.credential);
			// A transfer that runs is no idleness.
			const over = session && sessions.over(session);
			return session && (over === undefined || over === "SESSION_IDLE") ? session.user.role : undefined;
		}
		if (identity.kind === "tailnet") {
			// A grant that is taken back ends at the next request: the gateway tells of it then, and not before.
			const member = this.#member(identity.user, identity.granted);
			return typeof member === "string" ? undefined : member?.role;
		}
		const user = store.snapshot.users.get(identity.credential);
		return user && user.generation === (identity as Partial<AccountIdentity>).generation
			? user.role
			: undefined;
	}

	/**
	 * What a login of the tailnet may do; undefined: it is not known here. A user of that name may narrow it: whom an
	 * admin has disabled does not come back through the tailnet.
	 */
	#member(login: string, granted?: GrantedRole): Membership | "USER_DISABLED" | undefined {
		const { members, store } = this.#parts;
		const member = members.roleOf(login, granted);
		const user = member && store.snapshot.userNamed(userName(login) ?? "");
		if (member === undefined || user === undefined) return member;
		const { role } = member;
		return user.disabled === null && !user.system
			? { ...member, role: lower(role, user.role) }
			: "USER_DISABLED";
	}

	#byTailnet(facts: RequestFacts): AccountVerdict {
		const { tailnet: login, granted } = facts;
		const member = login === undefined || isForeignRead(facts) ? undefined : this.#member(login, granted);
		if (login === undefined || member === undefined)
			return { ok: false, presented: false, reason: "NO_CREDENTIAL" };
		if (typeof member === "string") return refuse(member);
		const { role, byGrant } = member;
		return {
			ok: true,
			identity: {
				kind: "tailnet",
				user: login,
				role,
				credential: `${byGrant ? "grant" : "tailnet"}:${login}`,
				...(byGrant && granted && { granted }),
				generation: 0,
			},
		};
	}

	/** @param claims of a text that we signed as a token */
	#byClaims(claims: Claims, facts: RequestFacts): AccountVerdict {
		const { store, tokens } = this.#parts;
		const token = tokens.standing(claims);
		if (typeof token === "string") return refuse(token);
		store.tokenUsed(token, facts.remoteAddress);
		const { user } = token;
		return {
			ok: true,
			identity: {
				kind: "token",
				user: user.name,
				role: lower(token.role, user.role),
				credential: token.id,
				name: token.name,
				...(token.scope !== "all" && { scope: token.scope }),
				generation: user.generation,
			},
		};
	}

	async #byHeader(authorization: string, facts: RequestFacts): Promise<AccountVerdict> {
		const [, scheme = "", rest] = /^([A-Za-z]+) +([^\s,]+)$/.exec(authorization) ?? [];
		if (rest === undefined) return refuse("AUTHORIZATION_UNREADABLE");
		if (scheme.toLowerCase() === "bearer") return await this.#byToken(rest, facts);
		if (scheme.toLowerCase() !== "basic") return refuse("AUTHORIZATION_SCHEME");
		const pair = readBasic(rest);
		if (!pair) return refuse("AUTHORIZATION_UNREADABLE");
		if (looksLikeJwt(pair.password)) return await this.#byToken(pair.password, facts);
		return await this.#byPassword(pair, facts);
	}

	async #byToken(text: string, facts: RequestFacts): Promise<AccountVerdict> {
		if (!looksLikeJwt(text)) return refuse("TOKEN_MALFORMED");
		const claims = await this.#parts.jwts.verify("token", text);
		return claims === undefined ? refuse("TOKEN_INVALID") : this.#byClaims(claims, facts);
	}

	async #byPassword({ name, password }: BasicPair, facts: RequestFacts): Promise<AccountVerdict> {
		const { signIn, store } = this.#parts;
		const answer = await signIn.checkBasic(name, password, {
			listener: facts.listener,
			address: facts.remoteAddress,
		});
		if (!answer.ok) return refuse(answer.reason, "retryAfter" in answer ? answer.retryAfter : undefined);
		const { user, generation } = answer;
		store.userSeen(user);
		return {
			ok: true,
			identity: { kind: "password", user: user.name, role: user.role, credential: user.id, generation },
		};
	}

	#byCookie(facts: RequestFacts): AccountVerdict | Promise<AccountVerdict> {
		const [cookie, ...others] = cookieValues(facts, this.#parts.cookies.sessionName(facts));
		// Only where no credential was sent: a refused one never falls back to a weaker one.
		if (cookie === undefined) return this.#byTailnet(facts);
		if (others.length > 0) return refuse("COOKIE_AMBIGUOUS");
		const known = this.#parts.jwts.known("session", cookie);
		return known === undefined ? this.#byCookieText(cookie, facts) : this.#bySession(known, facts);
	}

	async #byCookieText(text: string, facts: RequestFacts): Promise<AccountVerdict> {
		const claims = await this.#parts.jwts.verify("session", text);
		return claims === undefined ? refuse("SESSION_INVALID") : this.#bySession(claims, facts);
	}

	/** @param claims of a text that we signed as a session */
	#bySession(claims: Claims, facts: RequestFacts): AccountVerdict {
		const { store, sessions } = this.#parts;
		const session = store.snapshot.sessions.get(claims.jti);
		if (!session) return refuse("SESSION_ENDED");
		if (claims.sub !== session.user.id || claims.exp !== session.expires / 1000)
			return refuse("SESSION_INVALID");
		const over = sessions.over(session);
		if (over) return refuse(over);
		store.sessionUsed(session, facts.remoteAddress);
		const { user } = session;
		return {
			ok: true,
			identity: {
				kind: "session",
				user: user.name,
				role: user.role,
				credential: session.id,
				generation: user.generation,
			},
		};
	}
}

interface BasicPair {
	name: string;
	password: string;
}

/** RFC 7617: base64 of `name:password` in UTF-8; undefined for anything else. */
function readBasic(text: string): BasicPair | undefined {
	if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
	try {
		const pair = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(text, "base64"));
		const at = pair.indexOf(":");
		return at < 0 ? undefined : { name: pair.slice(0, at), password: pair.slice(at + 1) };
	} catch {
		return undefined;
	}
}

/** False when a browser says that the request comes from a page of another origin. */
export function isSameOrigin({ headers, origin }: RequestFacts): boolean {
	const site = headers["sec-fetch-site"];
	if (site !== undefined && site !== "same-origin") return false;
	return headers.origin === undefined || headers.origin === origin;
}

/**
 * A page of another site reads, by a WebSocket, a frame, a picture. A cookie (SameSite=Lax) would not be sent with such
 * a request; who somebody is in the tailnet always is. A link that is followed is fine. What is no read is looked at by
 * `checkCsrf`.
 */
function isForeignRead(facts: RequestFacts): boolean {
	if (!SAFE_METHODS.has(facts.method) || isSameOrigin(facts)) return false;
	const { "sec-fetch-mode": mode, "sec-fetch-dest": dest, origin } = facts.headers;
	return !(mode === "navigate" && dest === "document" && origin === undefined);
}

/** Nothing in it that a browser adds to what its pages send. */
function isScript({ headers }: RequestFacts): boolean {
	return (
		headers.origin === undefined &&
		headers.cookie === undefined &&
		!Object.keys(headers).some((name) => name.startsWith("sec-fetch-"))
	);
}

function equal(one: string, other: string): boolean {
	const [a, b] = [Buffer.from(one), Buffer.from(other)];
	return a.length === b.length && timingSafeEqual(a, b);
}
