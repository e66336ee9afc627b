"""The real MLflow client against a server that behaves in every way: what is asked, sent and believed."""

import os
import resource
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from mlflow.tracking import MlflowClient

from flavor import tracking as module
from flavor.crew import scout_environment
from flavor.settings import read_settings
from flavor.version import Refused, Unavailable, Version
from tests.support import MODEL, Tracking, artifact, vectors

GOOD = artifact(vectors(1))
LARGEST = 1 << 20


class WithClient(unittest.TestCase):
    """The client in the environment that it has in the scout."""

    def setUp(self) -> None:
        self.tracking = Tracking()
        self.addCleanup(self.tracking.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.token = self.folder / "token"
        self.use()

    def use(self, **environment: str) -> None:
        self.settings = read_settings({"MLFLOW_TRACKING_URI": self.tracking.uri, **environment})
        patch = mock.patch.dict(os.environ, scout_environment(self.settings), clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        self.client = MlflowClient()

    def look(self) -> Version | None:
        return module.version_in_stage(self.client, self.settings.model, self.settings.stage)

    def download(self) -> bytes:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = module.download(self.client, self.tracking.uri, MODEL, "3", Path(folder), LARGEST)
            self.assertEqual(path.parent, Path(folder))
            return path.read_bytes()

    def promoted(self, data: bytes = GOOD, **how) -> None:
        stored = self.tracking.add("3", data, **how)
        self.tracking.promote("3")
        found = self.look()
        self.assertEqual((found.version, found.run_id, found.source), ("3", "run3", stored.source))


class Looks(WithClient):
    def test_names_the_version_in_the_stage_or_nothing(self) -> None:
        self.assertIsNone(self.look())
        self.tracking.add("3", GOOD)
        self.tracking.promote("3")
        before = self.look()
        self.assertEqual(before.version, "3")
        self.tracking.promote("3")
        self.assertNotEqual(self.look(), before)
        self.assertTrue(self.look().same_artifact(before))

    def test_takes_a_model_that_does_not_exist_for_an_empty_stage(self) -> None:
        self.use(FLAVOR_MODEL_NAME="nobody-made-this")
        self.assertIsNone(self.look())

    def test_says_why_when_the_server_is_away_and_finds_it_again(self) -> None:
        self.tracking.close()
        with self.assertRaisesRegex(Unavailable, "refused"):
            self.look()
        self.tracking.open()
        self.assertIsNone(self.look())

    def test_says_why_when_the_server_is_ill(self) -> None:
        for status in (500, 502, 503, 429, 403):
            self.tracking.broken = status
            with (
                self.subTest(status=status),
                self.assertRaisesRegex(Unavailable, str(status) if status != 403 else "not now"),
            ):
                self.look()
        self.assertEqual(len(self.tracking.paths), 5, "the client must not try again by itself")


class Tokens(WithClient):
    def setUp(self) -> None:
        super().setUp()
        self.tracking.tokens = {"first"}
        self.token.write_text("first\n")

    def test_sends_the_token_of_the_file_and_follows_it_when_it_changes(self) -> None:
        self.use(MLFLOW_TRACKING_TOKEN_FILE=str(self.token))
        self.assertIsNone(self.look())
        self.token.write_text("second")
        self.tracking.tokens = {"second"}
        self.assertIsNone(self.look())
        self.assertEqual(self.tracking.refused, 0)

    def test_reads_the_file_again_when_the_token_is_refused(self) -> None:
        """The old token ends while a request with it is on its way."""
        self.use(MLFLOW_TRACKING_TOKEN_FILE=str(self.token))
        self.look()
        self.tracking.tokens = {"second"}
        self.tracking.on_refusal = lambda: self.token.write_text("second")
        self.assertIsNone(self.look())
        self.assertEqual(self.tracking.refused, 1)

    def test_downloads_with_the_token_and_reads_it_again_there_too(self) -> None:
        self.use(MLFLOW_TRACKING_TOKEN_FILE=str(self.token))
        self.promoted()
        self.tracking.tokens = {"second"}
        self.tracking.on_refusal = lambda: self.token.write_text("second")
        self.assertEqual(self.download(), GOOD)
        self.assertEqual(self.tracking.refused, 1)

    def test_asks_once_and_says_so_when_the_token_stays_refused(self) -> None:
        self.use(MLFLOW_TRACKING_TOKEN_FILE=str(self.token))
        self.tracking.tokens = set()
        with self.assertRaisesRegex(Unavailable, "refuses the service token"):
            self.look()
        self.assertEqual(self.tracking.refused, 1)

    def test_finds_a_token_that_comes_later(self) -> None:
        self.token.unlink()
        self.use(MLFLOW_TRACKING_TOKEN_FILE=str(self.token))
        with self.assertRaisesRegex(Unavailable, "^the service token .* cannot be read: No such file"):
            self.look()
        for content in (b"", b"\n", b"two lines\nfirst", b"first\r\nX-Admin: 1", b"\xff\xfe", b"x" * 20000):
            self.token.write_bytes(content)
            with self.subTest(content=content[:12]), self.assertRaisesRegex(Unavailable, "empty or no token"):
                self.look()
        self.assertEqual(self.tracking.paths, [], "nothing may be sent without a proper token")
        self.token.write_text("first")
        self.assertIsNone(self.look())

    def test_does_not_follow_a_redirect_with_the_token(self) -> None:
        self.use(MLFLOW_TRACKING_TOKEN_FILE=str(self.token))
        elsewhere = Tracking()
        self.addCleanup(elsewhere.close)
        elsewhere.tokens = {"first"}
        self.tracking.redirect = elsewhere.uri
        with self.assertRaises(Unavailable):
            self.look()
        self.assertEqual(elsewhere.paths, [])


class Downloads(WithClient):
    def test_refuses_an_artifact_that_is_listed_as_too_large_before_it_is_downloaded(self) -> None:
        self.promoted(b"x" * (LARGEST + 1))
        with self.assertRaisesRegex(Refused, f"has {LARGEST + 1} bytes, more than the {LARGEST} allowed"):
            self.download()
        self.assertFalse([path for path in self.tracking.paths if path.endswith(".bin")])

    def test_stops_a_download_that_is_larger_than_its_listing(self) -> None:
        # What the scout does to itself, see test_crew.
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, before[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        self.promoted(GOOD + b"x" * (8 << 20))
        for listed in (None, 100):
            self.tracking.versions["3"].listed = {"ingredient-embeddings.bin": listed}
            with self.subTest(listed=listed), self.assertRaisesRegex(Refused, "larger than the 1048576 bytes allowed"):
                self.download()

    def test_refuses_folders_without_exactly_one_artifact(self) -> None:
        self.promoted()
        stored = self.tracking.versions["3"]
        for files, reason in (
            ({}, "there is nothing"),
            ({"model.pkl": GOOD}, "there is model.pkl"),
            ({"a.bin": GOOD, "b.bin": GOOD}, "there is a.bin, b.bin"),
        ):
            stored.files = files
            with self.subTest(files=list(files)), self.assertRaisesRegex(Refused, reason):
                self.download()
        stored.files = {"a.bin": GOOD, "MLmodel": b"loader_module: os", "model.pkl": b"\x80\x04"}
        self.assertEqual(self.download(), GOOD)
        self.assertFalse([path for path in self.tracking.paths if path.endswith(("MLmodel", "model.pkl"))])

    def test_refuses_names_that_lead_out_of_the_folder(self) -> None:
        self.promoted()
        for name in ("../../../app/x.bin", "/etc/x.bin", "sub/x.bin", ".x.bin", "..\\x.bin", "%2e%2e%2fx.bin"):
            self.tracking.versions["3"].files = {name: GOOD}
            with self.subTest(name=name), self.assertRaises(Refused):
                self.download()

    def test_reads_artifacts_of_the_tracking_server_alone(self) -> None:
        elsewhere = Tracking()
        self.addCleanup(elsewhere.close)
        self.promoted()
        host = elsewhere.uri.removeprefix("http://")
        for source in (
            f"mlflow-artifacts://{host}/1/run3/artifacts/embeddings",
            f"{elsewhere.uri}/api/2.0/mlflow-artifacts/artifacts/1/run3",
            "s3://bucket/1/run3",
            "file:///etc",
            "/etc",
            "runs:/run3/embeddings",
            "models:/other/1",
            f"ftp://{host}/x",
            f"sftp://{host}/x",
            "dbfs:/x",
            f"mlflow-artifacts://user@{self.tracking.uri.removeprefix('http://')}/1/run3",
            "mlflow-artifacts:/../../2.0/mlflow/experiments",
            "mlflow-artifacts:/1/%2e%2e/x",
            "mlflow-artifacts:/1/run3?x=1",
            "",
        ):
            self.tracking.versions["3"].source = source
            with self.subTest(source=source), self.assertRaisesRegex(Refused, "its artifacts lie at"):
                self.download()
        self.assertEqual(elsewhere.paths, [])

    def test_accepts_a_source_that_names_the_tracking_server_itself(self) -> None:
        host = self.tracking.uri.removeprefix("http://")
        self.promoted(source=f"mlflow-artifacts://{host}/1/run3/artifacts/embeddings")
        self.assertEqual(self.download(), GOOD)

    def test_refuses_a_version_that_is_gone(self) -> None:
        self.promoted()
        del self.tracking.versions["3"]
        with self.assertRaisesRegex(Refused, "no such version"):
            self.download()

    def test_does_not_blame_the_artifact_for_the_way(self) -> None:
        self.promoted()
        self.tracking.cut = 50
        with self.assertRaisesRegex(Unavailable, f"ended after 50 of {len(GOOD)} bytes"):
            self.download()
        self.tracking.cut = None
        for status in (401, 403, 500, 503):
            self.tracking.broken = status
            with self.subTest(status=status), self.assertRaises(Unavailable):
                self.download()
        self.tracking.broken = None
        self.tracking.close()
        with self.assertRaisesRegex(Unavailable, "refused"):
            self.download()
        self.tracking.open()
        self.assertEqual(self.download(), GOOD)


if __name__ == "__main__":
    unittest.main()
