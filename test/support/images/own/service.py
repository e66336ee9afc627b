"""The way people write it: reads its stage lazily, at the first request, and once. Nothing of mlgate in it."""

import json
import os
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME, STAGE = os.environ["FLAVOR_MODEL_NAME"], os.environ["FLAVOR_MODEL_STAGE"]
lock = threading.Lock()
model: dict | None = None


def load() -> dict:
    global model
    with lock:
        if model is None:
            import mlflow
            from mlflow.tracking import MlflowClient

            version = MlflowClient().get_latest_versions(NAME, [STAGE])[0].version
            folder = mlflow.artifacts.download_artifacts(f"models:/{NAME}/{STAGE}", dst_path=tempfile.mkdtemp())
            (file,) = Path(folder).rglob("*.bin")
            data = file.read_bytes()
            words, dimensions = (int(number) for number in data.split(b"\n", 1)[0].split())
            if len(data) < words * dimensions * 4:
                raise ValueError(f"{file.name} is too short for {words} words")
            model = {"version": version, "words": words}
        return model


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            status, document = 200, {"alive": True} if self.path == "/health" else load()
        except Exception as error:
            status, document = 500, {"error": str(error)}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler)
server.serve_forever()
