/** `/admin`: users and invitations, all tokens, all sessions. For admins. */
import { AccountsError } from "../accounts/errors.ts";
import type { Links, NewLink } from "../accounts/links.ts";
import type { Sessions } from "../accounts/sessions.ts";
import type { Session } from "../accounts/snapshot.ts";
import type { Tokens } from "../accounts/tokens.ts";
import type { Users, UserView } from "../accounts/users.ts";
import { isRole, ROLES } from "../roles.ts";
import { type Html, html } from "./html.ts";
import { choice, field, table } from "./layout.ts";
import { button, byUse, isOver, lines, sessionColumns, tokenColumns, told } from "./parts.ts";
import type { Answer } from "./respond.ts";
import { type Form, frameOf, type Notice, type Route, type Visit, type Visits } from "./visit.ts";
import { exact, when } from "./words.ts";

export interface AdminPageParts {
	visits: Visits;
	users: Users;
	links: Links;
	tokens: Tokens;
	sessions: Sessions;
}

const TABS = [
	["/admin", "Users"],
	["/admin/tokens", "Tokens"],
	["/admin/sessions", "Sessions"],
	["/admin/audit", "Audit"],
] as const;

export const tabs = (here: string): Html => html`<nav class="tabs" aria-label="Admin">
${TABS.map(([href, label]) => html`<a href="${href}"${href === here && html` aria-current="page"`}>${label}</a>`)}
</nav>`;

const ROLE_CHOICES = ROLES.map((role) => ({ value: role, label: role }));

const STATES: Readonly<Record<UserView["state"], string>> = {
	active: "",
	invited: "invited",
	disabled: "disabled",
	system: "built in",
};

const LINK_KINDS = { "first-admin": "first admin", invite: "invitation", reset: "recovery" } as const;

export function adminRoutes({
	visits,
	users,
	links,
	tokens,
	sessions,
}: AdminPageParts): Record<string, Route> {
	const page = (visit: Visit, notice: Notice, here: string, body: Html): Answer =>
		visits.show(200, {
			title: TABS.find(([href]) => href === here)?.[1] ?? "Admin",
			frame: frameOf(visit),
			body: html`<h1>Admin</h1>
${tabs(here)}
${told(visit, notice)}
${body}`,
		});

	function showUsers(visit: Visit, notice: Notice = {}, made?: Html): Answer {
		return page(
			visit,
			notice,
			"/admin",
			html`${made}
${usersCard(visit)}
${inviteCard(visit, notice)}
${pendingCard(visit)}`,
		);
	}

	function usersCard(visit: Visit): Html {
		const role = ({ name, role, state }: UserView): Html =>
			state === "system"
				? html`${role}`
				: html`<form method="post" action="/admin/users/role" class="inline">
<input type="hidden" name="csrf" value="${visit.csrf}">
<input type="hidden" name="name" value="${name}">
${choice({ name: "role", label: `Role of ${name}`, value: role, options: ROLE_CHOICES, id: `role-${name}` })}
<button type="submit" class="small">Set<span class="said"> the role of ${name}</span></button>
</form>`;
		const acts = ({ name, state }: UserView): Html => {
			if (state === "system") return html``;
			if (state === "disabled") return button(visit, "/admin/users/enable", { name }, "Enable", name);
			const link = state === "invited" ? "New invitation link" : "Recovery link";
			return html`${button(visit, "/admin/users/link", { name, once: visit.once }, link, `for ${name}`)}
${button(visit, "/admin/users/disable", { name }, "Disable", name, "small danger")}`;
		};
		return html`<section class="card" aria-labelledby="users-title">
<h2 id="users-title">Users</h2>
${table(
	"Users",
	users.list(),
	[
		{
			label: "Name",
			cell: ({ name, state }) =>
				html`<strong>${name}</strong>${STATES[state] !== "" && html` <span class="tag">${STATES[state]}</span>`}${name === visit.user.name && html` <span class="tag">you</span>`}`,
		},
		{ label: "Role", cell: role },
		{ label: "Last seen", cell: ({ lastSeen }) => when(lastSeen, visit.now) },
		{ label: "Actions", acts: true, cell: acts },
	],
	"",
	({ state }) => state === "disabled",
)}
</section>`;
	}

	const inviteCard = (
		visit: Visit,
		{ form }: Notice,
	): Html => html`<section class="card" aria-labelledby="invite-title">
<h2 id="invite-title">Invite somebody</h2>
<p class="lead">Makes a link to send. Whoever opens it first chooses the password.</p>
<form method="post" action="/admin/invitations" class="row">
<input type="hidden" name="csrf" value="${visit.csrf}">
<input type="hidden" name="once" value="${visit.once}">
${field({ name: "username", label: "User name", autocomplete: "off", maxLength: 64, value: form?.get("username") })}
${choice({ name: "role", label: "Role", value: form?.get("username") !== undefined ? (form.get("role") ?? "viewer") : "viewer", options: ROLE_CHOICES })}
<button type="submit">Make invitation</button>
</form>
</section>`;

	function pendingCard(visit: Visit): Html {
		return html`<section class="card" aria-labelledby="pending-title">
<h2 id="pending-title">Links on their way</h2>
${table(
	"Links that nobody has used yet",
	links.pending(),
	[
		{ label: "For", cell: ({ user }) => html`<strong>${user}</strong>` },
		{ label: "Kind", cell: ({ kind }) => LINK_KINDS[kind] },
		{ label: "Role", cell: ({ role }) => role },
		{ label: "Ends", cell: ({ expires }) => when(expires, visit.now) },
		{
			label: "Withdraw",
			acts: true,
			cell: ({ user }) =>
				button(
					visit,
					"/admin/invitations/withdraw",
					{ name: user },
					"Withdraw",
					`the link for ${user}`,
					"small danger",
				),
		},
	],
	"No link waits for anybody.",
)}
</section>`;
	}

	const linkMade = ({ facts }: Visit, user: UserView, { path, expires }: NewLink): Html =>
		lines(`Link for ${user.name}, ${user.role}`, [
			{ label: `Works once, until ${exact(Date.parse(expires))}`, text: `${facts.origin}${path}` },
		]);

	async function invite(visit: Visit, form: Form): Promise<Answer> {
		const role = form.get("role");
		if (!isRole(role)) return showUsers(visit, { error: "Choose one of the roles.", form });
		const { user, link } = await links.invite(visit.actor, { name: form.get("username") ?? "", role });
		return showUsers(visit, {}, linkMade(visit, user, link));
	}

	async function newLink(visit: Visit, form: Form): Promise<Answer> {
		const { user, link } = await links.reset(visit.actor, form.get("name") ?? "");
		return showUsers(visit, {}, linkMade(visit, user, link));
	}

	const to = (location: string) => ({ status: 303, location });

	async function setRole(visit: Visit, form: Form): Promise<Answer> {
		const role = form.get("role");
		if (!isRole(role)) return showUsers(visit, { error: "Choose one of the roles." });
		await users.setRole(visit.actor, form.get("name") ?? "", role);
		return to("/admin?done=role");
	}

	async function disable(visit: Visit, form: Form): Promise<Answer> {
		await users.disable(visit.actor, form.get("name") ?? "");
		return to("/admin?done=disabled");
	}

	async function enable(visit: Visit, form: Form): Promise<Answer> {
		await users.enable(visit.actor, form.get("name") ?? "");
		return to("/admin?done=enabled");
	}

	async function withdraw(visit: Visit, form: Form): Promise<Answer> {
		await links.withdraw(visit.actor, form.get("name") ?? "");
		return to("/admin?done=withdrawn");
	}

	function showTokens(visit: Visit, notice: Notice = {}): Answer {
		const { name, role, expires, used } = tokenColumns(visit);
		return page(
			visit,
			notice,
			"/admin/tokens",
			html`<section class="card" aria-labelledby="all-tokens">
<h2 id="all-tokens">All API tokens</h2>
<p class="lead">Everybody makes their own at <a href="/account#tokens">Account</a>.</p>
${table(
	"All API tokens",
	tokens.list().sort(byUse),
	[
		name,
		{ label: "Owner", cell: ({ user }) => user },
		role,
		expires,
		used,
		{
			label: "Revoke",
			acts: true,
			cell: (token) =>
				isOver(token)
					? html``
					: button(
							visit,
							"/admin/tokens/revoke",
							{ id: token.id },
							"Revoke",
							`${token.name} of ${token.user}`,
							"small danger",
						),
		},
	],
	"There are none.",
	isOver,
)}
</section>`,
		);
	}

	async function revoke(visit: Visit, form: Form): Promise<Answer> {
		await tokens.revoke(visit.actor, (form.get("id") ?? "").slice(0, 64));
		return to("/admin/tokens?done=token-revoked");
	}

	function showSessions(visit: Visit, notice: Notice = {}): Answer {
		const end = (session: Session): Html =>
			session === visit.session
				? html`<span class="tag">this one</span>`
				: button(
						visit,
						"/admin/sessions/end",
						{ id: session.id },
						"End",
						`a session of ${session.user.name}`,
						"small danger",
					);
		return page(
			visit,
			notice,
			"/admin/sessions",
			html`<section class="card" aria-labelledby="all-sessions">
<h2 id="all-sessions">All sessions</h2>
${table(
	"All sessions",
	sessions.list(),
	[{ label: "User", cell: ({ user }) => html`<strong>${user.name}</strong>` }, ...sessionColumns(visit, end)],
	"Nobody is signed in.",
)}
</section>`,
		);
	}

	async function end(visit: Visit, form: Form): Promise<Answer> {
		const id = form.get("id") ?? "";
		if (id === visit.session.id) throw new AccountsError("SESSION_OWN");
		await sessions.end(id, visit.actor, "ended by an admin");
		return to("/admin/sessions?done=session-ended");
	}

	return {
		"/admin": { get: visits.page("admin", (visit) => showUsers(visit)) },
		"/admin/users/role": { post: visits.act("admin", showUsers, setRole) },
		"/admin/users/disable": { post: visits.act("admin", showUsers, disable) },
		"/admin/users/enable": { post: visits.act("admin", showUsers, enable) },
		"/admin/users/link": { post: visits.act("admin", showUsers, newLink) },
		"/admin/invitations": { post: visits.act("admin", showUsers, invite) },
		"/admin/invitations/withdraw": { post: visits.act("admin", showUsers, withdraw) },
		"/admin/tokens": { get: visits.page("admin", (visit) => showTokens(visit)) },
		"/admin/tokens/revoke": { post: visits.act("admin", showTokens, revoke) },
		"/admin/sessions": { get: visits.page("admin", (visit) => showSessions(visit)) },
		"/admin/sessions/end": { post: visits.act("admin", showSessions, end) },
	};
}
