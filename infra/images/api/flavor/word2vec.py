"""Reads the binary word2vec format, strictly, and writes it down as unit vectors.

The format is a header line `<words> <dimensions>\\n`, then for every word its UTF-8 name, one blank and
`dimensions` little-endian float32 (gensim's `save_word2vec_format(binary=True)`; the original C tool also puts a
newline behind every vector, which is read too). Whoever may log an artifact writes these bytes, so nothing in them is
believed: every size is checked against the size of the file before anything is allocated, and whatever does not add
up is a `BadArtifact` that says what and where.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

FEWEST_WORDS = 3
#: Bounds the time and the memory that a check takes for the names (about 150 bytes each beyond those of the artifact).
MOST_WORDS = 200_000
FEWEST_DIMENSIONS = 2
MOST_DIMENSIONS = 4096
LONGEST_NAME = 256  # bytes of UTF-8
GOLDEN_NEIGHBOURS = 5

#: What `convert` writes.
MATRIX = "matrix.npy"
NAMES = "names.txt"
ORDER = "order.npy"

_FLOAT = np.dtype("<f4")
_LONGEST_HEADER = 32
_HEADER = re.compile(rb"([0-9]{1,10}) ([0-9]{1,10})\n")
#: Control characters and line separators: they forge log lines and break lists.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ROWS_AT_ONCE = 4096
#: Cosines of one ingredient that all lie this close together do not tell neighbours from strangers.
_SMALLEST_SPREAD = 1e-6


class BadArtifact(Exception):
    """The artifact is not a usable model; trying again cannot help. The text is one sentence for people."""


@dataclass(frozen=True)
class Summary:
    """What `convert` found. `golden`: (row, cosines of its nearest neighbours, best first) of each golden query,
    calculated in float64 from the artifact itself, so that whoever loads the written files can check them."""

    words: int
    dimensions: int
    golden: tuple[tuple[int, tuple[float, ...]], ...]


def convert(source: Path, target: Path, largest: int, golden: Sequence[str] = ()) -> Summary:
    """Reads `source` (at most `largest` bytes) and writes three files into the folder `target`, rows in the order of
    the artifact: MATRIX, float32 unit vectors, (words, dimensions), C order; NAMES, the UTF-8 names joined by newlines;
    ORDER, int32, the rows in the order of their names as bytes.

    `golden` are ingredients that must be there and must tell their neighbours apart; without any it is the first word,
    which is the most frequent one. Needs little memory beside the names: vectors pass through in pieces.

    Raises `BadArtifact`.
    """
    size = source.stat().st_size
    if size == 0:
        raise BadArtifact("the artifact is empty")
    if size > largest:
        raise BadArtifact(f"the artifact has {size} bytes, more than the {largest} allowed")
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        count, dimensions, start = _header(data, size)
        rows, offsets = _names(data, start, count, dimensions)
        golden_rows = [_golden_row(rows, name) for name in golden] or [0]
        names = list(rows)
        with (target / MATRIX).open("wb") as out:
            cosines = _vectors(data, out, names, offsets, dimensions, golden_rows)
    (target / NAMES).write_bytes(b"\n".join(names))
    np.save(target / ORDER, np.array(sorted(range(count), key=names.__getitem__), dtype="<i4"))
    return Summary(count, dimensions, tuple(_golden_answers(names, golden_rows, cosines)))


def _header(data: mmap.mmap, size: int) -> tuple[int, int, int]:
    match = _HEADER.match(data[:_LONGEST_HEADER])
    if not match:
        raise BadArtifact("it does not begin with a word2vec header ('<words> <dimensions>')")
    count, dimensions = int(match[1]), int(match[2])
    if not FEWEST_WORDS <= count <= MOST_WORDS:
        raise BadArtifact(f"the header says {count} words; {FEWEST_WORDS} to {MOST_WORDS} are allowed")
    if not FEWEST_DIMENSIONS <= dimensions <= MOST_DIMENSIONS:
        raise BadArtifact(
            f"the header says {dimensions} dimensions; {FEWEST_DIMENSIONS} to {MOST_DIMENSIONS} are allowed"
        )
    # A name has at least one byte, and one blank follows it.
    smallest = match.end() + count * (dimensions * _FLOAT.itemsize + 2)
    if size < smallest:
        raise BadArtifact(
            f"it is cut short: {count} words of {dimensions} dimensions need at least {smallest} bytes, it has {size}"
        )
    return count, dimensions, match.end()


def _names(data: mmap.mmap, position: int, count: int, dimensions: int) -> tuple[dict[bytes, int], np.ndarray]:
    """Names with their rows, in the order of the artifact, and where each vector begins."""
    width = dimensions * _FLOAT.itemsize
    size = len(data)
    rows: dict[bytes, int] = {}
    offsets = np.empty(count, dtype=np.int64)
    for row in range(count):
        if row and data[position : position + 1] == b"\n":
            position += 1
        blank = data.find(b" ", position, position + LONGEST_NAME + 1)
        if blank < 0:
            if size - position <= LONGEST_NAME:
                raise BadArtifact(f"it is cut short: it ends in word {row + 1} of {count}")
            raise BadArtifact(f"word {row + 1} of {count} has no end within {LONGEST_NAME} bytes")
        name = data[position:blank]
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            raise BadArtifact(f"word {row + 1} of {count} is not UTF-8") from None
        if not text:
            raise BadArtifact(f"word {row + 1} of {count} is empty")
        if _UNPRINTABLE.search(text):
            raise BadArtifact(f"word {row + 1} of {count} contains control characters: {text!a}")
        if name in rows:
            raise BadArtifact(f"word {row + 1} of {count} repeats word {rows[name] + 1}: {text}")
        if size - (blank + 1) < width:
            raise BadArtifact(f"it is cut short: it ends in the vector of word {row + 1} of {count}")
        rows[name] = row
        offsets[row] = blank + 1
        position = blank + 1 + width
    rest = size - position
    if rest and not (rest == 1 and data[position:] == b"\n"):
        raise BadArtifact(f"{rest} bytes follow behind the last of the {count} words")
    return rows, offsets


def _golden_row(rows: dict[bytes, int], name: str) -> int:
    row = rows.get(name.encode("utf-8"))
    if row is None:
        raise BadArtifact(f"the golden query fails: {name} is not among its {len(rows)} words")
    return row


def _read_rows(data: mmap.mmap, offsets: np.ndarray, dimensions: int) -> np.ndarray:
    vectors = np.empty((len(offsets), dimensions), dtype=np.float64)
    with np.errstate(invalid="ignore"):  # NaN has a check of its own
        for target, offset in zip(vectors, offsets.tolist()):
            target[:] = np.frombuffer(data, dtype=_FLOAT, count=dimensions, offset=offset)
    return vectors


def _vectors(
    data: mmap.mmap,
    out: BinaryIO,
    names: list[bytes],
    offsets: np.ndarray,
    dimensions: int,
    golden_rows: list[int],
) -> np.ndarray:
    """Writes the unit vectors; returns the cosines between every golden row and every word, (golden, words)."""
    count = len(names)
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, dimensions)}
    np.lib.format.write_array_header_1_0(out, header)
    golden = _unit(_read_rows(data, offsets[golden_rows], dimensions), [names[row] for row in golden_rows])
    cosines = np.empty((len(golden_rows), count))
    # Wide vectors pass in smaller pieces, so that a piece never takes more than 32 MiB.
    step = max(1, min(_ROWS_AT_ONCE, (1 << 22) // dimensions))
    for start in range(0, count, step):
        end = min(start + step, count)
        units = _unit(_read_rows(data, offsets[start:end], dimensions), names[start:end])
        cosines[:, start:end] = golden @ units.T
        out.write(units.astype(_FLOAT).tobytes())
    return cosines


def _unit(vectors: np.ndarray, names: list[bytes]) -> np.ndarray:
    """float32 squares neither overflow nor vanish in float64, so every finite vector but zero has a length."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise BadArtifact(f"the vector of {names[int(finite.argmin())].decode()} is not finite (NaN or infinity)")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all():
        raise BadArtifact(f"the vector of {names[int(lengths.argmin())].decode()} is zero and has no direction")
    vectors /= lengths
    return vectors


def _golden_answers(names: list[bytes], golden_rows: list[int], cosines: np.ndarray):
    for row, scores in zip(golden_rows, cosines):
        others = np.delete(scores, row)
        if float(np.ptp(others)) < _SMALLEST_SPREAD:
            raise BadArtifact(
                f"the golden query fails: all words are equally near to {names[row].decode()}, "
                "the vectors are degenerate"
            )
        best = np.sort(others)[::-1][:GOLDEN_NEIGHBOURS]
        yield row, tuple(float(score) for score in best)
