"""Subsets with a filter: a dozen samples whose outcome is worked out here, saved and replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.connection import Store
from scoring.errors import FilterError, RuleError, VerificationError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.verify import resolve_manifest, verify_manifest
from scoring.necessity import DEFAULT_BANDS
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import (
    Band,
    Budget,
    Conditions,
    Control,
    Mixture,
    Rule,
    SourceShare,
    Threshold,
    TopCount,
    TopShare,
    TopTokens,
    Weights,
    rule_from_dict,
)
from scoring.samples import Status
from scoring.subsets.definitions import (
    SubsetDefinition,
    apply_definition,
    definition_from_dict,
    read_outcome,
    read_rule_inputs,
    read_subset,
    save_subset,
)
from scoring.subsets.stability import inclusion_probabilities
from scoring.trials.controls import draw_control
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, make_workspace

VISNEC: list[float | Status] = [
    *(0.5, -0.25, 0.125, 1.0),  # rows 0 to 3
    *(Status.TEXT_ONLY, 0.75, 0.5, 0.25),  # rows 4 to 7
    *(0.0, 2.0, 0.375, Status.NO_ANSWER),  # rows 8 to 11
]
# Sources: scenes 0, 3, 6, 9; digits 1, 4, 7, 10; charts 2, 5, 8, 11.
CLIP = {0: 0.25, 1: 0.5, 2: 0.5, 3: 0.125, 4: 0.5, 5: 0.5, 7: 0.5, 8: 0.5, 9: 0.25, 10: 0.75}
WHERE = "col:clip>0.25"  # rows 1, 2, 4, 5, 7, 8 and 10; row 4 has no score, rows 6 and 11 no value


def write_clip(workspace: Workspace, values: dict[int, float]) -> None:
    path = workspace.root.parent / "clip.jsonl"
    lines = [json.dumps({"row_idx": row, "clip": value}) for row, value in values.items()]
    path.write_text("\n".join(lines), "utf-8")
    import_columns(workspace, path, replace_existing=True)


def write_map(workspace: Workspace, y_of: dict[int, float]) -> None:
    path = workspace.root.parent / "map.jsonl"
    lines = [json.dumps({"row_idx": row, "map_x": row, "map_y": y}) for row, y in y_of.items()]
    path.write_text("\n".join(lines), "utf-8")
    import_columns(workspace, path, replace_existing=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = make_workspace(
        tmp_path / "ws", visnec=VISNEC, tokens=[4] * len(VISNEC), with_images=False
    )
    write_clip(workspace, CLIP)
    return workspace


def define(rule: Rule, where: str = WHERE, **choices: Any) -> SubsetDefinition:
    return SubsetDefinition("it", rule, RUN_ID, where=where, **choices)


def selected(workspace: Workspace, rule: Rule, where: str = WHERE, **choices: Any) -> list[int]:
    outcome = read_outcome(workspace, Store(workspace), define(rule, where, **choices))
    return [int(row) for row in outcome.subset.selected]


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (Threshold(min=0.25), [5, 7, 10]),
        (TopShare(0.5), [5, 7, 10]),  # int(0.5 * 6) of rows 1, 2, 5, 7, 8, 10
        (TopCount(2), [5, 10]),
        (TopTokens(11), [5, 10]),  # 4 tokens each
        (SourceShare(0.5), [5, 10]),  # digits: int(1.5) of 1, 7, 10; charts: int(1.5) of 2, 5, 8
        (Budget(count=3, ceiling=1), [5, 10]),
        (Band(max=0.2, count=9), [1, 2, 8]),
        (Mixture((("digits", 0.5), ("charts", 0.5)), count=4, by="visnec"), [2, 5, 7, 10]),
        (Weights(), [1, 2, 5, 7, 8, 10]),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_rule_selects_from_what_the_filter_leaves(
    workspace: Workspace, rule: Rule, rows: list[int]
) -> None:
    assert selected(workspace, rule) == rows


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("", [3, 9]),
        ("source:digits,charts", [5, 10]),
        ("visnec:..0.5", [7, 10]),
        ("images:>=1 col:clip<0.5", [3, 9]),
        ('text:"question 1"', [1, 10]),  # rows 1, 10 and 11
    ],
)
def test_parts_of_the_filter(workspace: Workspace, where: str, rows: list[int]) -> None:
    assert selected(workspace, TopCount(2), where) == rows


def test_a_filter_by_clusters_needs_no_clusters_of_the_rule(workspace: Workspace) -> None:
    clustered = {"clustering_id": "instructions-k6"}  # the cluster is the row modulo 3
    assert selected(workspace, TopCount(2), "cluster:0,1", **clustered) == [3, 9]


def test_weights_have_mean_one_over_what_the_filter_leaves(workspace: Workspace) -> None:
    outcome = read_outcome(workspace, Store(workspace), define(Weights()))
    assert outcome.subset.weights is not None
    assert outcome.subset.weights.sum() == pytest.approx(6, abs=1e-5)


def test_treatments_apply_inside_the_filter_and_decisions_anywhere(workspace: Workspace) -> None:
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(9, Decision.KEEP), DecisionDraft(10, Decision.DROP)])
    choices = {"text_only": "keep", "unscored": "keep"}
    outcome = read_outcome(workspace, Store(workspace), define(TopCount(2), **choices))
    assert outcome.subset.selected.tolist() == [4, 5, 9]  # row 11 has no value of the column
    reasons = [outcome.subset.find_reason(row).value for row in range(12)]
    assert reasons == [
        *("filter", "rule", "rule", "filter", "text_only", "rule"),
        *("filter", "rule", "rule", "reviewer", "reviewer", "filter"),
    ]
    assert outcome.describe_filter() == (
        "The filter col:clip>0.25 leaves 7 of 12 samples, 6 of them scored; shares and numbers are "
        "of these"
    )


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("category:vision-critical", "cannot have category: the band limits can be moved"),
        ("certainty:sure", "cannot have certainty: the band limits"),
        ("decision:keep", "cannot have decision: decisions change"),
        ("reviewer:ada", "cannot have reviewer: decisions change"),
        ("image:a.png", "cannot have image: images are compared by content once"),
        ("baselines:differ", "cannot have baselines"),
        ("other:big runs:differ", "cannot have other: another run can grow"),
        ("blind:right", "cannot have blind: predictions can be"),
        ("model:big seen:right", "cannot have seen: predictions can be"),
        ("colour:red", "A filter has no 'colour'"),
    ],
)
def test_parts_that_an_export_cannot_pin_are_refused(where: str, problem: str) -> None:
    with pytest.raises(FilterError, match=problem):
        define(TopCount(2), where)


def test_an_unknown_column_is_refused_when_resolved(workspace: Workspace) -> None:
    with pytest.raises(FilterError, match="No column 'rating'"):
        selected(workspace, TopCount(2), "col:rating>3")


def test_a_filter_is_saved_with_the_rule_and_only_if_there_is_one(workspace: Workspace) -> None:
    definition = define(TopCount(2), 'col:clip>0.250 source:"charts",digits')
    assert definition.where == "source:charts,digits col:clip>0.25"  # one written form
    path = save_subset(workspace, definition)
    assert json.loads(path.read_text())["rule"] == {
        "rule": "top-count",
        "count": 2,
        "where": "source:charts,digits col:clip>0.25",
    }
    assert read_subset(workspace, "it") == definition
    assert definition_from_dict(definition.to_dict()) == definition
    plain = define(TopCount(2), "").to_dict()
    assert "where" not in plain
    assert plain["rule"] == {"rule": "top-count", "count": 2}
    with pytest.raises(RuleError, match="has no option --where"):  # as an earlier version does
        rule_from_dict(definition.to_dict()["rule"])


def test_a_filter_is_never_ignored(workspace: Workspace) -> None:
    definition = define(TopCount(2))
    candidates = read_rule_inputs(Store(workspace), replace(definition, where=""))
    with pytest.raises(RuleError, match="was not applied"):
        apply_definition(definition, candidates, ())


def test_arms_and_controls_obey_the_filter(workspace: Workspace) -> None:
    inside = {1, 2, 5, 7, 8, 10}
    for seed in range(9):
        rows = selected(workspace, Control(TopCount(2), seed=seed))
        assert len(rows) == 2
        assert inside.issuperset(rows)
    assert selected(workspace, Control(TopCount(2), "text-loss")) == selected(
        workspace, TopCount(2)
    )
    resolved = read_outcome(workspace, Store(workspace), define(TopCount(1), "visnec:..1.5"))
    assert resolved.subset.selected.tolist() == [3]
    drawn = {
        int(draw_control(resolved, "band", DEFAULT_BANDS, seed).row_idx[0]) for seed in range(99)
    }
    assert drawn == {0, 3, 5, 6, 7, 10}  # at or above 0.25, and below 1.5


def test_stability_is_of_what_the_filter_leaves(workspace: Workspace) -> None:
    candidates = read_rule_inputs(Store(workspace), define(TopCount(2)))
    result = inclusion_probabilities(TopCount(2), candidates, "bfloat16", n_draws=20)
    assert [row for row in range(12) if result.inclusion[row] == result.inclusion[row]] == [
        *(1, 2, 5, 7, 8, 10)
    ]
    assert result.by_source()["scored"].tolist() == [3, 3, 0]


def test_an_export_pins_the_column_and_verify_notices_its_replacement(workspace: Workspace) -> None:
    result = export_subset(
        workspace, Store(workspace), define(TopShare(0.5)), format=ExportOptions(card=True)
    )
    manifest = read_manifest(result.folder)
    columns = [part.name for part in manifest.inputs.parts if part.name.startswith("columns/clip/")]
    assert len(columns) == 1
    assert manifest.subset.where == WHERE
    assert {"kept": False, "reason": "filter", "samples": 5} in manifest.counts["by_reason"]
    assert "filter: `col:clip>0.25`" in (result.folder / "README.md").read_text()
    assert not verify_manifest(result.folder, workspace).changed_inputs
    assert resolve_manifest(workspace, Store(workspace), manifest).subset.selected.tolist() == [
        *(5, 7, 10)
    ]
    write_clip(workspace, CLIP | {9: 0.5})
    with pytest.raises(VerificationError, match=rf"{columns[0]} is gone"):
        verify_manifest(result.folder, workspace)


def test_an_export_pins_the_columns_of_a_map(workspace: Workspace) -> None:
    # The points of rows 0 to 3, 5 and 7 to 10 are (row, 10); the area is from 2.5 to 8.
    write_map(workspace, dict.fromkeys(CLIP, 10.0))
    definition = define(TopCount(3), "area:map@2.5,0;8,0;8,20;2.5,20")
    result = export_subset(workspace, Store(workspace), definition)
    manifest = read_manifest(result.folder)
    columns = {part.name.split("/")[1] for part in manifest.inputs.parts if "columns/" in part.name}
    assert columns == {"map_x", "map_y"}
    assert not verify_manifest(result.folder, workspace).changed_inputs
    replayed = resolve_manifest(workspace, Store(workspace), manifest)
    assert replayed.subset.selected.tolist() == [3, 5, 7]  # of scored rows 3, 5 and 7
    rule = Conditions(all=("area:map@2.5,0;8,0;8,20;2.5,20", "visnec<1"))
    assert selected(workspace, rule, "") == [5, 7]
    write_map(workspace, dict.fromkeys(CLIP, 30.0))
    with pytest.raises(VerificationError, match=r"columns/map_y/.* is gone"):
        verify_manifest(result.folder, workspace)


def test_other_columns_are_not_pinned(workspace: Workspace) -> None:
    result = export_subset(workspace, Store(workspace), define(TopCount(2), "source:digits"))
    parts = read_manifest(result.folder).inputs.parts
    assert not any(part.name.startswith("columns/") for part in parts)
    write_clip(workspace, {0: 1.0})
    assert not verify_manifest(result.folder, workspace).changed_inputs


def test_the_dropped_format_gives_the_filter_as_the_reason(workspace: Workspace) -> None:
    result = export_subset(workspace, Store(workspace), define(TopCount(2)), format="dropped")
    lines = [json.loads(line) for line in (result.folder / "dropped.jsonl").open(encoding="utf-8")]
    assert [line["row_idx"] for line in lines if line["by"] == "filter"] == [0, 3, 6, 9, 11]
    assert {line["reason"] for line in lines if line["by"] == "filter"} == {"filter"}


def test_the_command_prints_what_the_filter_leaves(workspace: Workspace) -> None:
    root = str(workspace.root)
    command = ["select", "-w", root, "--name", "half", "--rule", "top-share", "--share", "0.5"]
    done = CliRunner().invoke(cli.app, [*command, "--where", WHERE, "--arms", "--seed", "1"])
    assert done.exit_code == 0, done.output
    assert "leaves 7 of 12 samples, 6 of them scored" in " ".join(done.output.split())
    assert read_subset(workspace, "half").describe_rule() == f"top-share share=0.5 where {WHERE}"
    assert read_subset(workspace, "half-random").where == WHERE
    command = ["select", "-w", root, "--name", "other", "--rule", "control", "--of", "half"]
    done = CliRunner().invoke(cli.app, [*command, "--json"])
    assert json.loads(done.stdout)["rule"]["where"] == WHERE
    done = CliRunner().invoke(cli.app, [*command, "--where", "decision:keep"])
    assert isinstance(done.exception, FilterError)
