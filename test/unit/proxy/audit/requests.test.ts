/** Which requests are told, what about, and that nothing secret is among it. */
import { describe, expect, it, test } from "vitest";
import type { AuditEvent } from "../../../../proxy/audit/event.ts";
import { type Answered, auditRequests } from "../../../../proxy/audit/requests.ts";
import { subjectOf, targetOf } from "../../../../proxy/audit/subjects.ts";

const RUN = "0123456789abcdef0123456789abcdef";
const ada = { kind: "token", user: "ada", role: "editor", credential: "tok-1" } as const;

function told(request: Partial<Answered>): AuditEvent[] {
	const events: AuditEvent[] = [];
	auditRequests({ full: false, note: (event: AuditEvent) => void events.push(event) } as never).answered({
		identity: ada,
		listener: "edge",
		address: "172.18.0.1",
		kind: "write",
		rule: "/api/2.0/mlflow/runs/create",
		path: "/api/2.0/mlflow/runs/create",
		query: "",
		body: undefined,
		status: 200,
		code: undefined,
		...request,
	});
	return events;
}

describe("told", () => {
	test.each(["write", "delete-label", "delete-soft", "undelete", "delete-hard", "admin"] as const)(
		"a request of class %s, whatever came of it",
		(kind) => {
			for (const status of [200, 404, 500]) {
				expect(told({ kind, status })).toMatchObject([
					{ act: `mlflow.${kind}`, actor: "ada", role: "editor", credential: "tok-1", class: kind, status },
				]);
			}
		},
	);

	test.each([
		["a role too low", { code: "ROLE_EDITOR", status: 403 }],
		["no credential", { code: "NO_CREDENTIAL", status: 401, identity: undefined, kind: "unknown" }],
		["a revoked token", { code: "TOKEN_REVOKED", status: 401, identity: undefined, kind: "unknown" }],
		[
			"a path in two readings",
			{ code: "TARGET_DOT_SEGMENT", status: 400, identity: undefined, kind: "unknown" },
		],
		["too many requests", { code: "TOO_MANY_REQUESTS", status: 429, kind: "read" }],
		["a read that nobody may make", { code: "ROUTE_UNKNOWN", status: 403, kind: "unknown" }],
	] as const)("the refusal of %s, with its reason", (_, request) => {
		expect(told(request)).toMatchObject([
			{ act: "request.refuse", reason: request.code, status: request.status },
		]);
	});
});

describe("not told", () => {
	test.each([
		["a read", { kind: "read" }],
		["a file of MLflow's pages", { kind: "static" }],
		["a question to the inference API", { kind: "inference" }],
		[
			"a wrong password, which whoever looked at it tells",
			{ code: "PASSWORD_WRONG", status: 401, kind: "unknown" },
		],
		["a browser on its way to the sign-in", { code: "NO_CREDENTIAL", status: 303, kind: "unknown" }],
		[
			"the question for a gateway that every experiment page of MLflow asks",
			{
				kind: "admin",
				rule: "/ajax-api/2.0/mlflow/gateway-proxy",
				query: "gateway_path=api/2.0/endpoints/",
			},
		],
		["MLflow that does not answer a read", { code: "UPSTREAM_UNAVAILABLE", status: 503, kind: "read" }],
	] as const)("%s", (_, request) => expect(told(request)).toEqual([]));
});

describe("what a request is about", () => {
	const body = (value: unknown) => Buffer.from(JSON.stringify(value));

	it.each([
		["/api/2.0/mlflow/runs/delete", "", { run_id: RUN }, `run ${RUN}`],
		["/api/2.0/mlflow/runs/log-metric", "", { run_uuid: RUN, key: "loss", value: 1 }, `run ${RUN}`],
		["/api/2.0/mlflow/experiments/delete", "", { experiment_id: "7" }, "experiment 7"],
		["/api/2.0/mlflow/model-versions/delete", "", { name: "flavor", version: "3" }, "model flavor 3"],
		["/api/2.0/mlflow/registered-models/delete", "", { name: "flavor" }, "model flavor"],
		["/api/2.0/mlflow/runs/get", `run_id=${RUN}`, undefined, `run ${RUN}`],
		["/api/2.0/mlflow/runs/delete", "", ["no", "object"], null],
	])("%s %s", (rule, query, sent, target) => {
		expect(targetOf(subjectOf(rule, rule, query, sent && body(sent)))).toBe(target);
	});

	it("is in an artifact's path", () => {
		const path = `/api/2.0/mlflow-artifacts/artifacts/7/${RUN}/artifacts/model/MLmodel`;
		expect(
			subjectOf("/api/2.0/mlflow-artifacts/artifacts/<path:artifact_path>", path, "", undefined),
		).toEqual({
			experiment_id: "7",
			run_id: RUN,
		});
	});

	it("is the run alone of a body too large to read, and nothing of a body that is none", () => {
		const large = body({
			run_id: RUN,
			metrics: Array.from({ length: 900 }, () => ({ key: "secret-ish", value: 1 })),
		});
		expect(subjectOf("/api/2.0/mlflow/runs/log-batch", "", "", large)).toEqual({ run_id: RUN });
		for (const junk of ["", "{", "null", "7", "\xff\xfe"])
			expect(subjectOf("/api/2.0/mlflow/runs/log-batch", "", "", Buffer.from(junk, "latin1"))).toEqual({});
	});

	it("never holds values: not a tag's, a parameter's, a note's or a token's", () => {
		const [event] = told({
			rule: "/api/2.0/mlflow/runs/set-tag",
			body: body({ run_id: RUN, key: "mlflow.note.content", value: "hunter2", token: "hunter2" }),
			query: "password=hunter2",
		});
		expect(event).toMatchObject({ detail: { run_id: RUN, key: "mlflow.note.content" } });
		expect(JSON.stringify(event)).not.toContain("hunter2");
	});

	it("takes nothing from what an object inherits", () => {
		expect(subjectOf("/x", "", "__proto__=1&constructor=2", body({ constructor: "x", name: {} }))).toEqual(
			{},
		);
	});
});
