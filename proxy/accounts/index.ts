/**
 * The accounts: users, API tokens, sessions, one-time links and signing keys in the door's own database, what
 * decides requests from them, the sign-in pages, and the control socket. `openAccounts` puts them together.
 */
import { dirname, join } from "node:path";
import { auditRequests, type RequestAudit } from "../audit/requests.ts";
import { AuditSearch } from "../audit/search.ts";
import { AuditTrail, type TrailLimits } from "../audit/trail.ts";
import type { Check } from "../authority.ts";
import { checked } from "../checked.ts";
import { accountCommands } from "../control/commands.ts";
import { type Commands, type ControlServer, openControlServer } from "../control/server.ts";
import { AccountPages } from "../pages/index.ts";
import type { Role } from "../roles.ts";
import { Members } from "../tailnet/members.ts";
import { AccountsAuthority } from "./authority.ts";
import { steadyClock } from "./clock.ts";
import { Cookies } from "./cookies.ts";
import { Database, type DatabaseSettings } from "./database.ts";
import { Jwts } from "./jwt.ts";
import { openKeyring } from "./keys.ts";
import { LIMITS, type Limits } from "./limits.ts";
import { Links } from "./links.ts";
import type { Log } from "./log.ts";
import { migrate } from "./migrate.ts";
import { SigningKeys } from "./rotation.ts";
import { ServiceToken } from "./service-token.ts";
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
	/** Where the inference API's token is written; without it there is none. */
	serviceFolder?: string | undefined;
	session: SessionSettings;
	/** Roles of the tailnet's members, by login or @domain. Nobody is one without it. */
	tailnet?: { roles: Readonly<Record<string, Role>> } | undefined;
}

export interface AccountsOptions {
	/** Milliseconds since 1970. */
	clock?: () => number;
	limits?: Limits;
	trail?: TrailLimits;
	/** Ends the wait for the database. */
	signal?: AbortSignal;
}

export interface Control {
	/**
	 * Starts to listen; closed with the accounts.
	 * @param more.checks added to the accounts' own, for `status` and the page of that name.
	 * @param more.writes those that write, for `status` alone: pages and routes are asked by anybody at any time.
	 * @param more.commands further commands.
	 */
	listen(more?: {
		checks?: () => Promise<Check[]>;
		writes?: () => Promise<Check[]>;
		commands?: Commands;
	}): Promise<void>;
}

export interface Accounts {
	authority: AccountsAuthority;
	pages: AccountPages;
	control: Control;
	users: Users;
	tokens: Tokens;
	links: Links;
	sessions: Sessions;
	serviceToken: ServiceToken;
	keys: SigningKeys;
	/** For the pipeline. */
	audit: RequestAudit;
	/** Writes what has gathered (last used, the audit trail), then ends all connections. */
	close(): Promise<void>;
}

/**
 * Waits for the database as long as it takes, brings its schema up to date and becomes its writer.
 * @throws AccountsError DATABASE_NEWER, KEY_FILE_MISSING, KEY_FILE_INVALID, KEY_FILE_WRONG; the signal's reason
 */
export async function openAccounts(
	settings: AccountsSettings,
	log: Log,
	{ clock = steadyClock(log), limits = LIMITS, trail: trailLimits, signal }: AccountsOptions = {},
): Promise<Accounts> {
	const { name } = settings;
	const database = new Database(settings.database, log);
	const store = new Store(database, clock, log);
	const spoolFile = join(dirname(settings.keyFile), "audit-spool.jsonl");
	const trail = new AuditTrail({ database, spoolFile, clock, log, limits: trailLimits });
	const keyring = await database
		.whenThere(
			async () => {
				await migrate(database, log);
				const keys = await openKeyring(database, settings.keyFile, clock);
				store.alsoLoad = (sql) => keys.load(sql);
				await store.open();
				await trail.open();
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
	const serviceToken = new ServiceToken({
		...{ store, tokens, jwts, log },
		folder: settings.serviceFolder,
	});
	const keys = new SigningKeys({ store, keyring, tokens, sessions, serviceToken });
	const links = new Links(store, users, sessions);
	const signIn = new SignIn(store, limits, trail);
	const members = new Members(settings.tailnet?.roles ?? {});
	const authority = new AccountsAuthority({
		...{ store, keyring, jwts, cookies, sessions, tokens, signIn, members, log },
	});
	const search = new AuditSearch(database);
	let server: ControlServer | undefined;
	let behind: (() => Promise<Check[]>) | undefined;
	const all = async () => (await Promise.all([authority.checks(), behind?.() ?? []])).flat();
	const written = () => checked("postgres: write and read", () => store.roundTrip());
	const pages = new AccountPages({
		...{ name, store, authority, sessions, signIn, users, tokens, links, cookies, trail, search, log },
		checks: all,
	});
	const control: Control = {
		async listen({ checks, writes, commands } = {}) {
			const deep = async () => (await Promise.all([all(), written(), writes?.() ?? []])).flat();
			const table = {
				...accountCommands({ users, tokens, serviceToken, keys, links, checks: deep }),
				...commands,
			};
			server = await openControlServer(settings.controlSocket, table, log);
			behind = checks;
		},
	};
	const close = async () => {
		await server?.close();
		await serviceToken.close();
		await trail.close();
		await store.close();
	};
	const audit = auditRequests(trail);
	serviceToken.start();
	return { authority, pages, control, users, tokens, serviceToken, keys, links, sessions, audit, close };
}
