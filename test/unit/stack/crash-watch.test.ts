import { describe, expect, it } from "vitest";
import { isLooping } from "../../../ops/lib/stack/crash-watch.ts";

const NOW = Date.parse("2026-01-01T00:01:00Z");
const made = (secondsAgo: number, RestartCount: number) => ({
	Created: new Date(NOW - secondsAgo * 1000).toISOString(),
	RestartCount,
});

describe("a part that is waited for", () => {
	it.each([
		["has not ended yet", made(200, 0), false],
		["has ended a few times while a store was coming up", made(200, 4), false],
		["has ended often, but is just made", made(20, 9), false],
		["ends right after every start", made(30, 5), true],
	])("%s", (_, container, looping) => {
		expect(isLooping(container, NOW)).toBe(looping);
	});
});
