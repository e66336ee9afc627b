/** Signing out: a question, because a link alone must not sign anybody out, and the page after it. */
import { html } from "./html.ts";
import { message, type Page } from "./layout.ts";

export function signOutPage(state: { user: string; role: string; csrf: string }): Page {
	return {
		title: "Sign out",
		body: html`<h1>Sign out?</h1>
<p class="lead">You are signed in as <strong>${state.user}</strong>, ${state.role}.</p>
<form method="post">
<input type="hidden" name="csrf" value="${state.csrf}">
<button type="submit">Sign out</button>
<a class="button quiet" href="/">Stay signed in</a>
</form>`,
	};
}

export const signedOutPage = (): Page =>
	message("You are signed out", ["This session is over, here and wherever its cookie may be."], {
		href: "/login",
		label: "Sign in again",
	});
