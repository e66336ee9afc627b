/**
 * The creates, and the one delete that training jobs send: what each must have made, how it is found again, and how
 * MLflow is asked for the words of its answer.
 * (MLflow 2.13.0, `create_run` and others in `store/tracking/sqlalchemy_store.py`, `store/model_registry/sqlalchemy_store.py`.)
 */
import type { Sql } from "../accounts/database.ts";
import { valuesOf } from "../routes/json.ts";
import type { Look } from "./finder.ts";

export type Message = Readonly<Record<string, unknown>>;

export interface Creating {
	/** How to look for it; undefined: the body says nothing that could be looked for, and MLflow makes nothing of it. */
	look(message: Message): Look | undefined;
	/** The name of what was made, as `look` gives it, out of MLflow's answer of 200. */
	made(message: Message, answer: Message): string | undefined;
	/** Path and query that MLflow answers with it. Without it the answer is `fixed`. */
	path?(name: string): string;
	/** What that answer has and the create's own has not. */
	answer?(found: Message): Message;
	fixed?: Message;
}

type Tags = Map<string, string>;

/** A text field; protobuf's default is the empty one. */
const text = (message: Message, field: string): string => {
	const [value] = valuesOf(message, field);
	return typeof value === "string" ? value : typeof value === "number" ? String(value) : "";
};

const whole = (value: string): string | undefined => (/^\d{1,18}$/.test(value) ? value : undefined);

function tagsOf(message: Message): Tags {
	const [list] = valuesOf(message, "tags");
	const tags: Tags = new Map();
	for (const tag of Array.isArray(list) ? list : []) {
		if (typeof tag === "object" && tag !== null) tags.set(text(tag, "key"), text(tag, "value"));
	}
	return tags;
}

/** Whether rows of `key` and `value` are these tags, and perhaps one more that MLflow adds. */
function areTags(rows: readonly Record<string, unknown>[], tags: Tags, added?: string): boolean {
	const found = new Map(rows.map(({ key, value }) => [String(key), value === null ? "" : String(value)]));
	if (added !== undefined && !tags.has(added)) found.delete(added);
	return found.size === tags.size && [...tags].every(([key, value]) => found.get(key) === value);
}

async function filtered(
	sql: Sql,
	names: readonly string[],
	tagsQuery: string,
	valuesFor: (name: string) => unknown[],
	tags: Tags,
	added?: string,
): Promise<string[]> {
	const kept: string[] = [];
	for (const name of names) {
		if (areTags(await sql(tagsQuery, valuesFor(name)), tags, added)) kept.push(name);
	}
	return kept;
}

const record = (value: unknown): Message =>
	typeof value === "object" && value !== null ? (value as Message) : {};

const MOST = 50;

const run: Creating = {
	look(message) {
		const experiment = whole(text(message, "experiment_id"));
		const start = whole(text(message, "start_time") || "0");
		if (experiment === undefined || start === undefined) return undefined;
		const tags = tagsOf(message);
		const name = text(message, "run_name") || tags.get("mlflow.runName") || null;
		return async (sql, { xid }) => {
			const rows = await sql(
				`select run_uuid as name from runs r
					where experiment_id = $1::bigint and start_time = $2::bigint and coalesce(user_id, '') = $3
						and status = 'RUNNING' and lifecycle_stage = 'active' and end_time is null and ($4::text is null or name = $4)
						and age(r.xmin) < age($5::xid8::xid)
						and not exists (select from latest_metrics m where m.run_uuid = r.run_uuid)
						and not exists (select from params p where p.run_uuid = r.run_uuid)
						and not exists (select from inputs i where i.destination_id = r.run_uuid)
					order by age(r.xmin) desc limit ${MOST}`,
				[experiment, start, text(message, "user_id"), name, xid],
			);
			const names = rows.map((row) => `run ${row.name}`);
			const ofRun = "select key, value from tags where run_uuid = $1";
			return await filtered(sql, names, ofRun, (found) => [found.slice(4)], tags, "mlflow.runName");
		};
	},
	made: (_, answer) => {
		const id = record(record(answer.run).info).run_id;
		return typeof id === "string" ? `run ${id}` : undefined;
	},
	path: (name) => `/api/2.0/mlflow/runs/get?run_id=${encodeURIComponent(name.slice(4))}`,
	answer(found) {
		const { inputs: _, ...run } = record(found.run);
		return { run };
	},
};

const experiment: Creating = {
	look(message) {
		const name = text(message, "name");
		if (name === "") return undefined;
		return async (sql, { xid, at }) => {
			const rows = await sql(
				`select experiment_id as id from experiments e
					where name = $1 and creation_time >= $2::bigint and age(e.xmin) < age($3::xid8::xid)`,
				[name, at, xid],
			);
			const names = rows.map((row) => `experiment ${row.id}`);
			const ofExperiment = "select key, value from experiment_tags where experiment_id = $1::bigint";
			return await filtered(sql, names, ofExperiment, (found) => [found.slice(11)], tagsOf(message));
		};
	},
	made: (_, { experiment_id: id }) => (typeof id === "string" ? `experiment ${id}` : undefined),
	path: (name) => `/api/2.0/mlflow/experiments/get?experiment_id=${name.slice(11)}`,
	answer: (found) => ({ experiment_id: record(found.experiment).experiment_id }),
};

/** A name may be free again and be given anew: the time tells the one from the other. */
const modelName = (creation: unknown, name: string): string => `model ${creation} ${name}`;
const versionName = (version: unknown, creation: unknown, name: string): string =>
	`version ${version} ${creation} ${name}`;

const model: Creating = {
	look(message) {
		const name = text(message, "name");
		if (name === "") return undefined;
		return async (sql, { xid, at }) => {
			const rows = await sql(
				`select creation_time from registered_models m
					where name = $1 and creation_time >= $2::bigint and age(m.xmin) < age($3::xid8::xid)
						and coalesce(description, '') = $4`,
				[name, at, xid, text(message, "description")],
			);
			const names = rows.map((row) => modelName(row.creation_time, name));
			const ofModel = "select key, value from registered_model_tags where name = $1";
			return await filtered(sql, names, ofModel, () => [name], tagsOf(message));
		};
	},
	made(_, answer) {
		const { name, creation_timestamp: at } = record(answer.registered_model);
		return typeof name === "string" ? modelName(at, name) : undefined;
	},
	path(found) {
		const [, , ...name] = found.split(" ");
		return `/api/2.0/mlflow/registered-models/get?name=${encodeURIComponent(name.join(" "))}`;
	},
	answer(found) {
		// Somebody else may have been quick.
		const { latest_versions: _, ...made } = record(found.registered_model);
		return { registered_model: made };
	},
};

const version: Creating = {
	look(message) {
		const name = text(message, "name");
		if (name === "") return undefined;
		return async (sql, { xid, at }) => {
			const rows = await sql(
				`select version, creation_time from model_versions v
					where name = $1 and creation_time >= $2::bigint and age(v.xmin) < age($3::xid8::xid)
						and source = $4 and coalesce(run_id, '') = $5 and coalesce(run_link, '') = $6
						and coalesce(description, '') = $7
					order by version limit ${MOST}`,
				[
					name,
					at,
					xid,
					text(message, "source"),
					text(message, "run_id"),
					text(message, "run_link"),
					text(message, "description"),
				],
			);
			const names = rows.map((row) => versionName(row.version, row.creation_time, name));
			const ofVersion = "select key, value from model_version_tags where name = $1 and version = $2::integer";
			return await filtered(sql, names, ofVersion, (found) => [name, found.split(" ")[1]], tagsOf(message));
		};
	},
	made(_, answer) {
		const { name, version, creation_timestamp: at } = record(answer.model_version);
		return typeof name === "string" ? versionName(version, at, name) : undefined;
	},
	path(found) {
		const [, version = "", , ...name] = found.split(" ");
		return `/api/2.0/mlflow/model-versions/get?name=${encodeURIComponent(name.join(" "))}&version=${version}`;
	},
};

/** Python's reading of what it wrote: the order of names is no difference. */
function sorted(value: unknown): unknown {
	if (Array.isArray(value)) return value.map(sorted);
	if (typeof value !== "object" || value === null) return value;
	const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
	return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}

/** What tells two logged models of a run apart: MLflow's own id, and where it has none, path and time. */
function modelKey(model: Message): string {
	const { model_uuid: id, artifact_path: path, utc_time_created: time } = model;
	return JSON.stringify(sorted({ id, path, time }));
}

/** Appends a model to the list that is a tag of its run. */
const logged: Creating = {
	look(message) {
		const run = text(message, "run_id") || text(message, "run_uuid");
		let key: string;
		try {
			key = modelKey(record(JSON.parse(text(message, "model_json"))));
		} catch {
			return undefined;
		}
		return async (sql, { xid }) => {
			const [row] = await sql(
				`select value from tags t
					where run_uuid = $1 and key = 'mlflow.log-model.history' and age(t.xmin) < age($2::xid8::xid)`,
				[run, xid],
			);
			if (row === undefined) return [];
			const list = JSON.parse(row.value) as Message[];
			return list.some((one) => modelKey(one) === key) ? [`logged ${run} ${key}`] : [];
		};
	},
	made(message) {
		try {
			const run = text(message, "run_id") || text(message, "run_uuid");
			return `logged ${run} ${modelKey(record(JSON.parse(text(message, "model_json"))))}`;
		} catch {
			return undefined;
		}
	},
	fixed: {},
};

/** Of a tag that is gone MLflow says 404; for who asks again that it is gone is what was asked for. */
const untagged: Creating = {
	look(message) {
		const [run, key] = [text(message, "run_id") || text(message, "run_uuid"), text(message, "key")];
		if (run === "" || key === "") return undefined;
		return async (sql) => {
			const rows = await sql("select key from tags where run_uuid = $1 and key = $2", [run, key]);
			return rows.length === 0 ? [`untagged ${run} ${key}`] : [];
		};
	},
	made: () => undefined,
	fixed: {},
};

/** By rule below a twin; all are POST. */
export const CREATES: Readonly<Record<string, Creating>> = {
	"/mlflow/runs/create": run,
	"/mlflow/runs/log-model": logged,
	"/mlflow/runs/delete-tag": untagged,
	"/mlflow/experiments/create": experiment,
	"/mlflow/registered-models/create": model,
	"/mlflow/model-versions/create": version,
};
