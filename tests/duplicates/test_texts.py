"""Words, shingles and Jaccard similarity, checked manually; groups against all pairs."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

from scoring.duplicates import texts
from scoring.duplicates.near_texts import count_bands, find_similar, group_texts, hash_bands
from scoring.duplicates.texts import (
    ShingleFile,
    ShingleSets,
    hash_shingles,
    measure_jaccard,
    split_words,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What  COLOUR is\nit?", ["what", "colour", "is", "it"]),
        ("Is 3-4 = −1?", ["is", "3", "-", "4", "=", "−", "1"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("这是什么 color？", ["这", "是", "什", "么", "color"]),
        ("?!", ["?!"]),
        ("  ", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def shingles(*rows: str) -> ShingleSets:
    return ShingleSets.collect(hash_shingles(row.split(), 3) for row in rows)


def test_jaccard_is_that_of_the_sets() -> None:
    # abc bcd cde | abc bcd bcx: 2 of 4; a short text is one shingle
    sets = shingles("a b c d e", "a b c d x", "a b", "")
    i, j = np.array([0, 0, 2, 2, 3]), np.array([1, 0, 2, 0, 3])
    assert measure_jaccard(sets, i, sets, j).tolist() == [0.4 + 0.1, 1, 1, 0, 0]


def test_jaccard_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = shingles("a b c d e", "a b c d x", "c d e f g h")
    i, j = np.array([0, 1, 0, 2]), np.array([1, 2, 2, 2])
    whole = measure_jaccard(sets, i, sets, j)
    monkeypatch.setattr(texts, "_COMPARED_HASHES", 5)
    assert measure_jaccard(sets, i, sets, j).tolist() == whole.tolist() == [0.5, 0, 1 / 6, 1]


def test_bands_find_pairs_at_the_threshold() -> None:
    assert {t: count_bands(t) for t in (0.3, 0.55, 0.8, 0.9, 1)} == {
        0.3: 60,
        0.55: 40,
        0.8: 20,
        0.9: 12,
        1: 10,
    }


def test_groups_are_those_of_all_pairs(tmp_path: Path) -> None:
    """Of texts with known edits, those that all similar pairs connect, and of one kind."""
    draw = random.Random(3)  # noqa: S311
    rows = []
    for _ in range(60):
        words = [draw.choice("abcdefghijklmnop") for _ in range(30)]
        for _ in range(4):
            edited = list(words)
            for _ in range(draw.randrange(3)):
                edited[draw.randrange(30)] = draw.choice("qrstuv")
            rows.append(" ".join(edited))
    sets = shingles(*rows)
    file = ShingleFile(tmp_path)
    file.add(shingles(*rows[:100]))
    file.add(shingles(*rows[100:]))
    kinds = np.array([draw.choice([1 << 40, 2 << 40]) for _ in rows], np.uint64)
    groups = group_texts(file.read(), hash_bands(sets, count_bands(0.6)), 0.6, kinds)
    expected = list(range(len(rows)))
    for a, b in itertools.combinations(range(len(rows)), 2):
        ours, theirs = (hash_shingles(rows[i].split(), 3) for i in (a, b))
        if kinds[a] == kinds[b] and len(ours & theirs) / len(ours | theirs) >= 0.6:
            old, new = expected[b], expected[a]
            expected = [new if group == old else group for group in expected]
    assert len(set(expected)) < 200
    assert len({*zip(groups.tolist(), expected, strict=True)}) == len({*expected})
    assert len({*groups.tolist()}) == len({*expected})


def test_similar_texts_of_two_sides() -> None:
    ours, theirs = shingles("a b c d e f g", "x y z"), shingles("q r s", "a b c d e f", "x y z")
    bands = [hash_bands(side, count_bands(0.8)) for side in (ours, theirs)]
    assert find_similar(ours, bands[0], theirs, bands[1], 0.8).tolist() == [[0, 1], [1, 2]]
