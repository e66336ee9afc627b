/**
 * Work as teams do it, with the stock MLflow client, while something is done to the stack: processes that log runs,
 * artifacts and model versions, and note everything that was acknowledged (`load.py`).
 */
import { readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { python } from "./client.ts";
import type { PrivateEngine } from "./private-engine.ts";

const SCRIPT = readFileSync(new URL("load.py", import.meta.url), "utf8");
/** Enough of it before and after, to tell what the work did to it. Milliseconds. */
const AROUND = 5_000;

/** What the clients saw. */
export interface Load {
	/** Calls, and what those that did not end well said. */
	calls: number;
	runs: number;
	failed: readonly string[];
	/** What was acknowledged and is not there afterwards. */
	lost: readonly string[];
	/** What is there and nobody was told of: made twice. */
	twice: readonly string[];
	/** The longest that a call took, in seconds. */
	longest: number;
}

/**
 * Runs the clients while `work` does, and some seconds before and after.
 * @param uri where they find the door; @param token an editor's.
 * @param engine the one that the stack is on, if it is not the machine's. The clients are on the machine's all the same.
 */
export async function underLoad<T>(
	uri: string,
	token: string,
	work: () => Promise<T>,
	{ processes = 4, engine }: { processes?: number; engine?: PrivateEngine } = {},
): Promise<{ result: T; load: Load }> {
	const name = `load-${Date.now()}`;
	const env = {
		MLFLOW_TRACKING_URI: uri,
		MLFLOW_TRACKING_TOKEN: token,
		LOAD_NAME: name,
		LOAD_PROCESSES: String(processes),
	};
	const clients = python(SCRIPT, env, engine?.network);
	const ask: Ask = (path, init) => {
		const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
		const url = `${uri}/api/2.0/mlflow/experiments/${path}`;
		return (engine ?? globalThis).fetch(url, { ...init, headers });
	};
	const experiment = await begun(ask, name);
	await wait(AROUND);
	let result: T;
	try {
		result = await work();
		await wait(AROUND);
	} finally {
		await tellToStop(ask, experiment);
	}
	const { code, stdout, stderr } = await clients;
	if (code !== 0) throw new Error(`the clients ended with ${code}: ${stderr}`);
	return { result, load: JSON.parse(stdout.slice(stdout.indexOf("{"))) };
}

type Ask = (path: string, init?: RequestInit) => Promise<Response>;

/** @returns the id of the clients' experiment, which is the first thing that they make. */
async function begun(ask: Ask, name: string): Promise<string> {
	for (let patience = 240; patience > 0; patience--) {
		const answer = await ask(`get-by-name?experiment_name=${name}`).catch(() => undefined);
		if (answer?.ok)
			return ((await answer.json()) as { experiment: { experiment_id: string } }).experiment.experiment_id;
		await wait(500);
	}
	throw new Error("the clients did not begin");
}

/** What was done may have left the stack away for a while: then it is told again. */
async function tellToStop(ask: Ask, experiment: string): Promise<void> {
	let said = "";
	for (let patience = 60; patience > 0; patience--) {
		const answer = await ask("set-experiment-tag", {
			method: "POST",
			body: JSON.stringify({ experiment_id: experiment, key: "stop", value: "yes" }),
		}).catch((error: Error) => error.message);
		if (typeof answer !== "string" && answer.ok) return;
		said = typeof answer === "string" ? answer : `${answer.status}: ${await answer.text()}`;
		await wait(2_000);
	}
	throw new Error(`the clients could not be told to stop: ${said}`);
}
