"""One version in memory, ready to answer. Immutable: whoever holds it is not touched by a promotion.

Its memory is the matrix (a file that exists under no name any more, mapped; in a container it lies in the tmpfs) and
the names. Both go when the last reference does: the server holds one model, a second one only while it changes over.
"""

from __future__ import annotations

import difflib
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flavor.version import Refused, Version

#: The golden answers were calculated in float64, ours are in float32.
_GOLDEN_TOLERANCE = 1e-4
#: Spellings are compared with the most frequent words only: comparing costs microseconds each.
_SPELLINGS = 5000


@dataclass(frozen=True)
class Neighbour:
    """`score` is the cosine, -1 to 1."""

    ingredient: str
    score: float


class Model:
    """Made by `Model.open`."""

    def __init__(self, version: Version, names: list[bytes], matrix: np.ndarray) -> None:
        self.version = version
        self.loaded_at = time.time()
        self.dimensions = int(matrix.shape[1])
        # UTF-8 bytes: a text with one character outside of the basic plane takes four bytes for each character.
        self._names = names
        self._rows = {name: row for row, name in enumerate(names)}
        self._matrix = matrix

    def __len__(self) -> int:
        return len(self._names)

    @classmethod
    def open(cls, version: Version, matrix: Path, names: Path, summary: dict) -> Model:
        """Opens what the scout wrote and repeats its golden queries the way requests are answered.

        Raises `Refused` if anything differs from what the scout said.
        """
        try:
            vectors = np.load(matrix, mmap_mode="r", allow_pickle=False)
            words = names.read_bytes().split(b"\n")
        except (OSError, EOFError, ValueError) as error:
            raise Refused(f"what the check wrote cannot be read: {error}") from None
        if vectors.dtype != np.dtype("<f4") or vectors.shape != (summary["words"], summary["dimensions"]):
            raise Refused("what the check wrote is not the matrix that it announced")
        model = cls(version, words, vectors)
        if len(model._rows) != summary["words"]:
            raise Refused("what the check wrote are not the names that it announced")
        for row, expected in summary["golden"]:
            found = [neighbour.score for neighbour in model.neighbours(row, len(expected))]
            if not np.allclose(found, expected, rtol=0, atol=_GOLDEN_TOLERANCE):
                raise Refused(f"the golden query for {model.name(row)} answers {found} instead of {list(expected)}")
        return model

    def name(self, row: int) -> str:
        return self._names[row].decode("utf-8")

    def find(self, ingredient: str) -> int | None:
        """Row of the ingredient; blanks around it and its Unicode form do not matter."""
        for spelling in (ingredient, unicodedata.normalize("NFC", ingredient.strip())):
            row = self._rows.get(spelling.encode("utf-8", "replace"))
            if row is not None:
                return row
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
        known = [name.decode("utf-8") for name in self._names[:_SPELLINGS]]
        within = [name for name in known if name in text or text in name] if text else []
        alike = difflib.get_close_matches(text, known, n=count, cutoff=0.5)
        return list(dict.fromkeys(within[:count] + alike))[:count]
