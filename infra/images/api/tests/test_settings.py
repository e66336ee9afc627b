import unittest

from flavor.settings import BadSettings, read_settings

GOOD = {"MLFLOW_TRACKING_URI": "http://mlflow:5000/"}


class ReadsSettings(unittest.TestCase):
    def test_has_defaults_for_all_but_the_tracking_server(self) -> None:
        settings = read_settings(GOOD)
        self.assertEqual((settings.model, settings.stage), ("flavor-ml-embeddings", "Staging"))
        self.assertEqual(settings.tracking_uri, "http://mlflow:5000")
        self.assertEqual((settings.poll_seconds, settings.port), (3, 8000))
        self.assertEqual(settings.artifact_bytes, 32 << 20)
        self.assertIsNone(settings.token_file)
        self.assertEqual(settings.golden, ())

    def test_reads_lists_and_spells_stages_as_mlflow_does(self) -> None:
        settings = read_settings({**GOOD, "FLAVOR_MODEL_STAGE": "PRODUCTION", "FLAVOR_GOLDEN": "盐, 糖,"})
        self.assertEqual((settings.stage, settings.golden), ("Production", ("盐", "糖")))

    def test_reports_everything_that_is_wrong_at_once(self) -> None:
        with self.assertRaises(BadSettings) as caught:
            read_settings(
                {"PORT": "0", "POLL_SECONDS": "nan", "FLAVOR_MODEL_STAGE": "Archived", "FLAVOR_MODEL_NAME": "a/b"}
            )
        lines = str(caught.exception).split("\n")
        self.assertEqual(len(lines), 5)
        for variable in (
            "MLFLOW_TRACKING_URI is not set",
            "PORT",
            "POLL_SECONDS",
            "FLAVOR_MODEL_STAGE",
            "FLAVOR_MODEL_NAME",
        ):
            self.assertTrue(any(line.startswith(variable) for line in lines), lines)

    def test_refuses_tracking_servers_that_are_no_plain_http(self) -> None:
        for uri in ("", "sqlite:///m.db", "file:///data", "http://", "http://user:secret@host"):
            with self.subTest(uri=uri), self.assertRaises(BadSettings):
                read_settings({"MLFLOW_TRACKING_URI": uri})


if __name__ == "__main__":
    unittest.main()
