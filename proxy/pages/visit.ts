/**
 * Pages for people who are signed in. A page is shown to whoever has the role; an act also needs the session's
 * CSRF token, a password typed not long ago, and is done once however often its form is sent.
 */
import { randomBytes } from "node:crypto";
import type { AccountsAuthority } from "../accounts/authority.ts";
import { CSRF_HEADER } from "../accounts/cookies.ts";
import { AccountsError } from "../accounts/errors.ts";
import type { Log } from "../accounts/log.ts";
import { REASONS, type Reason } from "../accounts/reasons.ts";
import { actorOf, type Sessions } from "../accounts/sessions.ts";
import type { SignIn } from "../accounts/signin.ts";
import type { Session, User } from "../accounts/snapshot.ts";
import type { Actor, Store } from "../accounts/store.ts";
import type { Identity, RequestFacts } from "../authority.ts";
import { ROLE_TOO_LOW } from "../errors.ts";
import { atLeast, type Role } from "../roles.ts";
import { type Frame, layout, message, type Page } from "./layout.ts";
import { proofPage } from "./proof.ts";
import type { Answer } from "./respond.ts";
import { inWords } from "./words.ts";

export type PageFacts = RequestFacts & { path: string; query: URLSearchParams };
export type Form = ReadonlyMap<string, string>;

export interface Route {
	get?(facts: PageFacts): Answer | Promise<Answer>;
	post?(facts: PageFacts, form: Form): Promise<Answer>;
}

/** Somebody signed in, on a page. */
export interface Visit {
	facts: PageFacts;
	session: Session;
	user: User;
	actor: Actor;
	/** For the field `csrf` of each form. */
	csrf: string;
	/** For the field `once` of forms that must not act twice. */
	once: string;
	/** Milliseconds. */
	now: number;
}

/** What an act left to be told on the page that it was made from. */
export interface Notice {
	error?: string;
	/** What was filled in. */
	form?: Form;
}

export interface VisitParts {
	/** The stack's name. */
	name: string;
	store: Store;
	authority: AccountsAuthority;
	sessions: Sessions;
	signIn: SignIn;
	log: Log;
}

interface Unproved {
	status: number;
	error?: string;
	/** Seconds. */
	retryAfter?: number;
}

/** Forms that were sent, kept so that a second click does not act twice. */
const MOST_SENT = 2_000;

const SENT_ALREADY = {
	title: "Sent already",
	texts: ["This form was sent before, and has acted. Sending it again changes nothing."],
} as const;

export class Visits {
	readonly #parts: VisitParts;
	readonly #sent = new Set<string>();

	constructor(parts: VisitParts) {
		this.#parts = parts;
	}

	/** A page that people with the role see, in their session. */
	page(needs: Role, show: (visit: Visit) => Answer | Promise<Answer>): (facts: PageFacts) => Promise<Answer> {
		return async (facts) => {
			const visit = await this.#visit(facts, needs);
			return "session" in visit ? this.#withCookies(visit, await show(visit)) : visit;
		};
	}

	/** A page that every credential with the role may read. */
	reading(needs: Role, show: (identity: Identity) => Promise<Answer>): (facts: PageFacts) => Promise<Answer> {
		return async (facts) => {
			const identity = await this.#identify(facts, needs);
			return "user" in identity ? await show(identity) : identity;
		};
	}

	/**
	 * What a form of such a page does.
	 * @param back the page that the form is on: it tells what went wrong
	 * @param asks the form has the field `proof` itself, and it must be right whatever was proved before
	 */
	act(
		needs: Role,
		back: (visit: Visit, notice: Notice) => Answer | Promise<Answer>,
		does: (visit: Visit, form: Form) => Promise<Answer>,
		asks = false,
	): (facts: PageFacts, form: Form) => Promise<Answer> {
		return async (facts, form) => {
			const visit = await this.#visit(facts, needs);
			if (!("session" in visit)) return visit;
			const forged = this.#forged(visit, form);
			if (forged) return forged;
			const unproved = await this.#proof(visit, asks ? (form.get("proof") ?? "") : form.get("proof"));
			if (unproved) {
				const { status, error, retryAfter } = unproved;
				const page = asks
					? await back(visit, { error, form })
					: this.show(
							status,
							proofPage(this.#parts.name, { frame: frameOf(visit), path: facts.path, form, error }),
						);
				return { ...page, status, retryAfter };
			}
			const sent = form.has("once")
				? JSON.stringify([visit.session.id, facts.path, form.get("name"), form.get("once")])
				: undefined;
			if (sent !== undefined) {
				if (this.#sent.has(sent)) {
					const { title, texts } = SENT_ALREADY;
					return this.message(409, title, texts, { href: pageOf(facts.path), label: "Back" }, visit);
				}
				this.#remember(sent);
			}
			try {
				return await does(visit, form);
			} catch (error) {
				if (sent !== undefined) this.#sent.delete(sent);
				if (!(error instanceof AccountsError)) throw error;
				if (error.status >= 500) this.#parts.log.warn({ err: error }, "a page could not do its work");
				return { ...(await back(visit, { error: wordsOf(error), form })), ...statusOf(error) };
			}
		};
	}

	/** A page that only tells something. */
	message(
		status: number,
		title: string,
		texts: readonly string[],
		action?: { href: string; label: string },
		visit?: Visit,
	): Answer {
		const page = message(title, texts, action);
		return this.show(status, visit ? { ...page, frame: frameOf(visit) } : page);
	}

	show(status: number, page: Page): Answer {
		return { status, body: layout(this.#parts.name, page) };
	}

	async #identify(facts: PageFacts, needs: Role): Promise<Identity | Answer> {
		const verdict = await this.#parts.authority.authenticate(facts);
		if (!verdict.ok) return this.#stranger(facts, verdict.reason);
		const { identity } = verdict;
		if (atLeast(identity.role, needs)) return identity;
		const told = this.message(
			403,
			"Not with your role",
			[`This page needs the role ${needs}. You are ${identity.user}, ${identity.role}.`],
			{ href: "/account", label: "Your account" },
		);
		return { ...told, refused: { reason: ROLE_TOO_LOW[needs], identity } };
	}

	async #visit(facts: PageFacts, needs: Role): Promise<Visit | Answer> {
		const identity = await this.#identify(facts, needs);
		if (!("user" in identity)) return identity;
		if (identity.kind === "tailnet") return this.#member(facts, identity);
		const { sessions, store } = this.#parts;
		const session =
			identity.kind === "session" ? store.snapshot.sessions.get(identity.credential) : undefined;
		if (!session) {
			return this.message(403, "For browsers", [
				"This page belongs to a person who has signed in at /login, in a browser. Tokens and Basic passwords are for MLflow's API.",
			]);
		}
		return {
			facts,
			session,
			user: session.user,
			actor: actorOf(facts, session.user, session.id),
			csrf: sessions.csrfToken(session.id),
			once: randomBytes(9).toString("base64url"),
			now: store.clock(),
		};
	}

	/** Members of the tailnet are known without an account, and have nothing here that could be changed. */
	#member({ method, path }: PageFacts, { user, role, granted }: Identity): Answer {
		const by = granted ? "by a grant of the tailnet's policy" : "by who you are in the tailnet";
		const texts = [
			`You are ${user}, ${role}, ${by}: nothing to type, nothing to sign out of.`,
			"API tokens and sessions belong to accounts with a password. Sign in with yours, or ask an admin for an invitation.",
		];
		const page = message("Your account", texts, { href: `/login?next=${pageOf(path)}`, label: "Sign in" });
		const shown = method !== "POST" && pageOf(path) === "/account";
		return this.show(shown ? 200 : 403, { ...page, frame: { user, role, at: "account" } });
	}

	#stranger(facts: PageFacts, reason: Reason): Answer {
		const { status, message } = REASONS[reason];
		const next = `/login?next=${encodeURIComponent(pageOf(facts.path))}`;
		if (status === 401 && facts.method !== "POST" && facts.headers.authorization === undefined)
			return { status: 303, location: next };
		const told = this.message(
			status,
			status === 401 ? "Sign in first" : "This did not work",
			[message, ...(facts.method === "POST" ? ["Nothing was changed."] : [])],
			status === 401 ? { href: next, label: "Sign in" } : undefined,
		);
		return { ...told, refused: { reason } };
	}

	#forged({ facts, session, user }: Visit, form: Form): Answer | undefined {
		// The form field stands for the header that scripts send.
		const headers = { ...facts.headers, [CSRF_HEADER]: form.get("csrf") ?? facts.headers[CSRF_HEADER] };
		const identity = { kind: "session", user: user.name, role: user.role, credential: session.id } as const;
		const reason = this.#parts.authority.checkCsrf({ ...facts, headers }, identity);
		if (!reason) return undefined;
		const told = this.message(
			REASONS[reason].status,
			"Not from this page",
			["This form does not belong to your session. Nothing was changed."],
			{ href: pageOf(facts.path), label: "Load the page again" },
		);
		return { ...told, refused: { reason, identity } };
	}

	/** Why this is not the person at the keyboard; undefined if it is. No `error`: nobody has asked yet. */
	async #proof({ facts, session, user }: Visit, typed: string | undefined): Promise<Unproved | undefined> {
		const { sessions, signIn } = this.#parts;
		if (typed === undefined) return sessions.isProved(session) ? undefined : { status: 403 };
		const tried = await signIn.check(user.name, typed, sessions.placeOf(facts, user), "known");
		if (tried.ok) {
			sessions.prove(session);
			return undefined;
		}
		if (tried.reason === "PASSWORD_WRONG") return { status: 403, error: "This is not your password." };
		const { retryAfter } = tried;
		const { status, message } = REASONS[tried.reason];
		return { status, error: `${message} (${inWords(retryAfter)})`, retryAfter };
	}

	#remember(sent: string): void {
		this.#sent.add(sent);
		if (this.#sent.size > MOST_SENT) this.#sent.delete(this.#sent.values().next().value as string);
	}

	#withCookies({ facts, session, user }: Visit, answer: Answer): Answer {
		const identity = { kind: "session", user: user.name, role: user.role, credential: session.id } as const;
		const cookies = this.#parts.authority.setCookies(facts, identity);
		return cookies.length === 0 ? answer : { ...answer, cookies: [...(answer.cookies ?? []), ...cookies] };
	}
}

export const frameOf = ({ user, facts }: Visit): Frame => ({
	user: user.name,
	role: user.role,
	at: facts.path.startsWith("/admin") ? "admin" : facts.path.startsWith("/account") ? "account" : undefined,
});

/** Where the forms of an act's path stand: `/account/tokens/revoke` is on `/account`, `/admin/users/role` on `/admin`. */
export function pageOf(path: string): string {
	const [, house = "", room = ""] = path.split("/");
	if (house !== "admin") return `/${house}`;
	return ROOMS.has(room) ? `/admin/${room}` : "/admin";
}

const ROOMS: ReadonlySet<string> = new Set(["tokens", "sessions", "audit"]);

/** Commands are for whoever runs the stack, not for whoever opens a page. */
export function wordsOf({ message, fix }: AccountsError): string {
	return fix.includes("`")
		? `${message} ${message.endsWith("certain.") ? "Try again in a moment." : ""}`.trim()
		: `${message} ${fix}`;
}

const statusOf = ({ status }: AccountsError): Pick<Answer, "status" | "retryAfter"> =>
	status === 503 ? { status, retryAfter: 5 } : { status };
