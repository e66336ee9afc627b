/** Reading the audit trail: filters, pages of it, and the whole of it as CSV or JSON lines. */
import type { Database, Row } from "../accounts/database.ts";

export interface AuditFilter {
	/** A user's name. */
	who?: string;
	/** An act, or the beginning of one up to its dot: `token`, `token.revoke`. */
	act?: string;
	/** An HTTP status, or its class: `403`, `4xx`. */
	status?: string;
	/** Days in UTC, both included: `2026-11-24`. */
	from?: string;
	to?: string;
}

export interface AuditEntry {
	id: string;
	/** ISO 8601. */
	at: string;
	last_at: string | null;
	count: number;
	actor: string;
	role: string | null;
	credential: string | null;
	act: string;
	class: string | null;
	route: string | null;
	target: string | null;
	listener: string;
	address: string;
	status: number | null;
	reason: string | null;
	detail: Record<string, unknown>;
}

export const COLUMNS = [
	"id",
	"at",
	"last_at",
	"count",
	"actor",
	"role",
	"credential",
	"act",
	"class",
	"route",
	"target",
	"listener",
	"address",
	"status",
	"reason",
	"detail",
] as const satisfies readonly (keyof AuditEntry)[];

const DATE = /^\d{4}-\d{2}-\d{2}$/;
const DAY = 86_400_000;

/** Drops what says nothing or cannot be read, so that a filter never fails. */
export function readFilter(query: Pick<URLSearchParams, "get">): AuditFilter {
	const text = (name: string, pattern: RegExp) => {
		const value = query.get(name)?.trim() ?? "";
		return pattern.test(value) ? value : undefined;
	};
	const day = (name: string) => {
		const value = text(name, DATE);
		return value !== undefined && !Number.isNaN(Date.parse(value)) ? value : undefined;
	};
	return {
		who: text("who", /^[a-z0-9._@+ -]{1,64}$/i)?.toLowerCase(),
		act: text("act", /^[a-z-]{1,32}(\.[a-z-]{1,32})?$/i)?.toLowerCase(),
		status: text("status", /^[1-5](\d\d|xx)$/i)?.toLowerCase(),
		from: day("from"),
		to: day("to"),
	};
}

/** The conditions of a filter, and their values from `$1` on. */
function conditions({ who, act, status, from, to }: AuditFilter): { sql: string[]; values: unknown[] } {
	const sql: string[] = [];
	const values: unknown[] = [];
	const value = (one: unknown) => `$${values.push(one)}`;
	if (who !== undefined) sql.push(`actor = ${value(who)}`);
	if (act?.includes(".")) sql.push(`act = ${value(act)}`);
	else if (act !== undefined) sql.push(`act like ${value(`${act}.%`)}`);
	if (status?.endsWith("xx")) {
		const first = Number(status[0]) * 100;
		sql.push(`status between ${value(first)} and ${value(first + 99)}`);
	} else if (status !== undefined) sql.push(`status = ${value(Number(status))}`);
	if (from !== undefined) sql.push(`at >= ${value(new Date(from))}`);
	if (to !== undefined) sql.push(`at < ${value(new Date(Date.parse(to) + DAY))}`);
	return { sql, values };
}

const entryOf = (row: Row): AuditEntry => ({
	...(row as AuditEntry),
	id: String(row.id),
	at: row.at.toISOString(),
	last_at: row.last_at?.toISOString() ?? null,
});

/** Rows of one statement of an export. */
const EXPORT_BATCH = 1_000;

export class AuditSearch {
	readonly #database: Pick<Database, "query">;

	constructor(database: Pick<Database, "query">) {
		this.#database = database;
	}

	/**
	 * The newest first.
	 * @param before an id: entries older than that one
	 * @throws AccountsError DATABASE_AWAY
	 */
	async page(filter: AuditFilter, most: number, before?: string): Promise<AuditEntry[]> {
		const { sql, values } = conditions(filter);
		if (before !== undefined) sql.push(`id < $${values.push(before)}`);
		const where = sql.length === 0 ? "" : `where ${sql.join(" and ")}`;
		const rows = await this.#database.query(
			`select ${COLUMNS.join(", ")} from audit ${where} order by id desc limit $${values.push(most)}`,
			values,
		);
		return rows.map(entryOf);
	}

	/** Everything that a filter lets through, in the format, the newest first, a piece at a time. */
	async *export(filter: AuditFilter, format: ExportFormat): AsyncGenerator<string> {
		const { head, line } = FORMATS[format];
		if (head !== "") yield head;
		let before: string | undefined;
		for (;;) {
			const entries = await this.page(filter, EXPORT_BATCH, before);
			if (entries.length > 0) yield entries.map(line).join("");
			if (entries.length < EXPORT_BATCH) return;
			before = entries.at(-1)?.id;
		}
	}
}

/** RFC 4180; a spreadsheet must take no cell for a formula. */
function cell(value: unknown): string {
	const text = value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
	const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
	return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

export const FORMATS = {
	csv: {
		type: "text/csv; charset=utf-8",
		head: `${COLUMNS.join(",")}\r\n`,
		line: (entry: AuditEntry) => `${COLUMNS.map((column) => cell(entry[column])).join(",")}\r\n`,
	},
	jsonl: {
		type: "application/x-ndjson",
		head: "",
		line: (entry: AuditEntry) => `${JSON.stringify(entry)}\n`,
	},
} as const;

export type ExportFormat = keyof typeof FORMATS;
