/**
 * Finds in MLflow's own database what a create has made whose answer was lost. The door reads there as a role that may
 * do nothing else.
 *
 * MLflow's rows carry no mark of ours, so what an intent made is recognised by what it must be: a row that has in every
 * column what the body asked for, and
 * - whose transaction has a higher number than the intent's. Numbers are given in the order in which transactions begin
 *   to write, by one counter for all databases of the server, so nothing that was there before the intent can match,
 *   whatever the clocks say. Where a row may have been changed since (which gives it a new number), its time of creation
 *   must not lie before the intent either;
 * - that nobody has been told about yet: what other creates were answered with does not count;
 * - that, for a run, is as it was made: its id is random, so whoever logs to it has been told.
 *
 * That it is not there can only be said when nothing can make it any more. What MLflow has begun to write is waited for
 * (`#settled`); a request that MLflow has read and not begun to write is given `SETTLE` from when its connection was
 * lost. A server that died took its requests along; that wait is for a door that died under a server that lives.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Database, Sql } from "../accounts/database.ts";
import type { Intent } from "./intents.ts";

/** Milliseconds. */
const SETTLE = 2_000;
const LONGEST_SETTLING = 10_000;
/** The clock of MLflow is this machine's; this is for one that is being set. */
const SKEW = 1_000;

/** Transactions from before are still writing: whether it is there cannot be said. */
export class Unsettled extends Error {
	override readonly name = "Unsettled";
}

/** One look. @returns names of what might be it, the most likely first */
export type Look = (sql: Sql, since: Since) => Promise<string[]>;

export interface Since {
	/** For `age(xmin) < age($n::xid8::xid)`. */
	xid: string;
	/** Milliseconds since 1970. */
	at: number;
}

export class Finder {
	readonly #database: Database;
	readonly #settle: number;

	/** @param settle milliseconds, for tests */
	constructor(database: Database, settle: number = SETTLE) {
		this.#database = database;
		this.#settle = settle;
	}

	/**
	 * @param isTaken whether somebody has been told of it
	 * @returns undefined: it is not there, and nothing will make it
	 * @throws AccountsError DATABASE_AWAY; Unsettled
	 */
	async find(
		look: Look,
		{ xid, at, lostAt }: Intent,
		isTaken: (name: string) => boolean,
	): Promise<string | undefined> {
		const sql: Sql = (text, values) => this.#database.query(text, values);
		const one = async () => (await look(sql, { xid, at: at - SKEW })).find((name) => !isTaken(name));
		const found = await one();
		if (found !== undefined) return found;
		const early = (lostAt ?? performance.now()) + this.#settle - performance.now();
		if (early > 0) await sleep(early);
		await this.#settled(sql);
		return await one();
	}

	/**
	 * Waits for every transaction that is writing now: those with lower numbers than one that is taken for it. (What a
	 * snapshot calls its end is the last number that has *completed*; a newer one that still writes lies beyond it.)
	 */
	async #settled(sql: Sql): Promise<void> {
		const [now] = await sql("select pg_current_xact_id()::text as horizon");
		const until = performance.now() + LONGEST_SETTLING;
		for (;;) {
			const [row] = await sql("select pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8 as past", [
				now?.horizon,
			]);
			if (row?.past === true) return;
			if (performance.now() > until) throw new Unsettled("transactions from before are still writing");
			await sleep(50);
		}
	}

	async close(): Promise<void> {
		await this.#database.close();
	}
}
