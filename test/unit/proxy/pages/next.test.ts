import { describe, expect, it } from "vitest";
import { ownPath } from "../../../../proxy/pages/next.ts";

describe("where to go after signing in", () => {
	it.each([
		"/",
		"/inference/",
		"/get-artifact?path=a%2Fb&run_uuid=1",
		"/a?next=//evil.example",
		"/loginx",
		"/a/login",
		"/experiments/1#/runs",
	])("is %s", (next) => expect(ownPath(next)).toBe(next));

	it.each([
		[null],
		[undefined],
		[""],
		["//evil.example"],
		["///evil.example"],
		["/\\evil.example"],
		["\\/evil.example"],
		["/\t/evil.example"],
		["/\n/evil.example"],
		["\t//evil.example"],
		[" //evil.example"],
		["http://evil.example"],
		["https:evil.example"],
		["javascript:alert(1)"],
		["data:text/html,x"],
		["evil.example"],
		["./x"],
		["?x"],
		["/a b"],
		["/ä"],
		["/a\r\nSet-Cookie: x=y"],
		["/a\0"],
		[`/${"a".repeat(3000)}`],
		["/login"],
		["/login?next=/x"],
		["/logout"],
		["/logout/"],
		["/invite/abc"],
		["/login#x"],
	])("is never %j", (next) => expect(ownPath(next)).toBe("/"));
});
