import { describe, expect, test } from "vitest";
import { contentRange, evaluate, rangeOf, rangeStands } from "../../../../proxy/artifacts/conditions.ts";

const info = { size: 100, etag: '"abc"', lastModified: "Tue, 24 Nov 2026 00:00:00 GMT" };
const before = "Mon, 23 Nov 2026 00:00:00 GMT";
const after = "Wed, 25 Nov 2026 00:00:00 GMT";

describe("what a conditional request is answered with (RFC 9110 13.2.2)", () => {
	test.each([
		[{}, 200],
		[{ "if-none-match": '"abc"' }, 304],
		[{ "if-none-match": 'W/"abc"' }, 304],
		[{ "if-none-match": '"x", "abc"' }, 304],
		[{ "if-none-match": "*" }, 304],
		[{ "if-none-match": '"x"' }, 200],
		[{ "if-none-match": "abc" }, 200],
		[{ "if-modified-since": info.lastModified }, 304],
		[{ "if-modified-since": after }, 304],
		[{ "if-modified-since": before }, 200],
		[{ "if-modified-since": "yesterday" }, 200],
		[{ "if-none-match": '"x"', "if-modified-since": after }, 200],
		[{ "if-match": '"abc"' }, 200],
		[{ "if-match": "*" }, 200],
		[{ "if-match": 'W/"abc"' }, 412],
		[{ "if-match": '"x"' }, 412],
		[{ "if-unmodified-since": before }, 412],
		[{ "if-unmodified-since": after }, 200],
		[{ "if-unmodified-since": "never" }, 200],
		[{ "if-match": '"abc"', "if-unmodified-since": before }, 200],
		[{ "if-match": '"x"', "if-none-match": '"abc"' }, 412],
	])("%j -> %i", (headers, status) => expect(evaluate(headers, info)).toBe(status));
});

describe("which bytes a request asks for", () => {
	test.each([
		["bytes=0-9", "bytes=0-9"],
		["bytes=5-", "bytes=5-"],
		["bytes=-7", "bytes=-7"],
		["Bytes= 007-09 ", "bytes=7-9"],
		["bytes=0-99999999999999999999", "bytes=0-1125899906842624"],
		["bytes=5-4", undefined],
		["bytes=0-1,5-6", undefined],
		["bytes=-", undefined],
		["items=0-1", undefined],
		["bytes=0-1x", undefined],
		["bytes=0x1-2", undefined],
		["", undefined],
	])("%j -> %j", (range, canonical) => expect(rangeOf({ range })).toBe(canonical));
});

describe("a range stands while the object is the same", () => {
	test.each([
		[{}, true],
		[{ "if-range": '"abc"' }, true],
		[{ "if-range": '"x"' }, false],
		[{ "if-range": 'W/"abc"' }, false],
		[{ "if-range": info.lastModified }, true],
		[{ "if-range": before }, false],
		[{ "if-range": "nonsense" }, false],
	])("%j -> %s", (headers, stands) => expect(rangeStands(headers, info)).toBe(stands));
});

test("Content-Range is read exactly", () => {
	expect(contentRange("bytes 5-9/100")).toEqual({ first: 5, last: 9, size: 100 });
	expect(contentRange("bytes 0--1/0")).toBeUndefined();
	expect(contentRange("bytes */100")).toBeUndefined();
});
