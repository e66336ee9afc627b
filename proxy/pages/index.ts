/**
 * The door's pages and their style sheet: plain HTML made here, for browsers and, with the same fields, for
 * scripts. Whatever a client sends ends in one of these answers, never in an exception. Here are those for
 * people who are not signed in; `account.ts`, `admin.ts`, `audit.ts` and `status.ts` have the others.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type AccountsAuthority, isSameOrigin } from "../accounts/authority.ts";
import type { Cookies } from "../accounts/cookies.ts";
import { CSRF_HEADER, plantedCookies } from "../accounts/cookies.ts";
import { AccountsError } from "../accounts/errors.ts";
import type { Links } from "../accounts/links.ts";
import type { Log } from "../accounts/log.ts";
import { userName } from "../accounts/names.ts";
import { REASONS } from "../accounts/reasons.ts";
import { actorOf, type Sessions } from "../accounts/sessions.ts";
import type { SignIn } from "../accounts/signin.ts";
import type { Store } from "../accounts/store.ts";
import type { Tokens } from "../accounts/tokens.ts";
import type { Users } from "../accounts/users.ts";
import type { AuditSearch } from "../audit/search.ts";
import type { AuditTrail } from "../audit/trail.ts";
import type { Check, Pages } from "../authority.ts";
import { MENU_ASSETS } from "../menu/assets.ts";
import { accountRoutes } from "./account.ts";
import { adminRoutes, tabs } from "./admin.ts";
import { auditRoutes } from "./audit.ts";
import { type FormRefusal, readForm } from "./form.ts";
import { html } from "./html.ts";
import { type InviteErrors, invitePage } from "./invite.ts";
import { layout, message, type Page, STYLE, STYLE_PATH } from "./layout.ts";
import { loginPage } from "./login.ts";
import { signedOutPage, signOutPage } from "./logout.ts";
import { ownPath } from "./next.ts";
import { type Answer, type Refused, respond } from "./respond.ts";
import { shared, statusPage } from "./status.ts";
import { type Form, type PageFacts, pageOf, type Route, Visits, wordsOf } from "./visit.ts";
import { inWords } from "./words.ts";

export interface PagesParts {
	/** The stack's name. */
	name: string;
	store: Store;
	authority: AccountsAuthority;
	sessions: Sessions;
	signIn: SignIn;
	users: Users;
	tokens: Tokens;
	links: Links;
	cookies: Cookies;
	trail: Pick<AuditTrail, "note" | "flush">;
	search: AuditSearch;
	/** Round trips through everything behind the door. */
	checks(): Promise<Check[]>;
	log: Log;
}

const INVITE = "/invite/";

const FORM_REFUSALS: Record<FormRefusal, { status: number; text: string }> = {
	type: { status: 415, text: "This page takes a form (application/x-www-form-urlencoded)." },
	size: { status: 413, text: "This form is longer than any that belongs here." },
	slow: { status: 408, text: "The form did not arrive in time." },
	broken: { status: 400, text: "This form cannot be read." },
};

const SIGN_IN_AGAIN = { href: "/login", label: "Sign in" };

export class AccountPages implements Pages {
	readonly paths = [
		"/login",
		"/logout",
		INVITE,
		"/account",
		"/account/",
		"/admin",
		"/admin/",
		"/status",
		"/door/assets/",
	] as const;
	readonly #parts: PagesParts;
	readonly #routes: Record<string, Route>;

	constructor(parts: PagesParts) {
		this.#parts = parts;
		const visits = new Visits(parts);
		const checks = shared(parts.checks);
		this.#routes = {
			"/login": { get: (facts) => this.#showLogin(facts), post: (facts, form) => this.#login(facts, form) },
			"/logout": {
				get: (facts) => this.#showLogout(facts),
				post: (facts, form) => this.#logout(facts, form),
			},
			...accountRoutes({ ...parts, visits }),
			...adminRoutes({ ...parts, visits }),
			...auditRoutes({ ...parts, visits, tabs }),
			"/status": {
				get: visits.reading("viewer", async (identity) => {
					const results = await checks();
					const ok = results.every((check) => check.ok);
					return visits.show(ok ? 200 : 503, statusPage({ ok, checks: results }, identity));
				}),
			},
			[STYLE_PATH]: { get: () => asset("text/css; charset=utf-8", STYLE) },
			...Object.fromEntries(
				MENU_ASSETS.map(({ path, type, body }) => [path, { get: () => asset(type, body) }]),
			),
		};
	}

	/** Never throws. */
	async handle(req: IncomingMessage, res: ServerResponse, facts: PageFacts): Promise<void> {
		let answer: Answer;
		try {
			answer = await this.#answer(req, facts);
		} catch (error) {
			answer = this.#failed(error);
		}
		if (answer.refused) this.#note(facts, answer.status, answer.refused);
		try {
			respond(req, res, answer, (error) => {
				if (error && !req.destroyed)
					this.#parts.log.warn({ err: error }, "a page could not be sent to its end");
			});
		} catch (error) {
			this.#parts.log.error({ err: error }, "a page could not be sent");
			res.destroy();
		}
	}

	/** A page of the door's own look that only tells something, for whoever else answers browsers. */
	message(
		status: number,
		title: string,
		texts: readonly string[],
		action?: { href: string; label: string },
	): Answer {
		return this.#page(status, message(title, texts, action));
	}

	async #answer(req: IncomingMessage, facts: PageFacts): Promise<Answer> {
		const route = this.#route(facts.path);
		if (!route) return this.message(404, "Not found", ["There is no such page here."]);
		if (plantedCookies(facts).length > 0) {
			const told = this.message(400, "A cookie was planted", [
				REASONS.HEADER_COOKIE.message,
				"Reload this page.",
			]);
			const cookies = this.#parts.authority.clearPlanted(facts);
			return { ...told, cookies, refused: { reason: "HEADER_COOKIE" } };
		}
		if (facts.method === "GET" || facts.method === "HEAD") {
			// The address of a form's answer, opened again: the page that the form is on.
			return route.get ? await route.get(facts) : { status: 303, location: pageOf(facts.path) };
		}
		if (facts.method !== "POST" || !route.post) {
			const allow = route.post ? "GET, HEAD, POST" : "GET, HEAD";
			return { ...this.message(405, "Not like this", [`This page takes ${allow}.`]), allow };
		}
		if (facts.headers.authorization !== undefined) {
			return this.message(400, "Not with an Authorization header", [
				"This form starts or ends a browser's session. Send it without an Authorization header.",
			]);
		}
		if (!isSameOrigin(facts)) {
			const texts = ["This form was sent by a page that is not ours."];
			const told = this.message(403, "Sent by another site", texts, SIGN_IN_AGAIN);
			return { ...told, refused: { reason: "CSRF_ORIGIN" } };
		}
		const form = await readForm(req);
		if (typeof form === "string") {
			return this.message(FORM_REFUSALS[form].status, "This did not work", [FORM_REFUSALS[form].text]);
		}
		return await route.post(facts, form);
	}

	#route(path: string): Route | undefined {
		if (Object.hasOwn(this.#routes, path)) return this.#routes[path];
		if (!path.startsWith(INVITE)) return undefined;
		const code = path.slice(INVITE.length);
		return {
			get: (facts) => this.#showInvite(facts, code),
			post: (facts, form) => this.#invite(facts, form, code),
		};
	}

	async #showLogin(facts: PageFacts): Promise<Answer> {
		const next = ownPath(facts.query.get("next"));
		if (await this.#parts.sessions.cookieSession(facts)) return { status: 303, location: next };
		return this.#page(200, loginPage(this.#parts.name, { next }));
	}

	async #login(facts: PageFacts, form: Form): Promise<Answer> {
		const { sessions, signIn, store, name: stack } = this.#parts;
		const next = ownPath(form.get("next") ?? facts.query.get("next"));
		const name = (form.get("username") ?? "").slice(0, 64);
		const known = store.snapshot.userNamed(userName(name) ?? "");
		const tried = await signIn.check(name, form.get("password") ?? "", sessions.placeOf(facts, known));
		if (tried.ok) {
			const { cookies } = await sessions.signIn(tried.user.id, tried.generation, facts);
			return { status: 303, location: next, cookies };
		}
		const { status, message: error } = REASONS[tried.reason];
		if (tried.reason === "PASSWORD_WRONG") return this.#page(status, loginPage(stack, { next, name, error }));
		const { retryAfter } = tried;
		const page = message(
			tried.reason === "SIGN_IN_LIMITED" ? "Too many tries" : "Busy",
			[
				html`Wait <strong>${inWords(retryAfter)}</strong>, then try again.`,
				"Nobody is locked out: whoever is signed in already stays signed in, and API tokens go on working.",
			],
			{ href: `/login?next=${encodeURIComponent(next)}`, label: "Back to sign in" },
		);
		return { ...this.#page(status, page), retryAfter };
	}

	async #showLogout(facts: PageFacts): Promise<Answer> {
		const { sessions } = this.#parts;
		const session = await sessions.cookieSession(facts);
		if (!session) return this.#page(200, signedOutPage());
		const { user } = session;
		return this.#page(
			200,
			signOutPage({ user: user.name, role: user.role, csrf: sessions.csrfToken(session.id) }),
		);
	}

	async #logout(facts: PageFacts, form: Form): Promise<Answer> {
		const { sessions, authority, cookies } = this.#parts;
		const session = await sessions.cookieSession(facts);
		if (session) {
			// The form field stands for the header that scripts send.
			const headers = { ...facts.headers, [CSRF_HEADER]: form.get("csrf") ?? facts.headers[CSRF_HEADER] };
			const { user, id } = session;
			const identity = { kind: "session", user: user.name, role: user.role, credential: id } as const;
			const reason = authority.checkCsrf({ ...facts, headers }, identity);
			if (reason) {
				const told = this.message(REASONS[reason].status, "Not signed out", [REASONS[reason].message]);
				return { ...told, refused: { reason, identity } };
			}
			await sessions.end(id, actorOf(facts, user));
		}
		return { status: 303, location: "/logout", cookies: cookies.signedOut(facts) };
	}

	#showInvite(facts: PageFacts, code: string): Answer {
		const { links, name } = this.#parts;
		return this.#page(200, invitePage(name, links.look(code, facts)));
	}

	async #invite(facts: PageFacts, form: Form, code: string): Promise<Answer> {
		const { links, name: stack } = this.#parts;
		const link = links.look(code, facts);
		const name = (form.get("username") ?? "").slice(0, 64);
		const password = form.get("password") ?? "";
		const again = (status: number, errors: InviteErrors) =>
			this.#page(status, invitePage(stack, link, { name, errors }));
		if (form.has("repeat") && form.get("repeat") !== password) {
			const { status, message } = new AccountsError("PASSWORD_REPEAT");
			return again(status, { repeat: message });
		}
		try {
			const { cookies } = await links.spend(code, { name, password }, facts);
			return { status: 303, location: "/", cookies };
		} catch (error) {
			if (!(error instanceof AccountsError)) throw error;
			const at = INVITE_FIELDS[error.code];
			if (!at) throw error;
			return again(error.status, { [at]: error.message });
		}
	}

	#failed(error: unknown): Answer {
		if (!(error instanceof AccountsError)) {
			this.#parts.log.error({ err: error }, "a page failed");
			return this.message(500, "This did not work", [
				"The door failed; its log says why. Nothing was changed.",
			]);
		}
		const { status } = error;
		if (status >= 500) this.#parts.log.warn({ err: error }, "a page could not do its work");
		const title = TITLES[error.code] ?? "This did not work";
		const action = error.code === "LINK_SPENT" ? SIGN_IN_AGAIN : undefined;
		const told = this.message(status, title, [wordsOf(error)], action);
		if (status === 503) return { ...told, retryAfter: 5 };
		return error.code.startsWith("LINK_") ? { ...told, refused: { reason: error.code } } : told;
	}

	#note({ listener, remoteAddress, path }: PageFacts, status: number, { reason, identity }: Refused): void {
		this.#parts.trail.note({
			act: "page.refuse",
			actor: identity?.user ?? "",
			role: identity?.role,
			credential: identity?.credential,
			listener,
			address: remoteAddress,
			// Not the path itself: a link's code is in it.
			route: pageOf(path),
			status,
			reason,
		});
	}

	#page(status: number, page: Page): Answer {
		return { status, body: layout(this.#parts.name, page) };
	}
}

/** Errors that belong to a field of the invitation form. */
const INVITE_FIELDS: Partial<Record<AccountsError["code"], keyof InviteErrors>> = {
	USER_NAME: "name",
	USER_EXISTS: "name",
	PASSWORD_POLICY: "password",
};

const TITLES: Partial<Record<AccountsError["code"], string>> = {
	LINK_UNKNOWN: "This link is not valid",
	LINK_SPENT: "Used already",
	LINK_EXPIRED: "This link has expired",
	LINK_ELSEWHERE: "Open this on the machine itself",
	DATABASE_AWAY: "Not right now",
	BUSY: "Not right now",
	SUPERSEDED: "Not this door",
};

const asset = (type: string, body: Buffer): Answer => ({
	status: 200,
	type,
	cache: "public, max-age=31536000, immutable",
	body,
});
