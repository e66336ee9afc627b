/** `/status`: the round trips of `/door/ready`, for people. */
import type { Check, Identity } from "../authority.ts";
import { html } from "./html.ts";
import { type Page, table } from "./layout.ts";

export interface Said {
	ok: boolean;
	checks: readonly Check[];
}

export function statusPage({ ok, checks }: Said, { user, role }: Identity): Page {
	return {
		title: "Status",
		frame: { user, role, at: "status" },
		body: html`<h1>Status</h1>
<p class="note ${ok ? "good" : "bad"}" role="status">${ok ? "Everything answers." : "Not everything answers. Work that is saved is safe; try again in a moment."}</p>
<section class="card" aria-labelledby="parts">
<h2 id="parts">Round trips</h2>
<p class="lead">From the door to each part, made while this page was.</p>
${table(
	"Parts",
	checks,
	[
		{ label: "Part", cell: ({ name }) => html`<strong>${name}</strong>` },
		{
			label: "Answer",
			cell: (check) =>
				html`<span class="tag ${check.ok ? "up" : "down"}">${check.ok ? "fine" : "none"}</span>`,
		},
		{ label: "Took", cell: ({ ms }) => `${ms} ms` },
		{ label: "Says", cell: ({ detail }) => detail ?? "" },
	],
	"There is nothing to ask.",
)}
</section>`,
	};
}

/** Many who look at once are one look. */
export function shared(checks: () => Promise<Check[]>): () => Promise<Check[]> {
	let running: Promise<Check[]> | undefined;
	return () => {
		running ??= checks().finally(() => {
			running = undefined;
		});
		return running;
	};
}
