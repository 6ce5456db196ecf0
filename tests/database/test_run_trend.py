"""Several runs in a chosen order: trends on common samples, and what became vision-critical."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import scoring
from scoring.cli import app
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.run_trend import ALL_SOURCES, change_filter, compare_runs
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands
from scoring.samples import Status
from tests.database.conftest import SCOPE
from tests.synthetic import Row, make_workspace, typed_row, write_predictions, write_run

# The sources are scenes, digits, charts, scenes, digits, charts.
FIRST: list[float | Status] = [0.0, 0.5, -1.0, 1.0, 0.125, Status.TEXT_ONLY]
MIDDLE: list[float | Status] = [0.25, 0.5, Status.OUT_OF_MEMORY, 0.0, 0.0, 1.0]
LAST: list[float | Status] = [2.0, 0.125, 0.5, 1.0, 0.25, 1.0]
STEP_2, STEP_3 = (Scope(f"step-{step}", "none", SCOPE.clustering_id) for step in (2, 3))


def list_rows(scores: Sequence[float | Status], n_right: int) -> list[Row]:
    """Rows of a run of which the first ``n_right`` predictions with the image are right."""
    rows = []
    for i, score in enumerate(scores):
        row = typed_row(score, i)
        right, wrong = row.turns[0][1], "no idea"
        answers = (wrong, right if i < n_right else wrong)
        rows.append(replace(row, predictions=answers))
    return rows


@pytest.fixture(scope="module")
def workspace_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six samples and three runs with predictions; four samples are scored in all."""
    root = tmp_path_factory.mktemp("three") / "ws"
    workspace = make_workspace(root, rows=list_rows(FIRST, 2), with_images=False)
    for number, scores, n_right in ((2, MIDDLE, 3), (3, LAST, 5)):
        run_id, rows = f"step-{number}", list_rows(scores, n_right)
        write_run(workspace, rows, "x", run_id=run_id, created_at=f"2026-01-0{number}T00:00:00Z")
        write_predictions(workspace, rows, run_id)
    build_database(workspace)
    return root


@pytest.fixture(scope="module")
def store(workspace_root: Path) -> Store:
    return Store(scoring.open_workspace(workspace_root))


def points_of(frame: pd.DataFrame, source: str, measure: str) -> list[float]:
    values: list[float] = frame[frame["source"] == source][measure].tolist()
    return values


def test_medians_are_about_the_samples_scored_in_all_runs(store: Store) -> None:
    trend = compare_runs(store.selection(SCOPE), [STEP_2, STEP_3])
    assert trend.n_samples == 4  # rows 0, 1, 3 and 4
    # 0 0.125 0.5 1, then 0 0 0.25 0.5, then 0.125 0.25 1 2.
    assert points_of(trend.by_source, ALL_SOURCES, "median") == [0.3125, 0.125, 0.625]
    assert points_of(trend.by_source, "scenes", "median") == [0.5, 0.125, 1.5]
    assert points_of(trend.by_source, "digits", "median") == [0.3125, 0.25, 0.1875]
    assert "charts" not in set(trend.by_source["source"])
    assert set(points_of(trend.by_source, "digits", "n")) == {2}


def test_accuracies_are_about_the_samples_that_all_runs_predicted(store: Store) -> None:
    frame = compare_runs(store.selection(SCOPE), [STEP_2, STEP_3]).by_source
    # Right with the image are rows below 2, 3 and 5, of rows 0, 1, 3 and 4.
    assert points_of(frame, ALL_SOURCES, "seen") == [0.5, 0.5, 1.0]
    assert points_of(frame, ALL_SOURCES, "blind") == [0.0, 0.0, 0.0]
    assert set(points_of(frame, ALL_SOURCES, "n_seen")) == {4}


def test_the_order_is_the_chosen_one(store: Store) -> None:
    turned = compare_runs(store.selection(STEP_3), [SCOPE, STEP_2])
    assert points_of(turned.by_source, ALL_SOURCES, "median") == [0.625, 0.3125, 0.125]
    assert [scope.run_id for scope in turned.scopes] == ["step-3", "tiny-run", "step-2"]


def test_changes_are_between_the_first_and_the_last_run(store: Store) -> None:
    trend = compare_runs(store.selection(SCOPE), [STEP_2, STEP_3])
    assert trend.n_changes == {"became": 3, "stopped": 1}
    assert trend.changes["row_idx"].tolist() == [0, 2, 4, 1]
    assert trend.changes["change"].tolist() == ["became", "became", "became", "stopped"]
    assert trend.changes.iloc[0].tolist() == [0, "scenes", "became", 0.0, 0.25, 2.0]
    assert pd.isna(trend.changes.iloc[1]["score_1"])  # without a score in the middle
    few = compare_runs(store.selection(SCOPE), [STEP_2, STEP_3], max_changes=1)
    assert (few.changes["row_idx"].tolist(), few.n_changes) == ([0, 1], trend.n_changes)


@pytest.mark.parametrize(
    "where", ["", "source:scenes,digits", "category:redundant", "visnec:0.1.."]
)
@pytest.mark.parametrize("bands", [Bands(), Bands(-2.0, 0.2)])
def test_the_filter_of_a_change_selects_its_samples(store: Store, where: str, bands: Bands) -> None:
    selection = store.selection(SCOPE, parse_filter(where), bands)
    trend = compare_runs(selection, [STEP_2, STEP_3])
    for change in ("became", "stopped"):
        rows = trend.changes[trend.changes["change"] == change]["row_idx"]
        linked = change_filter(selection.where, STEP_3, change)
        if linked.category:
            found = matching_rows(store.selection(SCOPE, linked, bands)).tolist()
            assert found == sorted(rows)
        else:
            assert not len(rows)


def test_two_different_runs_are_needed(store: Store) -> None:
    with pytest.raises(InputError, match="two or more different runs"):
        compare_runs(store.selection(SCOPE), [])
    with pytest.raises(InputError, match="two or more different runs"):
        compare_runs(store.selection(SCOPE), [STEP_2, SCOPE])
    with pytest.raises(InputError, match="no scores of run 'step-9'"):
        compare_runs(store.selection(SCOPE), [Scope("step-9")])


def test_no_common_sample_and_no_predictions(tmp_path: Path) -> None:
    workspace = make_workspace(
        tmp_path / "ws", visnec=[0.5, None], with_images=False, with_predictions=False
    )
    rows = [typed_row(score, i) for i, score in enumerate([None, 0.5])]
    write_run(workspace, rows, "x", run_id="step-2", created_at="2026-01-03T00:00:00Z")
    build_database(workspace)
    trend = compare_runs(Store(workspace).selection(SCOPE, Filter()), [STEP_2])
    assert (trend.n_samples, len(trend.changes)) == (0, 0)
    assert trend.by_source["median"].isna().all()
    assert trend.to_dict()["by_source"][0]["seen"] is None


def test_the_command_lists_and_writes_the_changes(workspace_root: Path, tmp_path: Path) -> None:
    target = tmp_path / "changes.csv"
    arguments = ["compare", "tiny-run", "step-2/none", "step-3", "-w", str(workspace_root)]
    result = CliRunner().invoke(app, [*arguments, "--json", "--rows", "--to", str(target)])
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["runs"] == ["tiny-run/none", "step-2/none", "step-3/none"]
    assert (values["n_samples"], values["n_became"], values["n_stopped"]) == (4, 3, 1)
    assert [row["row_idx"] for row in values["became"]] == [0, 2, 4]
    assert values["became"][1]["step-2/none"] is None
    lines = target.read_text("utf-8").splitlines()
    assert lines[0] == "row_idx,source,change,tiny-run/none,step-2/none,step-3/none"
    assert lines[2] == "2,charts,became,-1.0,,0.5"
