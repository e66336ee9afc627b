/**
 * The door's own Postgres database. Connections come and go with the server; what is built on top
 * (store.ts) keeps the door working while it is away.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { AccountsError } from "./errors.ts";
import type { Log } from "./log.ts";

export interface DatabaseSettings {
	/** `postgres://user@host:port/database`. */
	url: string;
	/** Read at each connect, so that a changed password needs no restart. */
	passwordFile?: string;
}

// biome-ignore lint/suspicious/noExplicitAny: rows are shaped by the statement beside each call
export type Row = Record<string, any>;
export type Sql = (text: string, values?: unknown[]) => Promise<Row[]>;

/** Milliseconds. The server's limit is below the client's: it then ends the statement, not only the wait. */
const TIMEOUT = { connect: 3_000, statement: 5_000, query: 7_000 } as const;

/** SQLSTATE classes that say nothing about the statement: connection, sign-in, missing database, disk, shutdown. */
const AWAY_CLASSES = new Set(["08", "28", "3D", "53", "57", "58"]);

/** What pg throws, as DATABASE_AWAY where the database (its disk, the way to it) is gone and not our SQL wrong. */
function named(error: unknown): unknown {
	if (error instanceof pg.DatabaseError && !AWAY_CLASSES.has(error.code?.slice(0, 2) ?? "08")) return error;
	return new AccountsError("DATABASE_AWAY").because(error);
}

export const isAway = (error: unknown): boolean =>
	error instanceof AccountsError && error.code === "DATABASE_AWAY";

/** Whether it is away because its disk is full. */
export const isFull = (error: unknown): boolean =>
	isAway(error) && ((error as Error).cause as { code?: unknown } | undefined)?.code === "53100";

/** Doors that start at once take turns: held until the transaction ends. Any fixed number does. */
export async function startLock(sql: Sql): Promise<void> {
	await sql("select pg_advisory_xact_lock(7263915)");
}

export class Database {
	readonly #pool: pg.Pool;

	/** @param options.durable false: a commit does not wait for the disk, and is in the log before any that follows */
	constructor(settings: DatabaseSettings, log: Log, { durable = true }: { durable?: boolean } = {}) {
		const url = new URL(settings.url);
		const { passwordFile } = settings;
		// Taken apart here: a connection string given to pg sets an empty password over the function below.
		this.#pool = new pg.Pool({
			host: url.hostname,
			port: Number(url.port || 5432),
			user: decodeURIComponent(url.username),
			database: decodeURIComponent(url.pathname.slice(1)),
			password: passwordFile
				? async () => (await readFile(passwordFile, "utf8")).trim()
				: decodeURIComponent(url.password),
			max: 4,
			keepAlive: true,
			application_name: "mlgate-door",
			...(durable ? {} : { options: "-c synchronous_commit=off" }),
			connectionTimeoutMillis: TIMEOUT.connect,
			statement_timeout: TIMEOUT.statement,
			idle_in_transaction_session_timeout: TIMEOUT.statement,
			query_timeout: TIMEOUT.query,
		});
		// A connection that dies emits `error`; without a listener of our own that ends the process. The pool
		// listens on idle connections only.
		this.#pool.on("connect", (client) => {
			client.on("error", (error) => log.debug({ err: error }, "a database connection died"));
		});
		this.#pool.on("error", () => {});
	}

	async query(text: string, values: unknown[] = []): Promise<Row[]> {
		return await this.#with((sql) => sql(text, values));
	}

	/** Runs `work` in one transaction. Throws what `work` throws, after rolling back. */
	async transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
		return await this.#with(async (sql) => {
			await sql("begin");
			try {
				const result = await work(sql);
				await sql("commit");
				return result;
			} catch (error) {
				// On a dead connection there is nothing left to roll back, and the first error is the one to tell.
				await sql("rollback").catch(() => {});
				throw error;
			}
		});
	}

	/**
	 * Repeats `work` until the database answers. Logs why it waits, at first and then about every ten seconds.
	 * @throws what `work` throws for any other reason; the signal's reason when aborted.
	 */
	async whenThere<T>(work: () => Promise<T>, log: Log, signal?: AbortSignal): Promise<T> {
		let pause = 250;
		let toldAt = 0;
		for (;;) {
			signal?.throwIfAborted();
			try {
				return await work();
			} catch (error) {
				if (!isAway(error)) throw error;
				if (Date.now() - toldAt > 10_000) {
					toldAt = Date.now();
					log.warn({ why: String((error as Error).cause) }, "waiting for the accounts database");
				}
			}
			await sleep(pause, undefined, { signal });
			pause = Math.min(pause * 2, 2_000);
		}
	}

	async close(): Promise<void> {
		await this.#pool.end();
	}

	async #with<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
		const client = await this.#pool.connect().catch((error) => {
			throw named(error);
		});
		let broken = false;
		try {
			return await work(async (text, values) => {
				try {
					return (await client.query(text, values)).rows;
				} catch (error) {
					// After a client-side timeout an answer may still arrive and would be taken for the next one's.
					broken ||= !(error instanceof pg.DatabaseError);
					throw named(error);
				}
			});
		} finally {
			client.release(broken);
		}
	}
}
