/**
 * Two edits of HuJSON that leave everything else as it is. Those of jsonc-parser put a new element before the comment
 * behind the last one, and take comments away with an element; its tree is what these stand on.
 */
import { type Node, stripComments } from "jsonc-parser";

const endOf = ({ offset, length }: Node): number => offset + length;

/** As the last child of an object or array. @param key of the new member; elements have none. */
export function append(text: string, container: Node, value: unknown, key?: string): string {
	const close = endOf(container) - 1;
	const last = container.children?.at(-1);
	const eol = text.includes("\r\n") ? "\r\n" : "\n";
	const outer = indentAt(text, container.offset);
	const unit = text.includes("\n\t") ? "\t" : "  ";
	const inner = last && startsLine(text, last.offset) ? indentAt(text, last.offset) : outer + unit;
	const written = (key === undefined ? "" : `${JSON.stringify(key)}: `) + pretty(value, inner, unit, eol);
	/** Behind the last thing that is written there, a comment maybe. */
	const at = text.slice(0, close).trimEnd().length;
	const closesLine = startsLine(text, close);
	if (!last) {
		const before = closesLine ? "" : `${eol}${outer}`;
		return splice(text, at, closesLine ? at : close, `${eol}${inner}${written}${before}`);
	}
	const comma = commaAfter(text, endOf(last), close);
	const gap = closesLine || startsLine(text, last.offset) ? `${eol}${inner}` : " ";
	const withNew = splice(text, at, at, `${gap}${written}${comma === undefined ? "" : ","}`);
	return comma === undefined ? splice(withNew, endOf(last), endOf(last), ",") : withNew;
}

/** A member of an object or an element of an array, with its comma. */
export function remove(text: string, node: Node): string {
	const container = node.parent;
	if (!container) return text;
	const close = endOf(container) - 1;
	const siblings = container.children ?? [];
	const next = siblings[siblings.indexOf(node) + 1];
	const previous = siblings[siblings.indexOf(node) - 1];
	const comma = commaAfter(text, endOf(node), next?.offset ?? close);
	const end = comma === undefined ? endOf(node) : comma + 1;
	const start = text.slice(0, node.offset).trimEnd().length;
	// What stands on the same line behind it may not come behind a comment of the line before.
	const aloneOnLine = /^[ \t]*(\r?\n|$)/.test(text.slice(end));
	let without =
		aloneOnLine || !startsLine(text, node.offset)
			? splice(text, start, end, "")
			: splice(text, node.offset, end + (/^[ \t]*/.exec(text.slice(end))?.[0].length ?? 0), "");
	if (comma === undefined && previous) {
		const left = commaAfter(text, endOf(previous), node.offset);
		if (left !== undefined) without = splice(without, left, left + 1, "");
	}
	return without;
}

const splice = (text: string, from: number, to: number, put: string): string =>
	text.slice(0, from) + put + text.slice(to);

/** Where the comma is, among blanks and comments. */
function commaAfter(text: string, from: number, to: number): number | undefined {
	const index = stripComments(text.slice(from, to), " ").indexOf(",");
	return index < 0 ? undefined : from + index;
}

const lineBefore = (text: string, offset: number): string =>
	text.slice(text.lastIndexOf("\n", offset - 1) + 1, offset);

const startsLine = (text: string, offset: number): boolean => lineBefore(text, offset).trim() === "";

const indentAt = (text: string, offset: number): string =>
	/^[ \t]*/.exec(lineBefore(text, offset))?.[0] ?? "";

/** As policies are written: a section has one entry a line, an entry is one line. */
function pretty(value: unknown, indent: string, unit: string, eol: string): string {
	const isList = Array.isArray(value);
	const children = Object.values(value ?? {});
	const isSection = children.some((child) => typeof child === "object") && (isList || children.length === 1);
	if (!isSection) return oneLine(value);
	const lines = isList
		? value.map(oneLine)
		: Object.entries(value ?? {}).map(([key, child]) => `${JSON.stringify(key)}: ${oneLine(child)}`);
	const [open, close] = isList ? ["[", "]"] : ["{", "}"];
	return [open, lines.map((line) => `${indent}${unit}${line}`).join(`,${eol}`), `${indent}${close}`].join(
		eol,
	);
}

/** JSON with room to read, on one line: `{ "target": ["tag:a"] }` */
export const oneLine = (value: unknown): string =>
	JSON.stringify(value, null, 1)
		.replace(/\n\s*/g, " ")
		.replace(/\[ ([^[\]{}]*) \]/g, "[$1]");
