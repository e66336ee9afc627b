/**
 * Work as teams do it, with the stock MLflow client, while something is done to the stack: several threads create runs,
 * log to them and end them, and note everything that was acknowledged.
 */
import { python } from "./client.ts";

/** What the clients saw. */
export interface Load {
	/** Calls that ended well, and what those that did not said. */
	calls: number;
	failed: readonly string[];
	/** Acknowledged runs or values that are not there afterwards. */
	lost: readonly string[];
	/** Runs that are there and that nobody was told of: a create that was done twice. */
	unasked: readonly string[];
	/** The longest that a call took, in seconds. */
	longest: number;
}

const SCRIPT = `
import json, threading, time, warnings
warnings.filterwarnings("ignore")
from mlflow.tracking import MlflowClient

client = MlflowClient()
experiment = client.create_experiment(NAME)
print("begun", flush=True)
lock, failed, acknowledged = threading.Lock(), [], {}
calls, longest = 0, 0.0

def call(what, work):
    global calls, longest
    begun = time.monotonic()
    try:
        return work()
    except Exception as error:
        with lock:
            failed.append(f"{what}: {error}"[:400])
    finally:
        with lock:
            calls += 1
            longest = max(longest, time.monotonic() - begun)

def work(number):
    step = 0
    while not stop.is_set():
        run = call("create_run", lambda: client.create_run(experiment))
        if run is None:
            continue
        run_id = run.info.run_id
        kept = acknowledged.setdefault(run_id, {})
        for index in range(5):
            step += 1
            if call("log_metric", lambda: (client.log_metric(run_id, "m", step, step=index), True)[1]):
                kept["m"] = step
        if call("log_param", lambda: (client.log_param(run_id, "p", number), True)[1]):
            kept["p"] = str(number)
        if call("log_text", lambda: (client.log_text(run_id, f"{step}", "note.txt"), True)[1]):
            kept["note"] = f"{step}"
        call("set_terminated", lambda: client.set_terminated(run_id))

stop = threading.Event()
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
while not stop.is_set():
    found = call("get_experiment", lambda: client.get_experiment(experiment))
    if found is not None and "stop" in found.tags:
        stop.set()
    time.sleep(0.2)
for thread in threads:
    thread.join()

found, token = {}, None
while True:
    page = client.search_runs([experiment], max_results=1000, page_token=token)
    found.update({run.info.run_id: run for run in page})
    token = page.token
    if not token:
        break
import tempfile
lost = []
for run_id, kept in acknowledged.items():
    run = found.get(run_id)
    if run is None:
        lost.append(run_id)
        continue
    if "m" in kept and run.data.metrics.get("m") != kept["m"]:
        lost.append(f"{run_id} metric {kept['m']}")
    if "p" in kept and run.data.params.get("p") != kept["p"]:
        lost.append(f"{run_id} param")
for run_id in list(acknowledged)[-20:]:
    if "note" in acknowledged[run_id]:
        with tempfile.TemporaryDirectory() as folder, open(client.download_artifacts(run_id, "note.txt", folder)) as file:
            if file.read() != acknowledged[run_id]["note"]:
                lost.append(f"{run_id} artifact")
unasked = sorted(set(found) - set(acknowledged))
print(json.dumps({"calls": calls, "failed": failed, "lost": lost, "unasked": unasked, "longest": longest}))
`;

/**
 * Runs the clients while \`work\` does, and a little longer.
 * @param uri where they find the door; @param token an editor's.
 */
export async function underLoad<T>(
	uri: string,
	token: string,
	work: () => Promise<T>,
): Promise<{ result: T; load: Load }> {
	const name = `load-${Date.now()}`;
	const env = { MLFLOW_TRACKING_URI: uri, MLFLOW_TRACKING_TOKEN: token };
	const clients = python(SCRIPT.replace("NAME", JSON.stringify(name)), env);
	const experiment = await begun(uri, token, name);
	let result: T;
	try {
		result = await work();
	} finally {
		await tell(uri, token, "experiments/set-experiment-tag", {
			experiment_id: experiment,
			key: "stop",
			value: "1",
		});
	}
	const ended = await clients;
	if (ended.code !== 0) throw new Error(`the clients ended with ${ended.code}: ${ended.stderr}`);
	return { result, load: JSON.parse(ended.stdout.trim().split("\n").at(-1) ?? "") };
}

async function begun(uri: string, token: string, name: string): Promise<string> {
	for (let patience = 120; patience > 0; patience--) {
		const headers = { authorization: `Bearer ${token}` };
		const url = `${uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=${name}`;
		const answer = await fetch(url, { headers }).catch(() => undefined);
		if (answer?.ok)
			return ((await answer.json()) as { experiment: { experiment_id: string } }).experiment.experiment_id;
		await new Promise((resolve) => setTimeout(resolve, 500));
	}
	throw new Error("the clients did not begin");
}

async function tell(uri: string, token: string, call: string, body: object): Promise<void> {
	const answer = await fetch(`${uri}/api/2.0/mlflow/${call}`, {
		method: "POST",
		headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
		body: JSON.stringify(body),
	});
	if (!answer.ok) throw new Error(`${call} answered ${answer.status}: ${await answer.text()}`);
}
