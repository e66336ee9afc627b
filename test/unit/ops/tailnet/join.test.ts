import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { parseSettings } from "../../../../infra/settings.ts";
import type { Context } from "../../../../ops/lib/command.ts";
import { silent } from "../../../../ops/lib/report.ts";
import type { StackHandle } from "../../../../ops/lib/stack.ts";
import { prepareTailnet } from "../../../../ops/lib/tailnet/join.ts";
import { missing } from "../../../../ops/lib/tailnet/policy.ts";
import { API_TOKEN, type FakeApi, startTailscaleApi } from "../../../support/tailscale-api.ts";

let fake: FakeApi;
let checkout: string;

beforeEach(async () => {
	fake = await startTailscaleApi({ policy: '{"acls": []}' });
	vi.stubEnv("TAILSCALE_BASE_URL", fake.url);
	checkout = mkdtempSync(join(tmpdir(), "mlgate-tailnet-"));
});
afterEach(async () => {
	vi.unstubAllEnvs();
	rmSync(checkout, { recursive: true, force: true });
	await fake.close();
});

/** A stack with no container, so with no node that has joined. */
function stackWith(credentials: string | undefined, raw: Record<string, string> = {}) {
	const forgotten = vi.fn(async () => {});
	const settings = parseSettings({ name: "no-such-stack", funnel: "on", ...raw }, "no-such-stack");
	const stack: Pick<StackHandle, "tailnetCredentials" | "settings" | "forgetTailnetKey"> = {
		tailnetCredentials: async () => credentials,
		settings: () => settings,
		forgetTailnetKey: forgotten,
	};
	return { stack: stack as StackHandle, forgotten };
}

const up = (stack: StackHandle, yes = true) =>
	prepareTailnet({ checkout, stack: "local", yes, interactive: false, report: silent } as Context, stack);

it("without credentials nobody is asked anything, and Tailscale's API least of all", async () => {
	const { stack, forgotten } = stackWith(undefined);
	await up(stack, false);
	expect(fake.calls).toEqual([]);
	expect(forgotten).not.toHaveBeenCalled();
});

it("the policy gets the settings' tag, and a way for members only if the settings name some", async () => {
	const tag = "tag:gate";
	await up(stackWith(API_TOKEN, { "funnel.tag": tag }).stack);
	expect(fake.tailnet.policy).not.toContain("grants");
	expect(missing(fake.tailnet.policy, { tag, members: false })).toEqual([]);
	await up(stackWith(API_TOKEN, { "funnel.tag": tag, "funnel.tailnet": '{"@example.org": "viewer"}' }).stack);
	expect(missing(fake.tailnet.policy, { tag, members: true })).toEqual([]);
});

it("a node that has not joined gets a key of its own, not the one of an earlier run", async () => {
	const { stack, forgotten } = stackWith(API_TOKEN);
	await up(stack);
	expect(forgotten).toHaveBeenCalledOnce();
});

it("a tailnet that is not ready keeps the key and everything else as it is", async () => {
	const { stack, forgotten } = stackWith(API_TOKEN);
	fake.tailnet.https = false;
	await expect(up(stack)).rejects.toMatchObject({ problem: { code: "TAILNET_SWITCH_OFF" } });
	expect(forgotten).not.toHaveBeenCalled();
});
