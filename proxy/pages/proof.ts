/** Asks for the password again before something is changed, and then goes on with what was asked for. */
import { html } from "./html.ts";
import { type Frame, field, type Page, userHint } from "./layout.ts";

/** Never carried on in a hidden field. */
const NOT_KEPT: ReadonlySet<string> = new Set(["proof", "current", "password", "repeat"]);

export function proofPage(
	stack: string,
	state: { frame: Frame; path: string; form: ReadonlyMap<string, string>; error?: string },
): Page {
	const kept = [...state.form].filter(([name]) => !NOT_KEPT.has(name));
	return {
		title: "Your password, please",
		frame: state.frame,
		body: html`<section class="card narrow">
<h1>Your password, please</h1>
<p class="lead">You are about to change something on <strong>${stack}</strong>. Type your password once more; it then counts for ten minutes.</p>
<form method="post" action="${state.path}">
${kept.map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)}
${userHint(state.frame.user)}
${field({
	name: "proof",
	label: `Password of ${state.frame.user}`,
	type: "password",
	autocomplete: "current-password",
	error: state.error,
	focus: true,
	maxLength: 512,
})}
<button type="submit">Go on</button>
</form>
</section>`,
	};
}
