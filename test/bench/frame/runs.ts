/** An experiment of a hundred runs, as long as runs are: about 8 KB of JSON each. */
import { api } from "./api.ts";
import { AT, origin } from "./site.ts";

const RUNS = 100;
const METRICS = 26;
const PARAMS = 24;
const TAGS = 6;

export interface Experiment {
	id: string;
	runs: readonly string[];
}

let made: Promise<Experiment> | undefined;

/** Made once in a run of the bench. */
export function experiment(): Promise<Experiment> {
	made ??= make();
	return made;
}

const several = <T>(count: number, one: (i: number) => T): T[] =>
	Array.from({ length: count }, (_, i) => one(i));

async function make(): Promise<Experiment> {
	const mlflow = origin(AT.mlflow);
	const { experiment_id } = await api(mlflow, "experiments/create", { name: "a hundred runs" });
	const id = String(experiment_id);
	const runs: string[] = [];
	for (let n = 0; n < RUNS; n++) {
		const start_time = 1_790_000_000_000 + n * 60_000;
		const { run } = (await api(mlflow, "runs/create", {
			experiment_id: id,
			run_name: `trial-${n}`,
			start_time,
		})) as { run: { info: { run_id: string } } };
		const { run_id } = run.info;
		await api(mlflow, "runs/log-batch", {
			run_id,
			metrics: several(METRICS, (i) => ({
				key: `validation_metric_${i}`,
				value: Math.sin(n * 31 + i) / 3,
				timestamp: start_time + i,
				step: 100 + i,
			})),
			params: several(PARAMS, (i) => ({
				key: `hyper_parameter_${i}`,
				value: `${(n * 7 + i * 13) % 97}e-3 of layer ${i}`,
			})),
			tags: several(TAGS, (i) => ({
				key: `team.label_${i}`,
				value: `group ${(n + i) % 5}, dataset revision ${n * i}`,
			})),
		});
		await api(mlflow, "runs/update", { run_id, status: "FINISHED", end_time: start_time + 50_000 });
		runs.push(run_id);
	}
	return { id, runs };
}
