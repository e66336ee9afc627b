import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import { describe, expect, it } from "vitest";
import { planOf } from "../../../ops/lib/stack/plan.ts";

/** As the engine reports a step before it takes it. */
const step = (op: string, type: string, name: string, diffs: string[] = []): EngineEvent =>
	({
		resourcePreEvent: {
			metadata: {
				op,
				type: `docker:index/${type}`,
				urn: `urn:pulumi:s::mlgate::docker:index/${type}::${name}`,
				diffs,
			},
		},
	}) as unknown as EngineEvent;
const sum = (same: number): EngineEvent =>
	({ summaryEvent: { resourceChanges: { same } } }) as unknown as EngineEvent;

const CONTAINER = "container:Container";
const VOLUME = "volume:Volume";

describe("a plan", () => {
	it("of nothing is nothing", () => {
		expect(planOf([step("refresh", CONTAINER, "door"), step("same", CONTAINER, "door"), sum(35)])).toEqual({
			changes: [],
			unchanged: 35,
			impact: "none",
		});
	});

	it.each([
		["create", CONTAINER, "postgres", "none"],
		["update", CONTAINER, "postgres", "none"],
		["replace", CONTAINER, "postgres", "restarts a store"],
		["replace", CONTAINER, "minio", "restarts a store"],
		["delete", CONTAINER, "minio", "restarts a store"],
		["replace", CONTAINER, "mlflow", "restarts stateless"],
		["replace", CONTAINER, "door", "restarts stateless"],
		["replace", CONTAINER, "door-courier", "none"],
		["replace", VOLUME, "postgres-data", "touches data"],
		["delete", VOLUME, "door-data", "touches data"],
		["create", VOLUME, "door-data", "none"],
		["replace", VOLUME, "door-secrets", "none"],
		["replace", "network:Network", "data", "none"],
	])("says of %s %s %s: %s", (op, type, name, impact) => {
		const plan = planOf([step(op, type, name)]);
		expect(plan.changes).toHaveLength(1);
		expect([plan.changes[0]?.impact, plan.impact]).toEqual([impact, impact]);
	});

	it("counts a replacement once, though the engine takes three steps", () => {
		const steps = ["delete-replaced", "replace", "create-replacement"].map((op) =>
			step(op, CONTAINER, "door", ["envs"]),
		);
		expect(planOf(steps).changes).toEqual([
			{
				resource: "door",
				kind: "container",
				part: "door",
				action: "replace",
				impact: "restarts stateless",
				properties: ["envs"],
			},
		]);
	});

	it("is as grave as its gravest change", () => {
		const plan = planOf([
			step("replace", CONTAINER, "postgres"),
			step("delete", VOLUME, "minio-data"),
			step("replace", CONTAINER, "door"),
		]);
		expect(plan.impact).toBe("touches data");
	});
});
