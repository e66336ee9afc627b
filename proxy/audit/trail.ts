/**
 * The audit trail: who did what, or was refused. Each event is a line of the log at once and a row of the
 * door's database within seconds. No request waits for that.
 *
 * The first of several equal events is told at once, the others of the same minute together, with their
 * number. While Postgres is away rows wait in the spool (spool.ts), and in memory when that takes no more.
 * A flood of refusals may fill half of both; the rest is only counted. When acts would be lost, `full` says so
 * and the door lets nobody act: an act that nobody can be held to is worse than one that has to wait.
 */
import { type Database, isAway } from "../accounts/database.ts";
import type { Log } from "../accounts/log.ts";
import { type AuditEvent, type AuditRow, cleanEvent, isRefusal, rowOf } from "./event.ts";
import { Spool } from "./spool.ts";

export interface TrailLimits {
	/** Milliseconds between two writings. */
	every: number;
	/** Milliseconds for which equal events are one row. */
	fold: number;
	/** Milliseconds between two tries to reach a database that is away. */
	retry: number;
	/** Different kinds of refusals within `fold`; more are only counted. */
	kinds: number;
	/** Rows in memory. */
	rows: number;
	/** Bytes of the spool. */
	spool: number;
}

export const TRAIL_LIMITS: TrailLimits = {
	every: 2_000,
	fold: 60_000,
	retry: 10_000,
	kinds: 200,
	rows: 5_000,
	spool: 8 * 1024 * 1024,
};

/** Milliseconds. */
const TIDY_EVERY = 3_600_000;

/** Rows of one statement. */
const BATCH = 500;

const INSERT = `insert into audit
	(event, at, last_at, count, actor, role, credential, act, class, route, target, listener, address, status, reason, detail)
	select event, at, last_at, count, actor, role, credential, act, class, route, target, listener, address, status, reason,
		coalesce(detail, '{}')
	from jsonb_to_recordset($1::jsonb) as row (event uuid, at timestamptz, last_at timestamptz, count int, actor text,
		role text, credential text, act text, class text, route text, target text, listener text, address text, status int,
		reason text, detail jsonb)
	on conflict (event) do nothing`;

/** What the trigger of 003-audit.sql lets go: everything after a year, refusals after thirty days. */
const FORGET = `delete from audit where id in (select id from audit
	where at < now() - interval '365 days' or (act like '%.refuse' and at < now() - interval '30 days') limit 5000)`;

interface Kind {
	event: AuditEvent;
	/** Of the events that have not been told yet; 0: there are none. */
	first: number;
	last: number;
	count: number;
	/** When this minute began. */
	since: number;
}

export interface TrailParts {
	database: Pick<Database, "query">;
	/** On the door's own volume. */
	spoolFile: string;
	/** Milliseconds since 1970. */
	clock: () => number;
	log: Log;
	limits?: TrailLimits;
}

export class AuditTrail {
	readonly #database: Pick<Database, "query">;
	readonly #clock: () => number;
	readonly #log: Log;
	readonly #limits: TrailLimits;
	readonly #spool: Spool;
	readonly #kinds = new Map<string, Kind>();
	#refusals = 0;
	#rows: AuditRow[] = [];
	/** Refusals that were only counted since they were last told. */
	#uncounted = 0;
	#away = false;
	#askedAt = 0;
	#spoolFails = false;
	#tidiedAt = 0;
	#flushing: Promise<void> | undefined;
	#timer: NodeJS.Timeout | undefined;

	constructor({ database, spoolFile, clock, log, limits = TRAIL_LIMITS }: TrailParts) {
		this.#database = database;
		this.#clock = clock;
		this.#log = log;
		this.#limits = limits;
		this.#spool = new Spool(spoolFile, limits.spool);
	}

	/** Finds what an earlier process left, and starts to write. */
	async open(): Promise<void> {
		await this.#spool.open();
		this.#timer = setInterval(() => void this.flush(), this.#limits.every).unref();
	}

	/** True while an act could not be put down anywhere. */
	get full(): boolean {
		return this.#rows.length >= this.#limits.rows;
	}

	/** Never throws, never waits. */
	note(noted: AuditEvent): void {
		const refusal = isRefusal(noted);
		const key = keyOf(noted);
		const now = this.#clock();
		const known = this.#kinds.get(key);
		if (known) {
			if (known.count++ === 0) known.first = now;
			known.last = now;
			return;
		}
		const event = cleanEvent(noted);
		if (refusal) {
			if (this.#refusals >= this.#limits.kinds) {
				this.#uncounted++;
				return;
			}
			this.#refusals++;
		}
		// What acts much is let be told twice rather than kept in mind without bound.
		if (refusal || this.#kinds.size < this.#limits.rows)
			this.#kinds.set(key, { event, first: 0, last: 0, count: 0, since: now });
		this.#tell(rowOf(event, now, now, 1));
	}

	/** Writes what there is, to the database or else to the spool. Never throws. */
	async flush(): Promise<void> {
		this.#flushing ??= this.#flush().finally(() => {
			this.#flushing = undefined;
		});
		await this.#flushing;
	}

	async close(): Promise<void> {
		clearInterval(this.#timer);
		await this.#flushing;
		this.#fold(Number.POSITIVE_INFINITY);
		// The last chance: the database may have come back since it was asked.
		this.#askedAt = Number.NEGATIVE_INFINITY;
		await this.flush();
		if (this.#rows.length > 0)
			this.#log.error({ rows: this.#rows.length }, "audit rows are lost; the log has them");
	}

	#tell(row: AuditRow): void {
		const { event: _, detail, ...told } = row;
		this.#log.info({ audit: { ...told, ...detail } }, "audit");
		const room = isRefusal(row) ? this.#limits.rows / 2 : this.#limits.rows + this.#limits.kinds;
		if (this.#rows.length < room) this.#rows.push(row);
		else this.#uncounted += row.count;
	}

	/** Tells the repeats of every kind whose minute is over. */
	#fold(now: number): void {
		for (const [key, kind] of this.#kinds) {
			// A clock that was set back: the minute is over.
			if (now - kind.since < this.#limits.fold && now >= kind.since) continue;
			if (kind.count === 0) {
				this.#kinds.delete(key);
				if (isRefusal(kind.event)) this.#refusals--;
				continue;
			}
			this.#tell(rowOf(kind.event, kind.first, kind.last, kind.count));
			Object.assign(kind, { count: 0, since: now });
		}
		const count = this.#uncounted;
		if (count === 0) return;
		this.#uncounted = 0;
		this.#log.warn(
			{ count },
			"more kinds of refusals than the audit trail takes at once; they are only counted",
		);
		const at = this.#clock();
		const overflow = {
			act: "audit.refuse",
			actor: "",
			listener: "door",
			address: "",
			reason: "TOO_MANY_KINDS",
		};
		if (this.#rows.length < this.#limits.rows) this.#rows.push(rowOf(overflow, at, at, count));
	}

	async #flush(): Promise<void> {
		this.#fold(this.#clock());
		const now = performance.now();
		if (!this.#away || now - this.#askedAt >= this.#limits.retry) {
			this.#askedAt = now;
			if (await this.#toDatabase()) return;
		}
		await this.#toSpool();
	}

	/** @returns whether everything is there now */
	async #toDatabase(): Promise<boolean> {
		try {
			if (!this.#spool.isEmpty) {
				const { rows, spoilt } = await this.#spool.read();
				if (spoilt > 0) this.#log.error({ spoilt }, "lines of the audit spool cannot be read; they are lost");
				await this.#insert(rows);
				await this.#spool.clear();
				this.#log.info({ rows: rows.length }, "the audit spool is written to the database");
			}
			const rows = this.#rows;
			await this.#insert(rows);
			this.#rows = this.#rows.slice(rows.length);
			this.#spoolFails = false;
			if (this.#clock() - this.#tidiedAt > TIDY_EVERY) {
				await this.#database.query(FORGET);
				this.#tidiedAt = this.#clock();
			}
			this.#away = false;
			return true;
		} catch (error) {
			if (!this.#away)
				this.#log[isAway(error) ? "warn" : "error"](
					{ err: error },
					"audit rows cannot be written; they are spooled",
				);
			this.#away = true;
			return false;
		}
	}

	async #insert(rows: readonly AuditRow[]): Promise<void> {
		for (let at = 0; at < rows.length; at += BATCH)
			await this.#database.query(INSERT, [JSON.stringify(rows.slice(at, at + BATCH))]);
	}

	async #toSpool(): Promise<void> {
		const rows = this.#rows.filter((row) => this.#spool.taken < 0.5 || !isRefusal(row));
		this.#uncounted += this.#rows.length - rows.length;
		this.#rows = rows;
		if (rows.length === 0) return;
		try {
			const taken = await this.#spool.append(rows);
			this.#rows = this.#rows.slice(taken);
			if (this.#rows.length === 0) this.#spoolFails = false;
			else this.#spoolFailed({ spooled: this.#spool.taken }, "the audit spool is full; rows wait in memory");
		} catch (error) {
			this.#spoolFailed({ err: error }, "the audit spool cannot be written; rows wait in memory");
		}
	}

	#spoolFailed(why: object, words: string): void {
		if (this.#spoolFails && !this.full) return;
		this.#log.error({ ...why, rows: this.#rows.length, full: this.full }, words);
		this.#spoolFails = true;
	}
}

/** What makes two events equal. Refused requests are equal whatever they aimed at: that is the caller's choice. */
function keyOf(event: AuditEvent): string {
	const { act, actor, credential, listener, address, route, status, reason, target, detail } = event;
	const key = [act, actor, credential, listener, address, route, status, reason];
	return JSON.stringify(act === "request.refuse" ? key : [...key, target, detail]);
}
