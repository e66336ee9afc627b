/** A real door with an `ident` and an `edge` listener and real accounts: what each believes of what a client says. */
import { request as ask } from "node:http";
import pino from "pino";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ROLE_CAPABILITY } from "../../../../infra/contract.ts";
import { type Door, openDoor } from "../../../../proxy/door.ts";
import type { Role } from "../../../../proxy/roles.ts";
import {
	ACTOR,
	basic,
	bearer,
	PASSWORD,
	startAccounts,
	type TestAccounts,
} from "../../../support/accounts.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";
import { Upstream } from "../support.ts";

// A busy machine hashes slowly.
vi.setConfig({ testTimeout: 60_000 });

const PUBLIC = "gw.tail-scale.ts.net:8443";
const LOCAL = "localhost:5000";
const ORIGIN = `https://${PUBLIC}`;
const MEMBER = {
	"tailscale-user-login": "ada@example.org",
	"tailscale-headers-info": "https://tailscale.com/s/serve-headers",
	"x-forwarded-for": "100.64.0.7",
};
const FUNNEL = { "tailscale-funnel-request": "?1", "x-forwarded-for": "203.0.113.7" };
const READ = "/api/2.0/mlflow/experiments/search?max_results=1";
const WRITE = "/api/2.0/mlflow/experiments/create";
const BODY = '{"name":"a"}';

let postgres: TestPostgres;
let accounts: TestAccounts;
let upstream: Upstream;
let door: Door;
let editor: string;
const ports: Record<string, number> = {};
/** Where the gateway is said to be. */
let gateway = "127.0.0.1";
/** The door looks for it with each request. */
let minutes = 0;

beforeAll(async () => {
	postgres = await startPostgres();
	accounts = await startAccounts(await postgres.database(), {
		tailnet: {
			roles: { "ada@example.org": "editor", "@example.org": "viewer", "root@example.org": "admin" },
		},
	});
	await accounts.users.add(ACTOR, { name: "grace", role: "editor", password: PASSWORD });
	editor = (await accounts.tokens.create(ACTOR, { name: "ci", role: "editor", user: "operator" })).text;
	upstream = new Upstream();
	door = await openDoor({
		settings: {
			listeners: [
				{ name: "edge", bind: "127.0.0.1", port: 0, hosts: [LOCAL] },
				{ name: "ident", bind: "127.0.0.1", port: 0, hosts: ["door-ident:5000"] },
			],
			mlflow: { url: `http://127.0.0.1:${await upstream.listen()}` },
			metrics: undefined,
			name: "lab",
			tailnet: { gateway: "tailscale", roles: {} },
			drainSeconds: 1,
			holdSeconds: 1,
		},
		authority: accounts.authority,
		pages: accounts.pages,
		audit: accounts.audit,
		log: pino({ level: "silent" }),
		publicName: { host: PUBLIC },
		gateway: { lookup: async () => [gateway], now: () => ++minutes * 60_000 },
	});
	for (const { name, port } of door.listeners) ports[name] = port;
}, 60_000);

afterAll(async () => {
	await door?.stop();
	await upstream?.close();
	await accounts?.remove();
	await postgres?.close();
});

interface Said {
	status: number;
	headers: Record<string, string | string[] | undefined>;
	text: string;
	error: string | undefined;
}

function send(
	listener: "edge" | "ident",
	path: string,
	headers: Record<string, string | readonly string[] | undefined>,
	{ method = "GET", body = "" } = {},
): Promise<Said> {
	const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value !== undefined));
	return new Promise((resolve, reject) => {
		const req = ask(
			{
				host: "127.0.0.1",
				port: ports[listener],
				path,
				method,
				headers: { host: listener === "ident" ? PUBLIC : LOCAL, ...given } as never,
			},
			(res) => {
				let text = "";
				res.setEncoding("utf8").on("data", (chunk) => {
					text += chunk;
				});
				res.on("end", () =>
					resolve({
						status: res.statusCode ?? 0,
						headers: res.headers,
						text,
						error: res.headers["x-door-error"] as string | undefined,
					}),
				);
			},
		);
		req.on("error", reject);
		req.end(body);
	});
}

const whoami = async (listener: "edge" | "ident", headers: Record<string, string | undefined>) => {
	const { status, text } = await send(listener, "/door/whoami", headers);
	return status === 200 ? JSON.parse(text) : status;
};
const create = (headers: Record<string, string | undefined>) =>
	send("ident", WRITE, { "content-type": "application/json", ...headers }, { method: "POST", body: BODY });

describe("a member of the tailnet", () => {
	it("is signed in by who they are, with the role of the settings, and is told so", async () => {
		expect(await whoami("ident", MEMBER)).toEqual({
			user: "ada@example.org",
			role: "editor",
			kind: "tailnet",
			credential: "tailnet:ada@example.org",
		});
		expect(await whoami("ident", { ...MEMBER, "tailscale-user-login": "bob@example.org" })).toMatchObject({
			role: "viewer",
		});
	});

	it("may do what the role may, and no more", async () => {
		expect((await create(MEMBER)).status).toBe(200);
		const viewer = { ...MEMBER, "tailscale-user-login": "bob@example.org" };
		expect((await send("ident", READ, viewer)).status).toBe(200);
		expect(await create(viewer)).toMatchObject({ status: 403, error: "ROLE_EDITOR" });
		expect(
			await send("ident", "/api/2.0/mlflow/registered-models/delete", MEMBER, { method: "DELETE" }),
		).toMatchObject({
			status: 403,
			error: "ROLE_ADMIN",
		});
	});

	it("whom the settings do not name is a stranger", async () => {
		expect(await whoami("ident", { ...MEMBER, "tailscale-user-login": "eve@example.com" })).toBe(401);
	});

	it("whose user was disabled does not come back through the tailnet", async () => {
		await accounts.users.add(ACTOR, { name: "dan@example.org", role: "editor", password: PASSWORD });
		await accounts.users.disable(ACTOR, "dan@example.org");
		expect(await send("ident", READ, { ...MEMBER, "tailscale-user-login": "dan@example.org" })).toMatchObject(
			{
				status: 401,
				error: "USER_DISABLED",
			},
		);
	});

	it("has no more than a user of that name has", async () => {
		await accounts.users.add(ACTOR, { name: "root@example.org", role: "viewer", password: PASSWORD });
		expect(await whoami("ident", { ...MEMBER, "tailscale-user-login": "root@example.org" })).toMatchObject({
			role: "viewer",
		});
	});

	it("who sends a credential has what that one gives, and nothing where it is refused", async () => {
		expect(await whoami("ident", { ...MEMBER, ...bearer(editor) })).toMatchObject({ kind: "token" });
		for (const refused of [bearer("nonsense"), basic("grace", "wrong"), { cookie: "__Host-mlgate=nonsense" }])
			expect(await whoami("ident", { ...MEMBER, ...refused })).toBe(401);
	});

	it("is in the audit trail by login, with the address in the tailnet", async () => {
		const told: unknown[] = [];
		const { answered } = accounts.audit;
		const spy = vi.spyOn(accounts.audit, "answered").mockImplementation((request) => {
			told.push(request);
			answered(request);
		});
		await create(MEMBER);
		spy.mockRestore();
		expect(told).toMatchObject([
			{
				identity: { user: "ada@example.org", kind: "tailnet", credential: "tailnet:ada@example.org" },
				address: "100.64.0.7",
				listener: "ident",
			},
		]);
	});

	it("sees who they are at /account, and that tokens belong to accounts", async () => {
		const { status, text } = await send("ident", "/account", { ...MEMBER, accept: "text/html" });
		expect(status).toBe(200);
		expect(text).toContain("ada@example.org");
		expect(text).toContain("tailnet");
	});
});

describe("a member with a grant of the tailnet's policy", () => {
	const member = (login: string, role: string) => ({
		...MEMBER,
		"tailscale-user-login": login,
		"tailscale-app-capabilities": grant(role),
	});

	it("has its role, and is told, shown and written down as such", async () => {
		expect(await whoami("ident", member("eve@example.com", "editor"))).toEqual({
			user: "eve@example.com",
			role: "editor",
			kind: "tailnet",
			credential: "grant:eve@example.com",
			granted: "editor",
		});
		const told: unknown[] = [];
		const spy = vi.spyOn(accounts.audit, "answered").mockImplementation((request) => void told.push(request));
		expect((await create(member("eve@example.com", "editor"))).status).toBe(200);
		spy.mockRestore();
		expect(told).toMatchObject([{ identity: { credential: "grant:eve@example.com", role: "editor" } }]);
		const page = await send("ident", "/account", {
			...member("eve@example.com", "viewer"),
			accept: "text/html",
		});
		expect(page.text).toContain("eve@example.com, viewer, by a grant of the tailnet");
	});

	it("goes on as long as it is told with each request", async () => {
		expect(await create(member("eve@example.com", "viewer"))).toMatchObject({ error: "ROLE_EDITOR" });
		expect(await whoami("ident", { ...MEMBER, "tailscale-user-login": "eve@example.com" })).toBe(401);
	});

	it("is no admin, has its own row's role where it has one, and its domain's only without a grant", async () => {
		expect(await whoami("ident", member("eve@example.com", "admin"))).toBe(401);
		expect(await whoami("ident", member("ada@example.org", "viewer"))).toMatchObject({
			role: "editor",
			credential: "tailnet:ada@example.org",
		});
		expect(await whoami("ident", member("bob@example.org", "editor"))).toMatchObject({
			role: "editor",
			credential: "grant:bob@example.org",
		});
	});

	it("has no more than a user of that name has, and nothing where that one is disabled", async () => {
		await accounts.users.add(ACTOR, { name: "low@example.com", role: "viewer", password: PASSWORD });
		expect(await whoami("ident", member("low@example.com", "editor"))).toMatchObject({ role: "viewer" });
		await accounts.users.disable(ACTOR, "low@example.com");
		expect(await whoami("ident", member("low@example.com", "editor"))).toBe(401);
	});

	it("goes on with what runs, and not with more than was granted", () => {
		const identity = {
			kind: "tailnet",
			user: "eve@example.com",
			credential: "grant:eve@example.com",
		} as const;
		const valid = (more: { role: Role; granted?: "viewer" | "editor" }) =>
			accounts.authority.stillValid({ ...identity, ...more });
		expect(valid({ role: "editor", granted: "editor" })).toBe(true);
		expect(valid({ role: "editor", granted: "viewer" })).toBe(false);
		expect(valid({ role: "viewer" })).toBe(false);
	});
});

describe("a stranger from the public", () => {
	it("gets the login page in a browser and 401 on API paths", async () => {
		const page = await send("ident", "/", { ...FUNNEL, accept: "text/html", "sec-fetch-mode": "navigate" });
		expect(page).toMatchObject({ status: 303, headers: { location: "/login?next=%2F" } });
		expect((await send("ident", "/login", FUNNEL)).status).toBe(200);
		expect(await send("ident", READ, FUNNEL)).toMatchObject({ status: 401, error: "NO_CREDENTIAL" });
	});

	it("is counted and written down by the address that the relay saw", async () => {
		const told: { address: string }[] = [];
		const spy = vi.spyOn(accounts.audit, "answered").mockImplementation((request) => void told.push(request));
		await send("ident", READ, FUNNEL);
		spy.mockRestore();
		expect(told).toMatchObject([{ address: "203.0.113.7" }]);
	});

	it("signs in with cookies that only this host sends, and only by https", async () => {
		const form = `username=grace&password=${encodeURIComponent(PASSWORD)}`;
		const { status, headers } = await send(
			"ident",
			"/login",
			{ ...FUNNEL, origin: ORIGIN, "content-type": "application/x-www-form-urlencoded" },
			{ method: "POST", body: form },
		);
		expect(status).toBe(303);
		const cookies = headers["set-cookie"] as string[];
		expect(cookies[0]).toMatch(/^__Host-mlgate=.*; Secure; HttpOnly$/);
		for (const cookie of cookies) expect(cookie).toContain("; Secure");
	});

	it("who guesses passwords waits alone: the address of the relay's client counts", async () => {
		const limits = { ...FUNNEL, "x-forwarded-for": "198.51.100.1" };
		for (let i = 0; i < 11; i++) await send("ident", READ, { ...limits, ...basic("grace", `wrong ${i}`) });
		expect((await send("ident", READ, { ...limits, ...basic("grace", "wrong") })).error).toBe(
			"SIGN_IN_LIMITED",
		);
		expect((await send("ident", READ, { ...FUNNEL, ...basic("grace", PASSWORD) })).status).toBe(200);
	});
});

const grant = (role: string) => JSON.stringify({ [ROLE_CAPABILITY]: [{ role }] });

/** What a client may add to its own request. Tailscale passes on all of it but its own names. */
const SPOOFS: Record<string, Record<string, string | readonly string[]>> = {
	"the identity headers": MEMBER,
	"them, for an admin": { ...MEMBER, "tailscale-user-login": "root@example.org" },
	"twins with underscores": { tailscale_user_login: "ada@example.org", tailscale_headers_info: "x" },
	"mixed twins": { "tailscale-user_login": "ada@example.org", "tailscale-headers-info": "x" },
	"headers of other proxies": {
		"x-forwarded-user": "ada@example.org",
		"x-remote-user": "ada@example.org",
		"remote-user": "ada@example.org",
		"x-auth-request-email": "ada@example.org",
		"x-webauth-user": "ada@example.org",
		"x-real-ip": "100.64.0.7",
		forwarded: "for=100.64.0.7;proto=https",
		"cf-connecting-ip": "100.64.0.7",
	},
	"a Connection header that strips the funnel's": { connection: "Tailscale-Funnel-Request, X-Forwarded-For" },
	"a capability": { "tailscale-app-capabilities": grant("admin") },
	"a capability beside a login": { ...MEMBER, "tailscale-app-capabilities": grant("editor") },
	"a capability with underscores": { tailscale_app_capabilities: grant("editor") },
	"two addresses": { "x-forwarded-for": "100.64.0.7, 203.0.113.7" },
	"the login twice": { ...MEMBER, "tailscale-user-login": ["ada@example.org", "ada@example.org"] },
	"the forwarded address twice": { ...MEMBER, "x-forwarded-for": ["100.64.0.7", "100.64.0.7"] },
};

describe("spoofed identity", () => {
	it.each(Object.keys(SPOOFS))("%s gains nothing on the local port", async (what) => {
		const said = await send("edge", READ, SPOOFS[what] ?? {});
		expect([400, 401]).toContain(said.status);
		expect([400, 401]).toContain((await send("edge", "/door/whoami", SPOOFS[what] ?? {})).status);
	});

	it.each(Object.keys(SPOOFS))("%s gains nothing through Funnel", async (what) => {
		// What tailscaled sets itself is set over what the client sent, as it does.
		const spoof = SPOOFS[what] ?? {};
		const forwarded = what.includes("address") ? spoof["x-forwarded-for"] : FUNNEL["x-forwarded-for"];
		const said = await send("ident", READ, { ...spoof, ...FUNNEL, "x-forwarded-for": forwarded });
		expect([400, 401]).toContain(said.status);
	});

	it("a forged funnel header on the local port changes nothing for who has a token", async () => {
		expect((await send("edge", READ, { ...FUNNEL, ...bearer(editor) })).status).toBe(200);
	});

	it("the right headers from another address than the gateway's are refused, with a token, too", async () => {
		gateway = "127.0.0.99";
		try {
			for (const headers of [MEMBER, FUNNEL, { ...MEMBER, ...bearer(editor) }])
				expect(await send("ident", READ, headers)).toMatchObject({ status: 403, error: "GATEWAY_ONLY" });
		} finally {
			gateway = "127.0.0.1";
		}
	});

	it.each([
		LOCAL,
		"door-ident:5000",
		"door-ident.evil.example",
		"gw.tail-scale.ts.net",
		"gw.tail-scale.ts.net:443",
		"evil.ts.net:8443",
		"",
	])("Host %j is none of the node's names", async (host) => {
		expect(await send("ident", READ, { ...MEMBER, host })).toMatchObject({
			status: 400,
			error: "HOST_UNKNOWN",
		});
	});

	it("the public name means nothing on the local port", async () => {
		expect(await send("edge", READ, { host: PUBLIC })).toMatchObject({ status: 400, error: "HOST_UNKNOWN" });
	});
});

describe("a page of another site in a member's browser", () => {
	const BROWSER = { "sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "user-agent": "Mozilla/5.0" };
	const OWN = { ...MEMBER, ...BROWSER, "sec-fetch-site": "same-origin", origin: ORIGIN };

	const pair = async () => {
		const { headers } = await send("ident", READ, { ...MEMBER, ...BROWSER, "sec-fetch-site": "same-origin" });
		const [cookie = ""] = (headers["set-cookie"] as string[]) ?? [];
		return { cookie: cookie.split(";")[0] ?? "", token: /X-CSRF-Token=([^;]*)/.exec(cookie)?.[1] ?? "" };
	};

	it("our own page writes with the pair that it was given", async () => {
		const { cookie, token } = await pair();
		expect(token).not.toBe("");
		expect((await create({ ...OWN, cookie, "x-csrf-token": token })).status).toBe(200);
	});

	it.each<[string, Record<string, string>]>([
		[
			"by a form",
			{ origin: "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" },
		],
		["by fetch", { origin: "https://evil.example", "sec-fetch-site": "cross-site" }],
		["of a sibling host", { origin: "https://other.tail-scale.ts.net", "sec-fetch-site": "same-site" }],
		[
			"of another port of the node",
			{ origin: "https://gw.tail-scale.ts.net", "sec-fetch-site": "same-site" },
		],
		["in a sandbox", { origin: "null", "sec-fetch-site": "cross-site" }],
		["in a browser that sends Origin alone", { origin: "https://evil.example" }],
	])("%s writes nothing, even with the right pair", async (_how, headers) => {
		const { cookie, token } = await pair();
		for (const more of [{}, { cookie }, { cookie, "x-csrf-token": token }])
			expect(await create({ ...MEMBER, ...BROWSER, ...headers, ...more })).toMatchObject({
				status: 403,
				error: "CSRF_ORIGIN",
			});
	});

	it("without the pair nothing that a browser sends is written", async () => {
		const { cookie } = await pair();
		const other = accounts.sessions.csrfToken("tailnet:bob@example.org");
		for (const more of [{}, { cookie }, { "x-csrf-token": "A".repeat(43) }, { "x-csrf-token": other }])
			expect(await create({ ...OWN, ...more })).toMatchObject({ status: 403, error: "CSRF_TOKEN" });
		// One mark of a browser is enough to be one.
		for (const mark of [
			{ origin: ORIGIN },
			{ cookie: "a=b" },
			{ "sec-fetch-site": "same-origin" },
			{ "sec-fetch-dest": "empty" },
		])
			expect(await create({ ...MEMBER, ...mark })).toMatchObject({ status: 403, error: "CSRF_TOKEN" });
	});

	it.each<[string, Record<string, string>]>([
		[
			"a WebSocket",
			{ origin: "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "websocket" },
		],
		["an old browser's WebSocket", { origin: "https://evil.example" }],
		["a frame", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" }],
		["a picture", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" }],
		[
			"a sibling's fetch",
			{ "sec-fetch-site": "same-site", "sec-fetch-mode": "cors", origin: "https://x.tail-scale.ts.net" },
		],
	])("%s reads nothing", async (_how, headers) => {
		expect(await send("ident", READ, { ...MEMBER, ...headers })).toMatchObject({
			status: 401,
			error: "NO_CREDENTIAL",
		});
	});

	it("a link that is followed opens the page", async () => {
		const followed = {
			"sec-fetch-site": "cross-site",
			"sec-fetch-mode": "navigate",
			"sec-fetch-dest": "document",
		};
		expect((await send("ident", "/", { ...MEMBER, ...followed, accept: "text/html" })).status).toBe(200);
	});

	it("a script of a member's gets no cookie, which would make it look like a browser", async () => {
		expect((await send("ident", READ, MEMBER)).headers["set-cookie"]).toBeUndefined();
		expect((await create(MEMBER)).status).toBe(200);
	});
});
