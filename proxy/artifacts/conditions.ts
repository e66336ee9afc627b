/** Conditional and range requests, RFC 9110 sections 13 and 14, on one object of the store. */
import type { IncomingHttpHeaders } from "node:http";
import type { ObjectInfo } from "./store.ts";

export const isConditional = (headers: IncomingHttpHeaders): boolean =>
	headers["if-none-match"] !== undefined ||
	headers["if-modified-since"] !== undefined ||
	headers["if-match"] !== undefined ||
	headers["if-unmodified-since"] !== undefined ||
	(headers["if-range"] !== undefined && headers.range !== undefined);

const tags = (list: string): string[] => list.match(/(?:W\/)?"[^"]*"/g) ?? [];
const opaque = (tag: string): string => tag.replace(/^W\//, "");

/** Seconds; NaN for what is no date. */
const date = (text: string): number => Math.floor(Date.parse(text) / 1000);

const matchesStrongly = (list: string, etag: string): boolean =>
	list.trim() === "*" || tags(list).includes(etag);
const matchesWeakly = (list: string, etag: string): boolean =>
	list.trim() === "*" || tags(list).map(opaque).includes(opaque(etag));

/** What a GET or HEAD has to be answered with, in the order of RFC 9110 13.2.2. */
export function evaluate(headers: IncomingHttpHeaders, { etag, lastModified }: ObjectInfo): 200 | 304 | 412 {
	const modified = date(lastModified);
	const match = headers["if-match"];
	const unmodified = date(headers["if-unmodified-since"] ?? "");
	if (match !== undefined ? !matchesStrongly(match, etag) : modified > unmodified) return 412;
	const noneMatch = headers["if-none-match"];
	const since = date(headers["if-modified-since"] ?? "");
	return (noneMatch !== undefined ? matchesWeakly(noneMatch, etag) : modified <= since) ? 304 : 200;
}

/**
 * The one range that a request asks for, in canonical form, or undefined where the whole is the right answer:
 * no range, several of them, another unit, or a form that is none.
 */
export function rangeOf(headers: IncomingHttpHeaders): string | undefined {
	const found = /^bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*$/i.exec(headers.range ?? "");
	if (found === null) return undefined;
	const [, first, last, suffix] = found;
	if (suffix !== undefined) return `bytes=-${position(suffix)}`;
	if (last !== "" && position(last) < position(first)) return undefined;
	return `bytes=${position(first)}-${last === "" ? "" : position(last)}`;
}

/** Beyond any object, and still a number that the store can read. */
const position = (digits: string | undefined): number => Math.min(Number(digits), 2 ** 50);

/** `If-Range`: the range counts only while the object is the one that the client has a piece of. */
export function rangeStands(headers: IncomingHttpHeaders, { etag, lastModified }: ObjectInfo): boolean {
	const known = headers["if-range"];
	if (typeof known !== "string") return known === undefined;
	return known.includes('"') ? known.trim() === etag : date(known) === date(lastModified);
}

/** `bytes 0-9/100` */
export function contentRange(text: string): { first: number; last: number; size: number } | undefined {
	const found = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(text);
	if (found === null) return undefined;
	const [first = 0, last = 0, size = 0] = found.slice(1).map(Number);
	return { first, last, size };
}
