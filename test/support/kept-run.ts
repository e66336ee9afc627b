/** A run with a value and an artifact, logged by the stock client: there before something is done to a stack, and after. */
import { expect } from "vitest";
import { python } from "./client.ts";

const SCRIPT = `
import os, mlflow
mlflow.set_experiment(os.environ["EXPERIMENT"])
with mlflow.start_run() as run:
    mlflow.log_metric("kept", 42)
    mlflow.log_text("still here", "note.txt")
print(run.info.run_id)
`;

/**
 * @param token an editor's; what is there is read with it, too, so that it has to live on as well.
 * @returns fails unless the run and its artifact are there, as they were.
 */
export async function logKeptRun(
	uri: string,
	token: string,
	experiment: string,
): Promise<() => Promise<void>> {
	const ended = await python(SCRIPT, {
		MLFLOW_TRACKING_URI: uri,
		MLFLOW_TRACKING_TOKEN: token,
		EXPERIMENT: experiment,
	});
	const id = ended.stdout.trim().split("\n").at(-1) ?? "";
	expect(id, ended.stderr).toMatch(/^[0-9a-f]{32}$/);
	const headers = { authorization: `Bearer ${token}` };
	return async () => {
		const run = await fetch(`${uri}/api/2.0/mlflow/runs/get?run_id=${id}`, { headers });
		expect(run.status).toBe(200);
		const { metrics } = (await run.json()).run.data;
		expect(metrics).toMatchObject([{ key: "kept", value: 42 }]);
		const note = await fetch(`${uri}/get-artifact?path=note.txt&run_uuid=${id}`, { headers });
		expect(await note.text()).toBe("still here");
	};
}
