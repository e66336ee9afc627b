/**
 * The tailnet's policy: what it must say for the node to join under its tag and to be public, and the smallest edits
 * of its text that make it say so, or take that out again. The text is HuJSON (JSON with comments and trailing
 * commas) and belongs to people: every comment, blank and comma of theirs stays where it is.
 */
import { isDeepStrictEqual } from "node:util";
import { getNodeValue, type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";
import { PORT } from "../../../infra/contract.ts";
import { append, oneLine, remove } from "./hujson.ts";

/** Something that the policy says: a member of `tagOwners`, or an element of one of the lists. */
export interface Entry {
	section: "tagOwners" | "nodeAttrs" | "grants";
	/** Of the member; lists have none. */
	key?: string;
	value: unknown;
	/** There was no such section before. */
	opened?: true;
}

export interface Wanted {
	/** Setting `funnel.tag`. */
	tag: string;
	/** Whether members of the tailnet are to reach the node. */
	members: boolean;
}

/** The policy cannot be read, or an edit of it would say something else than it should. */
export class PolicyError extends Error {
	override readonly name = "PolicyError";
}

interface Policy {
	text: string;
	root: Node;
}

/** A rule of the policy: what it needs to say, and whether a policy says so already, in whatever words. */
interface Need {
	entry(wanted: Wanted): Entry;
	met(policy: Policy, wanted: Wanted): boolean;
}

const NEEDS: readonly Need[] = [
	{
		entry: ({ tag }) => ({ section: "tagOwners", key: tag, value: ["autogroup:admin"] }),
		met: (policy, { tag }) => Object.hasOwn(object(saidOf(policy, "tagOwners")), tag),
	},
	{
		entry: ({ tag }) => ({ section: "nodeAttrs", value: { target: [tag], attr: ["funnel"] } }),
		met: (policy, { tag }) =>
			list(saidOf(policy, "nodeAttrs")).some(
				({ target, attr }) =>
					texts(attr).includes("funnel") && texts(target).some((one) => one === tag || one === "*"),
			),
	},
	{
		entry: ({ tag }) => ({
			section: "grants",
			value: { src: ["autogroup:member"], dst: [tag], ip: [`tcp:${PORT.funnel}`] },
		}),
		met: (policy, { tag, members }) => !members || letsMembersIn(policy, tag),
	},
];

/**
 * A policy without rules allows everything, and the first rule would end that. A rule that names the tag is
 * somebody's decision about who may come, which is not ours to widen.
 */
function letsMembersIn(policy: Policy, tag: string): boolean {
	const [acls, grants] = [saidOf(policy, "acls"), saidOf(policy, "grants")];
	if (acls === undefined && grants === undefined) return true;
	const rules = [
		...list(acls).map(({ src, users, dst, ports }) => ({
			from: [...texts(src), ...texts(users)],
			to: [...texts(dst), ...texts(ports)].map((one) => one.slice(0, one.lastIndexOf(":"))),
		})),
		...list(grants)
			// One that gives roles alone (`app`) opens no port.
			.filter(({ ip }) => texts(ip).length > 0)
			.map(({ src, dst }) => ({ from: texts(src), to: texts(dst) })),
	];
	return rules.some(
		({ from, to }) =>
			to.includes(tag) || (to.includes("*") && from.some((one) => one === "*" || one === "autogroup:member")),
	);
}

/** What the policy lacks. @throws PolicyError */
export function missing(text: string, wanted: Wanted): Entry[] {
	const policy = parse(text);
	return NEEDS.filter((need) => !need.met(policy, wanted)).map((need) => need.entry(wanted));
}

/** @returns the text with the entries, and the entries as they went in. @throws PolicyError */
export function withEntries(text: string, entries: readonly Entry[]): { text: string; added: Entry[] } {
	const expected = object(plain(parse(text).root));
	let edited = text;
	const added = entries.map((entry): Entry => {
		const { section, key, value } = entry;
		const policy = parse(edited);
		const place = nodeOf(policy, section);
		const name = nameOf(expected, section);
		if (key === undefined) expected[name] = [...((expected[name] as unknown[] | undefined) ?? []), value];
		else expected[name] = { ...object(expected[name]), [key]: value };
		edited = place
			? append(edited, checked(place, key), value, key)
			: append(edited, policy.root, expected[name], section);
		return place ? entry : { ...entry, opened: true };
	});
	return { text: proven(edited, expected), added };
}

/**
 * The text without those of the entries that still say what they said, and without the sections that they opened if
 * nothing else is in them.
 * @returns `left`: entries that somebody has changed or taken out since.
 * @throws PolicyError
 */
export function withoutEntries(
	text: string,
	entries: readonly Entry[],
): { text: string; removed: Entry[]; left: Entry[] } {
	const expected = object(plain(parse(text).root));
	let edited = text;
	const removed = entries.filter((entry) => {
		const { section, key } = entry;
		const policy = parse(edited);
		const place = nodeOf(policy, section);
		const node = place && find(place, entry);
		if (!place || !node) return false;
		const name = nameOf(expected, section);
		const closes = entry.opened && place.children?.length === 1 && mayClose(policy, section);
		edited = remove(edited, closes ? (place.parent ?? node) : node);
		if (closes) delete expected[name];
		else if (key === undefined)
			expected[name] = (expected[name] as unknown[]).toSpliced(place.children?.indexOf(node) ?? 0, 1);
		else delete object(expected[name])[key];
		return true;
	});
	return {
		text: proven(edited, expected),
		removed,
		left: entries.filter((entry) => !removed.includes(entry)),
	};
}

/** A policy with no rules at all allows everything; one with an empty list of them, nothing. */
const mayClose = (policy: Policy, section: Entry["section"]): boolean =>
	section !== "grants" || saidOf(policy, "acls") !== undefined;

/** Where the entry stands, word for word: an element of the list, or the member with its key. */
function find({ children = [] }: Node, { key, value }: Entry): Node | undefined {
	return children.findLast((child) =>
		key === undefined
			? isDeepStrictEqual(plain(child), value)
			: isDeepStrictEqual(memberOf(child), [key, value]),
	);
}

const memberOf = (member: Node): unknown => member.children?.map((part) => plain(part));

/** For people who paste it themselves. */
export function snippet(entries: readonly Entry[]): string {
	return entries
		.map(({ section, key, value }) => {
			const body = oneLine(value);
			return key === undefined
				? `"${section}": [ ${body} ],`
				: `"${section}": { ${JSON.stringify(key)}: ${body} },`;
		})
		.join("\n");
}

/** Everything that a policy must say, whatever it says already. */
export const allEntries = (wanted: Wanted): Entry[] =>
	NEEDS.map((need) => need.entry(wanted)).filter(({ section }) => section !== "grants" || wanted.members);

/** The result, if it says exactly what it should: an edit that went wrong must not reach a tailnet. */
function proven(text: string, expected: unknown): string {
	if (isDeepStrictEqual(plain(parse(text).root), expected)) return text;
	throw new PolicyError("an edit of its text would change more than it should");
}

function parse(text: string): Policy {
	const errors: ParseError[] = [];
	const root = parseTree(text, errors, { allowTrailingComma: true, disallowComments: false });
	const [error] = errors;
	if (error) {
		const line = text.slice(0, error.offset).split("\n").length;
		throw new PolicyError(`line ${line}: ${inWords(printParseErrorCode(error.error))}`);
	}
	if (root?.type !== "object") throw new PolicyError("it is not an object");
	const names = (root.children ?? []).map((member) => nameIn(member).toLowerCase());
	const twice = names.find((name, i) => names.indexOf(name) !== i);
	if (twice !== undefined) throw new PolicyError(`it has the section ${twice} twice`);
	return { text, root };
}

/** `CloseBraceExpected` -> `close brace expected` */
const inWords = (code: string): string => code.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();

const nameIn = (member: Node): string => String(member.children?.[0]?.value);

/** With the prototypes that everything else has. */
const plain = (node: Node): unknown => JSON.parse(JSON.stringify(getNodeValue(node)));

/** Old policies write `ACLs` and `TagOwners`. */
const nodeOf = ({ root }: Policy, section: string): Node | undefined =>
	root.children?.find((member) => nameIn(member).toLowerCase() === section.toLowerCase())?.children?.[1];

const saidOf = (policy: Policy, section: string): unknown => {
	const node = nodeOf(policy, section);
	return node && plain(node);
};

function checked(place: Node, key: string | undefined): Node {
	const type = key === undefined ? "array" : "object";
	if (place.type === type) return place;
	throw new PolicyError(`${nameIn(place.parent ?? place)} is no ${type}`);
}

const nameOf = (policy: Record<string, unknown>, section: string): string =>
	Object.keys(policy).find((name) => name.toLowerCase() === section.toLowerCase()) ?? section;

const object = (value: unknown): Record<string, unknown> =>
	typeof value === "object" && value !== null && !Array.isArray(value)
		? (value as Record<string, unknown>)
		: {};

const list = (value: unknown): Record<string, unknown>[] => (Array.isArray(value) ? value.map(object) : []);

const texts = (value: unknown): string[] =>
	Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
