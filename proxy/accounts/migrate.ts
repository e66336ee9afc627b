/** Brings the database's schema up to date: numbered SQL files, applied once each, one door at a time. */
import { readdir, readFile } from "node:fs/promises";
import { type Database, type Sql, startLock } from "./database.ts";
import { AccountsError } from "./errors.ts";
import type { Log } from "./log.ts";

const FOLDER = new URL("./migrations/", import.meta.url);

interface Migration {
	version: number;
	file: string;
}

async function migrations(): Promise<Migration[]> {
	const files = (await readdir(FOLDER)).filter((file) => /^\d{3}-[a-z0-9-]+\.sql$/.test(file)).sort();
	return files.map((file) => ({ version: Number(file.slice(0, 3)), file }));
}

async function appliedTo(sql: Sql): Promise<ReadonlySet<number>> {
	return new Set((await sql("select version from schema_migrations")).map(({ version }) => version));
}

/**
 * Whether `migrate` would refuse, without writing anything.
 * @throws AccountsError DATABASE_NEWER
 */
export async function assertNotNewer(database: Database): Promise<void> {
	const newest = (await migrations()).at(-1)?.version ?? 0;
	const current = Math.max(0, ...(await database.transaction(appliedTo)));
	if (current > newest) throw new AccountsError("DATABASE_NEWER", current, newest);
}

/** @throws AccountsError DATABASE_NEWER when a later release wrote the schema. */
export async function migrate(database: Database, log: Log): Promise<void> {
	const known = await migrations();
	const newest = known.at(-1)?.version ?? 0;
	await database.transaction(async (sql) => {
		await sql("set local statement_timeout = 0");
		await startLock(sql);
		await sql(
			"create table if not exists schema_migrations (version int primary key, file text not null, applied_at timestamptz not null)",
		);
		const applied = await appliedTo(sql);
		const current = Math.max(0, ...applied);
		if (current > newest) throw new AccountsError("DATABASE_NEWER", current, newest);
		for (const { version, file } of known.filter((migration) => !applied.has(migration.version))) {
			await sql(await readFile(new URL(file, FOLDER), "utf8"));
			await sql("insert into schema_migrations values ($1, $2, now())", [version, file]);
			log.info({ migration: file }, "accounts database migrated");
		}
	});
}
