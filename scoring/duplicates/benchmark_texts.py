"""Compare questions with those of a benchmark: a shared run of 13 words, or nearly the same text.

Runs that more than ten samples of the benchmark share are part of its prompts ("Answer with the
option's letter ...") and removed before anything is compared. What remains of a question about an
image must have 13 words: shorter ones, such as "What is in the image?", are asked about all images.
A shorter question without an image is compared together with its answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.duplicates import near_texts
from scoring.duplicates.texts import (
    SHINGLE_WORDS,
    Hashes,
    Ints,
    ShingleSets,
    expand_ranges,
    hash_shingles,
    hash_text,
    split_words,
)

RUN_WORDS = 13
MOST_REPEATS = 10
"""A run of words in more samples of a benchmark is part of its prompts."""

Pairs = NDArray[np.int64]
Text = tuple[str, str, bool]
"""Question, answer, and whether there is an image."""


def find_prompts(texts: Iterable[Text]) -> frozenset[int]:
    """Return the hashes of the runs of words that belong to the prompts of a benchmark."""
    counts: dict[int, int] = {}
    for question, _, _ in texts:
        words = split_words(question)
        if len(words) >= RUN_WORDS:
            for run in hash_shingles(words, RUN_WORDS):
                counts[run] = counts.get(run, 0) + 1
    return frozenset(run for run, n in counts.items() if n > MOST_REPEATS)


def compared_words(text: Text, prompts: frozenset[int]) -> list[str]:
    """Return the words of a sample that are compared; none if it cannot show a leak."""
    question, answer, has_image = text
    words = _remove_prompts(split_words(question), prompts)
    if len(words) >= RUN_WORDS:
        return words
    return [] if has_image or not words else words + split_words(answer)


def _remove_prompts(words: list[str], prompts: frozenset[int]) -> list[str]:
    if not prompts or len(words) < RUN_WORDS:
        return words
    is_prompt = [False] * len(words)
    for start in range(len(words) - RUN_WORDS + 1):
        if hash_text(" ".join(words[start : start + RUN_WORDS])) in prompts:
            is_prompt[start : start + RUN_WORDS] = [True] * RUN_WORDS
    return [word for word, is_removed in zip(words, is_prompt, strict=True) if not is_removed]


@dataclass(frozen=True, slots=True, eq=False)
class _Sets:
    """The compared texts of some samples: runs of 13 words, shingles, and their bands."""

    runs: ShingleSets
    shingles: ShingleSets
    bands: near_texts.Bands

    @classmethod
    def collect(cls, texts: Sequence[Sequence[str]], threshold: float) -> _Sets:
        shingles = ShingleSets.collect(hash_shingles(words, SHINGLE_WORDS) for words in texts)
        bands = near_texts.hash_bands(shingles, near_texts.count_bands(threshold))
        runs = ShingleSets.collect(hash_shingles(words, RUN_WORDS) for words in texts)
        return cls(runs, shingles, bands)


class BenchmarkTexts:
    """The questions of a benchmark, indexed. Positions are those of ``texts``."""

    def __init__(self, texts: Sequence[Text], threshold: float) -> None:
        self._threshold = threshold
        self.prompts = find_prompts(texts)
        words = [compared_words(text, self.prompts) for text in texts]
        self.n_compared = sum(map(bool, words))
        self._position = np.flatnonzero([bool(each) for each in words])
        self._sets = _Sets.collect([each for each in words if each], threshold)
        order = np.argsort(self._sets.runs.hashes, kind="stable")
        self._runs: Hashes = self._sets.runs.hashes[order]
        owner = np.repeat(np.arange(len(self._position)), np.diff(self._sets.runs.ends))
        self._owner: Ints = owner[order]

    def compare(self, texts: Sequence[Text]) -> tuple[Pairs, Pairs]:
        """Return pairs (position in ``texts``, in the benchmark): shared run, nearly the same."""
        words = [compared_words(text, self.prompts) for text in texts]
        position = np.flatnonzero([bool(each) for each in words])
        sets = _Sets.collect([each for each in words if each], self._threshold)
        near = near_texts.find_similar(
            sets.shingles, sets.bands, self._sets.shingles, self._sets.bands, self._threshold
        )
        run = np.concatenate([np.empty((0, 2), np.int64), *self._find_shared(sets.runs)])
        ours_theirs = (position, self._position)
        return tuple(  # type: ignore[return-value]
            np.stack([side[pairs[:, k]] for k, side in enumerate(ours_theirs)], 1)
            for pairs in (np.unique(run, axis=0), near)
        )

    def _find_shared(self, runs: ShingleSets) -> Iterator[Pairs]:
        starts = np.searchsorted(self._runs, runs.hashes, "left")
        counts = np.searchsorted(self._runs, runs.hashes, "right") - starts
        owner = np.repeat(np.arange(len(runs)), np.diff(runs.ends))
        for index, entry in expand_ranges(starts, counts):
            yield np.stack((owner[index], self._owner[entry]), 1)
