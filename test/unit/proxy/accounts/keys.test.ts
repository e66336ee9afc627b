import { copyFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { Database } from "../../../../proxy/accounts/database.ts";
import { openKeyring } from "../../../../proxy/accounts/keys.ts";
import { ACTOR, bearer, facts, startAccounts, type TestAccounts } from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let file: string;
let token: string;

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.close());

beforeEach(async () => {
	accounts = await startAccounts(await postgres.database());
	file = join(accounts.folder, "wrapping-key");
	token = (await accounts.tokens.create(ACTOR, { name: "ci", role: "viewer", user: "operator" })).text;
	return () => accounts.remove();
});

const keyRows = () => accounts.database.query("select kid, wrapped from signing_keys");

describe("the wrapping key", () => {
	it("is made at the first start: 32 bytes, for its owner's eyes, nothing left beside it", async () => {
		const { size, mode } = await stat(file);
		expect(size).toBe(32);
		expect(mode & 0o777).toBe(0o600);
		expect(await readFile(file)).not.toEqual(Buffer.alloc(32));
		expect(await readdir(accounts.folder)).toEqual(["wrapping-key"]);
	});

	it("keeps tokens good across restarts", async () => {
		const before = await keyRows();
		accounts = await accounts.reopen();
		expect(await accounts.authority.authenticate(facts(bearer(token)))).toMatchObject({ ok: true });
		expect(await keyRows()).toEqual(before);
	});

	it("stops the start when it is missing while wrapped keys exist, and makes no new ones", async () => {
		await copyFile(file, `${file}.kept`);
		await rm(file);
		const before = await keyRows();
		await expect(accounts.reopen()).rejects.toMatchObject({
			code: "KEY_FILE_MISSING",
			message: expect.stringContaining(file),
		});
		expect(await keyRows()).toEqual(before);
		await expect(stat(file)).rejects.toMatchObject({ code: "ENOENT" });
		await copyFile(`${file}.kept`, file);
		accounts = await startAccounts(accounts.database, { folder: accounts.folder, start: accounts.now() });
		expect(await accounts.authority.authenticate(facts(bearer(token)))).toMatchObject({ ok: true });
	});

	it.each([
		["another's", "KEY_FILE_WRONG", Buffer.alloc(32, 7)],
		["empty", "KEY_FILE_INVALID", Buffer.alloc(0)],
		["longer", "KEY_FILE_INVALID", Buffer.alloc(33)],
	])("stops the start when it is %s", async (_name, code, bytes) => {
		const kept = await readFile(file);
		await writeFile(file, bytes);
		await expect(accounts.reopen()).rejects.toMatchObject({ code });
		await writeFile(file, kept);
		accounts = await startAccounts(accounts.database, { folder: accounts.folder, start: accounts.now() });
	});

	it("stops the start when a wrapped key was changed or moved to another row", async () => {
		for (const change of [
			"update signing_keys set wrapped = set_byte(wrapped, 40, get_byte(wrapped, 40) # 1)",
			"update signing_keys set kid = 'another'",
		]) {
			const [row] = (await keyRows()) as [{ kid: string; wrapped: Buffer }];
			await accounts.database.query(change);
			await expect(accounts.reopen()).rejects.toMatchObject({ code: "KEY_FILE_WRONG" });
			await accounts.database.query("update signing_keys set kid = $1, wrapped = $2", [row.kid, row.wrapped]);
			accounts = await startAccounts(accounts.database, { folder: accounts.folder, start: accounts.now() });
		}
	});

	it("is one and the same for doors that start at once", async () => {
		const folder = await mkdtemp(join(tmpdir(), "mlgate-test-keys-"));
		const database = await postgres.database();
		const opened = await Promise.all(Array.from({ length: 4 }, () => startAccounts(database, { folder })));
		await Promise.all(opened.map((one) => one.close()));
		const again = await startAccounts(database, { folder });
		expect(again.authority.jwks().keys).toHaveLength(1);
		await again.remove();
	});

	it("is not in the database, and the private keys are not in clear", async () => {
		const master = await readFile(file);
		const [row] = (await keyRows()) as [{ wrapped: Buffer }];
		const database = new Database(accounts.database, pino({ enabled: false }));
		const { signer } = await openKeyring(database, file, Date.now);
		await database.close();
		const seed = Buffer.from((signer.privateKey.export({ format: "jwk" }).d as string) ?? "", "base64url");
		expect(seed).toHaveLength(32);
		for (const secret of [master, seed]) expect(row.wrapped.includes(secret)).toBe(false);
	});
});

describe("rotation", () => {
	it("overlaps: the newest key signs, the older is believed until it is retired", async () => {
		// What a rotation will do: a second key beside the first, made by another door on an empty table.
		const [old] = (await keyRows()) as [{ kid: string; wrapped: Buffer }];
		await accounts.database.query("delete from signing_keys");
		accounts = await accounts.reopen();
		const fresh = (await accounts.tokens.create(ACTOR, { name: "new", role: "viewer", user: "operator" }))
			.text;
		const insert =
			"insert into signing_keys (kid, wrapped, created_at, retired_at) values ($1, $2, '2020-01-01', $3)";
		await accounts.database.query(insert, [old.kid, old.wrapped, new Date(accounts.now() + 3_600_000)]);
		accounts = await accounts.reopen();
		const kids = () => (accounts.authority.jwks().keys as { kid: string }[]).map(({ kid }) => kid);
		expect(kids()).toHaveLength(2);
		for (const text of [token, fresh])
			expect(await accounts.authority.authenticate(facts(bearer(text)))).toMatchObject({ ok: true });
		accounts.pass(3_600_000);
		// The verdict on the old token was kept; its key is looked at all the same.
		expect(await accounts.authority.authenticate(facts(bearer(token)))).toMatchObject({
			reason: "TOKEN_INVALID",
		});
		expect(await accounts.authority.authenticate(facts(bearer(fresh)))).toMatchObject({ ok: true });
		expect(kids()).not.toContain(old.kid);
	});

	it("shows public parts alone", () => {
		expect(accounts.authority.jwks()).toEqual({
			keys: [
				{
					kty: "OKP",
					crv: "Ed25519",
					x: expect.any(String),
					kid: expect.any(String),
					alg: "EdDSA",
					use: "sig",
				},
			],
		});
	});
});
