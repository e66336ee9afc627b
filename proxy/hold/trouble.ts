/**
 * MLflow's words for a database that is away. Only `OperationalError` becomes a 503; of every other error of
 * SQLAlchemy it makes a 400 `BAD_REQUEST` or a 500, which its client never, or hardly, asks again after
 * (MLflow 2.13.0, `store/db/utils.py`).
 */

const STATUSES: ReadonlySet<number> = new Set([400, 500, 503]);
/** MLflow's errors quote their statement; what is longer is none. In bytes. */
export const LONGEST_TROUBLE = 256 * 1024;

/** Classes of psycopg2 that say nothing about the statement, and the pool's own words. */
const AWAY =
	/\(psycopg2\.(?:OperationalError|InterfaceError|InternalError|DatabaseError|errors\.(?:AdminShutdown|CrashShutdown|CannotConnectNow|ConnectionFailure|ConnectionDoesNotExist|SqlclientUnableToEstablishSqlconnection|TooManyConnections|DiskFull|OutOfMemory|IdleInTransactionSessionTimeout|InFailedSqlTransaction|InvalidAuthorizationSpecification|InvalidPassword|InvalidCatalogName))\)|QueuePool limit of|Can't reconnect until invalid transaction is rolled back|This Connection is closed/;

/** Whether the database is away because its disk is full. */
export const isFull = (body: string): boolean => body.includes("(psycopg2.errors.DiskFull)");

/** Whether an answer of this status may be about the database. */
export const mayBeTrouble = (status: number): boolean => STATUSES.has(status);

/** Whether an error of MLflow says that its database is away. */
export function isTrouble(status: number, body: string): boolean {
	if (!mayBeTrouble(status)) return false;
	try {
		const { message } = JSON.parse(body) as { message?: unknown };
		return typeof message === "string" && AWAY.test(message);
	} catch {
		return false;
	}
}
