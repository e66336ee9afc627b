// MLflow's static files, made ready to be sent: node ui.mjs <from> <to>
// Each lies there as it is, and compressed as well as it goes wherever that makes it smaller: nobody waits for it here.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const [from, to] = process.argv.slice(2);

const CODINGS = [
	[
		"br",
		(bytes) =>
			brotliCompressSync(bytes, {
				params: {
					[constants.BROTLI_PARAM_QUALITY]: 11,
					[constants.BROTLI_PARAM_LGWIN]: 24,
					[constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
				},
			}),
	],
	["gzip", (bytes) => gzipSync(bytes, { level: 9 })],
];

const files = {};
for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
	// Source maps are seven eighths of the folder, and for MLflow's own developers.
	if (!entry.isFile() || entry.name.endsWith(".map")) continue;
	const path = join(entry.parentPath, entry.name);
	const name = relative(from, path).split(sep).join("/");
	// The page itself stays MLflow's.
	if (name === "index.html") continue;
	const bytes = readFileSync(path);
	const target = join(to, name);
	mkdirSync(dirname(target), { recursive: true });
	writeFileSync(target, bytes);
	const codings = CODINGS.filter(([coding, compress]) => {
		const small = compress(bytes);
		if (small.length > bytes.length * 0.95) return false;
		writeFileSync(`${target}.${coding}`, small);
		return true;
	});
	files[name] = {
		hash: createHash("sha256").update(bytes).digest("base64url").slice(0, 22),
		codings: codings.map(([coding]) => coding),
	};
}
writeFileSync(join(to, "files.json"), JSON.stringify(files));

// Which of them each page asks for once MLflow's main script runs: its routes say so. See proxy/menu/early.js.
const ROUTE = /path:[\w.]*?(\w+),element:\(0,[\w.]+\)\(\(\(\)=>Promise\.all\(\[([^\]]*)\]\)/g;
/** Pages that always draw a chart. The library for it is asked for by their own parts, when they know what to draw. */
const CHARTS = ["compareRuns"];

const main = Object.keys(files).find((name) => /^static\/js\/main\.[0-9a-f]+\.js$/.test(name));
if (main === undefined) throw new Error(`${from} has no main script`);

/** By number of a part, which has a script, a style sheet, or both. */
const byPart = Object.groupBy(
	Object.keys(files),
	(name) => /^static\/(?:js|css)\/(\d+)\.[0-9a-f]+\.chunk\.(?:js|css)$/.exec(name)?.[1] ?? "none",
);
const filesOf = (parts) => parts.flatMap((part) => byPart[part] ?? []);
const read = (name) => readFileSync(join(from, name), "utf8");
/** The parts that a piece of a script asks for. */
const askedBy = (code) => [...code.matchAll(/\b\w+\.e\((\d+)\)/g)].map(([, part]) => part);

const early = {};
for (const [, route, code] of read(main).matchAll(ROUTE)) {
	const first = askedBy(code);
	const scripts = CHARTS.includes(route) ? filesOf(first).filter((name) => name.endsWith(".js")) : [];
	const later = new Set(scripts.flatMap((name) => askedBy(read(name)))).difference(new Set(first));
	early[route] = { first: filesOf(first), later: filesOf([...later]) };
}
if (!("experimentPage" in early)) throw new Error(`${main} has no route that this script understands`);
for (const route of CHARTS) {
	if (!early[route]?.later.length)
		throw new Error(`${main} draws no chart on ${route} that this script understands`);
}
writeFileSync(join(to, "early.json"), JSON.stringify(early));
