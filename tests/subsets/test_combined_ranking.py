"""Subsets that rank by columns: read, saved, exported, verified, compared and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.connection import Store
from scoring.errors import FilterError, VerificationError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.verify import verify_manifest
from scoring.necessity import DEFAULT_BANDS
from scoring.precision import noise_of
from scoring.rules import Budget, Rule, Threshold, TopCount
from scoring.subsets.definitions import SubsetDefinition, read_outcome, read_subset, save_subset
from scoring.subsets.stability import (
    count_near_threshold,
    format_near_threshold,
    inclusion_probabilities,
)
from scoring.trials.controls import draw_control, find_obstacle
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, Row, make_workspace

_TURN = ("What?", "Red", 4, 1.0, 0.5)  # tokens, text-only loss, multimodal loss: a score of 0.5
RECORDS = [
    {"row_idx": 0, "clip": 0.25, "rating": [5, 1]},
    {"row_idx": 1, "clip": 0.75, "rating": [4, 2]},
    {"row_idx": 2, "clip": 0.5, "rating": [3], "origin": "web"},
    {"row_idx": 3, "clip": 1.0},
    {"row_idx": 4, "rating": [4]},
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    turns = [(_TURN, _TURN), (_TURN, _TURN), (_TURN,), (_TURN,), (_TURN,)]
    rows = [Row(turns=each, image=f"{n}.png") for n, each in enumerate(turns)]
    workspace = make_workspace(tmp_path / "ws", rows=rows, with_images=False)
    write_columns(workspace, "clip", "rating", "origin")
    return workspace


def write_columns(workspace: Workspace, *names: str, clip: float = 0.25) -> None:
    path = workspace.root.parent / "columns.jsonl"
    records = [RECORDS[0] | {"clip": clip}, *RECORDS[1:]]
    path.write_text("\n".join(map(json.dumps, records)), "utf-8")
    import_columns(workspace, path, columns=names, replace_existing=True)


def define(rule: Rule, **choices: str) -> SubsetDefinition:
    return SubsetDefinition("it", rule, RUN_ID, **choices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rank_by", "best"),
    [
        ("col:clip", 3),
        ("-col:clip", 0),
        ("col:rating.min", 4),  # 1, 2, 3 and 4
        ("col:rating.max", 0),  # 5, 4, 3 and 4
        ("col:rating.mean - visnec", 4),  # 3, 3, 3 and 4
        ("col:rating.mean + 0.001*col:clip", 1),  # rows 0 to 2 have both, the same mean each
    ],
)
def test_columns_of_samples_and_of_answers(workspace: Workspace, rank_by: str, best: int) -> None:
    outcome = read_outcome(workspace, Store(workspace), define(TopCount(1, rank_by=rank_by)))
    assert outcome.subset.selected.tolist() == [best]


@pytest.mark.parametrize(
    ("rank_by", "problem"),
    [
        ("col:rating", "one value per answer. Use rating.min, rating.max or rating.mean"),
        ("col:origin", "has text values, not numbers"),
        ("col:other", "No column 'other'. Columns: clip, origin, rating"),
    ],
)
def test_columns_that_cannot_be_ranked_by(workspace: Workspace, rank_by: str, problem: str) -> None:
    with pytest.raises(FilterError, match=problem):
        read_outcome(workspace, Store(workspace), define(TopCount(1, rank_by=rank_by)))


def test_the_reason_and_the_filter(workspace: Workspace) -> None:
    definition = define(TopCount(1, rank_by="visnec + col:clip"), where="turns:1..2")
    outcome = read_outcome(workspace, Store(workspace), definition)
    reasons = [outcome.subset.find_reason(row).value for row in range(5)]
    assert reasons == ["filter", "filter", "rule", "rule", "not_ranked"]
    assert outcome.subset.selected.tolist() == [3]
    assert outcome.describe_unranked() == (
        "1 of 3 scored samples lack a value that the rule ranks by and are not ranked; shares are "
        "of the others"
    )
    plain = read_outcome(workspace, Store(workspace), define(Threshold(0.0)))
    assert plain.describe_unranked() is None


def test_an_export_pins_the_columns(workspace: Workspace) -> None:
    rule = Budget(2, rank_by="visnec + col:clip - col:rating.max")
    save_subset(workspace, define(rule))
    definition = read_subset(workspace, "it")
    assert definition.rule == rule
    folder = export_subset(workspace, Store(workspace), definition).folder
    parts = [part.name.split("/")[1] for part in read_manifest(folder).inputs.parts]
    assert parts == ["clip", "rating", *parts[2:]]
    assert "origin" not in parts
    assert read_manifest(folder).subset.rule == rule
    assert not verify_manifest(folder, workspace).changed_inputs
    write_columns(workspace, "clip", clip=9.0)
    with pytest.raises(VerificationError, match=r"columns/clip/values-\w+.parquet is gone"):
        verify_manifest(folder, workspace)


def test_stability_draws_the_score_and_not_the_columns(workspace: Workspace) -> None:
    outcome = read_outcome(
        workspace, Store(workspace), define(TopCount(1, rank_by="0.001*visnec + col:clip"))
    )
    rule, candidates = outcome.definition.rule, outcome.candidates
    result = inclusion_probabilities(rule, candidates, "bfloat16", n_draws=20)
    assert result.inclusion[:4].tolist() == [0, 0, 0, 1]
    assert format_near_threshold(rule, candidates, noise_of("bfloat16")) is None
    assert count_near_threshold(TopCount(1), candidates, noise_of("bfloat16")) == 5  # type: ignore[arg-type]


def test_band_draws_among_the_ranked_samples(workspace: Workspace) -> None:
    store = Store(workspace)
    resolved = read_outcome(workspace, store, define(TopCount(1, rank_by="col:clip")))
    rows = {
        int(draw_control(resolved, "band", DEFAULT_BANDS, seed).row_idx[0]) for seed in range(60)
    }
    assert rows == {0, 1, 2, 3}
    resolved = read_outcome(workspace, store, define(TopCount(1, rank_by="-visnec")))
    assert "has no control 'band'" in str(find_obstacle(resolved, "band", DEFAULT_BANDS))


def test_the_command(workspace: Workspace) -> None:
    command = ["select", "-w", str(workspace.root), "--name", "two", "--rule", "top-count"]
    ranking = ["--rank-by", "visnec + 0.5*col:clip", "--normalise", "rank"]
    done = CliRunner().invoke(cli.app, [*command, "--count", "2", *ranking, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rule"] == {
        "rule": "top-count",
        "count": 2,
        "rank_by": "visnec + 0.5*col:clip",
        "normalise": "rank",
    }
    assert json.loads(done.stdout)["n_selected"] == 2
    printed = " ".join(done.stderr.split())
    assert "1 of 5 scored samples lack a value" in printed
    assert "Not measured with a combined ranking." in printed
    assert "top-count count=2 rank_by=visnec + 0.5*col:clip normalise=rank" in printed
