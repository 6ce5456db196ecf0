"""The rule best-of-group on a dozen samples worked out here: selected, saved, pinned, verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.duplicates.find import find_duplicates
from scoring.errors import InputError, RuleError, VerificationError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.verify import verify_manifest
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.rules import BestOfGroup, Control, rule_from_dict
from scoring.rules.shortfall import describe_shortfall
from scoring.subsets.definitions import (
    SubsetDefinition,
    read_outcome,
    read_rule_inputs,
    read_subset,
    save_subset,
)
from scoring.workspace import Workspace
from tests.subsets.test_subset_filter import VISNEC
from tests.synthetic import RUN_ID, make_workspace

# row:     0    1      2      3    4  5     6    7     8    9    10     11
# visnec:  0.5  -0.25  0.125  1.0  -  0.75  0.5  0.25  0.0  2.0  0.375  -
# tokens:  4    8      4      2    4  4     4    8     4    4    4      4
# group:   1    1      1      2    2  2     3    -     4    4    5      5
TOKENS = [4, 8, 4, 2, 4, 4, 4, 8, 4, 4, 4, 4]
GROUPS = {0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 3, 8: 4, 9: 4, 10: 5, 11: 5}


def write_groups(workspace: Workspace, groups: dict[int, int]) -> None:
    path = workspace.root.parent / "groups.jsonl"
    lines = [json.dumps({"row_idx": row, "group": value}) for row, value in groups.items()]
    path.write_text("\n".join(lines), "utf-8")
    import_columns(workspace, path, replace_existing=True)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path / "ws", visnec=VISNEC, tokens=TOKENS, with_images=False)
    write_groups(workspace, GROUPS)
    return workspace


def rows(workspace: Workspace, rule: BestOfGroup | Control, where: str = "") -> list[int]:
    definition = SubsetDefinition("it", rule, RUN_ID, where=where)
    return read_outcome(workspace, Store(workspace), definition).subset.selected.tolist()


@pytest.mark.parametrize(
    ("rule", "where", "expected"),
    [
        # Rows 4 and 11 have no score; row 7 is in no group, row 6 alone in its group.
        (BestOfGroup("group"), "", [0, 3, 6, 7, 9, 10]),
        (BestOfGroup("group", "longest-answer"), "", [1, 5, 6, 7, 9, 10]),
        (BestOfGroup("group", "manual"), "", [6, 7, 10]),
        (BestOfGroup("group"), "visnec:..0.9", [0, 5, 6, 7, 8, 10]),
    ],
    ids=str,
)
def test_the_best_of_each_group(
    workspace: Workspace, rule: BestOfGroup, where: str, expected: list[int]
) -> None:
    assert rows(workspace, rule, where) == expected
    assert rule_from_dict(rule.to_dict()) == rule


def test_ties_go_to_the_higher_score_then_to_the_lower_row(tmp_path: Path) -> None:
    workspace = make_workspace(
        tmp_path / "ws", visnec=[0.5, 1.0, 1.0, 0.5], tokens=[8, 4, 4, 8], with_images=False
    )
    write_groups(workspace, dict.fromkeys(range(4), 7))
    assert rows(workspace, BestOfGroup("group")) == [1]
    assert rows(workspace, BestOfGroup("group", "longest-answer")) == [0]


def test_groups_left_to_reviewers(workspace: Workspace) -> None:
    rule = BestOfGroup("group", "manual")
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(2, Decision.KEEP), DecisionDraft(7, Decision.DROP)])
    assert rows(workspace, rule) == [2, 6, 10]
    definition = SubsetDefinition("it", rule, RUN_ID)
    candidates = read_rule_inputs(Store(workspace), definition)
    assert describe_shortfall(rule, candidates) == (
        "3 groups of group are left to reviewers: of their 7 samples only those are in the subset "
        "that a decision keeps"
    )


def test_a_control_of_it_has_its_size(workspace: Workspace) -> None:
    assert len(rows(workspace, Control(BestOfGroup("group"), seed=3))) == 6


def test_what_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="needs --group"):
        rule_from_dict({"rule": "best-of-group"})
    with pytest.raises(RuleError, match="needs --group"):
        BestOfGroup("")
    with pytest.raises(RuleError, match="Invalid --best 'last'"):
        rule_from_dict({"rule": "best-of-group", "group": "group", "best": "last"})
    with pytest.raises(InputError, match="No column 'other'"):
        rows(workspace, BestOfGroup("other"))
    record = {"id": "new", "conversations": [{"from": "human", "value": "a"}]}
    record["conversations"].append({"from": "gpt", "value": "b"})  # type: ignore[attr-defined]
    (tmp_path / "more.json").write_text(json.dumps([record]))
    import_dataset(workspace, [tmp_path / "more.json"], append=True)
    build_database(workspace)
    with pytest.raises(InputError, match=r"is about 12 of 13 samples.*\(groups.jsonl\)"):
        rows(workspace, BestOfGroup("group"))


def test_the_command_saves_it_and_an_export_pins_the_groups(workspace: Workspace) -> None:
    command = ["select", "-w", str(workspace.root), "--name", "it", "--rule", "best-of-group"]
    done = CliRunner().invoke(cli.app, [*command, "--group", "group", "--best", "longest-answer"])
    assert done.exit_code == 0, done.output
    definition = read_subset(workspace, "it")
    assert definition.rule == BestOfGroup("group", "longest-answer")
    folder = export_subset(workspace, Store(workspace), definition).folder
    parts = [part.name for part in read_manifest(folder).inputs.parts]
    (pinned,) = (name for name in parts if name.startswith("columns/group/"))
    assert not verify_manifest(folder, workspace).changed_inputs
    write_groups(workspace, {**GROUPS, 7: 1})
    with pytest.raises(VerificationError, match=rf"{pinned} is gone"):
        verify_manifest(folder, workspace)


def test_groups_of_find_duplicates(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, 1.0, 0.25], with_images=False)
    find_duplicates(workspace, ("questions",))
    rule = BestOfGroup("question_group")
    save_subset(workspace, SubsetDefinition("it", rule, RUN_ID))
    assert rows(workspace, rule)
