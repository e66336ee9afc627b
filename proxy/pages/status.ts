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

/** Milliseconds. Nobody sees more by looking more often, and each look costs every part a round trip. */
const KEEP = 1_000;

/** Many who look at once, or right after one another, are one look. */
export function shared(
	checks: () => Promise<Check[]>,
	now: () => number = () => performance.now(),
): () => Promise<Check[]> {
	let look: { results: Promise<Check[]>; until: number } | undefined;
	return () => {
		if (look !== undefined && now() < look.until) return look.results;
		const mine = { results: checks(), until: Number.POSITIVE_INFINITY };
		look = mine;
		const over = () => {
			mine.until = now() + KEEP;
		};
		mine.results.then(over, over);
		return mine.results;
	};
}
