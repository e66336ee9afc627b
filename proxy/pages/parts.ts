/** Pieces that the account page and the admin's pages share. */
import type { Session } from "../accounts/snapshot.ts";
import type { TokenView } from "../accounts/tokens.ts";
import { type Html, html } from "./html.ts";
import type { Column } from "./layout.ts";
import type { Notice, Visit } from "./visit.ts";
import { browser, place, when } from "./words.ts";

/** What a finished act tells on the page that it leads back to, by the value of `done` in the address. */
export const DONE: Readonly<Record<string, string>> = {
	"token-revoked": "The token is revoked. It stopped working at once.",
	"session-ended": "The session is ended.",
	password: "Your password is changed. Your other sessions are ended.",
	role: "The role is changed. It holds from the next request on.",
	disabled: "The user is disabled. Nothing of theirs works any more.",
	enabled: "The user is enabled. Password and tokens work again.",
	withdrawn: "The link is withdrawn.",
};

/** What went wrong, or what was done. */
export function told(visit: Visit, notice: Notice): Html | false {
	if (notice.error !== undefined) return html`<p class="note bad" role="alert">${notice.error}</p>`;
	const done = visit.facts.query.get("done") ?? "";
	return Object.hasOwn(DONE, done) && html`<p class="note good" role="status">${DONE[done]}</p>`;
}

/** A form of one button. @param about said to those who do not see the row that it stands in. */
export function button(
	visit: Visit,
	action: string,
	fields: Record<string, string>,
	label: string,
	about: string,
	look = "small",
): Html {
	return html`<form method="post" action="${action}">
<input type="hidden" name="csrf" value="${visit.csrf}">
${Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)}
<button type="submit" class="${look}">${label}<span class="said"> ${about}</span></button>
</form>`;
}

/** What was made and is shown this once: lines to take along. A click selects all of one block. */
export function lines(title: string, texts: readonly { label: string; text: string }[]): Html {
	return html`<section class="card once" aria-labelledby="once-title">
<h2 id="once-title">${title}</h2>
<p class="lead">It is shown this once and kept nowhere. A click selects a whole block.</p>
${texts.map(
	({ label, text }) => html`<h3>${label}</h3>
<pre tabindex="0" aria-label="${label}"><code>${text}</code></pre>`,
)}
</section>`;
}

export function sessionColumns(visit: Visit, end: (session: Session) => Html): Column<Session>[] {
	return [
		{ label: "Browser", cell: ({ userAgent }) => browser(userAgent) },
		{ label: "From", cell: ({ listener, lastAddress }) => place(listener, lastAddress) },
		{ label: "Signed in", cell: ({ created }) => when(created, visit.now) },
		{ label: "Last used", cell: ({ lastUsed }) => when(lastUsed, visit.now) },
		{ label: "End", acts: true, cell: end },
	];
}

export function tokenColumns(visit: Visit): {
	[name in "name" | "role" | "expires" | "used"]: Column<TokenView>;
} {
	return {
		name: {
			label: "Name",
			cell: ({ name, state }) =>
				html`<strong>${name}</strong>${state !== "active" && html` <span class="tag">${state}</span>`}`,
		},
		role: {
			label: "Role",
			cell: ({ role, scope }) =>
				html`${role}${scope !== "all" && html` <span class="tag">${scope} only</span>`}`,
		},
		expires: { label: "Expires", cell: ({ expires }) => when(expires, visit.now) },
		used: {
			label: "Last used",
			cell: ({ lastUsed, lastAddress }) =>
				html`${when(lastUsed, visit.now)}${lastAddress !== null && html` <span class="soft">from ${lastAddress}</span>`}`,
		},
	};
}

export const isOver = ({ state }: TokenView): boolean => state !== "active";

/** Working ones first, then the newest. */
export const byUse = (one: TokenView, other: TokenView): number =>
	Number(isOver(one)) - Number(isOver(other)) || (one.created < other.created ? 1 : -1);
