import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { OpsError } from "../../../../ops/lib/errors.ts";
import { ensureTailscaleProvider } from "../../../../ops/lib/pulumi-tools.ts";
import { silent } from "../../../../ops/lib/report.ts";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "mlgate-test-"));
	vi.stubEnv("XDG_CACHE_HOME", folder);
});
afterEach(() => {
	vi.unstubAllEnvs();
	rmSync(folder, { recursive: true, force: true });
});

it.each([
	[
		"its address does not answer",
		{ MLGATE_PULUMI_DOWNLOADS: "http://127.0.0.1:9", MLGATE_TOOLS: "" },
		"127.0.0.1:9",
	],
	["downloads are not allowed", { MLGATE_TOOLS: "build" }, "MLGATE_TOOLS"],
])(
	"where %s, the provider's absence is said with the way without it, and leaves nothing",
	async (_, env, why) => {
		for (const [key, value] of Object.entries(env)) vi.stubEnv(key, value);
		const home = join(folder, "home");
		const error = await ensureTailscaleProvider(silent, home).catch((reason: unknown) => reason);
		expect(error).toBeInstanceOf(OpsError);
		const { problem } = error as OpsError;
		expect([problem.code, problem.kind]).toEqual(["PULUMI_UNAVAILABLE", "precondition"]);
		expect(problem.what).toContain("Pulumi's Tailscale provider 0.29.1");
		expect(problem.why).toContain(why);
		expect(problem.fix).toContain("npx mlgate config set funnel.authKey < <file>");
		expect(existsSync(home)).toBe(false);
	},
);
