/** What Pulumi's engine reports while it works: lines for the person, the errors, the sum. */
import type { EngineEvent, OpType } from "@pulumi/pulumi/automation/index.js";
import { RESOURCE_TYPE } from "./state.ts";

/** How many resources ended how. `same` counts what needed nothing. */
export interface Summary {
	created: number;
	updated: number;
	replaced: number;
	deleted: number;
	same: number;
}

export interface EngineError {
	/** Logical name of the resource, if it was about one. */
	resource?: string;
	message: string;
}

/** Collects the events of one run. */
export class EventLog {
	readonly errors: EngineError[] = [];
	/** Of the run that has ended. */
	summary: Summary = { created: 0, updated: 0, replaced: 0, deleted: 0, same: 0 };
	/** Containers that are being made and waited for. */
	readonly awaited = new Set<string>();
	/** Told the logical name of each container that has been made or changed. */
	onThere: (resource: string) => void = () => {};
	readonly #detail: (text: string) => void;

	constructor(detail: (text: string) => void) {
		this.#detail = detail;
	}

	readonly take = (event: EngineEvent): void => {
		const {
			resourcePreEvent: before,
			resOutputsEvent: after,
			diagnosticEvent: said,
			summaryEvent: sum,
		} = event;
		if (before) {
			if (isStarted(before.metadata)) this.awaited.add(nameOf(before.metadata.urn));
			const line = progress(before.metadata.op, before.metadata.type, nameOf(before.metadata.urn));
			if (line) this.#detail(line);
		}
		if (after && isStarted(after.metadata)) {
			this.awaited.delete(nameOf(after.metadata.urn));
			this.#detail(`${nameOf(after.metadata.urn)} is there`);
			this.onThere(nameOf(after.metadata.urn));
		}
		// Debug messages are the provider's inner talk, with whole containers in it.
		if (said?.severity === "error")
			this.errors.push({ ...(said.urn ? { resource: nameOf(said.urn) } : {}), message: said.message });
		if (sum) this.summary = summarize(sum.resourceChanges as Partial<Record<OpType, number>>);
	};

	/** Of a preview: of all that it announces, nothing happens but looking, and nobody is told that it did. */
	readonly takePlanned = (event: EngineEvent): void => {
		const { resourcePreEvent: before, resOutputsEvent: after } = event;
		if (after || (before && before.metadata.op !== "refresh")) return;
		this.take(event);
	};
}

/** `urn:...::type::name` -> `name` */
export const nameOf = (urn: string): string => urn.split("::").at(-1) ?? urn;

const KIND: Readonly<Record<string, string>> = {
	[RESOURCE_TYPE.container]: "container",
	[RESOURCE_TYPE.network]: "network",
	[RESOURCE_TYPE.volume]: "volume",
};

const VERB: Readonly<Partial<Record<OpType, string>>> = {
	refresh: "looking at",
	create: "creating",
	"create-replacement": "creating",
	update: "changing",
	delete: "stopping and removing",
	"delete-replaced": "stopping and removing",
};

const STARTS: ReadonlySet<OpType> = new Set(["create", "create-replacement", "update"]);
const isStarted = ({ type, op }: { type: string; op: OpType }): boolean =>
	type === RESOURCE_TYPE.container && STARTS.has(op);

function progress(op: OpType, type: string, name: string): string | undefined {
	const [verb, kind] = [VERB[op], KIND[type]];
	return verb && kind ? `${verb} ${kind} ${name}` : undefined;
}

function summarize(changes: Partial<Record<OpType, number>>): Summary {
	const count = (op: OpType) => changes[op] ?? 0;
	return {
		created: count("create"),
		updated: count("update"),
		replaced: count("replace"),
		deleted: count("delete"),
		same: count("same"),
	};
}
