/** `/account`: who am I, my API tokens, my sessions, my password. */
import type { Cookies } from "../accounts/cookies.ts";
import { AccountsError } from "../accounts/errors.ts";
import { LENGTH } from "../accounts/passwords.ts";
import type { Sessions } from "../accounts/sessions.ts";
import type { Tokens } from "../accounts/tokens.ts";
import type { Users } from "../accounts/users.ts";
import { atLeast, isRole, ROLES } from "../roles.ts";
import { type Html, html } from "./html.ts";
import { choice, field, table, userHint } from "./layout.ts";
import { button, byUse, isOver, lines, sessionColumns, tokenColumns, told } from "./parts.ts";
import type { Answer } from "./respond.ts";
import { type Form, frameOf, type Notice, type Route, type Visit, type Visits } from "./visit.ts";
import { when } from "./words.ts";

export interface AccountPageParts {
	visits: Visits;
	users: Users;
	tokens: Tokens;
	sessions: Sessions;
	cookies: Cookies;
}

const MAY = {
	viewer: "You may read everything: runs, metrics, artifacts and models.",
	editor: "You may read and write, and delete what MLflow can restore.",
	admin: "You may do everything, deleting for good and managing users included.",
} as const;

export const EXPIRIES = [
	{ value: "24h", label: "1 day" },
	{ value: "30d", label: "30 days" },
	{ value: "90d", label: "90 days" },
	{ value: "365d", label: "1 year" },
	{ value: "never", label: "never" },
] as const;

/** A value that every POSIX shell takes as it is. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

export function accountRoutes(parts: AccountPageParts): Record<string, Route> {
	const { visits, tokens, sessions, users, cookies } = parts;

	function show(visit: Visit, notice: Notice = {}, made?: Html): Answer {
		return visits.show(200, {
			title: "Your account",
			frame: { ...frameOf(visit), at: "account" },
			body: html`<h1>Your account</h1>
${told(visit, notice)}
${made}
${whoAmI(visit)}
${tokensCard(visit, notice)}
${sessionsCard(visit)}
${passwordCard(visit)}`,
		});
	}

	const whoAmI = ({ user, session, now }: Visit): Html => html`<section class="card" aria-labelledby="who">
<h2 id="who">${user.name}</h2>
<dl>
<div><dt>Role</dt><dd><strong>${user.role}</strong>. ${MAY[user.role]}</dd></div>
<div><dt>Signed in</dt><dd>by password, ${when(session.created, now)}; it ends ${when(session.expires, now)} at the latest</dd></div>
</dl>
</section>`;

	function tokensCard(visit: Visit, { form }: Notice): Html {
		const { user } = visit;
		const mine = tokens.list().filter((token) => token.user === user.name);
		const { name, role, expires, used } = tokenColumns(visit);
		const revoke = (token: (typeof mine)[number]) =>
			isOver(token)
				? html``
				: button(visit, "/account/tokens/revoke", { id: token.id }, "Revoke", token.name, "small danger");
		return html`<section class="card" id="tokens" aria-labelledby="tokens-title">
<h2 id="tokens-title">API tokens</h2>
<p class="lead">One for each script, so that each can be taken back alone. A token does no more than you can.</p>
${table("Your API tokens", mine.sort(byUse), [name, role, expires, used, { label: "Revoke", acts: true, cell: revoke }], "You have no tokens yet.", isOver)}
<h3>Make a token</h3>
<form method="post" action="/account/tokens" class="row">
<input type="hidden" name="csrf" value="${visit.csrf}">
<input type="hidden" name="once" value="${visit.once}">
${field({ name: "name", label: "Name", autocomplete: "off", maxLength: 64, value: form?.get("name") })}
${choice({
	name: "role",
	label: "Role",
	value: form?.get("role") ?? "viewer",
	options: ROLES.filter((role) => atLeast(user.role, role)).map((role) => ({ value: role, label: role })),
})}
${choice({ name: "expires", label: "Works for", value: form?.get("expires") ?? "90d", options: EXPIRIES })}
<button type="submit">Make token</button>
</form>
</section>`;
	}

	function sessionsCard(visit: Visit): Html {
		const end = (session: Visit["session"]) =>
			session === visit.session
				? html`<span class="tag">this one</span>`
				: button(visit, "/account/sessions/end", { id: session.id }, "End", "this session");
		return html`<section class="card" id="sessions" aria-labelledby="sessions-title">
<h2 id="sessions-title">Sessions</h2>
<p class="lead">Where you are signed in. Signing out everywhere ends this one too; API tokens go on.</p>
${table("Your sessions", sessions.list(visit.user), sessionColumns(visit, end), "")}
${button(visit, "/account/sessions/end-all", {}, "Sign out everywhere", "", "quiet fit")}
</section>`;
	}

	const passwordCard = (
		visit: Visit,
	): Html => html`<section class="card" id="password-card" aria-labelledby="password-title">
<h2 id="password-title">Password</h2>
<p class="lead">A new one ends your other sessions. API tokens go on.</p>
<form method="post" action="/account/password" class="row">
<input type="hidden" name="csrf" value="${visit.csrf}">
${userHint(visit.user.name)}
${field({ name: "proof", label: "Password now", type: "password", autocomplete: "current-password", maxLength: 512 })}
${field({
	name: "password",
	label: "New password",
	type: "password",
	autocomplete: "new-password",
	minLength: LENGTH.least,
	maxLength: LENGTH.most,
})}
${field({
	name: "repeat",
	label: "New password again",
	type: "password",
	autocomplete: "new-password",
	minLength: LENGTH.least,
	maxLength: LENGTH.most,
})}
<button type="submit">Change password</button>
</form>
</section>`;

	async function make(visit: Visit, form: Form): Promise<Answer> {
		const { user, actor, facts } = visit;
		const role = form.get("role");
		if (!isRole(role)) return show(visit, { error: "Choose one of the roles.", form });
		const wish = { name: form.get("name") ?? "", role, user: user.name, expires: form.get("expires") };
		const { text, token } = await tokens.create(actor, wish);
		const env = [
			["MLFLOW_TRACKING_URI", facts.origin],
			["MLFLOW_TRACKING_TOKEN", text],
		] as const;
		const made = lines(`Token ${token.name}, ${token.role}`, [
			{ label: "Shell", text: env.map(([name, value]) => `export ${name}=${quoted(value)}`).join("\n") },
			{
				label: "Python",
				text: `import os\n${env.map(([name, value]) => `os.environ["${name}"] = ${JSON.stringify(value)}`).join("\n")}`,
			},
		]);
		return show(visit, {}, made);
	}

	async function revoke(visit: Visit, form: Form): Promise<Answer> {
		const id = form.get("id") ?? "";
		const mine = tokens.list().some((token) => token.id === id && token.user === visit.user.name);
		if (!mine) throw new AccountsError("TOKEN_UNKNOWN", JSON.stringify(id.slice(0, 40)));
		await tokens.revoke(visit.actor, id);
		return { status: 303, location: "/account?done=token-revoked#tokens" };
	}

	async function end(visit: Visit, form: Form): Promise<Answer> {
		const session = sessions.list(visit.user).find(({ id }) => id === form.get("id"));
		// One that is over already needs no ending.
		if (session) await sessions.end(session.id, visit.actor);
		if (session === visit.session) return signedOut(visit);
		return { status: 303, location: "/account?done=session-ended#sessions" };
	}

	async function endAll(visit: Visit): Promise<Answer> {
		await sessions.endEverywhere(visit.user, visit.actor);
		return signedOut(visit);
	}

	const signedOut = ({ facts }: Visit): Answer => ({
		status: 303,
		location: "/logout",
		cookies: cookies.signedOut(facts),
	});

	async function changePassword(visit: Visit, form: Form): Promise<Answer> {
		const { user, facts, actor } = visit;
		const password = form.get("password") ?? "";
		if (form.get("repeat") !== password) throw new AccountsError("PASSWORD_REPEAT");
		const session = await users.changePassword(actor, user, user.generation, password, facts);
		return { status: 303, location: "/account?done=password", cookies: session.cookies };
	}

	return {
		"/account": { get: visits.page("viewer", (visit) => show(visit)) },
		"/account/tokens": { post: visits.act("viewer", show, make) },
		"/account/tokens/revoke": { post: visits.act("viewer", show, revoke) },
		"/account/sessions/end": { post: visits.act("viewer", show, end) },
		"/account/sessions/end-all": { post: visits.act("viewer", show, endAll) },
		"/account/password": { post: visits.act("viewer", show, changePassword, true) },
	};
}
