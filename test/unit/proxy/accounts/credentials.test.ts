import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { AccountVerdict } from "../../../../proxy/accounts/authority.ts";
import type { Identity } from "../../../../proxy/authority.ts";
import {
	ACTOR,
	basic,
	bearer,
	cookieHeader,
	DAY,
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
	// The last-admin guard is another test's subject.
	await accounts.users.add(ACTOR, { name: "root", role: "admin", password: PASSWORD });
}, 60_000);

afterAll(async () => {
	await accounts?.remove();
	await postgres?.close();
});

const ask = (headers: Record<string, string>) => accounts.authority.authenticate(facts(headers));

function identity(verdict: AccountVerdict): Identity {
	if (!verdict.ok) throw new Error(`refused: ${verdict.reason}`);
	return verdict.identity;
}

const refusal = (reason: string) => ({ ok: false, presented: true, reason });

async function user(role: "viewer" | "editor" | "admin"): Promise<string> {
	const name = fresh(role);
	await accounts.users.add(ACTOR, { name, role, password: PASSWORD });
	return name;
}

/** The Cookie header of a browser that has just signed in. */
async function signIn(name: string, over = facts()): Promise<string> {
	const { id, generation } = accounts.users.named(name);
	return cookieHeader((await accounts.sessions.signIn(id, generation, over)).cookies);
}

describe("no credential", () => {
	it("is told apart from a refused one", async () => {
		expect(await ask({})).toEqual({ ok: false, presented: false, reason: "NO_CREDENTIAL" });
		expect(await ask({ cookie: "theme=dark; empty=; odd" })).toMatchObject({ presented: false });
	});

	it("is what a session cookie of the other scheme or another stack is", async () => {
		const cookie = await signIn(await user("viewer"));
		expect(await ask({ cookie })).toMatchObject({ ok: true });
		const secure = facts({ cookie }, { origin: "https://node.example.ts.net:8443" });
		expect(await accounts.authority.authenticate(secure)).toMatchObject({ presented: false });
		expect(await ask({ cookie: cookie.replace("mlgate-lab=", "mlgate-other=") })).toMatchObject({
			presented: false,
		});
	});
});

describe("order", () => {
	it("lets no refused Authorization fall back to a good session", async () => {
		const cookie = await signIn(await user("admin"));
		expect(await ask({ cookie })).toMatchObject({ ok: true });
		for (const authorization of [
			"Bearer nonsense",
			basic("root", "wrong wrong wrong").authorization,
			"Digest x",
			"",
		]) {
			expect(await ask({ cookie, authorization })).toMatchObject({ ok: false, presented: true });
		}
	});

	it("takes the token when a session comes along", async () => {
		const cookie = await signIn(await user("admin"));
		const { text } = await accounts.tokens.create(ACTOR, { name: "t", role: "viewer", user: "operator" });
		expect(identity(await ask({ cookie, ...bearer(text) }))).toMatchObject({ kind: "token", role: "viewer" });
	});
});

describe("API tokens", () => {
	it("stop on the next request once revoked, and end what runs", async () => {
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "ci",
			role: "editor",
			user: "operator",
		});
		const running = identity(await ask(bearer(text)));
		expect(accounts.authority.stillValid(running)).toBe(true);
		expect(await accounts.tokens.revoke(ACTOR, token.id)).toMatchObject({ id: token.id, state: "revoked" });
		expect(await ask(bearer(text))).toEqual(refusal("TOKEN_REVOKED"));
		expect(await ask(basic("any", text))).toEqual(refusal("TOKEN_REVOKED"));
		expect(accounts.authority.stillValid(running)).toBe(false);
		expect(await accounts.tokens.revoke(ACTOR, token.id)).toMatchObject({ state: "revoked" });
		await expect(accounts.tokens.revoke(ACTOR, "tok-nobody")).rejects.toMatchObject({
			code: "TOKEN_UNKNOWN",
		});
	});

	it("stay revoked after a restart", async () => {
		const kept = await accounts.tokens.create(ACTOR, { name: "kept", role: "viewer", user: "operator" });
		const gone = await accounts.tokens.create(ACTOR, { name: "gone", role: "viewer", user: "operator" });
		await accounts.tokens.revoke(ACTOR, gone.token.id);
		accounts = await accounts.reopen();
		expect(await ask(bearer(kept.text))).toMatchObject({ ok: true });
		expect(await ask(bearer(gone.text))).toEqual(refusal("TOKEN_REVOKED"));
	});

	it("die with their owner, at once, and live again with it", async () => {
		const name = await user("editor");
		const { text } = await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: name });
		const running = identity(await ask(bearer(text)));
		await accounts.users.disable(ACTOR, name);
		expect(await ask(bearer(text))).toEqual(refusal("USER_DISABLED"));
		expect(accounts.authority.stillValid(running)).toBe(false);
		expect(accounts.tokens.list().find((token) => token.user === name)).toMatchObject({
			state: "owner disabled",
		});
		await accounts.users.enable(ACTOR, name);
		expect(await ask(bearer(text))).toMatchObject({ ok: true });
	});

	it("can do no more than their owner now can", async () => {
		const name = await user("admin");
		const { text } = await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: name });
		const running = identity(await ask(bearer(text)));
		expect(running.role).toBe("editor");
		await accounts.users.setRole(ACTOR, name, "viewer");
		expect(identity(await ask(bearer(text))).role).toBe("viewer");
		expect(accounts.authority.stillValid(running)).toBe(false);
		await accounts.users.setRole(ACTOR, name, "admin");
		expect(identity(await ask(bearer(text))).role).toBe("editor");
	});

	it("are not made stronger than their owner", async () => {
		const name = await user("viewer");
		const wish = { name: "ci", role: "editor", user: name } as const;
		await expect(accounts.tokens.create(ACTOR, wish)).rejects.toMatchObject({
			code: "TOKEN_ROLE",
			status: 409,
		});
	});

	it("expire on the second, whatever verdict was kept, and live for ever only if asked", async () => {
		const wish = { name: "ci", role: "viewer", user: "operator" } as const;
		const short = await accounts.tokens.create(ACTOR, { ...wish, expires: "1h" });
		const never = await accounts.tokens.create(ACTOR, { ...wish, expires: "never" });
		const usual = await accounts.tokens.create(ACTOR, wish);
		expect(never.token.expires).toBeNull();
		expect(Date.parse(usual.token.expires ?? "") - accounts.now()).toBe(90 * DAY);
		accounts.pass(HOUR - 1);
		const running = identity(await ask(bearer(short.text)));
		accounts.pass(1);
		expect(await ask(bearer(short.text))).toEqual(refusal("TOKEN_EXPIRED"));
		expect(accounts.authority.stillValid(running)).toBe(false);
		accounts.pass(90 * DAY);
		expect(await ask(bearer(usual.text))).toEqual(refusal("TOKEN_EXPIRED"));
		expect(await ask(bearer(never.text))).toMatchObject({ ok: true });
	});

	it.each(["", "tomorrow", "0d", "-1d", "90", "90x", "2020-01-01", "1 jan 2999", "99999999d", "2999-13-01"])(
		"take no expiry %j",
		async (expires) => {
			const wish = { name: "ci", role: "viewer", user: "operator", expires } as const;
			await expect(accounts.tokens.create(ACTOR, wish)).rejects.toMatchObject({ code: "TOKEN_EXPIRY" });
		},
	);

	it.each(["", " ", "a".repeat(65), "line\nend", "nul\0"])("take no name %j", async (name) => {
		const wish = { name, role: "viewer", user: "operator" } as const;
		await expect(accounts.tokens.create(ACTOR, wish)).rejects.toMatchObject({ code: "TOKEN_NAME" });
	});

	it("show when and from where they were last used, also after a restart", async () => {
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "ci",
			role: "viewer",
			user: "operator",
		});
		await ask(bearer(text));
		const used = { lastUsed: new Date(accounts.now()).toISOString(), lastAddress: "203.0.113.7" };
		const find = () => accounts.tokens.list().find(({ id }) => id === token.id);
		expect(find()).toMatchObject(used);
		accounts = await accounts.reopen();
		expect(find()).toMatchObject(used);
	});

	it("are kept nowhere and logged nowhere", async () => {
		const { text } = await accounts.tokens.create(ACTOR, { name: "ci", role: "viewer", user: "operator" });
		await ask(bearer(text));
		const rows = await accounts.database.query(
			"select to_jsonb(tokens)::text as row from tokens union all select to_jsonb(audit)::text from audit",
		);
		const signature = text.split(".")[2] ?? "";
		expect(JSON.stringify(rows)).not.toContain(signature);
		expect(accounts.logged()).not.toContain(signature);
	});
});

describe("sessions", () => {
	it("carry the cookie attributes that keep them in", async () => {
		const { id, generation } = accounts.users.named(await user("viewer"));
		const plain = (await accounts.sessions.signIn(id, generation, facts())).cookies;
		expect(plain).toEqual([
			expect.stringMatching(/^mlgate-lab=eyJ[^;]+; Path=\/; Max-Age=604800; SameSite=Lax; HttpOnly$/),
			expect.stringMatching(
				/^mlflow-request-header-X-CSRF-Token=[\w-]{43}; Path=\/; Max-Age=604800; SameSite=Lax$/,
			),
			expect.stringMatching(/^mlgate-lab-device=[^;]+; Path=\/; Max-Age=15552000; SameSite=Lax; HttpOnly$/),
		]);
		const secure = facts({}, { origin: "https://node.example.ts.net:8443" });
		const guarded = (await accounts.sessions.signIn(id, generation, secure)).cookies;
		expect(guarded).toEqual([
			expect.stringMatching(
				/^__Host-mlgate=eyJ[^;]+; Path=\/; Max-Age=604800; SameSite=Lax; Secure; HttpOnly$/,
			),
			expect.stringMatching(/^mlflow-request-header-X-CSRF-Token=[\w-]{43}; .*; Secure$/),
			expect.stringMatching(/^__Host-mlgate-device=[^;]+; .*; Secure; HttpOnly$/),
		]);
	});

	it("end twelve hours after the last request", async () => {
		const cookie = await signIn(await user("viewer"));
		for (let hours = 0; hours < 36; hours += 11) {
			accounts.pass(11 * HOUR);
			expect(await ask({ cookie })).toMatchObject({ ok: true });
		}
		accounts.pass(12 * HOUR);
		expect(await ask({ cookie })).toEqual(refusal("SESSION_IDLE"));
	});

	it("end after seven days of use", async () => {
		const cookie = await signIn(await user("viewer"));
		const began = accounts.now();
		let running: Identity | undefined;
		while (accounts.now() - began < 7 * DAY - 11 * HOUR) {
			accounts.pass(11 * HOUR);
			running = identity(await ask({ cookie }));
		}
		accounts.pass(began + 7 * DAY - accounts.now());
		expect(await ask({ cookie })).toEqual(refusal("SESSION_EXPIRED"));
		expect(running && accounts.authority.stillValid(running)).toBe(false);
	});

	it("are idle from their last use, also across a restart", async () => {
		const cookie = await signIn(await user("viewer"));
		accounts.pass(11 * HOUR);
		await ask({ cookie });
		accounts = await accounts.reopen();
		accounts.pass(11 * HOUR);
		expect(await ask({ cookie })).toMatchObject({ ok: true });
	});

	it("end for good when signed out, wherever the cookie is, also after a restart", async () => {
		const cookie = await signIn(await user("viewer"));
		const running = identity(await ask({ cookie }));
		await accounts.sessions.end(running.credential, ACTOR);
		expect(await ask({ cookie })).toEqual(refusal("SESSION_ENDED"));
		expect(accounts.authority.stillValid(running)).toBe(false);
		accounts = await accounts.reopen();
		expect(await ask({ cookie })).toEqual(refusal("SESSION_ENDED"));
	});

	it("end with their user, and do not come back with it", async () => {
		const name = await user("editor");
		const cookie = await signIn(name);
		const running = identity(await ask({ cookie }));
		await accounts.users.disable(ACTOR, name);
		expect(await ask({ cookie })).toMatchObject({ ok: false });
		expect(accounts.authority.stillValid(running)).toBe(false);
		await accounts.users.enable(ACTOR, name);
		expect(await ask({ cookie })).toEqual(refusal("SESSION_ENDED"));
	});

	it("have their user's role of now", async () => {
		const name = await user("editor");
		const cookie = await signIn(name);
		const running = identity(await ask({ cookie }));
		expect(running.role).toBe("editor");
		await accounts.users.setRole(ACTOR, name, "viewer");
		expect(identity(await ask({ cookie })).role).toBe("viewer");
		expect(accounts.authority.stillValid(running)).toBe(false);
	});

	it("do not start from a proof that is older than a change of the user", async () => {
		const name = await user("editor");
		const { id, generation } = accounts.users.named(name);
		await accounts.users.setRole(ACTOR, name, "viewer");
		await expect(accounts.sessions.signIn(id, generation, facts())).rejects.toMatchObject({
			code: "USER_CHANGED",
		});
	});

	it("replace the one that the browser had (fixation)", async () => {
		const [one, other] = [await user("viewer"), await user("viewer")];
		const planted = await signIn(one);
		const mine = await signIn(other, facts({ cookie: planted }));
		expect(await ask({ cookie: planted })).toEqual(refusal("SESSION_ENDED"));
		expect(identity(await ask({ cookie: mine })).user).toBe(other);
	});

	it("are refused when a second cookie of the name was planted", async () => {
		const cookie = await signIn(await user("viewer"));
		expect(await ask({ cookie: `mlgate-lab=other; ${cookie}` })).toEqual(refusal("COOKIE_AMBIGUOUS"));
		expect(await ask({ cookie: `${cookie}; ${cookie.split(";")[0]}` })).toMatchObject({ ok: true });
	});

	it("number fifty a user at most; the one used longest ago goes", async () => {
		const name = await user("viewer");
		const first = await signIn(name);
		for (let count = 1; count < 50; count++) {
			accounts.pass(1000);
			await signIn(name);
		}
		expect(await ask({ cookie: first })).toMatchObject({ ok: true });
		accounts.pass(1000);
		const last = await signIn(name);
		expect(await ask({ cookie: first })).toMatchObject({ ok: true });
		expect(await ask({ cookie: last })).toMatchObject({ ok: true });
		const [row] = await accounts.database.query(
			"select count(*)::int as live from sessions join users on users.id = user_id where name = $1 and ended_at is null",
			[name],
		);
		expect(row).toEqual({ live: 50 });
	});
});

describe("users", () => {
	it("keep one admin who can sign in", async () => {
		const others = accounts.users
			.list()
			.filter((one) => one.role === "admin" && one.state === "active" && one.name !== "root");
		for (const { name } of others) await accounts.users.setRole(ACTOR, name, "viewer");
		// Invited, disabled and built-in admins are none who could let anybody in.
		await accounts.links.invite(ACTOR, { name: fresh("invited"), role: "admin" });
		await expect(accounts.users.disable(ACTOR, "root")).rejects.toMatchObject({
			code: "LAST_ADMIN",
			status: 409,
		});
		await expect(accounts.users.setRole(ACTOR, "root", "editor")).rejects.toMatchObject({
			code: "LAST_ADMIN",
		});
		const second = await user("admin");
		const both = await Promise.allSettled([
			accounts.users.disable(ACTOR, "root"),
			accounts.users.disable(ACTOR, second),
		]);
		expect(both.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
		for (const name of ["root", second]) await accounts.users.enable(ACTOR, name);
	});

	it("have one spelling, and none that means something elsewhere", async () => {
		const name = fresh("Ada").toUpperCase();
		expect(
			await accounts.users.add(ACTOR, { name: ` ${name} `, role: "viewer", password: PASSWORD }),
		).toMatchObject({
			name: name.toLowerCase(),
			state: "active",
		});
		const again = { name, role: "viewer", password: PASSWORD } as const;
		await expect(accounts.users.add(ACTOR, again)).rejects.toMatchObject({ code: "USER_EXISTS" });
		for (const bad of ["", "a b", "a:b", "a/b", "<b>", "ä", "-a", "a-", "a\0", "a".repeat(65)]) {
			await expect(accounts.users.add(ACTOR, { ...again, name: bad })).rejects.toMatchObject({
				code: "USER_NAME",
			});
		}
	});

	it("do not include the built-in one when it comes to changes or signing in", async () => {
		expect(accounts.users.list().at(-1)).toMatchObject({ name: "operator", state: "system", role: "admin" });
		for (const change of [
			accounts.users.disable(ACTOR, "operator"),
			accounts.users.setRole(ACTOR, "operator", "viewer"),
			accounts.links.reset(ACTOR, "operator"),
		]) {
			await expect(change).rejects.toMatchObject({ code: "USER_SYSTEM" });
		}
		expect(await ask(basic("operator", PASSWORD))).toMatchObject({ ok: false, reason: "PASSWORD_WRONG" });
	});

	it("leave a trail of every change, with who and from where", async () => {
		const name = fresh("traced");
		const by = { name: "root", listener: "ident", address: "203.0.113.9" } as const;
		await accounts.users.add(by, { name, role: "viewer", password: PASSWORD });
		await accounts.users.setRole(by, name, "editor");
		await accounts.tokens.create(by, { name: "ci", role: "viewer", user: name });
		await accounts.users.disable(by, name);
		const rows = await accounts.database.query(
			"select actor, act, target, listener, address, detail from audit where target = $1 order by id",
			[name],
		);
		const where = { actor: "root", target: name, listener: "ident", address: "203.0.113.9" };
		expect(rows).toEqual([
			{ ...where, act: "user.add", detail: { role: "viewer" } },
			{ ...where, act: "user.role", detail: { from: "viewer", to: "editor" } },
			{ ...where, act: "token.create", detail: expect.objectContaining({ name: "ci", role: "viewer" }) },
			{ ...where, act: "user.disable", detail: {} },
		]);
		expect(accounts.logged()).not.toContain(PASSWORD);
		expect(JSON.stringify(rows)).not.toContain(PASSWORD);
	});
});
