import { stripVTControlCharacters } from "node:util";
import { describe, expect, test } from "vitest";
import { painter } from "../../../ops/lib/paint.ts";
import { bytesOf } from "../../../ops/lib/resources.ts";
import { bytesInWords, table } from "../../../ops/lib/text.ts";

const terminal = { isTTY: true } as const;

describe("colours", () => {
	test("are for terminals alone, and not for those that want none", () => {
		expect(painter(terminal, {})("bad", "x")).toBe("\x1b[31mx\x1b[39m");
		expect(painter({ isTTY: false } as never, {})("bad", "x")).toBe("x");
		expect(painter(terminal, { NO_COLOR: "1" })("bad", "x")).toBe("x");
		expect(painter(terminal, { TERM: "dumb" })("bad", "x")).toBe("x");
		// As no-color.org has it: an empty one counts for nothing.
		expect(painter(terminal, { NO_COLOR: "" })("bad", "x")).toContain("\x1b[");
	});

	test("do not move the columns of a table", () => {
		const paint = painter(terminal, {});
		const plain = table([
			["a", "b"],
			["long", "c"],
		]);
		const coloured = table([
			[paint("good", "a"), "b"],
			["long", "c"],
		]);
		expect(stripVTControlCharacters(coloured)).toBe(plain);
	});
});

test.each([
	[0, "0 B"],
	[1023, "1.0 KiB"],
	[1536, "1.5 KiB"],
	[12 * 2 ** 20, "12 MiB"],
	[5 * 2 ** 40, "5.0 TiB"],
])("%i bytes are %s", (bytes, words) => {
	expect(bytesInWords(bytes)).toBe(words);
});

test.each([
	["73.05MiB", 76_598_477],
	["1GiB", 2 ** 30],
	["0B", 0],
	["--", undefined],
])("the engine's %s is %s bytes", (text, bytes) => {
	expect(bytesOf(text)).toBe(bytes);
});
