"""A team that trains while somebody works on the servers: processes with the stock MLflow client that log runs, artifacts
and model versions until the experiment has the tag `stop`. Says on stdout, as JSON, what was acknowledged, what failed, and
what is not there afterwards or is there twice.

Environment: MLFLOW_TRACKING_URI, MLFLOW_TRACKING_TOKEN, LOAD_NAME (of the experiment, new), LOAD_PROCESSES.
"""

import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import mlflow

logging.getLogger("urllib3").setLevel(logging.ERROR)
NAME = os.environ["LOAD_NAME"]


def work(number, queue):
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(NAME).experiment_id
    model = f"{NAME}-{number}"
    told = {"runs": {}, "versions": 0, "experiments": [], "calls": 0, "failed": [], "unsure": {}, "longest": 0}

    def call(what, function, *arguments, **named):
        started = time.monotonic()
        told["calls"] += 1
        try:
            return function(*arguments, **named)
        except Exception as error:
            told["failed"].append(f"{what}: {str(error)[:300]}")
            # What became of it is not known to who asked: it may be there once.
            told["unsure"][what] = told["unsure"].get(what, 0) + 1
            raise
        finally:
            told["longest"] = max(told["longest"], time.monotonic() - started)

    call("create model", client.create_registered_model, model)
    i = 0
    while True:
        i += 1
        try:
            if "stop" in call("get experiment", client.get_experiment, experiment).tags:
                break
            run = call("create run", client.create_run, experiment, tags={"worker": str(number)}).info.run_id
            told["runs"][run] = {"steps": 0, "artifact": None, "ended": False}
            call("log param", client.log_param, run, "i", i)
            for step in range(5):
                call("log metric", client.log_metric, run, "loss", 1 / (step + 1), step=step)
                told["runs"][run]["steps"] += 1
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "weights.txt")
                with open(path, "w") as file:
                    file.write(run * 1000)
                call("log artifact", client.log_artifact, run, path)
            told["runs"][run]["artifact"] = run * 1000
            call("set tag", client.set_tag, run, "done", "yes")
            call("delete tag", client.delete_tag, run, "done")
            if i % 3 == 0:
                call("create version", client.create_model_version, model, f"runs:/{run}/model", run)
                told["versions"] += 1
            if i % 7 == 0:
                told["experiments"].append(call("create experiment", client.create_experiment, f"{NAME}-{uuid.uuid4()}"))
            call("end run", client.set_terminated, run)
            told["runs"][run]["ended"] = True
        except Exception:
            time.sleep(0.2)
    queue.put((number, told))


def main():
    client = mlflow.MlflowClient()
    experiment = client.create_experiment(NAME)
    queue = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=work, args=(number, queue))
        for number in range(int(os.environ.get("LOAD_PROCESSES", "4")))
    ]
    for process in processes:
        process.start()
    results = dict(queue.get() for _ in processes)
    for process in processes:
        process.join()

    runs = {run: known for told in results.values() for run, known in told["runs"].items()}
    there, token = {}, None
    while token is None or token != "":
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        there.update({run.info.run_id: run for run in page})
        token = page.token or ""
    lost = [run for run in runs if run not in there]
    doubled = []

    def missing(run, known):
        steps = [metric.step for metric in client.get_metric_history(run, "loss")]
        if not set(range(known["steps"])) <= set(steps):
            yield f"{run}: a metric"
        if len(steps) > len(set(steps)):
            doubled.append(f"{run}: a metric")
        if known["ended"] and there[run].info.status != "FINISHED":
            yield f"{run}: its end"
        if known["artifact"] is not None:
            with tempfile.TemporaryDirectory() as folder:
                path = client.download_artifacts(run, "weights.txt", folder)
                with open(path) as file:
                    if file.read() != known["artifact"]:
                        yield f"{run}: its artifact"

    kept = [(run, known) for run, known in runs.items() if run in there]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda one: list(missing(*one)), kept):
            lost.extend(found)
    more = [run for run in there if run not in runs]
    unsure = sum(told["unsure"].get("create run", 0) for told in results.values())
    twice = doubled + (more if len(more) > unsure else [])
    for number, told in results.items():
        versions = len(client.search_model_versions(f"name = '{NAME}-{number}'", max_results=10000))
        if versions > told["versions"] + told["unsure"].get("create version", 0):
            twice.append(f"{NAME}-{number}: {versions} versions for {told['versions']}")
        if versions < told["versions"]:
            lost.append(f"{NAME}-{number}: {versions} versions of {told['versions']}")
        lost.extend(one for one in told["experiments"] if client.get_experiment(one) is None)
    json.dump(
        {
            "calls": sum(told["calls"] for told in results.values()),
            "runs": len(runs),
            "failed": [text for told in results.values() for text in told["failed"]],
            "lost": lost,
            "twice": twice,
            "longest": round(max(told["longest"] for told in results.values()), 1),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
