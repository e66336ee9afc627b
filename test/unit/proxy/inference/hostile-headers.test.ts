/** What a hostile inference API says in its headers, and what of it reaches a browser. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { exchange, type Rig, request, rig, Upstream } from "../support.ts";

let api: Upstream;
let it: Rig;
let inner: string;

beforeAll(async () => {
	api = new Upstream();
	inner = `127.0.0.1:${await api.listen()}`;
	it = await rig({ api: `http://${inner}` });
});
afterAll(async () => {
	await it.close();
	await api.close();
});

async function answerTo(
	status: number,
	headers: Record<string, string | string[]>,
	path = "/inference/deep/x",
) {
	api.answer = (_req, res) => {
		res.writeHead(status, headers);
		res.end(status === 304 ? undefined : "body");
	};
	// Without a body there is nothing but the end of the connection to wait for.
	const last = status === 304 ? ["Connection: close"] : [];
	const answer = await exchange(it.port, request("GET", path, { role: "viewer", headers: last }));
	const lines = answer.head.split("\r\n").slice(1);
	const got = new Map(lines.map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]));
	return { ...answer, headers: new Map([...got].map(([name, value]) => [name.toLowerCase(), value])) };
}

describe("what an inference API says", () => {
	test("nothing that acts beyond its own answer reaches a browser", async () => {
		const { headers, status } = await answerTo(200, {
			"content-type": "text/html",
			"set-cookie": ["mlgate-lab=stolen", "mlflow-request-header-Authorization=Basic eDp5"],
			"set-cookie2": "a=b",
			"clear-site-data": '"*"',
			"service-worker-allowed": "/",
			link: "</admin>; rel=preload",
			refresh: "0; url=/admin",
			"content-security-policy": "default-src *",
			"content-security-policy-report-only": "default-src 'none'; report-uri /evil",
			"x-content-type-options": "none",
			"x-frame-options": "ALLOWALL",
			"cross-origin-resource-policy": "cross-origin",
			"cross-origin-opener-policy": "unsafe-none",
			"cross-origin-embedder-policy": "require-corp",
			"access-control-allow-origin": "null",
			"access-control-allow-credentials": "true",
			"strict-transport-security": "max-age=31536000",
			"alt-svc": 'h3="evil.example:443"',
			"www-authenticate": 'Basic realm="mlgate"',
			"proxy-authenticate": "Basic",
			"report-to": "{}",
			"reporting-endpoints": 'default="/evil"',
			nel: "{}",
			"permissions-policy": "camera=*",
			"origin-agent-cluster": "?1",
			"speculation-rules": '"/rules.json"',
			sourcemap: "/evil.map",
			"x-door-error": "NO_CREDENTIAL",
			"set-login": "logged-in",
			server: "evil",
			"x-powered-by": "evil",
			"content-location": "/admin",
			"referrer-policy": "unsafe-url",
			connection: "keep-alive, X-Frame-Options",
			"keep-alive": "timeout=1",
			trailer: "Set-Cookie",
			"x-process-time": "3",
		});
		expect(status).toBe(200);
		const { date, ...rest } = Object.fromEntries(headers);
		expect(date).toBeDefined();
		expect(rest).toEqual({
			"cache-control": "no-store",
			connection: "keep-alive",
			"content-security-policy": "sandbox allow-scripts",
			"content-type": "text/html",
			"cross-origin-resource-policy": "same-origin",
			"keep-alive": "timeout=95",
			"referrer-policy": "same-origin",
			"transfer-encoding": "chunked",
			"x-content-type-options": "nosniff",
			"x-frame-options": "SAMEORIGIN",
			"x-process-time": "3",
		});
	});

	test.each([200, 206, 304, 400, 401, 404, 500, 503])("a %i carries the sandbox too", async (status) => {
		const { headers } = await answerTo(status, { "content-type": "text/html" });
		expect(headers.get("content-security-policy")).toBe("sandbox allow-scripts");
		expect(headers.get("x-content-type-options")).toBe("nosniff");
		expect(headers.get("cross-origin-resource-policy")).toBe("same-origin");
	});

	test.each([
		["no-store", "no-store"],
		["private, max-age=60", "private, max-age=60"],
		["public, max-age=31536000, immutable", "no-store"],
		["max-age=60", "no-store"],
		["no-cache", "no-store"],
		["public, x-private=1", "no-store"],
		["not-private", "no-store"],
	])("Cache-Control %s is %s: nobody in between keeps what needs a credential", async (said, passed) => {
		expect((await answerTo(200, { "cache-control": said })).headers.get("cache-control")).toBe(passed);
	});

	test("an answer without a type is a download", async () => {
		expect((await answerTo(200, {})).headers.get("content-type")).toBe("application/octet-stream");
	});
});

describe("redirects of an inference API", () => {
	test.each([
		["/docs/", "/inference/docs/"],
		["/inference/docs/", "/inference/docs/"],
		["/inference", "/inference/"],
		["next?a=1", "/inference/deep/next?a=1"],
		["../up", "/inference/up"],
		["../../../admin", "/inference/admin"],
		["?page=2", "/inference/deep/x?page=2"],
		["/%E7%9B%90", "/inference/%E7%9B%90"],
		["/admin", "/inference/admin"],
		["/inference/../admin", "/inference/admin"],
	])("%s stays below /inference: %s", async (said, leads) => {
		const { status, headers } = await answerTo(307, { location: said });
		expect([status, headers.get("location")]).toEqual([307, leads]);
	});

	test("its own name is known as its own", async () => {
		const { headers } = await answerTo(301, { location: `http://${inner}/docs/` });
		expect(headers.get("location")).toBe("/inference/docs/");
	});

	test.each([
		"https://evil.example/",
		"http://evil.example/inference/x",
		"//evil.example/x",
		"/\\evil.example/x",
		"\\\\evil.example/x",
		"http:\\\\evil.example",
		"javascript:alert(1)",
		"data:text/html,x",
		"http://user@127.0.0.1/x",
		"/a%2fb",
		"/%2e%2e%2fadmin",
		"/a//b",
		"/a;b",
		"/%0d%0aSet-Cookie:%20a=b",
		"http://door.test:5000/admin",
	])("%s leads elsewhere: 502, without it", async (said) => {
		const { status, code, headers } = await answerTo(302, { location: said });
		expect([status, code, headers.get("location")]).toEqual([502, "API_ANSWER", undefined]);
	});

	test("where something was made, a name that leads elsewhere is left out", async () => {
		const { status, headers } = await answerTo(201, { location: "https://evil.example/" });
		expect([status, headers.get("location")]).toEqual([201, undefined]);
		expect((await answerTo(201, { location: "/items/1" })).headers.get("location")).toBe(
			"/inference/items/1",
		);
	});
});
