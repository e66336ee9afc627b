"""The server's side of the scout: starts it, asks it, and outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from flavor.model import Model
from flavor.settings import AUTH_NAME, MEBIBYTE, Settings
from flavor.version import Refused, Unavailable, Version

_ROOT = Path(__file__).resolve().parent.parent
#: Import of the MLflow client on a slow machine, plus one request with its own timeout.
_LOOK_SECONDS = 45
_REQUEST_SECONDS = 10
#: Passed on if set: where the certificates of an https tracking server are.
_PASSED_ON = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "TMPDIR")


class Crew:
    """At most one scout process at a time. `look` and `load` are for one thread; `stop` for any."""

    def __init__(self, settings: Settings, command: Sequence[str] = (sys.executable, "-m", "flavor.scout")) -> None:
        self._settings = settings
        self._command = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = False

    def look(self) -> Version | None:
        """The version in the stage, None if there is none. Raises `Unavailable`."""
        for answer in self._ask({"do": "look"}, _LOOK_SECONDS):
            if "unavailable" in answer:
                raise Unavailable(answer["unavailable"])
            return Version(**answer["found"]) if answer["found"] else None
        raise Unavailable(f"asking the tracking server failed: {self._end()}")

    def load(self, version: Version) -> Model:
        """Downloads and checks the version. Raises `Refused` or `Unavailable`; leaves nothing behind but the model."""
        folder = Path(tempfile.mkdtemp(prefix="flavor-"))
        try:
            summary = self._fetch(version, folder)
            # The files are mapped into memory, not copied: removing their names frees nothing that is in use, and
            # the space goes when the model does.
            return Model.open(version, folder, summary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._end()
            self._start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._end()

    def _fetch(self, version: Version, folder: Path) -> dict:
        checking = False
        request = {"do": "load", "version": version.version, "folder": str(folder)}
        for answer in self._ask(request, self._settings.load_seconds):
            if "phase" in answer:
                checking = True
            elif "loaded" in answer:
                return answer["loaded"]
            elif "refused" in answer:
                raise Refused(answer["refused"])
            else:
                raise Unavailable(answer["unavailable"])
        end = self._end()
        if checking:
            raise Refused(f"checking it brought the checking process down: {end}")
        raise Unavailable(f"the download failed: {end}")

    def _start(self) -> subprocess.Popen | None:
        with self._lock:
            if self._stopped or self._process is not None:
                return self._process
            self._lines = queue.SimpleQueue()
            self._process = subprocess.Popen(
                self._command,
                cwd=_ROOT,
                env=scout_environment(self._settings),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            threading.Thread(
                target=_pump, args=(self._process.stdout, self._lines), name="scout-answers", daemon=True
            ).start()
            return self._process

    def _ask(self, request: dict, seconds: float) -> Iterator[dict]:
        """Answers as they come. Ends early if the scout dies or the time is over; `_end` then says which."""
        deadline = time.monotonic() + seconds
        process = self._start()
        if process is None:
            raise Unavailable("the service is stopping")
        lines = self._lines
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except (OSError, ValueError):  # it died, or was ended from another thread
            return
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return
            if line is None:
                return
            yield json.loads(line)

    def _end(self) -> str:
        """Ends the scout if there is one; says how it went, for people."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return "the service is stopping"
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            # A scout that crashed, or did what it was asked for, is gone already or about to be.
            code = process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return "no answer in time"
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        return f"its process ended with code {code}"


def scout_environment(settings: Settings) -> dict[str, str]:
    """Nothing of the server's own environment gets in but what is named here: no proxies, no other credentials."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "PATH": os.defpath,
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "FLAVOR_MODEL_NAME": settings.model,
        "FLAVOR_MODEL_STAGE": settings.stage,
        "FLAVOR_ARTIFACT_MAX_MB": str(settings.artifact_bytes // MEBIBYTE),
        "FLAVOR_GOLDEN": ",".join(settings.golden),
        "MLFLOW_TRACKING_URI": settings.tracking_uri,
        # The follower decides when to try again; the client's own retries would take a minute each time.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_REQUEST_SECONDS),
        "MLFLOW_ALLOW_HTTP_REDIRECTS": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "NO_PROXY": "*",
        "GIT_PYTHON_REFRESH": "quiet",
        # Every further thread or arena reserves address space, which is limited.
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if settings.token_file:
        environment |= {
            "MLFLOW_TRACKING_AUTH": AUTH_NAME,
            "MLFLOW_TRACKING_TOKEN_FILE": os.path.abspath(settings.token_file),
        }
    return environment


def _pump(source: TextIO, lines: queue.SimpleQueue[str | None]) -> None:
    with source:
        for line in source:
            lines.put(line)
    lines.put(None)
