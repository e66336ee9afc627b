/** MLflow's static files out of a folder as the image has it. */
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync, gunzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
	type Asked,
	ask as askAt,
	eventually,
	exchange,
	type Rig,
	request,
	rig,
	type Said,
} from "./support.ts";

const SCRIPT = fileURLToPath(new URL("../../../infra/images/door/ui.mjs", import.meta.url));
/** As MLflow's bundler writes them. */
const ROUTES =
	'[{path:Oe.A.experimentPage,element:(0,Te.eK)((()=>Promise.all([n.e(490),n.e(7)]).then(n.bind(n,69921)))),pageId:"a"},' +
	'{path:Oe.A.compareRuns,element:(0,Te.eK)((()=>Promise.all([n.e(996),n.e(8)]).then(n.bind(n,80993)))),pageId:"b"},' +
	"{path:Le.K1.modelListPage,element:(0,Te.eK)((()=>Promise.all([n.e(8)]).then(n.bind(n,60349))))}]";
/** A part that asks for another one, when it draws. */
const CHART = "const o=i.lazy((()=>s.e(850).then(s.t.bind(s,84850,23))));s.e(8);";
const CODE = "export const answer = 42;\n".repeat(500) + ROUTES;

let it: Rig;
let folder: string;

beforeAll(async () => {
	folder = mkdtempSync(join(tmpdir(), "mlgate-test-ui-"));
	const files: Record<string, string | Buffer> = {
		"index.html": "<!doctype html>",
		"static/js/main.83f1172e.js": CODE,
		"static/js/490.e46a7c21.chunk.js": CODE,
		"static/js/8.e46a7c22.chunk.js": "console.log(8);",
		"static/css/7.e46a7c23.chunk.css": "a {}",
		"static/js/49.e46a7c24.chunk.js": CODE,
		"static/js/996.e46a7c25.chunk.js": CHART,
		"static/js/850.e46a7c26.chunk.js": CODE,
		"static/js/main.83f1172e.js.map": "{}",
		"static/css/main.328af5c2.css": "body { color: red }".repeat(100),
		"static/media/tiny.0fd4a63680fba840a7b69fbf07969f79.svg": "<svg/>",
		"pdf.worker.js": CODE,
		"strange.xyz": "?",
	};
	for (const [name, content] of Object.entries(files)) {
		mkdirSync(dirname(join(folder, "from", name)), { recursive: true });
		writeFileSync(join(folder, "from", name), content);
	}
	execFileSync(process.execPath, [SCRIPT, join(folder, "from"), join(folder, "ui")]);
	it = await rig({ uiFolder: join(folder, "ui") });
});
afterAll(async () => {
	await it?.close();
	rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
	it.upstream.seen.length = 0;
});

const ask = (path: string, { method = "GET", ...asked }: Asked & { method?: string } = {}): Promise<Said> =>
	askAt(it.port, method, `/static-files/${path}`, asked).answer;

const MAIN = "static/js/main.83f1172e.js";

test.each<[string, string | undefined, (bytes: Buffer) => Buffer]>([
	["gzip, deflate, br", "br", brotliDecompressSync],
	["gzip, deflate", "gzip", gunzipSync],
	["identity", undefined, (bytes) => bytes],
])("a client that takes %s gets a file as %s, the same bytes", async (accepted, coding, decode) => {
	const { status, headers, body } = await ask(MAIN, { headers: { "accept-encoding": accepted } });
	expect([status, headers["content-encoding"], decode(body).toString()]).toEqual([200, coding, CODE]);
	expect(headers["content-type"]).toBe("text/javascript; charset=utf-8");
	expect(headers["cache-control"]).toBe("private, max-age=31536000, immutable");
	expect(headers.vary).toBe("Accept-Encoding");
	expect(headers["x-content-type-options"]).toBe("nosniff");
	expect(Number(headers["content-length"])).toBe(body.length);
	expect(it.upstream.seen).toEqual([]);
});

test("each coding has an ETag of its own, and any of them is known again", async () => {
	const tags = await Promise.all(
		["br", "gzip", "identity"].map(
			async (coding) => (await ask(MAIN, { headers: { "accept-encoding": coding } })).headers.etag as string,
		),
	);
	expect(new Set(tags).size).toBe(3);
	for (const tag of [...tags, `W/${tags[0]}`, `"other", ${tags[1]}`]) {
		const { status, body } = await ask(MAIN, {
			headers: { "if-none-match": tag, "accept-encoding": "br" },
		});
		expect([tag, status, body.length]).toEqual([tag, 304, 0]);
	}
	expect((await ask(MAIN, { headers: { "if-none-match": '"other"' } })).status).toBe(200);
});

test("a name without a hash is asked for again; what compresses to nothing goes as it is", async () => {
	const worker = await ask("pdf.worker.js", { headers: { "accept-encoding": "br" } });
	expect(worker.headers["cache-control"]).toBe("private, no-cache");
	expect(brotliDecompressSync(worker.body).toString()).toBe(CODE);
	const tiny = await ask("static/media/tiny.0fd4a63680fba840a7b69fbf07969f79.svg", {
		headers: { "accept-encoding": "br" },
	});
	expect([tiny.headers["content-encoding"], tiny.body.toString()]).toEqual([undefined, "<svg/>"]);
});

test("HEAD has the headers alone", async () => {
	const { status, headers, body } = await ask(MAIN, { method: "HEAD" });
	expect([status, Number(headers["content-length"]), body.length]).toEqual([200, CODE.length, 0]);
});

test("nobody gets a file without signing in", async () => {
	expect((await ask(MAIN, { role: null })).status).toBe(401);
});

test.each([
	`${MAIN}.map`,
	"index.html",
	"nothing.js",
	"strange.xyz",
	"files.json",
	`${MAIN}.br`,
	"__proto__",
	"constructor.js",
])("%s is MLflow's to answer", async (path) => {
	expect((await ask(path)).body.toString()).toBe('{"from":"upstream"}');
	expect(it.upstream.seen.map(({ url }) => url)).toEqual([`/static-files/${path}`]);
});

test("MLflow's page carries what each of its pages asks for first, as its own routes say it", async () => {
	const parts = {
		experimentPage: {
			first: ["static/js/490.e46a7c21.chunk.js", "static/css/7.e46a7c23.chunk.css"],
			later: [],
		},
		compareRuns: {
			first: ["static/js/996.e46a7c25.chunk.js", "static/js/8.e46a7c22.chunk.js"],
			later: ["static/js/850.e46a7c26.chunk.js"],
		},
		modelListPage: { first: ["static/js/8.e46a7c22.chunk.js"], later: [] },
	};
	const early = JSON.parse(readFileSync(join(folder, "ui", "early.json"), "utf8"));
	expect(early).toEqual(parts);
	const page = "<!doctype html><html><head></head><body></body></html>";
	it.upstream.answer = (_, res) =>
		void res.writeHead(200, { "content-type": "text/html", "content-length": page.length }).end(page);
	const { body } = await exchange(it.port, request("GET", "/"));
	const [, said = ""] =
		/<script src="\/door\/assets\/early-\w+\.js" data-parts="([^"]*)" async>/.exec(body) ?? [];
	expect(JSON.parse(said.replaceAll("&quot;", '"'))).toEqual(early);
});

test.each([
	[
		"routes",
		CODE.replaceAll("Promise.all", "Promise.any"),
		CHART,
		"has no route that this script understands",
	],
	[
		"charts",
		CODE,
		CHART.replaceAll(".e(", ".f("),
		"draws no chart on compareRuns that this script understands",
	],
])("a build of MLflow's whose %s cannot be found makes no image", (what, main, part, said) => {
	const other = join(folder, what);
	mkdirSync(join(other, "static/js"), { recursive: true });
	writeFileSync(join(other, "static/js/main.0a1b2c3d.js"), main);
	writeFileSync(join(other, "static/js/996.0a1b2c3d.chunk.js"), part);
	writeFileSync(join(other, "static/js/850.0a1b2c3d.chunk.js"), "");
	const made = spawnSync(process.execPath, [SCRIPT, other, join(folder, "none")], { encoding: "utf8" });
	expect(made.status).not.toBe(0);
	expect(made.stderr).toContain(said);
});

test("a client on a slow line gets its file whole; one that takes nothing is ended", async () => {
	// More than the kernel takes off the door's hands.
	const size = 24 * 1024 * 1024;
	const huge = join(folder, "huge");
	mkdirSync(huge);
	writeFileSync(join(huge, "huge.png"), Buffer.alloc(size));
	writeFileSync(join(huge, "files.json"), JSON.stringify({ "huge.png": { hash: "x", codings: [] } }));
	writeFileSync(join(huge, "early.json"), "{}");
	const slow = await rig({ uiFolder: huge, transfers: { sweep: 20, clientIdle: 3_000 } });
	/** Bytes that came until the connection closed. @param pause ms between two reads; undefined: it reads nothing */
	const download = async (pause: number | undefined) => {
		const socket = connect(slow.port, "127.0.0.1");
		let bytes = 0;
		socket.on("error", () => {});
		socket.write(request("GET", "/static-files/huge.png", { headers: ["Connection: close"] }));
		if (pause === undefined) {
			// Its end is seen only by whoever reads.
			await eventually(() => slow.door.live().transfers === 1);
			await eventually(() => slow.door.live().transfers === 0, 20_000);
		}
		socket.on("data", (chunk) => {
			bytes += chunk.length;
			if (pause === undefined) return;
			socket.pause();
			setTimeout(() => socket.resume(), pause);
		});
		await once(socket, "close");
		return bytes;
	};
	const began = performance.now();
	expect(await download(10)).toBeGreaterThan(size);
	// It took longer than a client may stand still.
	expect(performance.now() - began).toBeGreaterThan(3_000);
	expect(await download(undefined)).toBeLessThan(size);
	await slow.close();
});
