/** What a change means for the people who use the stack. */
import type { EngineEvent, OpType } from "@pulumi/pulumi/automation/index.js";
import { DATA_VOLUMES, PARTS, type Part } from "../../../infra/contract.ts";
import { nameOf } from "./events.ts";
import { RESOURCE_TYPE } from "./state.ts";

/** From harmless to grave. */
export const IMPACTS = ["none", "restarts stateless", "restarts a store", "touches data"] as const;
export type Impact = (typeof IMPACTS)[number];

export type Action = "create" | "update" | "replace" | "delete";

export interface Change {
	/** Logical name in the program. */
	resource: string;
	kind: "container" | "network" | "volume" | "image" | "other";
	/** The part whose container it is. */
	part?: Part;
	action: Action;
	impact: Impact;
	/** Inputs that differ. */
	properties: string[];
}

export interface Plan {
	changes: Change[];
	/** Resources that need nothing. */
	unchanged: number;
	/** The gravest of all changes. */
	impact: Impact;
}

const ACTION: Readonly<Partial<Record<OpType, Action>>> = {
	create: "create",
	update: "update",
	replace: "replace",
	delete: "delete",
};

const KIND: Readonly<Record<string, Change["kind"]>> = {
	[RESOURCE_TYPE.container]: "container",
	[RESOURCE_TYPE.network]: "network",
	[RESOURCE_TYPE.volume]: "volume",
	"docker:index/remoteImage:RemoteImage": "image",
};

/** Their restart is seconds in which nothing can be read or written. */
const STORES: ReadonlySet<string> = new Set<Part>(["postgres", "minio"]);

const DATA_RESOURCES: ReadonlySet<string> = new Set(DATA_VOLUMES.map((volume) => `${volume}-data`));

export function planOf(events: readonly EngineEvent[]): Plan {
	const steps = events.flatMap(({ resourcePreEvent }) => resourcePreEvent?.metadata ?? []);
	const changes = steps.flatMap(({ op, type, urn, diffs }): Change[] => {
		const action = ACTION[op];
		if (!action) return [];
		const resource = nameOf(urn);
		const kind = KIND[type] ?? "other";
		const part = kind === "container" ? PARTS.find((name) => name === resource) : undefined;
		return [
			{
				resource,
				kind,
				...(part ? { part } : {}),
				action,
				impact: impactOf({ resource, kind, action, part }),
				properties: [...(diffs ?? [])],
			},
		];
	});
	return {
		changes,
		unchanged: events.reduce((count, { summaryEvent }) => summaryEvent?.resourceChanges.same ?? count, 0),
		impact: changes.reduce<Impact>((worst, { impact }) => graver(worst, impact), "none"),
	};
}

/**
 * A container that is changed in place goes on running (limits), or was not running (then it is started). Networks,
 * images and secret files act through the containers that are replaced with them.
 */
function impactOf(change: Pick<Change, "resource" | "kind" | "action" | "part">): Impact {
	const { action } = change;
	if (action !== "replace" && action !== "delete") return "none";
	if (change.kind === "volume" && DATA_RESOURCES.has(change.resource)) return "touches data";
	if (!change.part) return "none";
	return STORES.has(change.part) ? "restarts a store" : "restarts stateless";
}

const graver = (a: Impact, b: Impact): Impact => (IMPACTS.indexOf(a) >= IMPACTS.indexOf(b) ? a : b);
