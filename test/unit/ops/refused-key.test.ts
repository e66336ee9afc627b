import { describe, expect, it } from "vitest";
import { refusalIn } from "../../../ops/lib/funnel/refused-key.ts";

describe("a key that Tailscale refuses", () => {
	it.each([
		["backend error: invalid key: API key kAbC123 not valid", "invalid key: API key kAbC123 not valid"],
		["backend error: invalid key: API key does not exist", "invalid key: API key does not exist"],
		["backend error: invalid key: unable to validate API key", "invalid key: unable to validate API key"],
		[
			"backend error: requested tags [tag:x] are invalid or not permitted",
			"requested tags [tag:x] are invalid or not permitted",
		],
		["2026/11/27 18:00:00 backend error: invalid authkey", "invalid authkey"],
	])("is known by what the node says: %s", (line, said) => {
		expect(refusalIn(["boot: 2026/11/27 Starting tailscaled", line, "boot: failed to auth"])).toBe(said);
	});

	it("is told apart from other ends", () => {
		const lines = [
			"backend error: node is locked out",
			"boot: failed to auth tailscale: timed out",
			"invalid key",
		];
		expect(refusalIn(lines)).toBeUndefined();
		expect(refusalIn([])).toBeUndefined();
	});
});
