import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openAccounts } from "../../../../proxy/accounts/index.ts";
import {
	ACTOR,
	basic,
	bearer,
	cookieHeader,
	facts,
	fresh,
	PASSWORD,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

let postgres: TestPostgres;
let accounts: TestAccounts;

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);

afterAll(() => postgres?.close());

beforeEach(async () => {
	await postgres.start();
	accounts = await startAccounts(await postgres.database());
	await accounts.users.add(ACTOR, { name: "ada", role: "admin", password: PASSWORD });
}, 60_000);

afterEach(() => accounts?.remove(), 60_000);

const ask = (headers: Record<string, string>) => accounts.authority.authenticate(facts(headers));
const away = { code: "DATABASE_AWAY", status: 503 };

describe("Postgres stopped in the middle", () => {
	it("fails no signed-in request, refuses changes, and all is well again after", async () => {
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "ci",
			role: "editor",
			user: "operator",
		});
		const { id, generation } = accounts.users.named("ada");
		const cookie = cookieHeader((await accounts.sessions.signIn(id, generation, facts())).cookies);
		const session = await ask({ cookie });
		await ask(basic("ada", PASSWORD));

		await postgres.stop();
		for (let round = 0; round < 20; round++) {
			accounts.pass(1000);
			expect(await ask(bearer(text))).toMatchObject({ ok: true });
			expect(await ask({ cookie })).toMatchObject({ ok: true });
			expect(await ask(basic("ada", PASSWORD))).toMatchObject({ ok: true });
		}
		// A password that is not kept is checked from memory, too.
		expect(await ask(basic("ada", "wrong wrong wrong"))).toMatchObject({ reason: "PASSWORD_WRONG" });
		await expect(accounts.tokens.revoke(ACTOR, token.id)).rejects.toMatchObject(away);
		await expect(accounts.users.disable(ACTOR, "ada")).rejects.toMatchObject(away);
		await expect(accounts.users.setRole(ACTOR, "ada", "viewer")).rejects.toMatchObject(away);
		await expect(
			accounts.users.add(ACTOR, { name: "eve", role: "viewer", password: PASSWORD }),
		).rejects.toMatchObject(away);
		await expect(accounts.links.reset(ACTOR, "ada")).rejects.toMatchObject(away);
		await expect(accounts.sessions.signIn(id, generation, facts())).rejects.toMatchObject(away);
		await expect(
			accounts.sessions.end(session.ok ? session.identity.credential : "", ACTOR),
		).rejects.toMatchObject(away);
		// What was refused has not happened.
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
		expect(await ask({ cookie })).toMatchObject({ ok: true });
		expect(accounts.users.list().map(({ name, role, state }) => [name, role, state])).toEqual([
			["ada", "admin", "active"],
			["inference-api", "viewer", "system"],
			["operator", "admin", "system"],
		]);
		expect(await accounts.authority.checks()).toEqual([
			{ name: "postgres", ok: false, ms: expect.any(Number), detail: expect.any(String) },
		]);

		await postgres.start();
		await expect
			.poll(() => accounts.authority.checks(), { timeout: 10_000 })
			.toMatchObject([{ name: "postgres", ok: true }]);
		expect(await accounts.tokens.revoke(ACTOR, token.id)).toMatchObject({ state: "revoked" });
		expect(await ask(bearer(text))).toMatchObject({ reason: "TOKEN_REVOKED" });
		expect(await ask({ cookie })).toMatchObject({ ok: true });

		// Uses and refusals from the time without database are written later.
		accounts = await accounts.reopen();
		const [row] = await accounts.database.query("select last_used_at from tokens where id = $1", [token.id]);
		expect(row?.last_used_at).toEqual(new Date(accounts.now()));
		const refused = await accounts.database.query(
			"select target, reason, count from audit where act = 'sign-in.refuse'",
		);
		expect(refused).toEqual([{ target: "ada", reason: "PASSWORD_WRONG", count: 1 }]);
	}, 60_000);

	it("ends no process when the connection dies inside a change, again and again", async () => {
		const failures: unknown[] = [];
		const changing = (async () => {
			for (let count = 0; count < 400; count++) {
				await accounts.tokens
					.create(ACTOR, { name: fresh("t"), role: "viewer", user: "operator" })
					.catch((error) => failures.push(error));
			}
		})();
		await new Promise((resolve) => setTimeout(resolve, 150));
		await postgres.stop();
		await postgres.start();
		await changing;
		expect(failures.length).toBeGreaterThan(0);
		for (const failure of failures) expect(failure).toMatchObject(away);
		// Whatever was committed without our knowing is in the snapshot by now.
		await accounts.users.add(ACTOR, { name: "grace", role: "viewer", password: PASSWORD });
		const [row] = await accounts.database.query("select count(*)::int as rows from tokens");
		expect(accounts.tokens.list()).toHaveLength(row?.rows as number);
	}, 60_000);

	it("takes a change over that was committed although the answer was lost", async () => {
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "ci",
			role: "editor",
			user: "operator",
		});
		await postgres.stop();
		await expect(accounts.tokens.revoke(ACTOR, token.id)).rejects.toMatchObject(away);
		await postgres.start();
		// As if that commit had reached the disk before the answer was lost.
		await accounts.database.query("update tokens set revoked_at = now() where id = $1", [token.id]);
		await accounts.users.setRole(ACTOR, "ada", "admin");
		expect(await ask(bearer(text))).toMatchObject({ reason: "TOKEN_REVOKED" });
	}, 60_000);
});

describe("starting", () => {
	it("waits for a database that is not there yet, and says so", async () => {
		await postgres.stop();
		const reopened = accounts.reopen();
		let done = false;
		void reopened.then(() => {
			done = true;
		});
		await new Promise((resolve) => setTimeout(resolve, 1500));
		expect(done).toBe(false);
		await postgres.start();
		accounts = await reopened;
		expect(accounts.logged()).toContain("waiting for the accounts database");
		expect(accounts.users.named("ada")).toMatchObject({ role: "admin" });
	}, 60_000);

	it("stops waiting when told to", async () => {
		await postgres.stop();
		const stop = new AbortController();
		const settings = {
			name: "lab",
			database: accounts.database,
			keyFile: `${accounts.folder}/wrapping-key`,
			controlSocket: `${accounts.folder}/other.sock`,
			session: { idleHours: 12, maxDays: 7 },
		};
		const silent = { debug() {}, info() {}, warn() {}, error() {} };
		const opening = openAccounts(settings, silent, { signal: stop.signal });
		setTimeout(() => stop.abort(new Error("enough")), 300);
		await expect(opening).rejects.toThrow(/abort|enough/);
		await postgres.start();
	}, 60_000);

	it("refuses a database that a later release has written", async () => {
		await accounts.database.query("insert into schema_migrations values (999, '999-later.sql', now())");
		await expect(accounts.reopen()).rejects.toMatchObject({ code: "DATABASE_NEWER" });
		await accounts.database.query("delete from schema_migrations where version = 999");
		accounts = await startAccounts(accounts.database, { folder: accounts.folder, start: accounts.now() });
	});
});

describe("two doors on one database", () => {
	it("the later one decides; the earlier refuses everything instead of deciding from old knowledge", async () => {
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "ci",
			role: "editor",
			user: "operator",
		});
		const running = await ask(bearer(text));
		const later = await startAccounts(accounts.database, { folder: accounts.folder, start: accounts.now() });
		await later.tokens.revoke(ACTOR, token.id);
		await expect(
			accounts.users.add(ACTOR, { name: "eve", role: "admin", password: PASSWORD }),
		).rejects.toMatchObject({ code: "SUPERSEDED" });
		expect(await ask(bearer(text))).toEqual({ ok: false, presented: true, reason: "SUPERSEDED" });
		expect(running.ok && accounts.authority.stillValid(running.identity)).toBe(false);
		expect(await accounts.authority.checks()).toMatchObject([{ name: "postgres", ok: false }]);
		expect(await later.authority.checks()).toMatchObject([{ name: "postgres", ok: true }]);
		await later.close();
	});
});
