"""One version in memory, ready to answer. Immutable: whoever holds it is not touched by a promotion.

Its memory is what the scout wrote: files that exist under no name any more, mapped (in a container they lie in the
tmpfs). They go when the last reference does: the server holds one model, a second one only while it changes over. No
Python object is made for each word, because hundreds of thousands of those leave holes in the memory of a process that
lives for months.
"""

from __future__ import annotations

import difflib
import mmap
import time
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flavor.version import Refused, Version
from flavor.word2vec import MATRIX, NAMES, ORDER

#: The golden answers were calculated in float64, ours are in float32.
_GOLDEN_TOLERANCE = 1e-4
#: Spellings are compared with the most frequent words only, and long ones not at all: the time grows with the product
#: of the lengths, and other requests wait (at worst a tenth of a second).
_SPELLINGS = 2000
_LONGEST_SPELLING = 24


@dataclass(frozen=True)
class Neighbour:
    """`score` is the cosine, -1 to 1."""

    ingredient: str
    score: float


class Model:
    """Made by `Model.open`."""

    def __init__(self, version: Version, matrix: np.ndarray, names: bytes | mmap.mmap, order: np.ndarray) -> None:
        """`matrix`, `names` and `order` as word2vec.convert writes them."""
        self.version = version
        self.loaded_at = time.time()
        self.dimensions = int(matrix.shape[1])
        self._matrix = matrix
        self._names = names
        self._order = order
        newlines = np.flatnonzero(np.frombuffer(names, dtype=np.uint8) == ord("\n"))
        #: Row r has its name at [borders[r] + 1, borders[r + 1]).
        self._borders = np.concatenate(([-1], newlines, [len(names)]))

    def __len__(self) -> int:
        return len(self._borders) - 1

    @classmethod
    def open(cls, version: Version, folder: Path, summary: dict) -> Model:
        """Opens what the scout wrote and repeats its golden queries the way requests are answered.

        Raises `Refused` if anything differs from what the scout said.
        """
        try:
            matrix = np.load(folder / MATRIX, mmap_mode="r", allow_pickle=False)
            order = np.load(folder / ORDER, mmap_mode="r", allow_pickle=False)
            with (folder / NAMES).open("rb") as file:
                names = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, EOFError, ValueError) as error:
            raise Refused(f"what the check wrote cannot be read: {error}") from None
        words = summary["words"]
        if matrix.dtype != np.dtype("<f4") or matrix.shape != (words, summary["dimensions"]):
            raise Refused("what the check wrote is not the matrix that it announced")
        model = cls(version, matrix, names, order)
        if len(model) != words or order.dtype != np.dtype("<i4") or order.shape != (words,):
            raise Refused("what the check wrote are not the names that it announced")
        for row, expected in summary["golden"]:
            name = model.name(row)
            if model.find(name) != row:
                raise Refused(f"the golden query for {name} does not find it")
            found = [neighbour.score for neighbour in model.neighbours(row, len(expected))]
            if not np.allclose(found, expected, rtol=0, atol=_GOLDEN_TOLERANCE):
                raise Refused(f"the golden query for {name} answers {found} instead of {list(expected)}")
        return model

    def _bytes(self, row: int) -> bytes:
        return self._names[self._borders[row] + 1 : self._borders[row + 1]]

    def name(self, row: int) -> str:
        return self._bytes(row).decode("utf-8")

    def find(self, ingredient: str) -> int | None:
        """Row of the ingredient; blanks around it and its Unicode form do not matter."""
        for spelling in (ingredient, unicodedata.normalize("NFC", ingredient.strip())):
            wanted = spelling.encode("utf-8", "replace")
            at = bisect_left(self._order, wanted, key=self._bytes)
            if at < len(self) and self._bytes(self._order[at]) == wanted:
                return int(self._order[at])
        return None

    def neighbours(self, row: int, k: int) -> list[Neighbour]:
        """The `k` ingredients nearest to that row, without itself, best first; fewer if there are not as many."""
        scores = self._matrix @ self._matrix[row]
        scores[row] = -np.inf
        k = min(k, len(self) - 1)
        best = np.argpartition(scores, -k)[-k:]
        # Equal scores stand in the order of the artifact, so that an answer is the same every time.
        best = best[np.lexsort((best, -scores[best]))]
        return [Neighbour(self.name(at), float(np.clip(scores[at], -1.0, 1.0))) for at in best.tolist()]

    def nearest_spellings(self, ingredient: str, count: int = 5) -> list[str]:
        """Known ingredients that contain the text or are contained in it, then those that are written alike."""
        text = unicodedata.normalize("NFC", ingredient.strip())
        if not 0 < len(text) <= _LONGEST_SPELLING:
            return []
        known = [self.name(row) for row in range(min(_SPELLINGS, len(self)))]
        known = [name for name in known if len(name) <= _LONGEST_SPELLING]
        within = [name for name in known if name in text or text in name]
        alike = difflib.get_close_matches(text, known, n=count, cutoff=0.5)
        return list(dict.fromkeys(within[:count] + alike))[:count]
