/** What every page of the door shares: one frame, one style sheet, no script. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Role } from "../roles.ts";
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

/** Who looks at a page, and which entry of the menu it is. */
export interface Frame {
	user: string;
	role: Role;
	at?: "account" | "admin" | "status";
}

export interface Page {
	title: string;
	body: Html;
	/** With it the page has the menu and room for tables; without it, it is one card. */
	frame?: Frame;
}

const BRAND = (stack: string) =>
	html`${MARK}<span class="product">mlgate</span>${stack !== "mlgate" && html`<span class="stack">${stack}</span>`}`;

function menu({ role, at }: Frame): Html {
	const entry = (href: string, label: string, here = false) =>
		html`<a href="${href}"${here && html` aria-current="page"`}>${label}</a>`;
	return html`<nav class="menu" aria-label="Door">
${entry("/", "MLflow")}
${entry("/account", "Account", at === "account")}
${role === "admin" && entry("/admin", "Admin", at === "admin")}
${entry("/status", "Status", at === "status")}
${entry("/logout", "Sign out")}
</nav>`;
}

/** @param stack the stack's name, shown so that nobody types a password into the wrong one. */
export function layout(stack: string, { title, body, frame }: Page): string {
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
${
	frame
		? html`<body class="wide">
<a class="skip" href="#main">Skip to the page</a>
<header class="bar"><div class="bar-in"><span class="brand">${BRAND(stack)}</span>${menu(frame)}</div></header>
<main class="page" id="main" tabindex="-1">
${body}
</main>`
		: html`<body>
<header class="brand">${BRAND(stack)}</header>
<main class="card">
${body}
</main>`
}
<footer class="foot">The front door of this MLflow</footer>
</body>
</html>
`.text;
}

export interface Field {
	name: string;
	label: string;
	type?: "text" | "password" | "date";
	autocomplete: string;
	value?: string;
	hint?: string;
	error?: string;
	readonly?: boolean;
	/** May be left empty. */
	optional?: boolean;
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
			field.readonly ? "readonly" : !field.optional && "required",
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

/** Tells a password manager whose password the form is about. It is not sent. */
export const userHint = (user: string): Html =>
	html`<input type="text" value="${user}" autocomplete="username" readonly hidden>`;

export interface Choice {
	name: string;
	label: string;
	value: string;
	options: readonly { value: string; label: string }[];
	/** Where several of them stand in one table: the label is said, not shown. */
	id?: string;
}

/** A list to choose one from. */
export function choice({ name, label, value, options, id }: Choice): Html {
	const list = options.map(
		(option) =>
			html`<option value="${option.value}"${option.value === value && html` selected`}>${option.label}</option>`,
	);
	if (id !== undefined) return html`<select id="${id}" name="${name}" aria-label="${label}">${list}</select>`;
	return html`<div class="field">
<label for="${name}">${label}</label>
<select id="${name}" name="${name}">${list}</select>
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

export interface Column<Row> {
	label: string;
	cell(row: Row): Html | string;
	/** Buttons: the heading is said, not shown. */
	acts?: boolean;
}

/** A table that becomes a list of cards where there is no room for columns. @param none what stands there if there are no rows */
export function table<Row>(
	caption: string,
	rows: readonly Row[],
	columns: readonly Column<Row>[],
	none: string,
	dim: (row: Row) => boolean = () => false,
): Html {
	if (rows.length === 0) return html`<p class="none">${none}</p>`;
	return html`<table class="rows">
<caption class="said">${caption}</caption>
<thead><tr>${columns.map(({ label, acts }) => html`<th scope="col">${acts ? html`<span class="said">${label}</span>` : label}</th>`)}</tr></thead>
<tbody>
${rows.map(
	(row) => html`<tr${dim(row) && html` class="dim"`}>${columns.map(({ label, acts, cell }) =>
		acts
			? html`<td class="acts">${cell(row)}</td>`
			: html`<td data-label="${label}"><span>${cell(row)}</span></td>`,
	)}</tr>
`,
)}</tbody>
</table>`;
}
