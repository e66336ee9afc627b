"""The tracking server through the stock MLflow client. Only the scout imports this module.

What the client is asked to do is narrow: say which version is in the stage, list its folder, download one file of it.
Artifacts are taken from the tracking server alone: a version may name any source (`s3://`, `file:`, another host),
and following it would hand our token to strangers or read what is not a model.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import requests
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.tracking import MlflowClient
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from mlflow.tracking.request_auth.registry import _request_auth_provider_registry

from flavor.settings import AUTH_NAME
from flavor.version import Refused, Unavailable, Version

# Stages are what this service is about; MLflow prefers aliases since 2.9 and says so at every call.
warnings.filterwarnings("ignore", category=FutureWarning, module=r"mlflow|flavor")

_LONGEST_TOKEN = 16 * 1024
_ARTIFACT_SUFFIX = ".bin"
_LONGEST_REASON = 400


class TokenFile(requests.auth.AuthBase):
    """Sends the token that the file holds now, so a renewed one is used with the next request. If the server refuses
    it, the file is read once more: it may have been replaced while the request was on its way."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.read()}"
        request.register_hook("response", self._again_if_replaced)
        return request

    def read(self) -> str:
        try:
            with open(self.path, "rb") as file:
                token = file.read(_LONGEST_TOKEN + 1).strip()
        except OSError as error:
            raise Unavailable(f"the service token {self.path} cannot be read: {error.strerror}") from None
        if not re.fullmatch(rb"[\x21-\x7e]{1,%d}" % _LONGEST_TOKEN, token):
            raise Unavailable(f"the service token {self.path} is empty or no token")
        return token.decode("ascii")

    def _again_if_replaced(self, response: requests.Response, **how) -> requests.Response:
        if response.status_code != 401:
            return response
        header = f"Bearer {self.read()}"
        if header == response.request.headers.get("Authorization"):
            return response
        # Reads the answer to its end, so that the connection can be used again.
        _ = response.content
        response.close()
        again = response.request.copy()
        again.headers["Authorization"] = header
        second = response.connection.send(again, **how)
        second.history.append(response)
        second.request = again
        return second


class _TokenFileProvider(RequestAuthProvider):
    def get_name(self) -> str:
        return AUTH_NAME

    def get_auth(self) -> TokenFile:
        return TokenFile(os.environ["MLFLOW_TRACKING_TOKEN_FILE"])


_request_auth_provider_registry.register(_TokenFileProvider)


def version_in_stage(client: MlflowClient, model: str, stage: str) -> Version | None:
    """The newest version in the stage, which is what `models:/<model>/<stage>` means; None if there is none, or no
    such model. Raises `Unavailable`."""
    try:
        versions = client.get_latest_versions(model, [stage])
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise Unavailable(_reason(error)) from None
    except requests.RequestException as error:
        raise Unavailable(_reason(error)) from None
    if not versions:
        return None
    found = versions[0]
    return Version(
        version=str(found.version),
        run_id=found.run_id or "",
        source=found.source or "",
        created=int(found.creation_timestamp or 0),
        updated=int(found.last_updated_timestamp or 0),
    )


def download(client: MlflowClient, tracking_uri: str, model: str, version: str, folder: Path, largest: int) -> Path:
    """Downloads the one `.bin` file in the folder of the version. Raises `Refused` or `Unavailable`."""
    try:
        _check_source(client.get_model_version_download_uri(model, version), tracking_uri)
        repository = ModelsArtifactRepository(f"models:/{model}/{version}")
        name, size = _only_artifact(repository.list_artifacts(None), largest)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise Refused(_reason(error)) from None
        raise Unavailable(_reason(error)) from None
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code in (400, 404):
            raise Refused(_reason(error)) from None
        raise Unavailable(_reason(error)) from None
    except (requests.RequestException, ValueError, KeyError) as error:
        # The last two: an answer that is no listing, from something that stands in front of the server.
        raise Unavailable(_reason(error)) from None
    path = folder / name
    try:
        repository.download_artifacts(name, str(folder))
    except (MlflowException, requests.RequestException, OSError) as error:
        # The client wraps whatever happened in its download threads into text.
        if os.strerror(errno.EFBIG) in str(error):
            raise Refused(f"{name} is larger than the {largest} bytes allowed") from None
        raise Unavailable(_reason(error)) from None
    received = path.stat().st_size
    if size is not None and received != size:
        # A connection that breaks behind the server's own proxy looks like a complete answer to the client.
        raise Unavailable(f"the download of {name} ended after {received} of {size} bytes")
    return path


def _check_source(uri: str, tracking_uri: str) -> None:
    """Raises `Refused` unless `uri` is a plain place among the artifacts of the tracking server itself."""
    parts = urlsplit(uri)
    ours = parts.netloc in ("", urlsplit(tracking_uri).netloc)
    if parts.scheme != "mlflow-artifacts" or not ours or parts.query or parts.fragment:
        raise Refused(f"its artifacts lie at {_clip(uri)}, and only those of the tracking server itself are read")
    if any(segment in (".", "..") for segment in parts.path.split("/")) or "%" in parts.path:
        raise Refused(f"its artifacts lie at {_clip(uri)}, which is no plain path")


def _only_artifact(files, largest: int) -> tuple[str, int | None]:
    found = [file for file in files if not file.is_dir and file.path.endswith(_ARTIFACT_SUFFIX)]
    if len(found) != 1:
        names = _clip(", ".join(file.path for file in found or files)) or "nothing"
        raise Refused(f"its folder must hold exactly one {_ARTIFACT_SUFFIX} file; there is {names}")
    name, size = found[0].path, found[0].file_size
    if "/" in name or "\\" in name or name.startswith("."):
        raise Refused(f"its artifact has an odd name: {_clip(name)!a}")
    if size is not None and size > largest:
        raise Refused(f"{_clip(name)} has {size} bytes, more than the {largest} allowed")
    return name, size


#: What the client's long sentences come down to. The first pattern that is found speaks.
_PLAIN_REASONS = (
    (re.compile(r"failed with exception (the service token .*)"), "{}"),
    (re.compile(r"too many (\d+) error responses"), "the tracking server answers with status {}"),
    (re.compile(r"(timed out)"), "the tracking server does not answer: {}"),
    (
        re.compile(r"NameResolutionError|(Name or service not known|name resolution)"),
        "the tracking server has no address",
    ),
    (re.compile(r"\[Errno \d+\] ([A-Z][a-z ]+)"), "the tracking server cannot be reached: {}"),
    (re.compile(r"(Connection aborted|IncompleteRead|Connection broken)"), "the connection broke: {}"),
)


def _reason(error: Exception) -> str:
    text = error.message if isinstance(error, MlflowException) else str(error)
    response = getattr(error, "response", None)
    if getattr(error, "error_code", "") == "UNAUTHENTICATED" or getattr(response, "status_code", None) == 401:
        return f"the tracking server refuses the service token: {_clip(text)}"
    for pattern, plain in _PLAIN_REASONS:
        if match := pattern.search(text):
            return plain.format(match[1])
    return _clip(text) or type(error).__name__


def _clip(text: str) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."
