/** What a request of MLflow's API is about: ids and names, taken from its path, its query or its small JSON body. */
import type { Detail } from "./event.ts";

/** Larger bodies are not read for this: only their first bytes are looked at for a run's id. */
const SMALL = 8 * 1024;
const HEAD = 512;

/** MLflow's field, and what we call it. Where two name one thing, the first that is there counts. */
const FIELDS = [
	["run_id", "run_id"],
	["run_uuid", "run_id"],
	["experiment_id", "experiment_id"],
	["version", "version"],
	["stage", "stage"],
	["alias", "alias"],
	["key", "key"],
] as const;

/** Routes whose `name` is a model's; elsewhere it is an experiment's or a label's. */
const OF_MODELS = /\/(?:registered-models|model-versions)\//;

/** Experiment and run of an artifact's path in MLflow's proxy. */
const ARTIFACT = /\/artifacts\/(\d+)\/([0-9a-f]{32})\//;

const RUN_IN_TEXT = /"run_(?:id|uuid)"\s*:\s*"([0-9a-f]{32})"/;

const small = (value: unknown): value is string | number =>
	(typeof value === "string" && value !== "") || typeof value === "number";

function take(detail: Detail, rule: string, read: (field: string) => unknown): void {
	for (const [field, name] of FIELDS) {
		const value = read(field);
		if (small(value)) detail[name] ??= value;
	}
	const name = read("name");
	if (small(name)) detail[OF_MODELS.test(rule) ? "model" : "name"] ??= name;
}

function readBody(body: Buffer): Record<string, unknown> {
	if (body.length === 0) return {};
	if (body.length > SMALL) return { run_id: RUN_IN_TEXT.exec(body.toString("latin1", 0, HEAD))?.[1] };
	try {
		const value: unknown = JSON.parse(body.toString("utf8"));
		return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
	} catch {
		return {};
	}
}

/** @param rule the route as MLflow writes it; `path` and `query` canonical. */
export function subjectOf(rule: string, path: string, query: string, body: Buffer | undefined): Detail {
	const detail: Detail = {};
	const artifact = ARTIFACT.exec(path);
	if (artifact) Object.assign(detail, { experiment_id: artifact[1], run_id: artifact[2] });
	if (query !== "") {
		const fields = new URLSearchParams(query);
		take(detail, rule, (field) => fields.get(field));
	}
	if (body !== undefined) {
		const fields = readBody(body);
		take(detail, rule, (field) => (Object.hasOwn(fields, field) ? fields[field] : undefined));
	}
	return detail;
}

/** The subject in a few words: `model flavor 3`, `run 0123...`, `experiment 4`. */
export function targetOf({ model, version, run_id, experiment_id }: Detail): string | null {
	if (model !== undefined) return version === undefined ? `model ${model}` : `model ${model} ${version}`;
	if (run_id !== undefined) return `run ${run_id}`;
	return experiment_id === undefined ? null : `experiment ${experiment_id}`;
}
