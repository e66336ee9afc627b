/** The page behind a one-time link. */

import type { LinkView } from "../accounts/links.ts";
import { LENGTH } from "../accounts/passwords.ts";
import { html } from "./html.ts";
import { field, type Page } from "./layout.ts";

const WORDS = {
	"first-admin": {
		title: "Create the first admin",
		lead: "Nobody can sign in yet. This account may do everything, and invites the others.",
		button: "Create admin and sign in",
	},
	invite: {
		title: "Welcome",
		lead: "Choose a password, and you are in.",
		button: "Set password and sign in",
	},
	reset: {
		title: "Choose a new password",
		lead: "Your other sessions end when you do. API tokens go on.",
		button: "Set password and sign in",
	},
} as const;

export interface InviteErrors {
	name?: string;
	password?: string;
	repeat?: string;
}

export function invitePage(
	stack: string,
	link: LinkView,
	state: { name?: string; errors?: InviteErrors } = {},
): Page {
	const words = WORDS[link.kind];
	const errors = state.errors ?? {};
	const fixed = link.name !== null;
	const failed = state.errors !== undefined;
	return {
		title: words.title,
		body: html`<h1>${words.title}</h1>
<p class="lead">${words.lead}</p>
<p class="facts"><span>Stack <strong>${stack}</strong></span> <span>Role <strong>${link.role}</strong></span></p>
<form method="post">
${field({
	name: "username",
	label: "User name",
	autocomplete: "username",
	value: link.name ?? state.name ?? "admin",
	readonly: fixed,
	focus: !fixed && (!failed || errors.name !== undefined),
	error: errors.name,
	maxLength: 64,
})}
${field({
	name: "password",
	label: "Password",
	type: "password",
	autocomplete: "new-password",
	focus: (fixed && !failed) || (failed && errors.name === undefined),
	hint: `At least ${LENGTH.least} characters; a few words do well.`,
	error: errors.password,
	minLength: LENGTH.least,
	maxLength: LENGTH.most,
})}
${field({
	name: "repeat",
	label: "Password again",
	type: "password",
	autocomplete: "new-password",
	error: errors.repeat,
	minLength: LENGTH.least,
	maxLength: LENGTH.most,
})}
<button type="submit">${words.button}</button>
</form>
<p class="aside">This link works once, for 24 hours.</p>`,
	};
}
