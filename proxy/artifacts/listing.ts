/** Lists and deletes: what lies under an artifact's path, and no neighbour whose name begins alike. */
import { codingFor, compress, WORTH_COMPRESSING } from "../encoding.ts";
import { answer, JSON_HEADERS } from "./errors.ts";
import type { Exchange, Shared } from "./exchange.ts";
import { baseName, byCodePoint, joinPath, pythonJson, safePath } from "./names.ts";
import { patiently } from "./patience.ts";
import type { Page } from "./store.ts";

async function* pages(
	{ store, limits }: Shared,
	prefix: string,
	flat: boolean,
	signal: AbortSignal,
): AsyncGenerator<Page> {
	let next: string | undefined;
	do {
		const page = await patiently(signal, limits.hold, () => store.page(prefix, flat, next, signal));
		yield page;
		next = page.next;
	} while (next !== undefined);
}

/** An entry as MLflow's JSON has it: a size of 0 is left out, and so is that of a directory. */
interface Entry {
	path: string;
	is_dir: boolean;
	file_size?: number;
}

/**
 * The entries of one directory in MLflow's order, which is by path.
 * @param directory `""`: everything
 * @param called what the directory is called in the entries' paths
 */
async function entries(
	shared: Shared,
	directory: string,
	called: string,
	signal: AbortSignal,
): Promise<Entry[]> {
	const prefix = directory === "" ? "" : `${directory}/`;
	const found: { key: string; entry: Entry }[] = [];
	const add = (key: string, is_dir: boolean, size: number) => {
		// A key that ends in a slash stands for a directory that somebody made without putting anything into it.
		const path = joinPath(called, baseName(key.replace(/\/$/, "")));
		found.push({ key, entry: { path, is_dir, ...(size > 0 ? { file_size: size } : {}) } });
	};
	for await (const { files, folders } of pages(shared, prefix, true, signal)) {
		for (const folder of folders) add(folder, true, 0);
		for (const { key, size } of files) add(key, false, size);
	}
	return found
		.sort((a, b) => byCodePoint(a.key.replace(/\/$/, ""), b.key.replace(/\/$/, "")))
		.map((f) => f.entry);
}

/** Sends JSON as MLflow writes it; folders of thousands of files are long, and all their paths begin alike. */
async function answerList({ req, res, signal }: Exchange, value: object): Promise<void> {
	const body = Buffer.from(pythonJson(value));
	const headers = [...JSON_HEADERS, "Vary", "Accept-Encoding"];
	const coding = body.length < WORTH_COMPRESSING ? undefined : codingFor(req.headers["accept-encoding"]);
	if (coding === undefined) return answer(req, res, 200, headers, body);
	const bytes = await compress(coding, body);
	signal.throwIfAborted();
	answer(req, res, 200, [...headers, "Content-Encoding", coding], bytes);
}

/** Answers `mlflow-artifacts/artifacts?path=`: names below the root of all artifacts. */
export async function list(x: Exchange, shared: Shared, path: string | undefined): Promise<void> {
	const directory = path === undefined || path === "" ? "" : safePath(path);
	const files = await entries(shared, directory, "", x.signal);
	await answerList(x, files.length === 0 ? {} : { files });
}

/**
 * Answers `artifacts/list?run_id=&path=`: paths below a run's artifact root.
 * @param root the key prefix of the run's artifacts, without a slash at its end
 * @param uri its `artifact_uri`
 */
export async function listRun(
	x: Exchange,
	shared: Shared,
	{ root, uri }: { root: string; uri: string },
	path: string | undefined,
): Promise<void> {
	const below = path === undefined || path === "" ? "" : safePath(path);
	const files = await entries(shared, joinPath(root, below), below, x.signal);
	await answerList(x, { root_uri: uri, ...(files.length === 0 ? {} : { files }) });
}

/** Deletes an artifact, or a directory with everything in it. What is not there is no error. */
export async function remove(x: Exchange, shared: Shared, path: string): Promise<void> {
	const { signal } = x;
	const { store, limits } = shared;
	const drop = (keys: string[]) => patiently(signal, limits.hold, () => store.deleteAll(keys, signal));
	for await (const { files } of pages(shared, `${safePath(path)}/`, false, signal)) {
		if (files.length > 0) await drop(files.map(({ key }) => key));
	}
	await drop([path]);
	answer(x.req, x.res, 200, JSON_HEADERS, "{}");
}
