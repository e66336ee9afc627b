"""Follows the stage: looks which version is in it, has a new one loaded beside the old, and swaps.

What it does in every case:

* another version in the stage: it is downloaded and checked while the old one answers; then one reference changes.
  Requests that have begun keep the model they began with.
* the version is no usable model: the old one stays, the reason is kept, and the version is not tried again until the
  stage changes (marking it once more is a change).
* the way there failed (network, token, space): the old one stays, and it is tried again, first after a poll and then
  at twice the distance each time up to a minute.
* the tracking server is away: what is served stays served, and the state says since when.
* nothing in the stage any more: what is served stays served, and the state says so. Marking a version is a
  deployment; taking the mark away is not an order to stop answering. For that, stop the service.

A restart begins with what is in the stage then: nothing is remembered on disk.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Protocol

from flavor.model import Model
from flavor.version import Refused, Unavailable, Version

log = logging.getLogger("flavor.follower")

_LONGEST_WAIT_SECONDS = 60


class Scouts(Protocol):
    """See crew.Crew."""

    def look(self) -> Version | None: ...
    def load(self, version: Version) -> Model: ...
    def stop(self) -> None: ...


@dataclass(frozen=True)
class Failure:
    """`at`: seconds since 1970. `retrying`: the way failed, not the version."""

    version: str
    reason: str
    at: float
    retrying: bool


@dataclass(frozen=True)
class Tracking:
    """`reachable` is None before the first answer. `since`: when that began; `checked_at`: the last attempt, both
    seconds since 1970."""

    reachable: bool | None
    since: float
    checked_at: float
    reason: str | None = None


@dataclass(frozen=True)
class Status:
    """One moment of the follower; replaced as a whole, so that readers on other threads see it consistent."""

    tracking: Tracking
    #: The model that answers.
    model: Model | None = None
    #: What was in the stage when the tracking server last answered.
    in_stage: Version | None = None
    loading: Version | None = None
    #: The last failure since the last successful load.
    failure: Failure | None = None


@dataclass
class Counts:
    """Loads by how they ended, and how long the last one took."""

    served: int = 0
    refused: int = 0
    unavailable: int = 0
    last_load_seconds: float = 0.0


class Follower:
    def __init__(self, scouts: Scouts, stage: str, poll_seconds: float) -> None:
        self._scouts = scouts
        self._stage = stage
        self._poll_seconds = poll_seconds
        self._stopping = threading.Event()
        now = time.time()
        self.status = Status(Tracking(None, now, now))
        self.counts = Counts()
        self._refused: Version | None = None
        self._attempts = 0
        self._attempted: Version | None = None
        self._not_before = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="follower", daemon=True).start()

    def stop(self) -> None:
        """Ends a running look or load; the thread ends with it."""
        self._stopping.set()
        self._scouts.stop()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.step()
            except Exception:
                # Whatever this is, the next poll may go well, and what is served is not concerned.
                log.exception("following the stage failed")
            self._stopping.wait(self._poll_seconds)

    def step(self) -> None:
        """One look at the stage, and what follows from it."""
        try:
            found = self._scouts.look()
        except (Unavailable, OSError) as error:
            self._tracking(False, str(error))
            return
        self._tracking(True, None)
        self._set(in_stage=found)
        if found is None or self._is_served(found) or found == self._refused:
            return
        if found != self._attempted:
            self._attempted, self._attempts, self._not_before = found, 0, 0.0
        if time.monotonic() >= self._not_before:
            self._load(found)

    def _is_served(self, version: Version) -> bool:
        served = self.status.model
        return served is not None and served.version.same_artifact(version)

    def _load(self, version: Version) -> None:
        log.info("version %s is in %s: loading it", version.version, self._stage)
        self._set(loading=version)
        started = time.monotonic()
        try:
            model = self._scouts.load(version)
        except Refused as error:
            self._refused = version
            self.counts.refused += 1
            self._failed(version, str(error), retrying=False)
        except Exception as error:
            if not isinstance(error, (Unavailable, OSError)):
                log.exception("loading version %s failed in a way nobody thought of", version.version)
            wait = min(self._poll_seconds * 2**self._attempts, _LONGEST_WAIT_SECONDS)
            # 2**6 polls are beyond the longest wait for any sensible distance, and numbers stay small.
            self._attempts = min(self._attempts + 1, 6)
            self._not_before = time.monotonic() + wait
            self.counts.unavailable += 1
            self._failed(version, str(error) or repr(error), retrying=True)
        else:
            self.counts.served += 1
            self.counts.last_load_seconds = time.monotonic() - started
            self._attempted = None
            self._set(model=model, failure=None)
            log.info(
                "version %s serves: %d words, %d dimensions, loaded in %.1f s",
                version.version,
                len(model),
                model.dimensions,
                self.counts.last_load_seconds,
            )
        finally:
            self._set(loading=None)

    def _failed(self, version: Version, reason: str, retrying: bool) -> None:
        if self._stopping.is_set():
            return
        self._set(failure=Failure(version.version, reason, time.time(), retrying))
        log.warning("version %s %s: %s", version.version, "could not be loaded" if retrying else "is refused", reason)

    def _tracking(self, reachable: bool, reason: str | None) -> None:
        now = time.time()
        before = self.status.tracking
        same = before.reachable is reachable
        if not same and not self._stopping.is_set():
            if reachable:
                log.info("the tracking server answers")
            else:
                log.warning("the tracking server does not answer as it should: %s", reason)
        self._set(tracking=Tracking(reachable, before.since if same else now, now, reason))

    def _set(self, **changes) -> None:
        self.status = replace(self.status, **changes)


def describe(status: Status, stage: str) -> str:
    """What is going on, in one sentence for people."""
    model, failure = status.model, status.failure
    still = f", still serving version {model.version.version}" if model else ""
    if status.loading:
        return f"loading version {status.loading.version}{still}"
    if status.tracking.reachable is None:
        return f"asking the tracking server which version is in {stage}"
    if not status.tracking.reachable:
        return f"the tracking server does not answer as it should{still or ', no model yet'}: {status.tracking.reason}"
    if status.in_stage is None:
        return f"stage is empty{still}" if model else f"no model in {stage} yet"
    if model and model.version.same_artifact(status.in_stage):
        return "serving"
    if failure and failure.version == status.in_stage.version:
        verdict = "could not be loaded and is tried again" if failure.retrying else "was refused"
        return f"version {failure.version} {verdict}{still or ', no model yet'}: {failure.reason}"
    return f"version {status.in_stage.version} is in {stage}{still}"
