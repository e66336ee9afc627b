/** The sign-in page. */
import { html } from "./html.ts";
import { field, type Page } from "./layout.ts";

export function loginPage(stack: string, state: { next: string; name?: string; error?: string }): Page {
	const { next, name, error } = state;
	// No action: the form goes to the page's own address, whose `#...` then survives the redirect; MLflow keeps
	// the experiment one was looking at there.
	return {
		title: "Sign in",
		body: html`<h1>Sign in</h1>
<p class="lead">to MLflow on <strong>${stack}</strong></p>
<form method="post">
<input type="hidden" name="next" value="${next}">
${field({
	name: "username",
	label: "User name",
	autocomplete: "username",
	value: name,
	focus: name === undefined,
	maxLength: 64,
})}
${field({
	name: "password",
	label: "Password",
	type: "password",
	autocomplete: "current-password",
	error,
	focus: name !== undefined,
	maxLength: 512,
})}
<button type="submit">Sign in</button>
</form>
<p class="aside">No account yet, or the password is lost? An admin of this stack can send you a link.</p>`,
	};
}
