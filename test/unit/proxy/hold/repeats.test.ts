import { describe, expect, test } from "vitest";
import { CREATES } from "../../../../proxy/creates/table.ts";
import { needsOf } from "../../../../proxy/hold/parts.ts";
import { repeatOf } from "../../../../proxy/hold/repeats.ts";
import { isTrouble } from "../../../../proxy/hold/trouble.ts";
import { ROUTES } from "../../../../proxy/routes/match.ts";

const below = (rule: string) => rule.replace(/^\/(ajax-)?api\/2\.0/, "");
const open = ROUTES.filter(({ needs }) => needs !== undefined);

describe("whether a lost request is sent again", () => {
	test("is said for every route that changes something", () => {
		const unsaid = open.filter((route) => repeatOf(route) === "never").map(({ rule }) => below(rule));
		expect([...new Set(unsaid)].sort()).toEqual([
			"/mlflow-artifacts/mpu/complete/<path:artifact_path>",
			"/mlflow-artifacts/mpu/create/<path:artifact_path>",
			"/mlflow/gateway-proxy",
			"/mlflow/registered-models/rename",
			"/mlflow/runs/create-promptlab-run",
		]);
	});

	test("is a matter of the creates for those that they know, and for no others", () => {
		const said = open.filter((route) => repeatOf(route) === "create").map(({ rule }) => below(rule));
		expect([...new Set(said)].sort()).toEqual(Object.keys(CREATES).sort());
	});
});

test.each([
	["GET", "/api/2.0/mlflow/runs/get", ["mlflow", "postgres"]],
	["POST", "/ajax-api/2.0/mlflow/runs/create", ["mlflow", "postgres"]],
	["GET", "/static-files/<path:path>", ["mlflow"]],
	["HEAD", "/get-artifact", ["mlflow", "postgres", "minio"]],
	["PUT", "/api/2.0/mlflow-artifacts/artifacts/<path:artifact_path>", ["minio"]],
	["GET", "/ajax-api/2.0/mlflow/artifacts/list", ["mlflow", "postgres", "minio"]],
])("%s %s needs %j", (method, rule, needs) => {
	expect(needsOf({ method, rule, class: "read" })).toEqual(needs);
});

describe("MLflow's words", () => {
	const says = (message: string) => JSON.stringify({ error_code: "BAD_REQUEST", message });

	test.each([
		[400, "(psycopg2.InterfaceError) connection already closed\n[SQL: SELECT ...]"],
		[503, "(psycopg2.OperationalError) server closed the connection unexpectedly"],
		[500, "(psycopg2.errors.AdminShutdown) terminating connection due to administrator command"],
		[400, "QueuePool limit of size 8 overflow 8 reached, connection timed out, timeout 30.00"],
		[400, "Can't reconnect until invalid transaction is rolled back."],
	])("%i %s: the database is away", (status, message) => {
		expect(isTrouble(status, says(message))).toBe(true);
	});

	test.each([
		[400, "(psycopg2.errors.NumericValueOutOfRange) bigint out of range"],
		[400, "(psycopg2.errors.StringDataRightTruncation) value too long for type character varying(5000)"],
		[400, "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint"],
		[200, "(psycopg2.OperationalError) server closed the connection unexpectedly"],
		[404, "(psycopg2.OperationalError) server closed the connection unexpectedly"],
		[400, "Invalid value for parameter 'x'"],
	])("%i %s: what was asked for is wrong, and asking again does not help", (status, message) => {
		expect(isTrouble(status, says(message))).toBe(false);
	});

	test("that are no JSON are passed on", () => expect(isTrouble(500, "<h1>500</h1>")).toBe(false));
});
