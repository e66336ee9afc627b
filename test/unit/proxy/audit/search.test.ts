/** Reading the trail: filters that cannot fail, pages of it, and files that no spreadsheet takes for formulas. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Database } from "../../../../proxy/accounts/database.ts";
import { migrate } from "../../../../proxy/accounts/migrate.ts";
import { AuditSearch, COLUMNS, readFilter } from "../../../../proxy/audit/search.ts";
import { startPostgres, type TestPostgres } from "../../../support/postgres.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
let postgres: TestPostgres;
let database: Database;
let search: AuditSearch;

const ROWS = [
	["2026-11-01T10:00:00Z", "ada", "token.create", 200, "ci"],
	["2026-11-02T10:00:00Z", "ada", "token.revoke", 200, "ci"],
	["2026-11-02T23:59:59Z", "vera", "request.refuse", 403, "run 1"],
	["2026-11-03T00:00:00Z", "", "request.refuse", 401, null],
	["2026-11-04T00:00:00Z", "eve", "mlflow.write", 200, '=HYPERLINK("http://evil.example","x"),\n"'],
] as const;

beforeAll(async () => {
	postgres = await startPostgres();
	database = new Database(await postgres.database(), silent);
	await migrate(database, silent);
	for (const values of ROWS) {
		await database.query(
			"insert into audit (at, actor, act, status, target, listener, address) values ($1, $2, $3, $4, $5, 'edge', '')",
			[...values],
		);
	}
	search = new AuditSearch(database);
}, 60_000);
afterAll(async () => {
	await database?.close();
	await postgres?.close();
});

const found = async (query: string) =>
	(await search.page(readFilter(new URLSearchParams(query)), 50)).map(({ actor, act }) => `${actor} ${act}`);

describe("a filter", () => {
	it.each([
		["who=ada", ["ada token.revoke", "ada token.create"]],
		["who=ADA", ["ada token.revoke", "ada token.create"]],
		["act=token", ["ada token.revoke", "ada token.create"]],
		["act=token.revoke", ["ada token.revoke"]],
		["act=tok", []],
		["status=403", ["vera request.refuse"]],
		["status=4xx", [" request.refuse", "vera request.refuse"]],
		["from=2026-11-03", ["eve mlflow.write", " request.refuse"]],
		["to=2026-11-01", ["ada token.create"]],
		["from=2026-11-02&to=2026-11-02", ["vera request.refuse", "ada token.revoke"]],
		["who=ada&act=token.create&status=200", ["ada token.create"]],
	])("%s", async (query, rows) => expect(await found(query)).toEqual(rows));

	it.each([
		"who='; drop table audit; --",
		"act=%25",
		"act=_____",
		"status=999999",
		"status=NaN",
		"from=yesterday",
		"from=2026-13-45",
		"to=infinity",
	])("that makes no sense (%s) is none", async (query) => expect(await found(query)).toHaveLength(5));
});

describe("pages", () => {
	it("go on from an entry, the newest first, and none is seen twice", async () => {
		const first = await search.page({}, 2);
		const second = await search.page({}, 2, first.at(-1)?.id);
		const third = await search.page({}, 2, second.at(-1)?.id);
		expect([...first, ...second, ...third].map(({ actor }) => actor)).toEqual([
			"eve",
			"",
			"vera",
			"ada",
			"ada",
		]);
	});
});

describe("an export", () => {
	const whole = async (format: "csv" | "jsonl", query = "") => {
		let text = "";
		for await (const piece of search.export(readFilter(new URLSearchParams(query)), format)) text += piece;
		return text;
	};

	it("as JSON lines has a document a row, with every field", async () => {
		const entries = (await whole("jsonl"))
			.trimEnd()
			.split("\n")
			.map((line) => JSON.parse(line));
		expect(entries).toHaveLength(5);
		for (const entry of entries) expect(Object.keys(entry).sort()).toEqual([...COLUMNS].sort());
	});

	it("as CSV quotes what must be, and no cell begins like a formula", async () => {
		const text = await whole("csv");
		expect(text.startsWith(`${COLUMNS.join(",")}\r\n`)).toBe(true);
		expect(text).toContain(`"'=HYPERLINK(""http://evil.example"",""x""),\n"""`);
		expect(text).not.toMatch(/(^|,)[=+@-]/m);
	});

	it("of nothing has its head alone, and is filtered like the page", async () => {
		expect(await whole("csv", "who=nobody")).toBe(`${COLUMNS.join(",")}\r\n`);
		expect((await whole("jsonl", "who=ada")).trimEnd().split("\n")).toHaveLength(2);
	});

	it("longer than one statement's rows is whole", async () => {
		await database.query(
			"insert into audit (at, actor, act, listener, address) select now(), 'many', 'mlflow.write', 'edge', '' from generate_series(1, 2500)",
		);
		expect((await whole("jsonl", "who=many")).trimEnd().split("\n")).toHaveLength(2_500);
	});
});
