/** Real accounts on a real database for tests, and a small server with the pages and one guarded path. */
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import type { Listener } from "../../infra/contract.ts";
import {
	type Accounts,
	type AccountsOptions,
	type AccountsSettings,
	openAccounts,
} from "../../proxy/accounts/index.ts";
import type { Log } from "../../proxy/accounts/log.ts";
import type { RequestFacts } from "../../proxy/authority.ts";
import type { TestDatabase } from "./postgres.ts";

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const PASSWORD = "seven green bottles";

export interface TestOptions extends AccountsOptions {
	name?: string;
	/** That of earlier accounts; a new one if left out. */
	folder?: string;
	/** Where the inference API's token goes; there is none if left out. */
	serviceFolder?: string;
	/** The time on the clock. */
	start?: number;
	/** What members of the tailnet may do; nobody is one if left out. */
	tailnet?: AccountsSettings["tailnet"];
}

export interface TestAccounts extends Accounts {
	/** Where the accounts keep their file and socket. */
	folder: string;
	database: TestDatabase;
	/** What was logged, one JSON document a line. */
	logged(): string;
	/** Moves the clock on. */
	pass(milliseconds: number): void;
	now(): number;
	/** Ends and opens again, on the same database and key file. */
	reopen(options?: TestOptions): Promise<TestAccounts>;
	remove(): Promise<void>;
}

export async function startAccounts(
	database: TestDatabase,
	options: TestOptions = {},
): Promise<TestAccounts> {
	const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "mlgate-test-accounts-")));
	let now = options.start ?? Date.parse("2026-11-01T12:00:00Z");
	const lines: string[] = [];
	const log: Log = pino({ level: "debug" }, { write: (line: string) => lines.push(line) });
	const accounts = await openAccounts(
		{
			name: options.name ?? "lab",
			database: { url: database.url, passwordFile: database.passwordFile },
			keyFile: join(folder, "wrapping-key"),
			controlSocket: join(folder, "control.sock"),
			serviceFolder: options.serviceFolder,
			session: { idleHours: 12, maxDays: 7 },
			tailnet: options.tailnet,
		},
		log,
		{ clock: () => now, ...options },
	);
	return {
		...accounts,
		folder,
		database,
		logged: () => lines.join(""),
		pass: (milliseconds) => {
			now += milliseconds;
		},
		now: () => now,
		reopen: async (more = {}) => {
			await accounts.close();
			return await startAccounts(database, { ...options, ...more, folder, start: now });
		},
		remove: async () => {
			await accounts.close();
			await rm(folder, { recursive: true, force: true });
		},
	};
}

export const ACTOR = { name: "operator", listener: "control", address: "" } as const;

/** A request as the pipeline tells of it. */
export function facts(
	headers: Record<string, string | undefined> = {},
	more: Partial<Omit<RequestFacts, "headers">> = {},
): RequestFacts {
	return {
		method: "GET",
		listener: "ident",
		remoteAddress: "203.0.113.7",
		origin: "http://localhost:5000",
		...more,
		headers: { host: "localhost:5000", ...headers },
	};
}

export const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
export const basic = (name: string, password: string) => ({
	authorization: `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`,
});

/** The `Cookie` header that a browser sends after these `Set-Cookie` values. */
export function cookieHeader(setCookies: readonly string[]): string {
	return setCookies.map((cookie) => cookie.split(";")[0]).join("; ");
}

export interface TestServer {
	origin: string;
	close(): Promise<void>;
}

/**
 * Serves the pages, and on every other path a JSON document that says who is asking; the way the pipeline
 * does it, as far as accounts are concerned.
 */
export async function serve(accounts: Accounts, listener: Listener = "edge"): Promise<TestServer> {
	const { authority, pages } = accounts;
	const server = createServer(async (req, res) => {
		const [path = "/", query = ""] = (req.url ?? "/").split("?");
		const request: RequestFacts = {
			method: req.method ?? "GET",
			headers: req.headers,
			listener,
			remoteAddress: (req.headers["x-test-address"] as string | undefined) ?? req.socket.remoteAddress ?? "",
			origin: `http://${req.headers.host}`,
		};
		if (pages.paths.some((own) => path === own || (own.endsWith("/") && path.startsWith(own)))) {
			return await pages.handle(req, res, { ...request, path, query: new URLSearchParams(query) });
		}
		const verdict = await authority.authenticate(request);
		if (!verdict.ok) {
			if (!req.headers.accept?.includes("text/html")) return res.writeHead(401).end(JSON.stringify(verdict));
			return res.writeHead(303, { location: `/login?next=${encodeURIComponent(req.url ?? "/")}` }).end();
		}
		const refused = authority.checkCsrf(request, verdict.identity);
		const cookies = authority.setCookies(request, verdict.identity);
		res.writeHead(refused ? 403 : 200, {
			"content-type": "application/json",
			...(cookies.length > 0 && { "set-cookie": cookies }),
		});
		res.end(JSON.stringify({ refused, ...verdict.identity }));
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return {
		origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
		close: () =>
			new Promise((resolve) => {
				server.close(() => resolve());
				server.closeAllConnections();
			}),
	};
}

const MIGRATIONS = new URL("../../proxy/accounts/migrations/", import.meta.url);

/** Makes an empty database what a door of an earlier release left: its schema up to that version. */
export async function schemaOf(database: TestDatabase, version: number): Promise<void> {
	await database.query("create table schema_migrations (version int, file text, applied_at timestamptz)");
	const files = (await readdir(MIGRATIONS)).filter((file) => Number.parseInt(file, 10) <= version).sort();
	for (const file of files) {
		await database.query(await readFile(new URL(file, MIGRATIONS), "utf8"));
		await database.query("insert into schema_migrations values ($1, $2, now())", [
			Number.parseInt(file, 10),
			file,
		]);
	}
}

/** A name nobody has used yet. */
export const fresh = (prefix: string): string => `${prefix}-${randomBytes(4).toString("hex")}`;
