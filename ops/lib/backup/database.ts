/**
 * The databases of a stack as a backup sees them: by the server's own programs, as the superuser over the socket in
 * its container. Nobody else may do this, and no password is needed for it.
 */
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DATABASE } from "../../../infra/contract.ts";
import type { Container } from "../docker.ts";
import { execMarked, openDockerStream } from "../docker-stream.ts";
import { sleep } from "../sleep.ts";
import type { DatabaseName, Tables } from "./format.ts";

const CONNECT = ["--host=/run/postgresql", "--username=postgres"] as const;

/** What a database is called while a restore fills it, and after another one has taken its place. */
export const aside = {
	coming: (database: DatabaseName) => `${DATABASE[database]}_restored`,
	going: (database: DatabaseName) => `${DATABASE[database]}_before_restore`,
} as const;

/** Rows and content of each table, comparable between servers of the same major version whatever their settings. */
const COMPARABLE = `
	set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set timezone = 'UTC';
	set extra_float_digits = 1; set bytea_output = 'hex'; set xmloption = 'content'`;

/** The digest is the sum of 60 bits of each row's MD5: the same in whatever order the rows lie. */
const TABLES = `
	select coalesce(json_object_agg(name, json_build_object(
		'rows', (xpath('//rows/text()', counted))[1]::text::bigint,
		'digest', (xpath('//digest/text()', counted))[1]::text) order by name), '{}')
	from (
		select format('%I.%I', n.nspname, c.relname) as name, query_to_xml(format(
			'select count(*) as rows, coalesce(sum((''x'' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric), 0) as digest from only %I.%I t',
			n.nspname, c.relname), false, true, '') as counted
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
	) tables`;

const oneLine = (sql: string) => sql.replace(/\s+/g, " ").trim();

/** One connection that stays open between statements. */
export interface Session {
	/** Runs statements and gives back what they print, unaligned, without headings. */
	ask(sql: string): Promise<string>;
	close(): Promise<void>;
	/** Ends it wherever it is. */
	abandon(): void;
}

export function openSession(postgres: Container, database: string, signal?: AbortSignal): Session {
	const options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"];
	const psql = ["exec", "-i", postgres.Id, "psql", ...options, ...CONNECT, `--dbname=${database}`];
	const { input, output, ended, kill } = openDockerStream(psql, signal);
	const lines = createInterface({ input: output })[Symbol.asyncIterator]();
	let asked = 0;
	return {
		async ask(sql) {
			asked += 1;
			const mark = `-- answered ${asked}`;
			input.write(`${oneLine(sql)};\n\\echo '${mark}'\n`);
			const answer: string[] = [];
			for (;;) {
				const { done, value } = await lines.next();
				if (done) {
					await ended;
					throw new Error("psql ended before it had answered");
				}
				if (value === mark) return answer.join("\n");
				answer.push(value);
			}
		},
		async close() {
			input.end();
			await ended;
		},
		abandon: kill,
	};
}

/** Runs statements on a connection of their own. */
export async function ask(postgres: Container, database: string, sql: string): Promise<string> {
	const session = openSession(postgres, database);
	const answer = await session.ask(sql);
	await session.close();
	return answer;
}

export interface Dump {
	tables: Tables;
	/** The dump as `pg_restore` reads it; throws at its end if pg_dump failed. */
	bytes: AsyncIterable<Buffer>;
}

/**
 * Dumps a database as it is at this moment, and counts its tables at the same one, while others go on writing.
 * @param take gets the dump; the moment is held until it is done.
 */
export async function dump<T>(
	postgres: Container,
	database: DatabaseName,
	signal: AbortSignal,
	take: (dump: Dump) => Promise<T>,
): Promise<T> {
	const name = DATABASE[database];
	const session = openSession(postgres, name, signal);
	try {
		// The dump may take longer than a transaction may idle otherwise.
		await session.ask("set idle_in_transaction_session_timeout = 0; set statement_timeout = 0");
		await session.ask(COMPARABLE);
		await session.ask("begin isolation level repeatable read, read only");
		const snapshot = await session.ask("select pg_export_snapshot()");
		const tables: Tables = JSON.parse(await session.ask(TABLES));
		const pgDump = ["pg_dump", "--format=custom", `--snapshot=${snapshot}`, ...CONNECT, name];
		const result = await take({ tables, bytes: wholeOutput(postgres, pgDump, signal) });
		await session.ask("commit");
		await session.close();
		return result;
	} catch (error) {
		session.abandon();
		throw error;
	}
}

async function* wholeOutput(
	{ Id }: Container,
	command: readonly string[],
	signal: AbortSignal,
): AsyncGenerator<Buffer> {
	const { output, ended, kill } = execMarked(Id, command, signal);
	try {
		yield* output;
		await ended;
	} finally {
		// For whoever stops reading: it would wait for the end of its input.
		kill();
	}
}

/** Makes the database beside the one in use and fills it from a dump. */
export async function restoreAside(
	postgres: Container,
	database: DatabaseName,
	dumped: Readable,
	signal: AbortSignal,
): Promise<Tables> {
	const [name, owner] = [aside.coming(database), DATABASE[database]];
	await dropIfThere(postgres, name);
	await ask(
		postgres,
		"postgres",
		`create database ${name} owner ${owner} template template0 encoding 'UTF8' locale 'C.UTF-8'`,
	);
	// Roles and rights are in the dump; every stack has the roles.
	const pgRestore = [
		"exec",
		"-i",
		postgres.Id,
		"pg_restore",
		"--exit-on-error",
		...CONNECT,
		`--dbname=${name}`,
	];
	const { input, ended } = openDockerStream(pgRestore, signal);
	// If it ends early, its own words say why.
	await pipeline(dumped, input).catch(() => {});
	await ended;
	return tablesOf(postgres, name);
}

export async function tablesOf(postgres: Container, database: string): Promise<Tables> {
	const session = openSession(postgres, database);
	await session.ask("set statement_timeout = 0");
	await session.ask(COMPARABLE);
	const tables = JSON.parse(await session.ask(TABLES));
	await session.close();
	return tables;
}

/** How often the change of names is tried: the health check looks into the databases for a moment every few seconds. */
const TRIES = 20;

/** The restored databases take the names of those in use, all of them in one moment. */
export async function swap(postgres: Container, databases: readonly DatabaseName[]): Promise<void> {
	const names = databases.flatMap((one) => [DATABASE[one], aside.coming(one)]);
	const renames = databases.flatMap((one) => [
		`alter database ${DATABASE[one]} rename to ${aside.going(one)}`,
		`alter database ${aside.coming(one)} rename to ${DATABASE[one]}`,
	]);
	const disconnect = `select count(pg_terminate_backend(pid)) from pg_stat_activity where datname in (${names.map((name) => `'${name}'`).join(", ")})`;
	for (let tries = 1; ; tries += 1) {
		try {
			await ask(postgres, "postgres", disconnect);
			await ask(postgres, "postgres", `begin; ${renames.join("; ")}; commit`);
			return;
		} catch (error) {
			if (tries === TRIES) throw error;
			await sleep(200);
		}
	}
}

/** `force`: whoever still looks into it is sent away. */
export const dropIfThere = (postgres: Container, database: string): Promise<string> =>
	ask(postgres, "postgres", `drop database if exists ${database} with (force)`);

export interface DatabaseVersions {
	postgres: string;
	alembic: string;
	door: number;
}

export async function versionsOf(postgres: Container): Promise<DatabaseVersions> {
	const [server, alembic, door] = await Promise.all([
		ask(postgres, DATABASE.mlflow, "show server_version"),
		ask(postgres, DATABASE.mlflow, "select version_num from alembic_version"),
		ask(postgres, DATABASE.door, "select coalesce(max(version), 0) from schema_migrations"),
	]);
	return { postgres: server.split(" ")[0] ?? server, alembic, door: Number(door) };
}

/** Bytes that a database takes on the server's disk; its dump is smaller. */
export const sizeOf = async (postgres: Container, database: DatabaseName): Promise<number> =>
	Number(await ask(postgres, DATABASE[database], "select pg_database_size(current_database())"));
