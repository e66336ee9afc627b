import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StackRef } from "../../../ops/lib/stack/config-file.ts";
import {
	type Deployment,
	hasState,
	idsOf,
	nameInState,
	pruneHistory,
	RESOURCE_TYPE,
	removeTraces,
	withoutPendingOperations,
	withoutTailnetKey,
} from "../../../ops/lib/stack/state.ts";

const urn = (type: string, name: string) => `urn:pulumi:local::mlgate::${type}::${name}`;

const container = { urn: urn(RESOURCE_TYPE.container, "door"), type: RESOURCE_TYPE.container, id: "c1" };
const volume = {
	urn: urn(RESOURCE_TYPE.volume, "postgres-data"),
	type: RESOURCE_TYPE.volume,
	id: "team-b-postgres-data",
	inputs: { name: "team-b-postgres-data" },
};
const state = (...resources: Deployment["deployment"]["resources"] & object[]): Deployment => ({
	version: 3,
	deployment: { resources },
});

describe("the state", () => {
	it("tells the ids of what was made, by type", () => {
		expect(idsOf(state(container, volume), RESOURCE_TYPE.container)).toEqual(new Set(["c1"]));
		expect(idsOf({ version: 3, deployment: {} }, RESOURCE_TYPE.container)).toEqual(new Set());
	});

	it("tells the name on the host from the data volume, if there is one yet", () => {
		expect(nameInState(state(container, volume))).toBe("team-b");
		expect(nameInState(state(container))).toBeUndefined();
		expect(nameInState({ version: 3, deployment: {} })).toBeUndefined();
	});

	it("forgets what a killed run was about to do, and nothing else", () => {
		const killed: Deployment = {
			version: 3,
			deployment: {
				...state(container).deployment,
				pending_operations: [{ resource: volume, type: "creating" }],
			},
		};
		expect(withoutPendingOperations(killed)).toEqual({ state: state(container), dropped: 1 });
		expect(withoutPendingOperations(state(container))).toEqual({ state: state(container), dropped: 0 });
	});

	it("forgets the key of a node and its provider, also where others name them, and nothing else", () => {
		const provider = {
			urn: urn("pulumi:providers:tailscale", "tailnet"),
			type: "pulumi:providers:tailscale",
		};
		const type = "tailscale:index/tailnetKey:TailnetKey";
		const key = { urn: urn(type, "tailscale-key"), type, id: "k1" };
		const courier = {
			...container,
			dependencies: [volume.urn, key.urn],
			propertyDependencies: { mounts: [volume.urn], uploads: [key.urn], name: null },
		};
		expect(withoutTailnetKey(state(volume, provider, key, courier))).toEqual({
			state: state(volume, {
				...container,
				dependencies: [volume.urn],
				propertyDependencies: { mounts: [volume.urn], uploads: [], name: [] },
			}),
			dropped: 2,
		});
		expect(withoutTailnetKey(state(container, volume))).toEqual({
			state: state(container, volume),
			dropped: 0,
		});
	});
});

describe("Pulumi's files", () => {
	let ref: StackRef;
	const at = (...path: string[]) => join(ref.checkout, ".mlgate/state/.pulumi", ...path);
	const make = (...path: string[]) => {
		mkdirSync(at(...path.slice(0, -1)), { recursive: true });
		writeFileSync(at(...path), "{}");
	};
	beforeEach(() => {
		ref = { checkout: mkdtempSync(join(tmpdir(), "mlgate-state-")), stack: "local" };
	});
	afterEach(() => rmSync(ref.checkout, { recursive: true }));

	it("tell whether a stack is known, however they are packed", () => {
		expect(hasState(ref)).toBe(false);
		make("stacks", "mlgate", "local.json.gz");
		expect(hasState(ref)).toBe(true);
		expect(hasState({ ...ref, stack: "loc" })).toBe(false);
	});

	it("keep the records of the last runs, each whole", () => {
		for (let run = 100; run < 130; run++)
			for (const ending of ["history.json", "history.json.attrs", "checkpoint.json"])
				make("history", "mlgate", "local", `local-${run}.${ending}`);
		pruneHistory(ref);
		const left = readdirSync(at("history", "mlgate", "local"));
		expect(left).toHaveLength(60);
		expect(left.toSorted()[0]).toBe("local-110.checkpoint.json");
	});

	it("go with the stack, and those of other stacks stay", () => {
		for (const stack of ["local", "local2"]) {
			make("stacks", "mlgate", `${stack}.json`);
			make("stacks", "mlgate", `${stack}.json.bak`);
			make("history", "mlgate", stack, "x.json");
			make("backups", "mlgate", stack, "x.json");
		}
		removeTraces(ref);
		expect(
			readdirSync(at(), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length,
		).toBe(4);
		expect(hasState({ ...ref, stack: "local2" })).toBe(true);
	});
});
