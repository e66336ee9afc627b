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
const main = Object.keys(files).find((name) => /^static\/js\/main\.[0-9a-f]+\.js$/.test(name));
if (main === undefined) throw new Error(`${from} has no main script`);
const early = {};
for (const [, route, chunks] of readFileSync(join(from, main), "utf8").matchAll(ROUTE)) {
	const ids = [...chunks.matchAll(/\.e\((\d+)\)/g)].map(([, id]) => id);
	early[route] = Object.keys(files).filter((name) => {
		const [, id] = /^static\/(?:js|css)\/(\d+)\.[0-9a-f]+\.chunk\.(?:js|css)$/.exec(name) ?? [];
		return id !== undefined && ids.includes(id);
	});
}
if (!("experimentPage" in early)) throw new Error(`${main} has no route that this script understands`);
writeFileSync(join(to, "early.json"), JSON.stringify(early));
