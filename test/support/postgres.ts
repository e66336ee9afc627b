/**
 * A real Postgres for tests: a cluster of its own in a temporary folder, on a port of its own, run by an
 * unprivileged user. There is no way round it: without Postgres binaries the tests that need one fail.
 */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, globSync } from "node:fs";
import { chmod, chown, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";

const run = promisify(execFile);

/** The user that runs the server when the tests run as root, which Postgres refuses to be run by. */
const SERVER_USER = "postgres";

export interface TestDatabase {
	/** `postgres://door@127.0.0.1:<port>/<database>`, without password. */
	url: string;
	passwordFile: string;
	/** As the door's own role. */
	query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
}

export interface TestPostgres {
	/** A new, empty database of its own, owned by the role `door`. */
	database(): Promise<TestDatabase>;
	/** As a crash: connections break in the middle. */
	stop(): Promise<void>;
	/** Does nothing when it runs. */
	start(): Promise<void>;
	close(): Promise<void>;
}

export async function startPostgres(): Promise<TestPostgres> {
	const bin = findBinaries();
	const root = process.getuid?.() === 0;
	const folder = await mkdtemp(join(tmpdir(), "mlgate-test-postgres-"));
	const data = join(folder, "data");
	const port = await freePort();
	const asServer = async (program: string, ...args: string[]) => {
		const command = [join(bin, program), ...args];
		const [file = "", ...rest] = root ? ["runuser", "-u", SERVER_USER, "--", ...command] : command;
		// In the folder, because the server's user may not enter ours.
		return await run(file, rest, { cwd: folder });
	};
	const password = randomBytes(18).toString("base64url");
	const passwordFile = join(folder, "password");
	await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
	if (root) {
		const [uid = 0, gid = 0] = await Promise.all(
			["-u", "-g"].map(async (flag) => Number((await run("id", [flag, SERVER_USER])).stdout)),
		);
		for (const path of [folder, passwordFile]) await chown(path, uid, gid);
	}
	await chmod(folder, 0o700);
	await asServer(
		"initdb",
		...["-D", data, "--username=postgres", `--pwfile=${passwordFile}`, "--auth=scram-sha-256"],
		...["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
	);
	const options = `-p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off`;
	const isRunning = () => existsSync(join(data, "postmaster.pid"));
	const start = async () => {
		if (isRunning()) return;
		await asServer("pg_ctl", "-D", data, "-w", "-t", "60", "-l", join(folder, "log"), "-o", options, "start");
	};
	const stop = async () => {
		await asServer("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop");
	};
	await start();

	const as = async (user: string, database: string, work: (client: pg.Client) => Promise<unknown>) => {
		const client = new pg.Client({ host: "127.0.0.1", port, user, database, password });
		await client.connect();
		try {
			return await work(client);
		} finally {
			await client.end();
		}
	};
	// The role's password is the superuser's: a secret of this cluster alone.
	await as("postgres", "postgres", (client) => client.query(`create role door login password '${password}'`));
	return {
		start,
		stop,
		async database() {
			const name = `door_${randomBytes(6).toString("hex")}`;
			await as("postgres", "postgres", (client) => client.query(`create database ${name} owner door`));
			return {
				url: `postgres://door@127.0.0.1:${port}/${name}`,
				passwordFile,
				query: async (text, values) =>
					(await as("door", name, async (client) => (await client.query(text, values)).rows)) as Record<
						string,
						unknown
					>[],
			};
		},
		async close() {
			if (isRunning()) await stop();
			await rm(folder, { recursive: true, force: true });
		},
	};
}

/** The newest Postgres of Debian's layout, or the one on the PATH. */
function findBinaries(): string {
	const debian = globSync("/usr/lib/postgresql/*/bin").sort(
		(one, other) => Number(one.split("/")[4]) - Number(other.split("/")[4]),
	);
	const found = [...debian.reverse(), ...(process.env.PATH ?? "").split(":")].find((folder) =>
		["initdb", "pg_ctl", "postgres"].every((program) => existsSync(join(folder, program))),
	);
	if (found) return found;
	throw new Error("These tests need Postgres: `apt-get install --no-install-recommends postgresql`.");
}

async function freePort(): Promise<number> {
	return await new Promise((resolve, reject) => {
		const server = createServer().on("error", reject);
		server.listen(0, "127.0.0.1", () => {
			const address = server.address();
			server.close(() =>
				typeof address === "object" && address ? resolve(address.port) : reject(new Error("no port")),
			);
		});
	});
}
