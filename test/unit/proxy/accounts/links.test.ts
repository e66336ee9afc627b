import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
	ACTOR,
	basic,
	cookieHeader,
	facts,
	fresh,
	HOUR,
	PASSWORD,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
}, 60_000);

afterAll(async () => {
	await accounts?.remove();
	await postgres?.close();
});

const EDGE = facts({}, { listener: "edge" });
const IDENT = facts({}, { listener: "ident" });
const codeOf = (path: string): string => {
	expect(path).toMatch(/^\/invite\/[\w-]{43}$/);
	return path.slice("/invite/".length);
};
const failsWith = (code: string) => expect.objectContaining({ code });
const settled = async (work: () => unknown) => {
	try {
		return await work();
	} catch (error) {
		return error;
	}
};

describe("the first admin's link", () => {
	it("works on the loopback port alone, once, and makes an admin who is signed in", async () => {
		const link = await accounts.links.firstAdmin(ACTOR);
		const code = codeOf(link?.path ?? "");
		expect(Date.parse(link?.expires ?? "") - accounts.now()).toBe(24 * HOUR);
		for (const listener of ["clients", "serve", "ident"] as const) {
			expect(await settled(() => accounts.links.look(code, facts({}, { listener })))).toEqual(
				failsWith("LINK_ELSEWHERE"),
			);
			const wish = { name: "mallory", password: PASSWORD };
			expect(await settled(() => accounts.links.spend(code, wish, facts({}, { listener })))).toEqual(
				failsWith("LINK_ELSEWHERE"),
			);
		}
		expect(accounts.links.look(code, EDGE)).toEqual({ kind: "first-admin", name: null, role: "admin" });
		// Looking spends nothing, nor does a name or password that does not do.
		for (const [wish, reason] of [
			[{ name: "root", password: "short" }, "PASSWORD_POLICY"],
			[{ name: "no good", password: PASSWORD }, "USER_NAME"],
			[{ name: "operator", password: PASSWORD }, "USER_EXISTS"],
		] as const) {
			expect(await settled(() => accounts.links.spend(code, wish, EDGE))).toEqual(failsWith(reason));
		}
		const second = codeOf((await accounts.links.firstAdmin(ACTOR))?.path ?? "");
		const { cookies } = await accounts.links.spend(code, { name: "Root", password: PASSWORD }, EDGE);
		const signedIn = facts({ cookie: cookieHeader(cookies) }, { listener: "edge" });
		expect(await accounts.authority.authenticate(signedIn)).toMatchObject({
			ok: true,
			identity: { kind: "session", user: "root", role: "admin" },
		});
		expect(await settled(() => accounts.links.look(code, EDGE))).toEqual(failsWith("LINK_SPENT"));
		expect(await settled(() => accounts.links.look(second, EDGE))).toEqual(failsWith("LINK_SPENT"));
		expect(await accounts.links.firstAdmin(ACTOR)).toBeUndefined();
	});
});

describe("invitations and resets", () => {
	it("are spent once, however many try at the same time", async () => {
		const name = fresh("grace");
		const { link, user } = await accounts.links.invite(ACTOR, { name, role: "editor" });
		expect(user).toMatchObject({ name, state: "invited" });
		const code = codeOf(link.path);
		const tries = await Promise.allSettled(
			Array.from({ length: 12 }, (_, index) =>
				accounts.links.spend(code, { name, password: `${PASSWORD} ${index}` }, IDENT),
			),
		);
		const winners = tries.flatMap((one, index) => (one.status === "fulfilled" ? [index] : []));
		expect(winners).toHaveLength(1);
		for (const one of tries)
			if (one.status === "rejected") expect(one.reason).toEqual(failsWith("LINK_SPENT"));
		const [row] = await accounts.database.query(
			"select count(*)::int as sessions from sessions join users on users.id = user_id where name = $1",
			[name],
		);
		expect(row).toEqual({ sessions: 1 });
		expect(
			await accounts.authority.authenticate(facts(basic(name, `${PASSWORD} ${winners[0]}`))),
		).toMatchObject({ ok: true });
	});

	it("give the name they were made for, whatever the form says", async () => {
		const name = fresh("grace");
		const { link } = await accounts.links.invite(ACTOR, { name, role: "viewer" });
		expect(accounts.links.look(codeOf(link.path), IDENT)).toEqual({ kind: "invite", name, role: "viewer" });
		const { session } = await accounts.links.spend(
			codeOf(link.path),
			{ name: "root", password: PASSWORD },
			IDENT,
		);
		expect(session.user).toMatchObject({ name, role: "viewer" });
	});

	it("stop after 24 hours", async () => {
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("late"), role: "viewer" });
		accounts.pass(24 * HOUR - 1);
		expect(accounts.links.look(codeOf(link.path), IDENT)).toMatchObject({ kind: "invite" });
		accounts.pass(1);
		const wish = { name: "", password: PASSWORD };
		expect(await settled(() => accounts.links.look(codeOf(link.path), IDENT))).toEqual(
			failsWith("LINK_EXPIRED"),
		);
		expect(await settled(() => accounts.links.spend(codeOf(link.path), wish, IDENT))).toEqual(
			failsWith("LINK_EXPIRED"),
		);
	});

	it("are replaced by a newer one, and void when their user is disabled", async () => {
		const name = fresh("grace");
		const first = await accounts.links.invite(ACTOR, { name, role: "viewer" });
		const second = await accounts.links.reset(ACTOR, name);
		expect(await settled(() => accounts.links.look(codeOf(first.link.path), IDENT))).toEqual(
			failsWith("LINK_UNKNOWN"),
		);
		expect(accounts.links.look(codeOf(second.link.path), IDENT)).toMatchObject({ kind: "invite" });
		await accounts.users.disable(ACTOR, name);
		await expect(accounts.links.reset(ACTOR, name)).rejects.toMatchObject({ code: "USER_DISABLED" });
		await accounts.users.enable(ACTOR, name);
		expect(await settled(() => accounts.links.look(codeOf(second.link.path), IDENT))).toEqual(
			failsWith("LINK_UNKNOWN"),
		);
	});

	it("change a password when spent and not before, and end the sessions that were", async () => {
		const name = fresh("ada");
		await accounts.users.add(ACTOR, { name, role: "viewer", password: PASSWORD });
		const { id, generation } = accounts.users.named(name);
		const cookie = cookieHeader((await accounts.sessions.signIn(id, generation, IDENT)).cookies);
		const { link } = await accounts.links.reset(ACTOR, name);
		expect(await accounts.authority.authenticate(facts(basic(name, PASSWORD)))).toMatchObject({ ok: true });
		expect(accounts.links.look(codeOf(link.path), IDENT)).toMatchObject({ kind: "reset" });
		await accounts.links.spend(codeOf(link.path), { name, password: `${PASSWORD} too` }, IDENT);
		expect(await accounts.authority.authenticate(facts(basic(name, PASSWORD)))).toMatchObject({ ok: false });
		expect(await accounts.authority.authenticate(facts({ cookie }))).toMatchObject({
			reason: "SESSION_ENDED",
		});
	});

	it("end the session that the browser had of somebody else", async () => {
		const { id, generation } = accounts.users.named("root");
		const cookie = cookieHeader((await accounts.sessions.signIn(id, generation, IDENT)).cookies);
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
		await accounts.links.spend(codeOf(link.path), { name: "", password: PASSWORD }, facts({ cookie }));
		expect(await accounts.authority.authenticate(facts({ cookie }))).toMatchObject({
			reason: "SESSION_ENDED",
		});
	});

	it("are as spent after a restart as before, and the open ones as open", async () => {
		const [spent, open] = await Promise.all(
			["spent", "open"].map((name) => accounts.links.invite(ACTOR, { name: fresh(name), role: "viewer" })),
		);
		await accounts.links.spend(codeOf(spent?.link.path ?? ""), { name: "", password: PASSWORD }, IDENT);
		accounts = await accounts.reopen();
		expect(await settled(() => accounts.links.look(codeOf(spent?.link.path ?? ""), IDENT))).toEqual(
			failsWith("LINK_SPENT"),
		);
		expect(accounts.links.look(codeOf(open?.link.path ?? ""), IDENT)).toMatchObject({ kind: "invite" });
	});

	it("are nowhere in the database or the log", async () => {
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
		const code = codeOf(link.path);
		await accounts.links.spend(code, { name: "", password: PASSWORD }, IDENT);
		const rows = await accounts.database.query(
			"select to_jsonb(links)::text as row from links union all select to_jsonb(audit)::text from audit",
		);
		expect(JSON.stringify(rows)).not.toContain(code);
		expect(accounts.logged()).not.toContain(code);
	});

	it.each(["", "x", "A".repeat(43), "A".repeat(44), "../login", "__proto__", "%00", "ä".repeat(43)])(
		"are not found under %j",
		async (code) => {
			expect(await settled(() => accounts.links.look(code, EDGE))).toEqual(failsWith("LINK_UNKNOWN"));
		},
	);
});
