/** The door as a process: what it says, and with which code it ends, when it must not start. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CHECKOUT } from "../../support/mlgate.ts";
import { startPostgres, type TestDatabase, type TestPostgres } from "../../support/postgres.ts";

let postgres: TestPostgres;
let database: TestDatabase;
let folder: string;
let port: number;

beforeAll(async () => {
	const server = createServer().listen(0, "127.0.0.1");
	await once(server, "listening");
	port = (server.address() as AddressInfo).port;
	server.close();
	postgres = await startPostgres();
	database = await postgres.database();
	folder = await mkdtemp(join(tmpdir(), "mlgate-test-start-"));
	await writeFile(join(folder, "store-secret"), "not used here");
}, 60_000);
afterAll(async () => {
	await postgres?.close();
	await rm(folder, { recursive: true, force: true });
});

interface Said {
	code: number | null;
	lines: Record<string, unknown>[];
}

/** Runs it until it ends, or listens and is stopped. */
function door(more: Record<string, string> = {}): Promise<Said> {
	return new Promise((resolve, reject) => {
		const env = {
			PATH: process.env.PATH,
			DOOR_NAME: "lab",
			DOOR_LISTENERS: JSON.stringify([{ name: "edge", bind: "127.0.0.1", port, hosts: ["localhost"] }]),
			DOOR_MLFLOW_URL: "http://127.0.0.1:9",
			DOOR_DATABASE_URL: database.url,
			DOOR_DATABASE_PASSWORD_FILE: database.passwordFile,
			DOOR_STORE_URL: "http://127.0.0.1:9",
			DOOR_STORE_BUCKET: "mlflow",
			DOOR_STORE_USER: "door",
			DOOR_STORE_SECRET_FILE: join(folder, "store-secret"),
			DOOR_KEY_FILE: join(folder, "wrapping-key"),
			DOOR_CONTROL_SOCKET: join(folder, "control.sock"),
			DOOR_DRAIN_SECONDS: "0",
			...more,
		};
		const child = spawn(process.execPath, [join(CHECKOUT, "proxy", "main.ts")], { env });
		let text = "";
		child.on("error", reject);
		child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
			text += chunk;
			if (text.includes('"listening"')) child.kill("SIGTERM");
		});
		child.on("close", (code) => {
			const lines = text.split("\n").filter((line) => line.startsWith("{"));
			resolve({ code, lines: lines.map((line) => JSON.parse(line)) });
		});
	});
}

describe("a door that must not start", () => {
	it("whose key is gone ends, names the file and the one thing to do, and makes no new key", async () => {
		expect(await door()).toMatchObject({ code: 0 });
		const { code, lines } = await door({ DOOR_KEY_FILE: join(folder, "gone") });
		expect(code).toBe(3);
		expect(lines.at(-1)).toMatchObject({
			level: "fatal",
			code: "KEY_FILE_MISSING",
			msg: expect.stringContaining(join(folder, "gone")),
			fix: expect.stringContaining("door's data volume"),
		});
		// The right file, and all is well: nothing was made in its place.
		expect(await door()).toMatchObject({ code: 0 });
	}, 60_000);

	it("before a database of a later release ends and says which release would do", async () => {
		await database.query("insert into schema_migrations values (999, '999-later.sql', now())");
		const { code, lines } = await door();
		expect(code).toBe(3);
		expect(lines.at(-1)).toMatchObject({
			code: "DATABASE_NEWER",
			fix: expect.stringContaining("newer release"),
		});
		await database.query("delete from schema_migrations where version = 999");
	}, 60_000);

	it("whose key cannot be written, for want of room or of rights, ends and lets nobody in", async () => {
		const other = await postgres.database();
		const { code, lines } = await door({ DOOR_DATABASE_URL: other.url, DOOR_KEY_FILE: "/dev/full/key" });
		expect(code).not.toBe(0);
		expect(lines.at(-1)).toMatchObject({ level: "fatal" });
		expect(JSON.stringify(lines.at(-1))).toContain("/dev/full");
		expect(lines.some(({ msg }) => msg === "listening")).toBe(false);
	}, 60_000);
});
