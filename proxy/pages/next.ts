/** Where to go after signing in. */

const FALLBACK = "/";

/** Characters. */
const LONGEST = 2_048;

/** Pages that lead back to the sign-in. */
const OWN = /^\/(login|logout|invite)(?=[/?#]|$)/;

/**
 * The path if it is one of our own origin, spelled so that every browser reads it as such; else `/`.
 * Printable ASCII, one leading slash, no backslash; no control character, which browsers drop before reading.
 */
export function ownPath(next: string | null | undefined): string {
	if (!next || next.length > LONGEST || !/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(next)) return FALLBACK;
	if (OWN.test(next)) return FALLBACK;
	// A second reader, the one that browsers use too.
	const base = "http://door.invalid";
	return URL.canParse(next, base) && new URL(next, base).origin === base ? next : FALLBACK;
}
