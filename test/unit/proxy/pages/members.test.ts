/** Pages for people who are signed in: account, admin, audit, status; who sees them, and what their forms do. */
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { Check } from "../../../../proxy/authority.ts";
import { shared } from "../../../../proxy/pages/status.ts";
import type { Role } from "../../../../proxy/roles.ts";
import {
	ACTOR,
	basic,
	bearer,
	cookieHeader,
	facts,
	fresh,
	HOUR,
	PASSWORD,
	serve,
	startAccounts,
	type TestAccounts,
	type TestServer,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let edge: TestServer;
let parts: Check[] = [];
let root: Member;

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	await accounts.control.listen({ checks: async () => parts });
	edge = await serve(accounts, "edge");
	root = await member("admin", "root");
	await accounts.users.add(ACTOR, { name: "target", role: "editor", password: PASSWORD });
}, 60_000);

afterAll(async () => {
	await edge?.close();
	await accounts?.remove();
	await postgres?.close();
});

// Each test's admin has typed the password just now.
beforeEach(async () => {
	root = await member("admin", "root");
	parts = [{ name: "mlflow", ok: true, ms: 3 }];
});

interface Reply {
	status: number;
	headers: Headers;
	body: string;
}

async function ask(
	method: string,
	path: string,
	headers: Record<string, string> = {},
	form?: object,
): Promise<Reply> {
	const response = await fetch(`${edge.origin}${path}`, {
		method,
		redirect: "manual",
		headers,
		...(form && { body: new URLSearchParams({ ...form }) }),
	});
	return { status: response.status, headers: response.headers, body: await response.text() };
}

/** Somebody in a browser: a session, and its page's hidden fields. */
class Member {
	readonly name: string;
	readonly cookie: string;
	readonly session: string;
	readonly csrf: string;

	constructor(name: string, cookie: string, session: string, csrf: string) {
		[this.name, this.cookie, this.session, this.csrf] = [name, cookie, session, csrf];
	}

	get = (path: string) => ask("GET", path, { cookie: this.cookie });
	/** Sends a form of that page. */
	act = (path: string, fields: Record<string, string> = {}) =>
		ask("POST", path, { cookie: this.cookie }, { csrf: this.csrf, ...fields });
	who = async () => JSON.parse((await this.get("/whoami")).body);
}

async function member(role: Role, name = fresh(role)): Promise<Member> {
	if (!accounts.users.list().some((user) => user.name === name))
		await accounts.users.add(ACTOR, { name, role, password: PASSWORD });
	const { id, generation } = accounts.users.named(name);
	const { session, cookies } = await accounts.sessions.signIn(
		id,
		generation,
		facts({}, { listener: "edge" }),
	);
	return new Member(name, cookieHeader(cookies), session.id, accounts.sessions.csrfToken(session.id));
}

/** Rows of the trail: reading it writes what has gathered. */
async function trail(where: string, ...values: unknown[]) {
	expect((await root.get("/admin/audit")).status).toBe(200);
	return await accounts.database.query(`select * from audit where ${where} order by id`, values);
}

const PAGES: readonly [string, Role][] = [
	["/account", "viewer"],
	["/status", "viewer"],
	["/admin", "admin"],
	["/admin/tokens", "admin"],
	["/admin/sessions", "admin"],
	["/admin/audit", "admin"],
	["/admin/audit/export", "admin"],
];

/** Everything that a form changes, with fields that would do if it were allowed. */
const ACTS: readonly [string, Role, Record<string, string>][] = [
	["/account/tokens", "viewer", { name: "never", role: "viewer", expires: "30d", once: "x" }],
	["/account/tokens/revoke", "viewer", { id: "tok-x" }],
	["/account/sessions/end", "viewer", { id: "ses-x" }],
	["/account/sessions/end-all", "viewer", {}],
	["/admin/users/role", "admin", { name: "target", role: "viewer" }],
	["/admin/users/disable", "admin", { name: "target" }],
	["/admin/users/enable", "admin", { name: "target" }],
	["/admin/users/link", "admin", { name: "target", once: "x" }],
	["/admin/invitations", "admin", { username: "never", role: "admin", once: "x" }],
	["/admin/invitations/withdraw", "admin", { name: "target" }],
	["/admin/tokens/revoke", "admin", { id: "tok-x" }],
	["/admin/sessions/end", "admin", { id: "ses-x" }],
];
const changes = async () =>
	await accounts.database.query(
		"select (select count(*) from users) as users, (select count(*) from tokens) as tokens, (select count(*) from links) as links, (select count(*) from sessions where ended_at is null) as sessions",
	);

describe("who sees a page", () => {
	it.each(PAGES)("%s: whoever is %s, and more", async (path, needs) => {
		const rank = ["viewer", "editor", "admin"];
		for (const role of ["viewer", "editor", "admin"] as const) {
			const { status, body } = await (await member(role)).get(path);
			const may = rank.indexOf(role) >= rank.indexOf(needs);
			expect([role, status]).toEqual([role, may ? 200 : 403]);
			if (!may) expect(body).toContain(`This page needs the role ${needs}.`);
		}
	});

	it.each(PAGES)("%s: a stranger is led to sign in, and comes back to it", async (path) => {
		const reply = await ask("GET", path);
		expect([reply.status, reply.body]).toEqual([303, ""]);
		const page = path.replace("/export", "");
		expect(reply.headers.get("location")).toBe(`/login?next=${encodeURIComponent(page)}`);
	});

	it.each(PAGES.filter(([path]) => path !== "/status"))(
		"%s: no token and no Basic password opens it",
		async (path) => {
			const { text } = await accounts.tokens.create(ACTOR, {
				name: fresh("t"),
				role: "admin",
				user: "operator",
			});
			for (const headers of [bearer(text), basic("root", PASSWORD)]) {
				const reply = await ask("GET", path, headers);
				expect([reply.status, reply.headers.get("set-cookie")]).toEqual([403, null]);
				expect(reply.body).toContain("For browsers");
			}
		},
	);

	it("leaves a row when it is refused, with who and why", async () => {
		const vera = await member("viewer");
		await vera.get("/admin/tokens");
		expect(await trail("act = 'page.refuse' and actor = $1", vera.name)).toMatchObject([
			{ role: "viewer", credential: vera.session, route: "/admin/tokens", status: 403, reason: "ROLE_ADMIN" },
		]);
	});
});

describe("every form", () => {
	it.each(ACTS)("%s needs the session's CSRF token", async (path, role, fields) => {
		const someone = await member(role);
		const other = await member(role);
		const before = await changes();
		for (const csrf of ["", "A".repeat(43), other.csrf]) {
			expect((await ask("POST", path, { cookie: someone.cookie }, { ...fields, csrf })).status).toBe(403);
		}
		expect((await ask("POST", path, { cookie: someone.cookie }, fields)).status).toBe(403);
		expect(await changes()).toEqual(before);
		expect(await trail("act = 'page.refuse' and actor = $1", someone.name)).toMatchObject(
			[{ reason: "CSRF_TOKEN", credential: someone.session }, { reason: "CSRF_TOKEN" }].slice(0, 1),
		);
	});

	it.each(ACTS)(
		"%s is refused to another site's page, to strangers and to Authorization",
		async (path, _, fields) => {
			const before = await changes();
			const headers = { cookie: root.cookie, origin: "http://evil.example" };
			expect((await ask("POST", path, headers, { csrf: root.csrf, ...fields })).status).toBe(403);
			expect((await ask("POST", path, {}, { csrf: root.csrf, ...fields })).status).toBe(401);
			expect((await ask("POST", path, basic("root", PASSWORD), fields)).status).toBe(400);
			expect(await changes()).toEqual(before);
		},
	);

	it.each(ACTS.filter(([, role]) => role === "admin"))(
		"%s is refused to an editor",
		async (path, _, fields) => {
			const eve = await member("editor");
			const before = await changes();
			expect((await eve.act(path, fields)).status).toBe(403);
			expect(await changes()).toEqual(before);
		},
	);

	it.each(ACTS)(
		"%s asks for the password when ten minutes have gone, and then does what was asked",
		async (path, role, fields) => {
			const someone = await member(role);
			accounts.pass(600_000);
			const before = await changes();
			const asked = await someone.act(path, fields);
			expect(asked.status).toBe(403);
			expect(asked.body).toContain("Type your password once more");
			for (const [name, value] of Object.entries(fields))
				expect(asked.body).toContain(`<input type="hidden" name="${name}" value="${value}">`);
			const wrong = await someone.act(path, { ...fields, proof: "wrong wrong wrong" });
			expect([wrong.status, wrong.body.includes("This is not your password.")]).toEqual([403, true]);
			expect(wrong.body).not.toContain("wrong wrong");
			expect(await changes()).toEqual(before);
			const right = await someone.act(path, { ...fields, proof: PASSWORD });
			expect(right.body).not.toContain("Type your password once more");
			expect(
				accounts.sessions.list().find(({ id }) => id === someone.session)?.proved ?? accounts.now(),
			).toBe(accounts.now());
		},
	);

	it("counts a wrong proof as a wrong password, and tells how long to wait; the session goes on", async () => {
		const someone = await member("viewer");
		accounts.pass(600_000);
		for (let i = 0; i < 10; i++)
			await someone.act("/account/sessions/end-all", { proof: `wrong wrong ${i}` });
		const limited = await someone.act("/account/sessions/end-all", { proof: PASSWORD });
		expect(limited.status).toBe(429);
		expect(Number(limited.headers.get("retry-after"))).toBeGreaterThan(0);
		expect(await someone.who()).toMatchObject({ user: someone.name });
	});

	it("acts once however often it is sent", async () => {
		const someone = await member("editor");
		const fields = { name: "laptop", role: "editor", expires: "30d", once: "abc" };
		expect((await someone.act("/account/tokens", fields)).status).toBe(200);
		const again = await someone.act("/account/tokens", fields);
		expect([again.status, again.body.includes("Sent already")]).toEqual([409, true]);
		expect(accounts.tokens.list().filter(({ user }) => user === someone.name)).toHaveLength(1);
	});

	it("that has expired under its page says so, and the way back is the page", async () => {
		const someone = await member("viewer");
		accounts.pass(12 * HOUR);
		const reply = await someone.act("/account/tokens", { name: "x", role: "viewer", expires: "30d" });
		expect(reply.status).toBe(401);
		expect(reply.body).toContain("Nothing was changed.");
		expect(reply.body).toContain('href="/login?next=%2Faccount"');
	});
});

describe("/account", () => {
	it("tells the role in words, and lists my sessions with browser, last use and address", async () => {
		const vera = await member("viewer");
		const { id, generation } = accounts.users.named(vera.name);
		const phone = facts(
			{
				"user-agent":
					"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1",
			},
			{ listener: "ident", remoteAddress: "198.51.100.7" },
		);
		const other = await accounts.sessions.signIn(id, generation, phone);
		accounts.pass(5 * 60_000);
		const { body } = await vera.get("/account");
		expect(body).toContain("<strong>viewer</strong>. You may read everything");
		expect(body).toContain("Safari 18 on iOS");
		expect(body).toContain("198.51.100.7, the network");
		expect(body).toContain(">5 minutes ago</time>");
		expect(body).toContain('<span class="tag">this one</span>');
		expect((await vera.act("/account/sessions/end", { id: other.session.id })).status).toBe(303);
		const ended = await accounts.authority.authenticate(facts({ cookie: cookieHeader(other.cookies) }));
		expect(ended).toMatchObject({ reason: "SESSION_ENDED" });
		expect(await vera.who()).toMatchObject({ user: vera.name });
	});

	it("makes a token, shown once with lines to paste that work, and no stronger than its owner", async () => {
		const eve = await member("editor");
		const page = (await eve.get("/account")).body;
		expect(page).toContain('<option value="editor">');
		expect(page.slice(page.indexOf("Make a token"))).not.toContain('<option value="admin">');
		const made = await eve.act("/account/tokens", {
			name: "it's <b>",
			role: "editor",
			expires: "30d",
			once: "1",
		});
		expect(made.status).toBe(200);
		const [, text = ""] = /MLFLOW_TRACKING_TOKEN=&#39;(eyJ[\w.-]+)&#39;/.exec(made.body) ?? [];
		expect(made.body).toContain(`export MLFLOW_TRACKING_URI=&#39;${edge.origin}&#39;`);
		expect(JSON.parse((await ask("GET", "/whoami", bearer(text))).body)).toMatchObject({
			kind: "token",
			user: eve.name,
			role: "editor",
			name: "it's <b>",
		});
		expect(made.body).toContain("it&#39;s &lt;b&gt;");
		expect((await eve.get("/account")).body).not.toContain(text);
		const stronger = await eve.act("/account/tokens", {
			name: "x",
			role: "admin",
			expires: "30d",
			once: "2",
		});
		expect([stronger.status, stronger.body.includes("cannot do more than its owner")]).toEqual([409, true]);
	});

	it("revokes my tokens and nobody else's", async () => {
		const [eve, ada] = [await member("editor"), await member("editor")];
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "t",
			role: "editor",
			user: ada.name,
		});
		expect((await eve.act("/account/tokens/revoke", { id: token.id })).status).toBe(404);
		expect((await ask("GET", "/whoami", bearer(text))).status).toBe(200);
		expect((await ada.act("/account/tokens/revoke", { id: token.id })).status).toBe(303);
		expect((await ask("GET", "/whoami", bearer(text))).status).toBe(401);
	});

	it("ends nobody else's session", async () => {
		const [eve, ada] = [await member("editor"), await member("editor")];
		await eve.act("/account/sessions/end", { id: ada.session });
		expect(await ada.who()).toMatchObject({ user: ada.name });
	});

	it("signs out everywhere; tokens go on", async () => {
		const one = await member("editor");
		const two = await member("editor", one.name);
		const { text } = await accounts.tokens.create(ACTOR, { name: "t", role: "editor", user: one.name });
		const reply = await one.act("/account/sessions/end-all");
		expect([reply.status, reply.headers.get("location")]).toEqual([303, "/logout"]);
		for (const gone of [one, two]) expect(await gone.who()).toMatchObject({ reason: "SESSION_ENDED" });
		expect((await ask("GET", "/whoami", bearer(text))).status).toBe(200);
	});

	it("changes the password for whoever knows the old one, however lately it was typed", async () => {
		const one = await member("editor");
		const two = await member("editor", one.name);
		const next = "eight brown bottles";
		const change = (proof: string, password: string, repeat = password) =>
			one.act("/account/password", { proof, password, repeat });
		expect((await change("not the password", next)).status).toBe(403);
		expect((await change("", next)).status).toBe(403);
		expect((await change(PASSWORD, next, "something else")).body).toContain("The two passwords differ.");
		expect((await change(PASSWORD, "short")).body).toContain("Use at least 12 characters.");
		const changed = await change(PASSWORD, next);
		expect([changed.status, changed.headers.get("location")]).toEqual([303, "/account?done=password"]);
		expect(await two.who()).toMatchObject({ reason: "SESSION_ENDED" });
		expect((await ask("GET", "/whoami", basic(one.name, next))).status).toBe(200);
		expect((await ask("GET", "/whoami", basic(one.name, PASSWORD))).status).toBe(401);
	});
});

describe("/admin", () => {
	it("invites somebody: the link is shown once, and leads in with that role", async () => {
		const name = fresh("grace");
		const made = await root.act("/admin/invitations", { username: name, role: "viewer", once: "1" });
		const [, path = ""] = new RegExp(`${edge.origin}(/invite/[\\w-]{43})`).exec(made.body) ?? [];
		const list = (await root.get("/admin")).body;
		expect(list).toContain(name);
		expect(list).toContain("invited");
		expect(list).not.toContain(path);
		const spent = await ask("POST", path, {}, { password: PASSWORD, repeat: PASSWORD });
		expect(spent.status).toBe(303);
		const rows = await trail("target = $1", name);
		expect(rows.map(({ act, actor }) => `${actor} ${act}`)).toEqual([
			"root user.add",
			"root link.invite",
			`${name} user.password`,
			`${name} session.start`,
		]);
		expect(JSON.stringify(rows)).not.toContain(path.slice(8));
		expect(accounts.logged()).not.toContain(path.slice(8));
	});

	it("takes an invitation back, and the name is free again", async () => {
		const name = fresh("grace");
		const made = await root.act("/admin/invitations", { username: name, role: "viewer", once: "1" });
		const [, path = ""] = new RegExp(`${edge.origin}(/invite/[\\w-]{43})`).exec(made.body) ?? [];
		expect((await root.act("/admin/invitations/withdraw", { name })).status).toBe(303);
		expect((await ask("GET", path)).status).toBe(404);
		expect((await root.act("/admin/invitations", { username: name, role: "viewer", once: "2" })).status).toBe(
			200,
		);
	});

	it("changes a role from the next request on, disables and enables", async () => {
		const eve = await member("editor");
		expect((await root.act("/admin/users/role", { name: eve.name, role: "viewer" })).status).toBe(303);
		expect(await eve.who()).toMatchObject({ role: "viewer" });
		expect((await root.act("/admin/users/disable", { name: eve.name })).status).toBe(303);
		expect(await eve.who()).toMatchObject({ ok: false });
		expect((await ask("GET", "/whoami", basic(eve.name, PASSWORD))).status).toBe(401);
		expect((await root.act("/admin/users/enable", { name: eve.name })).status).toBe(303);
		expect((await ask("GET", "/whoami", basic(eve.name, PASSWORD))).status).toBe(200);
		// The session does not come back with its user.
		expect(await eve.who()).toMatchObject({ reason: "SESSION_ENDED" });
		for (const act of ["user.role", "user.disable", "user.enable"])
			expect(await trail("act = $1 and target = $2", act, eve.name)).toMatchObject([
				{ actor: "root", role: "admin", credential: root.session, listener: "edge" },
			]);
	});

	it("keeps its last admin, and says so on the page", async () => {
		for (const { name, role, state } of accounts.users.list())
			if (role === "admin" && state === "active" && name !== "root")
				await accounts.users.disable(ACTOR, name);
		const reply = await root.act("/admin/users/disable", { name: "root" });
		expect([reply.status, reply.body.includes("root is the last admin who can sign in.")]).toEqual([
			409,
			true,
		]);
		expect((await root.act("/admin/users/role", { name: "root", role: "viewer" })).status).toBe(409);
		expect(await root.who()).toMatchObject({ role: "admin" });
	});

	it("revokes anybody's token and ends anybody's session but this one", async () => {
		const eve = await member("editor");
		const { text, token } = await accounts.tokens.create(ACTOR, {
			name: "t",
			role: "editor",
			user: eve.name,
		});
		expect((await root.get("/admin/tokens")).body).toContain(`value="${token.id}"`);
		expect((await root.act("/admin/tokens/revoke", { id: token.id })).status).toBe(303);
		expect((await ask("GET", "/whoami", bearer(text))).status).toBe(401);
		expect((await root.act("/admin/sessions/end", { id: eve.session })).status).toBe(303);
		expect(await eve.who()).toMatchObject({ reason: "SESSION_ENDED" });
		expect((await root.act("/admin/sessions/end", { id: root.session })).status).toBe(409);
		expect(await root.who()).toMatchObject({ user: "root" });
	});

	it("is refused with 503 and changes nothing while Postgres is away; the page itself is shown", async () => {
		const eve = await member("editor");
		await postgres.stop();
		try {
			const refused = await root.act("/admin/users/disable", { name: eve.name });
			expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
			expect(refused.body).toContain("nothing was changed for certain");
			expect((await root.get("/admin")).status).toBe(200);
			expect((await root.get("/admin/audit")).status).toBe(503);
			expect(await eve.who()).toMatchObject({ user: eve.name });
		} finally {
			await postgres.start();
		}
		await expect
			.poll(async () => (await root.act("/admin/users/disable", { name: eve.name })).status, {
				timeout: 10_000,
			})
			.toBe(303);
	});
});

describe("/admin/audit", () => {
	it("shows who did what, filtered, and as a file; whoever saves it is told, too", async () => {
		const eve = await member("editor");
		await root.act("/admin/users/role", { name: eve.name, role: "viewer" });
		await eve.get("/admin");
		const page = (await root.get(`/admin/audit?who=${eve.name}`)).body;
		expect(page).toContain("page.refuse");
		expect(page).not.toContain("user.role");
		const saved = await root.get(`/admin/audit/export?format=csv&who=${eve.name}`);
		expect(saved.headers.get("content-type")).toBe("text/csv; charset=utf-8");
		expect(saved.headers.get("content-disposition")).toMatch(
			/^attachment; filename="mlgate-audit-[\d-]+\.csv"$/,
		);
		expect(saved.headers.get("cache-control")).toBe("no-store");
		expect(saved.body.split("\r\n")[0]).toMatch(/^id,at,last_at,count,actor,/);
		expect(await trail("act = 'audit.export' and credential = $1", root.session)).toMatchObject([
			{ actor: "root", detail: { format: "csv", who: eve.name } },
		]);
	});

	it("tells of sign-ins, wrong passwords, links that were tried and forms of other sites", async () => {
		const vera = await member("viewer");
		await ask("POST", "/login", {}, { username: vera.name, password: PASSWORD });
		await ask("POST", "/login", {}, { username: vera.name, password: "wrong wrong wrong" });
		await ask("GET", `/invite/${"A".repeat(43)}`);
		await ask("POST", "/login", { origin: "http://evil.example" }, { username: "x", password: "y" });
		const acts = (await trail("id > 0")).map(({ act, target, reason }) => `${act} ${target} ${reason}`);
		for (const act of [
			`session.start ${vera.name} null`,
			`sign-in.refuse ${vera.name} PASSWORD_WRONG`,
			"page.refuse null LINK_UNKNOWN",
			"page.refuse null CSRF_ORIGIN",
		]) {
			expect(acts).toContain(act);
		}
		expect(JSON.stringify(await trail("id > 0"))).not.toMatch(/AAAAAAAA|wrong wrong|green bottles/);
	});
});

describe("/status", () => {
	it("shows each part's round trip, with 503 when one fails; scripts may look, too", async () => {
		const vera = await member("viewer");
		expect((await vera.get("/status")).status).toBe(200);
		parts = [{ name: "object store", ok: false, ms: 12, detail: "status 503" }];
		await expect.poll(async () => (await vera.get("/status")).status).toBe(503);
		const { body } = await ask("GET", "/status", basic(vera.name, PASSWORD));
		expect(body).toContain("object store");
		expect(body).toContain("status 503");
	});

	it("asks the parts once for all who look at once, or within a second", async () => {
		let [asked, now] = [0, 0];
		const look = shared(
			async () => {
				asked++;
				return [];
			},
			() => now,
		);
		await Promise.all(Array.from({ length: 50 }, look));
		now = 900;
		await look();
		expect(asked).toBe(1);
		now = 1_000;
		await look();
		expect(asked).toBe(2);
	});
});

describe("every page of theirs", () => {
	it("has no script, no inline style, one label a field, and buttons that say what they are about", async () => {
		const eve = await member("editor");
		await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: eve.name });
		for (const [who, path] of [
			[eve, "/account"],
			...PAGES.filter(([path]) => !path.endsWith("/export")).map(([path]) => [root, path] as const),
		] as const) {
			const { body, headers } = await who.get(path);
			expect(headers.get("content-security-policy")).toMatch(/^default-src 'none'; style-src 'self';/);
			expect(headers.get("cache-control")).toBe("no-store");
			expect(body).not.toMatch(/<script|<style| style=| on\w+=/i);
			const ids = [...body.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
			expect([path, ids.length]).toEqual([path, new Set(ids).size]);
			for (const [tag] of body.matchAll(/<(?:input(?! type="hidden")|select)[^>]*>/g)) {
				const id = / id="([^"]+)"/.exec(tag)?.[1];
				if (!/ aria-label=| hidden>/.test(tag))
					expect([tag, body.includes(`<label for="${id}">`)]).toEqual([tag, true]);
			}
		}
	});
});
