"""What several tests share: artifacts, a tracking server with only the calls that a scout makes, and the service.

The server answers in the shapes of MLflow 2.13.0; the client that asks it is the real one.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
MODEL = "flavor-ml-embeddings"
NAMES = ("盐", "糖", "醋", "酱油", "蒜", "姜", "葱", "鸡蛋")


def vectors(seed: int, words: int = len(NAMES), dimensions: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(words, dimensions)).astype("<f4")


def artifact(
    values: np.ndarray, names: Sequence[str] = NAMES, header: bytes | None = None, newline: bytes = b""
) -> bytes:
    """The binary word2vec format as gensim writes it; with `newline`, as the C tool does."""
    first = header if header is not None else b"%d %d\n" % values.shape
    return first + b"".join(
        name.encode() + b" " + row.astype("<f4").tobytes() + newline for name, row in zip(names, values)
    )


def nearest(values: np.ndarray, row: int, k: int) -> list[tuple[str, float]]:
    """The answer by the definition of the cosine, in float64."""
    wide = values.astype(np.float64)
    cosines = wide @ wide[row] / (np.linalg.norm(wide, axis=1) * np.linalg.norm(wide[row]))
    order = [at for at in np.argsort(-cosines) if at != row][:k]
    return [(NAMES[at], float(cosines[at])) for at in order]


@dataclass
class Stored:
    """A version. `files`: name -> bytes; `listed`: name -> size that the listing claims, None for no size."""

    files: dict[str, bytes]
    source: str
    run_id: str
    listed: dict[str, int | None] = field(default_factory=dict)
    updated: int = 1


class Tracking:
    """Holds versions and one stage. Every switch may be changed while it runs."""

    def __init__(self) -> None:
        self.versions: dict[str, Stored] = {}
        self.in_stage: str | None = None
        #: Tokens that are accepted; None: no token is asked for.
        self.tokens: set[str] | None = None
        self.refused = 0
        self.on_refusal: Callable[[], None] = lambda: None
        #: Status for every call, or None to answer properly.
        self.broken: int | None = None
        #: Another server to send every call to.
        self.redirect: str | None = None
        #: Bytes of an artifact after which the connection ends; None: all of them.
        self.cut: int | None = None
        #: Set while downloads may go on.
        self.downloads = threading.Event()
        self.downloads.set()
        self.paths: list[str] = []
        self._clock = 1
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.open()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """On the same port as before, once it had one."""
        handler = type("Handler", (_Handler,), {"tracking": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.downloads.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections()
            self._server = None

    def add(
        self, version: str, data: bytes, source: str | None = None, name: str = "ingredient-embeddings.bin"
    ) -> Stored:
        run_id = f"run{version}"
        source = source or f"mlflow-artifacts:/1/{run_id}/artifacts/embeddings"
        self.versions[version] = Stored({name: data}, source, run_id)
        return self.versions[version]

    def promote(self, version: str | None) -> None:
        self._clock += 1
        if version:
            self.versions[version].updated = self._clock
        self.in_stage = version

    def at(self, path: str) -> Stored | None:
        """The version whose folder is `path` (without the scheme)."""
        return next((v for v in self.versions.values() if urlsplit(v.source).path.strip("/") == path.strip("/")), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self):
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def close_connections(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, *_arguments) -> None:
        """A client that goes away in the middle is part of these tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tracking: Tracking

    def log_message(self, *_arguments) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        self._serve(body)

    def do_GET(self) -> None:
        self._serve({name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()})

    def _serve(self, asked: dict) -> None:
        tracking, path = self.tracking, urlsplit(self.path).path
        tracking.paths.append(self.path)
        if tracking.broken:
            return self._json({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "not now"}, tracking.broken)
        if tracking.redirect:
            self.send_response(307)
            self.send_header("Location", f"{tracking.redirect}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        sent = self.headers.get("Authorization", "")
        if tracking.tokens is not None and sent.removeprefix("Bearer ") not in tracking.tokens:
            tracking.refused += 1
            tracking.on_refusal()
            return self._json({"error_code": "UNAUTHENTICATED", "message": "unknown token"}, 401)
        artifacts = "/api/2.0/mlflow-artifacts/artifacts"
        if path == "/api/2.0/mlflow/registered-models/get-latest-versions":
            return self._latest(asked)
        if path == "/api/2.0/mlflow/model-versions/get-download-uri":
            stored = tracking.versions.get(asked["version"])
            if stored is None:
                return self._json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such version"}, 404)
            return self._json({"artifact_uri": stored.source})
        if path == artifacts:
            stored = tracking.at(asked.get("path", ""))
            return self._json({"files": _listing(stored) if stored else []})
        folder, _, name = path.removeprefix(f"{artifacts}/").rpartition("/")
        stored = tracking.at(folder)
        if stored is None or name not in stored.files:
            return self._json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such artifact"}, 404)
        self._download(stored.files[name])

    def _latest(self, asked: dict) -> None:
        tracking = self.tracking
        if asked["name"] != MODEL:
            return self._json({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such model"}, 404)
        version = tracking.in_stage
        if version is None:
            return self._json({})
        stored = tracking.versions[version]
        self._json(
            {
                "model_versions": [
                    {
                        "name": MODEL,
                        "version": version,
                        "creation_timestamp": 1000 + int(version),
                        "last_updated_timestamp": 2000 + stored.updated,
                        "current_stage": asked["stages"][0],
                        "source": stored.source,
                        "run_id": stored.run_id,
                        "status": "READY",
                    }
                ]
            }
        )

    def _download(self, data: bytes) -> None:
        cut = self.tracking.cut
        self.send_response(200)
        # Without a length, as gunicorn answers behind MLflow: the client cannot tell a cut from the end.
        self.send_header("Connection", "close")
        self.end_headers()
        self.tracking.downloads.wait(30)
        self.wfile.write(data if cut is None else data[:cut])
        self.close_connection = True

    def _json(self, document: dict, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _listing(stored: Stored) -> list[dict]:
    entries = []
    for name, data in stored.files.items():
        size = stored.listed.get(name, len(data))
        entries.append({"path": name, "is_dir": False, **({"file_size": size} if size is not None else {})})
    return entries


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition: Callable[[], object], seconds: float = 60, every: float = 0.05) -> object:
    """What `condition` returns once it is truthy. Raises AssertionError when the time is over."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(every)


class Service:
    """The service as a process of its own, started the way the image starts it."""

    def __init__(self, tracking_uri: str, **environment: str) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flavor"],
            cwd=ROOT,
            env={
                **{name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ},
                "MLFLOW_TRACKING_URI": tracking_uri,
                "PORT": str(self.port),
                "POLL_SECONDS": "0.2",
                "OPENBLAS_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()
        try:
            until(self._alive, 60)
        except AssertionError:
            self.stop()
            raise

    def _alive(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError("".join(self.log))
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path: str, method: str = "GET") -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def text(self, path: str) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer, answer.read().decode()
        finally:
            connection.close()

    def similar(self, ingredient: str, k: int = 3) -> tuple[int, dict]:
        return self.get(f"/similar?ingredient={quote(ingredient)}&k={k}")

    def model(self) -> dict:
        return self.get("/model")[1]

    def serves(self, version: str, seconds: float = 60) -> dict:
        return until(lambda: (state := self.model())["version"] == version and state, seconds)

    def scouts(self) -> list[int]:
        """Process ids of its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").parent.parent
        return [int(pid) for task in children.iterdir() for pid in (task / "children").read_text().split()]

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()


def pack(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)
