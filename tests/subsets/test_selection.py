"""Rules and subsets, with row numbers that can be checked manually."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.errors import RuleError
from scoring.reviews.decision_log import Decision
from scoring.rules import (
    RULE_NAMES,
    Ablation,
    AnswerThresholds,
    Band,
    BestOfGroup,
    Budget,
    ClusterShare,
    Conditions,
    Control,
    DropMisaligned,
    LengthCorrected,
    Mixture,
    PaperCodeTopShare,
    PaperTopShare,
    RandomShare,
    RelativeShare,
    Rule,
    SourceShare,
    Threshold,
    TopCount,
    TopShare,
    TopTokens,
    Weights,
    describe_rules,
    rule_from_dict,
)
from scoring.rules.evidence import FINDINGS, RULES_BY_EVIDENCE
from scoring.samples import Status
from scoring.subsets.selection import Reason, select
from tests.rules.columns import NAN, candidates

KEEP, DROP, UNSURE = Decision.KEEP, Decision.DROP, Decision.UNSURE


#        row 0    1     2     3    4    5    6    7     8    9
TEN = [0.25, -1.0, 0.50, 0.00, 2.0, 0.5, 0.1, -0.5, 0.75, 0.25]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (Threshold(min=0.25), [0, 2, 4, 5, 8, 9]),
        (Threshold(max=0.25), [1, 3, 6, 7]),
        (Threshold(min=0.0, max=0.5), [0, 3, 6, 9]),
        (Threshold(min=5.0), []),
        (TopShare(0.3), [2, 4, 8]),  # 2 and 5 are equal: the lower row
        (TopShare(0.4), [2, 4, 5, 8]),
        (TopShare(0.59), [0, 2, 4, 5, 8]),  # int(5.9) is 5; 0 and 9 are equal
        (TopShare(0.09), []),
        (TopShare(1.0), list(range(10))),
        (TopCount(1), [4]),
        (TopCount(5), [0, 2, 4, 5, 8]),
        (TopCount(99), list(range(10))),
    ],
)
def test_rules_over_the_whole_dataset(rule: Rule, rows: list[int]) -> None:
    subset = select(rule, candidates(TEN))
    assert subset.selected.tolist() == rows
    assert subset.selected.dtype == np.int64
    assert subset.dropped.tolist() == [row for row in range(10) if row not in rows]
    assert set(subset.why.tolist()) == {0}


# Cluster 0: rows 0-3; cluster 2: rows 4-7; cluster 5: rows 8, 9; cluster 1 is empty.
CLUSTERS = [0, 0, 0, 0, 2, 2, 2, 2, 5, 5]
GROUPED = [0.3, 0.9, -0.2, 0.1, -0.4, -0.1, -0.3, 0.0, 0.7, 0.7]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        # quota 2, 2, 1: the two best of cluster 0, none of cluster 2 is positive, row 8 before 9
        (PaperTopShare(0.5), [0, 1, 8]),
        (PaperCodeTopShare(0.5), [0, 1, 5, 7, 8]),
        # quota 0 everywhere; the code keeps at least one
        (PaperTopShare(0.15), []),
        (PaperCodeTopShare(0.15), [1, 7, 8]),
        # all: the paper still leaves out what is not above 0
        (PaperTopShare(1.0), [0, 1, 3, 8, 9]),
        (PaperCodeTopShare(1.0), list(range(10))),
        # quota int(0.75 * 4) = 3, 3, 1
        (PaperTopShare(0.75), [0, 1, 3, 8]),
        (PaperCodeTopShare(0.75), [0, 1, 3, 5, 6, 7, 8]),
    ],
)
def test_the_paper_and_its_code_choose_inside_clusters(rule: Rule, rows: list[int]) -> None:
    assert select(rule, candidates(GROUPED, CLUSTERS)).selected.tolist() == rows


def test_the_papers_share_is_counted_before_scores_that_are_not_positive_are_dropped() -> None:
    # Ten scored samples, share 0.3: three may stay; counted after the drop it would be int(1.2).
    scores = [0.1, 0.2, 0.3, 0.4, -1.0, -1.0, -1.0, -1.0, -1.0, 0.0]
    assert select(PaperTopShare(0.3), candidates(scores)).selected.tolist() == [1, 2, 3]


def test_only_scored_samples_count_for_a_share() -> None:
    scores: list[float | Status] = [
        0.5,
        Status.TEXT_ONLY,
        0.4,
        Status.PENDING,
        0.3,
        Status.MISSING_IMAGE,
        0.2,
    ]
    for rule in (TopShare(0.5), PaperTopShare(0.5), PaperCodeTopShare(0.5)):
        assert select(rule, candidates(scores)).selected.tolist() == [0, 2]


def test_paper_drops_with_the_reason_not_positive() -> None:
    subset = select(PaperTopShare(0.5), candidates(GROUPED, CLUSTERS))
    assert subset.find_reason(7) is Reason.NOT_POSITIVE
    assert subset.find_reason(3) is Reason.RULE
    assert [(c.kept, c.reason, c.n) for c in subset.count_reasons()] == [
        (True, Reason.RULE, 3),
        (False, Reason.RULE, 2),
        (False, Reason.NOT_POSITIVE, 5),
    ]
    with pytest.raises(RuleError, match="Row 10 is not in the dataset"):
        subset.find_reason(10)


def test_subsets_use_row_idx_not_positions() -> None:
    subset = select(TopCount(2), candidates([0.1, 0.9, 0.5, 0.9], rows=[3, 10, 11, 400]))
    assert subset.selected.tolist() == [10, 400]
    assert subset.dropped.tolist() == [3, 11]
    assert subset.find_reason(400) is Reason.RULE


MIXED: list[float | Status] = [
    0.9,
    Status.TEXT_ONLY,
    -0.5,
    Status.PENDING,
    Status.BAD_RECORD,
    Status.NO_ANSWER,
    0.2,
]


@pytest.mark.parametrize(
    ("text_only", "unscored", "rows"),
    [
        ("drop", "drop", [0]),
        ("keep", "drop", [0, 1]),
        ("drop", "keep", [0, 3, 5]),
        ("keep", "keep", [0, 1, 3, 5]),
    ],
)
def test_samples_without_a_score_are_kept_by_their_treatment_only(
    text_only: Any, unscored: Any, rows: list[int]
) -> None:
    subset = select(Threshold(min=0.25), candidates(MIXED), {}, text_only, unscored)
    assert subset.selected.tolist() == rows
    reasons = [subset.find_reason(row) for row in range(7)]
    assert reasons == ["rule", "text_only", "rule", "status", "bad_record", "status", "rule"]
    assert sum(count.n for count in subset.count_reasons()) == 7


def test_only_a_decision_keeps_a_bad_record() -> None:
    subset = select(Threshold(min=0.25), candidates(MIXED), {4: KEEP}, "keep", "keep")
    assert subset.selected.tolist() == [0, 1, 3, 4, 5]
    assert subset.find_reason(4) is Reason.REVIEWER


def test_decisions_win_and_are_counted_if_they_reverse_the_outcome() -> None:
    decisions = {0: DROP, 2: KEEP, 1: KEEP, 6: DROP, 5: UNSURE, 99: KEEP}
    subset = select(Threshold(min=0.25), candidates(MIXED), decisions)
    assert subset.selected.tolist() == [1, 2]
    assert (subset.n_hand_kept, subset.n_hand_dropped, subset.n_hand_unknown) == (2, 1, 1)
    assert [row for row in range(7) if subset.find_reason(row) is Reason.REVIEWER] == [0, 1, 2]
    assert subset.find_reason(6) is Reason.RULE  # the rule had dropped it already


def test_decisions_do_not_change_the_rules_share() -> None:
    subset = select(TopCount(2), candidates([0.9, 0.8, 0.7, 0.6]), {0: DROP, 3: KEEP})
    assert subset.selected.tolist() == [1, 3]


def test_decisions_can_be_ignored() -> None:
    subset = select(TopCount(1), candidates([0.9, 0.8]), {0: DROP, 1: KEEP}, hand_wins=False)
    assert subset.selected.tolist() == [0]
    assert (subset.n_hand_kept, subset.n_hand_dropped, subset.n_hand_unknown) == (0, 0, 0)


def test_random_selects_the_same_rows_everywhere() -> None:
    many = candidates([0.0] * 1000)
    taken = select(RandomShare(count=8, seed=42), many).selected.tolist()
    assert taken == select(RandomShare(share=0.008, seed=42), many).selected.tolist()
    expected = sorted(range(1000), key=lambda row: split_mix(row + split_mix(42)))
    assert taken == sorted(expected[:8])
    assert taken != select(RandomShare(count=8, seed=43), many).selected.tolist()


def test_random_depends_on_the_row_not_on_other_samples() -> None:
    few = select(RandomShare(share=0.5, seed=1), candidates([0.0] * 100)).selected
    more = select(RandomShare(share=0.75, seed=1), candidates([0.0] * 100)).selected
    assert set(few.tolist()) < set(more.tolist())
    assert len(few) == 50
    scores: list[float | Status] = [0.0, Status.PENDING] * 50
    scored = select(RandomShare(share=1.0), candidates(scores)).selected
    assert scored.tolist() == list(range(0, 100, 2))


def split_mix(value: int) -> int:
    """SplitMix64 in whole numbers."""
    mask = 2**64 - 1
    value = (value + 0x9E3779B97F4A7C15) & mask
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & mask
    value = (value ^ value >> 27) * 0x94D049BB133111EB & mask
    return value ^ value >> 31


def test_split_mix_gives_the_published_numbers() -> None:
    # First outputs of the reference implementation seeded with 1234567.
    step = 0x9E3779B97F4A7C15
    first = [split_mix(1234567 + k * step) for k in range(3)]
    assert first == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def by_the_paper(scores: list[float | None], clusters: list[int], share: float) -> list[int]:
    """The paper's text in plain Python."""
    chosen = []
    for cluster in set(clusters):
        rows = [row for row, score in enumerate(scores) if clusters[row] == cluster]
        rows = [row for row in rows if scores[row] is not None]
        n = int(share * len(rows))
        positive = [row for row in rows if (scores[row] or 0) > 0]
        positive.sort(key=lambda row: (-(scores[row] or 0), row))
        chosen += positive[:n]
    return sorted(chosen)


def by_the_code(scores: list[float | None], clusters: list[int], share: float) -> list[int]:
    """The paper's code in plain Python: repeated maximum, no sort."""
    chosen = []
    for cluster in set(clusters):
        rows = {
            row: score
            for row, score in enumerate(scores)
            if clusters[row] == cluster and score is not None
        }
        for _ in range(min(max(int(share * len(rows)), 1), len(rows))):
            best = None
            for row in rows:
                if best is None or rows[row] > rows[best]:
                    best = row
            assert best is not None
            chosen.append(best)
            del rows[best]
    return sorted(chosen)


@pytest.mark.parametrize("share", [0.01, 0.15, 0.29, 0.5, 1.0])
def test_paper_rules_equal_plain_loops_on_five_thousand_scores(share: float) -> None:
    draw = random.Random(round(share * 100))  # noqa: S311 - repeatable on purpose
    n = 5000
    # Two decimals make ties frequent; cluster 19 stays empty, cluster 18 gets a single sample.
    scores = [
        None if draw.random() < 0.08 else round(draw.gauss(0.1, 0.5), 2) + 0.0 for _ in range(n)
    ]
    clusters = [draw.randrange(18) for _ in range(n)]
    clusters[4321], scores[4321] = 18, -0.25
    typed = [Status.TEXT_ONLY if score is None else score for score in scores]
    columns = candidates(typed, clusters)
    paper = select(PaperTopShare(share), columns).selected.tolist()
    code = select(PaperCodeTopShare(share), columns).selected.tolist()
    assert paper == by_the_paper(scores, clusters, share)
    assert code == by_the_code(scores, clusters, share)
    assert 4321 in code
    assert 4321 not in paper


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5]), st.integers(0, 3)),
        min_size=1,
        max_size=40,
    ),
    st.floats(0.01, 1.0),
)
def test_paper_rules_equal_plain_loops(rows: list[tuple[float | None, int]], share: float) -> None:
    scores, clusters = [score for score, _ in rows], [cluster for _, cluster in rows]
    typed = [Status.NO_ANSWER if score is None else score for score in scores]
    columns = candidates(typed, clusters)
    paper, code = PaperTopShare(share), PaperCodeTopShare(share)
    assert select(paper, columns).selected.tolist() == by_the_paper(scores, clusters, share)
    assert select(code, columns).selected.tolist() == by_the_code(scores, clusters, share)


def test_no_scored_samples_at_all() -> None:
    empty: list[list[float | Status]] = [[], [Status.PENDING, Status.TEXT_ONLY]]
    rules = (TopShare(0.5), TopCount(3), Threshold(0.0), PaperTopShare(), PaperCodeTopShare())
    for scores in empty:
        for rule in (*rules, RandomShare(0.5)):
            subset = select(rule, candidates(scores))
            assert subset.selected.tolist() == []
            assert len(subset.dropped) == len(scores)


def test_cluster_rules_refuse_samples_without_a_cluster() -> None:
    columns = candidates([0.5, 0.6, Status.PENDING], clusters=[0, -1, -1])
    for rule in (PaperTopShare(), PaperCodeTopShare()):
        with pytest.raises(RuleError, match=r"1 scored samples have none \(first: row 1\)"):
            select(rule, columns)


RULES: list[tuple[Rule, str, dict[str, Any]]] = [
    (Threshold(0.25), "threshold min=0.25", {"rule": "threshold", "min": 0.25, "max": None}),
    (
        Threshold(-1.0, 1e-7),
        "threshold min=-1.0 max=1e-07",
        {"rule": "threshold", "min": -1.0, "max": 1e-7},
    ),
    (TopShare(0.15), "top-share share=0.15", {"rule": "top-share", "share": 0.15}),
    (TopCount(10), "top-count count=10", {"rule": "top-count", "count": 10}),
    (PaperTopShare(), "paper share=0.15", {"rule": "paper", "share": 0.15}),
    (PaperCodeTopShare(0.1), "paper-code share=0.1", {"rule": "paper-code", "share": 0.1}),
    (
        RandomShare(0.5, seed=7),
        "random share=0.5 seed=7",
        {"rule": "random", "share": 0.5, "count": None, "seed": 7},
    ),
    (
        AnswerThresholds(0.25, limits=[["yes/no", 0.1, None], ["choice", None, 0.8]]),  # type: ignore[arg-type]
        "answer-threshold min=0.25 choice=..0.8 yes/no=0.1..",
        {
            "rule": "answer-threshold",
            "min": 0.25,
            "max": None,
            "limits": [["choice", None, 0.8], ["yes/no", 0.1, None]],
        },
    ),
    (
        DropMisaligned(),
        "drop-misaligned below=-0.05",
        {"rule": "drop-misaligned", "below": -0.05},
    ),
    (RelativeShare(0.2), "relative share=0.2", {"rule": "relative", "share": 0.2}),
    (
        Band(0.25, share=0.15, per="cluster", seed=7),
        "band min=0.25 share=0.15 per=cluster seed=7",
        {
            "rule": "band",
            "min": 0.25,
            "max": None,
            "share": 0.15,
            "count": None,
            "tokens": None,
            "per": "cluster",
            "seed": 7,
        },
    ),
    (TopTokens(10**6), "top-tokens tokens=1000000", {"rule": "top-tokens", "tokens": 10**6}),
    (
        ClusterShare(0.2, 3),
        "per-cluster share=0.2 at_least=3",
        {"rule": "per-cluster", "share": 0.2, "at_least": 3},
    ),
    (
        SourceShare(0.2),
        "per-source share=0.2 at_least=0",
        {"rule": "per-source", "share": 0.2, "at_least": 0},
    ),
    (
        LengthCorrected(0.15),
        "length-corrected share=0.15",
        {"rule": "length-corrected", "share": 0.15},
    ),
    (
        Budget(100, 5, 40, (("charts", None, 60),)),
        "budget count=100 floor=5 ceiling=40 charts=..60",
        {
            "rule": "budget",
            "count": 100,
            "floor": 5,
            "ceiling": 40,
            "limits": [["charts", None, 60]],
        },
    ),
    (
        Ablation("text-loss"),
        "ablation by=text-loss share=0.15 per=cluster at_least=0",
        {"rule": "ablation", "by": "text-loss", "share": 0.15, "per": "cluster", "at_least": 0},
    ),
    (
        Control(PaperTopShare(0.1), per="source", seed=3),
        "control of=(paper share=0.1) by=random per=source seed=3",
        {
            "rule": "control",
            "of": {"rule": "paper", "share": 0.1},
            "by": "random",
            "per": "source",
            "seed": 3,
        },
    ),
    (
        Mixture((("b", 0.3), ("a", 0.5)), count=100, min=None, max_repeat=3),
        "mixture a=0.5 b=0.3 per=source count=100 by=random max_repeat=3 low=0.0 high=0.25 seed=0",
        {
            "rule": "mixture",
            "target": [["a", 0.5], ["b", 0.3]],
            "per": "source",
            "count": 100,
            "tokens": None,
            "share": None,
            "min": None,
            "max": None,
            "by": "random",
            "max_repeat": 3,
            "low": 0.0,
            "high": 0.25,
            "seed": 0,
        },
    ),
    (
        Conditions(all=("visnec>=0.25",), any=("source:a", "col:clip>0.3")),
        "filter all=(visnec>=0.25) any=(source:a) any=(col:clip>0.3)",
        {"rule": "filter", "all": ["visnec>=0.25"], "any": ["source:a", "col:clip>0.3"]},
    ),
    (
        BestOfGroup("image_group", "longest-answer"),
        "best-of-group group=image_group best=longest-answer",
        {"rule": "best-of-group", "group": "image_group", "best": "longest-answer"},
    ),
    (
        Weights("rank", 0.5, 0.1, None),
        "weights by=rank temperature=0.5 min_weight=0.1",
        {
            "rule": "weights",
            "by": "rank",
            "temperature": 0.5,
            "min_weight": 0.1,
            "max_weight": None,
        },
    ),
]


@pytest.mark.parametrize(("rule", "printed", "saved"), RULES)
def test_rules_print_save_and_replay(rule: Rule, printed: str, saved: dict[str, Any]) -> None:
    assert str(rule) == printed
    assert rule.to_dict() == saved
    assert rule_from_dict(json.loads(json.dumps(saved))) == rule


def test_every_rule_is_saved_and_replayed_above() -> None:
    assert {rule.name for rule, _, _ in RULES} == set(RULE_NAMES)


def test_rules_are_listed_in_the_order_of_the_evidence() -> None:
    assert RULE_NAMES == RULES_BY_EVIDENCE
    documented = (Path(__file__).parents[2] / "docs" / "selecting.md").read_text("utf-8")
    for finding in FINDINGS:
        assert finding.measured in describe_rules()
        assert finding.measured in documented


def test_a_rule_needs_only_the_options_without_a_default() -> None:
    assert rule_from_dict({"rule": "paper"}) == PaperTopShare(0.15)
    assert rule_from_dict({"rule": "random", "count": 3}) == RandomShare(count=3, seed=0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"rule": "best"},
            "Unknown rule 'best'. Choose one of: drop-misaligned, weights, band, threshold, ",
        ),
        ({}, "Unknown rule None"),
        ({"rule": "top-share"}, "Rule top-share needs --share"),
        ({"rule": "ablation", "share": 0.5}, "Rule ablation needs --by"),
        ({"rule": "per-source", "k": 3}, "has no option --k. Its options: --share, --at-least"),
        ({"rule": "top-share", "share": 0}, "above 0 and at most 1"),
        ({"rule": "top-share", "share": 15}, "got 15"),
        ({"rule": "top-share", "share": "0.15"}, "got '0.15'"),
        ({"rule": "paper", "share": float("nan")}, "got nan"),
        ({"rule": "top-count", "count": 0}, "at least 1, got 0"),
        ({"rule": "top-count", "count": 2.5}, "got 2.5"),
        ({"rule": "threshold"}, "needs --min, --max or both"),
        ({"rule": "threshold", "min": float("inf")}, "finite number, got inf"),
        ({"rule": "threshold", "min": 1.0, "max": 1.0}, "min=1.0 max=1.0 keeps nothing"),
        (
            {"rule": "answer-threshold", "min": 0.1, "limits": [["maybe", 0, 1]]},
            "type of answer 'maybe'",
        ),
        (
            {"rule": "answer-threshold", "limits": [["word", 0, 1]]},
            "type yes/no, choice, .* have no limits",
        ),
        ({"rule": "answer-threshold", "min": 0, "limits": [["word", 1, 0]]}, "keeps nothing"),
        (
            {"rule": "answer-threshold", "min": 0, "limits": [["word", None, None]]},
            "Invalid limits for 'word'",
        ),
        ({"rule": "answer-threshold", "min": 0, "limits": ["word"]}, "a name, a lower and an upp"),
        ({"rule": "top-tokens", "tokens": 0}, "answer tokens must be a whole number of at least 1"),
        ({"rule": "per-source", "share": 0.1, "at_least": -1}, "at least 0, got -1"),
        (
            {"rule": "budget", "count": 9, "floor": 3, "ceiling": 2},
            r"every source \(3\) is above",
        ),
        ({"rule": "budget", "count": 9, "limits": [["a", 1.5, None]]}, "Invalid limits for 'a'"),
        ({"rule": "budget", "count": 9, "limits": [["a", 1, 2], ["a", 1, 3]]}, "Duplicate limits"),
        ({"rule": "ablation", "by": "visnec"}, "one of: text-loss, multimodal-loss"),
        (
            {"rule": "ablation", "by": "text-loss", "per": "turn"},
            "one of: dataset, cluster, source",
        ),
        ({"rule": "control", "of": {"rule": "best"}}, "Unknown rule 'best'"),
        ({"rule": "control", "of": {"rule": "weights"}}, "selects part of the samples: weights"),
        ({"rule": "control", "of": "paper"}, "selects part of the samples: paper"),
        ({"rule": "weights", "by": "luck"}, "'luck'. Choose one of: softmax, rank"),
        ({"rule": "weights", "temperature": 0}, "must be above 0, got 0"),
        ({"rule": "weights", "min_weight": 2}, "from 0 to 1, got 2"),
        ({"rule": "weights", "max_weight": 0.5}, "from 1 to"),
        ({"rule": "drop-misaligned", "below": float("nan")}, "finite number, got nan"),
        ({"rule": "drop-misaligned", "below": None}, "must be a finite number, got None"),
        ({"rule": "relative"}, "needs --share"),
        ({"rule": "band", "count": 3}, "Rule band needs --min, --max or both"),
        ({"rule": "band", "min": 1, "max": 0, "count": 3}, "keeps nothing"),
        ({"rule": "band", "min": 0}, "needs one of --share, --count and --tokens"),
        ({"rule": "band", "min": 0, "share": 0.5, "count": 5}, "one of --share, --count and"),
        ({"rule": "band", "min": 0, "tokens": 0}, "answer tokens must be a whole number"),
        ({"rule": "band", "min": 0, "count": 3, "per": "turn"}, "dataset, cluster, source"),
        ({"rule": "random"}, "either --share or --count"),
        ({"rule": "random", "share": 0.5, "count": 5}, "either --share or --count"),
        ({"rule": "random", "share": 0.5, "seed": -1}, "seed must be a whole number"),
    ],
)
def test_invalid_rules_are_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        rule_from_dict(value)


def test_invalid_treatments_are_refused() -> None:
    with pytest.raises(RuleError, match="Invalid treatment 'maybe'"):
        select(TopCount(1), candidates([0.1]), text_only="maybe")  # type: ignore[arg-type]


def test_inconsistent_candidates_are_refused() -> None:
    good = candidates([0.1, 0.2, 0.3])
    with pytest.raises(RuleError, match="differ in length"):
        replace(good, visnec=good.visnec[:2])
    with pytest.raises(RuleError, match="ascending order of row_idx"):
        replace(good, row_idx=good.row_idx[::-1])
    with pytest.raises(RuleError, match="Row 1 has status scored but no finite score"):
        candidates([0.1, NAN, 0.3])
