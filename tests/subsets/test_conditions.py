"""The rule filter: conditions joined by "and" and by "or", on a dozen samples worked out here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.connection import Store
from scoring.errors import FilterError, RuleError, VerificationError
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.verify import verify_manifest
from scoring.necessity import DEFAULT_BANDS
from scoring.rules import Conditions, Control, rule_from_dict
from scoring.subsets.definitions import (
    SubsetDefinition,
    read_outcome,
    read_rule_inputs,
    read_subset,
    save_subset,
)
from scoring.subsets.stability import inclusion_probabilities
from scoring.trials.controls import find_obstacle
from scoring.workspace import Workspace
from tests.subsets.test_subset_filter import CLIP, VISNEC, write_clip
from tests.synthetic import RUN_ID, make_workspace

# row:     0     1      2      3      4     5     6    7     8    9     10     11
# visnec:  0.5   -0.25  0.125  1.0    -     0.75  0.5  0.25  0.0  2.0   0.375  -
# clip:    0.25  0.5    0.5    0.125  0.5   0.5   -    0.5   0.5  0.25  0.75   -
# source:  scenes 0, 3, 6, 9; digits 1, 4, 7, 10; charts 2, 5, 8, 11


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = make_workspace(
        tmp_path / "ws", visnec=VISNEC, tokens=[4] * len(VISNEC), with_images=False
    )
    write_clip(workspace, CLIP)
    return workspace


def define(rule: Conditions | Control, where: str = "") -> SubsetDefinition:
    return SubsetDefinition("it", rule, RUN_ID, where=where)


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (Conditions(all=("visnec>=0.25", "col:clip>=0.3")), [5, 7, 10]),
        (Conditions(all=("visnec>=0.25 col:clip>=0.3",)), [5, 7, 10]),
        (Conditions(any=("visnec>=1", "col:clip>=0.5")), [1, 2, 3, 5, 7, 8, 9, 10]),
        (Conditions(any=("visnec>=1 col:clip<0.2", "visnec<0")), [1, 3]),
        (Conditions(all=("source:scenes,charts",), any=("visnec>=1", "visnec<0.2")), [2, 3, 8, 9]),
        (Conditions(any=('text:"question 7"', "source:charts")), [2, 5, 7, 8]),
        (Conditions(all=("status:scored",)), [0, 1, 2, 3, 5, 6, 7, 8, 9, 10]),
    ],
    ids=str,
)
def test_and_and_or(workspace: Workspace, rule: Conditions, rows: list[int]) -> None:
    outcome = read_outcome(workspace, Store(workspace), define(rule))
    assert outcome.subset.selected.tolist() == rows
    assert rule_from_dict(rule.to_dict()) == rule


def test_with_a_filter_of_the_subset(workspace: Workspace) -> None:
    rule = Conditions(any=("visnec>=1", "visnec<0.2"))
    outcome = read_outcome(workspace, Store(workspace), define(rule, "col:clip>0.2"))
    assert outcome.subset.selected.tolist() == [1, 2, 8, 9]
    reasons = [outcome.subset.find_reason(row).value for row in (0, 3, 11)]
    assert reasons == ["rule", "filter", "filter"]


def test_filters_have_one_written_form(workspace: Workspace) -> None:
    definition = define(Conditions(all=(" visnec>=0.250",), any=["col:clip>0.30"]))  # type: ignore[arg-type]
    assert definition.rule == Conditions(all=("visnec:0.25..",), any=("col:clip>0.3",))
    assert definition.describe_rule() == "filter all=(visnec:0.25..) any=(col:clip>0.3)"
    path = save_subset(workspace, definition)
    assert json.loads(path.read_text())["rule"] == {
        "rule": "filter",
        "all": ["visnec:0.25.."],
        "any": ["col:clip>0.3"],
    }
    assert read_subset(workspace, "it") == definition
    control = define(Control(Conditions(all=("visnec>=0.5",))))
    assert control.rule.to_dict()["of"]["all"] == ["visnec:0.5.."]
    outcome = read_outcome(workspace, Store(workspace), control)
    assert len(outcome.subset.selected) == 5


def test_what_is_refused(workspace: Workspace) -> None:
    with pytest.raises(RuleError, match="needs at least one --all FILTER or --any FILTER"):
        Conditions()
    with pytest.raises(RuleError, match="A filter of --any is empty"):
        Conditions(any=("visnec>=1", " "))
    with pytest.raises(RuleError, match="--all needs a list of filters, got 'visnec>=1'"):
        Conditions(all="visnec>=1")  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="cannot have decision"):
        define(Conditions(any=("decision:keep",)))
    with pytest.raises(FilterError, match="is not a part of a filter"):
        define(Conditions(any=("source>=2",)))
    with pytest.raises(RuleError, match="was not applied to these candidates"):
        rule = Conditions(any=("visnec:1..",))
        rule.select_mask(read_outcome(workspace, Store(workspace), define(rule, "")).candidates)
        rule.select_mask(
            read_rule_inputs(Store(workspace), define(Conditions(any=("visnec:2..",))))
        )


def test_stability_and_controls(workspace: Workspace) -> None:
    resolved = read_outcome(
        workspace, Store(workspace), define(Conditions(any=("visnec>=1", "source:charts")))
    )
    with pytest.raises(RuleError, match="by the score alone"):
        inclusion_probabilities(resolved.definition.rule, resolved.candidates, "bfloat16")
    assert "only 5 could be drawn" in str(find_obstacle(resolved, "band", DEFAULT_BANDS))
    assert find_obstacle(resolved, "random", DEFAULT_BANDS) is None


def test_an_export_pins_the_columns_of_the_conditions(workspace: Workspace) -> None:
    definition = define(Conditions(any=("visnec>=1", "col:clip>=0.75")))
    folder = export_subset(workspace, Store(workspace), definition).folder
    manifest = read_manifest(folder)
    assert manifest.subset.rule == definition.rule
    assert manifest.counts["selected"] == 3
    assert not verify_manifest(folder, workspace).changed_inputs
    write_clip(workspace, CLIP | {0: 0.75})
    with pytest.raises(VerificationError, match="columns/clip/"):
        verify_manifest(folder, workspace)


def test_the_command(workspace: Workspace) -> None:
    command = ["select", "-w", str(workspace.root), "--name", "either", "--rule", "filter"]
    options = ["--all", "col:clip>0.2", "--any", "visnec>=1", "--any", "source:charts"]
    done = CliRunner().invoke(cli.app, [*command, *options, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_selected"] == 4  # rows 2, 5, 8 and 9
    assert "filter all=(col:clip>0.2) any=(visnec:1..) any=(source:charts)" in " ".join(
        done.stderr.split()
    )
