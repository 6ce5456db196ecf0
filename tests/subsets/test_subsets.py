"""Saved definitions, what they come to, and the tables before and after."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError, RuleError, WorkspaceError
from scoring.necessity import Bands
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import log_offsets, open_review_log
from scoring.rules import PaperTopShare, RandomShare, Threshold, TopCount
from scoring.samples import Status
from scoring.subsets.definitions import (
    SubsetDefinition,
    delete_subset,
    list_subsets,
    read_outcome,
    read_subset,
    save_subset,
)
from scoring.workspace import Workspace
from tests.synthetic import CLUSTERING_ID, RUN_ID, make_workspace

TOP = SubsetDefinition("top", TopCount(3), RUN_ID, created_at="2026-01-01T00:00:00+00:00")
# row:                  0    1     2    3    4                 5                6    7
VISNEC: list[float | Status | None] = [
    0.5,
    -0.25,
    0.125,
    1.0,
    Status.TEXT_ONLY,
    Status.NO_ANSWER,
    0.5,
    None,
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    tokens = [4, 8, 4, 2, 4, 4, 16, 4]
    workspace = make_workspace(tmp_path / "ws", visnec=VISNEC, tokens=tokens, with_images=False)
    build_database(workspace)
    return workspace


def test_definitions_are_saved_read_and_listed(workspace: Workspace) -> None:
    later = SubsetDefinition(
        "a.paper-2", PaperTopShare(0.2), RUN_ID, "gray", CLUSTERING_ID, "keep", "keep", False
    )
    for definition in (later, TOP):
        path = save_subset(workspace, definition)
        assert path == workspace.subsets_dir / f"{definition.name}.json"
        assert read_subset(workspace, definition.name) == definition
    assert list_subsets(workspace) == [TOP, later]
    delete_subset(workspace, "top")
    assert list_subsets(workspace) == [later]


def test_a_name_is_not_reused_for_another_definition(workspace: Workspace) -> None:
    save_subset(workspace, TOP)
    save_subset(workspace, replace(TOP, created_at="2027-01-01T00:00:00+00:00"))
    other = replace(TOP, rule=TopCount(4))
    with pytest.raises(InputError, match=r"'top' is already saved with other settings \(top-count"):
        save_subset(workspace, other)
    assert read_subset(workspace, "top") == TOP
    save_subset(workspace, other, overwrite=True)
    assert read_subset(workspace, "top") == other


def test_unknown_and_unreadable_subsets_are_reported(workspace: Workspace) -> None:
    save_subset(workspace, TOP)
    with pytest.raises(InputError, match=r"No subset 'best' in .*\. Saved subsets: top"):
        read_subset(workspace, "best")
    for name in ("../top", "a/b", "", ".hidden"):
        with pytest.raises(InputError, match="Invalid subset name"):
            read_subset(workspace, name)
    (workspace.subsets_dir / "top.json").write_text('{"name": "top"}')
    with pytest.raises(WorkspaceError, match=r"top.json is not a subset .*'rule'"):
        list_subsets(workspace)


def test_a_definition_checks_its_options() -> None:
    with pytest.raises(InputError, match="text_only must be drop or keep, got 'all'"):
        replace(TOP, text_only="all")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Invalid subset name 'a b'"):
        replace(TOP, name="a b")


@pytest.mark.parametrize(
    ("definition", "rows"),
    [
        (TOP, [0, 3, 6]),
        (replace(TOP, rule=TopCount(2)), [0, 3]),
        (replace(TOP, rule=Threshold(min=0.125)), [0, 2, 3, 6]),
        (replace(TOP, text_only="keep"), [0, 3, 4, 6]),
        (replace(TOP, unscored="keep"), [0, 3, 5, 6, 7]),
        # typed_row puts row r into cluster r % 3: {0, 3, 6}, {1, 7}, {2, 5}; the scored of them:
        # 0.5 1.0 0.5 | -0.25 | 0.125
        (replace(TOP, rule=PaperTopShare(0.67), clustering_id=CLUSTERING_ID), [0, 3]),
        (replace(TOP, rule=PaperTopShare(1.0), clustering_id=CLUSTERING_ID), [0, 2, 3, 6]),
        (replace(TOP, rule=RandomShare(share=1.0)), [0, 1, 2, 3, 6]),
    ],
)
def test_a_definition_selects_these_rows(
    workspace: Workspace, definition: SubsetDefinition, rows: list[int]
) -> None:
    assert read_outcome(workspace, Store(workspace), definition).subset.selected.tolist() == rows


def test_cluster_rules_need_a_clustering(workspace: Workspace) -> None:
    with pytest.raises(RuleError, match="5 scored samples have none"):
        read_outcome(workspace, Store(workspace), replace(TOP, rule=PaperTopShare()))


def test_decisions_count_at_once_and_up_to_an_offset(workspace: Workspace) -> None:
    store = Store(workspace)
    log = open_review_log(workspace, "ada", "desk")
    log.append([DecisionDraft(3, Decision.DROP), DecisionDraft(1, Decision.KEEP)])
    offsets = log_offsets(workspace)
    assert read_outcome(workspace, store, TOP).subset.selected.tolist() == [0, 1, 6]
    log.append([DecisionDraft(0, Decision.DROP)])
    open_review_log(workspace, "ben", "desk").append([DecisionDraft(1, Decision.DROP)])
    assert read_outcome(workspace, store, TOP).subset.selected.tolist() == [6]
    assert read_outcome(workspace, store, TOP, until=offsets).subset.selected.tolist() == [0, 1, 6]
    by_rule = replace(TOP, hand_wins=False)
    assert read_outcome(workspace, store, by_rule).subset.selected.tolist() == [0, 3, 6]


def test_tables_before_and_after(workspace: Workspace) -> None:
    open_review_log(workspace, "ada", "desk").append(
        [DecisionDraft(4, Decision.KEEP), DecisionDraft(6, Decision.DROP)]
    )
    outcome = read_outcome(workspace, Store(workspace), TOP)
    assert outcome.subset.selected.tolist() == [0, 3, 4]
    # Sources alternate: rows 0, 3, 6 are scenes, 1, 4, 7 digits, 2, 5 charts.
    by_source = outcome.by_source()
    assert by_source.index.tolist() == ["charts", "digits", "scenes"]
    assert by_source["samples"].tolist() == [2, 3, 3]
    assert by_source["kept"].tolist() == [0, 1, 2]
    assert by_source["dropped"].tolist() == [2, 2, 1]
    assert by_source["kept_tokens"].tolist() == [0, 0, 4 + 2]
    assert by_source["share"].tolist() == [0.0, 1 / 3, 2 / 3]
    by_status = outcome.by_status()
    assert by_status.index.tolist() == ["scored", "pending", "text_only", "no_answer"]
    assert by_status["samples"].tolist() == [5, 1, 1, 1]
    assert by_status["kept"].tolist() == [2, 0, 1, 0]
    by_category = outcome.by_category(Bands(low=0.0, high=0.5))
    assert by_category["samples"].to_dict() == {
        "misaligned": 1,
        "redundant": 1,
        "vision-critical": 3,
        "no score": 3,
    }
    assert by_category["kept"].tolist() == [0, 0, 2, 1]
    assert outcome.by_cluster()["samples"].to_dict() == {-1: 8}
    reasons = {(row.outcome, row.reason): row.samples for row in outcome.reasons().itertuples()}
    assert reasons == {
        ("kept", "rule"): 2,
        ("kept", "reviewer"): 1,
        ("dropped", "rule"): 2,
        ("dropped", "reviewer"): 1,
        ("dropped", "status"): 2,
    }
