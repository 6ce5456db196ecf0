"""Mixtures of groups, with counts that can be checked manually."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import RuleError
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.rules import Control, Mixture, parse_targets, rule_from_dict
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition, read_outcome
from scoring.subsets.selection import repeat_counts, select
from scoring.workspace import Workspace
from tests.rules.columns import candidates
from tests.synthetic import RUN_ID, make_workspace

# row:                              0    1    2     3     4    5    6    7    8    9
SCORES: list[float | Status] = [0.3, 0.9, -0.2, 0.1, -0.4, 0.6, 0.5, 0.0, 0.7, 0.8]
SOURCES = ["a"] * 6 + ["b", "b", "c", "c"]
TOKENS = [2, 2, 2, 2, 2, 2, 4, 4, 3, 3]
TEN = candidates(SCORES, [0] * 5 + [1] * 5, None, SOURCES, TOKENS, ["word"] * 3 + ["text"] * 7)


def mix(targets: dict[str, float], **options: Any) -> Mixture:
    """A mixture that draws from all scores unless the options name another draw."""
    if not options.keys() & {"by", "min", "max"}:
        options["by"] = "all"
    return Mixture(tuple(targets.items()), **options)


def repeats(rule: Mixture) -> list[int]:
    """How often each of the ten samples counts."""
    weights = rule.compute_weights(TEN)
    if weights is None:
        return rule.select_mask(TEN).astype(int).tolist()
    assert (weights > 0).tolist() == rule.select_mask(TEN).tolist()
    return weights.astype(int).tolist()


def by_source(rule: Mixture) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for source, n in zip(SOURCES, repeats(rule), strict=True):
        counts[source] += n
    return dict(counts)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (mix({"a": 0.5, "b": 0.5}, count=4), {"a": 2, "b": 2, "c": 0}),
        # 5 * 0.5 twice: the half sample goes to the first
        (mix({"a": 0.5, "c": 0.5}, count=5, max_repeat=2), {"a": 3, "b": 0, "c": 2}),
        # b and c are the rest: 5 of 10, of which they have 4
        (mix({"a": 0.5}, count=10), {"a": 5, "b": 2, "c": 2}),
        (mix({"a": 0.5}, share=1.0, max_repeat=1), {"a": 5, "b": 2, "c": 2}),
        # b has 2 samples: 6 are 3 repeats of each, 10 would be 5
        (mix({"a": 0.4, "b": 0.6}, count=10, max_repeat=3), {"a": 4, "b": 6, "c": 0}),
        (mix({"b": 1.0}, count=10, max_repeat=4), {"a": 0, "b": 8, "c": 0}),
        (mix({"a": 0.0}, count=3), {"a": 0, "b": 2, "c": 1}),
    ],
)
def test_groups_get_their_shares(rule: Mixture, expected: dict[str, int]) -> None:
    if rule == mix({"a": 0.0}, count=3):  # which of the rest depends on the seed
        counts = by_source(rule)
        assert (counts["a"], counts["b"] + counts["c"]) == (0, 3)
    else:
        assert by_source(rule) == expected


def test_small_groups_are_repeated_evenly_and_others_not_at_all() -> None:
    rule = mix({"a": 0.3, "b": 0.5, "c": 0.2}, count=10, by="visnec", max_repeat=4)
    # a: its best three (1, 5, 0); b: five of two samples, the better one three times; c: both
    assert repeats(rule) == [1, 1, 0, 0, 0, 1, 3, 2, 1, 1]
    draws = rule.draw_groups(TEN)
    assert [(draw.name, draw.quota, draw.drawn) for draw in draws] == [
        ("a", 3, 3),
        ("b", 5, 5),
        ("c", 2, 2),
    ]


def test_shares_of_answer_tokens() -> None:
    # 20 tokens: a 10 (five samples of 2), b 10 (a pass of 8, and 4 more do not fit in 2)
    rule = mix({"a": 0.5, "b": 0.5}, tokens=20, by="visnec", max_repeat=2)
    assert repeats(rule) == [1, 1, 1, 1, 0, 1, 1, 1, 0, 0]
    # 24: b has 12, the better one twice
    rule = mix({"a": 0.5, "b": 0.5}, tokens=24, by="visnec", max_repeat=2)
    assert repeats(rule) == [1, 1, 1, 1, 1, 1, 2, 1, 0, 0]


def test_other_groups() -> None:
    category = mix({"misaligned": 1.0}, per="category", count=5)
    assert np.flatnonzero(repeats(category)).tolist() == [2, 4]
    category = mix({"vision-critical": 1.0}, per="category", count=9, low=0.0, high=0.7)
    assert np.flatnonzero(repeats(category)).tolist() == [1, 8, 9]
    cluster = mix({"1": 1.0}, per="cluster", count=2, by="visnec")
    assert np.flatnonzero(repeats(cluster)).tolist() == [8, 9]
    kind = mix({"word": 0.5, "text": 0.5}, per="answer-type", count=4, by="visnec")
    assert np.flatnonzero(repeats(kind)).tolist() == [0, 1, 8, 9]


def test_samples_are_drawn_at_random_inside_the_band() -> None:
    sets = set()
    for seed in range(40):
        drawn = np.flatnonzero(repeats(mix({"a": 1.0}, count=2, min=0.1, max=0.9, seed=seed)))
        assert set(drawn.tolist()) < {0, 3, 5}
        sets.add(tuple(drawn.tolist()))
    assert sets == {(0, 3), (0, 5), (3, 5)}


def test_a_mixture_draws_in_the_band_unless_all_scores_are_asked_for() -> None:
    rule = Mixture((("a", 1.0),), count=6)
    assert str(rule) == (
        "mixture a=1.0 per=source count=6 min=0.25 by=random max_repeat=1 low=0.0 high=0.25 seed=0"
    )
    assert np.flatnonzero(repeats(rule)).tolist() == [0, 1, 5]
    assert rule_from_dict({"rule": "mixture", "target": [["a", 1.0]], "count": 6}) == rule
    everything = Mixture((("a", 1.0),), count=6, by="all")
    assert "count=6 by=all max_repeat=1" in str(everything)
    assert np.flatnonzero(repeats(everything)).tolist() == [0, 1, 2, 3, 4, 5]
    low = Mixture((("a", 1.0),), count=6, max=0.2)
    assert np.flatnonzero(repeats(low)).tolist() == [2, 3, 4]
    # A category is a band of its own, and a ranking has none.
    assert Mixture((("misaligned", 1.0),), per="category", count=6).min is None
    assert Mixture((("a", 1.0),), count=6, by="visnec").min is None


@pytest.mark.parametrize("seed", range(5))
def test_mixtures_of_before_draw_from_all_scores_still(seed: int) -> None:
    saved = {"rule": "mixture", "target": [["a", 0.5]], "per": "source", "count": 3, "tokens": None}
    saved |= {"share": None, "min": None, "max": None, "by": "random", "max_repeat": 1}
    saved |= {"low": 0.0, "high": 0.25, "seed": seed}
    rule = rule_from_dict(saved)
    assert rule.to_dict() == saved
    assert str(rule) == (
        f"mixture a=0.5 per=source count=3 by=random max_repeat=1 low=0.0 high=0.25 seed={seed}"
    )
    same = mix({"a": 0.5}, count=3, seed=seed)
    assert rule.select_mask(TEN).tolist() == same.select_mask(TEN).tolist()


def test_a_ranked_mixture_ranks_by_a_sum() -> None:
    clip = np.array([1.0, 2.0, 9.0, np.nan, 5.0, 3.0, 0.0, 4.0, 1.0, 2.0])
    columns = replace(TEN, columns={"clip": clip})
    options: dict[str, Any] = {"by": "visnec", "rank_by": "col:clip", "normalise": "rank"}
    rule = mix({"a": 0.5, "b": 0.25}, count=4, **options)
    # a: the highest clip, then 5.0 of row 4; b: row 7; the rest: row 9 of c
    assert np.flatnonzero(rule.select_mask(columns)).tolist() == [2, 4, 7, 9]
    assert rule.list_columns() == ("clip",)
    unranked = rule.find_unranked(columns)
    assert unranked is not None
    assert np.flatnonzero(unranked).tolist() == [3]
    # Limits and categories are of the scores; of nine ranked samples a share of 0.5 is four.
    limited = mix({"a": 1.0}, share=0.5, min=0.2, **options)
    assert np.flatnonzero(limited.select_mask(columns)).tolist() == [0, 1, 5]
    critical = mix({"vision-critical": 1.0}, per="category", count=2, **options)
    assert np.flatnonzero(critical.select_mask(columns)).tolist() == [1, 5]
    assert rule_from_dict(rule.to_dict()) == rule
    assert str(rule).endswith("seed=0 rank_by=col:clip normalise=rank")


def test_repeats_are_exact_in_an_export() -> None:
    rule = mix({"a": 0.3, "b": 0.5, "c": 0.2}, count=10, max_repeat=4)
    subset = select(rule, TEN)
    assert subset.weights is not None
    counts = repeat_counts(subset.row_idx, subset.weights, seed=5)
    assert counts.tolist() == subset.weights.tolist() == repeats(rule)


def test_groups_below_their_target_and_many_repeats_are_named() -> None:
    rule = mix({"a": 0.5, "b": 0.5}, count=20, max_repeat=2)
    assert rule.describe_issues(TEN) == [
        "b gets 4 of 10 samples: it has 2 samples, repeated at most 2 times. Lower "
        "its target or the budget, or allow more repeats"
    ]
    assert mix({"b": 1.0}, count=8, max_repeat=4).describe_issues(TEN) == []
    assert mix({"b": 1.0}, count=10, max_repeat=5).describe_issues(TEN) == [
        "b is repeated up to 5 times; more than 4 repeats of instruction data can hurt"
    ]
    lines = mix({"a": 0.5, "b": 0.5}, count=4, min=0.85).describe_issues(TEN)
    assert [line.split(", repeated")[0] for line in lines] == [
        "a gets 1 of 2 samples: it has 1 samples in the band",
        "b gets 0 of 2 samples: it has 0 samples in the band",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": [["a", 0.7], ["b", 0.4]], "count": 3}, "add up to 1.1"),
        ({"target": [["a", 0.7], ["a", 0.1]], "count": 3}, "Duplicate target for 'a'"),
        ({"target": [], "count": 3}, "at least one --target"),
        ({"count": 3}, "needs --target"),
        ({"target": [["a", 30]], "count": 3}, r"share of 'a' must be from 0 to 1 .* got 30"),
        ({"target": [["a", 1]]}, "one of --share, --count and --tokens"),
        ({"target": [["a", 1]], "count": 3, "tokens": 4}, "one of --share, --count and --tokens"),
        ({"target": [["a", 1]], "count": 3, "max_repeat": 0}, "repeats must be a whole number"),
        ({"target": [["a", 1]], "count": 3, "per": "dataset"}, "Invalid --per 'dataset'"),
        ({"target": [["a", 1]], "count": 3, "by": "text-loss"}, "Invalid --by 'text-loss'"),
        ({"target": [["a", 1]], "count": 3, "min": 1, "max": 0}, "keeps nothing"),
        ({"target": [["a", 1]], "count": 3, "min": 1, "by": "all"}, "Leave out --min and --max"),
        ({"target": [["a", 1]], "count": 3, "rank_by": "visnec"}, "--rank-by needs --by visnec"),
    ],
)
def test_invalid_mixtures_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        rule_from_dict({"rule": "mixture", **options})


def test_unknown_groups_and_controls_of_repeats_are_refused() -> None:
    with pytest.raises(RuleError, match=r"Unknown source 'x' in --target. Choose from: a, b, c"):
        select(mix({"x": 1.0}, count=2), TEN)
    with pytest.raises(RuleError, match="A control needs a rule that selects part"):
        Control(mix({"a": 1.0}, count=2, max_repeat=2))
    assert len(select(Control(mix({"a": 1.0}, count=2)), TEN).selected) == 2


def test_targets_are_parsed() -> None:
    assert parse_targets(["a=0.5", "x=y=0.25"]) == [["a", 0.5], ["x=y", 0.25]]
    for text in ("a", "=0.5", "a=half"):
        with pytest.raises(RuleError, match="Write NAME=SHARE"):
            parse_targets([text])


# ---- exports -------------------------------------------------------------------------------------

MIXED = mix({"scenes": 0.25, "digits": 0.75}, count=8, max_repeat=4)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Sources alternate: scenes 0, 3, 6; digits 1, 4, 7; charts 2, 5."""
    visnec: list[float | Status] = [0.5, -0.25, 0.1, 1.0, 0.3, 0.75, 0.5, 0.25]
    workspace = make_workspace(tmp_path / "ws", visnec=visnec, with_images=False)
    build_database(workspace)
    return workspace


@pytest.mark.parametrize(
    "options",
    [
        ExportOptions("jsonl", weights="repeat"),
        ExportOptions("jsonl", weights="column"),
        ExportOptions(trainer="llamafactory", weights="source"),
        ExportOptions(trainer="internvl", weights="source"),
        ExportOptions("ids"),
    ],
    ids=lambda options: f"{options.trainer or options.format}-{options.weights}",
)
@pytest.mark.parametrize("max_repeat", [1, 4])
def test_exports_of_mixtures_verify(
    workspace: Workspace, options: ExportOptions, max_repeat: int
) -> None:
    rule = Mixture(MIXED.target, count=8, by="all", max_repeat=max_repeat)
    definition = SubsetDefinition("mixed", rule, RUN_ID)
    result = export_subset(
        workspace, Store(workspace), definition, format=options, allow_missing_images=True
    )
    assert verify_manifest(result.folder).n_samples == 5
    manifest = read_manifest(result.folder)
    assert manifest.subset.rule == rule
    if options.weights == "repeat":
        lines = (result.folder / options.data_file).read_text().splitlines()
        assert len(lines) == (8 if max_repeat == 4 else 5)
    if options.weights == "source" and max_repeat == 4:  # 2 of scenes, 6 of digits
        settings = [file["setting"] for file in manifest.source_files]
        assert settings == ([0.75, 0.25] if options.trainer == "llamafactory" else [2, 1])


def test_the_table_of_a_mixture(workspace: Workspace) -> None:
    definition = SubsetDefinition("mixed", MIXED, RUN_ID)
    table = read_outcome(workspace, Store(workspace), definition).mixture()
    digits = table.to_dict("index")["digits"]
    names = ["samples", "kept", "repeated", "most_repeats", "epochs", "share_after", "target"]
    assert [digits[name] for name in names] == [3, 3, 6, 2, 2.0, 0.75, 0.75]
    assert table["repeated"].sum() == 8
    assert table["target"].isna().tolist() == [True, False, False]  # charts, digits, scenes
