"""One of everything that MLflow's pages show. Ends with a line of JSON: ids of the experiment and of its runs."""

import json
import os
import struct
import zlib

import mlflow
from mlflow.tracking import MlflowClient

NAME = os.environ["GALLERY"]


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2


def png(width, height):
    """A picture of one colour, without a library."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\x2d\x57\xcc" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# What would act in the reader's name if it ran: it makes an experiment, and says so to the page around it.
HOSTILE = f"""
const csrf = (document.cookie.match(/X-CSRF-Token=([^;]+)/) ?? [])[1] ?? "";
const url = (location.origin === "null" ? "{os.environ['MLFLOW_TRACKING_URI']}" : location.origin);
fetch(url + "/ajax-api/2.0/mlflow/experiments/create", {{
  method: "POST", credentials: "include",
  headers: {{ "content-type": "application/json", "X-CSRF-Token": csrf }},
  body: JSON.stringify({{ name: "owned-{NAME}" }}),
}});
document.documentElement.dataset.owned = "yes";
parent.postMessage("owned", "*");
"""
TEXTS = {
    "page.html": "<!doctype html><title>Report</title><h1>A report</h1><p style='color: teal'>with style</p>",
    "hostile.html": f"<!doctype html><p>hostile page</p><script>{HOSTILE}</script><img src=x onerror='{HOSTILE}'>",
    "drawing.svg": "<svg xmlns='http://www.w3.org/2000/svg' width='60' height='60'><circle cx='30' cy='30' r='25' fill='teal'/></svg>",
    "hostile.svg": f"<svg xmlns='http://www.w3.org/2000/svg' width='60' height='60'><script><![CDATA[{HOSTILE}]]></script><rect width='60' height='60'/></svg>",
    "table.csv": "a,b\n1,2\n3,4\n",
    "notes.txt": "plain words\n",
    "data.json": json.dumps({"a": 1}),
}

client = MlflowClient()
experiment = mlflow.set_experiment(NAME)
runs = []
for number in range(3):
    with mlflow.start_run(run_name=f"run-{number}") as run:
        mlflow.log_params({"window": 5 + number, "rate": 0.1 / (number + 1), "kind": "abc"[number]})
        for step in range(12):
            mlflow.log_metrics({"loss": 1 / (step + number + 1), "accuracy": step / (12 + number)}, step=step)
        runs.append(run.info.run_id)
        if number == 0:
            for name, text in TEXTS.items():
                mlflow.log_text(text, name)
            with open("/tmp/picture.png", "wb") as file:
                file.write(png(64, 64))
            mlflow.log_artifact("/tmp/picture.png")
            mlflow.pyfunc.log_model("model", python_model=Doubler(), registered_model_name=NAME, pip_requirements=["mlflow==2.13.0"])
client.set_tag(runs[0], "mlflow.note.content", "# A note\n\nwith **words**")
print(json.dumps({"experiment": experiment.experiment_id, "runs": runs}))
