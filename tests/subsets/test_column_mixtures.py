"""Mixtures of groups by a column: drawn, saved, exported with the column pinned, refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.database.connection import Store
from scoring.errors import FilterError, RuleError, VerificationError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.rules import Control, Mixture
from scoring.subsets.definitions import SubsetDefinition, read_outcome, read_subset, save_subset
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, make_workspace

TOPICS = ["maps", "text", "maps", None, "maps", "text", "maps", "art"]
RECORDS = [
    {"row_idx": row, "leak": row % 2 == 0, "clip": 0.5, "rating": [1.0]}
    | ({"topic": topic} if topic else {})
    for row, topic in enumerate(TOPICS)
]
HALVES = Mixture((("maps", 0.5), ("text", 0.5)), per="col:topic", count=8, max_repeat=3)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5] * 8, with_images=False)
    write_columns(workspace, RECORDS)
    return workspace


def write_columns(workspace: Workspace, records: list[dict[str, object]]) -> None:
    path = workspace.root.parent / "columns.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), "utf-8")
    import_columns(workspace, path, replace_existing=True)


def define(rule: Mixture | Control, where: str = "") -> SubsetDefinition:
    return SubsetDefinition("it", rule, RUN_ID, where=where)


def count_topics(workspace: Workspace, rule: Mixture, where: str = "") -> dict[str, int]:
    """How many samples, repeats included, the mixture has of each topic."""
    frame = read_outcome(workspace, Store(workspace), define(rule, where)).mixture()
    return {str(name): int(n) for name, n in frame["repeated"].items()}


def test_groups_are_the_values_of_a_column(workspace: Workspace) -> None:
    # four samples of maps once; two of text twice each
    assert count_topics(workspace, HALVES) == {"art": 0, "maps": 4, "text": 4, "(no value)": 0}
    rest = Mixture((("maps", 0.25),), per="col:topic", count=4)  # 3 of text, art and no value
    counts = count_topics(workspace, rest)
    assert (counts["maps"], sum(counts.values())) == (1, 4)
    everything = Mixture((("maps", 0.0),), per="col:topic", count=4)
    assert count_topics(workspace, everything) == {"art": 1, "maps": 0, "text": 2, "(no value)": 1}
    odd = Mixture((("text", 1.0),), per="col:topic", share=1.0)  # 4 of rows 1, 3, 5 and 7
    assert count_topics(workspace, odd, where="col:leak=false")["text"] == 2


def test_booleans_are_groups(workspace: Workspace) -> None:
    rule = Mixture((("false", 1.0),), per="col:leak", share=1.0)
    outcome = read_outcome(workspace, Store(workspace), define(rule))
    assert outcome.subset.selected.tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("per", "problem"),
    [
        ("col:clip", "has number values; groups need one text per sample"),
        ("col:rating", "has one value per answer; groups need one text per sample"),
        ("col:other", "No column 'other'. Columns: clip, leak, rating, topic"),
    ],
)
def test_columns_that_cannot_be_grouped_by(workspace: Workspace, per: str, problem: str) -> None:
    rule = Mixture((("maps", 0.5),), per=per, count=2)
    with pytest.raises(FilterError, match=re.escape(problem)):
        read_outcome(workspace, Store(workspace), define(rule))


def test_unknown_values_and_groups_are_refused(workspace: Workspace) -> None:
    rule = Mixture((("cars", 0.5),), per="col:topic", count=2)
    with pytest.raises(RuleError, match=r"Unknown col:topic 'cars' in --target\. Choose from: art"):
        read_outcome(workspace, Store(workspace), define(rule))
    with pytest.raises(RuleError, match=r"Invalid --per 'col:'\. Choose one of: .*col:NAME"):
        Mixture((("cars", 0.5),), per="col:", count=2)


def test_a_control_reads_the_column_of_its_mixture(workspace: Workspace) -> None:
    rule = Mixture((("maps", 0.5),), per="col:topic", count=4)
    control = read_outcome(workspace, Store(workspace), define(Control(rule, seed=3)))
    assert len(control.subset.selected) == 4


def test_an_export_pins_the_column(workspace: Workspace) -> None:
    save_subset(workspace, define(HALVES))
    definition = read_subset(workspace, "it")
    assert definition.rule == HALVES
    options = ExportOptions("jsonl", weights="repeat")
    folder = export_subset(
        workspace, Store(workspace), definition, format=options, allow_missing_images=True
    ).folder
    parts = [part.name for part in read_manifest(folder).inputs.parts]
    assert [name.split("/")[1] for name in parts if name.startswith("columns/")] == ["topic"]
    assert verify_manifest(folder, workspace).n_samples == 6
    moved = [record | {"topic": "maps"} for record in RECORDS]
    write_columns(workspace, moved)
    with pytest.raises(VerificationError, match=r"columns/topic/values-\w+.parquet is gone"):
        verify_manifest(folder, workspace)


def test_the_command(workspace: Workspace) -> None:
    command = ["select", "-w", str(workspace.root), "--name", "m", "--rule", "mixture", "--json"]
    command += ["--per", "col:topic", "--target", "maps=0.5", "--target", "text=0.5"]
    done = CliRunner().invoke(cli.app, [*command, "--count", "8", "--max-repeat", "3"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rule"] == HALVES.to_dict()
    table = {row["col:topic"]: row for row in found["mixture"]}
    assert (table["text"]["samples"], table["text"]["repeated"]) == (2, 4)
