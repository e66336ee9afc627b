/** GraphQL through the door: one bounded query. Over raw sockets, with what MLflow would have executed. */
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Role } from "../../../proxy/roles.ts";
import { GRAPHQL_LIMITS, refusedQuery } from "../../../proxy/routes/graphql.ts";
import { exchange, type Rig, request, rig } from "./support.ts";

let it: Rig;
beforeAll(async () => {
	it = await rig();
});
afterAll(() => it.close());
beforeEach(() => {
	it.upstream.seen.length = 0;
});

const post = (message: unknown, role: Role = "viewer") => {
	const body = typeof message === "string" ? message : JSON.stringify(message);
	const headers = ["Content-Type: application/json", `Content-Length: ${Buffer.byteLength(body)}`];
	const head = request("POST", "/graphql", { role, headers });
	return exchange(it.port, Buffer.concat([Buffer.from(head), Buffer.from(body)]));
};

const RUN = `query GetRun($data: MlflowGetRunInput!) @component(name: "MLflow.ExperimentRunTracking") {
	mlflowGetRun(input: $data) { # a comment { { {
		apiError { code message }
		run {
			info { runName: runName, status __typename }
			experiment { experimentId tags { key value } }
			modelVersions { status version name source }
			data { metrics { key value step timestamp } params { key value } tags { key value } }
			inputs { datasetInputs { dataset { name digest } tags { key value } } }
		}
	}
}`;

describe("what MLflow's own pages would ask", () => {
	test.each([
		{ query: RUN, variables: { data: { runId: "0f" } }, operationName: "GetRun" },
		{ query: '{mlflowGetExperiment(input:{experimentId:"1"}){experiment{name}}}' },
		{
			query:
				"{ mlflowSearchModelVersions(input: {filter: \"name='a'\", maxResults: 100}) { modelVersions { name } } }",
		},
		{
			query: "query($n: LongString) { mlflowSearchModelVersions(input: {maxResults: $n}) { nextPageToken } }",
			variables: { n: "10000" },
		},
		{ query: '{ test(inputString: "a \\"quoted\\" { brace } ... mutation") { output } }' },
		{ query: '{test(inputString:""){output}}', variables: null },
	])("%j is a viewer's", async (message) => {
		const answer = await post(message);
		expect([answer.status, answer.code]).toEqual([200, undefined]);
		expect(JSON.parse(it.upstream.seen[0]?.body.toString() ?? "")).toEqual(message);
	});
});

const aliases = (count: number) =>
	Array.from(
		{ length: count },
		(_, i) => `a${i}: mlflowSearchModelVersions(input: {}) { nextPageToken }`,
	).join(" ");
const roots = (count: number) => Array.from({ length: count }, () => "test { output }").join(" ");

describe("refused, whoever asks", () => {
	test.each([
		["CVE-2025-0453: ten thousand aliases", `{ ${aliases(10_000)} }`, "GRAPHQL_LIMIT"],
		["CVE-2025-0453: a few aliases too many", `{ ${aliases(GRAPHQL_LIMITS.aliases + 1)} }`, "GRAPHQL_LIMIT"],
		["too many fields at the root", `{ ${roots(GRAPHQL_LIMITS.root + 1)} }`, "GRAPHQL_LIMIT"],
		["too many fields", `{ test { ${"output ".repeat(GRAPHQL_LIMITS.fields)} } }`, "GRAPHQL_LIMIT"],
		[
			"too deep",
			`{ ${"a { ".repeat(GRAPHQL_LIMITS.depth)} b ${"} ".repeat(GRAPHQL_LIMITS.depth)} }`,
			"GRAPHQL_LIMIT",
		],
		["too long", `{ test { output } } #${" ".repeat(GRAPHQL_LIMITS.length)}`, "GRAPHQL_LIMIT"],
		[
			"nested arguments without end",
			`{ test(a: ${"[".repeat(100)}${"]".repeat(100)}) { output } }`,
			"GRAPHQL_LIMIT",
		],
		[
			"two hundred thousand rows",
			"{ mlflowSearchModelVersions(input: {maxResults: 200000}) { nextPageToken } }",
			"GRAPHQL_LIMIT",
		],
		[
			"rows by another name",
			"{ mlflowSearchModelVersions(input: {max_results: 200000}) { nextPageToken } }",
			"GRAPHQL_LIMIT",
		],
		[
			"rows by the default of a variable",
			"query($n: LongString = 200000) { mlflowSearchModelVersions(input: {maxResults: $n}) { nextPageToken } }",
			"GRAPHQL_LIMIT",
		],
		[
			"rows in an input's default",
			"query($i: MlflowSearchModelVersionsInput = {maxResults: 200000}) { mlflowSearchModelVersions(input: $i) { nextPageToken } }",
			"GRAPHQL_LIMIT",
		],
		["a mutation", 'mutation { testMutation(inputString: "a") { output } }', "GRAPHQL_READ_ONLY"],
		[
			"a mutation behind a comment",
			"# query\n\ufeffmutation { testMutation { output } }",
			"GRAPHQL_READ_ONLY",
		],
		["a subscription", "subscription { a }", "GRAPHQL_READ_ONLY"],
		[
			"a mutation behind a query",
			"query A { test { output } } mutation B { testMutation { output } }",
			"GRAPHQL_QUERY",
		],
		["two queries", "query A { test { output } } query B { test { output } }", "GRAPHQL_QUERY"],
		["a fragment first", "fragment F on Test { output } query { test { ...F } }", "GRAPHQL_READ_ONLY"],
		["a fragment that multiplies", "{ test { ...F } } fragment F on Test { output }", "GRAPHQL_QUERY"],
		["an inline fragment", "{ test { ... on Test { output } } }", "GRAPHQL_QUERY"],
		["introspection", "{ __schema { types { fields { type { fields { name } } } } } }", "GRAPHQL_QUERY"],
		["an operation with a name of introspection's", "query __schema { test { output } }", "GRAPHQL_QUERY"],
		["such a name as an argument", "{ test(inputString: __schema) { output } }", "GRAPHQL_QUERY"],
		["introspection of a type under an alias", '{ a: __type(name: "Query") { name } }', "GRAPHQL_QUERY"],
		["a directive on a field", "{ test @include(if: true) { output } }", "GRAPHQL_QUERY"],
		["a brace that is not closed", "{ test { output }", "GRAPHQL_QUERY"],
		["a bracket closed by another", "{ test(a: {) } { output } }", "GRAPHQL_QUERY"],
		["a string that is not closed", '{ test(inputString: "a) { output } }', "GRAPHQL_QUERY"],
		["a block string", '{ test(inputString: """a""") { output } }', "GRAPHQL_QUERY"],
		["other characters", "{ test { output } } \u00e9", "GRAPHQL_QUERY"],
		["nothing", "", "GRAPHQL_QUERY"],
		["blanks", " , ,\n", "GRAPHQL_QUERY"],
	])("%s", async (_, query, code) => {
		for (const role of ["viewer", "admin"] as const) {
			const answer = await post({ query }, role);
			expect(answer.code).toBe(code);
			expect(answer.status).toBe(code === "GRAPHQL_READ_ONLY" ? 403 : 400);
		}
		expect(it.upstream.seen).toEqual([]);
	});

	test.each([
		["a batch", [{ query: "{test{output}}" }], "BODY_JSON"],
		[
			"a persisted query",
			{ extensions: { persistedQuery: { version: 1, sha256Hash: "0f" } } },
			"GRAPHQL_QUERY",
		],
		["a query that is no text", { query: ["{test{output}}"] }, "GRAPHQL_QUERY"],
		[
			"two queries by one name",
			'{"query":"{test{output}}","query":"mutation{testMutation{output}}"}',
			"BODY_AMBIGUOUS",
		],
		[
			"rows in the variables",
			{ query: "query($i: X) { a(input: $i) { b } }", variables: { i: { maxResults: "200_000" } } },
			"GRAPHQL_LIMIT",
		],
		[
			"rows deep in the variables",
			{ query: "{a}", variables: { i: [{ b: { max_results: 1e9 } }] } },
			"GRAPHQL_LIMIT",
		],
		[
			"a variable that is not given",
			{ query: "query($n: LongString) { a(input: {maxResults: $n}) { b } }" },
			"GRAPHQL_LIMIT",
		],
		[
			"a variable of everybody's",
			{ query: "query($constructor: LongString) { a(input: {maxResults: $constructor}) { b } }" },
			"GRAPHQL_LIMIT",
		],
	])("%s", async (_, message, code) => {
		expect((await post(message, "admin")).code).toBe(code);
		expect(it.upstream.seen).toEqual([]);
	});

	test("a query in the address: GET reads none there, and takes no body", async () => {
		const headers = ["Content-Type: application/json", "Content-Length: 2"];
		const answer = await exchange(it.port, request("GET", "/graphql", { headers, body: "{}" }));
		expect([answer.status, answer.code]).toEqual([400, "BODY_REFUSED"]);
		expect(it.upstream.seen).toEqual([]);
	});
});

describe("for any text", () => {
	const word = fc.constantFrom(
		"{",
		"}",
		"(",
		")",
		"[",
		"]",
		":",
		"$",
		"@",
		"...",
		"query",
		"mutation",
		"a",
		"b",
		"maxResults",
		"1",
		'"x"',
		"#\n",
		" ",
		"__schema",
		'"',
	);
	test("what passes has no second operation, no fragment, and balanced braces within the limits", () => {
		fc.assert(
			fc.property(fc.array(word, { maxLength: 40 }), (words) => {
				const query = words.join(" ");
				if (refusedQuery(query, {}) !== undefined) return;
				const bare = query.replace(/#[^\n]*/g, "").replace(/"[^"]*"/g, "");
				expect(bare).not.toMatch(/\.\.\.|__schema/);
				expect(bare.trimStart()).toMatch(/^(?:query|\{)/);
				expect(bare.split("{").length).toBe(bare.split("}").length);
			}),
			{ numRuns: 5_000 },
		);
	});

	test("it takes no longer than the text is long", () => {
		const started = performance.now();
		for (const text of [
			'"'.repeat(16_000),
			"{".repeat(16_000),
			"a:".repeat(8_000),
			"#".repeat(16_000),
			'"\\'.repeat(8_000),
		])
			refusedQuery(text, {});
		expect(performance.now() - started).toBeLessThan(1_000);
	});
});
