import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { MLFLOW_VERSION } from "../../../infra/contract.ts";
import { atLeast, isRole, lower, NEEDED, ROLES, type RouteClass } from "../../../proxy/roles.ts";
import { classOf, PLAIN, REST, TWINS } from "../../../proxy/routes/classes.ts";
import { match, ROUTES, TAILS } from "../../../proxy/routes/match.ts";

const generated = JSON.parse(
	readFileSync(new URL(`../../../proxy/routes/mlflow-${MLFLOW_VERSION}.json`, import.meta.url), "utf8"),
) as { mlflow: string; routes: { rule: string; methods: string[] }[] };

describe("the map of MLflow's routes", () => {
	test("was made from the version that the stack runs", () => expect(generated.mlflow).toBe(MLFLOW_VERSION));

	test("every method of every route of the image has a class", () => {
		const bare = generated.routes.flatMap(({ rule, methods }) =>
			methods.filter((method) => classOf(method, rule) === undefined).map((method) => `${method} ${rule}`),
		);
		expect(bare).toEqual([]);
	});

	test("no class is given to a route that the image does not have", () => {
		const served = new Set(
			generated.routes.flatMap(({ rule, methods }) => methods.map((m) => `${m} ${rule}`)),
		);
		const dead = [
			...Object.keys(PLAIN).filter((key) => !served.has(key)),
			...Object.keys(REST).filter((key) => {
				const [method, path] = key.split(" ");
				return !TWINS.every((twin) => served.has(`${method} ${twin}${path}`));
			}),
		];
		expect(dead).toEqual([]);
	});

	test("a route that is in the map without a class is shut", () => {
		expect(classOf("GET", "/api/2.0/mlflow/new-in-the-next-version")).toBeUndefined();
		expect(classOf("OPTIONS", "/api/2.0/mlflow/new-in-the-next-version")).toBeUndefined();
		expect(classOf("POST", "/api/2.0/mlflow/runs/get")).toBeUndefined();
		// A twin is a prefix of whole segments, and the table below it is not the table of whole paths.
		expect(classOf("GET", "/api/2.0mlflow/runs/get")).toBeUndefined();
		expect(classOf("GET", "/mlflow/runs/get")).toBeUndefined();
		expect(classOf("GET", "/api/2.0/version")).toBeUndefined();
		expect(classOf("GET", "constructor")).toBeUndefined();
	});

	test("HEAD is what GET is, because MLflow runs the GET handler for it", () => {
		for (const { method, rule, class: routeClass } of ROUTES) {
			if (method === "HEAD") expect([rule, routeClass]).toEqual([rule, classOf("GET", rule)]);
		}
	});

	test("nothing is in it twice, and every rule is found by its own path", () => {
		for (const route of ROUTES) {
			const tail = /<path:\w+>$/.exec(route.rule)?.[0];
			const prefix = tail === undefined ? undefined : route.rule.slice(0, -tail.length);
			const path = prefix === undefined ? route.rule : `${prefix}a/b`;
			expect(match(route.method, { path, prefix })).toBe(route);
		}
		expect(new Set(ROUTES.map(({ method, rule }) => `${method} ${rule}`)).size).toBe(ROUTES.length);
		expect(ROUTES).toHaveLength(generated.routes.flatMap(({ methods }) => methods).length);
	});

	test("an artifact without a name is no route, under any prefix", () => {
		for (const { prefix } of TAILS) expect(match("GET", { path: prefix, prefix })).toBeUndefined();
	});
});

describe("roles and classes", () => {
	const MAY: Record<RouteClass, string[]> = {
		read: ["viewer", "editor", "admin"],
		static: ["viewer", "editor", "admin"],
		write: ["editor", "admin"],
		"delete-label": ["editor", "admin"],
		"delete-soft": ["editor", "admin"],
		undelete: ["editor", "admin"],
		"delete-hard": ["admin"],
		admin: ["admin"],
		inference: ["viewer", "editor", "admin"],
		deny: [],
	};

	test.each(Object.entries(MAY))("%s is for %j", (routeClass, roles) => {
		const needed = NEEDED[routeClass as RouteClass];
		expect(ROLES.filter((role) => needed !== undefined && atLeast(role, needed))).toEqual(roles);
	});

	test("every class has its line above", () =>
		expect(Object.keys(NEEDED).sort()).toEqual(Object.keys(MAY).sort()));

	test("the lower of two roles", () => {
		expect(lower("viewer", "admin")).toBe("viewer");
		expect(lower("admin", "editor")).toBe("editor");
		expect(lower("admin", "admin")).toBe("admin");
	});

	test("a role is one of three words, not a property of something", () => {
		expect(ROLES.every(isRole)).toBe(true);
		for (const no of ["", "Admin", "root", "__proto__", "constructor", null, 2, ["admin"]])
			expect(isRole(no)).toBe(false);
	});

	/** What a viewer may do with another method than GET: nothing that changes anything. */
	test("the only writes by method that a viewer may send are MLflow's reads by POST", () => {
		const open = ROUTES.filter(
			({ method, needs }) => needs === "viewer" && !["GET", "HEAD", "OPTIONS"].includes(method),
		).map(({ method, rule }) => `${method} ${rule.replace(/^\/(ajax-)?api\/2\.0\/mlflow/, "")}`);
		expect([...new Set(open)].sort()).toEqual([
			"POST /experiments/search",
			"POST /experiments/search-datasets",
			"POST /graphql",
			"POST /registered-models/get-latest-versions",
			"POST /runs/search",
		]);
	});

	test("what only an admin may", () => {
		const closed = ROUTES.filter(({ needs }) => needs === "admin").map(
			({ method, rule }) => `${method} ${rule.replace(/^\/(ajax-)?api\/2\.0/, "")}`,
		);
		expect([...new Set(closed)].sort()).toEqual([
			"DELETE /mlflow-artifacts/artifacts/<path:artifact_path>",
			"DELETE /mlflow/model-versions/delete",
			"DELETE /mlflow/registered-models/delete",
			"GET /mlflow/gateway-proxy",
			"HEAD /mlflow/gateway-proxy",
			"POST /mlflow/gateway-proxy",
			"POST /mlflow/traces/delete-traces",
		]);
	});
});
