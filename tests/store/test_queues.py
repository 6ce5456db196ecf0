"""Review queues: order, sampling probabilities, and what reviewers take out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scoring.errors import InputError
from scoring.reviews.settling import cut_quality
from scoring.store import Filter, Store, build_database, parse_filter, queries
from scoring.store.queues import mixed_order
from tests.store.conftest import SCOPE, SCORES, TOKENS
from tests.synthetic import append_decisions, decision_event, make_workspace

EVERYTHING = Filter()


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The samples of SCORES with verdicts of ada and ben; row 8 has -1, row 3 has 2."""
    root = tmp_path_factory.mktemp("reviewed")
    workspace = make_workspace(root / "ws", visnec=SCORES, tokens=TOKENS, with_images=False)
    drawn = {"queue": "random seed 1", "sampling_probability": 0.25}
    ada = [
        decision_event(1, 8, "keep", **drawn),  # against any rule
        decision_event(2, 3, "keep"),
        decision_event(3, 0, "drop", **drawn),
        decision_event(4, 1, "drop"),
        decision_event(5, 9, "unsure"),
    ]
    ben = [
        decision_event(1, 1, "keep", reviewer="ben"),
        decision_event(2, 3, "keep", reviewer="ben"),
    ]
    append_decisions(workspace, ada)
    append_decisions(workspace, ben, "ben@desk")
    build_database(workspace)
    return Store(workspace)


def rows(store: Store, order: str, limit: int = 11, **options: object) -> list[int]:
    queue = queries.review_queue(store, SCOPE, EVERYTHING, order, limit, **options)  # type: ignore[arg-type]
    return queue.rows


def test_an_order_by_score_is_no_draw(reviewed: Store) -> None:
    queue = queries.review_queue(reviewed, SCOPE, EVERYTHING, "lowest", 3)
    assert (queue.rows, queue.probabilities) == ([8, 1, 5], [None] * 3)
    assert (queue.name, queue.n_eligible) == ("lowest", 8)
    near = queries.review_queue(reviewed, SCOPE, EVERYTHING, "threshold:0.2", 2)
    assert (near.rows, near.n_eligible, near.name) == ([2, 9], 8, "threshold:0.2")


def test_a_random_draw_records_its_probability(reviewed: Store) -> None:
    queue = queries.review_queue(reviewed, SCOPE, EVERYTHING, "random", 4, seed=3)
    assert queue.probabilities == [4 / 11] * 4
    assert (queue.name, queue.n_eligible) == ("random seed 3", 11)
    every = queries.review_queue(reviewed, SCOPE, EVERYTHING, "random", 100, seed=3)
    assert every.probabilities == [1.0] * 11
    nothing = queries.review_queue(reviewed, SCOPE, parse_filter("source:none"), "random", 4)
    assert (nothing.rows, nothing.probabilities, nothing.n_eligible) == ([], [], 0)
    mine = queries.review_queue(reviewed, SCOPE, EVERYTHING, "random", 3, undecided_by="ada")
    assert mine.probabilities == [3 / 6] * 3


def test_the_order_in_memory_is_that_of_the_database(plausible: Store) -> None:
    place = mixed_order(np.arange(240), 42)
    expected = np.argsort(place, kind="stable").tolist()
    assert rows(plausible, "random", 240, seed=42) == expected


def test_strata_get_equal_shares_as_far_as_they_go(reviewed: Store) -> None:
    """Scored, by source and category: scenes 2 redundant.. as listed below."""
    strata = {
        ("scenes", "redundant"): {9},
        ("scenes", "vision-critical"): {0, 3, 6},
        ("digits", "misaligned"): {1},
        ("charts", "misaligned"): {8},
        ("charts", "redundant"): {5},
        ("charts", "vision-critical"): {2},
    }
    queue = queries.review_queue(reviewed, SCOPE, EVERYTHING, "stratified", 7, seed=5)
    chance = dict(zip(queue.rows, queue.probabilities, strict=True))
    assert (len(chance), queue.n_eligible) == (7, 8)
    for members in strata.values():
        taken = members & set(chance)
        assert len(taken) == min(len(members), 2)
        assert all(chance[row] == len(taken) / len(members) for row in taken)
    order = mixed_order(np.array(queue.rows), 5)
    assert order.tolist() == sorted(order.tolist())
    few = queries.review_queue(reviewed, SCOPE, EVERYTHING, "stratified", 3)
    assert len(few.rows) == 3
    open_ones = rows(reviewed, "stratified", undecided_by="ada")
    assert sorted(open_ones) == [2, 5, 6]
    assert rows(reviewed, "stratified", decided_by="ben") != []
    assert set(rows(reviewed, "stratified", decided_by="ben")) == {1, 3}


def test_an_even_chance_inside_a_stratum(plausible: Store) -> None:
    which = parse_filter("source:scenes category:vision-critical")
    members = queries.matching_rows(plausible, SCOPE, which).tolist()
    drawn = dict.fromkeys(members, 0)
    for seed in range(200):
        queue = queries.review_queue(plausible, SCOPE, which, "stratified", 5, seed)
        for row, chance in zip(queue.rows, queue.probabilities, strict=True):
            assert chance == 5 / len(members)
            drawn[row] += 1
    mean = 200 * 5 / len(members)
    spread = mean * (1 - 5 / len(members))
    chi = sum((n - mean) ** 2 for n in drawn.values()) / spread
    assert chi < len(members) + 4 * np.sqrt(2 * len(members))


def test_where_people_differ(reviewed: Store) -> None:
    assert rows(reviewed, "reviewers") == [1, 9]
    assert rows(reviewed, "reviewers", decided_by="ben") == [1]
    # keep below the cut: row 8 (-1); drop above: row 0 (0.5). Row 1 is a tie, hence unsure.
    assert rows(reviewed, "rule:0.25") == [8, 0]
    assert rows(reviewed, "rule:0.6") == [8]


def test_only_mine_and_only_undecided(reviewed: Store) -> None:
    assert rows(reviewed, "row_idx", decided_by="ada") == [0, 1, 3, 8, 9]
    assert rows(reviewed, "row_idx", undecided_by="ben") == [0, 2, 4, 5, 6, 7, 8, 9, 10]
    assert rows(reviewed, "row_idx", undecided_by="ben", decided_by="ada") == [0, 8, 9]
    assert rows(reviewed, "row_idx", decided_by="nobody") == []
    assert rows(reviewed, "stratified", decided_by="nobody") == []


@pytest.mark.parametrize("order", ["rule", "rule:x", "runs", "stratified:2", "reviewers:ada"])
def test_an_unknown_queue_names_the_queues(reviewed: Store, order: str) -> None:
    with pytest.raises(InputError, match=r"0\.25"):
        rows(reviewed, order)


def test_labels_carry_how_they_were_drawn(reviewed: Store) -> None:
    """Rows 0 and 8 were drawn with 0.25; row 3 comes from no draw; 1 and 9 are undecided."""
    labels = queries.read_hand_labels(reviewed, SCOPE)
    assert labels.visnec.tolist() == [0.5, 2.0, -1.0]
    assert labels.keep.tolist() == [False, True, True]
    assert labels.weight.tolist() == [4.0, 1.0, 4.0]
    assert labels.n_without_probability == 1
    cut = cut_quality(labels, 0.25)
    assert cut.precision is not None
    assert cut.precision.value == 1 / 5
    assert cut.wrongly_dropped is not None
    assert cut.wrongly_dropped.value == 1.0
    assert len(queries.read_hand_labels(reviewed, SCOPE, parse_filter("source:charts"))) == 1


def test_without_a_draw_there_are_no_labels(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.5], with_images=False)
    append_decisions(workspace, [decision_event(1, 0, "keep"), decision_event(2, 1, "drop")])
    build_database(workspace)
    labels = queries.read_hand_labels(Store(workspace), SCOPE)
    assert (len(labels), labels.n_without_probability) == (0, 2)
