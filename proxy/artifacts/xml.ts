/**
 * The little XML that the S3 protocol speaks. The answers are the store's own and flat, and names in them are
 * percent-encoded on request (`encoding-type=url`), so elements are taken out by their tags.
 */

/** The contents of all elements of a name; elements of one name never nest. */
export const elements = (xml: string, name: string): string[] =>
	[...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, "g"))].map(([, inner = ""]) => inner);

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

/** The text of the first element of a name. */
export function text(xml: string, name: string): string | undefined {
	const at = xml.indexOf(`<${name}>`);
	if (at < 0) return undefined;
	const from = at + name.length + 2;
	return xml
		.slice(from, xml.indexOf("</", from))
		.replace(/&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g, (whole, decimal, hex, named) =>
			named === undefined
				? String.fromCodePoint(decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal))
				: (ENTITIES[named] ?? whole),
		);
}

/** A name that was percent-encoded with `+` for a blank. */
export const decodeName = (name: string): string => decodeURIComponent(name.replaceAll("+", " "));

/** A name that XML 1.0 can carry. */
export const canCarry = (name: string): boolean =>
	/^[\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]*$/u.test(name);

export const escapeText = (value: string): string =>
	value.replace(/[&<>"'\t\n\r]/g, (character) => `&#${character.charCodeAt(0)};`);
