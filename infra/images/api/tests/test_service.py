"""The whole service as a process, its scout and the real client, in front of a tracking server."""

import http.client
import json
import os
import signal
import threading
import time
import unittest
from urllib.parse import quote

import numpy as np

from tests.support import NAMES, Service, Tracking, artifact, nearest, until, vectors


class WithTracking(unittest.TestCase):
    def setUp(self) -> None:
        self.tracking = Tracking()
        self.addCleanup(self.tracking.close)

    def service(self, **environment: str) -> Service:
        service = Service(self.tracking.uri, **environment)
        self.addCleanup(service.stop)
        return service

    def add(self, version: str) -> np.ndarray:
        values = vectors(int(version))
        self.tracking.add(version, artifact(values))
        return values

    def promoted(self, version: str) -> np.ndarray:
        values = self.add(version)
        self.tracking.promote(version)
        return values


class Clients(threading.Thread):
    """Asks again and again over one connection; keeps every answer that is not 200 or is not what the version that it
    names would say."""

    def __init__(self, service: Service, truth: dict[str, np.ndarray]) -> None:
        super().__init__(daemon=True)
        self.service, self.truth = service, truth
        self.stopping = threading.Event()
        self.answers = 0
        self.versions: set[str] = set()
        self.wrong: list = []
        self.start()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=10)
        while not self.stopping.is_set():
            row = self.answers % len(NAMES)
            try:
                connection.request("GET", f"/similar?ingredient={quote(NAMES[row])}&k=3")
                answer = connection.getresponse()
                body = json.loads(answer.read())
                if answer.status != 200 or not self._is_true(row, body):
                    self.wrong.append((answer.status, body))
            except Exception as error:
                self.wrong.append(repr(error))
                connection.close()
            self.answers += 1
            # Leaves the service some of the processor on a small machine.
            time.sleep(0.01)
        connection.close()

    def _is_true(self, row: int, body: dict) -> bool:
        self.versions.add(body["version"])
        expected = nearest(self.truth[body["version"]], row, 3)
        return [n["ingredient"] for n in body["neighbours"]] == [name for name, _ in expected] and np.allclose(
            [n["score"] for n in body["neighbours"]], [score for _, score in expected], atol=1e-5
        )

    def stop(self) -> None:
        self.stopping.set()
        self.join(15)


class Serves(WithTracking):
    def test_follows_promotions_and_trouble_without_a_failed_request(self) -> None:
        """One service through everything that may happen, while clients never stop asking."""
        truth = {version: self.add(version) for version in ("1", "2", "3")}
        service = self.service()
        self.assertEqual(
            until(lambda: service.model()["tracking"]["reachable"] and service.get("/ready")),
            (503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no model in Staging yet"}),
        )
        self.assertEqual(service.similar("盐")[0], 503)
        self.assertEqual(service.get("/health"), (200, {"status": "ok"}))

        self.tracking.promote("1")
        first = service.serves("1")
        self.assertEqual(service.get("/ready"), (200, {"status": "ready", "version": "1"}))
        clients = [Clients(service, truth) for _ in range(4)]

        with self.subTest("promotions back and forth"):
            for version in ("2", "1", "2"):
                self.tracking.promote(version)
                service.serves(version)

        with self.subTest("a damaged artifact: the old one stays, the reason is kept, nobody tries again"):
            self.tracking.add("4", artifact(vectors(4))[:-7])
            self.tracking.promote("4")
            failure = until(lambda: service.model()["last_failure"])
            self.assertEqual((failure["version"], failure["retrying"]), ("4", False))
            self.assertIn("cut short", failure["reason"])
            time.sleep(1)
            downloads = [path for path in self.tracking.paths if "run4" in path and path.endswith(".bin")]
            # The client asks twice about a file that it downloads once: is it a folder?
            self.assertEqual(len([path for path in downloads if "?" not in path]), 1)
            state = service.model()
            self.assertEqual((state["version"], state["stage_version"]), ("2", "4"))
            self.assertRegex(state["state"], "version 4 was refused, still serving version 2: it is cut short")

        with self.subTest("the stage is put back: the failure can still be read"):
            self.tracking.promote("2")
            until(lambda: service.model()["state"] == "serving")
            self.assertEqual(service.model()["last_failure"], failure)

        with self.subTest("the stage is emptied: the last one stays"):
            self.tracking.promote(None)
            until(lambda: service.model()["state"] == "stage is empty, still serving version 2")

        with self.subTest("the way fails: it is tried again until it works"):
            self.tracking.cut = 10
            self.tracking.promote("3")
            failure = until(lambda: (found := service.model()["last_failure"]) and found["version"] == "3" and found)
            self.assertTrue(failure["retrying"])
            self.tracking.cut = None
            self.assertIsNone(service.serves("3")["last_failure"])

        with self.subTest("the scout is killed while it downloads"):
            self.tracking.downloads.clear()
            self.tracking.promote("1")
            seen = len(self.tracking.paths)
            until(lambda: any(path.endswith(".bin") for path in self.tracking.paths[seen:]))
            for scout in service.scouts():
                os.kill(scout, signal.SIGKILL)
            self.tracking.downloads.set()
            service.serves("1")

        with self.subTest("the tracking server goes away and comes back with another version"):
            self.tracking.close()
            state = until(lambda: not (found := service.model())["tracking"]["reachable"] and found)
            self.assertIn("still serving version 1", state["state"])
            self.assertIn("cannot be reached", state["tracking"]["reason"])
            self.tracking.promote("2")
            self.tracking.open()
            service.serves("2")

        for client in clients:
            client.stop()
        self.assertEqual([client.wrong[:3] for client in clients], [[], [], [], []])
        self.assertEqual(set.union(*(client.versions for client in clients)), {"1", "2", "3"})
        self.assertGreater(sum(client.answers for client in clients), 400)
        self.assertEqual(first["vocabulary"], len(NAMES))
        self.assertEqual(service.stop(), 0)
        self.assertNotIn("Traceback", "".join(service.log))

    def test_says_who_is_away_when_it_starts_alone(self) -> None:
        self.tracking.close()
        service = self.service()
        status, body = until(
            lambda: (found := service.get("/ready"))[1]["message"].startswith("the tracking server") and found
        )
        self.assertEqual(status, 503)
        self.assertIn("no model yet: the tracking server cannot be reached: Connection refused", body["message"])
        self.promoted("1")
        self.tracking.open()
        service.serves("1")

    def test_finishes_what_it_began_when_it_is_stopped(self) -> None:
        self.promoted("1")
        service = self.service()
        service.serves("1")
        scouts = until(service.scouts)
        self.assertEqual(service.stop(), 0)
        for scout in scouts:
            self.assertFalse(os.path.exists(f"/proc/{scout}"))

    def test_refuses_to_start_with_bad_settings(self) -> None:
        with self.assertRaisesRegex(AssertionError, "refusing to start:\nPORT must be"):
            Service(self.tracking.uri, PORT="http")


class Answers(WithTracking):
    """What one service says to good and bad requests."""

    @classmethod
    def setUpClass(cls) -> None:
        tracking = Tracking()
        cls.addClassCleanup(tracking.close)
        cls.values = vectors(1)
        tracking.add("1", artifact(cls.values))
        tracking.promote("1")
        cls.one = Service(tracking.uri)
        cls.addClassCleanup(cls.one.stop)
        cls.one.serves("1")

    def setUp(self) -> None:
        pass

    def test_names_the_version_with_the_neighbours(self) -> None:
        status, body = self.one.similar("酱油", 2)
        expected = nearest(self.values, NAMES.index("酱油"), 2)
        self.assertEqual(status, 200)
        self.assertEqual((body["model"], body["version"], body["ingredient"]), ("flavor-ml-embeddings", "1", "酱油"))
        self.assertEqual([n["ingredient"] for n in body["neighbours"]], [name for name, _ in expected])

    def test_offers_spellings_for_an_unknown_ingredient(self) -> None:
        status, body = self.one.similar("食盐")
        self.assertEqual((status, body["error_code"], body["nearest"]), (404, "RESOURCE_DOES_NOT_EXIST", ["盐"]))
        self.assertIn("'食盐' is not among the 8 ingredients of version 1", body["message"])

    def test_answers_bad_requests_in_one_shape(self) -> None:
        for path, method, expected, code in (
            ("/similar", "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=", "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=" + "x" * 257, "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=x&k=0", "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=x&k=101", "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=x&k=1.5", "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=x&k=1e9", "GET", 400, "INVALID_PARAMETER_VALUE"),
            ("/similar?ingredient=%ff%fe", "GET", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/similar?ingredient=%00", "GET", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/similar/", "GET", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/../../etc/passwd", "GET", 404, "RESOURCE_DOES_NOT_EXIST"),
            ("/model", "POST", 405, "BAD_REQUEST"),
            ("/model", "BREW", 405, "BAD_REQUEST"),
        ):
            with self.subTest(path=path, method=method):
                status, body = self.one.get(path, method)
                self.assertEqual((status, body["error_code"]), (expected, code))
                self.assertTrue(body["message"])
                self.assertLessEqual(set(body), {"error_code", "message", "nearest"})

    def test_counts_requests_by_known_routes_alone(self) -> None:
        self.one.get("/nobody/knows/this")
        self.one.get("/model", "BREW")
        answer, text = self.one.text("/metrics")
        self.assertTrue(answer.getheader("Content-Type").startswith("text/plain; version=0.0.4"))
        self.assertIn(
            'flavor_model_info{model="flavor-ml-embeddings",run_id="run1",stage="Staging",version="1"} 1.0', text
        )
        self.assertIn('flavor_requests_total{route="other",status="404"}', text)
        self.assertIn('flavor_loads_total{result="served"} 1.0', text)
        self.assertIn("flavor_tracking_up 1.0", text)
        self.assertNotIn("nobody", text)
        self.assertNotIn("BREW", text)

    def test_documents_itself_without_scripts_and_strangers(self) -> None:
        answer, page = self.one.text("/docs")
        self.assertTrue(answer.getheader("Content-Type").startswith("text/html"))
        self.assertEqual(answer.getheader("X-Content-Type-Options"), "nosniff")
        for forbidden in ("<script", "://", 'href="/', "src="):
            self.assertNotIn(forbidden, page)
        for path in ("health", "ready", "model", "similar", "metrics"):
            self.assertIn(f'href="{path}', page)
        _, document = self.one.get("/openapi.json")
        responses = document["paths"]["/similar"]["get"]["responses"]
        self.assertEqual(sorted(responses), ["200", "400", "404", "503"])

    def test_sets_no_cookies_and_says_nothing_about_its_server(self) -> None:
        for path in ("/health", "/model", "/docs", "/nowhere"):
            answer, _ = self.one.text(path)
            names = {name.lower() for name, _ in answer.getheaders()}
            self.assertLessEqual(
                names,
                {"date", "content-type", "content-length", "cache-control", "x-content-type-options", "connection"},
            )
            self.assertEqual(answer.getheader("Cache-Control"), "no-store")


if __name__ == "__main__":
    unittest.main()
