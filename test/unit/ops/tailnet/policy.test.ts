import fc from "fast-check";
import { parse } from "jsonc-parser";
import { describe, expect, it } from "vitest";
import {
	allEntries,
	missing,
	PolicyError,
	snippet,
	withEntries,
	withoutEntries,
} from "../../../../ops/lib/tailnet/policy.ts";

const TAG = "tag:mlflow-gateway";
const WANTED = { tag: TAG, members: false };
const WITH_MEMBERS = { tag: TAG, members: true };

/** As Tailscale's own editor keeps them: comments everywhere, commas where one likes. */
const POLICY = `// The tailnet of Example Ltd. Ask Ada before you change the rules!
{
	// Who may use which tag.
	"tagOwners": {
		"tag:ci": ["autogroup:admin"], // the build machines
		/* retired: "tag:old": ["ada@example.org"], */
		"tag:lab": ["group:lab"] // no comma here
	},

	"groups": { "group:lab": ["ada@example.org", "bo@example.org"] },

	"acls": [
		// The lab sees its own.
		{ "action": "accept", "src": ["group:lab"], "dst": ["tag:lab:*"] },
	],

	"nodeAttrs": [
		{
			// Funnel for people.
			"target": ["autogroup:member"],
			"attr":   ["funnel"],
		},
		// more to come, see "nodeAttrs": [ in the handbook
	],
}
`;

const merged = (text: string, wanted = WANTED) => withEntries(text, missing(text, wanted));
const without = (text: string, tag = "") => text.split(tag).length - 1;
const meaning = (text: string) => parse(text, [], { allowTrailingComma: true });

describe("what a policy lacks", () => {
	it("is the tag's owner and Funnel for the tag, and members' access where no rule gives it", () => {
		expect(missing(POLICY, WITH_MEMBERS)).toEqual([
			{ section: "tagOwners", key: TAG, value: ["autogroup:admin"] },
			{ section: "nodeAttrs", value: { target: [TAG], attr: ["funnel"] } },
			{ section: "grants", value: { src: ["autogroup:member"], dst: [TAG], ip: ["tcp:8443"] } },
		]);
		expect(missing(POLICY, WANTED).map(({ section }) => section)).toEqual(["tagOwners", "nodeAttrs"]);
	});

	it.each<[string, string, string[]]>([
		["is empty", "{}", ["tagOwners", "nodeAttrs"]],
		["names the tag with other owners", `{"tagOwners": {"${TAG}": []}}`, ["nodeAttrs"]],
		["is old and writes its sections in capitals", `{"TagOwners": {"${TAG}": []}}`, ["nodeAttrs"]],
		["lets every node use Funnel", '{"nodeAttrs": [{"target": ["*"], "attr": ["funnel"]}]}', ["tagOwners"]],
		[
			"lets people use Funnel, which is not for tagged nodes",
			'{"nodeAttrs": [{"target": ["autogroup:member"], "attr": ["funnel"]}]}',
			["tagOwners", "nodeAttrs"],
		],
		[
			"gives the tag another attribute",
			`{"nodeAttrs": [{"target": ["${TAG}"], "attr": ["nextdns:abc"]}]}`,
			["tagOwners", "nodeAttrs"],
		],
	])("is told of one that %s", (_, text, sections) => {
		expect(missing(text, WANTED).map(({ section }) => section)).toEqual(sections);
	});

	it.each<[string, string, boolean]>([
		["has no rules, which allows everything", "{}", false],
		["has an empty list of rules, which allows nothing", '{"acls": []}', true],
		["allows everything", '{"acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}', false],
		[
			"allows everything, in old words",
			'{"ACLs": [{"Action": "accept", "users": ["*"], "ports": ["*:*"]}]}',
			false,
		],
		[
			"grants members everything",
			'{"grants": [{"src": ["autogroup:member"], "dst": ["*"], "ip": ["*"]}]}',
			false,
		],
		[
			"says who may reach the tag",
			`{"grants": [{"src": ["group:ml"], "dst": ["${TAG}"], "ip": ["*"]}]}`,
			false,
		],
		[
			"gives a group a role and opens nothing to it",
			`{"grants": [{"src": ["group:ml"], "dst": ["${TAG}"], "app": {"mlgate.internal/cap/mlgate": [{"role": "editor"}]}}]}`,
			true,
		],
		["lets a group reach everything", '{"grants": [{"src": ["group:it"], "dst": ["*"], "ip": ["*"]}]}', true],
	])("has access for members only where it must: one that %s", (_, text, lacks) => {
		expect(missing(text, WITH_MEMBERS).some(({ section }) => section === "grants")).toBe(lacks);
	});

	it.each([
		["is cut off", '{"tagOwners": {', /^line 1: /],
		["has a stray word", '{\n\t"acls": [accept],\n}', /^line 2: invalid symbol$/],
		["is a list", "[]", /not an object/],
		["has a section twice", '{"tagOwners": {}, "TagOwners": {}}', /tagowners twice/],
		["is empty text", "", /./],
	])("is not guessed for one that %s", (_, text, reason) => {
		expect(() => missing(text, WANTED)).toThrow(PolicyError);
		expect(() => missing(text, WANTED)).toThrow(reason);
	});

	it("is not put where it does not fit", () => {
		const text = '{"tagOwners": []}';
		expect(() => withEntries(text, missing(text, WANTED))).toThrow(/tagOwners is no object/);
	});
});

describe("the policy with what it lacked", () => {
	it("differs by exactly these lines, and every comment stays with what it is about", () => {
		const { text } = merged(POLICY, WITH_MEMBERS);
		const [before, after] = [POLICY.split("\n"), text.split("\n")];
		expect(after.filter((line) => !before.includes(line))).toEqual([
			'\t\t"tag:lab": ["group:lab"], // no comma here',
			`\t\t"${TAG}": ["autogroup:admin"]`,
			`\t\t{ "target": ["${TAG}"], "attr": ["funnel"] },`,
			'\t"grants": [',
			`\t\t{ "src": ["autogroup:member"], "dst": ["${TAG}"], "ip": ["tcp:8443"] }`,
		]);
		expect(before.filter((line) => !after.includes(line))).toEqual([
			'\t\t"tag:lab": ["group:lab"] // no comma here',
		]);
	});

	it("lacks nothing: a second time there is nothing to do", () => {
		const { text } = merged(POLICY, WITH_MEMBERS);
		expect(missing(text, WITH_MEMBERS)).toEqual([]);
		expect(withEntries(text, [])).toEqual({ text, added: [] });
	});

	it.each([
		["{}"],
		["{ }\n"],
		['{"acls":[]}'],
		['{"tagOwners":{"tag:a":[]},"nodeAttrs":[{"target":["tag:a"],"attr":["funnel"]}]}'],
		['{\n  "tagOwners": {}, // none\n  "nodeAttrs": [ // none\n  ]\n}\n'],
		['{\r\n  "nodeAttrs": [\r\n    {"target": ["a"], "attr": ["b"]}\r\n  ]\r\n}\r\n'],
		['{"tagOwners": {"tag:a": ["b"] /* last */ } /* end */ } // after'],
		['{"nodeAttrs": [{"target": ["//"], "attr": [","]}, /* , */ ], // ,\n}'],
	])("says what it said and the entries, whatever it looks like: %j", (text) => {
		const { text: edited } = merged(text, WITH_MEMBERS);
		expect(missing(edited, WITH_MEMBERS)).toEqual([]);
		for (const comment of text.match(/\/\*.*?\*\/|\/\/ .*/g) ?? []) expect(edited).toContain(comment.trim());
		const [before, after] = [meaning(text), meaning(edited)];
		for (const section of Object.keys(before)) {
			const [old, now] = [before[section], after[section]];
			expect(Array.isArray(old) ? now.slice(0, old.length) : now).toEqual(
				Array.isArray(old) ? old : expect.objectContaining(old),
			);
		}
	});
});

describe("the policy with our entries taken out again", () => {
	it("is the text that it was, to the byte", () => {
		for (const wanted of [WANTED, WITH_MEMBERS]) {
			const { text, added } = merged(POLICY, wanted);
			expect(withoutEntries(text, added)).toEqual({ text: POLICY, removed: added, left: [] });
		}
	});

	it("keeps what others have written meanwhile, next to ours and in the sections that we opened", () => {
		const { text, added } = merged('{\n\t"acls": [],\n}\n', WITH_MEMBERS);
		const more = text
			.replace(
				'"grants": [',
				'"grants": [\n\t\t// Bo needs this\n\t\t{ "src": ["bo@example.org"], "dst": ["*"], "ip": ["*"] },',
			)
			.replace('"tagOwners": {', '"tagOwners": {\n\t\t"tag:new": [],');
		const { text: left, removed } = withoutEntries(more, added);
		expect(removed).toEqual(added);
		expect(meaning(left)).toEqual({
			acls: [],
			tagOwners: { "tag:new": [] },
			grants: [{ src: ["bo@example.org"], dst: ["*"], ip: ["*"] }],
		});
		expect(left).toContain("// Bo needs this");
	});

	it("leaves an entry that somebody has changed, and says so", () => {
		const { text, added } = merged(POLICY);
		const changed = text.replace(`"${TAG}": ["autogroup:admin"]`, `"${TAG}": ["group:lab"]`);
		const { text: left, removed, left: kept } = withoutEntries(changed, added);
		expect(removed.map(({ section }) => section)).toEqual(["nodeAttrs"]);
		expect(kept.map(({ section }) => section)).toEqual(["tagOwners"]);
		expect(left).toContain(`"${TAG}": ["group:lab"]`);
	});

	it("leaves entries that were there before ours", () => {
		const own = `{"tagOwners": {"${TAG}": ["autogroup:admin"]}}`;
		const { text, added } = merged(own);
		expect(added.map(({ section }) => section)).toEqual(["nodeAttrs"]);
		expect(meaning(withoutEntries(text, added).text)).toEqual(meaning(own));
	});

	it("never turns a policy that allows nothing into one that allows everything", () => {
		const { text, added } = merged('{"grants": []}', WITH_MEMBERS);
		expect(meaning(withoutEntries(text, added).text)).toEqual({ grants: [] });
		const opened = merged('{"acls": []}', WITH_MEMBERS);
		const without = opened.text.replace('"acls": [],', "");
		expect(meaning(withoutEntries(without, opened.added).text)).toEqual({ grants: [] });
	});

	it("means what it meant, whatever the policy was", () => {
		const space = fc.constantFrom("", " ", "\n", "\n\t\t", " // a, b\n", "\t/* ], */ ");
		const comma = fc.constantFrom("", ",");
		const member = fc.constantFrom('"tag:a": ["x"]', '"tag:b": []');
		const owners = fc
			.tuple(fc.uniqueArray(member, { maxLength: 2 }), space, space, comma)
			.map(([members, a, b, end]) => `{${a}${members.join(`,${b}`)}${b}${members.length ? end : ""}${a}}`);
		const attribute = fc.constantFrom(
			'{"target": ["tag:a"], "attr": ["funnel"]}',
			'{"ipPool": ["10.0.0.0/8"]}',
		);
		const attributes = fc
			.tuple(fc.array(attribute, { maxLength: 2 }), space, space, comma)
			.map(([members, a, b, end]) => `[${a}${members.join(`${b},`)}${a}${members.length ? end : ""}${b}]`);
		const policy = fc
			.tuple(fc.option(owners), fc.option(attributes), space, comma)
			.map(([tagOwners, nodeAttrs, a, end]) => {
				const sections = Object.entries({ tagOwners, nodeAttrs, acls: "[]" })
					.filter(([, text]) => text !== null)
					.map(([name, text]) => `${a}"${name}":${text}`);
				return `{${sections.join(",")}${a}${end}${a}}`;
			});
		fc.assert(
			fc.property(policy, (text) => {
				const { text: edited, added } = merged(text, WITH_MEMBERS);
				expect(missing(edited, WITH_MEMBERS)).toEqual([]);
				expect(without(edited, "// a, b")).toBe(without(text, "// a, b"));
				const { text: back, left } = withoutEntries(edited, added);
				expect(left).toEqual([]);
				expect(meaning(back)).toEqual(meaning(text));
				expect(without(back, "// a, b")).toBe(without(text, "// a, b"));
			}),
			{ numRuns: 500 },
		);
	});
});

it("what is to be pasted by hand is every entry on a line of its own", () => {
	expect(snippet(allEntries(WITH_MEMBERS))).toBe(
		[
			`"tagOwners": { "${TAG}": ["autogroup:admin"] },`,
			`"nodeAttrs": [ { "target": ["${TAG}"], "attr": ["funnel"] } ],`,
			`"grants": [ { "src": ["autogroup:member"], "dst": ["${TAG}"], "ip": ["tcp:8443"] } ],`,
		].join("\n"),
	);
});
