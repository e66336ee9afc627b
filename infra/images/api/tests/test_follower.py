"""What is served after each turn of events. The scouts are stand-ins; test_crew and test_service have the real ones."""

import unittest
from unittest import mock

import numpy as np

from flavor import follower as module
from flavor.follower import Follower, describe
from flavor.model import Model
from flavor.version import Refused, Unavailable, Version
from tests.support import NAMES, vectors


def version(number: str, updated: int = 1, source: str = "") -> Version:
    return Version(number, f"run{number}", source or f"mlflow-artifacts:/1/{number}", int(number), updated)


class Scouts:
    """`stage`: what look answers, or raises. `outcome`: version -> what load raises."""

    def __init__(self) -> None:
        self.stage: Version | Exception | None = None
        self.outcome: dict[str, Exception] = {}
        self.loads: list[str] = []

    def look(self):
        if isinstance(self.stage, Exception):
            raise self.stage
        return self.stage

    def load(self, found: Version) -> Model:
        self.loads.append(found.version)
        if found.version in self.outcome:
            raise self.outcome[found.version]
        values = vectors(int(found.version))
        units = values / np.linalg.norm(values, axis=1, keepdims=True)
        names = [name.encode() for name in NAMES]
        return Model(found, units, b"\n".join(names), np.argsort(np.array(names, dtype=object)).astype("<i4"))

    def stop(self) -> None:
        pass


class Follows(unittest.TestCase):
    def setUp(self) -> None:
        self.scouts = Scouts()
        self.follower = Follower(self.scouts, "Staging", 3)
        self.now = 1000.0
        clock = mock.patch.object(module.time, "monotonic", lambda: self.now)
        clock.start()
        self.addCleanup(clock.stop)
        quiet = mock.patch.object(module, "log")
        quiet.start()
        self.addCleanup(quiet.stop)

    def step(self, stage=...) -> str:
        if stage is not ...:
            self.scouts.stage = stage
        self.follower.step()
        self.now += 3
        return describe(self.follower.status, "Staging")

    @property
    def served(self) -> str | None:
        model = self.follower.status.model
        return model.version.version if model else None

    def test_begins_without_a_model(self) -> None:
        self.assertEqual(
            describe(self.follower.status, "Staging"), "asking the tracking server which version is in Staging"
        )
        self.assertEqual(self.step(None), "no model in Staging yet")

    def test_serves_what_is_in_the_stage_and_loads_it_once(self) -> None:
        for _ in range(3):
            self.assertEqual(self.step(version("1")), "serving")
        self.assertEqual((self.served, self.scouts.loads), ("1", ["1"]))

    def test_follows_the_stage_forward_and_back(self) -> None:
        for number in ("1", "2", "1"):
            self.step(version(number))
            self.assertEqual(self.served, number)

    def test_loads_a_model_that_was_deleted_and_made_anew(self) -> None:
        self.step(version("1"))
        self.step(version("1", source="mlflow-artifacts:/1/other"))
        made_anew = Version("1", "run1", "mlflow-artifacts:/1/other", 2, 1)
        self.step(made_anew)
        self.step(made_anew)
        self.assertEqual(self.scouts.loads, ["1", "1", "1"])

    def test_keeps_serving_when_the_stage_is_emptied(self) -> None:
        self.step(version("1"))
        self.assertEqual(self.step(None), "stage is empty, still serving version 1")
        self.assertEqual(self.step(version("1", updated=9)), "serving")
        self.assertEqual(self.scouts.loads, ["1"])

    def test_keeps_the_old_one_when_the_new_is_refused_and_does_not_try_again(self) -> None:
        self.scouts.outcome["2"] = Refused("it is cut short")
        self.step(version("1"))
        for _ in range(20):
            state = self.step(version("2"))
        self.assertEqual(state, "version 2 was refused, still serving version 1: it is cut short")
        self.assertEqual((self.served, self.scouts.loads), ("1", ["1", "2"]))

    def test_remembers_the_failure_when_the_stage_is_put_back(self) -> None:
        self.scouts.outcome["2"] = Refused("it is cut short")
        self.step(version("1"))
        self.step(version("2"))
        self.assertEqual(self.step(version("1", updated=5)), "serving")
        failure = self.follower.status.failure
        self.assertEqual((failure.version, failure.reason, failure.retrying), ("2", "it is cut short", False))

    def test_tries_a_refused_version_again_when_it_is_marked_again(self) -> None:
        self.scouts.outcome["2"] = Refused("it is cut short")
        self.step(version("2"))
        del self.scouts.outcome["2"]
        self.assertIn("was refused, no model yet", self.step(version("2")))
        self.assertEqual(self.step(version("2", updated=2)), "serving")
        self.assertIsNone(self.follower.status.failure)

    def test_tries_again_at_growing_distance_when_the_way_failed(self) -> None:
        self.scouts.outcome["2"] = Unavailable("connection refused")
        self.step(version("1"))
        attempts = []
        for _ in range(100):
            before = len(self.scouts.loads)
            at = self.now
            state = self.step(version("2"))
            if len(self.scouts.loads) > before:
                attempts.append(at)
        self.assertEqual(
            state, "version 2 could not be loaded and is tried again, still serving version 1: connection refused"
        )
        self.assertEqual([b - a for a, b in zip(attempts, attempts[1:])], [3, 6, 12, 24, 48, 60, 60, 60])
        self.assertTrue(self.follower.status.failure.retrying)
        del self.scouts.outcome["2"]
        self.now += 60
        self.assertEqual(self.step(), "serving")
        self.assertEqual(self.served, "2")

    def test_tries_at_once_when_another_version_is_marked(self) -> None:
        self.scouts.outcome["2"] = Unavailable("connection refused")
        for _ in range(10):
            self.step(version("2"))
        self.step(version("3"))
        self.assertEqual(self.served, "3")

    def test_keeps_serving_while_the_tracking_server_is_away(self) -> None:
        self.step(version("1"))
        for _ in range(2):
            state = self.step(Unavailable("connection refused"))
        self.assertEqual(
            state, "the tracking server does not answer as it should, still serving version 1: connection refused"
        )
        self.assertEqual(self.served, "1")
        tracking = self.follower.status.tracking
        self.assertFalse(tracking.reachable)
        self.assertLess(tracking.since, tracking.checked_at)
        self.assertEqual(self.step(version("2")), "serving")
        self.assertEqual(self.served, "2")

    def test_says_what_is_being_loaded_beside_what_serves(self) -> None:
        self.step(version("1"))
        seen = []
        load = self.scouts.load
        self.scouts.load = lambda found: (seen.append(describe(self.follower.status, "Staging")), load(found))[1]
        self.step(version("2"))
        self.assertEqual(seen, ["loading version 2, still serving version 1"])

    def test_goes_on_after_something_unexpected(self) -> None:
        self.step(version("1"))
        for error in (RuntimeError("a mistake of ours"), OSError("no space left")):
            self.scouts.outcome["2"] = error
            state = self.step(version("2"))
            self.assertIn("could not be loaded and is tried again, still serving version 1", state)
            self.assertIsNone(self.follower.status.loading)
        del self.scouts.outcome["2"]
        self.now += 60
        self.assertEqual(self.step(), "serving")


if __name__ == "__main__":
    unittest.main()
