/** What every page of the door shares: one frame, one style sheet, no script. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Html, html } from "./html.ts";

/** Served with its hash in the name, so that a browser may keep it for ever. */
export const STYLE = readFileSync(new URL("./style.css", import.meta.url));
export const STYLE_PATH = `/door/assets/${createHash("sha256").update(STYLE).digest("hex").slice(0, 12)}.css`;

const MARK = html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
<path class="mark-arch" d="M5 29V14a11 11 0 0 1 22 0v15" />
<path class="mark-door" d="M11 29V15a5 5 0 0 1 10 0v14" />
<path class="mark-sill" d="M2.5 29h27" />
<circle class="mark-knob" cx="18" cy="21.5" r="1.4" />
</svg>`;

/** The same mark for the browser's tab. `img-src data:` in the policy is for it alone. */
const ICON = `data:image/svg+xml,${encodeURIComponent(
	'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke="#3a63d8" stroke-width="3" stroke-linecap="round"><path d="M5 28V14a11 11 0 0 1 22 0v14"/><path d="M11 28V15a5 5 0 0 1 10 0v13" fill="#3a63d8"/></svg>',
)}`;

export interface Page {
	title: string;
	body: Html;
}

/** @param stack the stack's name, shown so that nobody types a password into the wrong one. */
export function layout(stack: string, { title, body }: Page): string {
	return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex, nofollow">
<title>${title} · ${stack}</title>
<link rel="icon" href="${ICON}">
<link rel="stylesheet" href="${STYLE_PATH}">
</head>
<body>
<header class="brand">${MARK}<span class="product">mlgate</span>${stack !== "mlgate" && html`<span class="stack">${stack}</span>`}</header>
<main class="card">
${body}
</main>
<footer class="foot">The front door of this MLflow</footer>
</body>
</html>
`.text;
}

export interface Field {
	name: string;
	label: string;
	type?: "text" | "password";
	autocomplete: string;
	value?: string;
	hint?: string;
	error?: string;
	readonly?: boolean;
	/** The one field that the keyboard starts in. */
	focus?: boolean;
	maxLength: number;
	minLength?: number;
}

/** Label, input, hint and error, tied together for screen readers. */
export function field(field: Field): Html {
	const { name, hint, error } = field;
	const described = [error !== undefined && `${name}-error`, hint !== undefined && `${name}-hint`]
		.filter((id) => id !== false)
		.join(" ");
	const flags = new Html(
		[
			field.readonly ? "readonly" : "required",
			field.focus && "autofocus",
			error !== undefined && 'aria-invalid="true"',
			described !== "" && `aria-describedby="${described}"`,
			field.minLength !== undefined && `minlength="${field.minLength}"`,
		]
			.filter((flag) => flag !== false && flag !== undefined)
			.join(" "),
	);
	return html`<div class="field">
<label for="${name}">${field.label}</label>
${hint !== undefined && html`<p class="hint" id="${name}-hint">${hint}</p>`}
<input id="${name}" name="${name}" type="${field.type ?? "text"}" value="${field.value ?? ""}" autocomplete="${field.autocomplete}" autocapitalize="none" autocorrect="off" spellcheck="false" maxlength="${field.maxLength}" ${flags}>
${error !== undefined && html`<p class="error" id="${name}-error" role="alert">${error}</p>`}
</div>`;
}

/** A page that only tells something. @param action where to go from there. */
export function message(
	title: string,
	texts: readonly (string | Html)[],
	action?: { href: string; label: string },
): Page {
	return {
		title,
		body: html`<h1>${title}</h1>
${texts.map((text) => html`<p>${text}</p>`)}
${action && html`<p><a class="button" href="${action.href}">${action.label}</a></p>`}`,
	};
}
