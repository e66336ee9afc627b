/**
 * The canonical form of a request target. What is authorised here is what is sent on: the path is decoded
 * once, checked, and encoded again by us. A spelling that another parser could read as a different path is
 * refused with a code of `errors.ts`.
 *
 * What MLflow does with a path decides the rules (measured against its own server, gunicorn and Werkzeug):
 * it matches routes on the decoded path, takes `//`, `%2f` and absolute forms for the plain route, and decodes
 * artifact paths again, up to ten times, dropping an empty `?`, `#` or `;` at the end and leading blanks, and
 * taking `file:` for a scheme. `DELETE .../artifacts/%20` or `/.%3F` or `/file:` then means the whole store.
 */
import type { DoorErrorCode } from "../errors.ts";

/** A path prefix below which anything may follow. */
export interface Tail {
	/** Ends in `/`. */
	prefix: string;
	/**
	 * `artifact`: names that people chose, decoded and encoded again. `plain`: no character that needs encoding.
	 * `open`: paths of a server that we know nothing about; it decides nothing that we have decided.
	 */
	kind: "artifact" | "plain" | "open";
}

export interface Target {
	/** The decoded path. Routes are matched on it. */
	path: string;
	/** The prefix that `path` stands under, if it is one of the tails. */
	prefix: string | undefined;
	/** What is sent on: the encoded path, and `?` with the canonical query if there is one. */
	forward: string;
	/** The canonical query without `?`. */
	query: string;
}

/** Dot segments excluded, an empty segment at the end allowed: `/` is a page. */
const PLAIN_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._~{}-]+)*\/?$/;
/** What `encodeURIComponent` leaves alone, and slashes. */
const UNRESERVED = /^[A-Za-z0-9._~!*'()/-]*$/;
const DOT_SEGMENT = /(?:^|\/)\.{1,2}(?:\/|$)/;
const BAD_PERCENT = /%(?![0-9A-Fa-f]{2})/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
/** Nothing is left of such a segment, or a dot, once MLflow has dropped what it drops. */
const HOLLOW_SEGMENT = /(?:^|\/)[ .?#;]*(?:\/|$)/;
/** MLflow reads more than a name out of these. */
const AMBIGUOUS_TO_DELETE = /[%?#;:]|(?:^|\/) | (?:\/|$)/;

/** Why the raw path of a target cannot be one of ours. Called on the way to a refusal only. */
function whyNotPlain(path: string): DoorErrorCode {
	if (path.includes("//")) return "TARGET_EMPTY_SEGMENT";
	if (BAD_PERCENT.test(path)) return "TARGET_ENCODING";
	if (/%2f/i.test(path)) return "TARGET_ENCODED_SLASH";
	if (/%5c/i.test(path)) return "TARGET_BACKSLASH";
	if (path.includes("%")) return "TARGET_NOT_CANONICAL";
	if (path.includes(";")) return "TARGET_PARAMETERS";
	return DOT_SEGMENT.test(path) ? "TARGET_DOT_SEGMENT" : "TARGET_CHARACTER";
}

/** Percent-decoding as lenient as Python's `unquote`: broken sequences stay, broken UTF-8 is replaced. */
const unquote = (text: string): string =>
	text.replace(/(?:%[0-9a-f]{2})+/gi, (run) => Buffer.from(run.replaceAll("%", ""), "hex").toString("utf8"));

/** What is wrong with the shape of an artifact's name, at one level of decoding. */
function whyNotName(name: string): DoorErrorCode | undefined {
	if (CONTROL.test(name)) return "TARGET_CHARACTER";
	if (name.includes("\\")) return "TARGET_BACKSLASH";
	if (name.startsWith("/") || name.endsWith("/") || name.includes("//")) return "TARGET_EMPTY_SEGMENT";
	if (DOT_SEGMENT.test(name)) return "TARGET_DOT_SEGMENT";
	if (HOLLOW_SEGMENT.test(name) || /^ *file:/i.test(name)) return "ARTIFACT_AMBIGUOUS";
	return undefined;
}

/** @returns the decoded name, or a refusal */
function artifactName(method: string, raw: string): { name: string } | { refused: DoorErrorCode } {
	if (raw === "") return { refused: "ARTIFACT_EMPTY" };
	let name = raw;
	if (!UNRESERVED.test(raw)) {
		if (BAD_PERCENT.test(raw)) return { refused: "TARGET_ENCODING" };
		if (/%2f/i.test(raw)) return { refused: "TARGET_ENCODED_SLASH" };
		try {
			name = decodeURIComponent(raw);
		} catch {
			return { refused: "TARGET_ENCODING" };
		}
	}
	let level = name;
	for (let i = 0; ; i++) {
		const refused = whyNotName(level);
		if (refused !== undefined) return { refused };
		const next = unquote(level);
		if (next === level) break;
		if (i === 10) return { refused: "ARTIFACT_AMBIGUOUS" };
		level = next;
	}
	if (method === "DELETE" && AMBIGUOUS_TO_DELETE.test(name)) return { refused: "ARTIFACT_AMBIGUOUS" };
	return { name };
}

/** What `encodeURIComponent` encodes and RFC 3986 allows in a segment. Servers match on `name:verb` as it stands. */
const SEGMENT_FRIENDLY = /%(?:24|26|2B|2C|3A|3D|40)/g;

/** One spelling for the rest of an open path: UTF-8, each segment decoded once and encoded again. */
function openPath(raw: string): { name: string; encoded: string } | { refused: DoorErrorCode } {
	if (BAD_PERCENT.test(raw)) return { refused: "TARGET_ENCODING" };
	if (/%2f/i.test(raw)) return { refused: "TARGET_ENCODED_SLASH" };
	if (raw.includes(";")) return { refused: "TARGET_PARAMETERS" };
	let name: string;
	try {
		name = decodeURIComponent(raw);
	} catch {
		return { refused: "TARGET_ENCODING" };
	}
	if (CONTROL.test(name)) return { refused: "TARGET_CHARACTER" };
	if (name.includes("\\")) return { refused: "TARGET_BACKSLASH" };
	if (name.startsWith("/") || name.includes("//")) return { refused: "TARGET_EMPTY_SEGMENT" };
	// At every level: a server that decodes twice is not made to climb out of what we were asked for.
	let level = name;
	for (let i = 0; i < 10; i++) {
		if (DOT_SEGMENT.test(level)) return { refused: "TARGET_DOT_SEGMENT" };
		const next = unquote(level);
		if (next === level) break;
		level = next;
	}
	const encoded = UNRESERVED.test(name)
		? name
		: name
				.split("/")
				.map((segment) => encodeURIComponent(segment).replace(SEGMENT_FRIENDLY, unquote))
				.join("/");
	return { name, encoded };
}

/** Pairs that every parser reads alike: `name=value`, both non-special, joined by `&`. */
const PLAIN_QUERY = /^(?:[A-Za-z0-9\-._~!$'()*,:@/?]+=[A-Za-z0-9\-._~!$'()*,:@/?]*(?:&(?=[^&])|$))*$/;
const FRIENDLY = /%(?:24|2C|3A|40|2F|3F)/g;

const encodePart = (text: string): string => encodeURIComponent(text).replace(FRIENDLY, unquote);

/**
 * One spelling for a query: empty pairs dropped, `+` a blank, each pair with one `=`, uppercase hex.
 * Order and repetitions stay. MLflow looks for `%5B%5D` in just this spelling.
 * @returns undefined for broken encoding or a NUL
 */
export function canonicalQuery(raw: string): string | undefined {
	if (PLAIN_QUERY.test(raw)) return raw;
	const pairs: string[] = [];
	for (const pair of raw.split("&")) {
		if (pair === "") continue;
		const at = pair.indexOf("=");
		const parts = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
		try {
			const [name = "", value = ""] = parts.map((part) => decodeURIComponent(part.replaceAll("+", " ")));
			if (name.includes("\0") || value.includes("\0")) return undefined;
			pairs.push(`${encodePart(name)}=${encodePart(value)}`);
		} catch {
			return undefined;
		}
	}
	return pairs.join("&");
}

/**
 * @param method decides too: what is deleted must be named without doubt
 * @param raw the target as it stood in the request line
 * @param tails the prefixes below which anything may follow
 */
export function canonicalTarget(
	method: string,
	raw: string,
	tails: readonly Tail[],
): Target | { refused: DoorErrorCode } {
	if (!raw.startsWith("/")) return { refused: "TARGET_FORM" };
	if (!/^[\x21-\x7e]*$/.test(raw)) return { refused: "TARGET_CHARACTER" };
	if (raw.includes("#")) return { refused: "TARGET_FRAGMENT" };
	const mark = raw.indexOf("?");
	const rawPath = mark < 0 ? raw : raw.slice(0, mark);
	if (rawPath.includes("\\")) return { refused: "TARGET_BACKSLASH" };
	if (rawPath.startsWith("//")) return { refused: "TARGET_EMPTY_SEGMENT" };
	const rawQuery = mark < 0 ? "" : raw.slice(mark + 1);
	const query = canonicalQuery(rawQuery);
	if (query === undefined) return { refused: "QUERY_ENCODING" };

	let path = rawPath;
	let encoded = rawPath;
	const tail = tails.find(({ prefix }) => rawPath.startsWith(prefix));
	if (tail?.kind === "artifact") {
		const found = artifactName(method, rawPath.slice(tail.prefix.length));
		if ("refused" in found) return found;
		path = tail.prefix + found.name;
		if (!UNRESERVED.test(found.name)) {
			encoded = tail.prefix + found.name.split("/").map(encodeURIComponent).join("/");
		} else {
			encoded = path;
		}
	} else if (tail?.kind === "open") {
		const found = openPath(rawPath.slice(tail.prefix.length));
		if ("refused" in found) return found;
		path = tail.prefix + found.name;
		encoded = tail.prefix + found.encoded;
	} else if (!PLAIN_PATH.test(rawPath)) {
		return { refused: whyNotPlain(rawPath) };
	} else if (rawPath.includes("{") || rawPath.includes("}")) {
		encoded = rawPath.replaceAll("{", "%7B").replaceAll("}", "%7D");
	}
	// What came in its one form is sent on as it came, which is the same text without putting it together anew.
	const asItCame = encoded === rawPath && query === rawQuery;
	const forward = query === "" ? encoded : asItCame ? raw : `${encoded}?${query}`;
	return { path, prefix: tail?.prefix, forward, query };
}
