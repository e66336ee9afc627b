/**
 * Creates that are under way. Before one is forwarded, that it will be is committed to the door's own database, so that
 * whatever dies afterwards, a later equal request of the same credential is known to be the same one asked again.
 *
 * An intent is closed once whoever asked has its outcome: closed intents match nothing, so two equal creates make two
 * runs. An intent is open while its outcome is on its way, and unknown when nobody waits for it any more.
 *
 * What it costs: one statement before each create, gathered with those that come while one is being written, and
 * without waiting for the disk (`synchronous_commit = off`). That is safe, because MLflow's tables live in the same
 * server and so in the same log: what MLflow made is on the disk only if everything before it in the log is, this
 * intent among it. A crash of the server that takes the intent along takes the run along too.
 */
import { randomUUID } from "node:crypto";
import { type Database, isAway, type Row } from "../accounts/database.ts";
import type { Log } from "../accounts/log.ts";

/** Milliseconds. */
const LIMITS = {
	/** A later equal request is the same one for so long. */
	match: 300_000,
	/** What was made is remembered so long, lest it be taken for what an equal create made. */
	remember: 600_000,
	tidy: 60_000,
} as const;

/** Outcomes that wait to be written while the database is away. */
const MOST_WAITING = 10_000;

export interface Intent {
	readonly id: string;
	/** Milliseconds since 1970. */
	readonly at: number;
	/** Credential, route and hash of the body. */
	readonly key: string;
	/** The number of its transaction; higher ones began to write later. */
	xid: string;
	/** `performance.now()` when its answer was lost, or when the door found it in its database. */
	lostAt: number | undefined;
}

export interface NewIntent {
	credential: string;
	route: string;
	/** sha256. */
	body: Buffer;
}

const keyOf = ({ credential, route, body }: NewIntent): string =>
	JSON.stringify([credential, route, body.toString("hex")]);

interface Waiting {
	given: NewIntent;
	intent: Intent;
	done(): void;
	failed(error: unknown): void;
}

export class Intents {
	readonly #database: Database;
	readonly #log: Log;
	/** Unknown ones by key, the oldest first. */
	readonly #unknown = new Map<string, Intent[]>();
	/** By key, those whose client has left before their outcome came. */
	readonly #orphans = new Map<string, Set<Promise<void>>>();
	/** What is known to have been made, and until when that is remembered. */
	readonly #made = new Map<string, number>();
	#recording: Waiting[] = [];
	#recordingNow = false;
	#closing = new Map<string, string>();
	#closingNow: Promise<void> | undefined;
	readonly #timer: NodeJS.Timeout;

	constructor(database: Database, log: Log) {
		this.#database = database;
		this.#log = log;
		this.#timer = setInterval(() => void this.#tidy(), LIMITS.tidy).unref();
	}

	/** Reads what a door before this one has left open. */
	async open(): Promise<void> {
		const rows = await this.#database.query(
			"select id, at, credential, route, body, xid::text as xid, outcome from creates where at > $1 order by at",
			[new Date(Date.now() - LIMITS.remember)],
		);
		for (const row of rows) {
			if (row.outcome !== null) {
				if (row.outcome !== "") this.#made.set(row.outcome, Date.now() + LIMITS.remember);
				continue;
			}
			const { credential, route, body } = row as Row & NewIntent;
			const key = keyOf({ credential, route, body });
			this.#add({ id: row.id, at: row.at.getTime(), key, xid: row.xid, lostAt: performance.now() });
		}
	}

	/**
	 * Takes the unknown intent that an equal request left behind, if there is one. It is this request's from then on.
	 * One whose outcome is still on its way is waited for.
	 */
	async claim(given: NewIntent): Promise<Intent | undefined> {
		const key = keyOf(given);
		for (;;) {
			const found = this.#take(key);
			const [orphan] = this.#orphans.get(key) ?? [];
			if (found !== undefined || orphan === undefined) return found;
			await orphan;
		}
	}

	/** Whoever asked has left, and the outcome is still on its way. @param work ends when it is left or closed */
	orphan({ key }: Intent, work: Promise<void>): void {
		const all = this.#orphans.get(key) ?? new Set();
		this.#orphans.set(key, all);
		const ended: Promise<void> = work
			.catch(() => {})
			.then(() => {
				all.delete(ended);
				if (all.size === 0) this.#orphans.delete(key);
			});
		all.add(ended);
	}

	#take(key: string): Intent | undefined {
		const all = this.#unknown.get(key) ?? [];
		const since = Date.now() - LIMITS.match;
		while (all[0] !== undefined && all[0].at < since) all.shift();
		const found = all.shift();
		if (all.length === 0) this.#unknown.delete(key);
		return found;
	}

	/**
	 * Commits a new intent.
	 * @throws AccountsError DATABASE_AWAY
	 */
	record(given: NewIntent): Promise<Intent> {
		const intent: Intent = {
			id: randomUUID(),
			at: Date.now(),
			key: keyOf(given),
			xid: "",
			lostAt: undefined,
		};
		return new Promise((resolve, reject) => {
			this.#recording.push({ given, intent, done: () => resolve(intent), failed: reject });
			if (!this.#recordingNow) void this.#record();
		});
	}

	/** All that came while the last ones were written are written together. */
	async #record(): Promise<void> {
		this.#recordingNow = true;
		while (this.#recording.length > 0) {
			const batch = this.#recording.splice(0, 500);
			try {
				const rows = await this.#database.query(
					`insert into creates (id, at, credential, route, body)
						select * from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::bytea[])
						returning id, xid::text as xid`,
					[
						batch.map(({ intent }) => intent.id),
						batch.map(({ intent }) => new Date(intent.at)),
						batch.map(({ given }) => given.credential),
						batch.map(({ given }) => given.route),
						batch.map(({ given }) => given.body),
					],
				);
				const xids = new Map(rows.map(({ id, xid }) => [id as string, xid as string]));
				for (const { intent, done } of batch) {
					intent.xid = xids.get(intent.id) ?? "";
					done();
				}
			} catch (error) {
				for (const { failed } of batch) failed(error);
			}
		}
		this.#recordingNow = false;
	}

	/**
	 * Whoever asked has the outcome.
	 * @param made names what was made, if anything was; see `isMade`
	 */
	close({ id }: Intent, made: string | undefined): void {
		if (made !== undefined) this.#made.set(made, Date.now() + LIMITS.remember);
		if (this.#closing.size < MOST_WAITING) this.#closing.set(id, made ?? "");
		this.#closingNow ??= this.#close();
	}

	/** Nobody waits for the outcome any more: the next equal request is taken for the same one. */
	leave(intent: Intent): void {
		intent.lostAt ??= performance.now();
		this.#add(intent);
	}

	/** Whether somebody has been told that this was made on his behalf. */
	isMade(made: string): boolean {
		return (this.#made.get(made) ?? 0) > Date.now();
	}

	/** Writes what is left to be written, and nothing after that. */
	async shut(): Promise<void> {
		clearInterval(this.#timer);
		await this.#closingNow;
		if (this.#closing.size > 0) await this.#close();
		await this.#database.close();
	}

	#add(intent: Intent): void {
		const all = this.#unknown.get(intent.key);
		if (all === undefined) this.#unknown.set(intent.key, [intent]);
		else all.push(intent);
	}

	async #close(): Promise<void> {
		while (this.#closing.size > 0) {
			const batch = [...this.#closing];
			this.#closing.clear();
			try {
				await this.#database.query(
					`update creates set outcome = known.outcome from unnest($1::uuid[], $2::text[]) as known (id, outcome)
						where creates.id = known.id`,
					[batch.map(([id]) => id), batch.map(([, outcome]) => outcome)],
				);
			} catch (error) {
				// They wait for the next one that is closed, or for the tidying.
				for (const [id, outcome] of batch) this.#closing.set(id, outcome);
				if (!isAway(error)) this.#log.error({ err: error }, "outcomes of creates could not be written");
				break;
			}
		}
		this.#closingNow = undefined;
	}

	async #tidy(): Promise<void> {
		const now = Date.now();
		for (const [made, until] of this.#made) if (until < now) this.#made.delete(made);
		for (const [key, all] of this.#unknown) {
			const left = all.filter(({ at }) => at > now - LIMITS.match);
			if (left.length === 0) this.#unknown.delete(key);
			else this.#unknown.set(key, left);
		}
		if (this.#closing.size > 0) this.#closingNow ??= this.#close();
		await this.#database
			.query("delete from creates where at < $1", [new Date(now - LIMITS.remember)])
			.catch((error) => {
				if (!isAway(error)) this.#log.error({ err: error }, "old creates could not be removed");
			});
	}
}
