"""The parser against artifacts as they should be, and as somebody may make them."""

import resource
import tempfile
import unittest
from pathlib import Path

import numpy as np

from flavor import word2vec
from flavor.word2vec import BadArtifact, convert
from tests.support import NAMES, artifact, nearest, pack, vectors

LARGEST = 1 << 20


class Converts(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def convert(self, data: bytes, largest: int = LARGEST, golden=()):
        (self.folder / "in.bin").write_bytes(data)
        return convert(self.folder / "in.bin", self.folder, largest, golden)

    def refuses(self, data: bytes, reason: str, **how) -> None:
        with self.assertRaises(BadArtifact) as caught:
            self.convert(data, **how)
        self.assertRegex(str(caught.exception), reason)

    def test_writes_unit_vectors_and_names_in_the_order_of_the_artifact(self) -> None:
        values = vectors(1)
        summary = self.convert(artifact(values))
        matrix = np.load(self.folder / word2vec.MATRIX, allow_pickle=False)
        self.assertEqual((summary.words, summary.dimensions), (8, 4))
        self.assertEqual(matrix.dtype, np.dtype("<f4"))
        np.testing.assert_allclose(matrix, values / np.linalg.norm(values, axis=1, keepdims=True), atol=1e-6)
        self.assertEqual((self.folder / word2vec.NAMES).read_text().split("\n"), list(NAMES))
        order = np.load(self.folder / word2vec.ORDER, allow_pickle=False)
        self.assertEqual([NAMES[row].encode() for row in order], sorted(name.encode() for name in NAMES))

    def test_reads_what_the_original_c_tool_writes(self) -> None:
        values = vectors(1)
        for newline in (b"", b"\n"):
            self.assertEqual(self.convert(artifact(values, newline=newline)).words, 8)

    def test_keeps_vectors_that_contain_blanks_and_newlines_as_bytes(self) -> None:
        values = np.frombuffer(b" \n \n" * 32, dtype="<f4").reshape(8, 4).copy()
        values[:, 0] *= np.arange(1, 9)
        self.assertEqual(self.convert(artifact(values)).words, 8)

    def test_answers_the_golden_query_in_float64(self) -> None:
        values = vectors(3)
        summary = self.convert(artifact(values), golden=("姜",))
        ((row, cosines),) = summary.golden
        self.assertEqual(row, NAMES.index("姜"))
        np.testing.assert_allclose(cosines, [score for _, score in nearest(values, row, 5)], atol=1e-12)

    def test_takes_the_most_frequent_word_without_golden_queries(self) -> None:
        self.assertEqual([row for row, _ in self.convert(artifact(vectors(1))).golden], [0])

    def test_measures_the_largest_and_smallest_floats(self) -> None:
        values = vectors(1)
        values[0] = 3e38
        values[1] = 1e-45
        self.convert(artifact(values))
        matrix = np.load(self.folder / word2vec.MATRIX)
        np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)

    def test_passes_many_words_in_pieces(self) -> None:
        names = [f"w{number}" for number in range(9000)]
        values = vectors(5, words=9000, dimensions=3)
        self.convert(artifact(values, names))
        matrix = np.load(self.folder / word2vec.MATRIX)
        np.testing.assert_allclose(matrix, values / np.linalg.norm(values, axis=1, keepdims=True), atol=1e-6)

    def test_refuses_headers_that_are_none(self) -> None:
        body = artifact(vectors(1), header=b"")
        for header in (
            b"",
            b"8 4",
            b"8 4 \n",
            b"-8 4\n",
            b"8 -4\n",
            b"+8 4\n",
            b"8.0 4\n",
            b"eight 4\n",
            b" 8 4\n",
            b"8\t4\n",
            b"0x8 4\n",
            b"8 4\r\n",
            b"\xef\xbc\x98 4\n",
            b"9" * 40 + b" 4\n",
        ):
            with self.subTest(header=header):
                self.refuses(header + body, "does not begin with a word2vec header")

    def test_refuses_other_formats(self) -> None:
        for data in (b"\x80\x04\x95" + b"x" * 100, b"PK\x03\x04" + b"x" * 100, b"<html>not found</html>", b"\x93NUMPY"):
            with self.subTest(data=data[:6]):
                self.refuses(data, "does not begin with a word2vec header")

    def test_refuses_absurd_numbers_before_it_allocates_for_them(self) -> None:
        # Would the parser believe one of these headers, the limit on memory would end this test.
        before = resource.getrlimit(resource.RLIMIT_AS)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + (64 << 20), before[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_AS, before)
        body = artifact(vectors(1), header=b"")
        for header, reason in (
            (b"9999999999 4\n", "9999999999 words"),
            (b"8 9999999999\n", "9999999999 dimensions"),
            (b"200001 4\n", "200001 words"),
            (b"8 4097\n", "4097 dimensions"),
            (b"200000 4096\n", "cut short: 200000 words of 4096 dimensions need at least"),
            (b"0 4\n", "0 words"),
            (b"2 4\n", "2 words"),
            (b"8 0\n", "0 dimensions"),
            (b"8 1\n", "1 dimensions"),
        ):
            with self.subTest(header=header):
                self.refuses(header + body, reason)

    def test_refuses_every_truncation(self) -> None:
        data = artifact(vectors(1))
        for length in range(len(data)):
            with self.subTest(length=length):
                self.refuses(data[:length], "empty|header|cut short|no end|UTF-8|repeats|control")

    def test_refuses_bytes_behind_the_last_word(self) -> None:
        data = artifact(vectors(1))
        self.assertEqual(self.convert(data + b"\n").words, 8)
        for rest in (b"\0", b"\n\n", b"x", pack(1.0)):
            with self.subTest(rest=rest):
                self.refuses(data + rest, "follow behind the last")

    def test_refuses_a_header_that_says_fewer_words(self) -> None:
        self.refuses(artifact(vectors(1), header=b"7 4\n"), "follow behind the last of the 7 words")

    def test_refuses_vectors_without_a_direction(self) -> None:
        for bad, reason in ((np.nan, "not finite"), (np.inf, "not finite"), (-np.inf, "not finite"), (0.0, "zero")):
            with self.subTest(bad=bad):
                values = vectors(1)
                values[5] = bad
                self.refuses(artifact(values), f"vector of 姜 is {reason}")

    def test_refuses_one_bad_number_in_an_otherwise_good_vector(self) -> None:
        values = vectors(1)
        values[7, 3] = np.nan
        self.refuses(artifact(values), "vector of 鸡蛋 is not finite")

    def test_refuses_names_that_are_none(self) -> None:
        for name, reason in (
            ("盐", "word 2 of 8 repeats word 1"),
            ("", "word 2 of 8 is empty"),
            ("a\nb", "control characters"),
            ("a\0", "control characters"),
            ("\x1b[31mred", "control characters"),
            ("a\u2028b", "control characters"),
            ("x" * 257, "no end within 256 bytes"),
        ):
            with self.subTest(name=name):
                self.refuses(artifact(vectors(1), (NAMES[0], name, *NAMES[2:])), reason)
        self.assertEqual(self.convert(artifact(vectors(1), (NAMES[0], "x" * 256, *NAMES[2:]))).words, 8)

    def test_refuses_names_that_are_not_utf8(self) -> None:
        for raw in (b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", "盐".encode()[:2]):
            with self.subTest(raw=raw):
                data = b"3 2\n" + b"a " + pack(1, 0) + raw + b" " + pack(0, 1) + b"c " + pack(1, 1)
                self.refuses(data, "word 2 of 3 is not UTF-8")

    def test_refuses_more_bytes_than_allowed(self) -> None:
        data = artifact(vectors(1))
        self.assertEqual(self.convert(data, largest=len(data)).words, 8)
        self.refuses(data, "more than the", largest=len(data) - 1)

    def test_refuses_a_model_without_the_golden_ingredient(self) -> None:
        self.refuses(artifact(vectors(1)), "golden query fails: 可可 is not among its 8 words", golden=("可可",))

    def test_refuses_vectors_that_all_point_the_same_way(self) -> None:
        self.refuses(artifact(np.full((8, 4), 0.5)), "vectors are degenerate")

    def test_survives_random_damage(self) -> None:
        """Whatever is changed: either it is refused with a reason, or what is written is sound."""
        good = bytearray(artifact(vectors(1)))
        random = np.random.default_rng(7)
        refused = 0
        for _ in range(3000):
            data = bytearray(good)
            for position in random.integers(0, len(data), size=random.integers(1, 6)):
                data[position] = random.integers(0, 256)
            try:
                self.convert(bytes(data))
            except BadArtifact:
                refused += 1
            else:
                matrix = np.load(self.folder / word2vec.MATRIX)
                np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)
        self.assertGreater(refused, 300)


if __name__ == "__main__":
    unittest.main()
