/** Bytes over raw sockets. Whatever is refused must not have reached the upstream in any form. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { exchange, HOST, quiet, Raw, type Rig, request, rig } from "./support.ts";

let it: Rig;
beforeAll(async () => {
	it = await rig();
});
afterAll(() => it.close());
beforeEach(() => {
	it.upstream.seen.length = 0;
});

const SEARCH = "/api/2.0/mlflow/experiments/search";
const DELETE = "/api/2.0/mlflow/registered-models/delete";
const HIDDEN = `GET /api/2.0/mlflow/runs/get?run_id=hidden HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer admin\r\nX-Remote-User: admin\r\n\r\n`;
const chunked = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n0\r\n\r\n`;
const CHUNKED = "Transfer-Encoding: chunked";
const JSON_BODY = "Content-Type: application/json";

async function refused(bytes: string, status: number, code: string | undefined): Promise<void> {
	const answer = await exchange(it.port, bytes);
	expect([answer.status, answer.code]).toEqual([status, code]);
	if (code !== undefined && answer.body !== "") {
		expect(JSON.parse(answer.body)).toEqual({ error_code: expect.any(String), message: expect.any(String) });
	}
	await quiet(20);
	expect(it.upstream.seen).toEqual([]);
}

describe("framing: how hidden requests got through other doors", () => {
	test.each([
		["a chunked DELETE (CVE-2026-29057)", "DELETE", DELETE, "BODY_CHUNKED"],
		["a chunked OPTIONS", "OPTIONS", SEARCH, "BODY_REFUSED"],
		["a chunked GET", "GET", SEARCH, "BODY_REFUSED"],
		["a chunked HEAD", "HEAD", SEARCH, "BODY_REFUSED"],
	])("%s is refused", async (_, method, path, code) => {
		await refused(request(method, path, { headers: [CHUNKED], body: chunked(HIDDEN) }), 400, code);
		await refused(
			request(method, path, { headers: [CHUNKED], body: chunked(HIDDEN), role: null }),
			400,
			code,
		);
	});

	test("nothing hidden in a refused body is answered as a request", async () => {
		const raw = new Raw(it.port);
		raw.send(request("DELETE", DELETE, { headers: [CHUNKED], body: chunked(HIDDEN) }));
		await raw.until(({ received }) => received.includes("BODY_CHUNKED"));
		await quiet(50);
		expect(raw.statuses).toEqual([400]);
		expect(it.upstream.seen).toEqual([]);
		raw.destroy();
	});

	test("Expect with a chunked DELETE is refused, and never continued", async () => {
		const answer = await exchange(
			it.port,
			request("DELETE", DELETE, { headers: [CHUNKED, "Expect: 100-continue"], body: chunked(HIDDEN) }),
		);
		expect([answer.status, answer.code]).toEqual([400, "BODY_CHUNKED"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		["GET", "Content-Length: 2"],
		["HEAD", "Content-Length: 2"],
		["OPTIONS", "Content-Length: 2"],
	])("a %s with a body is refused", (method, header) =>
		refused(request(method, SEARCH, { headers: [header], body: "{}" }), 400, "BODY_REFUSED"),
	);

	test("Content-Length: 0 on a GET is no body", async () => {
		const answer = await exchange(it.port, request("GET", SEARCH, { headers: ["Content-Length: 0"] }));
		expect(answer.status).toBe(200);
		expect(it.upstream.seen[0]?.headers).not.toHaveProperty("content-length");
	});

	test.each([
		["Transfer-Encoding and Content-Length", [CHUNKED, "Content-Length: 5"], "REQUEST_MALFORMED"],
		["Content-Length and Transfer-Encoding", ["Content-Length: 5", CHUNKED], "REQUEST_MALFORMED"],
		["two Content-Length", ["Content-Length: 5", "Content-Length: 6"], "REQUEST_MALFORMED"],
		["two equal Content-Length", ["Content-Length: 5", "Content-Length: 5"], "REQUEST_MALFORMED"],
		["a list of lengths", ["Content-Length: 5, 5"], "REQUEST_MALFORMED"],
		["a signed length", ["Content-Length: +5"], "REQUEST_MALFORMED"],
		["a negative length", ["Content-Length: -5"], "REQUEST_MALFORMED"],
		["a hexadecimal length", ["Content-Length: 0x5"], "REQUEST_MALFORMED"],
		["an endless length", [`Content-Length: ${"9".repeat(30)}`], "REQUEST_MALFORMED"],
		["an unknown coding", ["Transfer-Encoding: xchunked"], "BODY_CODING"],
		["a coding before chunked", ["Transfer-Encoding: gzip, chunked"], "BODY_CODING"],
		["identity", ["Transfer-Encoding: identity"], "BODY_CODING"],
		["chunked twice", ["Transfer-Encoding: chunked, chunked"], undefined],
		["two Transfer-Encoding", [CHUNKED, CHUNKED], undefined],
		["a folded coding", ["Transfer-Encoding:\r\n chunked"], undefined],
		["a blank before the colon", ["Transfer-Encoding : chunked"], "REQUEST_MALFORMED"],
		["a vertical tab before chunked", ["Transfer-Encoding: \x0bchunked"], undefined],
		["an empty header name", [": x"], "REQUEST_MALFORMED"],
	])("%s: refused", async (_, headers, code) => {
		const answer = await exchange(it.port, request("POST", SEARCH, { headers, body: "0\r\n\r\n" }));
		expect(answer.status).toBe(400);
		if (code !== undefined) expect(answer.code).toBe(code);
		await quiet(10);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		["a bare CR in a header", `GET ${SEARCH} HTTP/1.1\r\nHost: ${HOST}\rX: y\r\n\r\n`],
		["bare LF line ends", `GET ${SEARCH} HTTP/1.1\nHost: ${HOST}\nAuthorization: Bearer admin\n\n`],
		["a NUL in a header", `GET ${SEARCH} HTTP/1.1\r\nHost: ${HOST}\r\nX: a\0b\r\n\r\n`],
		["a broken chunk size", request("POST", SEARCH, { headers: [CHUNKED], body: "zz\r\n" })],
		["a chunk without its end", request("POST", SEARCH, { headers: [CHUNKED], body: "2\r\n{}XX0\r\n\r\n" })],
		["no version", `GET ${SEARCH}\r\nHost: ${HOST}\r\n\r\n`],
		["HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
		["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
	])("%s never reaches the upstream whole", async (_, bytes) => {
		const raw = new Raw(it.port);
		raw.send(bytes);
		await raw.until(({ closed }) => closed);
		expect(raw.statuses.every((status) => status >= 400)).toBe(true);
		expect(it.upstream.seen.filter(({ whole }) => whole)).toEqual([]);
	});

	test("HTTP/1.0 is refused, with and without keep-alive", async () => {
		for (const extra of ["", "Connection: keep-alive\r\n"]) {
			await refused(
				`GET ${SEARCH} HTTP/1.0\r\nHost: ${HOST}\r\n${extra}Authorization: Bearer admin\r\n\r\n`,
				400,
				"HTTP_VERSION",
			);
		}
	});

	test.each(["TRACE", "PROPFIND", "QUERY", "PURGE", "LINK"])("the method %s is refused", (method) =>
		refused(request(method, SEARCH), 405, "METHOD_UNKNOWN"),
	);

	test("a method nobody ever heard of is refused", () =>
		refused(request("GETX", SEARCH), 400, "REQUEST_MALFORMED"));

	test("CONNECT gets an answer and no tunnel", async () => {
		const answer = await exchange(
			it.port,
			`CONNECT tracking:5000 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n${HIDDEN}`,
		);
		expect([answer.status, answer.code]).toEqual([405, "METHOD_UNKNOWN"]);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		["a WebSocket", ["Upgrade: websocket", "Connection: Upgrade"]],
		["h2c", ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"]],
		["an upgrade that only Connection names", ["Connection: upgrade"]],
		["an upgrade that only Upgrade names", ["Upgrade: h2c"]],
	])("%s is refused", (_, headers) => refused(request("GET", SEARCH, { headers }), 400, "UPGRADE_REFUSED"));

	test("Connection cannot name a header to be taken away", () =>
		refused(
			request("GET", SEARCH, { headers: ["Connection: close, Authorization"] }),
			400,
			"CONNECTION_OPTION",
		));
});

describe("Expect", () => {
	const body = '{"max_results":1}';
	const headers = [JSON_BODY, `Content-Length: ${body.length}`, "Expect: 100-continue"];

	test("is answered by us, after the decision, and not sent on", async () => {
		const raw = new Raw(it.port);
		raw.send(request("POST", SEARCH, { headers }));
		await raw.until(({ received }) => received.includes("\r\n\r\n"));
		expect(raw.received).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
		expect(it.upstream.seen).toEqual([]);
		raw.send(body);
		await raw.until(({ statuses }) => statuses.length === 2);
		expect(raw.statuses).toEqual([100, 200]);
		expect(it.upstream.seen[0]?.headers).not.toHaveProperty("expect");
		expect(it.upstream.seen[0]?.body.toString()).toBe(body);
		raw.destroy();
	});

	test.each([
		["a stranger", null, 401],
		["a viewer", "viewer", 403],
	] as const)("%s is not asked for the body", async (_, role, status) => {
		const answer = await exchange(it.port, request("POST", "/api/2.0/mlflow/runs/create", { role, headers }));
		expect(answer.status).toBe(status);
		expect(answer.head).toMatch(/connection: close/i);
		expect(it.upstream.seen).toEqual([]);
	});

	test.each(["200-ok", "100-continue, x", "x100-continue", ""])("`%s` is refused", async (value) => {
		const answer = await exchange(
			it.port,
			request("POST", SEARCH, { headers: [...headers.slice(0, 2), `Expect: ${value}`], body }),
		);
		expect(answer.status).toBe(417);
		expect(it.upstream.seen).toEqual([]);
	});
});

describe("headers", () => {
	test.each([
		"X_Remote_User: admin",
		"Tailscale_User_Login: root@example.com",
		"Content_Length: 0",
		"X-Forwarded_For: 1",
	])("the underscore twin `%s` is refused (CVE-2025-64484)", (header) =>
		refused(request("GET", SEARCH, { headers: [header] }), 400, "HEADER_UNDERSCORE"),
	);

	test.each([
		["Authorization", "Authorization: Bearer viewer"],
		["Host", "Host: evil.example"],
		["Host, the same", `Host: ${HOST}`],
		["Cookie", "Cookie: a=b\r\nCookie: session=admin"],
		["Content-Type", "Content-Type: application/json\r\ncontent-type: text/html"],
		["Origin", "Origin: http://a\r\nOrigin: http://b"],
		["X-CSRF-Token", "X-CSRF-Token: a\r\nx-csrf-token: b"],
		["Range", "Range: bytes=0-1\r\nRange: bytes=2-3"],
		["something unknown", "X-Mlflow-Workspace: a\r\nX-MLFLOW-WORKSPACE: b"],
	])("two of %s are refused", (_, header) =>
		refused(request("GET", SEARCH, { headers: [header] }), 400, "HEADER_DUPLICATE"),
	);

	test("lists that nobody decides on may come in parts", async () => {
		const answer = await exchange(
			it.port,
			request("GET", SEARCH, {
				headers: ["Accept: text/html", "Accept: */*", "X-Forwarded-For: 1", "X-Forwarded-For: 2"],
			}),
		);
		expect(answer.status).toBe(200);
	});

	test.each([
		["another name", "Host: evil.example"],
		["another port", "Host: door.test:5001"],
		["no port", "Host: door.test"],
		["a user", `Host: a@${HOST}`],
		["a trailing dot", "Host: door.test.:5000"],
		["nothing", "Host: "],
	])("a Host of %s is refused (CVE-2025-14279, DNS rebinding)", (_, host) =>
		refused(`GET ${SEARCH} HTTP/1.1\r\n${host}\r\nAuthorization: Bearer admin\r\n\r\n`, 400, "HOST_UNKNOWN"),
	);

	test("no Host is refused", () =>
		refused(`GET ${SEARCH} HTTP/1.1\r\nAuthorization: Bearer admin\r\n\r\n`, 400, "HOST_UNKNOWN"));

	test("the Host's letters may be of either case", async () => {
		const answer = await exchange(
			it.port,
			`GET ${SEARCH} HTTP/1.1\r\nHost: DOOR.test:5000\r\nAuthorization: Bearer admin\r\n\r\n`,
		);
		expect(answer.status).toBe(200);
	});

	test("more than 32 KiB of headers are refused", async () => {
		const answer = await exchange(
			it.port,
			request("GET", SEARCH, { headers: [`X-Big: ${"a".repeat(40_000)}`] }),
		);
		expect([answer.status, answer.code]).toEqual([431, "HEADERS_TOO_LARGE"]);
	});

	test("a hundred headers beyond Node's usual count hide no second Authorization", async () => {
		const many = Array.from({ length: 2_100 }, (_, i) => `a${i}: b`);
		const answer = await exchange(
			it.port,
			request("GET", SEARCH, { headers: [...many, "Authorization: Bearer viewer"] }),
		);
		expect(answer.status).toBe(400);
		expect(it.upstream.seen).toEqual([]);
	});

	test("a request line of 8 KiB passes", async () => {
		const ids = Array.from({ length: 225 }, (_, i) => `run_ids=${String(i).padStart(32, "0")}`).join("&");
		const path = `/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?${ids}`;
		expect(path.length).toBeGreaterThan(8_190);
		const answer = await exchange(it.port, request("GET", path));
		expect(answer.status).toBe(200);
		expect(it.upstream.seen[0]?.url).toBe(path);
	});

	test("cookies that MLflow's pages would send as headers are refused and cleared", async () => {
		const cookies =
			"Cookie: a=b; mlflow-request-header-Authorization=Basic%20x; mlflow-request-header-X-CSRF-Token=y";
		const answer = await exchange(it.port, request("GET", SEARCH, { role: null, headers: [cookies] }));
		expect([answer.status, answer.code]).toEqual([400, "HEADER_COOKIE"]);
		expect(answer.head.match(/^set-cookie: .*$/gim)).toEqual([
			"Set-Cookie: mlflow-request-header-Authorization=; Path=/; Max-Age=0",
		]);
		const withToken = await exchange(it.port, request("GET", SEARCH, { headers: [cookies] }));
		expect(withToken.status).toBe(400);
		expect(withToken.head).not.toMatch(/set-cookie/i);
		expect(it.upstream.seen).toEqual([]);
	});

	test("what reaches MLflow is on a list, and no credential is on it", async () => {
		const sent = [
			"Accept: application/json",
			"User-Agent: mlflow-python-client/2.13.0",
			"Range: bytes=0-9",
			"If-None-Match: x",
		];
		await exchange(
			it.port,
			request("GET", `${SEARCH}?a=b`, {
				headers: [
					...sent,
					...[
						"Cookie: session=admin; other=1",
						"Origin: http://evil",
						"Referer: http://evil/x",
						"X-CSRF-Token: y",
					],
					...[
						"X-Forwarded-For: 6.6.6.6",
						"X-Forwarded-Proto: https",
						"Forwarded: for=6.6.6.6",
						"X-Real-IP: 6.6.6.6",
					],
					...["Tailscale-User-Login: root@example.com", "X-Remote-User: admin", "Remote-User: admin"],
					...["X-MLflow-Workspace: other", "X-MLflow-Guardrail-Bypass: 1", "X-HTTP-Method-Override: DELETE"],
					...[
						"Proxy-Authorization: Basic eA==",
						"TE: trailers",
						"Connection: keep-alive, TE",
						"Accept-Encoding: gzip",
					],
				],
			}),
		);
		const [seen] = it.upstream.seen;
		expect(Object.keys(seen?.headers ?? {}).sort()).toEqual([
			"accept",
			"connection",
			"host",
			"if-none-match",
			"range",
			"user-agent",
		]);
		expect(seen?.headers.host).toMatch(/^127\.0\.0\.1:\d+$/);
		expect(seen?.headers.connection).toBe("keep-alive");
		expect(JSON.stringify(seen)).not.toMatch(/Bearer|session|evil|6\.6\.6\.6|root@/);
	});
});

describe("targets", () => {
	test("a refused spelling is MLflow's own answer to a bad path, for anybody", async () => {
		for (const role of ["admin", null] as const) {
			const answer = await exchange(
				it.port,
				request("GET", "//model-versions/get-artifact?path=a", { role }),
			);
			expect(answer.status).toBe(400);
			expect(JSON.parse(answer.body)).toEqual({
				error_code: "INVALID_PARAMETER_VALUE",
				message: "Invalid path",
			});
			expect(answer.code).toBe("TARGET_EMPTY_SEGMENT");
		}
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		"/api/2.0/mlflow-artifacts/artifacts/.",
		"/api/2.0/mlflow-artifacts/artifacts/./.",
		"/api/2.0/mlflow-artifacts/artifacts/%2e",
		"/api/2.0/mlflow-artifacts/artifacts/%252e",
		"/api/2.0/mlflow-artifacts/artifacts/",
		"/api/2.0/mlflow-artifacts/artifacts//",
		"/api/2.0/mlflow-artifacts/artifacts/%20",
		"/api/2.0/mlflow-artifacts/artifacts/.%3F",
		"/api/2.0/mlflow-artifacts/artifacts/?a=b",
		"/ajax-api/2.0/mlflow-artifacts/artifacts/.%23",
		"/ajax-api/2.0/mlflow-artifacts/artifacts/file:",
		"/ajax-api/2.0/mlflow-artifacts/artifacts/1/..",
	])("DELETE %s empties no store, not even for an admin", async (path) => {
		const answer = await exchange(it.port, request("DELETE", path));
		expect(answer.status).toBe(400);
		await quiet(10);
		expect(it.upstream.seen).toEqual([]);
	});

	test("DELETE of the artifacts' root without a slash is no route", () =>
		refused(request("DELETE", "/api/2.0/mlflow-artifacts/artifacts"), 403, "ROUTE_UNKNOWN"));

	test("the target that was authorised is the one that arrives", async () => {
		await exchange(
			it.port,
			request("GET", "/api/2.0/mlflow-artifacts/artifacts/1/weights%20v1%23%c3%a9.bin?a=b+c&d", {
				role: "viewer",
			}),
		);
		expect(it.upstream.seen[0]?.url).toBe(
			"/api/2.0/mlflow-artifacts/artifacts/1/weights%20v1%23%C3%A9.bin?a=b%20c&d=",
		);
	});
});

describe("one connection, several requests", () => {
	test("pipelined requests are handled one after the other, each on its own merits", async () => {
		const raw = new Raw(it.port);
		raw.send(
			request("GET", SEARCH, { role: "viewer" }) +
				request("POST", "/api/2.0/mlflow/runs/create", { role: "viewer", headers: ["Content-Length: 0"] }) +
				request("GET", SEARCH, { role: null }) +
				request("GET", `${SEARCH}?last=1`),
		);
		await raw.until(({ statuses }) => statuses.length === 4);
		expect(raw.statuses).toEqual([200, 403, 401, 200]);
		expect(it.upstream.seen.map(({ url }) => url)).toEqual([SEARCH, `${SEARCH}?last=1`]);
		raw.destroy();
	});

	test("a flood of pipelined requests ends the connection", async () => {
		const raw = new Raw(it.port);
		it.authority.delay = 50;
		raw.send(request("GET", SEARCH).repeat(50));
		await raw.until(({ closed }) => closed);
		it.authority.delay = 0;
		await quiet(100);
		expect(it.upstream.seen.length).toBeLessThanOrEqual(1);
	});

	test("garbage behind a request does not land in its answer", async () => {
		const raw = new Raw(it.port);
		it.authority.delay = 30;
		raw.send(`${request("GET", SEARCH)}\x16\x03garbage\r\n\r\n`);
		await raw.until(({ closed }) => closed);
		it.authority.delay = 0;
		expect(raw.statuses.filter((status) => status === 400)).toEqual([]);
		const after = await exchange(it.port, request("GET", SEARCH));
		expect(after.status).toBe(200);
	});
});
