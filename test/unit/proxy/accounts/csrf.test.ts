import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import type { Identity } from "../../../../proxy/authority.ts";
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

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

let postgres: TestPostgres;
let accounts: TestAccounts;
let cookie: string;
let csrf: string;
let session: Identity;
let token: Identity;
let password: Identity;

const ORIGIN = "http://localhost:5000";

async function identify(headers: Record<string, string>): Promise<Identity> {
	const verdict = await accounts.authority.authenticate(facts(headers));
	if (!verdict.ok) throw new Error(verdict.reason);
	return verdict.identity;
}

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database());
	await accounts.users.add(ACTOR, { name: "ada", role: "admin", password: PASSWORD });
	const { id, generation } = accounts.users.named("ada");
	cookie = cookieHeader((await accounts.sessions.signIn(id, generation, facts())).cookies);
	csrf = /X-CSRF-Token=([\w-]+)/.exec(cookie)?.[1] ?? "";
	session = await identify({ cookie });
	const { text } = await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: "operator" });
	token = await identify(bearer(text));
	password = await identify(basic("ada", PASSWORD));
}, 60_000);

afterAll(async () => {
	await accounts?.remove();
	await postgres?.close();
});

const check = (identity: Identity, method: string, headers: Record<string, string>) =>
	accounts.authority.checkCsrf(facts(headers, { method }), identity);

describe("a session's unsafe request", () => {
	const good = () => ({ "x-csrf-token": csrf, origin: ORIGIN, "sec-fetch-site": "same-origin" });

	it.each<[string, string | undefined, () => Record<string, string>]>([
		["the pair, our origin, same-origin", undefined, good],
		["the pair alone (a script)", undefined, () => ({ "x-csrf-token": csrf })],
		["no header", "CSRF_TOKEN", () => ({ origin: ORIGIN, "sec-fetch-site": "same-origin" })],
		["no header, but the cookie", "CSRF_TOKEN", () => ({ origin: ORIGIN, cookie })],
		["an empty header", "CSRF_TOKEN", () => ({ ...good(), "x-csrf-token": "" })],
		["another value of the same length", "CSRF_TOKEN", () => ({ ...good(), "x-csrf-token": "A".repeat(43) })],
		[
			"the value of another session",
			"CSRF_TOKEN",
			() => ({ ...good(), "x-csrf-token": accounts.sessions.csrfToken("ses-other") }),
		],
		["the pair twice", "CSRF_TOKEN", () => ({ ...good(), "x-csrf-token": `${csrf}, ${csrf}` })],
		["another host", "CSRF_ORIGIN", () => ({ ...good(), origin: "http://evil.example:5000" })],
		["another port", "CSRF_ORIGIN", () => ({ ...good(), origin: "http://localhost:8080" })],
		["another scheme", "CSRF_ORIGIN", () => ({ ...good(), origin: "https://localhost:5000" })],
		[
			"our origin with more behind it",
			"CSRF_ORIGIN",
			() => ({ ...good(), origin: `${ORIGIN}.evil.example` }),
		],
		["a sandboxed page", "CSRF_ORIGIN", () => ({ ...good(), origin: "null" })],
		["an empty origin", "CSRF_ORIGIN", () => ({ ...good(), origin: "" })],
		["a sibling site", "CSRF_ORIGIN", () => ({ ...good(), "sec-fetch-site": "same-site" })],
		["another site", "CSRF_ORIGIN", () => ({ ...good(), "sec-fetch-site": "cross-site" })],
		["typed by hand", "CSRF_ORIGIN", () => ({ ...good(), "sec-fetch-site": "none" })],
	])("%s -> %s", (_name, reason, headers) => {
		for (const method of ["POST", "PUT", "PATCH", "DELETE"])
			expect(check(session, method, headers())).toBe(reason);
	});

	it("is none for GET, HEAD and OPTIONS", () => {
		for (const method of ["GET", "HEAD", "OPTIONS"]) {
			expect(
				check(session, method, { origin: "http://evil.example", "sec-fetch-site": "cross-site" }),
			).toBeUndefined();
		}
	});
});

describe("a token's or password's unsafe request", () => {
	it("needs nothing from a script, and must not come from another site's page", () => {
		for (const identity of [token, password]) {
			expect(check(identity, "POST", {})).toBeUndefined();
			expect(check(identity, "POST", { origin: ORIGIN, "sec-fetch-site": "same-origin" })).toBeUndefined();
			expect(check(identity, "POST", { origin: "http://evil.example" })).toBe("CSRF_ORIGIN");
			expect(check(identity, "POST", { "sec-fetch-site": "cross-site" })).toBe("CSRF_ORIGIN");
		}
	});
});

describe("cookies that MLflow's pages would turn into headers", () => {
	it.each([
		"mlflow-request-header-Authorization=Bearer x",
		"MLFLOW-request-header-authorization=x",
		"mlflow-request-header-=x",
		"mlflow-request-header-X-Forwarded-For=6.6.6.6",
		"mlflow-request-header-x-csrf-token=x",
		"mlflow-request-header-X-CSRF-Token =one; mlflow-request-header-X-CSRF-Token=two",
		"mlflow-request-header-X-CSRF-Token=one; mlflow-request-header-X-CSRF-Token=two",
	])("%s is refused, with any credential and with none", async (planted) => {
		const refused = { ok: false, presented: true, reason: "HEADER_COOKIE" };
		for (const headers of [
			{ cookie: planted },
			{ cookie: `${cookie}; ${planted}` },
			{ cookie: planted, ...basic("ada", PASSWORD) },
		]) {
			expect(await accounts.authority.authenticate(facts(headers))).toEqual(refused);
		}
	});

	it("are cleared host-only and for each parent domain, but never in answer to Authorization", () => {
		const origin = "https://node.tail1234.ts.net:8443";
		const planted = { cookie: "mlflow-request-header-Authorization=x; mlflow-request-header-Bad Name=x" };
		expect(accounts.authority.clearPlanted(facts(planted, { origin }))).toEqual([
			"mlflow-request-header-Authorization=; Path=/; Max-Age=0; SameSite=Lax; Secure",
			"mlflow-request-header-Authorization=; Domain=node.tail1234.ts.net; Path=/; Max-Age=0",
			"mlflow-request-header-Authorization=; Domain=tail1234.ts.net; Path=/; Max-Age=0",
			"mlflow-request-header-Authorization=; Domain=ts.net; Path=/; Max-Age=0",
		]);
		expect(accounts.authority.clearPlanted(facts(planted))).toHaveLength(1);
		expect(accounts.authority.clearPlanted(facts(planted, { origin: "http://127.0.0.1:5000" }))).toHaveLength(
			1,
		);
		expect(
			accounts.authority.clearPlanted(facts({ ...planted, ...basic("ada", PASSWORD) }, { origin })),
		).toEqual([]);
	});
});

describe("the CSRF cookie", () => {
	it("is given again to a session that lost it to another stack on the same host", () => {
		const lost = cookie.replace(csrf, "A".repeat(43));
		const given = [
			expect.stringMatching(
				new RegExp(`^mlflow-request-header-X-CSRF-Token=${csrf}; Path=/; Max-Age=\\d+; SameSite=Lax$`),
			),
		];
		expect(accounts.authority.setCookies(facts({ cookie: lost }), session)).toEqual(given);
		expect(accounts.authority.setCookies(facts({}), session)).toEqual(given);
		expect(accounts.authority.setCookies(facts({ cookie }), session)).toEqual([]);
	});

	it("is never given to Authorization requests", () => {
		expect(accounts.authority.setCookies(facts(basic("ada", PASSWORD)), password)).toEqual([]);
		expect(accounts.authority.setCookies(facts(basic("ada", PASSWORD)), session)).toEqual([]);
		expect(accounts.authority.setCookies(facts(bearer("x")), token)).toEqual([]);
	});
});
