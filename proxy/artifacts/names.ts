/** What artifacts are called: as keys of the store, in headers and in MLflow's JSON. */
import { ArtifactError } from "./errors.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const UNSAFE = /[\u0000-\u001f\u007f\\]|^\/|\/$|\/\/|(?:^|\/)\.{1,2}(?:\/|$)/;

/**
 * A path that is one name of one thing. It is a key of the store as it stands: unlike MLflow we never decode it
 * again, so that a `%` in a name stays what it is.
 * @throws {ArtifactError} ARTIFACT_PATH
 */
export function safePath(path: string): string {
	if (path === "" || UNSAFE.test(path)) throw new ArtifactError("ARTIFACT_PATH");
	return path;
}

/** What a round trip stores for a moment; no artifact of anybody's. */
export const roundTripKey = (mark: string): string => `.mlgate/round-trip-${mark}`;

export const isRoundTrip = (key: string): boolean => /^\.mlgate\/round-trip-[0-9a-f]{16}$/.test(key);

export const joinPath = (root: string, path: string): string =>
	root === "" ? path : path === "" ? root : `${root}/${path}`;

export const baseName = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/** In the order of code points, as Python sorts; JavaScript's own order differs beyond U+FFFF. */
export function byCodePoint(a: string, b: string): number {
	const length = Math.min(a.length, b.length);
	for (let i = 0; i < length; i++) {
		const x = a.charCodeAt(i);
		const y = b.charCodeAt(i);
		if (x !== y) {
			const [surrogateX, surrogateY] = [x >= 0xd800 && x < 0xe000, y >= 0xd800 && y < 0xe000];
			return surrogateX === surrogateY ? x - y : surrogateX ? 1 : -1;
		}
	}
	return a.length - b.length;
}

const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
const NOT_ATTRIBUTE_CHARACTER = /[^A-Za-z0-9!#$&+.^_`|~-]/gu;

const percent = (character: string): string =>
	Buffer.from(character).toString("hex").toUpperCase().replace(/../g, "%$&");

/**
 * `Content-Disposition` as MLflow's `get-artifact` sends it (Werkzeug's `send_file`; RFC 6266, RFC 8187): a
 * token, else a quoted string, and `filename*` beside the ASCII remains of a name that is not ASCII.
 */
export function attachment(name: string): string {
	const value = (text: string) => (TOKEN.test(text) ? text : `"${text.replace(/["\\]/g, "\\$&")}"`);
	// biome-ignore lint/suspicious/noControlCharactersInRegex: everything that is not ASCII
	if (/^[\u0000-\u007f]*$/.test(name)) return `attachment; filename=${value(name)}`;
	// biome-ignore lint/suspicious/noControlCharactersInRegex: everything that is not ASCII
	const ascii = name.normalize("NFKD").replace(/[^\u0000-\u007f]/g, "");
	const encoded = name.toWellFormed().replace(NOT_ATTRIBUTE_CHARACTER, percent);
	return `attachment; filename=${value(ascii)}; filename*=UTF-8''${encoded}`;
}

/** JSON as Python's `json.dumps(value, indent=2)` writes it, which is how MLflow answers. */
export const pythonJson = (value: unknown): string =>
	JSON.stringify(value, null, 2).replace(
		/[\u007f-\uffff]/g,
		(character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
	);
