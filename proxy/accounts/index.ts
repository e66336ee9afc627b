/**
 * The accounts: users, API tokens, sessions, one-time links and signing keys in the door's own database, what
 * decides requests from them, the sign-in pages, and the control socket. `openAccounts` puts them together.
 */
import type { Check } from "../authority.ts";
import { accountCommands } from "../control/commands.ts";
import { type Commands, type ControlServer, openControlServer } from "../control/server.ts";
import { AccountPages } from "../pages/index.ts";
import { AccountsAuthority } from "./authority.ts";
import { Cookies } from "./cookies.ts";
import { Database, type DatabaseSettings } from "./database.ts";
import { Jwts } from "./jwt.ts";
import { openKeyring } from "./keys.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { Links } from "./links.ts";
import type { Log } from "./log.ts";
import { migrate } from "./migrate.ts";
import { type SessionSettings, Sessions } from "./sessions.ts";
import { SignIn } from "./signin.ts";
import { Store } from "./store.ts";
import { Tokens } from "./tokens.ts";
import { Users } from "./users.ts";

export interface AccountsSettings {
	/** The stack's name: in the issuer of tokens, in cookie names and on the pages. */
	name: string;
	database: DatabaseSettings;
	/** 32 random bytes, made at the first start. */
	keyFile: string;
	controlSocket: string;
	session: SessionSettings;
}

export interface AccountsOptions {
	/** Milliseconds since 1970. */
	clock?: () => number;
	limits?: Limits;
	/** Ends the wait for the database. */
	signal?: AbortSignal;
}

export interface Control {
	/**
	 * Starts to listen; closed with the accounts.
	 * @param more.checks added to the accounts' own in `status`.
	 * @param more.commands further commands.
	 */
	listen(more?: { checks?: () => Promise<Check[]>; commands?: Commands }): Promise<void>;
}

export interface Accounts {
	authority: AccountsAuthority;
	pages: AccountPages;
	control: Control;
	users: Users;
	tokens: Tokens;
	links: Links;
	sessions: Sessions;
	/** Writes what has gathered (last used, refusals), then ends all connections. */
	close(): Promise<void>;
}

/**
 * Waits for the database as long as it takes, brings its schema up to date and becomes its writer.
 * @throws AccountsError DATABASE_NEWER, KEY_FILE_MISSING, KEY_FILE_INVALID, KEY_FILE_WRONG; the signal's reason
 */
export async function openAccounts(
	settings: AccountsSettings,
	log: Log,
	{ clock = Date.now, limits = LIMITS, signal }: AccountsOptions = {},
): Promise<Accounts> {
	const { name } = settings;
	const database = new Database(settings.database, log);
	const store = new Store(database, clock, log);
	const keyring = await database
		.whenThere(
			async () => {
				await migrate(database, log);
				const keys = await openKeyring(database, settings.keyFile, clock);
				await store.open();
				return keys;
			},
			log,
			signal,
		)
		.catch(async (error) => {
			await database.close();
			throw error;
		});

	const jwts = new Jwts(keyring, name, clock);
	const cookies = new Cookies(name);
	const sessions = new Sessions(store, jwts, keyring, cookies, settings.session);
	const users = new Users(store, sessions);
	const tokens = new Tokens(store, users, jwts);
	const links = new Links(store, users, sessions);
	const signIn = new SignIn(store, limits);
	const authority = new AccountsAuthority({ store, keyring, jwts, cookies, sessions, tokens, signIn, log });
	const pages = new AccountPages({ name, store, authority, sessions, signIn, links, cookies, log });

	let server: ControlServer | undefined;
	const control: Control = {
		async listen({ checks, commands } = {}) {
			const all = async () => (await Promise.all([authority.checks(), checks?.() ?? []])).flat();
			const table = { ...accountCommands({ users, tokens, links, checks: all }), ...commands };
			server = await openControlServer(settings.controlSocket, table, log);
		},
	};
	const close = async () => {
		await server?.close();
		await store.close();
	};
	return { authority, pages, control, users, tokens, links, sessions, close };
}
