import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import { describe, expect, it } from "vitest";
import { PATH } from "../../../infra/contract.ts";
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
			seconds: 0,
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
				seconds: expect.any(Number),
				properties: ["envs"],
			},
		]);
	});

	/** A replacement with the volumes before and after, as the engine reports them. */
	const remounted = (before: string, after: string | undefined): EngineEvent => {
		const event = step("replace", CONTAINER, "postgres", ["mounts"]);
		const metadata = event.resourcePreEvent?.metadata as unknown as Record<string, unknown>;
		const inputs = (source: string) => ({
			inputs: {
				mounts: [
					{ type: "volume", source, target: PATH.data.postgres },
					{ type: "volume", source: "secrets", target: PATH.secrets },
				],
			},
		});
		metadata.old = inputs(before);
		metadata.new = after === undefined ? { inputs: {} } : inputs(after);
		return event;
	};

	it("sees a store that would come up on another data volume", () => {
		expect(planOf([remounted("s-postgres-data", "t-postgres-data")]).impact).toBe("touches data");
		expect(planOf([remounted("s-postgres-data", "s-postgres-data")]).impact).toBe("restarts a store");
		expect(planOf([remounted("s-postgres-data", undefined)]).impact).toBe("restarts a store");
	});

	it("tells for how long requests wait, and adds it up", () => {
		const plan = planOf([step("replace", CONTAINER, "mlflow"), step("replace", CONTAINER, "door")]);
		const [mlflow, door] = plan.changes.map(({ seconds }) => seconds);
		expect(mlflow).toBeGreaterThan(0);
		expect(door).toBeGreaterThan(0);
		expect(plan.seconds).toBe((mlflow ?? 0) + (door ?? 0));
		expect(planOf([step("update", CONTAINER, "mlflow")]).changes[0]).not.toHaveProperty("seconds");
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
