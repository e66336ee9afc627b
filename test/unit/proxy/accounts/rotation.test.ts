import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ask as askControl } from "../../../../proxy/control/client.ts";
import {
	ACTOR,
	bearer,
	cookieHeader,
	DAY,
	facts,
	PASSWORD,
	schemaOf,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let folder: string;

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);
afterAll(() => postgres?.close());

beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "mlgate-test-rotation-"));
	accounts = await startAccounts(await postgres.database(), { serviceFolder: folder });
	await accounts.serviceToken.ensure();
	return async () => {
		await accounts.remove();
		await rm(folder, { recursive: true, force: true });
	};
});

const ask = (headers: Record<string, string>) => accounts.authority.authenticate(facts(headers));
const service = async () => (await readFile(join(folder, "token"), "utf8")).trim();
const kidOf = (text: string): string =>
	JSON.parse(Buffer.from(text.split(".")[0] ?? "", "base64url").toString()).kid;
const shown = () => (accounts.authority.jwks().keys as { kid: string }[]).map(({ kid }) => kid);

const token = async (expires = "90d") =>
	await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: "operator", expires });

/** The Cookie header of a browser in which a new user has signed in. */
async function session(name: string): Promise<string> {
	await accounts.users.add(ACTOR, { name, role: "admin", password: PASSWORD });
	const { id, generation } = accounts.users.named(name);
	return cookieHeader((await accounts.sessions.signIn(id, generation, facts())).cookies);
}

describe("a rotation", () => {
	it("lets a new key sign at once, shows both, and ends nothing", async () => {
		const { text } = await token();
		const cookie = await session("ada");
		const running = await ask(bearer(text));
		const [old = ""] = shown();

		const keys = await accounts.keys.rotate(ACTOR);
		expect(keys).toMatchObject([
			{ id: old, state: "believed", tokens: 1, sessions: 1 },
			{ state: "signs", until: null, tokens: 0, sessions: 0 },
		]);
		expect(shown()).toEqual(keys.map(({ id }) => id));
		expect(kidOf((await token()).text)).toBe(keys[1]?.id);
		for (const headers of [bearer(text), { cookie }]) expect(await ask(headers)).toMatchObject({ ok: true });
		expect(running.ok && accounts.authority.stillValid(running.identity)).toBe(true);
		expect(await accounts.database.query("select target from audit where act = 'key.rotate'")).toEqual([
			{ target: keys[1]?.id },
		]);
	});

	it("is kept over a restart", async () => {
		const { text } = await token();
		const keys = await accounts.keys.rotate(ACTOR);
		const fresh = await token();
		accounts = await accounts.reopen();
		expect(accounts.keys.list().map(({ id }) => id)).toEqual(keys.map(({ id }) => id));
		expect(kidOf((await token()).text)).toBe(keys[1]?.id);
		for (const one of [text, fresh.text]) expect(await ask(bearer(one))).toMatchObject({ ok: true });
	});

	it("gives the inference API a token of the new key before it is over, and ends the old one later", async () => {
		const before = await service();
		const keys = await accounts.keys.rotate(ACTOR);
		expect(kidOf(await service())).toBe(keys.at(-1)?.id);
		for (const one of [before, await service()]) expect(await ask(bearer(one))).toMatchObject({ ok: true });
	});

	it("lets an old key go when the last thing that it signed has expired", async () => {
		const { text } = await token("40d");
		await token("35d");
		const [old] = await accounts.keys.rotate(ACTOR);
		expect(Date.parse(old?.until ?? "")).toBe(accounts.now() + 40 * DAY);
		accounts.pass(40 * DAY - 1000);
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
		expect(shown()).toContain(old?.id);
		accounts.pass(1000);
		expect(shown()).not.toContain(old?.id);
	});

	it("keeps an old key for ever for a token that never expires", async () => {
		const { text } = await token("never");
		const [old] = await accounts.keys.rotate(ACTOR);
		expect(old).toMatchObject({ state: "believed", until: null });
		accounts.pass(3650 * DAY);
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
	});

	it("keeps an old key for the tokens of a user who is disabled and may be enabled again", async () => {
		await session("root");
		await accounts.users.add(ACTOR, { name: "eve", role: "viewer", password: PASSWORD });
		const wish = { name: "t", role: "viewer", user: "eve", expires: "never" } as const;
		const { text } = await accounts.tokens.create(ACTOR, wish);
		await accounts.users.disable(ACTOR, "eve");
		await accounts.keys.rotate(ACTOR);
		await accounts.users.enable(ACTOR, "eve");
		accounts.pass(3650 * DAY);
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
	});

	it("leaves no pile of keys that signed nothing", async () => {
		// No inference API: its token would be one thing that each has signed.
		const without = await startAccounts(await postgres.database());
		for (let count = 0; count < 5; count++) await without.keys.rotate(ACTOR);
		expect(without.keys.list()).toHaveLength(1);
		expect(without.authority.jwks().keys).toHaveLength(1);
		await without.remove();
	});

	it("signs with the newest key even where the machine's clock was set back in between", async () => {
		await token();
		const [first] = await accounts.keys.rotate(ACTOR);
		accounts.pass(-DAY);
		const keys = await accounts.keys.rotate(ACTOR);
		accounts = await accounts.reopen();
		expect(keys.at(0)?.id).toBe(first?.id);
		expect(kidOf((await token()).text)).toBe(keys.at(-1)?.id);
	});

	it("changes nothing while the database is away", async () => {
		const { text } = await token();
		const before = shown();
		await postgres.stop();
		await expect(accounts.keys.rotate(ACTOR)).rejects.toMatchObject({ code: "DATABASE_AWAY" });
		expect(shown()).toEqual(before);
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
		await postgres.start();
		expect(await accounts.keys.rotate(ACTOR)).toHaveLength(2);
	});

	it("is taken over when it was committed although the answer was lost", async () => {
		await token();
		await accounts.keys.rotate(ACTOR);
		const rows = await accounts.database.query("select * from signing_keys");
		await accounts.database.query("delete from signing_keys where retired_at is null");
		accounts = await accounts.reopen();
		const [newest] = rows.filter((row) => row.retired_at === null);
		await postgres.stop();
		await expect(accounts.keys.rotate(ACTOR)).rejects.toMatchObject({ code: "DATABASE_AWAY" });
		await postgres.start();
		// As if the commit had reached the disk before the answer was lost.
		await accounts.database.query(
			"insert into signing_keys (kid, wrapped, created_at) values ($1, $2, now() + interval '1 year')",
			[newest?.kid, newest?.wrapped],
		);
		expect(kidOf((await token()).text)).toBe(newest?.kid);
	});
});

describe("retiring the older keys", () => {
	it("ends what they signed, running transfers included, and nothing else", async () => {
		const old = await token("never");
		const oldCookie = await session("ada");
		const running = await ask(bearer(old.text));
		await accounts.keys.rotate(ACTOR);
		const fresh = await token();
		const freshCookie = await session("grace");

		const { keys, ended } = await accounts.keys.retire(ACTOR);
		expect(ended).toEqual({ tokens: 1, sessions: 1 });
		expect(keys).toMatchObject([{ state: "signs", tokens: 1, sessions: 1 }]);
		expect(shown()).toHaveLength(1);
		for (const headers of [bearer(old.text), { cookie: oldCookie }])
			expect(await ask(headers)).toMatchObject({ ok: false });
		expect(running.ok && accounts.authority.stillValid(running.identity)).toBe(false);
		for (const headers of [bearer(fresh.text), { cookie: freshCookie }, bearer(await service())])
			expect(await ask(headers)).toMatchObject({ ok: true });
		// Lists tell the truth, and so does a restart.
		expect(accounts.tokens.list().find(({ id }) => id === old.token.id)).toMatchObject({ state: "revoked" });
		accounts = await accounts.reopen();
		expect(await ask(bearer(old.text))).toMatchObject({ ok: false });
		expect(await ask(bearer(fresh.text))).toMatchObject({ ok: true });
	});

	it("is refused where there is none, and ends nothing", async () => {
		const { text } = await token();
		await expect(accounts.keys.retire(ACTOR)).rejects.toMatchObject({ code: "KEYS_NONE_OLDER" });
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
	});

	it("is refused while the inference API's new token cannot be delivered", async () => {
		const { text } = await token();
		await rm(folder, { recursive: true });
		await accounts.keys.rotate(ACTOR);
		await expect(accounts.keys.retire(ACTOR)).rejects.toMatchObject({ code: "SERVICE_FOLDER" });
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
	});
});

it("is asked for over the control socket", async () => {
	await accounts.control.listen();
	const run = async (command: string) => {
		const { ok, body } = await askControl(join(accounts.folder, "control.sock"), command, "{}");
		return { ok, ...JSON.parse(body) };
	};
	await token();
	expect(await run("keys/list")).toMatchObject({ ok: true, keys: [{ state: "signs", tokens: 1 }] });
	expect(await run("keys/rotate")).toMatchObject({ keys: [{ state: "believed" }, { state: "signs" }] });
	expect(await run("keys/retire")).toMatchObject({
		keys: [{ state: "signs" }],
		ended: { tokens: 1, sessions: 0 },
	});
	expect(await run("keys/retire")).toMatchObject({ ok: false, error: { code: "KEYS_NONE_OLDER" } });
});

it("a token of before keys were noted beside tokens goes on as the first key's", async () => {
	const { text } = await token();
	const earlier = await postgres.database();
	await schemaOf(earlier, 4);
	const [key] = await accounts.database.query("select * from signing_keys");
	await earlier.query("insert into signing_keys values ($1, $2, $3)", [
		key?.kid,
		key?.wrapped,
		key?.created_at,
	]);
	const columns = "id, user_id, name, role, created_at, created_by, expires_at";
	for (const row of await accounts.database.query(`select ${columns} from tokens where scope = 'all'`))
		await earlier.query(
			`insert into tokens (${columns}) values ($1, $2, $3, $4, $5, $6, $7)`,
			Object.values(row),
		);
	const later = await startAccounts(earlier, { folder: accounts.folder, start: accounts.now() });
	expect(later.keys.list()).toMatchObject([{ id: kidOf(text), tokens: 1 }]);
	await later.keys.rotate(ACTOR);
	expect(await later.authority.authenticate(facts(bearer(text)))).toMatchObject({ ok: true });
	await later.close();
});
