/** Rows of the accounts database that make no sense: what they stand for is refused, and everything else goes on. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
	ACTOR,
	basic,
	bearer,
	cookieHeader,
	facts,
	PASSWORD,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

let postgres: TestPostgres;
let accounts: TestAccounts;
const ask = (headers: Record<string, string>) => accounts.authority.authenticate(facts(headers));

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	for (const name of ["ada", "eve"])
		await accounts.users.add(ACTOR, { name, role: "editor", password: PASSWORD });
	// What a careless hand, a failing disk or a restored half may leave: the checks that would stop it are off.
	for (const table of ["users", "tokens", "sessions", "links"]) {
		const checks = await accounts.database.query(
			"select conname from pg_constraint where conrelid = $1::regclass and contype = 'c'",
			[table],
		);
		for (const { conname } of checks)
			await accounts.database.query(`alter table ${table} drop constraint "${conname}"`);
	}
}, 60_000);

afterAll(async () => {
	await accounts?.remove();
	await postgres?.close();
});

async function tokenOf(user: string) {
	return await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user });
}

describe("a row that makes no sense", () => {
	it.each([
		["a token of the role superuser", "update tokens set role = 'superuser' where id = $1"],
		["a token that expires at no time", "update tokens set expires_at = '-infinity' where id = $1"],
		["a token made at no time", "update tokens set created_at = 'infinity' where id = $1"],
	])("%s is refused, its neighbour is not, and the log names it", async (_, statement) => {
		const [bad, good] = [await tokenOf("ada"), await tokenOf("ada")];
		await accounts.database.query(statement, [bad.token.id]);
		accounts = await accounts.reopen();
		expect(await ask(bearer(bad.text))).toMatchObject({ ok: false });
		expect(await ask(bearer(good.text))).toMatchObject({ ok: true });
		await accounts.database.query("delete from tokens where id = $1", [bad.token.id]);
	});

	it("a session whose times are none is refused", async () => {
		const { id, generation } = accounts.users.named("ada");
		const { cookies, session } = await accounts.sessions.signIn(id, generation, facts());
		await accounts.database.query("update sessions set expires_at = 'infinity' where id = $1", [session.id]);
		accounts = await accounts.reopen();
		expect(await ask({ cookie: cookieHeader(cookies) })).toMatchObject({ ok: false });
		expect(accounts.logged()).toContain(session.id);
		expect(accounts.logged()).toContain("what it stands for is refused");
		await accounts.database.query("delete from sessions where id = $1", [session.id]);
	});

	it("a user whose role is none takes tokens and sessions along, and nobody else", async () => {
		const { text } = await tokenOf("eve");
		await accounts.database.query("update users set role = '' where name = 'eve'");
		accounts = await accounts.reopen();
		expect(await ask(bearer(text))).toMatchObject({ ok: false });
		expect(await ask(basic("eve", PASSWORD))).toMatchObject({ ok: false });
		expect(await ask(basic("ada", PASSWORD))).toMatchObject({ ok: true });
		await accounts.database.query("update users set role = 'editor' where name = 'eve'");
		accounts = await accounts.reopen();
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
	});

	it("a password hash that cannot be read lets nobody in, not even with an empty password", async () => {
		for (const hash of [
			"",
			"plain",
			"$argon2id$v=19$m=0,t=0,p=0$AA$AA",
			"$argon2id$v=19$m=19456,t=2,p=1$$",
		]) {
			await accounts.database.query("update users set password = $1 where name = 'eve'", [hash]);
			accounts = await accounts.reopen();
			for (const password of [PASSWORD, "", hash || "x"])
				expect(await ask(basic("eve", password))).toMatchObject({ ok: false });
		}
	});
});
