"""Texts as sets of hashed shingles: the words that are compared, and the exact Jaccard similarity.

Words are compared without case, width and the punctuation of sentences. Symbols and hyphens count:
``3-4`` is not ``3 4``. Chinese and Japanese characters are words of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

SHINGLE_WORDS = 3
"""Words of a shingle. A shorter text is one shingle."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_PUNCTUATION = re.escape(".,;:!?'\"()[]{}…“”‘’«»¿¡、。")
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+|[^\w\s{_PUNCTUATION}]")
_COMPARED_HASHES = 1 << 21  # of two sides, at a time

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]


def normalize_text(text: str) -> str:
    """Return a text without differences of case, spacing and the width of characters."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def split_words(text: str) -> list[str]:
    """Return the words of a text that are compared; all of it where it has none."""
    normal = normalize_text(text)
    return _WORD.findall(normal) or ([normal] if normal else [])


def hash_shingles(words: Sequence[str], size: int) -> set[int]:
    """Return the hashes of all runs of ``size`` words; fewer words are one shingle."""
    starts = range(max(1, len(words) - size + 1)) if words else ()
    return {hash_text(" ".join(words[start : start + size])) for start in starts}


def hash_text(text: str) -> int:
    """Return 64 bits of a text."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True, eq=False)
class ShingleSets:
    """The shingles of n texts: those of text i are ``hashes[ends[i]:ends[i + 1]]``."""

    hashes: Hashes
    ends: Ints  # (n + 1,), from 0

    @classmethod
    def collect(cls, sets: Iterable[set[int]]) -> ShingleSets:
        """Return sets of hashes as arrays."""
        parts = [np.fromiter(each, np.uint64, len(each)) for each in sets]
        hashes = np.concatenate(parts) if parts else np.empty(0, np.uint64)
        return cls(hashes, np.cumsum([0, *map(len, parts)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends) - 1

    def select(self, position: Ints) -> tuple[Hashes, Ints]:
        """Return the hashes of some texts, and for each hash its index in ``position``."""
        owner, index = next(
            expand_ranges(self.ends[position], np.diff(self.ends)[position], None),
            (np.empty(0, np.int64), np.empty(0, np.int64)),
        )
        return self.hashes[index], owner


def measure_jaccard(
    ours: ShingleSets, i: Ints, theirs: ShingleSets, j: Ints
) -> NDArray[np.float64]:
    """Return the Jaccard similarity of text ``i[k]`` of one side and ``j[k]`` of the other.

    It is exact for the hashed shingles; two of 64 bits are practically never equal by accident.
    """
    sizes = np.diff(ours.ends)[i] + np.diff(theirs.ends)[j]
    shared = np.empty(len(i), np.int64)
    for pairs in _blocks(np.cumsum(sizes)):
        keys, owners = [], []
        for side, position in ((ours, i[pairs]), (theirs, j[pairs])):
            hashes, owner = side.select(position)
            # Unlike those of other pairs, so that one sort compares all pairs.
            keys.append(hashes + owner.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
            owners.append(owner)
        key, owner = np.concatenate(keys), np.concatenate(owners)
        order = np.argsort(key)
        is_shared = key[order[1:]] == key[order[:-1]]
        shared[pairs] = np.bincount(owner[order[1:]][is_shared], minlength=len(i[pairs]))
    return shared / np.maximum(sizes - shared, 1)


def _blocks(ends: Ints) -> Iterator[slice]:
    """Yield slices of pairs that have about ``_COMPARED_HASHES`` hashes, at least one pair each."""
    start = 0
    while start < len(ends):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _COMPARED_HASHES, "right")))
        yield slice(start, stop)
        start = stop


def expand_ranges(
    starts: Ints, counts: Ints, block: int | None = 1 << 20
) -> Iterator[tuple[Ints, Ints]]:
    """Yield (i, starts[i] + 0 .. counts[i] - 1) for all i as two arrays, about ``block`` at a time.

    A range longer than ``block`` is not divided; None: all at once.
    """
    ends = np.cumsum(counts)
    first = 0
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = len(counts)
        if block is not None:
            last = max(first + 1, int(np.searchsorted(ends, done + block, "right")))
        in_block = counts[first:last]
        owner = np.repeat(np.arange(first, last), in_block)
        offset = np.arange(len(owner)) - np.repeat(np.cumsum(in_block) - in_block, in_block)
        if len(owner):
            yield owner, starts[owner] + offset
        first = last


class ShingleFile:
    """Shingle sets that are added one by one and kept in files of a folder, not in memory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "hashes"
        self._file = self._path.open("wb")
        self._sizes: list[NDArray[np.int64]] = []

    def add(self, sets: ShingleSets) -> None:
        """Add sets after those that were added before."""
        sets.hashes.tofile(self._file)
        self._sizes.append(np.diff(sets.ends))

    def read(self) -> ShingleSets:
        """Return all sets, with the hashes mapped from the file."""
        self._file.close()
        sizes = np.concatenate(self._sizes) if self._sizes else np.empty(0, np.int64)
        ends = np.concatenate(([0], np.cumsum(sizes)))
        hashes = np.memmap(self._path, np.uint64, "r") if ends[-1] else np.empty(0, np.uint64)
        return ShingleSets(hashes, ends)
