import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
	ACTOR,
	basic,
	facts,
	fresh,
	PASSWORD,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let ada: string;

beforeAll(async () => {
	postgres = await startPostgres();
}, 60_000);

afterAll(() => postgres?.close());

// Limits are kept in the process: each test begins with none used up.
beforeEach(async () => {
	accounts = await startAccounts(await postgres.database());
	ada = fresh("ada");
	await accounts.users.add(ACTOR, { name: ada, role: "editor", password: PASSWORD });
});

afterEach(() => accounts.remove());

const ask = async (name: string, password: string, more: Parameters<typeof facts>[1] = {}) =>
	accounts.authority.authenticate(facts(basic(name, password), more));

const OTHER = "eight green bottles";
const WRONG = { ok: false, presented: true, reason: "PASSWORD_WRONG" };

/** The shortest of five times, in milliseconds: what the work costs when nothing else is going on. */
async function cost(work: () => Promise<unknown>): Promise<number> {
	const times: number[] = [];
	for (let round = 0; round < 5; round++) {
		const began = performance.now();
		await work();
		times.push(performance.now() - began);
	}
	return Math.min(...times);
}

describe("Basic <user>:<password>", () => {
	it("is the user, however the name is written", async () => {
		for (const name of [ada, ada.toUpperCase(), ` ${ada} `]) {
			expect(await ask(name, PASSWORD)).toMatchObject({
				ok: true,
				identity: { kind: "password", user: ada, role: "editor" },
			});
		}
	});

	it("is refused in the same words for a wrong password, an unknown, a disabled and an invited user", async () => {
		const gone = fresh("gone");
		await accounts.users.add(ACTOR, { name: gone, role: "viewer", password: PASSWORD });
		await accounts.users.disable(ACTOR, gone);
		const invited = fresh("invited");
		await accounts.links.invite(ACTOR, { name: invited, role: "viewer" });
		for (const name of [ada, fresh("nobody"), gone, invited, "", "a b", "x".repeat(5000)]) {
			expect(await ask(name, name === ada ? OTHER : PASSWORD), name).toEqual(WRONG);
		}
	});

	it("is refused for passwords that nobody can have", async () => {
		for (const password of ["", "\0", `${PASSWORD}\0`, "x".repeat(100_000), "__proto__"]) {
			expect(await ask(ada, password)).toEqual(WRONG);
		}
	});

	it("is hashed once a minute: the verdict is kept, and not longer", async () => {
		await ask(ada, PASSWORD);
		const kept = await cost(() => ask(ada, PASSWORD));
		const hashed = await cost(() => {
			accounts.pass(60_000);
			return ask(ada, PASSWORD);
		});
		expect(kept).toBeLessThan(hashed / 4);
	});

	it("is one try when many requests bring it at once", async () => {
		const all = await Promise.all(Array.from({ length: 100 }, () => ask(ada, PASSWORD)));
		expect(all.filter((verdict) => verdict.ok)).toHaveLength(100);
	});

	it("is refused at once after any change of the user, kept verdict or not", async () => {
		const verdict = await ask(ada, PASSWORD);
		const identity = verdict.ok ? verdict.identity : undefined;
		await accounts.users.disable(ACTOR, ada);
		expect(await ask(ada, PASSWORD)).toEqual(WRONG);
		expect(identity && accounts.authority.stillValid(identity)).toBe(false);
		await accounts.users.enable(ACTOR, ada);
		expect(await ask(ada, PASSWORD)).toMatchObject({ ok: true });
		const { link } = await accounts.links.reset(ACTOR, ada);
		await accounts.links.spend(link.path.slice("/invite/".length), { name: "", password: OTHER }, facts());
		expect(await ask(ada, PASSWORD)).toEqual(WRONG);
		expect(await ask(ada, OTHER)).toMatchObject({ ok: true });
	});

	it("is limited by user and address, with the time to wait", async () => {
		for (let count = 0; count < 10; count++) expect(await ask(ada, `${OTHER} ${count}`)).toEqual(WRONG);
		expect(await ask(ada, OTHER)).toEqual({
			ok: false,
			presented: true,
			reason: "SIGN_IN_LIMITED",
			retryAfter: expect.any(Number),
		});
		expect(await ask(ada, PASSWORD)).toMatchObject({ reason: "SIGN_IN_LIMITED" });
		expect(await ask(ada, PASSWORD, { remoteAddress: "198.51.100.4" })).toMatchObject({ ok: true });
	});

	it("that was right before is looked at while a crowd of guessers waits or is sent away", async () => {
		await ask(ada, PASSWORD);
		accounts.pass(60_000);
		const crowd = Array.from({ length: 80 }, (_, i) =>
			ask(fresh("nobody"), OTHER, { remoteAddress: `198.51.100.${i}` }),
		);
		expect(await ask(ada, PASSWORD)).toMatchObject({ ok: true });
		const reasons = new Set((await Promise.all(crowd)).map((verdict) => !verdict.ok && verdict.reason));
		expect(reasons).toEqual(new Set(["PASSWORD_WRONG", "SIGN_IN_BUSY"]));
	});

	it("cannot be guessed against a kept verdict once limited", async () => {
		await ask(ada, PASSWORD);
		for (let count = 0; count < 10; count++) await ask(ada, `${OTHER} ${count}`);
		expect(await ask(ada, PASSWORD)).toMatchObject({ reason: "SIGN_IN_LIMITED" });
	});

	it("leaves sessions and tokens of a user alone whose password is being guessed", async () => {
		const { text } = await accounts.tokens.create(ACTOR, { name: "ci", role: "viewer", user: ada });
		for (let count = 0; count < 20; count++) await ask(ada, `${OTHER} ${count}`);
		expect(await accounts.authority.authenticate(facts(basic(ada, text)))).toMatchObject({ ok: true });
	});

	it("leaves one folded row a kind of refusal, with its number and without what was typed", async () => {
		const typo = `${PASSWORD} in the name field`.replaceAll(" ", ".");
		for (let count = 0; count < 3; count++) await ask(ada, `${OTHER} ${count}`);
		await ask(typo, OTHER);
		accounts = await accounts.reopen();
		const rows = await accounts.database.query(
			"select target, address, reason, count from audit where act = 'sign-in.refuse' and (target = $1 or target is null) order by id",
			[ada],
		);
		// The first at once, the others of that minute together.
		const wrong = { target: ada, address: "203.0.113.7", reason: "PASSWORD_WRONG" };
		expect(rows).toContainEqual({ ...wrong, count: 1 });
		expect(rows).toContainEqual({ ...wrong, count: 2 });
		expect(JSON.stringify(rows)).not.toContain("green");
	});
});
