"""Sorted columns in memory against plain Python, with blocks so small that every edge occurs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scoring.database.connection import Store
from scoring.database.filters import Filter, Range, parse_filter
from scoring.database.queries.browse import fetch_page, matching_rows
from scoring.database.score_index import index
from scoring.database.score_index.groups import by_source
from scoring.database.score_index.index import CLUSTER, SOURCE, cached_score_index, open_score_index
from scoring.database.score_index.thresholds import (
    count_kept,
    score_ecdf,
    threshold_for_count,
    threshold_for_tokens,
)
from scoring.errors import InputError
from scoring.necessity import Bands
from tests.database.conftest import SCOPE, built, row_indices
from tests.database.test_browse import read_truth

EVERYTHING = Filter()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_BLOCK_ROWS", 4)
    monkeypatch.setattr(index, "_CHUNK_ROWS", 8)


@pytest.mark.parametrize("text", ["", "source:scenes", "cluster:0,1 tokens:4..", "visnec:0..0.5"])
def test_group_counts_below_any_position(plausible: Store, text: str) -> None:
    one = open_score_index(plausible.selection(SCOPE, parse_filter(text)))
    one.memo.clear()  # other tests made its tables with larger blocks
    table = one.group_table(SOURCE)
    for position in range(len(one) + 1):
        codes = one.codes[SOURCE][:position]
        expected = [int((codes == group).sum()) for group in range(one.n_groups[SOURCE])]
        assert table.count_below(position).tolist() == expected
        tokens = [
            int(one.n_tokens[:position][codes == group].sum())
            for group in range(one.n_groups[SOURCE])
        ]
        assert table.count_tokens_below(position).tolist() == tokens
    for group in range(one.n_groups[SOURCE]):
        places = np.flatnonzero(one.codes[SOURCE] == group).tolist()
        assert [table.position_of(group, rank) for rank in range(len(places))] == places


@pytest.mark.parametrize(
    "text",
    [
        "source:scenes",
        "source:scenes,words cluster:0,1",
        "kind:word,phrase",
        "cluster:3 kind:number visnec:0.1..",
        "source:nowhere",
        "cluster:4711",
    ],
)
def test_index_of_groups_equals_the_one_read_from_the_database(plausible: Store, text: str) -> None:
    which = parse_filter(text)
    read = open_score_index(Store(plausible.workspace).selection(SCOPE, which))
    whole = Store(plausible.workspace)
    assert cached_score_index(whole.selection(SCOPE, which)) is None
    open_score_index(whole.selection(SCOPE))
    cut = cached_score_index(whole.selection(SCOPE, which))
    assert cut is not None
    assert cut.visnec.tolist() == read.visnec.tolist()
    assert cut.row_idx.tolist() == read.row_idx.tolist()
    assert cut.n_tokens.tolist() == read.n_tokens.tolist()
    for group, codes in read.codes.items():
        assert cut.codes[group].tolist() == codes.tolist()
    key = ["status", "source", "cluster", "kind"]
    assert cut.unscored.groupby(key)["n"].sum().to_dict() == (
        read.unscored.groupby(key)["n"].sum().to_dict()
    )


@pytest.mark.parametrize("text", ["", "source:scenes,words", "cluster:0,5", "text:colour"])
@pytest.mark.parametrize("band", ["", "category:misaligned,vision-critical", "visnec:0.1..0.8"])
def test_figures_of_sources_agree_with_plain_python(plausible: Store, text: str, band: str) -> None:
    bands = Bands(-0.1, 0.6)
    rows = [row for row in read_truth(plausible) if _meets(row, text, band, bands)]
    which = parse_filter(f"{text} {band}")
    frame = by_source(plausible.selection(SCOPE, which, bands)).set_index("source")
    assert set(frame.index) == {row["source"] for row in rows}
    for source, found in frame.iterrows():
        mine = [row for row in rows if row["source"] == source]
        scores = [row["visnec"] for row in mine if row["visnec"] is not None]
        assert (found["n"], found["n_scored"]) == (len(mine), len(scores))
        assert found["answer_tokens"] == sum(row["tokens"] or 0 for row in mine)
        assert found["misaligned"] == sum(score < -0.1 for score in scores)
        assert found["redundant"] == sum(-0.1 <= score < 0.6 for score in scores)
        assert found["vision_critical"] == sum(score >= 0.6 for score in scores)
        if scores:
            assert found["mean_visnec"] == pytest.approx(np.mean(scores))
            assert found["median_visnec"] == pytest.approx(np.median(scores))
        else:
            assert math.isnan(found["mean_visnec"])


def _meets(row: dict[str, Any], text: str, band: str, bands: Bands) -> bool:
    score = row["visnec"]
    of_text = {
        "": True,
        "source:scenes,words": row["source"] in {"scenes", "words"},
        "cluster:0,5": row["cluster"] in {0, 5},
        "text:colour": "colour" in (row["question"] + row["answer"]).lower(),
    }[text]
    of_band = {
        "": True,
        "category:misaligned,vision-critical": score is not None
        and not bands.low <= score < bands.high,
        "visnec:0.1..0.8": score is not None and 0.1 <= score < 0.8,
    }[band]
    return of_text and of_band


def test_filter_on_score_or_category_is_a_range_of_the_index(store: Store) -> None:
    one = open_score_index(store.selection(SCOPE))
    assert one.row_idx.tolist() == [8, 1, 5, 9, 2, 0, 6, 3]
    assert one.n_unscored == 3
    part = open_score_index(
        store.selection(SCOPE, parse_filter("category:misaligned,vision-critical"))
    )
    assert part.row_idx.tolist() == [8, 1, 2, 0, 6, 3]
    assert part.n_unscored == 0
    inside = open_score_index(
        store.selection(SCOPE, parse_filter("category:vision-critical visnec:0.3..2"))
    )
    assert inside.row_idx.tolist() == [0, 6]
    assert inside.visnec.base is not None  # a view, nothing was copied
    assert open_score_index(store.selection(SCOPE)) is one


def test_samples_outside_the_clustering_have_code_0(store: Store) -> None:
    one = open_score_index(store.selection(SCOPE))
    assert one.codes[CLUSTER].tolist() == [3, 2, 3, 1, 3, 1, 1, 1]


@pytest.mark.parametrize("sort", ["visnec", "-visnec"])
@pytest.mark.parametrize("limit", [1, 3, 7])
@pytest.mark.parametrize("text", ["", "source:digits,charts", "category:vision-critical"])
def test_pages_from_memory_equal_those_of_the_database(
    tmp_path: Path, sort: str, limit: int, text: str
) -> None:
    """Ties of three at both ends and in the middle; forward to the end and back again."""
    visnec = [0.5, 0.5, 2.0, -1.0, None, 2.0, 0.5, -1.0, 2.0, 0.25, -1.0, None]
    store = built(tmp_path, visnec=visnec)[1]
    which = parse_filter(text)
    from_database = _walk(store, which, sort, limit)
    open_score_index(store.selection(SCOPE, which))
    assert _walk(store, which, sort, limit) == from_database
    truth = matching_rows(store.selection(SCOPE, which)).tolist()
    n_pages = len(from_database) // 2 + 1
    assert sorted(row for page in from_database[:n_pages] for row in page) == truth


def _walk(store: Store, which: Filter, sort: str, limit: int) -> list[list[int]]:
    """The rows of every page forward, then of every page back."""
    pages, page = [], fetch_page(store.selection(SCOPE, which), sort, limit=limit)
    pages.append(row_indices(page))
    while page.next is not None:
        page = fetch_page(store.selection(SCOPE, which), sort, page.next, limit)
        pages.append(row_indices(page))
    while page.previous is not None:
        page = fetch_page(store.selection(SCOPE, which), sort, page.previous, limit)
        pages.append(row_indices(page))
    return pages


def test_thresholds_for_a_number_of_samples(store: Store) -> None:
    def threshold(count: int, which: Filter = EVERYTHING) -> float:
        return threshold_for_count(store.selection(SCOPE, which), count)

    assert threshold(0) == math.inf
    assert threshold(1) == 2.0
    assert threshold(2) == threshold(3) == 0.5  # tied
    assert threshold(8) == threshold(100) == -1.0
    assert threshold(1, Filter(visnec=Range(None, 0.5))) == 0.25
    with pytest.raises(InputError, match="0 or more, got -1"):
        threshold(-1)


def test_thresholds_for_a_number_of_answer_tokens(store: Store) -> None:
    """From the top down: 1, 4, 2, 8, 4, 2, 4 and 16 tokens, 41 in all."""

    def threshold(tokens: int) -> float:
        return threshold_for_tokens(store.selection(SCOPE), tokens)

    assert threshold(0) == math.inf
    assert threshold(1) == threshold(4) == 2.0
    assert threshold(5) == threshold(7) == threshold(14) == 0.5
    assert threshold(15) == 0.25
    assert threshold(25) == -0.25
    assert threshold(24) == 0.0
    assert threshold(40) == -0.25
    assert threshold(41) == threshold(1000) == -1.0
    with pytest.raises(InputError, match="0 or more"):
        threshold(-5)


def test_token_threshold_keeps_no_more_than_requested_except_ties(plausible: Store) -> None:
    for tokens in range(0, 4000, 171):
        found = threshold_for_tokens(plausible.selection(SCOPE), tokens)
        cut = count_kept(plausible.selection(SCOPE), found, None)
        assert cut.tokens_kept <= tokens


def test_score_ecdf(store: Store) -> None:
    assert score_ecdf(store.selection(SCOPE), points=3).values.tolist() == [
        [-1, 1 / 8],
        [0.125, 0.5],
        [2, 1],
    ]
    every = score_ecdf(store.selection(SCOPE))
    assert every["visnec"].tolist() == [-1, -0.25, 0, 0.125, 0.25, 0.5, 2]
    assert every["share"].tolist() == [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 7 / 8, 1]
    assert score_ecdf(store.selection(SCOPE, Filter(source=("nowhere",)))).empty
    with pytest.raises(InputError, match="two points"):
        score_ecdf(store.selection(SCOPE), points=1)
