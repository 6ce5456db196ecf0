"""Counts, distributions, thresholds and groups against written-out values.

Scored in the fixture, ascending: -1 (row 8), -0.25 (1), 0 (5), 0.125 (9), 0.25 (2), 0.5 (0),
0.5 (6), 2 (3); with 16, 4, 2, 4, 8, 2, 4 and 1 answer tokens.
"""

from __future__ import annotations

import math

import pytest

from scoring.database.connection import Store
from scoring.database.filters import Filter, Range, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.overview import (
    cluster_names,
    dataset_counts,
    fetch_clusterings,
    fetch_scopes,
    histogram_edges,
    loss_plane,
    sample_count,
    score_histogram,
    score_summary,
    status_counts,
    status_reasons,
)
from scoring.database.score_index.groups import (
    by_answer_kind,
    by_answer_length,
    by_cluster,
    by_source,
    by_turn,
)
from scoring.database.score_index.thresholds import count_kept, threshold_for_share
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands, Category
from tests.database.conftest import SCOPE, decision_counts
from tests.synthetic import CLUSTER_NAMES, CLUSTERING_ID, CREATED_AT, RUN_ID

EVERYTHING = Filter()


def test_scopes_and_clusterings(store: Store, plausible: Store) -> None:
    columns = ["run_id", "baseline", "model", "created_at", "n_scored", "n_samples"]
    assert fetch_scopes(store)[columns].values.tolist() == [
        [RUN_ID, "none", "tiny-vlm", CREATED_AT, 8, 11]
    ]
    assert fetch_scopes(plausible)["baseline"].tolist() == ["none", "gray"]
    assert fetch_clusterings(store)["clustering_id"].tolist() == [CLUSTERING_ID]
    assert cluster_names(store, CLUSTERING_ID) == dict(enumerate(CLUSTER_NAMES))


def test_dataset_counts(store: Store, plausible: Store) -> None:
    assert dataset_counts(store).values.tolist() == [
        ["digits", 4, 3, 0],  # one of them is text-only
        ["scenes", 4, 4, 0],
        ["charts", 3, 3, 0],
    ]
    counts = dataset_counts(plausible).set_index("source")
    assert counts.loc["scenes", ["samples", "with_image"]].tolist() == [80, 80]
    assert counts.loc["scenes", "multi_turn"] > 20
    assert counts.loc["chat", "with_image"] == 0


def test_statuses_follow_the_closed_list_and_add_up(store: Store) -> None:
    assert status_counts(store.selection(SCOPE)).values.tolist() == [
        ["scored", 8],
        ["pending", 1],
        ["text_only", 1],
        ["bad_image", 1],
    ]
    filtered = status_counts(store.selection(SCOPE, Filter(source=("digits",))))
    assert filtered.values.tolist() == [
        ["scored", 1],
        ["pending", 1],
        ["text_only", 1],
        ["bad_image", 1],
    ]


def test_reasons_name_an_example(store: Store) -> None:
    assert status_reasons(store.selection(SCOPE)).values.tolist() == [
        ["pending", None, 1, 4],
        ["text_only", "the record names no image", 1, 7],
        ["bad_image", "the image file is truncated", 1, 10],
    ]
    assert status_reasons(store.selection(SCOPE), limit_per_status=0).empty


def test_summary(store: Store) -> None:
    summary = score_summary(store.selection(SCOPE))
    assert (summary.n_samples, summary.n_scored, summary.answer_tokens) == (11, 8, 41)
    assert summary.categories == {
        Category.MISALIGNED: 2,
        Category.REDUNDANT: 2,
        Category.VISION_CRITICAL: 4,
    }
    assert summary.mean == 0.265625
    assert (summary.min_visnec, summary.max_visnec) == (-1.0, 2.0)
    assert summary.quantiles[0.25] == -0.0625
    assert summary.quantiles[0.5] == 0.1875
    assert summary.quantiles[0.75] == 0.5
    assert (summary.mean_loss_text, summary.mean_loss_multimodal) == (0.828125, 0.5625)


def test_given_bands_replace_those_of_the_workspace(store: Store) -> None:
    bands = Bands(-0.5, 0.5)
    summary = score_summary(store.selection(SCOPE, bands=bands))
    assert list(summary.categories.values()) == [1, 4, 3]
    redundant = Filter(category=(Category.REDUNDANT,))
    assert matching_rows(store.selection(SCOPE, redundant)).tolist() == [5, 9]
    assert matching_rows(store.selection(SCOPE, redundant, bands)).tolist() == [1, 2, 5, 9]
    either = Filter(category=(Category.MISALIGNED, Category.VISION_CRITICAL))
    assert matching_rows(store.selection(SCOPE, either, bands)).tolist() == [0, 3, 6, 8]


def test_nothing_scored_under_a_filter_is_none_and_not_zero(store: Store) -> None:
    nothing = Filter(source=("nowhere",))
    summary = score_summary(store.selection(SCOPE, nothing))
    assert (summary.n_samples, summary.n_scored, summary.answer_tokens) == (0, 0, 0)
    assert summary.mean is summary.min_visnec is summary.mean_loss_text is None
    assert summary.quantiles == {}
    assert score_histogram(store.selection(SCOPE, nothing), [0, 1])["n"].tolist() == [0]
    assert count_kept(store.selection(SCOPE, nothing), 0.0, None).n_kept == 0
    assert threshold_for_share(store.selection(SCOPE, nothing), 0.5) == math.inf
    assert loss_plane(store.selection(SCOPE, nothing)).counts.sum() == 0
    assert by_source(store.selection(SCOPE, nothing)).empty
    assert by_cluster(store.selection(SCOPE, nothing)).empty
    assert by_answer_length(store.selection(SCOPE, nothing)).empty
    assert by_turn(store.selection(SCOPE, nothing)).empty
    assert status_counts(store.selection(SCOPE, nothing)).empty


def test_bins_include_their_left_edge_and_outer_bins_the_rest(store: Store) -> None:
    bars = score_histogram(store.selection(SCOPE), [-0.5, 0.0, 0.25, 0.5])
    assert bars.values.tolist() == [[-0.5, 0.0, 2], [0.0, 0.25, 2], [0.25, 0.5, 4]]
    one = score_histogram(store.selection(SCOPE), [0.3, 0.4])
    assert one["n"].tolist() == [8]


@pytest.mark.parametrize("edges", [[], [0.0], [0.0, 0.0], [1.0, 0.0], [0.0, math.inf]])
def test_edges_must_ascend(store: Store, edges: list[float]) -> None:
    with pytest.raises(InputError, match="ascending"):
        score_histogram(store.selection(SCOPE), edges)


def test_edges_are_round_and_the_same_under_every_filter(store: Store, plausible: Store) -> None:
    assert histogram_edges(store, SCOPE, bins=6) == [-1, -0.5, 0, 0.5, 1, 1.5, 2]
    edges = histogram_edges(plausible, SCOPE)
    assert 0.0 in edges
    assert 30 <= len(edges) <= 70
    bars = score_histogram(plausible.selection(SCOPE), edges)
    assert bars["n"].sum() == score_summary(plausible.selection(SCOPE)).n_scored


def test_threshold_keeps_its_minimum_and_not_its_maximum(store: Store) -> None:
    cut = count_kept(store.selection(SCOPE), 0.125, None)
    assert (cut.n_kept, cut.n_dropped, cut.n_unscored) == (5, 3, 3)
    assert (cut.tokens_kept, cut.tokens_dropped) == (19, 22)
    columns = ["source", "kept", "dropped", "unscored", "kept_tokens", "dropped_tokens"]
    assert [[row[name] for name in columns] for row in cut.by_source] == [
        ["scenes", 4, 0, 0, 11, 0],
        ["charts", 1, 2, 0, 8, 18],
        ["digits", 0, 1, 3, 0, 4],
    ]
    between = count_kept(store.selection(SCOPE), 0.0, 0.5)
    assert (between.n_kept, between.n_dropped) == (3, 5)
    open_cut = count_kept(store.selection(SCOPE), None, None)
    assert (open_cut.n_kept, open_cut.n_dropped, open_cut.n_unscored) == (8, 0, 3)
    by_tokens = count_kept(store.selection(SCOPE, Filter(tokens=Range(3, None))), 0.125, None)
    assert (by_tokens.n_kept, by_tokens.n_dropped, by_tokens.n_unscored) == (3, 2, 0)


@pytest.mark.parametrize(
    ("share", "threshold"),
    [(0, math.inf), (0.1, math.inf), (0.125, 2.0), (0.25, 0.5), (0.5, 0.25), (1, -1.0)],
)
def test_the_threshold_of_a_share(store: Store, share: float, threshold: float) -> None:
    assert threshold_for_share(store.selection(SCOPE), share) == threshold


def test_share_outside_0_to_1_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="15 %"):
        threshold_for_share(store.selection(SCOPE), 15)


def test_threshold_for_a_share_keeps_that_share(plausible: Store) -> None:
    n = score_summary(plausible.selection(SCOPE)).n_scored
    for count in (1, 2, 17, n - 1, n):
        share = min((count + 0.5) / n, 1.0)
        threshold = threshold_for_share(plausible.selection(SCOPE), share)
        assert count_kept(plausible.selection(SCOPE), threshold, None).n_kept == count


def test_the_loss_plane_has_the_text_only_loss_on_x(store: Store) -> None:
    # Text-only losses 0, .25, .5, .625, .75, 1, 1, 2.5; multimodal 1 for the first, else 0.5.
    plane = loss_plane(store.selection(SCOPE), bins=4)
    assert plane.edges.tolist() == [0, 1, 2, 3, 4]
    assert plane.counts.tolist() == [[4, 2, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_groups_by_source(store: Store) -> None:
    columns = [
        "source",
        "n",
        "n_scored",
        "mean_visnec",
        "median_visnec",
        "misaligned",
        "redundant",
        "vision_critical",
        "answer_tokens",
    ]
    assert by_source(store.selection(SCOPE))[columns].values.tolist() == [
        ["digits", 4, 1, -0.25, -0.25, 1, 0, 0, 4],
        ["scenes", 4, 4, 0.78125, 0.5, 0, 1, 3, 11],
        ["charts", 3, 3, -0.25, 0.0, 1, 1, 1, 26],
    ]
    strict = by_source(store.selection(SCOPE, bands=Bands(0.0, 1.0))).set_index("source")
    assert strict.loc["scenes", ["misaligned", "redundant", "vision_critical"]].tolist() == [
        0,
        3,
        1,
    ]


def test_groups_by_cluster_carry_the_names(store: Store) -> None:
    frame = by_cluster(store.selection(SCOPE))
    assert frame[["cluster_id", "name", "n", "n_scored"]].values.tolist() == [
        [0, CLUSTER_NAMES[0], 4, 4],
        [1, CLUSTER_NAMES[1], 4, 1],
        [2, CLUSTER_NAMES[2], 3, 3],
    ]
    one = by_cluster(store.selection(SCOPE, Filter(cluster=(2,))))
    assert one["cluster_id"].tolist() == [2]
    with pytest.raises(InputError, match="visnec cluster"):
        by_cluster(store.selection(Scope(RUN_ID)))


def test_groups_by_length_and_kind_of_answer(store: Store) -> None:
    lengths = by_answer_length(store.selection(SCOPE))
    assert lengths[["min_tokens", "max_tokens", "n"]].values.tolist() == [
        [1, 1, 1],
        [2, 2, 2],
        [3, 4, 3],
        [5, 8, 1],
        [9, 16, 1],
    ]
    kinds = by_answer_kind(store.selection(SCOPE))
    assert kinds[["answer_kind", "n", "n_scored"]].values.tolist() == [["phrase", 11, 8]]


def test_groups_by_turn(plausible: Store) -> None:
    turns = by_turn(plausible.selection(SCOPE))
    assert turns["turn"].tolist() == [0, 1, 2]
    assert turns["n"][0] == score_summary(plausible.selection(SCOPE)).n_scored
    scenes = by_turn(plausible.selection(SCOPE, Filter(source=("digits",))))
    assert scenes["turn"].tolist() == [0]


def test_groups_count_decisions_and_add_up(plausible: Store) -> None:
    counts = decision_counts(plausible.selection(SCOPE))
    assert counts["keep"] > 0 < counts["drop"]
    total = sample_count(plausible.selection(SCOPE))
    for group in (by_source, by_cluster, by_answer_kind):
        frame = group(plausible.selection(SCOPE))
        assert frame["n"].sum() == total == 240
        assert frame[["keep", "drop", "unsure"]].sum().to_dict() == {
            name: counts[name] for name in ("keep", "drop", "unsure")
        }


def test_filter_with_every_part(plausible: Store) -> None:
    which = parse_filter(
        "source:digits,scenes cluster:0,1,2 category:misaligned,redundant status:scored "
        'decision:keep,none visnec:-1..1 loss_text:0.. loss_multimodal:..9 tokens:3.. text:"COLOUR"'
    )
    n = sample_count(plausible.selection(SCOPE, which))
    assert 0 < n < 80
    assert status_counts(plausible.selection(SCOPE, which)).values.tolist() == [["scored", n]]
    assert by_source(plausible.selection(SCOPE, which))["n"].sum() == n
    assert by_cluster(plausible.selection(SCOPE, which))["n"].sum() == n
    assert sum(decision_counts(plausible.selection(SCOPE, which)).values()) == n
