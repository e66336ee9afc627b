/**
 * The single writer. A change is one transaction, committed before it shows in the snapshot and before it is
 * acknowledged; changes take turns. Uses (last used, last seen) are gathered in memory and written together
 * every now and then: no request waits for them, and they wait while Postgres is away.
 */
import { randomUUID } from "node:crypto";
import type { Listener } from "../../infra/contract.ts";
import type { Detail } from "../audit/event.ts";
import type { Role } from "../roles.ts";
import { type Database, isAway, type Sql } from "./database.ts";
import { AccountsError } from "./errors.ts";
import type { Log } from "./log.ts";
import { REMEMBER, type Session, Snapshot, type Token, type User } from "./snapshot.ts";

/** Who does something, and from where; goes into the audit trail. */
export interface Actor {
	/** A user's name, or `operator` for the shell, or `door` for the door itself. */
	name: string;
	listener: Listener | "control" | "door";
	/** Empty where there is none. */
	address: string;
	role?: Role;
	/** Session or token id. */
	credential?: string;
}

export interface Change {
	readonly sql: Sql;
	/** Milliseconds; one time for the whole change. */
	readonly now: number;
	/** Writes a row in the same transaction. Acts read `<thing>.<verb>`. */
	audit(act: string, target: string | null, detail?: Detail): Promise<void>;
	/** Brings the snapshot up to date, once committed. Must not throw. */
	onCommit(apply: () => void): void;
}

/** Changes that may wait for their turn; more are refused. */
const MOST_WAITING = 64;
/** Milliseconds. */
const EVERY = { write: 10_000, tidy: 3_600_000 } as const;

export class Store {
	readonly snapshot = new Snapshot();
	readonly clock: () => number;
	/** What else of the database is kept in memory, and is read anew with the snapshot. */
	alsoLoad: (sql: Sql) => Promise<void> = async () => {};
	readonly #database: Database;
	readonly #log: Log;
	readonly #id = randomUUID();
	#turn: Promise<unknown> = Promise.resolve();
	#waiting = 0;
	/** The database may hold more than the snapshot: a change failed and nobody knows whether it was committed. */
	#unsure = false;
	#superseded = false;
	#away = false;
	#usedTokens = new Set<Token>();
	#usedSessions = new Set<Session>();
	#seenUsers = new Set<User>();
	#timer: NodeJS.Timeout | undefined;
	#tidiedAt = 0;

	constructor(database: Database, clock: () => number, log: Log) {
		this.#database = database;
		this.clock = clock;
		this.#log = log;
	}

	/** Takes over as the writer and reads everything. Any door that was writing until now stops deciding. */
	async open(): Promise<void> {
		await this.#database.transaction(async (sql) => {
			await sql(
				"insert into writer (id, since) values ($1, $2) on conflict (one_row) do update set id = excluded.id, since = excluded.since",
				[this.#id, new Date(this.clock())],
			);
			await this.#load(sql);
		});
		this.#timer = setInterval(() => void this.write(), EVERY.write);
		this.#timer.unref();
	}

	/** True once another door writes to the same database. This one's snapshot is then worth nothing. */
	get superseded(): boolean {
		return this.#superseded;
	}

	/**
	 * Runs one change. When this returns, it is committed and in force.
	 * @throws AccountsError DATABASE_AWAY, BUSY or SUPERSEDED; else what `work` throws, with nothing changed.
	 */
	async change<T>(actor: Actor, work: (change: Change) => Promise<T>): Promise<T> {
		return await this.#inTurn(async () => {
			if (this.#unsure) await this.#reload();
			const now = this.clock();
			const applied: (() => void)[] = [];
			const told: object[] = [];
			const result = await this.#transaction(async (sql) =>
				work({
					sql,
					now,
					audit: async (act, target, detail = {}) => {
						const { name, listener, address, role, credential } = actor;
						await sql(
							"insert into audit (at, actor, role, credential, act, target, listener, address, detail) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
							[new Date(now), name, role, credential, act, target, listener, address, JSON.stringify(detail)],
						);
						told.push({ actor: name, role, credential, act, target, listener, address, ...detail });
					},
					onCommit: (apply) => applied.push(apply),
				}),
			);
			for (const apply of applied) apply();
			for (const audit of told) this.#log.info({ audit }, "audit");
			return result;
		});
	}

	tokenUsed(token: Token, address: string): void {
		const now = this.clock();
		token.lastUsed = now;
		token.lastAddress = address;
		this.#usedTokens.add(token);
		this.userSeen(token.user, now);
	}

	sessionUsed(session: Session, address: string): void {
		const now = this.clock();
		session.lastUsed = now;
		session.lastAddress = address;
		this.#usedSessions.add(session);
		this.userSeen(session.user, now);
	}

	userSeen(user: User, now = this.clock()): void {
		user.lastSeen = now;
		this.#seenUsers.add(user);
	}

	/**
	 * Writes what has gathered. Never throws: what could not be written waits for the next time. Runs even when
	 * there is nothing, because that is also how a door learns that the database is back or another has taken over.
	 */
	async write(): Promise<void> {
		try {
			await this.#inTurn(async () => {
				if (this.#unsure) await this.#reload();
				await this.#writeGathered();
				if (this.clock() - this.#tidiedAt > EVERY.tidy) await this.#tidy();
			});
			if (this.#away) this.#log.info({}, "the accounts database is back");
			this.#away = false;
		} catch (error) {
			if (isAway(error)) {
				if (!this.#away)
					this.#log.warn({ err: error }, "the accounts database is away; going on from memory");
				this.#away = true;
			} else if (!this.#superseded) {
				this.#log.error({ err: error }, "what has gathered for the accounts database could not be written");
			}
		}
	}

	/** A round trip. @throws like `change`. */
	async ping(): Promise<void> {
		await this.#checkWriter((text, values) => this.#database.query(text, values));
	}

	/** A committed write, and a read of it: the row that says which door writes, as it is. @throws like `change`. */
	async roundTrip(): Promise<void> {
		await this.#inTurn(async () => {
			const written = await this.#database.query(
				"update writer set since = since where id = $1 returning xmin::text as mark",
				[this.#id],
			);
			if (written.length === 0) return await this.ping();
			const [read] = await this.#database.query("select xmin::text as mark from writer");
			if (read?.mark !== written[0]?.mark) throw new Error("what was read is not what was written");
		});
	}

	async close(): Promise<void> {
		clearInterval(this.#timer);
		await this.write();
		await this.#database.close();
	}

	/** One at a time, in order of arrival. */
	async #inTurn<T>(work: () => Promise<T>): Promise<T> {
		if (this.#waiting >= MOST_WAITING) throw new AccountsError("BUSY");
		this.#waiting++;
		const mine = this.#turn.then(work);
		this.#turn = mine.catch(() => {});
		try {
			return await mine;
		} finally {
			this.#waiting--;
		}
	}

	async #transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
		try {
			return await this.#database.transaction(async (sql) => {
				await this.#checkWriter(sql);
				return await work(sql);
			});
		} catch (error) {
			if (isAway(error)) this.#unsure = true;
			throw error;
		}
	}

	/** Locks out a take-over until the transaction ends. */
	async #checkWriter(sql: Sql): Promise<void> {
		if ((await sql("select 1 from writer where id = $1 for share", [this.#id])).length > 0) return;
		if (!this.#superseded) this.#log.error({}, "another door has taken over the accounts database");
		this.#superseded = true;
		throw new AccountsError("SUPERSEDED");
	}

	async #reload(): Promise<void> {
		await this.#database.transaction((sql) => this.#load(sql));
		this.#unsure = false;
	}

	async #load(sql: Sql): Promise<void> {
		await this.alsoLoad(sql);
		for (const broken of await this.snapshot.load(sql, this.clock()))
			this.#log.error(
				{ broken },
				"a row of the accounts database makes no sense; what it stands for is refused",
			);
	}

	async #writeGathered(): Promise<void> {
		const tokens = this.#usedTokens;
		const sessions = this.#usedSessions;
		const users = this.#seenUsers;
		this.#usedTokens = new Set();
		this.#usedSessions = new Set();
		this.#seenUsers = new Set();
		try {
			await this.#transaction(async (sql) => {
				await writeUses(sql, "tokens", [...tokens]);
				await writeUses(sql, "sessions", [...sessions]);
				await sql(
					"update users set last_seen_at = seen.at from unnest($1::uuid[], $2::timestamptz[]) as seen (id, at) where users.id = seen.id",
					[[...users].map((user) => user.id), [...users].map((user) => new Date(user.lastSeen ?? 0))],
				);
			});
		} catch (error) {
			for (const token of tokens) this.#usedTokens.add(token);
			for (const session of sessions) this.#usedSessions.add(session);
			for (const user of users) this.#seenUsers.add(user);
			throw error;
		}
	}

	/** Forgets what no request can need any more. */
	async #tidy(): Promise<void> {
		const now = this.clock();
		await this.#transaction(async (sql) => {
			await sql("delete from sessions where coalesce(ended_at, expires_at) < $1", [
				new Date(now - REMEMBER.sessions),
			]);
			await sql("delete from links where expires_at < $1", [new Date(now - REMEMBER.links)]);
		});
		this.snapshot.tidy(now);
		this.#tidiedAt = now;
	}
}

async function writeUses(sql: Sql, table: "tokens" | "sessions", used: (Token | Session)[]): Promise<void> {
	await sql(
		`update ${table} set last_used_at = used.at, last_used_address = used.address
			from unnest($1::text[], $2::timestamptz[], $3::text[]) as used (id, at, address) where ${table}.id = used.id`,
		[
			used.map((one) => one.id),
			used.map((one) => new Date(one.lastUsed ?? 0)),
			used.map((one) => one.lastAddress),
		],
	);
}
