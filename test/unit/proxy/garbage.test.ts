/** Whatever a client sends, by whom and whenever it leaves: the door answers or closes, and keeps nothing. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually, exchange, HOST, Raw, type Rig, request, rig } from "./support.ts";

/** Another one each time with `GARBAGE_SEED=random`; a failure prints it. */
const SEED = process.env.GARBAGE_SEED === "random" ? Date.now() % 2 ** 31 : 20_261_127;
const COUNT = 1_000;
const AT_ONCE = 100;

let it: Rig;
beforeAll(async () => {
	it = await rig({ transfers: { sweep: 100, clientIdle: 500 } });
	it.upstream.answer = (_req, res) => void setTimeout(() => res.end("x".repeat(2_000)), Math.random() * 10);
});
afterAll(() => it.close());

const bytes = fc
	.string({ unit: "binary", maxLength: 12 })
	.map((text) => Buffer.from(text).toString("latin1"));
const method = fc.oneof(
	fc.constantFrom("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PRI"),
	bytes,
);
const path = fc.oneof(
	fc.constantFrom(
		...["/", "/login", "/invite/broken", "/invite/%0d%0aX:y", "/door/health", "/door/why?path=%", "*", ""],
		...["/api/2.0/mlflow/runs/search", "/api/2.0/mlflow/experiments/create", "/graphql", "/inference/a/%00"],
		...[
			"/api/2.0/mlflow-artifacts/artifacts/a%0d%0ab",
			"/ajax-api/2.0/mlflow-artifacts/artifacts/%F0%9F%8D%B0",
		],
		...[
			"/static-files/a",
			"/get-artifact?path=%0d%0aSet-Cookie:%20a=b&run_uuid=x",
			"/door/artifact-part?ticket=a.b",
		],
	),
	fc
		.tuple(fc.constantFrom("/", "/login?next=", "//", "/api/2.0/mlflow/runs/get?run_id="), bytes)
		.map((two) => two.join("")),
);
const header = fc.oneof(
	fc.constantFrom(
		...[
			"Accept: text/html",
			"Sec-Fetch-Mode: navigate",
			"Cookie: session=viewer",
			'Cookie: ;;=;,"',
			"Expect: 100-continue",
		],
		...[
			"Authorization: Bearer viewer",
			"Authorization: Bearer admin",
			"Authorization: Basic",
			"Authorization: Basic OjpA",
		],
		...[
			"Authorization: Bearer e30.e30.e30",
			"Authorization: \xff",
			"Content-Length: 0",
			"Content-Length: 4",
			"Content-Length: -1",
		],
		...[
			"Transfer-Encoding: chunked",
			"Content-Type: application/json",
			"Upgrade: websocket",
			"Connection: close",
			"Connection: upgrade",
		],
		...[
			"Range: bytes=-",
			'If-None-Match: "',
			"Origin: null",
			"X-CSRF-Token: \x80",
			`Host: ${HOST}`,
			"TE: trailers",
			"a_b: c",
		],
	),
	fc.tuple(bytes, bytes).map(([name, value]) => `${name}: ${value}`),
);
const body = fc.oneof(
	fc.constantFrom(
		"",
		"{}",
		"[]",
		"0\r\n\r\n",
		"2\r\n{}\r\n0\r\n\r\n",
		"ffffffffff\r\n",
		'{"query":"{"}',
		"\0\0\0\0",
	),
	bytes,
);
const lines = (parts: readonly string[], rest: string): string => [...parts, "", rest].join("\r\n");
const garbage = fc
	.record({ method, path, headers: fc.array(header, { maxLength: 4 }), body })
	.map(({ method, path, headers, body }) =>
		lines([`${method} ${path} HTTP/1.1`, `Host: ${HOST}`, ...headers], body),
	);
/** Well-formed: it gets past the parser, and often past the gate. */
const plausible = fc
	.record({
		method: fc.constantFrom("GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
		path,
		role: fc.constantFrom("viewer", "editor", "admin", "nobody", undefined),
		extra: fc.option(
			fc.tuple(fc.stringMatching(/^[A-Za-z-]{1,12}$/), fc.stringMatching(/^[\x20-\x7e\x80-\xff]{0,20}$/)),
		),
		text: fc.option(body, { freq: 3 }),
		/** More or less than is announced comes, too. */
		off: fc.constantFrom(0, 0, 0, 1, -1, 70_000),
	})
	.map(({ method, path, role, extra, text, off }) => {
		const length = Math.max(0, Buffer.byteLength(text ?? "", "latin1") + off);
		return lines(
			[
				`${method} ${path.replace(/[^\x21-\x7e]/g, "")} HTTP/1.1`,
				`Host: ${HOST}`,
				...(role === undefined ? [] : [`Authorization: Bearer ${role}`]),
				...(extra === null ? [] : [extra.join(": ")]),
				...(text === null ? [] : ["Content-Type: application/json", `Content-Length: ${length}`]),
			],
			text ?? "",
		);
	});
const shot = fc.oneof({ weight: 3, arbitrary: plausible }, { weight: 1, arbitrary: garbage });
/** Milliseconds after which the client resets; null: it waits for an answer. */
const leaving = fc.oneof(
	{ weight: 3, arbitrary: fc.constant(null) },
	{ weight: 1, arbitrary: fc.integer({ min: 0, max: 30 }) },
);

test("nothing ends it, nothing surprises it, and no connection to MLflow stays behind", async () => {
	const shots = fc.sample(fc.tuple(shot, leaving), { numRuns: COUNT, seed: SEED });
	for (let at = 0; at < shots.length; at += AT_ONCE) {
		const raws = shots.slice(at, at + AT_ONCE).map(([text, leaves]) => {
			const raw = new Raw(it.port);
			raw.send(text);
			if (leaves !== null) setTimeout(() => raw.socket.resetAndDestroy(), leaves);
			return raw;
		});
		// What is no whole request may get no answer; everything else gets one.
		await Promise.allSettled(
			raws.map((raw) => raw.until(({ received, closed }) => received !== "" || closed)),
		);
		for (const raw of raws) raw.destroy();
	}
	await eventually(() => {
		const { transfers, running, queued } = it.door.live();
		return transfers === 0 && running === 0 && queued === 0;
	}, 20_000);
	// Not all of it is refused at the first look.
	expect(it.logged.filter(({ msg }) => msg === "request").length).toBeGreaterThan(COUNT / 3);
	expect(it.upstream.seen.length).toBeGreaterThan(20);
	const surprised = it.logged.filter(
		({ level, msg }) => Number(level) >= 50 && msg !== "a request failed unexpectedly",
	);
	expect([SEED, surprised]).toEqual([SEED, []]);
	// The pages of the rig are its own: one fails on purpose, the other when its client leaves.
	const failed = it.logged.filter(
		({ msg, route }) => msg === "a request failed unexpectedly" && route !== "/invite/" && route !== "/login",
	);
	expect([SEED, failed]).toEqual([SEED, []]);
	const fine = await Promise.all(
		Array.from({ length: 20 }, () => exchange(it.port, request("GET", "/api/2.0/mlflow/experiments/search"))),
	);
	expect(fine.map(({ status }) => status)).toEqual(Array(20).fill(200));
});

test("no answer carries a line that a client has made up", async () => {
	for (const path of [
		"/login?next=%0d%0aX-Made-Up:%20y",
		"/get-artifact?path=a%0d%0aX-Made-Up:%20y&run_uuid=x",
		"/api/2.0/mlflow-artifacts/artifacts/a%0d%0aX-Made-Up:%20y",
		"/%0d%0aX-Made-Up:%20y",
		"/?a=%0d%0aX-Made-Up:%20y",
	]) {
		for (const role of [null, "admin"] as const) {
			const headers = ["Accept: text/html", "Sec-Fetch-Mode: navigate", "X-Made-Up: z"];
			const { status, head } = await exchange(it.port, request("GET", path, { role, headers }));
			expect([path, status > 0, /^x-made-up/im.test(head)]).toEqual([path, true, false]);
		}
	}
});
