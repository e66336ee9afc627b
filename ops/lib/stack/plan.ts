/** What a change means for the people who use the stack. */
import type { EngineEvent, OpType } from "@pulumi/pulumi/automation/index.js";
import { DATA_VOLUMES, PARTS, PATH, type Part } from "../../../infra/contract.ts";
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
	/** Of a restart: about how long requests wait for it. */
	seconds?: number;
	/** Inputs that differ. */
	properties: string[];
}

export interface Plan {
	changes: Change[];
	/** Resources that need nothing. */
	unchanged: number;
	/** The gravest of all changes. */
	impact: Impact;
	/** About how long requests wait, all restarts together. */
	seconds: number;
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
	[RESOURCE_TYPE.image]: "image",
};

/** Their restart is seconds in which nothing can be read or written. */
const STORES: ReadonlySet<string> = new Set<Part>(["postgres", "minio"]);

const DATA_RESOURCES: ReadonlySet<string> = new Set(DATA_VOLUMES.map((volume) => `${volume}-data`));
const DATA_PATHS: ReadonlySet<string> = new Set(Object.values(PATH.data));

/** From the stop of the old container to the first answer of the new one, on a machine with two cores. */
const SECONDS: Readonly<Record<Part, number>> = {
	postgres: 10,
	minio: 10,
	mlflow: 25,
	door: 10,
	api: 15,
	tailscale: 10,
};

export function planOf(events: readonly EngineEvent[]): Plan {
	const steps = events.flatMap(({ resourcePreEvent }) => resourcePreEvent?.metadata ?? []);
	const changes = steps.flatMap(({ op, type, urn, diffs, old, new: planned }): Change[] => {
		const action = ACTION[op];
		if (!action) return [];
		const resource = nameOf(urn);
		const kind = KIND[type] ?? "other";
		const part = kind === "container" ? PARTS.find((name) => name === resource) : undefined;
		const swaps = kind === "container" && action === "replace" && swapsData(old?.inputs, planned?.inputs);
		const impact = swaps ? "touches data" : impactOf({ resource, kind, action, part });
		return [
			{
				resource,
				kind,
				...(part ? { part } : {}),
				action,
				impact,
				...(part && impact !== "none" ? { seconds: SECONDS[part] } : {}),
				properties: [...(diffs ?? [])],
			},
		];
	});
	return {
		changes,
		unchanged: events.reduce((count, { summaryEvent }) => summaryEvent?.resourceChanges.same ?? count, 0),
		impact: changes.reduce<Impact>((worst, { impact }) => graver(worst, impact), "none"),
		seconds: changes.reduce((sum, { seconds = 0 }) => sum + seconds, 0),
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

/** Whether a part would come up with other volumes where its data is. */
function swapsData(old: unknown, planned: unknown): boolean {
	const before = dataMounts(old);
	const after = dataMounts(planned);
	// Not known yet: the volume is replaced itself, and that is said there.
	if (!before || !after) return false;
	return [...before].some(([target, source]) => after.get(target) !== source);
}

function dataMounts(inputs: unknown): Map<string, string> | undefined {
	const { mounts } = (inputs ?? {}) as { mounts?: { source?: string; target: string }[] };
	if (!Array.isArray(mounts)) return undefined;
	const data = mounts.filter(({ target }) => DATA_PATHS.has(target));
	return new Map(data.map(({ target, source = "" }) => [target, source]));
}

const graver = (a: Impact, b: Impact): Impact => (IMPACTS.indexOf(a) >= IMPACTS.indexOf(b) ? a : b);
