import { beforeAll, describe, expect, test } from "vitest";
import { python } from "../support/client.ts";
import { stackPort, token } from "../support/mlgate.ts";

let uri: string;
let editor: string;
let viewer: string;

beforeAll(async () => {
	uri = `http://localhost:${await stackPort()}`;
	[editor, viewer] = [await token("editor"), await token("viewer")];
});

/** Logs a run with a 50 MB artifact whose name has a blank, a hash and an accent, and reads it back. */
const ROUND_TRIP = `
import hashlib, json, os, tempfile, mlflow
from mlflow.tracking import MlflowClient
folder = tempfile.mkdtemp()
path = os.path.join(folder, "weights v1#é.bin")
data = os.urandom(50 * 1024 * 1024)
open(path, "wb").write(data)
mlflow.set_experiment(os.environ["EXPERIMENT"])
with mlflow.start_run() as run:
    mlflow.log_param("window", 5)
    for step in range(10):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_artifact(path)
back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="weights v1#é.bin", dst_path=tempfile.mkdtemp())
client = MlflowClient()
print(json.dumps({
    "run_id": run.info.run_id,
    "same": hashlib.sha256(open(back, "rb").read()).hexdigest() == hashlib.sha256(data).hexdigest(),
    "size": os.path.getsize(back),
    "param": client.get_run(run.info.run_id).data.params["window"],
    "history": len(client.get_metric_history(run.info.run_id, "loss")),
}))
`;

describe("the stock Python client", () => {
	test.each([
		["a token as Bearer", () => ({ MLFLOW_TRACKING_TOKEN: editor })],
		[
			"a token as Basic password",
			() => ({ MLFLOW_TRACKING_USERNAME: "ci", MLFLOW_TRACKING_PASSWORD: editor }),
		],
	])("logs a run and gets its artifact back byte for byte with %s", async (label, credential) => {
		const ended = await python(ROUND_TRIP, {
			MLFLOW_TRACKING_URI: uri,
			EXPERIMENT: `client ${label}`,
			...credential(),
		});
		expect(ended.stderr + ended.stdout).not.toContain("Traceback");
		const said = JSON.parse(ended.stdout.trim().split("\n").at(-1) ?? "");
		expect(said).toMatchObject({ same: true, size: 50 * 1024 * 1024, param: "5", history: 10 });
	});

	test("a viewer reads, and every write is refused as PERMISSION_DENIED", async () => {
		const seeded = await python(
			`
import json, mlflow
mlflow.set_experiment("for viewers")
with mlflow.start_run() as run:
    mlflow.log_param("a", 1)
print(json.dumps({"run_id": run.info.run_id, "experiment_id": run.info.experiment_id}))
`,
			{ MLFLOW_TRACKING_URI: uri, MLFLOW_TRACKING_TOKEN: editor },
		);
		const { run_id, experiment_id } = JSON.parse(seeded.stdout.trim().split("\n").at(-1) ?? "");
		const ended = await python(
			`
import json, os, tempfile, mlflow
from mlflow.tracking import MlflowClient
from mlflow.exceptions import MlflowException
c = MlflowClient()
run, experiment = os.environ["RUN"], os.environ["EXPERIMENT_ID"]
path = os.path.join(tempfile.mkdtemp(), "f.txt"); open(path, "w").write("x")
writes = {
    "create_experiment": lambda: c.create_experiment("never"),
    "create_run": lambda: c.create_run(experiment),
    "log_param": lambda: c.log_param(run, "b", 1),
    "log_metric": lambda: c.log_metric(run, "m", 1.0),
    "set_tag": lambda: c.set_tag(run, "t", "1"),
    "delete_tag": lambda: c.delete_tag(run, "t"),
    "log_artifact": lambda: c.log_artifact(run, path),
    "set_terminated": lambda: c.set_terminated(run),
    "delete_run": lambda: c.delete_run(run),
    "restore_run": lambda: c.restore_run(run),
    "rename_experiment": lambda: c.rename_experiment(experiment, "other"),
    "delete_experiment": lambda: c.delete_experiment(experiment),
    "create_registered_model": lambda: c.create_registered_model("never"),
    "delete_registered_model": lambda: c.delete_registered_model("never"),
    "create_model_version": lambda: c.create_model_version("never", "runs:/x/y"),
    "transition": lambda: c.transition_model_version_stage("never", "1", "Staging"),
    "alias": lambda: c.set_registered_model_alias("never", "champion", "1"),
}
answers = {}
for name, write in writes.items():
    try:
        write(); answers[name] = "done"
    except MlflowException as e:
        answers[name] = e.error_code if "403" in str(e) or e.error_code == "PERMISSION_DENIED" else f"other: {e}"
    except Exception as e:
        answers[name] = "403" if "403" in str(e) else f"other: {e}"
read = c.get_run(run).data.params["a"]
found = [r.info.run_id for r in c.search_runs([experiment])]
print(json.dumps({"answers": answers, "read": read, "found": run in found}))
`,
			{
				MLFLOW_TRACKING_URI: uri,
				MLFLOW_TRACKING_TOKEN: viewer,
				RUN: run_id,
				EXPERIMENT_ID: experiment_id,
			},
		);
		const said = JSON.parse(ended.stdout.trim().split("\n").at(-1) ?? "");
		expect(said.read).toBe("1");
		expect(said.found).toBe(true);
		const { log_artifact, ...others } = said.answers;
		expect(log_artifact).toBe("403");
		expect(Object.keys(others)).toHaveLength(16);
		expect(new Set(Object.values(others))).toEqual(new Set(["PERMISSION_DENIED"]));
	});

	test("with no credential every call is 401", async () => {
		for (const path of [
			"/api/2.0/mlflow/experiments/search?max_results=1",
			"/get-artifact?path=a&run_uuid=b",
			"/version",
		]) {
			const answer = await fetch(uri + path);
			expect([path, answer.status]).toEqual([path, 401]);
			expect(await answer.json()).toMatchObject({ error_code: "UNAUTHENTICATED" });
		}
	});

	test("a wrong token is 401, whatever else is presented", async () => {
		const answer = await fetch(`${uri}/api/2.0/mlflow/experiments/search?max_results=1`, {
			headers: { authorization: `Bearer ${editor.slice(0, -3)}AAA` },
		});
		expect(answer.status).toBe(401);
	});
});
