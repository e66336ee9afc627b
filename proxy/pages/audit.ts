/** `/admin/audit`: the trail, filtered, a page at a time, and as a file. */
import { AccountsError } from "../accounts/errors.ts";
import {
	type AuditEntry,
	type AuditFilter,
	type AuditSearch,
	type ExportFormat,
	FORMATS,
	readFilter,
} from "../audit/search.ts";
import type { AuditTrail } from "../audit/trail.ts";
import { type Html, html } from "./html.ts";
import { field, table } from "./layout.ts";
import type { Answer } from "./respond.ts";
import { frameOf, type Route, type Visit, type Visits, wordsOf } from "./visit.ts";
import { exact, place } from "./words.ts";

const ROWS = 50;

const AUDIT = "/admin/audit";

export interface AuditPageParts {
	visits: Visits;
	search: AuditSearch;
	trail: Pick<AuditTrail, "flush" | "note">;
	/** Above every admin page. */
	tabs(here: string): Html;
}

function address(path: string, filter: AuditFilter, more: Record<string, string> = {}): string {
	const given = Object.entries({ ...filter, ...more }).filter(([, value]) => value !== undefined);
	const query = new URLSearchParams(given as [string, string][]).toString();
	return query === "" ? path : `${path}?${query}`;
}

const filterForm = (filter: AuditFilter): Html => html`<form method="get" action="${AUDIT}" class="row tight">
${field({ name: "who", label: "Who", autocomplete: "off", optional: true, maxLength: 64, value: filter.who })}
${field({ name: "act", label: "Act", autocomplete: "off", optional: true, maxLength: 65, value: filter.act })}
${field({ name: "status", label: "Status", autocomplete: "off", optional: true, maxLength: 3, value: filter.status })}
${field({ name: "from", label: "From (UTC)", type: "date", autocomplete: "off", optional: true, maxLength: 10, value: filter.from })}
${field({ name: "to", label: "To", type: "date", autocomplete: "off", optional: true, maxLength: 10, value: filter.to })}
<button type="submit">Show</button>
</form>`;

const outcome = ({ status, reason }: AuditEntry): Html | string => {
	if (reason !== null) return html`<span class="tag down">${status ?? ""} ${reason}</span>`;
	return status === null ? "" : String(status);
};

const TABLE = [
	{
		label: "When (UTC)",
		cell: ({ at, count, last_at }: AuditEntry) =>
			html`<time datetime="${at}">${exact(Date.parse(at)).slice(0, 19)}</time>${count > 1 && html` <span class="tag">${count} times${last_at !== null && `, until ${last_at.slice(11, 19)}`}</span>`}`,
	},
	{
		label: "Who",
		cell: ({ actor, role, credential }: AuditEntry) =>
			actor === ""
				? html`<span class="soft">nobody known</span>`
				: html`<strong>${actor}</strong>${role !== null && html` <span class="soft">${role}</span>`}${credential !== null && html` <code title="${credential}">${credential.slice(0, 12)}</code>`}`,
	},
	{
		label: "Act",
		cell: ({ act, route }: AuditEntry) =>
			html`${act}${route !== null && html` <span class="soft">${route}</span>`}`,
	},
	{ label: "On", cell: ({ target, detail }: AuditEntry) => html`${target ?? ""} ${facts(target, detail)}` },
	{ label: "From", cell: (entry: AuditEntry) => place(entry.listener, entry.address) },
	{ label: "Outcome", cell: outcome },
];

/** What the target does not say already. */
function facts(target: string | null, detail: Record<string, unknown>): Html | false {
	const more = Object.entries(detail).filter(
		([, value]) => value !== null && !target?.includes(String(value)),
	);
	return (
		more.length > 0 &&
		html`<span class="soft">${more.map(([name, value]) => `${name} ${value}`).join(", ")}</span>`
	);
}

export function auditRoutes({ visits, search, trail, tabs }: AuditPageParts): Record<string, Route> {
	async function show(visit: Visit): Promise<Answer> {
		const filter = readFilter(visit.facts.query);
		const before = visit.facts.query.get("before") ?? "";
		const page = (status: number, list: Html): Answer =>
			visits.show(status, {
				title: "Audit",
				frame: frameOf(visit),
				body: html`<h1>Admin</h1>
${tabs(AUDIT)}
<section class="card" aria-labelledby="audit-title">
<h2 id="audit-title">Audit trail</h2>
<p class="lead">Sign-ins, refusals, writes, deletions and what admins did. Kept for a year, refusals for thirty days.</p>
${filterForm(filter)}
${list}
</section>`,
			});
		try {
			await trail.flush();
			const entries = await search.page(filter, ROWS + 1, /^\d{1,18}$/.test(before) ? before : undefined);
			const shown = entries.slice(0, ROWS);
			const older = entries.length > ROWS && address(AUDIT, filter, { before: shown.at(-1)?.id ?? "" });
			return page(
				200,
				html`<div class="trail">${table("Audit trail, the newest first", shown, TABLE, "Nothing like that was put down.")}</div>
<p class="pager">
${before !== "" && html`<a href="${address(AUDIT, filter)}">Newest</a>`}
${older && html`<a href="${older}">Older</a>`}
<span class="grow"></span>
<a href="${address(`${AUDIT}/export`, filter, { format: "csv" })}">Save as CSV</a>
<a href="${address(`${AUDIT}/export`, filter, { format: "jsonl" })}">Save as JSON lines</a>
</p>`,
			);
		} catch (error) {
			if (!(error instanceof AccountsError)) throw error;
			const told = html`<p class="note bad" role="alert">The audit trail cannot be read now: ${wordsOf(error)} What happens meanwhile is written later.</p>`;
			return { ...page(error.status, told), retryAfter: 5 };
		}
	}

	async function save(visit: Visit): Promise<Answer> {
		const { facts, actor } = visit;
		const format: ExportFormat = facts.query.get("format") === "csv" ? "csv" : "jsonl";
		const filter = readFilter(facts.query);
		await trail.flush();
		// The first rows before the head is sent: a database that is away is told as such.
		const pieces = search.export(filter, format);
		const first = await pieces.next();
		const second = await pieces.next();
		trail.note({
			...actorEvent(actor),
			act: "audit.export",
			target: null,
			detail: { format, ...given(filter) },
		});
		return {
			status: 200,
			type: FORMATS[format].type,
			download: `mlgate-audit-${new Date(visit.now).toISOString().slice(0, 10)}.${format}`,
			pieces: (async function* () {
				for (const piece of [first, second]) if (!piece.done) yield piece.value;
				yield* pieces;
			})(),
		};
	}

	return {
		[AUDIT]: { get: visits.page("admin", show) },
		[`${AUDIT}/export`]: { get: visits.page("admin", save) },
	};
}

const given = (filter: AuditFilter): Record<string, string> =>
	Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined)) as Record<
		string,
		string
	>;

const actorEvent = ({ name, listener, address, role, credential }: Visit["actor"]) => ({
	actor: name,
	listener,
	address,
	role,
	credential,
});
