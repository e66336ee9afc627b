"""A model version as the tracking server describes it, and the failures on the way to serving it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """Times are milliseconds since 1970, as MLflow counts them."""

    version: str
    run_id: str
    source: str
    created: int
    #: Changes with every change of stage, also with one that comes back to where it was.
    updated: int

    def same_artifact(self, other: Version) -> bool:
        """A model that was deleted and made anew has a version 1 again: the number alone does not tell."""
        return (self.version, self.source, self.created) == (other.version, other.source, other.created)


class Refused(Exception):
    """The version is no usable model. Trying again is pointless until the stage changes."""


class Unavailable(Exception):
    """Something on the way failed: the tracking server, the network, the token, space. Trying again may help."""
