/** Model versions without training, and somebody who asks the inference API all the while. */
import { python } from "./client.ts";

export const MODEL = "flavor-ml-embeddings";

/** What a version's artifact is to be: a good one, or half of one. */
export type Artifact = "whole" | "damaged";

/** A word2vec file of eight ingredients, logged and registered as the example does it. Prints the version. */
const REGISTER = `
import os, tempfile, mlflow, struct, random
names = ["盐", "糖", "醋", "酱油", "蒜", "姜", "葱", "鸡蛋"]
mlflow.set_experiment("promotion")
for number, artifact in enumerate(os.environ["ARTIFACTS"].split(",")):
    random.seed(number)
    data = b"8 4\\n" + b"".join(name.encode() + b" " + struct.pack("<4f", *(random.uniform(-1, 1) for _ in range(4))) for name in names)
    with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "ingredient-embeddings.bin")
        with open(path, "wb") as file:
            file.write(data if artifact == "whole" else data[: len(data) // 2])
        mlflow.log_artifact(path, artifact_path="embeddings")
    print("version", mlflow.register_model(f"runs:/{run.info.run_id}/embeddings", os.environ["MODEL"]).version)
`;

/** Registers versions of the model with the stock client. @returns their numbers, in that order */
export async function register(
	uri: string,
	token: string,
	artifacts: readonly Artifact[],
): Promise<string[]> {
	const env = {
		MLFLOW_TRACKING_URI: uri,
		MLFLOW_TRACKING_TOKEN: token,
		MODEL,
		ARTIFACTS: artifacts.join(","),
	};
	const ended = await python(REGISTER, env);
	const versions = [...ended.stdout.matchAll(/^version (\d+)$/gm)].map((match) => match[1] ?? "");
	if (versions.length !== artifacts.length) throw new Error(`${ended.stdout}\n${ended.stderr}`);
	return versions;
}

/** The question of the issue: who goes with salt? */
export const QUESTION = `/inference/similar?ingredient=${encodeURIComponent("盐")}&k=5`;

export interface Asking {
	/** Answers that were no 200 with a version, and requests that got none. */
	readonly failures: string[];
	/** Versions that answered, each time another one did. */
	readonly versions: string[];
	/** Waits until that version answers. */
	until(version: string, ms?: number): Promise<void>;
	/** @returns how many were asked */
	stop(): Promise<number>;
}

/** Asks without a pause, four at a time, until it is stopped. */
export function keepAsking(uri: string, token: string, path = QUESTION): Asking {
	const failures: string[] = [];
	const versions: string[] = [];
	let asked = 0;
	let stopped = false;
	async function one(): Promise<void> {
		while (!stopped) {
			asked++;
			try {
				const answer = await fetch(uri + path, {
					headers: { authorization: `Bearer ${token}`, accept: "application/json" },
					signal: AbortSignal.timeout(30_000),
				});
				const text = await answer.text();
				const version = answer.status === 200 ? String(JSON.parse(text).version) : undefined;
				if (version === undefined) failures.push(`${answer.status} ${text.slice(0, 200)}`);
				else if (versions.at(-1) !== version) versions.push(version);
			} catch (error) {
				failures.push(String((error as Error).cause ?? error));
			}
			await new Promise((resolve) => setTimeout(resolve, 20));
		}
	}
	const all = Promise.all([one(), one(), one(), one()]);
	return {
		failures,
		versions,
		async until(version, ms = 60_000) {
			const end = Date.now() + ms;
			while (versions.at(-1) !== version) {
				if (Date.now() > end) throw new Error(`still ${versions.at(-1)} and not ${version} after ${ms} ms`);
				await new Promise((resolve) => setTimeout(resolve, 50));
			}
		},
		async stop() {
			stopped = true;
			await all;
			return asked;
		},
	};
}

/** Moves a version to a stage, as any client may. */
export async function move(uri: string, token: string, version: string, stage: string): Promise<void> {
	const answer = await fetch(`${uri}/api/2.0/mlflow/model-versions/transition-stage`, {
		method: "POST",
		headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
		body: JSON.stringify({ name: MODEL, version, stage, archive_existing_versions: false }),
	});
	if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
}

export interface VersionInStage {
	version: string;
	current_stage: string;
}

/** The versions of the model and their stages. */
export async function stages(uri: string, token: string): Promise<Map<string, string>> {
	const query = new URLSearchParams({ filter: `name='${MODEL}'`, max_results: "1000" });
	const answer = await fetch(`${uri}/api/2.0/mlflow/model-versions/search?${query}`, {
		headers: { authorization: `Bearer ${token}` },
	});
	const { model_versions = [] } = (await answer.json()) as { model_versions?: VersionInStage[] };
	return new Map(model_versions.map((one) => [one.version, one.current_stage]));
}

/** Takes every version out of its stage, as it was before. */
export async function clearStages(uri: string, token: string): Promise<void> {
	for (const [version, stage] of await stages(uri, token))
		if (stage !== "None") await move(uri, token, version, "None");
}
