"""Review queues: order, sampling probabilities, and what reviewers leave out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.review_labels import is_within, read_hand_labels
from scoring.database.queries.review_queues import ReviewQueue, review_queue
from scoring.errors import InputError
from scoring.necessity import Bands
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log, read_events
from scoring.reviews.resolution import find_conflicts, latest_decisions
from scoring.reviews.threshold_estimation import estimate_quality
from scoring.workspace import Workspace
from tests.database.conftest import SCOPE, SCORES, TOKENS
from tests.synthetic import append_decisions, decision_event, make_workspace

EVERYTHING = Filter()


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The samples of SCORES with decisions of ada and ben; row 8 has -1, row 3 has 2."""
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
    queue = review_queue(store.selection(SCOPE), order, limit, **options)  # type: ignore[arg-type]
    return queue.rows


def test_order_by_score_is_not_a_draw(reviewed: Store) -> None:
    queue = review_queue(reviewed.selection(SCOPE), "lowest", 3)
    assert (queue.rows, queue.probabilities) == ([8, 1, 5], [None] * 3)
    assert (queue.name, queue.n_eligible) == ("lowest", 8)
    near = review_queue(reviewed.selection(SCOPE), "threshold:0.2", 2)
    assert (near.rows, near.n_eligible, near.name) == ([2, 9], 8, "threshold:0.2")


def test_a_random_draw_records_its_probability(reviewed: Store) -> None:
    queue = review_queue(reviewed.selection(SCOPE), "random", 4, seed=3)
    assert queue.probabilities == [4 / 11] * 4
    assert (queue.name, queue.n_eligible) == ("random seed 3", 11)
    every = review_queue(reviewed.selection(SCOPE), "random", 100, seed=3)
    assert every.probabilities == [1.0] * 11
    nothing = review_queue(reviewed.selection(SCOPE, parse_filter("source:none")), "random", 4)
    assert (nothing.rows, nothing.probabilities, nothing.n_eligible) == ([], [], 0)
    mine = review_queue(reviewed.selection(SCOPE), "random", 3, undecided_by="ada")
    assert mine.probabilities == [3 / 6] * 3


def test_strata_get_equal_shares_as_far_as_possible(reviewed: Store) -> None:
    """Scored, by source and category: scenes 2 redundant.. as listed below."""
    strata = {
        ("scenes", "redundant"): {9},
        ("scenes", "vision-critical"): {0, 3, 6},
        ("digits", "misaligned"): {1},
        ("charts", "misaligned"): {8},
        ("charts", "redundant"): {5},
        ("charts", "vision-critical"): {2},
    }
    queue = review_queue(reviewed.selection(SCOPE), "stratified", 7, seed=5)
    chance = dict(zip(queue.rows, queue.probabilities, strict=True))
    assert (len(chance), queue.n_eligible) == (7, 8)
    for members in strata.values():
        taken = members & set(chance)
        assert len(taken) == min(len(members), 2)
        assert all(chance[row] == len(taken) / len(members) for row in taken)
    # Strata with a quota of one stand in the middle; two of three come at a quarter and three.
    taken = [name for row in queue.rows for name, rows in strata.items() if row in rows]
    assert taken[0] == taken[-1] == ("scenes", "vision-critical")
    assert len(set(taken[1:-1])) == 5
    few = review_queue(reviewed.selection(SCOPE), "stratified", 3)
    assert len(few.rows) == 3
    open_ones = rows(reviewed, "stratified", undecided_by="ada")
    assert sorted(open_ones) == [2, 5, 6]
    assert rows(reviewed, "stratified", decided_by="ben") != []
    assert set(rows(reviewed, "stratified", decided_by="ben")) == {1, 3}


def test_an_even_chance_inside_a_stratum(plausible: Store) -> None:
    which = parse_filter("source:scenes category:vision-critical")
    members = matching_rows(plausible.selection(SCOPE, which)).tolist()
    drawn = dict.fromkeys(members, 0)
    for seed in range(200):
        queue = review_queue(plausible.selection(SCOPE, which), "stratified", 5, seed)
        for row, chance in zip(queue.rows, queue.probabilities, strict=True):
            assert chance == 5 / len(members)
            drawn[row] += 1
    mean = 200 * 5 / len(members)
    spread = mean * (1 - 5 / len(members))
    chi = sum((n - mean) ** 2 for n in drawn.values()) / spread
    assert chi < len(members) + 4 * np.sqrt(2 * len(members))


def test_queues_of_disagreement(reviewed: Store) -> None:
    # Row 1 is a tie, and ada alone is unsure about row 9; they differ about row 1 only.
    assert rows(reviewed, "conflicts") == [1, 9]
    assert rows(reviewed, "conflicts", decided_by="ben") == [1]
    assert rows(reviewed, "reviewers") == [1]
    # keep below the threshold: row 8 (-1); drop above: row 0 (0.5). Row 1 is a tie, hence unsure.
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


def test_conflict_queue_agrees_with_the_conflict_count(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5] * 6, with_images=False)
    given = ["keep keep drop", "keep drop", "unsure drop", "keep keep", "keep drop unsure", "drop"]
    for row, said in enumerate(given):
        for number, decision in enumerate(said.split()):
            event = decision_event(row + 1, row, decision, reviewer=f"r{number}")
            append_decisions(workspace, [event], f"r{number}@laptop")
    build_database(workspace)
    counted = find_conflicts(latest_decisions(read_events(workspace)))
    assert rows(Store(workspace), "conflicts") == counted == [1, 2, 4]
    assert rows(Store(workspace), "reviewers") == [0, 1, 2, 4]


# ---- decisions as labels -------------------------------------------------------------------------


def test_labels_carry_how_they_were_drawn(reviewed: Store) -> None:
    """Rows 8 and 0 of 8 scored ones were drawn, row 3 was chosen in between; 1 and 9 are open.

    The first draw estimates 8 times row 8, the second rows 8 and 3 and 6 times row 0; each is half.
    """
    labels = read_hand_labels(reviewed.selection(SCOPE))
    assert labels.visnec.tolist() == [-1.0, 2.0, 0.5]
    assert labels.keep.tolist() == [True, True, False]
    assert labels.weight.tolist() == [4.5, 0.5, 3.0]
    assert labels.n_undrawn == 1
    cut = estimate_quality(labels, 0.25)
    assert cut.precision is not None
    assert cut.precision.value == pytest.approx(0.5 / 3.5)
    assert cut.wrongly_dropped is not None
    assert cut.wrongly_dropped.value == 1.0
    charts = read_hand_labels(reviewed.selection(SCOPE, parse_filter("source:charts")))
    assert (charts.visnec.tolist(), charts.weight.tolist()) == ([-1.0], [3.0])


def test_without_a_draw_there_are_no_labels(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.5], with_images=False)
    append_decisions(workspace, [decision_event(1, 0, "keep"), decision_event(2, 1, "drop")])
    build_database(workspace)
    labels = read_hand_labels(Store(workspace).selection(SCOPE))
    assert (len(labels), labels.n_undrawn) == (0, 2)


N = 1200
"""100 misaligned, 300 redundant and 800 vision-critical samples, over three sources."""


def wanted(row: int) -> bool:
    """Whether reviewers would keep it: half of the misaligned, a third of the redundant and nine in
    ten of the vision-critical samples."""
    return row % 2 == 0 if row < 100 else row % 3 == 0 if row < 400 else row % 10 != 0


@pytest.fixture
def population(tmp_path: Path) -> Workspace:
    scores = [-0.5] * 100 + [0.1] * 300 + [0.9] * 800
    workspace = make_workspace(tmp_path / "ws", visnec=scores, with_images=False)
    build_database(workspace)
    return workspace


def decide(workspace: Workspace, queue: ReviewQueue, first: int, reviewer: str = "ada") -> None:
    """Decide the first samples of a queue, as ``wanted``."""
    drafts = [
        DecisionDraft(
            row,
            Decision.KEEP if wanted(row) else Decision.DROP,
            queue=queue.name,
            sampling_probability=chance,
            draw=queue.draw,
        )
        for row, chance in list(zip(queue.rows, queue.probabilities, strict=True))[:first]
    ]
    open_review_log(workspace, reviewer, "desk").append(drafts)


TRUTH = sum(wanted(row) for row in range(400)) / 400  # wrongly dropped below 0.25: 150 of 400
KEPT = 0.9  # precision from 0.25 on


@pytest.mark.parametrize("order", ["stratified", "random"])
@pytest.mark.parametrize("first", [90, 200, 400])
def test_unfinished_queue_gives_unbiased_estimates(
    population: Workspace, order: str, first: int
) -> None:
    store = Store(population)
    queue = review_queue(store.selection(SCOPE), order, 400, seed=3)
    decide(population, queue, first)
    labels = read_hand_labels(store.selection(SCOPE))
    assert (len(labels), labels.n_undrawn) == (first, 0)
    assert labels.weight.sum() == pytest.approx(N)
    shares = [labels.weight[labels.visnec == score].sum() / N for score in (-0.5, 0.1, 0.9)]
    # A stratified queue knows its strata: 100, 300 and 800 of 1200, however far it has come.
    by_chance = 0 if order == "stratified" else 3 * np.sqrt(0.25 / first)
    assert shares == pytest.approx([100 / N, 300 / N, 800 / N], abs=by_chance + 1e-9)
    cut = estimate_quality(labels, 0.25)
    assert cut.wrongly_dropped is not None
    assert cut.precision is not None
    for found, truth in ((cut.wrongly_dropped, TRUTH), (cut.precision, KEPT)):
        assert found.low < truth < found.high
        assert abs(found.value - truth) < 3 * np.sqrt(truth * (1 - truth) / found.effective)


def test_any_prefix_of_a_stratified_queue_covers_the_strata(
    population: Workspace,
) -> None:
    """Nine strata with equal quotas: the first nine are one of each, the next nine another."""
    queue = review_queue(Store(population).selection(SCOPE), "stratified", 270, seed=1)
    strata = [(row % 3, (row >= 100) + (row >= 400)) for row in queue.rows]
    for begin in range(0, 270, 9):
        assert len(set(strata[begin : begin + 9])) == 9
    assert len({*strata[:9]}) == 9
    first = {strata[0]}
    for seed in range(2, 12):
        other = review_queue(Store(population).selection(SCOPE), "stratified", 270, seed)
        first.add((other.rows[0] % 3, (other.rows[0] >= 100) + (other.rows[0] >= 400)))
    assert len(first) > 3  # not always the largest


def test_second_draw_counts_no_sample_twice(population: Workspace) -> None:
    """Half a queue, then the rest redrawn with another seed, in the end everything."""
    store = Store(population)
    for seed in (1, 2):
        queue = review_queue(store.selection(SCOPE), "stratified", 180, seed, undecided_by="ada")
        decide(population, queue, 90)
    labels = read_hand_labels(store.selection(SCOPE))
    assert len(labels) == 180
    # 267, 267 and 266 vision-critical ones in three strata, 20 of each drawn.
    found = sorted({round(float(one), 6) for one in labels.weight[labels.visnec == 0.9]})
    assert found == [266 / 20, 267 / 20]
    assert labels.weight.sum() == pytest.approx(N)
    rest = review_queue(store.selection(SCOPE), "stratified", N, 3, undecided_by="ada")
    decide(population, rest, N)
    labels = read_hand_labels(store.selection(SCOPE))
    assert labels.weight.tolist() == pytest.approx([1.0] * N)
    cut = estimate_quality(labels, 0.25)
    assert cut.wrongly_dropped is not None
    assert cut.wrongly_dropped.value == pytest.approx(TRUTH)


def test_earlier_chosen_samples_do_not_bias_a_draw(population: Workspace) -> None:
    """All misaligned samples were decided first; a random draw represents the other 1100."""
    store = Store(population)
    lowest = review_queue(store.selection(SCOPE), "lowest", 100)
    decide(population, lowest, 100)
    assert len(read_hand_labels(store.selection(SCOPE))) == 0
    queue = review_queue(store.selection(SCOPE), "random", 110, undecided_by="ada")
    decide(population, queue, 110)
    labels = read_hand_labels(store.selection(SCOPE))
    assert labels.weight.tolist() == [1.0] * 100 + [10.0] * 110
    # Judged again near the threshold, nothing loses the weight that it was drawn with.
    near = review_queue(store.selection(SCOPE), "threshold:0.25", N, decided_by="ada")
    decide(population, near, N)
    again = read_hand_labels(store.selection(SCOPE))
    assert again.weight.tolist() == labels.weight.tolist()


def test_a_draw_under_a_filter_counts_only_there(population: Workspace) -> None:
    store = Store(population)
    scenes = parse_filter("source:scenes")
    queue = review_queue(store.selection(SCOPE, scenes), "stratified", 60)
    assert queue.n_eligible == 400
    decide(population, queue, 60)
    assert (len(read_hand_labels(store.selection(SCOPE))), 60) == (0, 60)
    assert read_hand_labels(store.selection(SCOPE)).n_undrawn == 60
    wider = parse_filter("source:scenes,digits")
    assert len(read_hand_labels(store.selection(SCOPE, wider))) == 0
    for inside in ("source:scenes", "source:scenes visnec:..0.25", "source:scenes decision:none"):
        labels = read_hand_labels(store.selection(SCOPE, parse_filter(inside)))
        which = replace(parse_filter(inside), decision=())
        assert labels.weight.sum() == pytest.approx(
            len(matching_rows(store.selection(SCOPE, which))), rel=1e-9
        )


def test_a_draw_by_category_is_bound_to_its_limits(population: Workspace) -> None:
    store = Store(population)
    redundant = parse_filter("category:redundant")
    decide(population, review_queue(store.selection(SCOPE, redundant), "random", 30), 30)
    assert len(read_hand_labels(store.selection(SCOPE, redundant))) == 30
    moved = Bands(0.0, 0.5)
    assert len(read_hand_labels(store.selection(SCOPE, redundant, moved))) == 0
    # A stratified draw of everything needs its own limits only for its strata.
    queue = review_queue(
        store.selection(SCOPE, EVERYTHING, moved), "stratified", 90, undecided_by="ada"
    )
    decide(population, queue, 90)
    assert read_hand_labels(store.selection(SCOPE)).weight.sum() == pytest.approx(N)


def test_draws_without_a_record_count_as_draws_from_all_samples(population: Workspace) -> None:
    store = Store(population)
    queue = review_queue(store.selection(SCOPE), "stratified", 90)
    decide(population, replace(queue, draw=None), 90)
    labels = read_hand_labels(store.selection(SCOPE))
    shares = [labels.weight[labels.visnec == score].sum() for score in (-0.5, 0.1, 0.9)]
    assert shares == pytest.approx([100, 300, 800])


@pytest.mark.parametrize(
    ("inner", "outer", "inside"),
    [
        ("", "", True),
        ("source:a", "", True),
        ("", "source:a", False),
        ("source:a", "source:a,b", True),
        ("source:a,c", "source:a,b", False),
        ("visnec:0..1", "visnec:..1", True),
        ("visnec:0..", "visnec:..1", False),
        ("visnec:0.5..0.6 kind:word", "visnec:0.5..0.6", True),
        ("text:cat", "text:cat", True),
        ("text:cats", "text:cat", False),
        ("blind:right model:m", "blind:right", False),
        ("blind:right model:m", "blind:right,wrong model:m", True),
    ],
)
def test_a_filter_within_another(inner: str, outer: str, inside: bool) -> None:
    assert is_within(parse_filter(inner), parse_filter(outer)) is inside
