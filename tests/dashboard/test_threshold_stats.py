"""What a threshold keeps and drops, on the page and from the route."""

from __future__ import annotations

import math

import pytest
from starlette.testclient import TestClient

from dashboard.charts.theme import SOURCE_COLOURS
from dashboard.data.context import Context
from dashboard.data.samples import read_page
from dashboard.data.scores import read_summary
from dashboard.data.threshold_stats import (
    InvalidRequest,
    resolve_threshold,
    split_by_source,
    threshold_stats,
)
from dashboard.view import links
from dashboard.view.state import View
from scoring.database.filters import Filter
from scoring.database.score_index.thresholds import count_kept, count_near
from scoring.database.values import Record
from tests.dashboard.conftest import Draw, data_of


def by_source(rows: list[tuple[str, int, int]]) -> list[Record]:
    return [dict(zip(("source", "kept", "dropped"), row, strict=True)) for row in rows]


def test_sources_without_a_score_are_left_out() -> None:
    rows = by_source([("scenes", 3, 1), ("digits", 0, 2), ("chat", 0, 0)])
    assert split_by_source(rows) == [["scenes", 3, 1], ["digits", 0, 2]]


def test_a_single_source_is_not_split() -> None:
    assert split_by_source(by_source([("scenes", 3, 1), ("chat", 0, 0)])) == []


def test_sources_beyond_the_colours_are_summed() -> None:
    n = len(SOURCE_COLOURS) + 2
    rows = by_source([(f"s{number}", 100 - number, 1) for number in range(n)])
    parts = split_by_source(rows)
    assert len(parts) == len(SOURCE_COLOURS)
    assert parts[-1][0] == "3 others"
    for i, side in ((1, "kept"), (2, "dropped")):
        assert sum(part[i] for part in parts) == sum(row[side] for row in rows)


def test_stats_are_what_the_library_counts(context: Context) -> None:
    where = Filter(source=("words", "scenes"))
    stats = threshold_stats(View(filter=where, low=-0.1, high=0.4, cut=0.3))
    kept = count_kept(context.store.selection(context.scope, where), 0.3, None)
    assert (stats["kept"], stats["scored"]) == (kept.n_kept, kept.n_kept + kept.n_dropped)
    for limit, category in ((-0.1, "misaligned"), (0.4, "critical")):
        counts = count_kept(context.store.selection(context.scope, where), limit, None)
        expected = counts.n_dropped if category == "misaligned" else counts.n_kept
        assert stats[category] == expected
    selection = context.store.selection(context.scope, where)
    assert stats["near_low"] == count_near(selection, -0.1, stats["tolerance"])
    assert sum(part[1] for part in stats["parts"]) == kept.n_kept
    shown = {figure["name"]: figure["value"] for figure in stats["figures"]}
    assert shown["Kept answer tokens"] == f"{kept.tokens_kept:,}"
    assert stats["kept_tokens"] == kept.tokens_kept


def test_scores_within_the_noise_of_the_threshold_are_counted(context: Context) -> None:
    # The run is in float32: nothing but the score itself is within 0.000002 of it.
    visnec = next(record["visnec"] for record in read_page(context, View()).records)
    for threshold, n in ((visnec, "1"), (visnec + 1e-6, "1"), (visnec + 1e-5, "0")):
        figures = threshold_stats(View(cut=threshold))["figures"]
        (shown,) = (figure for figure in figures if figure["name"] == "Within the noise")
        assert (shown["value"], shown["note"]) == (n, "± 0.000002 in float32")


def test_a_share_or_a_number_of_samples_or_tokens_gives_a_threshold(context: Context) -> None:
    def kept(**parameters: str) -> tuple[int, int, int]:
        counts = count_kept(
            context.store.selection(context.scope), resolve_threshold(context, parameters), None
        )
        assert counts.tokens_kept is not None
        return counts.n_kept, counts.n_kept + counts.n_dropped, counts.tokens_kept

    n, scored, _ = kept(share="0.25")
    assert n == int(0.25 * scored)
    assert kept(samples="40")[0] == 40
    assert 600 < kept(tokens="700")[2] <= 700
    assert resolve_threshold(context, {"cut": "0.125"}) == 0.125


@pytest.mark.parametrize("parameters", [{"share": "0"}, {"samples": "0"}, {"tokens": "0"}])
def test_a_threshold_that_keeps_nothing_is_above_the_highest_score(
    context: Context, parameters: dict[str, str]
) -> None:
    cut = resolve_threshold(context, parameters)
    assert cut == math.nextafter(read_summary(context).max_visnec or 0.0, math.inf)
    assert count_kept(context.store.selection(context.scope), cut, None).n_kept == 0


INVALID = [
    {},
    {"cut": "high"},
    {"cut": "nan"},
    {"cut": "inf"},
    {"share": "1.5"},
    {"share": "nan"},
    {"samples": "-1"},
    {"samples": "2.5"},
    {"tokens": "9" * 400},
]


@pytest.mark.parametrize("parameters", INVALID, ids=str)
def test_an_invalid_request_is_refused(context: Context, parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        resolve_threshold(context, parameters)


def test_the_route_and_the_page_return_the_same(
    client: TestClient, context: Context, draw: Draw
) -> None:
    address = links.threshold_url(context.scope, Filter(source=("words",)), "1")
    answer = client.get(f"{address}&low=-0.1&high=0.4&cut=0.3")
    assert answer.headers["cache-control"] == "no-store"
    parameters = {"filter": "source:words", "low": "-0.1", "high": "0.4", "cut": "0.3"}
    page = data_of(draw("overview", parameters), "threshold_editor")
    assert answer.json() == page["facts"]
    assert (
        links.threshold_url(context.scope, Filter(source=("words",)), context.store.generation)
        == (page["address"])
    )


@pytest.mark.parametrize("parameters", INVALID, ids=str)
def test_the_route_refuses_with_a_message(
    client: TestClient, context: Context, parameters: dict[str, str]
) -> None:
    address = "&".join(
        (
            links.threshold_url(context.scope, Filter(), "1"),
            *(f"{k}={v}" for k, v in parameters.items()),
        )
    )
    answer = client.get(address)
    assert answer.status_code == 400
    assert "a threshold is a score" in answer.text
