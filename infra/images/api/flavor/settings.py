"""The environment, read once into one frozen object. Every bad value is reported in one message."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MEBIBYTE = 1024 * 1024
#: Value of MLFLOW_TRACKING_AUTH that makes the client take its token from MLFLOW_TRACKING_TOKEN_FILE.
AUTH_NAME = "mlgate-token-file"


class BadSettings(Exception):
    """Its text lists everything that is wrong with the environment, one line each."""


@dataclass(frozen=True)
class Settings:
    """`seconds` are floats, sizes are bytes."""

    model: str
    stage: str
    tracking_uri: str
    token_file: str | None
    poll_seconds: float
    load_seconds: float
    artifact_bytes: int
    golden: tuple[str, ...]
    port: int


def _name(text: str) -> str:
    # They would change what `models:/<name>/<version>` means; MLflow itself forbids the first two.
    if not text.strip() or re.search(r"[/:?#%]", text):
        raise ValueError("must be the name of a registered model, without / : ? # %")
    return text


def _stage(text: str) -> str:
    stages = {"staging": "Staging", "production": "Production"}
    if text.lower() not in stages:
        raise ValueError("must be Staging or Production")
    return stages[text.lower()]


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an http or https URL without user and password")
    return text.rstrip("/")


def _number(smallest: float, largest: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not smallest <= number <= largest:
            raise ValueError(f"must be a number from {smallest:g} to {largest:g}")
        return number

    return read


def _whole(smallest: int, largest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not smallest <= int(text) <= largest:
            raise ValueError(f"must be a whole number from {smallest} to {largest}")
        return int(text)

    return read


def _mebibytes(smallest: int, largest: int) -> Callable[[str], int]:
    read = _whole(smallest, largest)
    return lambda text: read(text) * MEBIBYTE


def _golden(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if len(names) > 8:
        raise ValueError("must name at most 8 ingredients, separated by commas")
    return names


def _as_is(text: str) -> str | None:
    return text or None


#: Field -> (variable, default or None if it must be set, reader).
_VARIABLES: dict[str, tuple[str, str | None, Callable[[str], object]]] = {
    "model": ("FLAVOR_MODEL_NAME", "flavor-ml-embeddings", _name),
    "stage": ("FLAVOR_MODEL_STAGE", "Staging", _stage),
    "tracking_uri": ("MLFLOW_TRACKING_URI", None, _url),
    "token_file": ("MLFLOW_TRACKING_TOKEN_FILE", "", _as_is),
    "poll_seconds": ("POLL_SECONDS", "3", _number(0.1, 3600)),
    "load_seconds": ("FLAVOR_LOAD_SECONDS", "60", _number(1, 3600)),
    "artifact_bytes": ("FLAVOR_ARTIFACT_MAX_MB", "32", _mebibytes(1, 1024)),
    "golden": ("FLAVOR_GOLDEN", "", _golden),
    "port": ("PORT", "8000", _whole(1, 65535)),
}


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises `BadSettings`."""
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for field, (variable, default, read) in _VARIABLES.items():
        text = environment.get(variable, default)
        if text is None:
            wrong.append(f"{variable} is not set")
            continue
        try:
            values[field] = read(text)
        except ValueError as error:
            wrong.append(f"{variable} {error}, not {text!r}")
    if wrong:
        raise BadSettings("\n".join(wrong))
    return Settings(**values)
