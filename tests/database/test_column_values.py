"""Numbers of a column and the score, on eight samples whose figures are written out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.column_rows import numeric_columns
from scoring.database.queries.column_values import (
    column_edges,
    column_median,
    column_plane,
    count_sides,
    disagreements,
    open_column,
)
from scoring.database.queries.overview import count_bins
from scoring.database.queries.review_queues import review_queue
from scoring.errors import FilterError, InputError
from scoring.exchange.imported_columns import import_columns
from tests.database.conftest import SCOPE
from tests.synthetic import Row, make_workspace

SCORES = [-1.0, 0.0, 0.125, 0.5, 1.0, 2.0, None, 0.25]
CLIP = [0.9, 0.1, 0.3, 0.3, 0.5, 0.2, 0.7, None]
RATINGS = [[1, 5], [3, 3]]


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Six samples with a score and a clip value, one with a value only, one with a score only."""
    root = tmp_path_factory.mktemp("values")
    workspace = make_workspace(root / "ws", visnec=SCORES, with_images=False)
    records = [
        {"row_idx": n, "clip": clip, "stars": n % 3 + 1, "origin": "web"}
        for n, clip in enumerate(CLIP)
    ]
    path = root / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    import_columns(workspace, path)
    return Store(workspace)


def test_only_columns_with_one_number_per_sample_are_offered(columns: Store) -> None:
    assert numeric_columns(columns.snapshot()) == ["clip", "stars"]
    with pytest.raises(FilterError, match="'origin' has text values, not numbers"):
        open_column(columns.selection(SCOPE), "origin")
    with pytest.raises(FilterError, match="No column 'other'"):
        open_column(columns.selection(SCOPE), "other")


def test_values_are_sorted_and_those_without_are_counted(columns: Store) -> None:
    clip = open_column(columns.selection(SCOPE), "clip")
    assert clip.values.tolist() == [0.1, 0.2, 0.3, 0.3, 0.5, 0.7, 0.9]
    assert clip.row_idx.tolist()[:2] == [1, 5]
    assert math.isnan(clip.visnec[5])
    assert clip.n_without == 1
    some = open_column(columns.selection(SCOPE, parse_filter("visnec:0.1..")), "clip")
    assert (some.values.tolist(), some.n_without) == ([0.2, 0.3, 0.3, 0.5], 1)
    assert clip.threshold_for_count(3) == 0.5
    assert clip.threshold_for_count(4) == 0.3  # with the other sample of 0.3
    assert clip.threshold_for_count(0) == math.inf


def test_sides_of_a_threshold(columns: Store) -> None:
    kept, dropped = count_sides(columns.selection(SCOPE), "clip", 0.3)
    # At or above 0.3: scores 0.125, 0.5, 1.0 and -1.0, and one sample without a score.
    assert (kept.n, kept.n_scored, kept.median_visnec) == (5, 4, (0.125 + 0.5) / 2)
    assert list(kept.categories.values()) == [1, 1, 2]
    # Below: 0.0 and 2.0.
    assert (dropped.n, dropped.n_scored, dropped.median_visnec) == (2, 2, 1.0)
    assert list(dropped.categories.values()) == [0, 1, 1]
    nothing, everything = count_sides(columns.selection(SCOPE), "clip", 5.0)
    assert (nothing.n, nothing.median_visnec, everything.n) == (0, None, 7)


def test_whole_numbers_have_a_bin_each(columns: Store) -> None:
    assert column_edges(columns, "stars") == [1.0, 2.0, 3.0, 4.0]
    stars = open_column(columns.selection(SCOPE), "stars").values
    assert count_bins(stars, column_edges(columns, "stars")).tolist() == [3, 3, 2]
    edges = column_edges(columns, "clip", 8)
    assert edges[0] <= 0.1
    assert edges[-1] >= 0.9
    clip = open_column(columns.selection(SCOPE), "clip").values
    assert count_bins(clip, edges).sum() == 7
    assert column_median(columns, "clip") == 0.3


def test_plane_and_correlations(columns: Store) -> None:
    plane = column_plane(columns.selection(SCOPE), "clip", 8)
    assert plane.n == plane.counts.sum() == 6
    # Rows 0 to 5 have ranks 0 1 2 3 4 5 by score and 5 0 2.5 2.5 4 1 by clip: the products of the
    # deviations from 2.5 sum to -4, the squares to 17.5 and 17.
    assert plane.spearman == pytest.approx(-4 / math.sqrt(17.5 * 17))
    mean = 2.625 / 6
    x, y = [score - mean for score in (-1, 0, 0.125, 0.5, 1, 2)], CLIP[:6]
    deviations = [value - sum(y) / 6 for value in y]  # type: ignore[operator,arg-type,misc]
    product = sum(a * b for a, b in zip(x, deviations, strict=True))
    spread = sum(a * a for a in x) * sum(b * b for b in deviations)
    assert plane.pearson == pytest.approx(product / math.sqrt(spread))
    few = column_plane(columns.selection(SCOPE, parse_filter("visnec:..-0.5")), "clip")
    assert (few.n, few.spearman, few.pearson) == (1, None, None)


def test_disagreements_by_rank(columns: Store) -> None:
    # Score rank minus clip rank in sixths, rows 0 to 5: -5, 1, -0.5, 0.5, 0, 4.
    high_score = disagreements(columns.selection(SCOPE), "clip")
    assert high_score["row_idx"].tolist() == [5, 1, 3]
    assert high_score.iloc[0].tolist() == [5, 2.0, 0.2, 5 / 6, 1 / 6]
    high_clip = disagreements(columns.selection(SCOPE), "clip", high="column")
    assert high_clip["row_idx"].tolist() == [0, 2]
    assert disagreements(columns.selection(SCOPE), "clip", limit=1)["row_idx"].tolist() == [5]
    with pytest.raises(InputError, match="Unknown side 'low'"):
        disagreements(columns.selection(SCOPE), "clip", high="low")


def test_disagreements_are_review_queues(columns: Store) -> None:
    queue = review_queue(columns.selection(SCOPE), "above:clip", 2)
    assert (queue.name, queue.rows, queue.n_eligible) == ("above:clip", [5, 1], 3)
    assert queue.probabilities == [None, None]
    assert review_queue(columns.selection(SCOPE), "below:clip", 5).rows == [0, 2]
    assert review_queue(columns.selection(SCOPE), "above:clip", 5, decided_by="ada").rows == []
    with pytest.raises(InputError, match="Unknown queue 'above'"):
        review_queue(columns.selection(SCOPE), "above", 5)
    with pytest.raises(InputError, match="No column 'other'"):
        review_queue(columns.selection(SCOPE), "above:other", 5)


def test_a_column_per_answer_is_summarised(tmp_path: Path) -> None:
    turns = tuple(("What?", "Red", 4, 0.5, 0.25) for _ in range(2))
    rows = [Row(turns=turns, image=f"{n}.png") for n in range(2)]
    workspace = make_workspace(tmp_path / "ws", rows=rows, with_images=False)
    path = tmp_path / "columns.jsonl"
    path.write_text(
        "".join(json.dumps({"row_idx": n, "rating": r}) + "\n" for n, r in enumerate(RATINGS))
    )
    import_columns(workspace, path)
    store = Store(workspace)
    names = ["rating.min", "rating.max", "rating.mean"]
    assert numeric_columns(store.snapshot()) == names
    values = [open_column(store.selection(SCOPE), name).values.tolist() for name in names]
    assert values == [[1, 3], [3, 5], [3, 3]]
    with pytest.raises(FilterError, match="'rating' has one value per answer"):
        open_column(store.selection(SCOPE), "rating")
