import { describe, expect, it } from "vitest";
import { ROLE_CAPABILITY } from "../../../../infra/contract.ts";
import { callerOf } from "../../../../proxy/tailnet/caller.ts";
import { Gateway } from "../../../../proxy/tailnet/gateway.ts";
import { Members } from "../../../../proxy/tailnet/members.ts";

const PEER = "172.20.0.3";
const MEMBER = {
	"tailscale-user-login": "ada@example.org",
	"tailscale-user-name": "Ada",
	"tailscale-headers-info": "https://tailscale.com/s/serve-headers",
	"x-forwarded-for": "100.64.0.7",
};
const without = (name: keyof typeof MEMBER) => ({ ...MEMBER, [name]: undefined });

describe("who stands behind a request of the gateway", () => {
	it("is a member of the tailnet, with an address there", () => {
		expect(callerOf(MEMBER, PEER)).toEqual({ address: "100.64.0.7", login: "ada@example.org" });
		const v6 = { ...MEMBER, "x-forwarded-for": "fd7a:115c:a1e0::7" };
		expect(callerOf(v6, PEER)).toEqual({ address: "fd7a:115c:a1e0::7", login: "ada@example.org" });
	});

	it("has one spelling, whatever the identity provider writes", () => {
		const caller = callerOf({ ...MEMBER, "tailscale-user-login": "Ada@Example.ORG" }, PEER);
		expect(caller.login).toBe("ada@example.org");
	});

	it("is the public client that the relay has seen", () => {
		const headers = { "tailscale-funnel-request": "?1", "x-forwarded-for": "203.0.113.7" };
		expect(callerOf(headers, PEER)).toEqual({ address: "203.0.113.7" });
	});

	it.each<[string, Record<string, string | undefined>]>([
		["a login that came through Funnel", { ...MEMBER, "tailscale-funnel-request": "?1" }],
		[
			"one that came through Funnel, which says that it did not",
			{ ...MEMBER, "tailscale-funnel-request": "?0" },
		],
		["one with an empty funnel header", { ...MEMBER, "tailscale-funnel-request": "" }],
		["a login without what Tailscale says of its headers", without("tailscale-headers-info")],
		["a tagged node, which has no login", without("tailscale-user-login")],
		[
			"a name without a login",
			{ ...without("tailscale-user-login"), "tailscale-user-name": "ada@example.org" },
		],
		["a login from a public address", { ...MEMBER, "x-forwarded-for": "203.0.113.7" }],
		["one from beside the tailnet's addresses", { ...MEMBER, "x-forwarded-for": "100.128.0.1" }],
		["one from another local IPv6 network", { ...MEMBER, "x-forwarded-for": "fd7a:115c:a1e1::7" }],
		["one from nowhere", without("x-forwarded-for")],
		["one from a name", { ...MEMBER, "x-forwarded-for": "localhost" }],
		["one from two addresses", { ...MEMBER, "x-forwarded-for": "100.64.0.7, 203.0.113.7" }],
		["one from two of the tailnet's", { ...MEMBER, "x-forwarded-for": "100.64.0.7, 100.64.0.8" }],
		["one with a port", { ...MEMBER, "x-forwarded-for": "100.64.0.7:1234" }],
		["two logins in one header", { ...MEMBER, "tailscale-user-login": "eve@example.com, ada@example.org" }],
		["a login with two domains", { ...MEMBER, "tailscale-user-login": "eve@example.com@example.org" }],
		["a bare domain", { ...MEMBER, "tailscale-user-login": "@example.org" }],
		["an encoded login", { ...MEMBER, "tailscale-user-login": "=?utf-8?q?ada=40example.org?=" }],
		["an empty login", { ...MEMBER, "tailscale-user-login": "" }],
		[
			"an app's capability in place of a login",
			{ ...without("tailscale-user-login"), "tailscale-app-capabilities": '{"x":[{"role":"admin"}]}' },
		],
	])("is nobody: %s", (_what, headers) => {
		expect(callerOf(headers, PEER).login).toBeUndefined();
	});

	it("is counted by the gateway's address where no other was told", () => {
		for (const forwarded of [undefined, "", "unknown", "1.2.3.4, 5.6.7.8", "1.2.3.4:80", "999.1.1.1"])
			expect(callerOf({ "x-forwarded-for": forwarded }, PEER)).toEqual({ address: PEER });
	});
});

describe("a role by a grant", () => {
	const granting = (...values: unknown[]) => JSON.stringify({ [ROLE_CAPABILITY]: values });
	const granted = (header: string, more: Record<string, string> = {}) =>
		callerOf({ ...MEMBER, "tailscale-app-capabilities": header, ...more }, PEER).granted;

	it("is the highest that Tailscale tells of", () => {
		expect(granted(granting({ role: "viewer" }))).toBe("viewer");
		expect(granted(granting({ role: "editor" }))).toBe("editor");
		expect(granted(granting({ role: "viewer" }, { role: "editor", more: 1 }, { role: "nonsense" }))).toBe(
			"editor",
		);
	});

	it.each<[string, string]>([
		["admin", granting({ role: "admin" })],
		[
			"another role",
			granting({ role: "Editor" }, { role: ["editor"] }, { role: null }, {}, "editor", 1, null),
		],
		["no value", granting()],
		["no list", JSON.stringify({ [ROLE_CAPABILITY]: { role: "editor" } })],
		["another capability", '{"example.org/cap/mlgate":[{"role":"editor"}],"mlgate":[{"role":"editor"}]}'],
		["nothing", ""],
		["what is no JSON", "editor"],
		["two headers as one", `${granting({ role: "editor" })}, ${granting({ role: "editor" })}`],
		["an encoded one", "=?utf-8?q?{}?="],
		...["null", "[]", "1", '"editor"'].map((json) => [json, json] as [string, string]),
	])("is none for %s", (_what, header) => {
		expect(callerOf({ ...MEMBER, "tailscale-app-capabilities": header }, PEER)).toEqual({
			address: "100.64.0.7",
			login: "ada@example.org",
		});
	});

	it("is for members alone: not through Funnel, not for a node with a tag", () => {
		const header = granting({ role: "editor" });
		expect(granted(header, { "tailscale-funnel-request": "?1" })).toBeUndefined();
		const { "tailscale-user-login": _, ...tagged } = MEMBER;
		expect(callerOf({ ...tagged, "tailscale-app-capabilities": header }, PEER)).toEqual({
			address: "100.64.0.7",
		});
	});
});

describe("the gateway", () => {
	const request = (remoteAddress: string) => ({ headers: MEMBER, socket: { remoteAddress } }) as never;
	const log = { warn: () => {} };

	it("is who has its name's address, and nobody else", async () => {
		const gateway = new Gateway({ host: "tailscale", log, lookup: async () => [PEER] });
		expect(await gateway.caller(request(PEER))).toMatchObject({ login: "ada@example.org" });
		for (const other of ["172.20.0.1", "172.20.0.4", "127.0.0.1", "", `::ffff:${PEER}`])
			expect(await gateway.caller(request(other)), other).toBeUndefined();
	});

	it("is known again at its new address when it was made anew, and not at its old one", async () => {
		let [address, now] = [PEER, 0];
		const gateway = new Gateway({ host: "tailscale", log, lookup: async () => [address], now: () => now });
		expect(await gateway.caller(request(PEER))).toBeDefined();
		address = "172.20.0.9";
		now += 1_001;
		expect(await gateway.caller(request(address))).toBeDefined();
		expect(await gateway.caller(request(PEER))).toBeUndefined();
	});

	it("is nobody while its name leads nowhere", async () => {
		let gone = false;
		let now = 0;
		const lookup = async () => {
			if (gone) throw new Error("ENOTFOUND");
			return [PEER];
		};
		const gateway = new Gateway({ host: "tailscale", log, lookup, now: () => now });
		expect(await gateway.caller(request(PEER))).toBeDefined();
		gone = true;
		now += 60_000;
		expect(await gateway.caller(request(PEER))).toBeUndefined();
	});

	it("is not looked up again for each request of a stranger", async () => {
		let looks = 0;
		const lookup = async () => {
			looks++;
			return [PEER];
		};
		const gateway = new Gateway({ host: "tailscale", log, lookup, now: () => 0 });
		await Promise.all(Array.from({ length: 50 }, () => gateway.caller(request("172.20.0.4"))));
		expect(looks).toBe(1);
	});
});

describe("the role of a member", () => {
	const members = new Members({
		"@example.org": "viewer",
		"ada@example.org": "admin",
		"eve@example.com": "editor",
	});

	it.each([
		["ada@example.org", "admin"],
		["bob@example.org", "viewer"],
		["eve@example.com", "editor"],
		["bob@example.com", undefined],
		["bob@sub.example.org", undefined],
		["bob@notexample.org", undefined],
		["bob@example.org.evil.example", undefined],
	])("%s -> %s", (login, role) => expect(members.roleOf(login)?.role).toBe(role));

	it.each([
		["has an own row, whatever the grant", "ada@example.org", "viewer", { role: "admin", byGrant: false }],
		["has an own row, less than the grant", "low@example.org", "editor", { role: "viewer", byGrant: false }],
		["is of a domain that is named", "bob@example.org", "editor", { role: "editor", byGrant: true }],
		["is named nowhere", "bob@example.com", "viewer", { role: "viewer", byGrant: true }],
	] as const)("of a grant, for who %s", (_who, login, granted, expected) => {
		const named = {
			"@example.org": "viewer",
			"ada@example.org": "admin",
			"low@example.org": "viewer",
		} as const;
		expect(new Members(named).roleOf(login, granted)).toEqual(expected);
	});
});
