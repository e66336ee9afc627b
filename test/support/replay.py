"""A corpus of calls of the stock MLflow client, and the raw HTTP that they come to.

Runs every step, whatever the one before came to, and prints one JSON object: for each step how it ended for the
caller, and each request with its answer. Names begin with `PREFIX`; times are given where the client lets them be.
"""

import hashlib
import json
import os
import re
import tempfile

import requests

PREFIX = os.environ["PREFIX"]
URI = os.environ["MLFLOW_TRACKING_URI"]
TOKEN = os.environ.get("MLFLOW_TRACKING_TOKEN")
HEADERS = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}

calls = []
send = requests.Session.send


def recorded(self, request, **kwargs):
    called = {"method": request.method, "path": request.path_url}
    try:
        answer = send(self, request, **kwargs)
    except requests.exceptions.RetryError as error:
        # The client makes an exception of an answer that it would ask for again.
        status = int(re.search(r"too many (\d+) error", str(error)).group(1))
        calls.append({**called, "status": status, "body": ""})
        raise
    try:
        body = answer.content.decode()
    except UnicodeDecodeError:
        body = f"{len(answer.content)} bytes {hashlib.sha256(answer.content).hexdigest()}"
    calls.append(
        {**called, "status": answer.status_code, "body": body}
    )
    return answer


requests.Session.send = recorded

import mlflow  # noqa: E402
from mlflow.entities import Dataset, DatasetInput, Metric, Param, RunTag, ViewType  # noqa: E402
from mlflow.tracking import MlflowClient  # noqa: E402

client = MlflowClient()
steps = []
experiments = []


def step(name, work):
    calls.clear()
    try:
        work()
        ended = "done"
    except Exception as error:
        ended = f"{type(error).__name__} {getattr(error, 'error_code', '')}".strip()
    steps.append({"step": name, "ended": ended, "calls": list(calls)})


def raw(name, method, path, **kwargs):
    """A request that the client would not write."""
    kwargs["headers"] = {**HEADERS, **kwargs.get("headers", {})}
    step(name, lambda: requests.request(method, URI + path, allow_redirects=False, timeout=60, **kwargs))


def json_raw(name, method, path, body):
    raw(name, method, path, data=body, headers={"Content-Type": "application/json"})


def made(name, **kwargs):
    experiments.append(client.create_experiment(name, **kwargs))
    return experiments[-1]


ODD = [
    "a blank",
    "é è 日本 🍰",
    "a/b/c",
    "100%",
    "%2Fa%20b",
    "a+b&c=d",
    "quote ' and \" and `",
    "semi;colon#hash?mark",
    "back\\slash",
    "<script>alert(1)</script>",
    "{braces} [brackets] $(x)",
    " leading and trailing ",
    "line\nbreak\ttab",
    "x" * 200,
]

# --- experiments
for odd in ODD:
    step(f"create_experiment {odd[:40]!r}", lambda: made(f"{PREFIX} {odd}"))
    step(f"get_experiment_by_name {odd[:40]!r}", lambda: client.get_experiment_by_name(f"{PREFIX} {odd}"))
step("create_experiment again", lambda: made(f"{PREFIX} {ODD[0]}"))
step("create_experiment without a name", lambda: made(""))
step("create_experiment with a NUL", lambda: made(f"{PREFIX} \0"))
step("create_experiment, far too long", lambda: made(f"{PREFIX} " + "y" * 5000))
step("create_experiment with tags", lambda: made(f"{PREFIX} tags", tags={"a": "b", "é": "日本"}))
for location in [f"mlflow-artifacts:/{PREFIX}/own", f"s3://mlflow/{PREFIX}", "s3://elsewhere/x", "file:///tmp/x"]:
    step(f"artifact_location {location[-12:]}", lambda: made(f"{PREFIX} at {location}", artifact_location=location))
for bad in ["http:///#/../../x", "http:///?/../../x", "http://host/;..%2F..%2Fx", "scheme:///x#/../../"]:
    step(f"artifact_location {bad}", lambda: made(f"{PREFIX} at {bad}", artifact_location=bad))
main = experiments[0]
step("get_experiment", lambda: client.get_experiment(main))
step("get_experiment of none", lambda: client.get_experiment("987654321"))
step("get_experiment of no number", lambda: client.get_experiment("abc"))
step("get_experiment_by_name of none", lambda: client.get_experiment_by_name(f"{PREFIX} none"))
step("rename_experiment", lambda: client.rename_experiment(experiments[1], f"{PREFIX} renamed"))
step("rename_experiment to a taken name", lambda: client.rename_experiment(experiments[1], f"{PREFIX} {ODD[0]}"))
step("set_experiment_tag", lambda: client.set_experiment_tag(main, "mlflow.note.content", "# note\n\n**é**"))
step("set_experiment_tag, bad name", lambda: client.set_experiment_tag(main, "../x", "y"))
step("delete_experiment", lambda: client.delete_experiment(experiments[2]))
step("delete_experiment again", lambda: client.delete_experiment(experiments[2]))
step("get_experiment, deleted", lambda: client.get_experiment(experiments[2]))
step("restore_experiment", lambda: client.restore_experiment(experiments[2]))
step("restore_experiment, active", lambda: client.restore_experiment(experiments[2]))
like = f"name LIKE '{PREFIX}%'"
step("search_experiments", lambda: client.search_experiments(filter_string=like, order_by=["name ASC"]))
step("search_experiments, all", lambda: client.search_experiments(ViewType.ALL, filter_string=like, order_by=["name"]))
step("search_experiments, tags", lambda: client.search_experiments(filter_string=f"{like} AND tags.`é` = '日本'"))
step("search_experiments, a page", lambda: client.search_experiments(filter_string=like, max_results=2, order_by=["name"]))
for bad in ["name = ", "nonsense = 'x'", "name ~ 'x'", "tags.a > 1", "name = 'a' OR name = 'b'"]:
    step(f"search_experiments {bad}", lambda: client.search_experiments(filter_string=bad))
for rows in [0, -1, 50001, "x"]:
    json_raw(f"experiments/search {rows}", "POST", "/api/2.0/mlflow/experiments/search", json.dumps({"max_results": rows}))
step("search_experiments, bad token", lambda: client.search_experiments(page_token="garbage"))

# --- runs
runs = []


def run(**kwargs):
    runs.append(client.create_run(main, start_time=1000 + len(runs), **kwargs).info.run_id)


step("create_run", lambda: run(run_name="first"))
step("create_run with tags", lambda: run(run_name="é 日本 🍰", tags={"a": "b", "mlflow.user": "u", "x/y": "%20"}))
step("create_run, a third", lambda: run(run_name="third"))
step("create_run in none", lambda: client.create_run("987654321"))
step("create_run, two names", lambda: client.create_run(main, run_name="a", tags={"mlflow.runName": "b"}))
a, b, c = runs
step("get_run", lambda: client.get_run(a))
step("get_run of none", lambda: client.get_run("0" * 32))
step("get_run, odd id", lambda: client.get_run("../../x y%20"))
for i, value in enumerate([0.5, -1, 1e308, 1e-300, float("nan"), float("inf"), float("-inf"), 0]):
    step(f"log_metric {value}", lambda: client.log_metric(a, "m", value, timestamp=5, step=i))
for key in ["a b", "a/b/c", "a-b_c.d", "é", "日本", "a$b", "a:b", "../x", "/x", "x/../y", "", "k" * 250, "k" * 251]:
    name = f"{key[:20]!r} of {len(key)}"
    step(f"log_metric named {name}", lambda: client.log_metric(a, key, 1.0, timestamp=5, step=0))
    step(f"log_param named {name}", lambda: client.log_param(a, key, "v"))
    step(f"set_tag named {name}", lambda: client.set_tag(a, key, "v"))
step("log_metric, a string", lambda: client.log_metric(a, "m", "x"))
step("log_metric, step as far as it goes", lambda: client.log_metric(a, "m2", 1.0, timestamp=2**62, step=2**62))
step("log_metric below zero", lambda: client.log_metric(a, "m2", 1.0, timestamp=-1, step=-5))
step("log_metric in none", lambda: client.log_metric("0" * 32, "m", 1.0, timestamp=5, step=0))
step("log_param again, the same", lambda: client.log_param(a, "a b", "v"))
step("log_param again, another", lambda: client.log_param(a, "a b", "w"))
step("log_param, empty", lambda: client.log_param(a, "empty", ""))
step("log_param, 6000 long", lambda: client.log_param(a, "long", "x" * 6000))
step("log_param, 6001 long", lambda: client.log_param(a, "longer", "x" * 6001))
step("set_tag, odd value", lambda: client.set_tag(a, "t", "é\n\"'<>&%00\\"))
step("set_tag, 5000 long", lambda: client.set_tag(a, "l", "x" * 5000))
step("set_tag, 9000 long", lambda: client.set_tag(a, "l", "x" * 9000))
step("set_tag, script", lambda: client.set_tag(a, "mlflow.source.name", "javascript:alert(1)"))
step("delete_tag", lambda: client.delete_tag(a, "t"))
step("delete_tag again", lambda: client.delete_tag(a, "t"))
step(
    "log_batch",
    lambda: client.log_batch(
        b,
        metrics=[Metric("loss", 1 / (i + 1), 1000 + i, i) for i in range(500)],
        params=[Param(f"p{i}", str(i)) for i in range(100)],
        tags=[RunTag(f"t{i}", "é") for i in range(50)],
    ),
)
step("log_batch, too many", lambda: client._tracking_client.store.log_batch(b, [Metric("n", 1, 1, i) for i in range(1001)], [], []))
step("log_batch, a name twice", lambda: client.log_batch(b, params=[Param("d", "1"), Param("d", "2")]))
step("log_batch in none", lambda: client.log_batch("0" * 32, params=[Param("d", "1")]))
step("log_batch, nothing", lambda: client.log_batch(b))
dataset = DatasetInput(Dataset("d", "1", "local", "{}", schema="{}", profile="{}"), [])
step("log_inputs", lambda: client.log_inputs(a, [dataset]))
step("log_inputs in none", lambda: client.log_inputs("0" * 32, [dataset]))
step("get_metric_history", lambda: client.get_metric_history(b, "loss"))
step("get_metric_history, odd name", lambda: client.get_metric_history(a, "a/b/c"))
step("get_metric_history of none", lambda: client.get_metric_history(b, "none"))
step("get_metric_history in none", lambda: client.get_metric_history("0" * 32, "loss"))
step("set_terminated", lambda: client.set_terminated(b, "FAILED", end_time=2000))
step("update_run", lambda: client.update_run(c, status="KILLED", name="another"))
step("set_terminated, no such status", lambda: client.set_terminated(b, "NONSENSE"))
for filter_string in ["", "metrics.loss < 0.5", "params.p1 = '1'", "tags.t1 = 'é'", "attributes.run_name = 'first'",
                      "attributes.status = 'FAILED'", "metrics.none > 1", "dataset.name = 'd'", "params.`a b` LIKE 'v%'"]:
    step(f"search_runs {filter_string}", lambda: client.search_runs([main], filter_string))
for bad in ["metrics.loss", "nonsense = 1", "metrics.loss = 'x'", "params.a = 1", "a = 'b' OR c = 'd'", "'; DROP TABLE runs"]:
    step(f"search_runs {bad}", lambda: client.search_runs([main], bad))
step("search_runs, ordered", lambda: client.search_runs([main], order_by=["metrics.loss DESC", "start_time ASC"]))
step("search_runs, bad order", lambda: client.search_runs([main], order_by=["nonsense"]))
step("search_runs, a page", lambda: client.search_runs([main], max_results=1))
step("search_runs, 50000", lambda: client._tracking_client.store._search_runs([main], "", ViewType.ALL, 50000, None, None))
step("search_runs, 50001", lambda: client._tracking_client.store._search_runs([main], "", ViewType.ALL, 50001, None, None))
step("search_runs, bad token", lambda: client.search_runs([main], page_token="garbage"))
step("search_runs, deleted", lambda: client.search_runs([main], run_view_type=ViewType.DELETED_ONLY))
step("search_runs in none", lambda: client.search_runs(["987654321"]))
step("delete_run", lambda: client.delete_run(c))
step("log_metric, deleted", lambda: client.log_metric(c, "m", 1.0, timestamp=5, step=0))
step("delete_run again", lambda: client.delete_run(c))
step("restore_run", lambda: client.restore_run(c))
step("restore_run of none", lambda: client.restore_run("0" * 32))

# --- artifacts
folder = tempfile.mkdtemp()
FILES = {
    "plain.txt": b"hello",
    "empty.bin": b"",
    "a b.txt": b"blank",
    "100%.txt": b"percent",
    "plus+and&equals=.csv": b"a,b",
    "semi;colon,comma.txt": b"semi",
    "quote'd.txt": b"quote",
    "日本 é.bin": bytes(range(256)) * 300,
    ".hidden": b"dot",
    "page.html": b"<script>alert(1)</script>",
    "m/MLmodel": b"flavors: {}\n",
    "nested/deep/er/leaf.json": b"{}",
    "nested/deep/other.bin": b"\0\1\2" * 99999,
}
for name, data in FILES.items():
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
step("log_artifacts", lambda: client.log_artifacts(a, folder))
step("log_artifacts below", lambda: client.log_artifacts(a, os.path.join(folder, "nested"), "again/and again"))
step("log_artifact", lambda: client.log_artifact(a, os.path.join(folder, "plain.txt"), "one"))
step("log_artifact once more", lambda: client.log_artifact(a, os.path.join(folder, "plain.txt"), "one"))
step("log_text", lambda: client.log_text(a, "text é", "texts/t.txt"))
step("log_dict", lambda: client.log_dict(a, {"a": [1, "é"]}, "dicts/d.json"))
step("log_artifact in none", lambda: client.log_artifact("0" * 32, os.path.join(folder, "plain.txt")))
step("log_artifact, path climbs", lambda: client.log_artifact(a, os.path.join(folder, "plain.txt"), "../../x"))
for path in [None, "nested", "nested/deep", "again", "again/and again", "none", "plain.txt", "m"]:
    step(f"list_artifacts {path}", lambda: client.list_artifacts(a, path))
for path in ["..", "../..", "/etc", "nested/../..", "%2e%2e", "a#b", "nested/"]:
    step(f"list_artifacts, climbing {path}", lambda: client.list_artifacts(a, path))
step("list_artifacts in none", lambda: client.list_artifacts("0" * 32))
for name in FILES:
    step(f"download {name}", lambda: client.download_artifacts(a, name, tempfile.mkdtemp()))
step("download, a folder", lambda: client.download_artifacts(a, "nested", tempfile.mkdtemp()))
step("download of none", lambda: client.download_artifacts(a, "none.txt", tempfile.mkdtemp()))
step("download in none", lambda: client.download_artifacts("0" * 32, "plain.txt", tempfile.mkdtemp()))
step("load_text", lambda: mlflow.artifacts.load_text(f"runs:/{a}/texts/t.txt"))
at = f"/api/2.0/mlflow-artifacts/artifacts/{main}/{a}/artifacts"
raw("GET of an artifact", "GET", f"{at}/plain.txt")
raw("GET of an artifact, ajax", "GET", f"/ajax-{at[1:]}/plain.txt")
raw("GET of a missing artifact", "GET", f"{at}/none.txt")
raw("GET of a folder", "GET", f"{at}/nested")
raw("get-artifact", "GET", f"/get-artifact?path=plain.txt&run_uuid={a}")
raw("get-artifact by run_id", "GET", f"/get-artifact?path=nested%2Fdeep%2Fer%2Fleaf.json&run_id={a}")
raw("get-artifact, empty file", "GET", f"/get-artifact?path=empty.bin&run_uuid={a}")
raw("get-artifact, page", "GET", f"/get-artifact?path=page.html&run_uuid={a}")
raw("get-artifact, MLmodel", "GET", f"/get-artifact?path=m%2FMLmodel&run_uuid={a}")
raw("get-artifact of none", "GET", f"/get-artifact?path=none.txt&run_uuid={a}")
raw("get-artifact in none", "GET", f"/get-artifact?path=plain.txt&run_uuid={'0' * 32}")
raw("get-artifact, path climbs", "GET", f"/get-artifact?path=..%2F..%2Fetc%2Fpasswd&run_uuid={a}")
raw("get-artifact without a run", "GET", "/get-artifact?path=plain.txt")
raw("get-artifact without a path", "GET", f"/get-artifact?run_uuid={a}")
raw("HEAD of an artifact", "HEAD", f"{at}/plain.txt")
raw("HEAD get-artifact in none", "HEAD", f"/get-artifact?path=plain.txt&run_uuid={'0' * 32}")
raw("DELETE of an artifact", "DELETE", f"{at}/one/plain.txt")
raw("DELETE of none", "DELETE", f"{at}/none.txt")
raw("DELETE of a folder", "DELETE", f"{at}/again")
raw("DELETE of everything", "DELETE", "/api/2.0/mlflow-artifacts/artifacts/.%2F..%2F.")
raw("DELETE of a name with a mark", "DELETE", f"{at}/a%3Fb")
raw("PUT, path climbs", "PUT", f"{at}/..%2Fx", data=b"x")
raw("PUT of a file below a file", "PUT", f"{at}/plain.txt/below", data=b"x")
raw("list, root", "GET", f"/api/2.0/mlflow-artifacts/artifacts?path={main}%2F{a}%2Fartifacts")
raw("list, climbing", "GET", "/api/2.0/mlflow-artifacts/artifacts?path=..")
raw("list, a hash in the name", "GET", f"/api/2.0/mlflow-artifacts/artifacts?path={main}%2Fa%23b")
json_raw("mpu/create", "POST", f"/api/2.0/mlflow-artifacts/mpu/create/{main}/{a}/artifacts", '{"path": "big.bin", "num_parts": 1}')
raw("upload-artifact", "POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={a}&path=from-a-page.json", data=b"{}")
raw("upload-artifact, path climbs", "POST", f"/ajax-api/2.0/mlflow/upload-artifact?run_uuid={a}&path=..%2Fx", data=b"{}")
raw("upload-artifact without a run", "POST", "/ajax-api/2.0/mlflow/upload-artifact?path=x", data=b"{}")

# --- registry
for odd in ODD:
    step(f"create_registered_model {odd[:40]!r}", lambda: client.create_registered_model(f"{PREFIX} {odd}"))
    step(f"get_registered_model {odd[:40]!r}", lambda: client.get_registered_model(f"{PREFIX} {odd}"))
model = f"{PREFIX} {ODD[0]}"
odd_model = f"{PREFIX} {ODD[1]}"
step("create_registered_model again", lambda: client.create_registered_model(model))
step("create_registered_model without a name", lambda: client.create_registered_model(""))
step("get_registered_model of none", lambda: client.get_registered_model(f"{PREFIX} none"))
step("update_registered_model", lambda: client.update_registered_model(model, "# é\n"))
step("update_registered_model of none", lambda: client.update_registered_model(f"{PREFIX} none", "x"))
step("rename_registered_model", lambda: client.rename_registered_model(f"{PREFIX} {ODD[2]}", f"{PREFIX} renamed"))
step("rename_registered_model to a taken name", lambda: client.rename_registered_model(f"{PREFIX} renamed", model))
step("set_registered_model_tag", lambda: client.set_registered_model_tag(model, "k é", "v"))
step("delete_registered_model_tag", lambda: client.delete_registered_model_tag(model, "k é"))
step("delete_registered_model_tag again", lambda: client.delete_registered_model_tag(model, "k é"))
for source in [f"runs:/{a}/m", f"mlflow-artifacts:/{main}/{a}/artifacts/m", "s3://elsewhere/m", "ftp://host/m",
               "mlflow-artifacts://host:9000/models", "dbfs:/x"]:
    step(f"create_model_version {source.split('/')[0]} {source[-6:]}", lambda: client.create_model_version(model, source, a))
for bad in ["/etc/", "file:///etc", "file:etc", "file://localhost/etc", "", "./x",
            "mlflow-artifacts://host:9000/models/..%2f..%2fartifacts", "mlflow-artifacts:/x/../y",
            "http://host/x/%2e%2e/y", "models:/none/1", "s3://b/../x", "mlflow-artifacts:/a#/../..", "mlflow-artifacts:/a%00"]:
    step(f"create_model_version, source {bad}", lambda: client.create_model_version(model, bad, a))
step("create_model_version from a version", lambda: client.create_model_version(odd_model, f"models:/{model}/1"))
step("create_model_version of none", lambda: client.create_model_version(f"{PREFIX} none", f"runs:/{a}/m", a))
step("get_model_version", lambda: client.get_model_version(model, "1"))
step("get_model_version of none", lambda: client.get_model_version(model, "99"))
step("get_model_version, no number", lambda: client.get_model_version(model, "x"))
step("get_model_version_download_uri", lambda: client.get_model_version_download_uri(model, "2"))
step("update_model_version", lambda: client.update_model_version(model, "1", "é"))
step("transition", lambda: client.transition_model_version_stage(model, "1", "staging"))
step("transition, archiving", lambda: client.transition_model_version_stage(model, "2", "Staging", archive_existing_versions=True))
step("transition, no such stage", lambda: client.transition_model_version_stage(model, "1", "Nowhere"))
step("transition of none", lambda: client.transition_model_version_stage(model, "99", "Staging"))
step("get_latest_versions", lambda: client.get_latest_versions(model))
step("get_latest_versions of a stage", lambda: client.get_latest_versions(model, ["Staging", "Archived"]))
step("get_latest_versions of none", lambda: client.get_latest_versions(f"{PREFIX} none"))
step("set_alias", lambda: client.set_registered_model_alias(model, "champion", "1"))
step("set_alias, moved", lambda: client.set_registered_model_alias(model, "champion", "2"))
for alias in ["latest", "v1", "a b", "é", "a/b", ""]:
    step(f"set_alias {alias!r}", lambda: client.set_registered_model_alias(model, alias, "1"))
step("get_by_alias", lambda: client.get_model_version_by_alias(model, "champion"))
step("get_by_alias of none", lambda: client.get_model_version_by_alias(model, "none"))
step("delete_alias", lambda: client.delete_registered_model_alias(model, "champion"))
step("delete_alias again", lambda: client.delete_registered_model_alias(model, "champion"))
step("set_model_version_tag", lambda: client.set_model_version_tag(model, "1", "k", "v"))
step("set_model_version_tag by stage", lambda: client.set_model_version_tag(model, key="s", value="v", stage="Staging"))
step("delete_model_version_tag", lambda: client.delete_model_version_tag(model, "1", "k"))
step("search_registered_models", lambda: client.search_registered_models(like, order_by=["name"]))
step("search_registered_models, a page", lambda: client.search_registered_models(like, max_results=2, order_by=["name"]))
step("search_registered_models, bad", lambda: client.search_registered_models("nonsense = 'x'"))
step("search_model_versions", lambda: client.search_model_versions(f"name='{model}'", order_by=["version_number ASC"]))
step("search_model_versions of a run", lambda: client.search_model_versions(f"run_id='{a}'", order_by=["version_number ASC"]))
step("search_model_versions, bad", lambda: client.search_model_versions("nonsense = 'x'"))
raw("search_model_versions, 200000", "GET", f"/api/2.0/mlflow/model-versions/search?max_results=200000&filter=name%3D%27{PREFIX}%27")
raw("search_model_versions, 200001", "GET", "/api/2.0/mlflow/model-versions/search?max_results=200001")
quoted = requests.utils.quote(model)
raw("model-versions/get-artifact", "GET", f"/model-versions/get-artifact?path=MLmodel&name={quoted}&version=2")
raw("model-versions/get-artifact by runs:/", "GET", f"/model-versions/get-artifact?path=MLmodel&name={quoted}&version=1")
raw("model-versions/get-artifact of none", "GET", f"/model-versions/get-artifact?path=none&name={quoted}&version=2")
raw("model-versions/get-artifact in none", "GET", f"/model-versions/get-artifact?path=MLmodel&name={quoted}&version=99")
raw("model-versions/get-artifact, path climbs", "GET", f"/model-versions/get-artifact?path=..%2Fx&name={quoted}&version=2")
step("delete_model_version", lambda: client.delete_model_version(model, "1"))
step("delete_model_version again", lambda: client.delete_model_version(model, "1"))
step("get_model_version, deleted", lambda: client.get_model_version(model, "1"))
step("delete_registered_model", lambda: client.delete_registered_model(model))
step("delete_registered_model again", lambda: client.delete_registered_model(model))

# --- what no client writes, and MLflow answers
API = "/api/2.0/mlflow"
json_raw("no JSON", "POST", f"{API}/experiments/create", "{")
json_raw("no body", "POST", f"{API}/experiments/create", "")
json_raw("a list", "POST", f"{API}/experiments/create", "[]")
json_raw("JSON in a string", "POST", f"{API}/runs/search", json.dumps(json.dumps({"experiment_ids": [main], "max_results": 1})))
json_raw("unknown fields", "POST", f"{API}/runs/set-tag", json.dumps({"run_id": a, "key": "u", "value": "v", "more": {"x": 1}}))
json_raw("run_uuid", "POST", f"{API}/runs/set-tag", json.dumps({"run_uuid": a, "key": "u", "value": "w"}))
json_raw("camel case", "POST", f"{API}/runs/search", json.dumps({"experimentIds": [main], "maxResults": 1}))
json_raw("wrong types", "POST", f"{API}/runs/log-metric", json.dumps({"run_id": 1, "key": [], "value": "x"}))
json_raw("a value missing", "POST", f"{API}/runs/log-metric", json.dumps({"run_id": a, "key": "k"}))
json_raw("NaN", "POST", f"{API}/runs/log-metric", '{"run_id": "%s", "key": "n", "value": NaN, "timestamp": 1, "step": 0}' % a)
json_raw("a name twice", "POST", f"{API}/runs/set-tag", '{"run_id": "%s", "key": "x", "key": "twice", "value": "v"}' % a)
json_raw("UTF-16", "POST", f"{API}/runs/set-tag", json.dumps({"run_id": a, "key": "utf", "value": "16"}).encode("utf-16"))
raw("no type", "POST", f"{API}/runs/set-tag", data=json.dumps({"run_id": a, "key": "k", "value": "v"}))
raw("another type", "POST", f"{API}/runs/set-tag", data="run_id=x", headers={"Content-Type": "application/x-www-form-urlencoded"})
raw("DELETE without a type", "DELETE", f"{API}/registered-models/delete-tag", data=json.dumps({"name": odd_model, "key": "k"}))
raw("PATCH without a type", "PATCH", f"{API}/registered-models/update", data=json.dumps({"name": odd_model, "description": "d"}))
raw("GET without a query", "GET", f"{API}/runs/get")
raw("GET, unknown parameters", "GET", f"{API}/runs/get?run_id={a}&more=1&x%5By%5D=2")
raw("GET, a parameter twice", "GET", f"{API}/runs/get?run_id={a}&run_id={b}")
raw("GET, run_uuid", "GET", f"{API}/runs/get?run_uuid={a}")
raw("GET, lists", "GET", f"{API}/metrics/get-history-bulk-interval?run_ids%5B%5D={b}&metric_key=loss&max_results=10")
raw("GET, a list of many", "GET", f"{API}/metrics/get-history-bulk-interval?run_ids={a}&run_ids={b}&metric_key=loss&max_results=10")
raw("bulk-interval, 101 runs", "GET", f"{API}/metrics/get-history-bulk-interval?" + "&".join(f"run_ids={i:032}" for i in range(101)) + "&metric_key=m")
raw("bulk-interval, 2501 rows", "GET", f"{API}/metrics/get-history-bulk-interval?run_ids={b}&metric_key=loss&max_results=2501")
raw("get-history-bulk", "GET", f"/ajax-api/2.0/mlflow/metrics/get-history-bulk?run_id={b}&metric_key=loss&max_results=3")
raw("get-history-bulk without a run", "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk?metric_key=loss")
json_raw("search-datasets", "POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", json.dumps({"experiment_ids": [main]}))
json_raw("search-datasets, 21", "POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", json.dumps({"experiment_ids": ["1"] * 21}))
json_raw("ajax twin", "POST", "/ajax-api/2.0/mlflow/runs/search", json.dumps({"experiment_ids": [main], "max_results": 1}))
json_raw("traces", "POST", f"{API}/traces", "{}")
raw("traces, GET", "GET", f"{API}/traces?experiment_ids={main}")
json_raw("gateway", "POST", "/ajax-api/2.0/mlflow/gateway-proxy", json.dumps({"gateway_path": "x"}))
raw("gateway, GET", "GET", "/ajax-api/2.0/mlflow/gateway-proxy?gateway_path=api/2.0/endpoints/")
json_raw("promptlab without a template", "POST", "/ajax-api/2.0/mlflow/runs/create-promptlab-run", json.dumps({"experiment_id": main}))
json_raw("GraphQL", "POST", "/graphql", json.dumps({"query": "query { mlflowGetRun(input: {runId: \"%s\"}) { run { info { runName status } } } }" % a}))
json_raw("GraphQL, no such run", "POST", "/graphql", json.dumps({"query": "query { mlflowGetRun(input: {runId: \"x\"}) { run { info { runName } } apiError { code } } }"}))
json_raw("GraphQL, no such field", "POST", "/graphql", json.dumps({"query": "{ nonsense }"}))
json_raw("GraphQL, no query", "POST", "/graphql", json.dumps({"query": "nonsense"}))
json_raw("GraphQL, mutation", "POST", "/graphql", json.dumps({"query": "mutation { testMutation(inputString: \"x\") { echo } }"}))
json_raw("GraphQL, introspection", "POST", "/graphql", json.dumps({"query": "{ __schema { types { name } } }"}))
raw("GraphQL, GET", "GET", "/graphql")
raw("version", "GET", "/version")
raw("health", "GET", "/health")
raw("page", "GET", "/")
raw("static file", "GET", "/static-files/manifest.json")
raw("static file, none", "GET", "/static-files/none.js")
raw("HEAD of a read", "HEAD", f"{API}/runs/get?run_id={a}")
raw("OPTIONS", "OPTIONS", f"{API}/runs/search")
raw("no route", "GET", f"{API}/nonsense")
raw("no route, old", "GET", "/api/2.0/preview/mlflow/experiments/list")
raw("not by this method", "GET", f"{API}/runs/create")
raw("a slash at the end", "GET", f"{API}/runs/get/?run_id={a}")
raw("build", "GET", "/build/manifest.json")

print(json.dumps({"steps": steps, "experiments": experiments}))
