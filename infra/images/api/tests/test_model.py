"""The model in memory: its answers by the definition of the cosine, and what it refuses to take over."""

import tempfile
import unittest
from dataclasses import asdict
from pathlib import Path

import numpy as np

from flavor import word2vec
from flavor.model import Model
from flavor.version import Refused, Version
from flavor.word2vec import convert
from tests.support import NAMES, artifact, nearest, vectors

VERSION = Version("3", "run3", "mlflow-artifacts:/1/run3/artifacts/embeddings", 1, 1)


class Opens(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.matrix, self.names = self.folder / word2vec.MATRIX, self.folder / word2vec.NAMES

    def open(self, values: np.ndarray, names=NAMES, **changes) -> Model:
        (self.folder / "in.bin").write_bytes(artifact(values, names))
        summary = asdict(convert(self.folder / "in.bin", self.folder, 1 << 20))
        return Model.open(VERSION, self.folder, summary | changes)

    def test_answers_by_the_cosine_best_first_and_without_itself(self) -> None:
        values = vectors(2)
        model = self.open(values)
        for row, name in enumerate(NAMES):
            for k in (1, 3, 7):
                found = model.neighbours(model.find(name), k)
                expected = nearest(values, row, k)
                self.assertEqual([neighbour.ingredient for neighbour in found], [name for name, _ in expected])
                np.testing.assert_allclose([n.score for n in found], [score for _, score in expected], atol=1e-6)

    def test_answers_with_all_there_are_if_asked_for_more(self) -> None:
        self.assertEqual(len(self.open(vectors(2)).neighbours(0, 100)), len(NAMES) - 1)

    def test_keeps_the_order_of_equal_scores(self) -> None:
        values = vectors(2)
        values[1:6] = values[1]
        found = self.open(values).neighbours(1, 4)
        self.assertEqual([neighbour.ingredient for neighbour in found], list(NAMES[2:6]))

    def test_never_says_more_than_one(self) -> None:
        """A product of float32 vectors of length one may come out a little beyond it."""
        units = np.zeros((3, 2), dtype="<f4")
        units[:, 0] = np.nextafter(np.float32(1), np.float32(2)) * np.array([1, 1, -1])
        model = Model(VERSION, units, b"a\nb\nc", np.arange(3, dtype="<i4"))
        self.assertEqual([neighbour.score for neighbour in model.neighbours(0, 2)], [1.0, -1.0])

    def test_finds_every_name_and_no_other(self) -> None:
        model = self.open(vectors(2))
        self.assertEqual([model.find(name) for name in NAMES], list(range(8)))
        self.assertEqual([model.name(row) for row in range(8)], list(NAMES))
        for unknown in ("a", "盐盐", "\U0001f600", "盐\n糖", "\n", "鸡"):
            self.assertIsNone(model.find(unknown))

    def test_finds_names_whatever_their_unicode_form(self) -> None:
        model = self.open(vectors(2), ("cr\u00e8me", *NAMES[1:]))
        for spelling in ("crème", "cre\u0300me", "  cr\u00e8me "):
            self.assertEqual(model.find(spelling), 0)
        for unknown in ("", "creme", "\ud800", "盐\0"):
            self.assertIsNone(model.find(unknown))

    def test_offers_spellings_that_contain_the_text_first(self) -> None:
        model = self.open(vectors(2), ("食盐", "海盐", "tomato", "potato", "糖", "醋", "姜", "葱"))
        self.assertEqual(model.nearest_spellings("盐")[:2], ["食盐", "海盐"])
        self.assertEqual(model.nearest_spellings("tomatoe")[:2], ["tomato", "potato"])
        self.assertEqual(model.nearest_spellings("   "), [])
        self.assertEqual(model.nearest_spellings("tomato" * 5), [])

    def test_outlives_the_files_it_was_opened_from(self) -> None:
        model = self.open(vectors(2))
        before = model.neighbours(0, 3)
        for file in self.folder.iterdir():
            file.unlink()
        self.assertEqual(model.neighbours(0, 3), before)

    def test_refuses_a_matrix_of_another_shape_or_kind(self) -> None:
        self.open(vectors(2))
        with self.assertRaisesRegex(Refused, "not the matrix"):
            self.open(vectors(2), words=9)
        for content in (vectors(2).astype("f8"), vectors(2).T.copy()):
            with self.assertRaisesRegex(Refused, "not the matrix"):
                np.save(self.matrix, content)
                Model.open(VERSION, self.folder, {"words": 8, "dimensions": 4, "golden": []})

    def test_refuses_pickles_and_files_cut_short(self) -> None:
        summary = {"words": 8, "dimensions": 4, "golden": []}
        self.open(vectors(2))
        whole = self.matrix.read_bytes()
        for content in (b"", b"junk", whole[:-1]):
            with self.subTest(content=content[:4]), self.assertRaisesRegex(Refused, "cannot be read"):
                self.matrix.write_bytes(content)
                Model.open(VERSION, self.folder, summary)
        np.save(self.matrix, np.array([object()] * 8), allow_pickle=True)
        with self.assertRaisesRegex(Refused, "cannot be read"):
            Model.open(VERSION, self.folder, summary)

    def test_refuses_other_names_than_announced(self) -> None:
        self.open(vectors(2))
        self.names.write_text("\n".join(NAMES[:-1]))
        with self.assertRaisesRegex(Refused, "not the names"):
            Model.open(VERSION, self.folder, {"words": 8, "dimensions": 4, "golden": []})

    def test_refuses_an_order_that_does_not_find_the_golden_ingredient(self) -> None:
        self.open(vectors(2))
        summary = {"words": 8, "dimensions": 4, "golden": [[0, [0.5]]]}
        np.save(self.folder / word2vec.ORDER, np.zeros(7, dtype="<i4"))
        with self.assertRaisesRegex(Refused, "not the names"):
            Model.open(VERSION, self.folder, summary)
        np.save(self.folder / word2vec.ORDER, np.full(8, 3, dtype="<i4"))
        with self.assertRaisesRegex(Refused, "does not find it"):
            Model.open(VERSION, self.folder, summary)

    def test_refuses_when_the_golden_query_answers_otherwise(self) -> None:
        with self.assertRaisesRegex(Refused, "golden query for 盐"):
            self.open(vectors(2), golden=[[0, [0.9, 0.1]]])


if __name__ == "__main__":
    unittest.main()
