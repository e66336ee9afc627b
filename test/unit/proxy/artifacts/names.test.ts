import { describe, expect, test } from "vitest";
import { ArtifactError } from "../../../../proxy/artifacts/errors.ts";
import { mimeType } from "../../../../proxy/artifacts/mime.ts";
import { attachment, byCodePoint, pythonJson, safePath } from "../../../../proxy/artifacts/names.ts";
import { canCarry } from "../../../../proxy/artifacts/xml.ts";

// Right-hand sides are what MLflow 2.13.0 answered (`get-artifact`, in our image).
describe("Content-Disposition is MLflow's", () => {
	test.each([
		["a.txt", "attachment; filename=a.txt"],
		["sp ace.bin", 'attachment; filename="sp ace.bin"'],
		['q"uote.bin', 'attachment; filename="q\\"uote.bin"'],
		["b\\s.bin", 'attachment; filename="b\\\\s.bin"'],
		["100%.txt", "attachment; filename=100%.txt"],
		["e=mc2.txt", 'attachment; filename="e=mc2.txt"'],
		["s;emi.txt", 'attachment; filename="s;emi.txt"'],
		["star*.txt", "attachment; filename=star*.txt"],
		["<b>.htm", 'attachment; filename="<b>.htm"'],
		["ünï.txt", "attachment; filename=uni.txt; filename*=UTF-8''%C3%BCn%C3%AF.txt"],
		["日本.txt", "attachment; filename=.txt; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"],
		[
			'日本 "q".bin',
			'attachment; filename=" \\"q\\".bin"; filename*=UTF-8\'\'%E6%97%A5%E6%9C%AC%20%22q%22.bin',
		],
		["😀.txt", "attachment; filename=.txt; filename*=UTF-8''%F0%9F%98%80.txt"],
		["\uff5e.txt", "attachment; filename=~.txt; filename*=UTF-8''%EF%BD%9E.txt"],
	])("%s", (name, header) => expect(attachment(name)).toBe(header));
});

describe("the content type is MLflow's", () => {
	test.each([
		["a.txt", "text/plain"],
		["m.json", "text/plain"],
		["x.JSON", "application/json"],
		["t.js", "text/plain"],
		["deep/er/MLmodel", "text/plain"],
		["page.html", "text/html"],
		["pic.svg", "image/svg+xml"],
		["x.svgz", "image/svg+xml"],
		["x.PNG", "image/png"],
		["model.tar.gz", "application/x-tar"],
		["x.tgz", "application/x-tar"],
		["x.gz", "application/octet-stream"],
		["f.pkl", "application/octet-stream"],
		["x.pt", "application/vnd.snesdev-page-table"],
		["noext", "application/octet-stream"],
		[".hidden", "application/octet-stream"],
		["..yaml", "application/octet-stream"],
		["a.b.c.yaml", "text/plain"],
		["co:lon.html", "text/html"],
	])("%s", (name, type) => expect(mimeType(name)).toBe(type));
});

test("JSON is Python's", () => {
	expect(pythonJson({ files: [{ path: 'ü"\u007f\n😀', is_dir: false, file_size: 3 }] })).toBe(
		'{\n  "files": [\n    {\n      "path": "\\u00fc\\"\\u007f\\n\\ud83d\\ude00",\n      "is_dir": false,\n      "file_size": 3\n    }\n  ]\n}',
	);
	expect(pythonJson({})).toBe("{}");
});

test("the order is Python's: by code point", () => {
	expect(["😀", "\uff5e", "b", "a/b", "a", "a.b", "ü"].sort(byCodePoint)).toEqual([
		"a",
		"a.b",
		"a/b",
		"b",
		"ü",
		"\uff5e",
		"😀",
	]);
});

describe("a path is one name of one thing", () => {
	test.each(["a", "a/b c", "%2e%2e/x", "a%2fb", "h#sh", "...", "a/..b", " "])("%j passes", (path) =>
		expect(safePath(path)).toBe(path),
	);
	test.each(["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "../a", "a/..", "a\\b", "a\0b", "a\nb"])(
		"%j is refused",
		(path) => expect(() => safePath(path)).toThrow(ArtifactError),
	);
});

test("XML 1.0 cannot carry every name", () => {
	expect(canCarry("a<&>'\"ü😀\t")).toBe(true);
	expect(canCarry("a\u0017b")).toBe(false);
	expect(canCarry("a\uffffb")).toBe(false);
});
