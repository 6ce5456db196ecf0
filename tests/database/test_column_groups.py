"""Groups by a column of texts or booleans, on eight samples whose figures are written out."""

from __future__ import annotations

import json

import pytest

from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries import column_groups
from scoring.database.queries.column_groups import group_columns, read_column_groups
from scoring.database.score_index.groups import by_column, group_histograms
from scoring.errors import InputError
from scoring.exchange.imported_columns import import_columns
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from tests.database.conftest import SCOPE
from tests.synthetic import make_workspace

SCORES = [-1.0, 0.0, 0.125, 0.5, 1.0, 2.0, None, 0.25]
ORIGINS = ["web", "web", "coco", "coco", "coco", "book scans", "web", None]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Eight samples of three origins, one without an origin, one without a score."""
    root = tmp_path_factory.mktemp("groups")
    workspace = make_workspace(root / "ws", visnec=SCORES, with_images=False)
    records = [
        {"row_idx": n, "origin": origin, "ok": n % 2 == 0, "words": [f"w{n}"], "clip": n / 10}
        for n, origin in enumerate(ORIGINS)
    ]
    path = root / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    import_columns(workspace, path)
    open_review_log(workspace, "ada").append([DecisionDraft(3, Decision.KEEP)])
    return Store(workspace)


def test_texts_and_booleans_per_sample_are_offered(
    grouped: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert group_columns(grouped.snapshot()) == ["ok", "origin"]
    for name in ("clip", "words", "other"):
        with pytest.raises(InputError, match=f"No column '{name}' with one text or boolean"):
            by_column(grouped.selection(SCOPE), name)
    monkeypatch.setattr(column_groups, "MAX_OFFERED", 2)
    assert group_columns(grouped.snapshot()) == ["ok"]


def test_figures_of_each_value(grouped: Store) -> None:
    frame = by_column(grouped.selection(SCOPE), "origin")
    assert frame["value"].tolist() == ["coco", "web", "book scans", None]
    assert frame["n"].tolist() == [3, 3, 1, 1]
    assert frame["n_scored"].tolist() == [3, 2, 1, 1]
    assert frame["median_visnec"].tolist() == [0.5, -0.5, 2.0, 0.25]
    assert frame["misaligned"].tolist() == [0, 1, 0, 0]
    assert frame["vision_critical"].tolist() == [2, 0, 1, 1]
    assert frame["keep"].tolist() == [1, 0, 0, 0]
    booleans = by_column(grouped.selection(SCOPE), "ok")
    assert booleans[["value", "n"]].to_numpy().tolist() == [["false", 4], ["true", 4]]


def test_figures_under_a_filter(grouped: Store) -> None:
    some = grouped.selection(SCOPE, parse_filter("visnec:0.1..1.5"))
    frame = by_column(some, "origin")
    assert frame[["value", "n"]].to_numpy().tolist() == [["coco", 3], [None, 1]]
    pending = by_column(grouped.selection(SCOPE, parse_filter("status:pending")), "origin")
    assert pending[["value", "n", "n_scored"]].to_numpy().tolist() == [["web", 1, 0]]


def test_histograms_of_each_value(grouped: Store) -> None:
    edges = [-1.0, 0.0, 0.5, 1.0]
    assert group_histograms(grouped.selection(SCOPE), "column:origin", edges) == {
        "coco": [0, 1, 2],
        "web": [1, 1, 0],
        "book scans": [0, 0, 1],
        None: [0, 1, 0],
    }


def test_too_many_values_are_refused(grouped: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_groups, "MAX_GROUPS", 2)
    with pytest.raises(InputError, match="'origin' has more than 2 values"):
        read_column_groups(Store(grouped.workspace), "origin")
