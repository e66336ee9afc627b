/**
 * The keys. One file on the door's own volume holds 32 random bytes; from it come the key that wraps the
 * signing keys in the database and the keys of our HMACs. Signing keys are Ed25519 pairs: the newest signs,
 * each that is not retired is believed, so that a rotation can overlap.
 */
import {
	createCipheriv,
	createDecipheriv,
	createHmac,
	createPrivateKey,
	createPublicKey,
	generateKeyPairSync,
	hkdfSync,
	type KeyObject,
	randomBytes,
} from "node:crypto";
import { link, mkdir, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { calculateJwkThumbprint, type JWK } from "jose";
import { type Database, type Row, type Sql, startLock } from "./database.ts";
import { AccountsError } from "./errors.ts";
import type { Change } from "./store.ts";

const FILE_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;

export interface SigningKey {
	/** RFC 7638 thumbprint of the public part. */
	readonly kid: string;
	readonly privateKey: KeyObject;
	readonly publicKey: KeyObject;
	/** The public part, as `/door/jwks.json` shows it. */
	readonly jwk: JWK;
	/** Milliseconds. */
	readonly created: number;
	/** Milliseconds; from then on nothing signed by it is believed. */
	readonly retired: number | null;
}

/** What an HMAC is for; each purpose has a key of its own. */
export type MacPurpose = "csrf" | "device";

export class Keyring {
	/** In order of age; the newest is not retired. */
	#keys = new Map<string, SigningKey>();
	readonly #master: Buffer;
	/** Where the master is from, to say so. */
	readonly #keyFile: string;
	readonly #macKeys: Record<MacPurpose, Buffer>;
	readonly #clock: () => number;

	/** Empty until `load`. */
	constructor(master: Buffer, keyFile: string, clock: () => number) {
		this.#master = master;
		this.#keyFile = keyFile;
		this.#clock = clock;
		this.#macKeys = { csrf: derive(master, "csrf"), device: derive(master, "device") };
	}

	/** Reads the keys anew. @throws AccountsError KEY_FILE_WRONG */
	async load(sql: Sql): Promise<void> {
		const rows = await sql(
			"select kid, wrapped, created_at, retired_at from signing_keys order by created_at, kid",
		);
		const keys = await Promise.all(rows.map((row) => unwrap(row, this.#master, this.#keyFile)));
		this.#keys = new Map(keys.map((key) => [key.kid, key]));
	}

	get signer(): SigningKey {
		const signer = [...this.#keys.values()].findLast((key) => key.retired === null);
		if (!signer) throw new Error("a keyring needs a key that is not retired");
		return signer;
	}

	/** The key of that id, believed or not. */
	key(kid: string): SigningKey | undefined {
		return this.#keys.get(kid);
	}

	/** In order of age. */
	believed(): SigningKey[] {
		return [...this.#keys.values()].filter((key) => this.live(key.kid));
	}

	/** A new key as part of a larger change; it signs as soon as that is committed. */
	async add(change: Pick<Change, "sql" | "now" | "onCommit">): Promise<SigningKey> {
		const newest = [...this.#keys.values()].at(-1)?.created ?? 0;
		// Order is by time, and the machine's clock may have been set back.
		const created = Math.max(change.now, newest + 1);
		const key = await fromPrivate(generateKeyPairSync("ed25519").privateKey, created, null);
		await change.sql("insert into signing_keys (kid, wrapped, created_at) values ($1, $2, $3)", [
			key.kid,
			wrap(key, this.#master),
			new Date(created),
		]);
		change.onCommit(() => this.#keys.set(key.kid, key));
		return key;
	}

	/** Lets a key end at a time (milliseconds) as part of a larger change. */
	async retire(change: Change, key: SigningKey, at: number): Promise<void> {
		await change.sql("update signing_keys set retired_at = $2 where kid = $1", [key.kid, new Date(at)]);
		change.onCommit(() => this.#keys.set(key.kid, { ...key, retired: at }));
	}

	/** The key of that id if it is still believed. */
	live(kid: string | undefined): SigningKey | undefined {
		const key = kid === undefined ? undefined : this.#keys.get(kid);
		return key && (key.retired === null || key.retired > this.#clock()) ? key : undefined;
	}

	jwks(): { keys: JWK[] } {
		return { keys: this.believed().map((key) => key.jwk) };
	}

	/** base64url HMAC-SHA-256. */
	mac(purpose: MacPurpose, text: string): string {
		return createHmac("sha256", this.#macKeys[purpose]).update(text).digest("base64url");
	}
}

/**
 * Opens the signing keys of the database; makes file and first key when there is neither.
 * @throws AccountsError KEY_FILE_MISSING, KEY_FILE_INVALID or KEY_FILE_WRONG: never silently new keys.
 */
export async function openKeyring(
	database: Database,
	keyFile: string,
	clock: () => number,
): Promise<Keyring> {
	return await database.transaction(async (sql) => {
		await startLock(sql);
		const rows = await sql("select retired_at from signing_keys");
		const keyring = new Keyring(await readMaster(keyFile, rows.length > 0), keyFile, clock);
		await keyring.load(sql);
		if (rows.every((row) => row.retired_at !== null)) {
			const added: (() => void)[] = [];
			await keyring.add({ sql, now: clock(), onCommit: (apply) => added.push(apply) });
			for (const apply of added) apply();
		}
		return keyring;
	});
}

async function readMaster(file: string, needed: boolean): Promise<Buffer> {
	const master = (await readIfThere(file)) ?? (needed ? undefined : await makeMaster(file));
	if (!master) throw new AccountsError("KEY_FILE_MISSING", file);
	if (master.length !== FILE_BYTES) throw new AccountsError("KEY_FILE_INVALID", file);
	return master;
}

async function readIfThere(file: string): Promise<Buffer | undefined> {
	return await readFile(file).catch((error: NodeJS.ErrnoException) => {
		if (error.code === "ENOENT") return undefined;
		throw error;
	});
}

/** Makes the file whole or not at all, on the disk before its name shows; the first of two makers wins. */
async function makeMaster(file: string): Promise<Buffer> {
	const folder = dirname(file);
	await mkdir(folder, { recursive: true, mode: 0o700 });
	const draft = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
	const handle = await open(draft, "wx", 0o600);
	try {
		await handle.writeFile(randomBytes(FILE_BYTES));
		await handle.sync();
		await link(draft, file).catch((error: NodeJS.ErrnoException) => {
			if (error.code !== "EEXIST") throw error;
		});
	} finally {
		await handle.close();
		await rm(draft, { force: true });
	}
	const entry = await open(folder);
	await entry.sync().finally(() => entry.close());
	return await readFile(file);
}

function derive(master: Buffer, purpose: "wrap" | MacPurpose): Buffer {
	return Buffer.from(hkdfSync("sha256", master, "", `mlgate door ${purpose}`, 32));
}

/** Ties the ciphertext to its row, so that rows cannot be swapped. */
const associated = (kid: string) => Buffer.from(`mlgate signing key ${kid}`);

function wrap(key: SigningKey, master: Buffer): Buffer {
	const iv = randomBytes(IV_BYTES);
	const cipher = createCipheriv("aes-256-gcm", derive(master, "wrap"), iv).setAAD(associated(key.kid));
	const text = key.privateKey.export({ format: "der", type: "pkcs8" });
	const sealed = Buffer.concat([cipher.update(text), cipher.final()]);
	return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

async function unwrap(row: Row, master: Buffer, keyFile: string): Promise<SigningKey> {
	const wrapped: Buffer = row.wrapped;
	try {
		const iv = wrapped.subarray(0, IV_BYTES);
		const decipher = createDecipheriv("aes-256-gcm", derive(master, "wrap"), iv, { authTagLength: TAG_BYTES })
			.setAAD(associated(row.kid))
			.setAuthTag(wrapped.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
		const text = Buffer.concat([decipher.update(wrapped.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
		const privateKey = createPrivateKey({ key: text, format: "der", type: "pkcs8" });
		return await fromPrivate(privateKey, row.created_at.getTime(), row.retired_at?.getTime() ?? null);
	} catch (error) {
		throw new AccountsError("KEY_FILE_WRONG", keyFile, row.kid).because(error);
	}
}

async function fromPrivate(
	privateKey: KeyObject,
	created: number,
	retired: number | null,
): Promise<SigningKey> {
	const publicKey = createPublicKey(privateKey);
	const { kty, crv, x } = publicKey.export({ format: "jwk" });
	const kid = await calculateJwkThumbprint({ kty, crv, x } as JWK);
	const jwk = { kty, crv, x, kid, alg: "EdDSA", use: "sig" } as JWK;
	return { kid, privateKey, publicKey, jwk, created, retired };
}
