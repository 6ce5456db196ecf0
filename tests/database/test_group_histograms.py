"""Histograms of groups, on the eleven typed samples and as parts of the total."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.overview import score_histogram
from scoring.database.score_index.groups import GROUPS, by_turn, group_histograms, turn_histograms
from scoring.errors import InputError
from scoring.necessity import Bands
from tests.database.conftest import SCOPE, built
from tests.synthetic import Row, typed_row

EDGES = [-1.0, 0.0, 0.5, 1.0]


def test_histograms_of_each_group(store: Store) -> None:
    assert group_histograms(store.selection(SCOPE), "source", EDGES) == {
        "scenes": [0, 1, 3],  # 0.125; 0.5, 0.5 and, beyond the last edge, 2.0
        "digits": [1, 0, 0],
        "charts": [1, 2, 0],
    }
    by_length = group_histograms(store.selection(SCOPE), "length", EDGES)
    assert by_length[16] == [1, 0, 0]  # 16 tokens: the score of -1
    assert by_length[1] == [0, 0, 1]  # one token: the score of 2


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("which", [Filter(), Filter(source=("words", "scenes"))])
def test_groups_add_up_to_the_total(plausible: Store, group: str, which: Filter) -> None:
    whole = score_histogram(plausible.selection(SCOPE, which), EDGES)["n"].tolist()
    groups = group_histograms(plausible.selection(SCOPE, which), group, EDGES)
    assert [sum(one) for one in zip(*groups.values(), strict=True)] == whole


def test_an_unknown_group_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="Unknown group 'colour'"):
        group_histograms(store.selection(SCOPE), "colour", EDGES)


def conversations(root: Path) -> Store:
    """Three samples of one, two and three answers, each answer with a typed score."""

    def row(position: int, *scores: float) -> Row:
        turns = tuple(("Why?", "So.", 2, max(one, 0.0), max(-one, 0.0)) for one in scores)
        return replace(typed_row(0.5, position), turns=turns)

    rows = [row(0, -0.5), row(1, 0.5, 0.0), row(2, 0.125, 0.125, 0.25)]
    return built(root, rows=rows)[1]


def test_histograms_of_each_turn(tmp_path: Path) -> None:
    store = conversations(tmp_path)
    edges = [-1.0, 0.0, 0.25, 1.0]
    # Row 0 answers once, row 1 twice, row 2 three times; a bin holds its left edge.
    assert turn_histograms(store.selection(SCOPE), edges) == {
        0: [1, 1, 1],
        1: [0, 2, 0],
        2: [0, 0, 1],
    }
    assert turn_histograms(store.selection(SCOPE, parse_filter("turns:3..")), edges) == {
        0: [0, 1, 0],
        1: [0, 1, 0],
        2: [0, 0, 1],
    }
    assert turn_histograms(store.selection(SCOPE, parse_filter("turns:4..")), edges) == {}
    counts = by_turn(store.selection(SCOPE, bands=Bands(0.0, 0.25)))
    assert counts[["turn", "n", "misaligned", "redundant", "vision_critical"]].values.tolist() == [
        [0, 3, 1, 1, 1],
        [1, 2, 0, 2, 0],
        [2, 1, 0, 0, 1],
    ]
    moved = by_turn(store.selection(SCOPE, bands=Bands(-1.0, 0.0)))
    assert moved["vision_critical"].tolist() == [2, 2, 1]
    assert moved["median_visnec"].tolist() == counts["median_visnec"].tolist()
