import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { OpsError } from "../../../../ops/lib/errors.ts";
import { tailnetRecord } from "../../../../ops/lib/paths.ts";
import { silent } from "../../../../ops/lib/report.ts";
import { TailnetApi } from "../../../../ops/lib/tailnet/api.ts";
import type { Consent } from "../../../../ops/lib/tailnet/consent.ts";
import { missing } from "../../../../ops/lib/tailnet/policy.ts";
import { preparePolicy, prepareSwitches } from "../../../../ops/lib/tailnet/prepare.ts";
import { withdraw } from "../../../../ops/lib/tailnet/withdraw.ts";
import {
	API_TOKEN,
	type FakeApi,
	OAUTH_SECRET,
	startTailscaleApi,
	type Tailnet,
} from "../../../support/tailscale-api.ts";

const WANTED = { tag: "tag:mlflow-gateway", members: false };

const POLICY = `{
	// Ask Ada first.
	"tagOwners": {
		"tag:ci": ["autogroup:admin"], // the build machines
	},
	"acls": [{ "action": "accept", "src": ["*"], "dst": ["*:*"] }],
}
`;

let fake: FakeApi;
let checkout: string;
let notes: string[];
let asked: string[];

const report = { ...silent, note: (text: string) => void notes.push(text) };
const ref = () => ({ checkout, stack: "local" });

const YES: Consent = { yes: true, interactive: false, ask: () => Promise.reject(new Error("asked")) };
const NOBODY: Consent = { ...YES, yes: false };
const person = (answer: boolean): Consent => ({
	yes: false,
	interactive: true,
	ask: async (question) => asked.push(question) > 0 && answer,
});

async function begin(tailnet: Partial<Tailnet> = {}, credentials = API_TOKEN): Promise<TailnetApi> {
	fake = await startTailscaleApi({ policy: POLICY, ...tailnet });
	vi.stubEnv("TAILSCALE_BASE_URL", fake.url);
	return TailnetApi.open(credentials);
}

const prepare = (api: TailnetApi, consent: Consent = YES) =>
	preparePolicy(api, WANTED, ref(), report, consent);

const problem = async (work: Promise<unknown>) => {
	const error = await work.then(
		() => undefined,
		(reason: unknown) => reason,
	);
	expect(error).toBeInstanceOf(OpsError);
	return (error as OpsError).problem;
};

const writes = () => fake.calls.filter((call) => /^(POST|PATCH) (?!acl\/validate|oauth)/.test(call));

beforeEach(() => {
	checkout = mkdtempSync(join(tmpdir(), "mlgate-tailnet-"));
	[notes, asked] = [[], []];
});

afterEach(async () => {
	vi.unstubAllEnvs();
	rmSync(checkout, { recursive: true, force: true });
	await fake.close();
});

describe("the policy before a node joins", () => {
	it("gets what it lacks, shown first, validated, with every comment where it was", async () => {
		await prepare(await begin());
		expect(fake.calls).toEqual(["GET acl", "POST acl/validate", "POST acl"]);
		expect(missing(fake.tailnet.policy, WANTED)).toEqual([]);
		expect(fake.tailnet.policy).toContain('"tag:ci": ["autogroup:admin"], // the build machines');
		expect(notes[0]).toContain('  +\t\t"tag:mlflow-gateway": ["autogroup:admin"],\n');
		expect(notes[0]).not.toMatch(/^ {2}-/m);
	});

	it("is left alone the second time", async () => {
		const api = await begin();
		await prepare(api);
		const after = fake.tailnet.policy;
		fake.calls.length = 0;
		await prepare(api, NOBODY);
		expect(fake.calls).toEqual(["GET acl"]);
		expect(fake.tailnet.policy).toBe(after);
	});

	it("is changed with an OAuth client as well", async () => {
		await prepare(await begin({}, OAUTH_SECRET));
		expect(fake.calls).toEqual(["POST oauth/token", "GET acl", "POST acl/validate", "POST acl"]);
		expect(missing(fake.tailnet.policy, WANTED)).toEqual([]);
	});

	it("is changed if the person says yes, and not if they say no", async () => {
		const api = await begin();
		const { code, fix } = await problem(prepare(api, person(false)));
		expect(code).toBe("TAILNET_POLICY_INCOMPLETE");
		expect(fix).toContain('"nodeAttrs": [ { "target": ["tag:mlflow-gateway"], "attr": ["funnel"] } ],');
		expect(writes()).toEqual([]);
		await prepare(api, person(true));
		expect(writes()).toEqual(["POST acl"]);
		expect(asked).toHaveLength(2);
	});

	it("is not changed where nobody can be asked: what to paste and where is said", async () => {
		const { code, kind, why, fix } = await problem(prepare(await begin(), NOBODY));
		expect([code, kind]).toEqual(["TAILNET_POLICY_INCOMPLETE", "precondition"]);
		expect(why).toContain("--yes");
		expect(fix).toContain("https://login.tailscale.com/admin/acls/file");
		expect(fix).toContain('"tagOwners": { "tag:mlflow-gateway": ["autogroup:admin"] },');
		expect(writes()).toEqual([]);
	});

	it("keeps what a colleague writes between reading and writing", async () => {
		const api = await begin();
		fake.tailnet.beforeWrite = () => {
			delete fake.tailnet.beforeWrite;
			fake.tailnet.policy = fake.tailnet.policy.replace("// Ask Ada first.", "// Ask Bo first.");
		};
		await prepare(api, person(true));
		expect(fake.calls.filter((call) => call !== "POST acl/validate")).toEqual([
			"GET acl",
			"POST acl",
			"GET acl",
			"POST acl",
		]);
		expect(fake.tailnet.policy).toContain("// Ask Bo first.");
		expect(missing(fake.tailnet.policy, WANTED)).toEqual([]);
		// The same lines; they were agreed to.
		expect(asked).toHaveLength(1);
	});

	it("is given up on when it changes every time", async () => {
		const api = await begin();
		let n = 0;
		fake.tailnet.beforeWrite = () => {
			fake.tailnet.policy = `// ${n++}\n${POLICY}`;
		};
		expect((await problem(prepare(api))).code).toBe("TAILNET_POLICY_BUSY");
		expect(n).toBe(3);
		expect(missing(fake.tailnet.policy, WANTED)).not.toEqual([]);
		expect(existsSync(tailnetRecord(checkout, "local"))).toBe(false);
	});

	it("is not touched if it cannot be read for sure", async () => {
		const { code, why } = await problem(prepare(await begin({ policy: '{\n\t"acls": [accept]\n}' })));
		expect(code).toBe("TAILNET_POLICY_UNREADABLE");
		expect(why).toBe("line 2: invalid symbol");
		expect(writes()).toEqual([]);
	});

	it("is not written if Tailscale's own validator finds a fault", async () => {
		const api = await begin({ fault: () => "test(s) failed" });
		const { code, why } = await problem(prepare(api));
		expect([code, why]).toEqual(["TAILNET_POLICY_REFUSED", "test(s) failed"]);
		expect(fake.tailnet.policy).toBe(POLICY);
	});

	it("is not written by who may only read it: they get the lines, and the scope that was missing", async () => {
		const { code, why, fix } = await problem(prepare(await begin({ scopes: ["policy:read"] })));
		expect(code).toBe("TAILNET_POLICY_INCOMPLETE");
		expect(why).toContain("policy_file");
		expect(fix).toContain('"tagOwners"');
		expect(fake.tailnet.policy).toBe(POLICY);
	});

	it("is only told about to who may not even read it", async () => {
		await prepare(await begin({ scopes: [] }));
		expect(fake.calls).toEqual(["GET acl"]);
		expect(notes.join()).toContain('"tagOwners": { "tag:mlflow-gateway": ["autogroup:admin"] },');
	});
});

describe("credentials", () => {
	it.each([
		["API access token", API_TOKEN],
		["OAuth client", OAUTH_SECRET],
	])("that do not count any more (%s) are named, with a way out that needs none", async (_, credentials) => {
		const opened = begin({ valid: [] }, credentials);
		const { code, kind, fix } = await problem(opened.then((api) => prepare(api)));
		expect([code, kind]).toEqual(["TAILNET_CREDENTIALS_REFUSED", "precondition"]);
		expect(fix).toContain("npx mlgate config set funnel.credentials");
	});

	it("are never in what is said when something fails", async () => {
		const said = [
			await problem(begin({ valid: [] }, OAUTH_SECRET)),
			await (async () => {
				await fake.close();
				return problem(TailnetApi.open(OAUTH_SECRET));
			})(),
		];
		expect(said.map(({ code }) => code)).toEqual(["TAILNET_CREDENTIALS_REFUSED", "TAILNET_API_AWAY"]);
		expect(JSON.stringify(said)).not.toMatch(/tskey-/);
		fake = await startTailscaleApi();
	});
});

describe("what the whole tailnet must have switched on", () => {
	it("is only looked at where it is on", async () => {
		await prepareSwitches(await begin(), report, NOBODY);
		expect(fake.calls).toEqual(["GET dns/preferences", "GET settings"]);
	});

	it("is switched on when the person says yes", async () => {
		await prepareSwitches(await begin({ magicDns: false, https: false }), report, person(true));
		expect(fake.tailnet).toMatchObject({ magicDns: true, https: true });
		expect(asked[1]).toContain("listed in public logs");
	});

	it.each<[string, Consent]>([
		["no", person(false)],
		["--yes, which is not asked for that", YES],
		["nobody", NOBODY],
	])("stays off when it is %s who answers, with where to switch it on", async (_, consent) => {
		const { code, fix } = await problem(prepareSwitches(await begin({ https: false }), report, consent));
		expect(code).toBe("TAILNET_SWITCH_OFF");
		expect(fix).toContain("https://login.tailscale.com/admin/dns");
		expect(writes()).toEqual([]);
	});

	it("is not called on when Tailscale took the change and it is off", async () => {
		const api = await begin({ https: false, stuck: true });
		expect((await problem(prepareSwitches(api, report, person(true)))).why).toContain("still off");
	});

	it("is left to people where the credentials may not: the scope is named", async () => {
		const api = await begin({ magicDns: false, scopes: ["dns:read", "settings:read"] });
		expect((await problem(prepareSwitches(api, report, person(true)))).why).toContain("scope dns");
	});

	it("is only told about where the credentials may not even look", async () => {
		await prepareSwitches(await begin({ magicDns: false, https: false, scopes: [] }), report, NOBODY);
		expect(notes).toHaveLength(2);
	});
});

describe("taking it out of the policy again", () => {
	it("brings back the text that it was, to the byte, and forgets", async () => {
		const api = await begin();
		await prepare(api);
		const { removed, left } = await withdraw(api, ref(), report, person(true));
		expect(removed.map(({ section }) => section)).toEqual(["tagOwners", "nodeAttrs"]);
		expect(left).toEqual([]);
		expect(fake.tailnet.policy).toBe(POLICY);
		expect(existsSync(tailnetRecord(checkout, "local"))).toBe(false);
		expect(await withdraw(api, ref(), report, NOBODY)).toEqual({ removed: [], left: [] });
	});

	it("takes nothing that was there before, and nothing that somebody has changed since", async () => {
		const own = POLICY.replace('"tag:ci"', '"tag:mlflow-gateway"');
		const api = await begin({ policy: own });
		await prepare(api);
		fake.tailnet.policy = fake.tailnet.policy.replace('"attr": ["funnel"]', '"attr": ["funnel", "x:y"]');
		const before = fake.tailnet.policy;
		const { removed, left } = await withdraw(api, ref(), report, person(true));
		expect([removed.length, left.map(({ section }) => section)]).toEqual([0, ["nodeAttrs"]]);
		expect(fake.tailnet.policy).toBe(before);
	});

	it("keeps what a colleague writes meanwhile", async () => {
		const api = await begin();
		await prepare(api);
		fake.tailnet.beforeWrite = () => {
			delete fake.tailnet.beforeWrite;
			fake.tailnet.policy = fake.tailnet.policy.replace("Ask Ada", "Ask Bo");
		};
		await withdraw(api, ref(), report, person(true));
		expect(fake.tailnet.policy).toBe(POLICY.replace("Ask Ada", "Ask Bo"));
	});

	it.each<[string, Consent]>([
		["--yes", YES],
		["a no", person(false)],
	])("needs a person's yes: %s is none, and the lines are said", async (_, consent) => {
		const api = await begin();
		await prepare(api);
		const before = fake.tailnet.policy;
		const { code, fix } = await problem(withdraw(api, ref(), report, consent));
		expect(code).toBe("TAILNET_POLICY_KEPT");
		expect(fix).toContain('"tag:mlflow-gateway": ["autogroup:admin"]');
		expect(fake.tailnet.policy).toBe(before);
		expect(existsSync(tailnetRecord(checkout, "local"))).toBe(true);
	});
});
