/** MLflow's REST API, asked directly. */
import { AT, origin } from "./site.ts";

/** @throws unless MLflow answers 200 */
export async function api(site: string, path: string, body?: object): Promise<Record<string, unknown>> {
	const answer = await fetch(`${site}/api/2.0/mlflow/${path}`, {
		...(body && {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify(body),
		}),
	});
	if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
	return (await answer.json()) as Record<string, unknown>;
}

/** Small questions that are all different: one experiment each. */
export const EXPERIMENT = "/api/2.0/mlflow/experiments/get?experiment_id=";
const EXPERIMENTS = 48;

let made: Promise<string[]> | undefined;

/** Paths of experiments. Made once in a run of the bench. */
export function experiments(): Promise<string[]> {
	made ??= Promise.all(
		Array.from({ length: EXPERIMENTS }, async (_, i) => {
			const { experiment_id: id } = await api(origin(AT.mlflow), "experiments/create", {
				name: `bench ${i}`,
			});
			return EXPERIMENT + id;
		}),
	);
	return made;
}
