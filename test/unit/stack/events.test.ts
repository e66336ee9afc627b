import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import { expect, test } from "vitest";
import { EventLog } from "../../../ops/lib/stack/events.ts";
import { RESOURCE_TYPE } from "../../../ops/lib/stack/state.ts";

const about = (op: string, name: string) => ({
	metadata: {
		op,
		type: RESOURCE_TYPE.container,
		urn: `urn:pulumi:s::mlgate::${RESOURCE_TYPE.container}::${name}`,
	},
});
const EVENTS = [
	{ resourcePreEvent: about("refresh", "minio") },
	{ resourcePreEvent: about("delete-replaced", "mlflow") },
	{ resourcePreEvent: about("create-replacement", "mlflow") },
	{ resOutputsEvent: about("create-replacement", "mlflow") },
	{ diagnosticEvent: { severity: "error", message: "no" } },
] as unknown as EngineEvent[];

function told(take: (log: EventLog) => (event: EngineEvent) => void): { lines: string[]; log: EventLog } {
	const lines: string[] = [];
	const log = new EventLog((text) => lines.push(text));
	for (const event of EVENTS) take(log)(event);
	return { lines, log };
}

test("an up tells what is done", () => {
	expect(told((log) => log.take).lines).toEqual([
		"looking at container minio",
		"stopping and removing container mlflow",
		"creating container mlflow",
		"mlflow is there",
	]);
});

test("a preview tells only of looking, and keeps the errors", () => {
	const { lines, log } = told((one) => one.takePlanned);
	expect(lines).toEqual(["looking at container minio"]);
	expect(log.errors).toEqual([{ message: "no" }]);
});
