/** Where the artifacts of runs and model versions lie. MLflow is asked once for each. */
import type { Pool } from "undici";
import { joinPath } from "./names.ts";

/** Asks MLflow for JSON: a GET of this path and query, and the answer's status and parsed body. */
export type AskMlflow = (pathAndQuery: string) => Promise<{ status: number; body: unknown }>;

export interface Root {
	/** As MLflow says it. */
	uri: string;
	/** Key prefix in our store without slashes at its ends; undefined if it is not there. */
	root: string | undefined;
}

const RUNS = 10_000;
const VERSIONS = 1_000;
/**
 * Milliseconds. A run's root never changes; a version's does when its model is deleted and registered anew, which
 * the door may not have seen.
 */
const VERSION_AGE = 60_000;
/** Milliseconds. */
const ASK_TIMEOUT = 30_000;

/** A way to ask over connections to MLflow. */
export const mlflowOver =
	(pool: Pool): AskMlflow =>
	async (path) => {
		const { statusCode, body } = await pool.request({
			path,
			method: "GET",
			signal: AbortSignal.timeout(ASK_TIMEOUT),
		});
		const text = await body.text();
		return { status: statusCode, body: statusCode === 200 ? (JSON.parse(text) as unknown) : undefined };
	};

/** The anchor of artifact routes in `http(s):` roots (MLflow 2.13.0, `_get_proxied_run_artifact_destination_path`). */
const ANCHOR = "/api/2.0/mlflow-artifacts/artifacts/";

/**
 * The key prefix that an artifact URI means to our MLflow, which serves every `mlflow-artifacts:` and `http(s):`
 * root from its one destination, whatever host stands in it.
 */
export function rootOf(uri: string, bucket: string): string | undefined {
	// Queries and fragments mean something to MLflow that they do not mean here.
	const found = /^([a-z][a-z0-9+.-]*):(?:\/\/([^/?#]*))?([^?#]*)$/i.exec(uri);
	if (found === null) return undefined;
	const [, scheme = "", host = "", path = ""] = found;
	let root: string | undefined;
	switch (scheme.toLowerCase()) {
		case "mlflow-artifacts":
			root = path;
			break;
		case "http":
		case "https":
			root = path.includes(ANCHOR) ? path.slice(path.indexOf(ANCHOR) + ANCHOR.length) : undefined;
			break;
		case "s3":
			root = host === bucket ? path : undefined;
			break;
	}
	root = root?.replace(/^\/+/, "").replace(/\/$/, "");
	return root === undefined || root === "" || isPlain(root) ? root : undefined;
}

const isPlain = (path: string): boolean => !path.split("/").some((name) => /^\.{0,2}$/.test(name));

/** A version whose source was given as a folder of a run. */
export const OF_RUN = /^runs:\/([^/?#]+)\/([^?#]+?)\/?$/;

/** Keeps the last ones that were asked for. */
class Recent<T> {
	readonly #most: number;
	readonly #age: number;
	readonly #kept = new Map<string, { value: T; since: number }>();

	/** @param age milliseconds */
	constructor(most: number, age: number) {
		this.#most = most;
		this.#age = age;
	}

	get(key: string): T | undefined {
		const found = this.#kept.get(key);
		if (found === undefined) return undefined;
		this.#kept.delete(key);
		if (performance.now() - found.since > this.#age) return undefined;
		this.#kept.set(key, found);
		return found.value;
	}

	set(key: string, value: T): void {
		this.#kept.set(key, { value, since: performance.now() });
		for (const oldest of this.#kept.keys()) {
			if (this.#kept.size <= this.#most) break;
			this.#kept.delete(oldest);
		}
	}

	clear(): void {
		this.#kept.clear();
	}
}

export class Roots {
	readonly #ask: AskMlflow;
	readonly #bucket: string;
	readonly #runs = new Recent<Root>(RUNS, Number.POSITIVE_INFINITY);
	readonly #versions = new Recent<Root>(VERSIONS, VERSION_AGE);
	/** Counts the changes of the registry that the door has seen. */
	#registry = 0;

	constructor(ask: AskMlflow, bucket: string) {
		this.#ask = ask;
		this.#bucket = bucket;
	}

	/** @returns undefined if MLflow does not know it, or does not answer: it shall say so itself */
	async run(id: string): Promise<Root | undefined> {
		const kept = this.#runs.get(id);
		if (kept !== undefined) return kept;
		const found = await this.#find(`/api/2.0/mlflow/runs/get?run_id=${encodeURIComponent(id)}`, (body) => {
			const { run } = body as { run?: { info?: { artifact_uri?: unknown } } };
			return run?.info?.artifact_uri;
		});
		if (found !== undefined) this.#runs.set(id, found);
		return found;
	}

	/** @returns undefined if MLflow does not know it, or does not answer: it shall say so itself */
	async version(name: string, version: string): Promise<Root | undefined> {
		const key = JSON.stringify([name, version]);
		const kept = this.#versions.get(key);
		if (kept !== undefined) return kept;
		const before = this.#registry;
		const found = await this.#find(
			`/api/2.0/mlflow/model-versions/get-download-uri?name=${encodeURIComponent(name)}&version=${encodeURIComponent(version)}`,
			(body) => (body as { artifact_uri?: unknown }).artifact_uri,
		).then((version) => version && this.#ofRun(version));
		if (found !== undefined && before === this.#registry) this.#versions.set(key, found);
		return found;
	}

	/** MLflow answers 500 for the files of such a version; its client looks the run up, and so do we. */
	async #ofRun(version: Root): Promise<Root | undefined> {
		const [, id, path = ""] = OF_RUN.exec(version.uri) ?? [];
		if (id === undefined || !isPlain(path)) return version;
		const root = (await this.run(id))?.root;
		return root === undefined ? version : { uri: version.uri, root: joinPath(root, path) };
	}

	/** The registry has changed, or may have. */
	forgetVersions(): void {
		this.#registry++;
		this.#versions.clear();
	}

	async #find(path: string, uriOf: (body: object) => unknown): Promise<Root | undefined> {
		let answer: { status: number; body: unknown };
		try {
			answer = await this.#ask(path);
		} catch {
			return undefined;
		}
		if (answer.status !== 200 || typeof answer.body !== "object" || answer.body === null) return undefined;
		const uri = uriOf(answer.body);
		return typeof uri === "string" ? { uri, root: rootOf(uri, this.#bucket) } : undefined;
	}
}
