/**
 * The content type of an artifact, guessed from its name as MLflow 2.13.0 does (`utils/mime_type_utils.py`):
 * what people read as text is text, and the rest is Python's `mimetypes.guess_type`.
 */
import { readFileSync } from "node:fs";
import { baseName } from "./names.ts";

/** Suffixes, and whole names without one. Case counts here, and only here. */
const TEXT = new Set([
	..."txt log err cfg conf cnf cf ini properties prop hocon toml yaml yml xml json js py py3 csv tsv md rst".split(
		" ",
	),
	"MLmodel",
	"MLproject",
]);

/** Python's `suffix_map`: one suffix that stands for two. */
const DOUBLE: Readonly<Record<string, string>> = {
	".svgz": ".svg.gz",
	".tgz": ".tar.gz",
	".taz": ".tar.gz",
	".tz": ".tar.gz",
	".tbz2": ".tar.bz2",
	".txz": ".tar.xz",
};

/** Python's `encodings_map`: what is compressed has the type of what it compresses. */
const COMPRESSED = new Set([".gz", ".Z", ".bz2", ".xz", ".br"]);

const TYPES: ReadonlyMap<string, string> = new Map(
	readFileSync(new URL("mime.types", import.meta.url), "utf8")
		.split("\n")
		.filter((line) => line !== "" && !line.startsWith("#"))
		.flatMap((line) => {
			const [type = "", ...suffixes] = line.split(" ");
			return suffixes.map((suffix): [string, string] => [suffix, type]);
		}),
);

/** Python's `splitext`: a leading dot begins no suffix. */
function splitSuffix(name: string): [base: string, suffix: string] {
	const at = name.lastIndexOf(".");
	return at <= 0 || /^\.+$/.test(name.slice(0, at + 1)) ? [name, ""] : [name.slice(0, at), name.slice(at)];
}

function guess(name: string): string | undefined {
	// Python reads a URL here and MLflow gives it a name, so what ends in a colon is taken for a scheme.
	if (/^data:/i.test(name)) return undefined;
	let [base, suffix] = splitSuffix(name.replace(/^[^/:]+:/, ""));
	while (Object.hasOwn(DOUBLE, suffix.toLowerCase())) {
		[base, suffix] = splitSuffix(base + DOUBLE[suffix.toLowerCase()]);
	}
	if (COMPRESSED.has(suffix)) [base, suffix] = splitSuffix(base);
	return TYPES.get(suffix.slice(1).toLowerCase());
}

/** @param path an artifact's path or name */
export function mimeType(path: string): string {
	const name = baseName(path);
	const extension = splitSuffix(name)[1].replaceAll(".", "");
	if (TEXT.has(extension === "" ? name : extension)) return "text/plain";
	return guess(name) ?? "application/octet-stream";
}
