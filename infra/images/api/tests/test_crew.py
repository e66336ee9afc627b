"""The real scout process under its supervision: what it leaves behind, what happens when it hangs or dies."""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from flavor.crew import Crew
from flavor.settings import read_settings
from flavor.version import Refused, Unavailable, Version
from tests.support import NAMES, ROOT, Tracking, artifact, until, vectors

GOOD = artifact(vectors(1))


class Supervises(unittest.TestCase):
    def setUp(self) -> None:
        self.tracking = Tracking()
        self.addCleanup(self.tracking.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        # What a load leaves behind would lie here.
        temporary = self.folder / "tmp"
        temporary.mkdir()
        self.addCleanup(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = str(temporary)
        self.addCleanup(lambda: self.assertEqual(list(temporary.iterdir()), []))

    def crew(self, command=None, **environment: str) -> Crew:
        settings = read_settings({"MLFLOW_TRACKING_URI": self.tracking.uri, **environment})
        crew = Crew(settings, command) if command else Crew(settings)
        self.addCleanup(crew.stop)
        return crew

    def promoted(self, crew: Crew, data: bytes = GOOD) -> Version:
        self.tracking.add("3", data)
        self.tracking.promote("3")
        return crew.look()

    def test_loads_the_version_and_starts_afresh_for_the_next(self) -> None:
        crew = self.crew()
        found = self.promoted(crew)
        first = crew._process.pid
        model = crew.load(found)
        self.assertEqual((len(model), model.dimensions, model.version), (8, 4, found))
        self.assertNotEqual(crew._process.pid, first)
        self.assertFalse(Path(f"/proc/{first}").exists())

    def test_reports_a_refusal_and_goes_on(self) -> None:
        crew = self.crew(FLAVOR_GOLDEN="盐")
        with self.assertRaisesRegex(Refused, "cut short"):
            crew.load(self.promoted(crew, GOOD[:-1]))
        self.tracking.add("4", GOOD)
        self.tracking.promote("4")
        self.assertEqual(len(crew.load(crew.look())), len(NAMES))

    def test_stops_a_download_that_is_larger_than_its_listing(self) -> None:
        crew = self.crew(FLAVOR_ARTIFACT_MAX_MB="1")
        found = self.promoted(crew, GOOD + b"x" * (8 << 20))
        self.tracking.versions["3"].listed = {"ingredient-embeddings.bin": 100}
        with self.assertRaisesRegex(Refused, "larger than the 1048576 bytes allowed"):
            crew.load(found)

    def test_gives_up_on_a_download_that_hangs(self) -> None:
        crew = self.crew(FLAVOR_LOAD_SECONDS="2")
        found = self.promoted(crew)
        self.tracking.downloads.clear()
        started = time.monotonic()
        with self.assertRaisesRegex(Unavailable, "no answer in time"):
            crew.load(found)
        self.assertLess(time.monotonic() - started, 4)
        self.tracking.downloads.set()
        # The next scout has only two seconds for its own start, too, unless it has been asked before.
        crew.look()
        self.assertEqual(len(crew.load(found)), len(NAMES))

    def test_blames_the_artifact_when_the_check_does_not_survive_it(self) -> None:
        for deed, reason in (
            ("os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL"),
            ("os.kill(os.getpid(), signal.SIGXCPU)", "ended by SIGXCPU"),
            ("os.abort()", "ended by SIGABRT"),
            ("time.sleep(60)", "no answer in time"),
            ("sys.exit(3)", "ended with code 3"),
        ):
            phase = '{"phase": "check"}'
            program = f"import os, signal, sys, time\nsys.stdin.readline()\nprint({phase!r}, flush=True)\n{deed}"
            crew = self.crew(command=[sys.executable, "-c", program], FLAVOR_LOAD_SECONDS="1.5")
            with self.subTest(deed=deed), self.assertRaisesRegex(Refused, reason):
                crew.load(Version("3", "run3", "", 1, 1))
            crew.stop()

    def test_stops_while_it_loads(self) -> None:
        crew = self.crew()
        found = self.promoted(crew)
        self.tracking.downloads.clear()
        ended = threading.Event()

        def load() -> None:
            with contextlib.suppress(Unavailable):
                crew.load(found)
            ended.set()

        threading.Thread(target=load, daemon=True).start()
        until(lambda: any(path.endswith(".bin") for path in self.tracking.paths))
        crew.stop()
        self.assertTrue(ended.wait(3))
        self.assertIsNone(crew._process)

    def test_starts_another_scout_when_one_dies(self) -> None:
        crew = self.crew()
        crew.look()
        crew._process.kill()
        with self.assertRaisesRegex(Unavailable, "SIGKILL"):
            crew.look()
        self.assertIsNone(crew.look())

    def test_keeps_the_token_out_of_reasons_environment_and_arguments(self) -> None:
        secret = "eyJhbGciOiJFZERTQSJ9.secret.signature"
        token = self.folder / "token"
        token.write_text(secret)
        self.tracking.tokens = set()
        crew = self.crew(MLFLOW_TRACKING_TOKEN_FILE=str(token))
        with self.assertRaises(Unavailable) as caught:
            crew.look()
        self.assertNotIn(secret, str(caught.exception))
        process = Path(f"/proc/{crew._process.pid}")
        for name in ("environ", "cmdline"):
            self.assertNotIn(secret.encode(), (process / name).read_bytes())


class Limits(unittest.TestCase):
    """The limits of the scout hold in the kernel, not in good will."""

    def run_limited(self, deed: str) -> subprocess.CompletedProcess:
        program = (
            "import os\nfrom flavor import scout\nfrom flavor.settings import read_settings\n"
            f"scout._limit(read_settings(os.environ))\n{deed}"
        )
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "FLAVOR_ARTIFACT_MAX_MB": "1"},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_memory(self) -> None:
        self.assertIn("MemoryError", self.run_limited("bytearray(700 << 20)").stderr)

    def test_files(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x"
            done = self.run_limited(f"open({str(path)!r}, 'wb').write(bytes(2 << 20))")
            self.assertIn("File too large", done.stderr)
            self.assertLessEqual(path.stat().st_size, (1 << 20) + 4096)

    def test_processor_time(self) -> None:
        done = self.run_limited("scout._LOAD_CPU_SECONDS = 1\nscout._limit_processor_time()\nwhile True: pass")
        self.assertIn(done.returncode, (-24, -9))

    def test_dies_first_when_memory_runs_out(self) -> None:
        self.assertEqual(self.run_limited("print(open('/proc/self/oom_score_adj').read())").stdout.strip(), "1000")

    def test_ends_with_the_server(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "flavor.scout"],
            cwd=ROOT,
            env={**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stdout), (0, b""))


if __name__ == "__main__":
    unittest.main()
