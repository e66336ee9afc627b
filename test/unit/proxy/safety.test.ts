/** What browsers are told: one policy for each kind of answer, and MLmodel files that hold no code. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { isCode } from "../../../proxy/forward/mlmodel.ts";
import { ROUTES } from "../../../proxy/routes/match.ts";
import { safetyOf } from "../../../proxy/safety.ts";
import { eventually, exchange, Raw, type Rig, request, rig } from "./support.ts";

let it: Rig;
beforeAll(async () => {
	it = await rig();
});
afterAll(() => it.close());
const plain = (_: unknown, res: { end(text: string): unknown }) => void res.end("x");
beforeEach(() => {
	it.upstream.seen.length = 0;
	it.upstream.answer = plain;
});

const headers = (head: string): Record<string, string> =>
	Object.fromEntries(
		head
			.split("\r\n")
			.slice(1)
			.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 2)]),
	);
const get = async (path: string, role: "viewer" | null = "viewer") =>
	headers((await exchange(it.port, request("GET", path, { role }))).head);
const directives = (policy = "") =>
	Object.fromEntries(policy.split("; ").map((text) => [text.split(" ")[0], text.split(" ").slice(1)]));

describe("every answer", () => {
	test.each([
		["MLflow's page", "/", "viewer"],
		["a script of it", "/static-files/static/js/main.83f1172e.js", "viewer"],
		["JSON", "/api/2.0/mlflow/experiments/search", "viewer"],
		["an artifact", "/get-artifact?path=a.html&run_uuid=b", "viewer"],
		["a refusal", "/api/2.0/mlflow/nothing", "viewer"],
		["a 401", "/api/2.0/mlflow/experiments/search", null],
		["a bad path", "//", null],
		["health", "/door/health", null],
		["whoami", "/door/whoami", "viewer"],
		["many runs", `/door/runs?run_id=${"a".repeat(32)}`, "viewer"],
	] as const)("%s: a policy that frames nowhere, nosniff, no referrer for others", async (_, path, role) => {
		const said = await get(path, role);
		expect(directives(said["content-security-policy"])).toMatchObject({
			"default-src": expect.any(Array),
			"frame-ancestors": ["'none'"],
		});
		expect(said).toMatchObject({
			"x-content-type-options": "nosniff",
			"x-frame-options": "SAMEORIGIN",
			"referrer-policy": "same-origin",
			"cross-origin-resource-policy": "same-origin",
		});
	});

	test("no route of the map is without one", () => {
		for (const route of ROUTES) {
			const { headers } = safetyOf(route, route.rule);
			expect([route.rule, headers.includes("Content-Security-Policy")]).toEqual([route.rule, true]);
		}
	});
});

describe("MLflow's page", () => {
	test("runs its own scripts, no inline ones, and talks to this server alone", async () => {
		const said = await get("/");
		const policy = directives(said["content-security-policy"]);
		expect(policy["default-src"]).toEqual(["'none'"]);
		expect(policy["script-src"]).toEqual(["'self'", "'unsafe-eval'"]);
		expect(policy["connect-src"]).toEqual(["'self'"]);
		expect(policy["base-uri"]).toEqual(["'none'"]);
		expect(policy["form-action"]).toEqual(["'none'"]);
		expect(said["content-security-policy"]).not.toMatch(/ \*|https?:(?:;| |$)/);
		expect(said["cross-origin-opener-policy"]).toBe("same-origin");
		expect(said["cache-control"]).toBe("private, no-cache");
	});

	test("its files are kept for ever where their name changes with them, and by the browser alone", async () => {
		it.upstream.answer = (_, res) => {
			res.setHeader("cache-control", "public, max-age=2419200");
			res.end("x");
		};
		expect((await get("/static-files/static/js/main.83f1172e.js"))["cache-control"]).toBe(
			"private, max-age=31536000, immutable",
		);
		expect((await get("/static-files/static/js/185.8e1e0cb5.chunk.js"))["cache-control"]).toContain(
			"immutable",
		);
		expect((await get("/static-files/favicon.ico"))["cache-control"]).toBe("private, no-cache");
	});

	test("a file that is not there is not kept", async () => {
		it.upstream.answer = (_, res) => void res.writeHead(404).end("x");
		expect((await get("/static-files/static/js/main.00000000.js"))["cache-control"]).toBe("no-store");
	});
});

describe("artifacts", () => {
	test.each([
		"/get-artifact?path=a.html&run_uuid=b",
		"/model-versions/get-artifact?path=a.svg&name=m&version=1",
		"/api/2.0/mlflow-artifacts/artifacts/1/0f/artifacts/a.html",
		"/ajax-api/2.0/mlflow-artifacts/artifacts/1/0f/artifacts/a.html",
	])("%s cannot use the session: sandboxed, without scripts, as a download", async (path) => {
		it.upstream.answer = (_, res) => {
			res.setHeader("content-type", "text/html");
			res.end("<script>1</script>");
		};
		const said = await get(path);
		const policy = directives(said["content-security-policy"]);
		expect(policy).toMatchObject({ sandbox: [], "default-src": ["'none'"] });
		expect(policy).not.toHaveProperty("script-src");
		expect(said["content-disposition"]).toBe("attachment");
		expect(said["cache-control"]).toBe("private, no-cache");
	});

	test("MLflow's own disposition, with the name in it, stays", async () => {
		it.upstream.answer = (_, res) => {
			res.setHeader("content-disposition", 'attachment; filename="a b.html"');
			res.end("x");
		};
		expect((await get("/get-artifact?path=a.html&run_uuid=b"))["content-disposition"]).toBe(
			'attachment; filename="a b.html"',
		);
	});

	test("nothing of an error is kept", async () => {
		it.upstream.answer = (_, res) => void res.writeHead(404).end("{}");
		expect((await get("/get-artifact?path=a.html&run_uuid=b"))["cache-control"]).toBe("no-store");
	});
});

const GOOD = `artifact_path: model
flavors:
  python_function:
    env: {conda: conda.yaml}
    loader_module: mlflow.pyfunc.model
signature:
  inputs: '[{"type": "double", "name": "wow! such !js/column", "required": true}]'
`;
const HOSTILE = [
	"flavors: !!js/function 'function(){alert(1)}'",
	"flavors:\n  toString: !!js/function >\n    function(){fetch('/x')}",
	"a: !!js/undefined ''",
	"a: !!js/regexp /a/",
	"a: !<tag:yaml.org,2002:js/function> 'function(){}'",
	"%TAG ! tag:yaml.org,2002:js/\n---\na: !function 'function(){}'",
	"%TAG !e! tag:yaml.org,2002:j\n---\na: !e!s/function 'function(){}'",
	"%YAML 1.2\r%TAG !! tag:yaml.org,2002:js/\r---\ra: !!function 'function(){}'",
	"\ufeff%TAG ! tag:yaml.org,2002:js/\n---\na: !function 'f'",
];

describe("AFINE's stored XSS (mlflow#21435): code in an MLmodel file", () => {
	const PATHS = [
		"/get-artifact?path=model%2FMLmodel&run_uuid=b",
		"/get-artifact?run_id=b&path=MLmodel",
		"/model-versions/get-artifact?path=MLmodel&name=m&version=1",
		"/get-artifact?path=a&path=x%2FMLmodel&run_uuid=b",
	];

	test.each(HOSTILE)("%j reaches no page", async (file) => {
		it.upstream.answer = (_, res) => void res.end(file);
		for (const path of PATHS) {
			const answer = await exchange(it.port, request("GET", path, { role: "viewer" }));
			expect([answer.status, answer.code]).toEqual([403, "MODEL_FILE_CODE"]);
			expect(answer.body).not.toContain("js/");
		}
	});

	test("what a browser could read in another encoding reaches none either", async () => {
		for (const bytes of [
			Buffer.from(`\ufeff${HOSTILE[0]}`, "utf16le"),
			Buffer.from(`\ufeff${HOSTILE[0]}`, "utf16le").swap16(),
		]) {
			expect(isCode(bytes)).toBe(true);
		}
	});

	test("a good one does, as it is, with MLflow's type and name", async () => {
		it.upstream.answer = (_, res) => {
			res.setHeader("content-type", "text/plain; charset=utf-8");
			res.setHeader("content-disposition", "attachment; filename=MLmodel");
			res.setHeader("content-length", GOOD.length);
			res.end(GOOD);
		};
		for (const path of PATHS) {
			const answer = await exchange(it.port, request("GET", path, { role: "viewer" }));
			expect([answer.status, answer.body]).toEqual([200, GOOD]);
			expect(headers(answer.head)).toMatchObject({
				"content-type": "text/plain; charset=utf-8",
				"content-disposition": "attachment; filename=MLmodel",
			});
		}
	});

	test("a part of one is not asked for: it could not be judged", async () => {
		it.upstream.answer = (_, res) => void res.end(HOSTILE[0]);
		const answer = await exchange(
			it.port,
			request("GET", PATHS[0] ?? "", { headers: ["Range: bytes=9-40", "If-None-Match: x"] }),
		);
		expect(answer.code).toBe("MODEL_FILE_CODE");
		expect(it.upstream.seen[0]?.headers).not.toHaveProperty("range");
		expect(it.upstream.seen[0]?.headers).not.toHaveProperty("if-none-match");
	});

	test("a HEAD of one runs no download", async () => {
		const answer = await exchange(it.port, request("HEAD", PATHS[0] ?? ""));
		expect([answer.status, answer.code]).toEqual([405, "HEAD_DOWNLOAD"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test("one beyond all measure is refused", async () => {
		it.upstream.answer = (_, res) => void res.end("a: ".padEnd(5 * 1024 * 1024, "b"));
		expect((await exchange(it.port, request("GET", PATHS[0] ?? ""))).code).toBe("MODEL_FILE_CODE");
	});

	test("MLflow's own refusals come through", async () => {
		it.upstream.answer = (_, res) => void res.writeHead(404).end('{"error_code":"RESOURCE_DOES_NOT_EXIST"}');
		const answer = await exchange(it.port, request("GET", PATHS[0] ?? ""));
		expect([answer.status, answer.code]).toEqual([404, undefined]);
	});

	test("downloads by MLflow's client are not touched", async () => {
		it.upstream.answer = (_, res) => void res.end(HOSTILE[0]);
		const path = "/api/2.0/mlflow-artifacts/artifacts/1/0f/artifacts/model/MLmodel";
		expect((await exchange(it.port, request("GET", path))).body).toContain("js/");
	});

	test("a client that leaves takes its upstream request along", async () => {
		it.upstream.answer = () => {};
		const raw = new Raw(it.port);
		raw.send(request("GET", PATHS[0] ?? ""));
		await eventually(() => it.upstream.seen.length === 1);
		raw.destroy();
		await eventually(() => it.door.live().running === 0 && it.upstream.broken > 0);
	});
});
