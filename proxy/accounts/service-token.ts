/**
 * The inference API's own token: a viewer's, held to models and their artifacts, handed over by file. The door
 * looks after it by itself, so that no container has to change for it: a new one is made when the file's is not
 * there, not valid (somebody revoked it, say), past half its life, or signed by a key that no longer signs.
 */
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { ALIAS, SERVICE_FILE } from "../../infra/contract.ts";
import { AccountsError } from "./errors.ts";
import type { Jwts } from "./jwt.ts";
import type { Log } from "./log.ts";
import type { Token } from "./snapshot.ts";
import type { Actor, Store } from "./store.ts";
import type { Tokens } from "./tokens.ts";

/** The built-in owner; a migration adds it. */
const OWNER = "00000000-0000-4000-8000-000000000002";

const WISH = {
	name: "inference API, renewed by the door",
	role: "viewer",
	scope: "models",
	expires: "30d",
} as const;

/** Milliseconds. A look costs two small files and no query, and puts right within moments what went wrong. */
const EVERY = 15_000;

/**
 * Milliseconds. So long an old token goes on beside the new one: its clients read the file again for every request,
 * but a download that has begun ends with the token it began with.
 */
const OVERLAP = 3_600_000;

/** The door itself. */
const DOOR: Actor = { name: "door", listener: "door", address: "" };

export interface ServiceTokenView {
	id: string;
	/** ISO 8601. */
	expires: string;
	/** Whether it was made or delivered anew just now. */
	renewed: boolean;
}

interface Good {
	text: string;
	token: Token;
}

export interface ServiceTokenParts {
	/** Where the files go; undefined: this door has no inference API to serve. */
	folder: string | undefined;
	store: Store;
	tokens: Tokens;
	jwts: Jwts;
	log: Log;
}

export class ServiceToken {
	readonly #parts: ServiceTokenParts;
	#turn: Promise<unknown> = Promise.resolve();
	#timer: NodeJS.Timeout | undefined;
	/** The last one made, in case it could not be delivered: no second one is made for that. */
	#made = "";
	/** What went wrong last, told once. */
	#trouble = "";

	constructor(parts: ServiceTokenParts) {
		this.#parts = parts;
	}

	get isWanted(): boolean {
		return this.#parts.folder !== undefined;
	}

	/** Whether that token is one of the API's own, the present one or an earlier one. */
	owns(token: Token): boolean {
		return token.user.id === OWNER && token.scope === WISH.scope;
	}

	/** Looks now and every few seconds from then on. Does nothing without a folder. */
	start(): void {
		if (!this.isWanted) return;
		void this.look();
		this.#timer = setInterval(() => void this.look(), EVERY);
		this.#timer.unref();
	}

	/** What has begun is finished. */
	async close(): Promise<void> {
		clearInterval(this.#timer);
		await this.#turn;
	}

	/**
	 * When this returns, the files hold a token that works and has half its life before it.
	 * @throws AccountsError SERVICE_NONE, SERVICE_FOLDER, DATABASE_AWAY, BUSY, SUPERSEDED
	 */
	async ensure(actor: Actor = DOOR): Promise<ServiceTokenView> {
		const { folder } = this.#parts;
		if (folder === undefined) throw new AccountsError("SERVICE_NONE");
		const mine = this.#turn.then(() => this.#ensure(actor, folder));
		this.#turn = mine.catch(() => {});
		return await mine;
	}

	async #ensure(actor: Actor, folder: string): Promise<ServiceTokenView> {
		const path = (file: string) => join(folder, file);
		const there = await readIfAny(path(SERVICE_FILE.token));
		const { text, token } =
			(await this.#good(there)) ?? (await this.#good(this.#made)) ?? (await this.#make(actor));
		const isNew = text !== there;
		const netrc = `machine ${ALIAS.tracking} login token password ${text}\n`;
		try {
			if ((await readIfAny(path(SERVICE_FILE.netrc))) !== netrc.trim())
				await replace(path(SERVICE_FILE.netrc), netrc);
			if (isNew) await replace(path(SERVICE_FILE.token), `${text}\n`);
		} catch (error) {
			throw new AccountsError("SERVICE_FOLDER", folder, (error as Error).message).because(error);
		}
		await this.#endOlder(token);
		return { id: token.id, expires: new Date(token.expires ?? 0).toISOString(), renewed: isNew };
	}

	/** That text and its token, if it will do for now. */
	async #good(text: string): Promise<Good | undefined> {
		const { jwts, store, tokens } = this.#parts;
		const claims = await jwts.verify("token", text);
		if (claims?.kid !== jwts.signer) return undefined;
		const token = tokens.standing(claims);
		if (typeof token === "string" || !this.owns(token) || token.expires === null) return undefined;
		return store.clock() < (token.created + token.expires) / 2 ? { text, token } : undefined;
	}

	async #make(actor: Actor): Promise<Good> {
		const { snapshot } = this.#parts.store;
		const user = snapshot.users.get(OWNER);
		if (!user) throw new AccountsError("USER_UNKNOWN", OWNER);
		const { text, token } = await this.#parts.tokens.create(actor, { ...WISH, user: user.name });
		this.#made = text;
		return { text, token: snapshot.tokens.get(token.id) as Token };
	}

	async #endOlder(current: Token): Promise<void> {
		const { store, tokens } = this.#parts;
		if (store.clock() < current.created + OVERLAP) return;
		for (const token of [...store.snapshot.tokens.values()])
			if (this.owns(token) && token !== current && tokens.over(token) === undefined)
				await tokens.revoke(DOOR, token.id);
	}

	/** Sees to it without a word to the caller: what goes wrong is logged, and tried again soon. */
	async look(): Promise<void> {
		if (!this.isWanted) return;
		try {
			const { id, renewed } = await this.ensure();
			if (renewed) this.#parts.log.info({ token: id }, "the inference API has a new token");
			this.#trouble = "";
		} catch (error) {
			const { message } = error as Error;
			if (message !== this.#trouble)
				this.#parts.log.warn({ err: error }, "the inference API's token could not be looked after");
			this.#trouble = message;
		}
	}
}

/** Empty if there is nothing to be read. */
const readIfAny = async (file: string): Promise<string> =>
	(await readFile(file, "utf8").catch(() => "")).trim();

/** Readers see the old content or the new one, whole. */
async function replace(file: string, content: string): Promise<void> {
	const draft = `${file}.new`;
	await rm(draft, { force: true });
	const handle = await open(draft, "wx", 0o444);
	try {
		await handle.writeFile(content);
		await handle.chmod(0o444);
		await handle.sync();
	} finally {
		await handle.close();
	}
	await rename(draft, file);
}
