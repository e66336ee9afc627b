import { request } from "node:http";
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import {
	ACTOR,
	basic,
	cookieHeader,
	fresh,
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
let ident: TestServer;

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	edge = await serve(accounts, "edge");
	ident = await serve(accounts, "ident");
	await accounts.users.add(ACTOR, { name: "root", role: "admin", password: PASSWORD });
}, 60_000);

afterAll(async () => {
	await edge?.close();
	await ident?.close();
	await accounts?.remove();
	await postgres?.close();
});

interface Reply {
	status: number;
	headers: Headers;
	body: string;
	cookies: string[];
}

async function send(
	method: string,
	path: string,
	options: { headers?: Record<string, string>; form?: Record<string, string>; server?: TestServer } = {},
): Promise<Reply> {
	const server = options.server ?? edge;
	const response = await fetch(`${server.origin}${path}`, {
		method,
		redirect: "manual",
		headers: options.headers,
		body: options.form && new URLSearchParams(options.form),
	});
	return {
		status: response.status,
		headers: response.headers,
		body: await response.text(),
		cookies: response.headers.getSetCookie(),
	};
}

const get = (path: string, headers: Record<string, string> = {}, server = edge) =>
	send("GET", path, { headers, server });
const post = (
	path: string,
	form: Record<string, string>,
	headers: Record<string, string> = {},
	server = edge,
) => send("POST", path, { form, headers, server });

async function user(): Promise<string> {
	const name = fresh("ada");
	await accounts.users.add(ACTOR, { name, role: "editor", password: PASSWORD });
	return name;
}

const signIn = async (username: string) => await post("/login", { username, password: PASSWORD });
const whoIs = async (cookie: string) => JSON.parse((await get("/whoami", { cookie })).body);

describe("signing in", () => {
	it("goes where one wanted to go, with a session", async () => {
		const name = await user();
		const reply = await post("/login", { username: name, password: PASSWORD, next: "/inference/?x=1" });
		expect([reply.status, reply.headers.get("location"), reply.cookies.length]).toEqual([
			303,
			"/inference/?x=1",
			3,
		]);
		expect(await whoIs(cookieHeader(reply.cookies))).toMatchObject({
			kind: "session",
			user: name,
			role: "editor",
		});
	});

	it("takes `next` from the address when the form has none, and only our own paths", async () => {
		const name = await user();
		const to = async (path: string, next?: string) =>
			(
				await post(path, { username: name, password: PASSWORD, ...(next !== undefined && { next }) })
			).headers.get("location");
		expect(await to("/login?next=%2Fx")).toBe("/x");
		expect(await to("/login?next=%2F%2Fevil.example")).toBe("/");
		expect(await to("/login?next=%2Fx", "//evil.example")).toBe("/");
		expect(await to("/login", "https://evil.example/")).toBe("/");
	});

	it("shows the form again after a wrong password, with the error at its field and the name, without the password", async () => {
		const reply = await post("/login", { username: `"><b>${await user()}`, password: "wrong <wrong> wrong" });
		expect(reply.status).toBe(401);
		expect(reply.cookies).toEqual([]);
		expect(reply.body).toContain('id="password-error" role="alert">Wrong user name or password.');
		expect(reply.body).toMatch(
			/<input id="password"[^>]* value=""[^>]*aria-invalid="true" aria-describedby="password-error"/,
		);
		expect(reply.body).toContain('value="&quot;&gt;&lt;b&gt;ada-');
		expect(reply.body).not.toContain("<b>ada");
		expect(reply.body).not.toContain("wrong &lt;wrong");
	});

	it("is skipped by whoever is signed in", async () => {
		const cookie = cookieHeader((await signIn(await user())).cookies);
		const reply = await get("/login?next=%2Fx", { cookie });
		expect([reply.status, reply.headers.get("location"), reply.cookies]).toEqual([303, "/x", []]);
	});

	it("is limited together with Basic, says how long to wait, and signs nobody out", async () => {
		const name = await user();
		const cookie = cookieHeader((await signIn(name)).cookies);
		for (let count = 0; count < 5; count++) {
			await post("/login", { username: name, password: `wrong wrong ${count}` });
			await get("/whoami", basic(name, `wrong wrong ${count}`));
		}
		const reply = await signIn(name);
		expect(reply.status).toBe(429);
		expect(Number(reply.headers.get("retry-after"))).toBeGreaterThan(0);
		expect(reply.body).toMatch(/Wait <strong>(\d+ seconds|1 minute)<\/strong>/);
		expect(JSON.parse((await get("/whoami", basic(name, PASSWORD))).body)).toMatchObject({
			reason: "SIGN_IN_LIMITED",
		});
		expect(await whoIs(cookie)).toMatchObject({ user: name });
		// The browser that was signed in here before is let in while the guessing goes on; another's mark is not.
		const device = cookie.split("; ").find((one) => one.startsWith("mlgate-lab-device=")) ?? "";
		const login = { username: name, password: PASSWORD };
		expect((await post("/login", login, { cookie: device })).status).toBe(303);
		const others = cookieHeader((await signIn("root")).cookies.slice(2));
		expect((await post("/login", login, { cookie: others })).status).toBe(429);
		expect((await post("/login", login, { cookie: `${device}x` })).status).toBe(429);
	});

	it.each<[string, Record<string, string>]>([
		["another origin", { origin: "http://evil.example" }],
		["no origin of its own", { origin: "null" }],
		["another port", { origin: "http://127.0.0.1:1" }],
		["another site, says the browser", { "sec-fetch-site": "cross-site" }],
		["a sibling site, says the browser", { "sec-fetch-site": "same-site" }],
	])("is refused to a form of %s", async (_name, headers) => {
		const form = { username: "root", password: PASSWORD };
		const reply = await post("/login", form, headers);
		expect([reply.status, reply.cookies]).toEqual([403, []]);
		expect(
			(await post("/login", form, { origin: edge.origin, "sec-fetch-site": "same-origin" })).status,
		).toBe(303);
	});

	it("gives no cookie to a request with Authorization", async () => {
		for (const path of ["/login", "/logout", "/invite/x"]) {
			const reply = await post(path, { username: "root", password: PASSWORD }, basic("root", PASSWORD));
			expect([reply.status, reply.cookies]).toEqual([400, []]);
		}
		const planted = { cookie: "mlflow-request-header-Authorization=x", ...basic("root", PASSWORD) };
		expect(await get("/login", planted)).toMatchObject({ status: 400, cookies: [] });
	});
});

describe("signing out", () => {
	it("asks first, then ends the session wherever its cookie is", async () => {
		const cookie = cookieHeader((await signIn(await user())).cookies);
		const page = await get("/logout", { cookie });
		expect(page.body).toContain("Sign out?");
		expect(await whoIs(cookie)).toMatchObject({ kind: "session" });
		const csrf = /name="csrf" value="([\w-]+)"/.exec(page.body)?.[1] ?? "";
		const reply = await post("/logout", { csrf }, { cookie });
		expect([reply.status, reply.headers.get("location")]).toEqual([303, "/logout"]);
		expect(reply.cookies).toEqual([
			"mlgate-lab=; Path=/; Max-Age=0; SameSite=Lax; HttpOnly",
			"mlflow-request-header-X-CSRF-Token=; Path=/; Max-Age=0; SameSite=Lax",
		]);
		expect(await whoIs(cookie)).toMatchObject({ ok: false, reason: "SESSION_ENDED" });
		expect((await get("/logout", { cookie })).body).toContain("You are signed out");
	});

	it("works for scripts by the CSRF pair", async () => {
		const cookie = cookieHeader((await signIn(await user())).cookies);
		const csrf = /X-CSRF-Token=([\w-]+)/.exec(cookie)?.[1] ?? "";
		expect((await post("/logout", {}, { cookie, "x-csrf-token": csrf })).status).toBe(303);
		expect(await whoIs(cookie)).toMatchObject({ ok: false });
	});

	it.each<[string, Record<string, string>, Record<string, string>]>([
		["no CSRF value", {}, {}],
		["a wrong one in the form over a good header", { csrf: "A".repeat(43) }, { good: "yes" }],
		["another origin with the right value", { good: "yes" }, { origin: "http://evil.example" }],
	])("is refused with %s", async (_name, form, headers) => {
		const cookie = cookieHeader((await signIn(await user())).cookies);
		const csrf = /X-CSRF-Token=([\w-]+)/.exec(cookie)?.[1] ?? "";
		const { good: inForm, ...fields } = form;
		const { good: inHeader, ...sent } = headers;
		const reply = await post(
			"/logout",
			{ ...fields, ...(inForm && { csrf }) },
			{ cookie, ...sent, ...(inHeader && { "x-csrf-token": csrf }) },
		);
		expect([reply.status, reply.cookies]).toEqual([403, []]);
		expect(await whoIs(cookie)).toMatchObject({ kind: "session" });
	});
});

describe("one-time links", () => {
	it("invite: GET and HEAD show and spend nothing, POST signs in and goes to /", async () => {
		const name = fresh("grace");
		const { link } = await accounts.links.invite(ACTOR, { name, role: "viewer" });
		for (const method of ["GET", "HEAD", "GET"]) {
			const shown = await send(method, link.path, { server: ident });
			expect(shown.status).toBe(200);
			expect(shown.cookies).toEqual([]);
			if (method === "GET") expect(shown.body).toMatch(new RegExp(`value="${name}"[^>]* readonly`));
		}
		for (const [form, error] of [
			[{ password: "short", repeat: "short" }, "Use at least 12 characters."],
			[{ password: PASSWORD, repeat: `${PASSWORD}!` }, "The two passwords differ."],
			[{}, "Use at least 12 characters."],
		] as const) {
			const reply = await post(link.path, form, {}, ident);
			expect(reply.status).toBe(400);
			expect(reply.body).toContain(error);
			expect(reply.body).toContain('aria-invalid="true"');
		}
		const reply = await post(
			link.path,
			{ username: "root", password: PASSWORD, repeat: PASSWORD },
			{},
			ident,
		);
		expect([reply.status, reply.headers.get("location")]).toEqual([303, "/"]);
		expect(await whoIs(cookieHeader(reply.cookies))).toMatchObject({ user: name, role: "viewer" });
		const again = await get(link.path, {}, ident);
		expect(again.status).toBe(410);
		expect(again.body).toContain("Used already");
		expect((await post(link.path, { password: PASSWORD }, {}, ident)).status).toBe(410);
	});

	it("are refused to another site's form", async () => {
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
		const reply = await post(
			link.path,
			{ password: PASSWORD, repeat: PASSWORD },
			{ origin: "http://evil.example" },
		);
		expect([reply.status, reply.cookies]).toEqual([403, []]);
		expect((await get(link.path)).status).toBe(200);
	});

	it("first admin: on the loopback port alone", async () => {
		const empty = await startAccounts(await postgres.database(), { name: "empty" });
		const [near, far] = [await serve(empty, "edge"), await serve(empty, "ident")];
		const link = await empty.links.firstAdmin(ACTOR);
		const path = link?.path ?? "";
		const form = { username: "Boss", password: PASSWORD, repeat: PASSWORD };
		expect(await get(path, {}, far)).toMatchObject({
			status: 403,
			body: expect.stringContaining("on that machine"),
		});
		expect(await post(path, form, {}, far)).toMatchObject({ status: 403, cookies: [] });
		expect(await get(path, {}, near)).toMatchObject({
			status: 200,
			body: expect.stringContaining("Create the first admin"),
		});
		expect(await post(path, { ...form, username: "no good" }, {}, near)).toMatchObject({
			status: 400,
			body: expect.stringContaining('id="username-error"'),
		});
		expect(await post(path, form, {}, near)).toMatchObject({ status: 303 });
		expect(empty.users.named("boss")).toMatchObject({ role: "admin" });
		await Promise.all([near.close(), far.close()]);
		await empty.remove();
	});

	it.each([
		"/invite/",
		"/invite/x",
		`/invite/${"A".repeat(43)}`,
		"/invite/../login",
		"/invite/%00",
		"/invite/a/b",
	])("say at %s that there is no such link", async (path) => {
		const status = await new Promise((resolve) => {
			request(`${edge.origin}`, { path }, (res) => {
				res.resume();
				resolve(res.statusCode);
			}).end();
		});
		expect(status).toBe(404);
	});
});

describe("every page", () => {
	it("is guarded alike: no store, no script, no frame, no sniffing", async () => {
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
		const cookie = cookieHeader((await signIn(await user())).cookies);
		const replies = [
			await get("/login"),
			await get("/logout"),
			await get("/logout", { cookie }),
			await get(link.path),
			await get("/invite/x"),
			await post("/login", { username: "x", password: "y" }),
			await send("DELETE", "/login"),
		];
		for (const { headers, body } of replies) {
			expect(headers.get("cache-control")).toBe("no-store");
			expect(headers.get("content-security-policy")).toBe(
				"default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
			);
			expect(headers.get("x-content-type-options")).toBe("nosniff");
			expect(headers.get("x-frame-options")).toBe("DENY");
			expect(headers.get("referrer-policy")).toBe("same-origin");
			expect(headers.get("cross-origin-opener-policy")).toBe("same-origin");
			expect(body).toMatch(/^<!doctype html>\n<html lang="en">/);
			expect(body).not.toMatch(/<script|<style| style=| on\w+=/i);
			expect(body).toContain('<span class="product">mlgate</span><span class="stack">lab</span>');
		}
	});

	it("labels each field once, ties hints and errors to it, and tells password managers what it is", async () => {
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
		for (const { body } of [await get("/login"), await get(link.path), await post(link.path, {})]) {
			const ids = [...body.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
			expect(new Set(ids).size).toBe(ids.length);
			for (const [input] of body.matchAll(/<input(?! type="hidden")[^>]*>/g)) {
				const id = / id="([^"]+)"/.exec(input)?.[1];
				expect(body.split(`<label for="${id}">`)).toHaveLength(2);
				expect(input).toMatch(/ autocomplete="(username|current-password|new-password)"/);
				for (const described of (/ aria-describedby="([^"]+)"/.exec(input)?.[1] ?? "").split(" ")) {
					if (described !== "") expect(ids).toContain(described);
				}
			}
			expect(body.match(/ autofocus/g)).toHaveLength(1);
		}
	});

	it("has one style sheet, kept for ever under its hash", async () => {
		const path = /rel="stylesheet" href="([^"]+)"/.exec((await get("/login")).body)?.[1] ?? "";
		const sheet = await get(path);
		expect(sheet.status).toBe(200);
		expect(sheet.headers.get("content-type")).toBe("text/css; charset=utf-8");
		expect(sheet.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
		expect(sheet.body).not.toMatch(/url\(|@import/);
		expect((await get("/door/assets/other.css")).status).toBe(404);
		expect((await post(path, {})).status).toBe(405);
	});

	it("answers HEAD like GET, without the body", async () => {
		const [head, full] = [await send("HEAD", "/login"), await get("/login")];
		expect(head).toMatchObject({ status: 200, body: "" });
		expect(head.headers.get("content-length")).toBe(full.headers.get("content-length"));
	});

	it("takes a method it knows, a small form, and each field once", async () => {
		const method = await send("PUT", "/login", { form: {} });
		expect([method.status, method.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
		const raw = async (body: string, type = "application/x-www-form-urlencoded") =>
			(
				await fetch(`${edge.origin}/login`, {
					method: "POST",
					body,
					headers: { "content-type": type },
					redirect: "manual",
				})
			).status;
		expect(await raw("username=root", "application/json")).toBe(415);
		expect(await raw("username=root", "text/plain")).toBe(415);
		expect(await raw(`username=${"x".repeat(20_000)}`)).toBe(413);
		expect(await raw("username=root&username=ada")).toBe(400);
		expect(await raw("username=%ff%fe")).toBe(400);
		expect(await raw("username=%zz")).toBe(400);
		expect(await raw("username=a=b")).toBe(400);
		expect(await raw("&&&")).toBe(401);
		expect(await raw("__proto__=x&constructor=y")).toBe(401);
		expect(await raw(`username=root&password=${encodeURIComponent(PASSWORD)}`)).toBe(303);
	});

	it("survives clients that leave in the middle of their form", async () => {
		const { port } = new URL(edge.origin);
		const head = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
		for (const rest of [
			"Content-Length: 100\r\n\r\nusername=",
			"Transfer-Encoding: chunked\r\n\r\n5\r\nuser",
			"Content-Length: 9\r\n\r\nusername=",
		]) {
			for (let count = 0; count < 20; count++) {
				await new Promise<void>((resolve) => {
					const client = connect(Number(port), "127.0.0.1", () =>
						client.write(head + rest, () => client.resetAndDestroy()),
					);
					client.on("close", () => resolve());
					client.on("error", () => {});
				});
			}
		}
		expect((await get("/login")).status).toBe(200);
	});

	it("waits ten seconds for a form, and no longer", async () => {
		const { port } = new URL(edge.origin);
		const client = connect(Number(port), "127.0.0.1");
		client.write(
			"POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 900\r\n\r\nusername=",
		);
		const drip = setInterval(() => client.write("a"), 500);
		client.on("close", () => clearInterval(drip));
		client.on("error", () => {});
		expect(await text(client)).toMatch(/^HTTP\/1\.1 408 [\s\S]*did not arrive in time/);
		clearInterval(drip);
	});

	it("closes the connection behind a form that it did not read", async () => {
		const { port } = new URL(edge.origin);
		const client = connect(Number(port), "127.0.0.1");
		client.write(
			`POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 90000\r\n\r\n`,
		);
		client.write("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
		const answer = await text(client);
		expect(answer).toMatch(/^HTTP\/1\.1 413 .*\r\n/);
		expect(answer).toMatch(/\r\nconnection: close\r\n/i);
		expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
	});

	it("clears a planted cookie and refuses until it is gone", async () => {
		const reply = await get("/login", { cookie: "mlflow-request-header-Authorization=Bearer" });
		expect(reply.status).toBe(400);
		expect(reply.cookies).toEqual(["mlflow-request-header-Authorization=; Path=/; Max-Age=0; SameSite=Lax"]);
		expect(
			(
				await post(
					"/login",
					{ username: "root", password: PASSWORD },
					{ cookie: "mlflow-request-header-X=1" },
				)
			).status,
		).toBe(400);
	});
});

describe("while the database is away", () => {
	it("says so, signs nobody in or out by halves, and signs in again after", async () => {
		const name = await user();
		const cookie = cookieHeader((await signIn(name)).cookies);
		const csrf = /X-CSRF-Token=([\w-]+)/.exec(cookie)?.[1] ?? "";
		const { link } = await accounts.links.invite(ACTOR, { name: fresh("grace"), role: "viewer" });
		await postgres.stop();
		for (const reply of [
			await signIn(name),
			await post("/logout", { csrf }, { cookie }),
			await post(link.path, { password: PASSWORD, repeat: PASSWORD }),
		]) {
			expect([reply.status, reply.cookies]).toEqual([503, []]);
			expect(reply.headers.get("retry-after")).toBe("5");
			expect(reply.body).toContain("Not right now");
		}
		expect((await get("/login")).status).toBe(200);
		expect((await get(link.path)).status).toBe(200);
		expect(await whoIs(cookie)).toMatchObject({ user: name });
		await postgres.start();
		await expect.poll(async () => (await signIn(name)).status, { timeout: 10_000 }).toBe(303);
		expect((await post("/logout", { csrf }, { cookie })).status).toBe(303);
		expect((await post(link.path, { password: PASSWORD, repeat: PASSWORD })).status).toBe(303);
	}, 30_000);
});
