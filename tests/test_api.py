"""``import scoring`` offers the verbs of the command as functions."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import scoring
from tests.fakes import FakeModel
from tests.synthetic import RUN_ID, make_workspace


def test_every_name_can_be_imported() -> None:
    for name in scoring.__all__:
        assert getattr(scoring, name) is not None
    assert scoring.evaluate is scoring.evaluate_predictions
    assert not hasattr(scoring, "nothing")


def test_all_steps_from_a_workspace_to_figures_and_files(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.25, 1.0], with_images=False)
    scoring.build_database(workspace)
    store, scope = scoring.Store(workspace), scoring.Scope(RUN_ID, "none")
    evaluation = scoring.evaluate(store, scope, threshold=0.5)
    assert (evaluation.n_samples, evaluation.n_necessary) == (3, 2)
    text = io.StringIO()
    assert scoring.export_scores(store, scope, text).n_rows == 3
    file = tmp_path / "scores.csv"
    file.write_text(text.getvalue())
    report = scoring.import_scores(workspace, file, run_id="again")
    assert report.statuses["scored"] == 3
    rule = scoring.rule_from_dict({"rule": "threshold", "min": 0.5})
    definition = scoring.SubsetDefinition("some", rule, "again")
    folder = scoring.export_subset(workspace, scoring.Store(workspace), definition).folder
    assert scoring.verify_manifest(folder).n_samples == 2


def test_image_folders_of_an_import_apply_to_an_already_open_workspace(tmp_path: Path) -> None:
    """The folders are declared by the import; the caller's value is older than it."""
    data = Path(__file__).parent.parent / "data" / "demo"
    records = json.loads((data / "records.json").read_text("utf-8"))
    file = tmp_path / "records.json"
    file.write_text(json.dumps([record for record in records if record["source"] == "words"][:3]))
    workspace = scoring.create_workspace(tmp_path / "ws")
    scoring.import_dataset(workspace, [file], [data / "images"])
    run = scoring.score_dataset(workspace, scoring.load_model("tiny-vlm"), run_id="r")
    assert run.statuses == {"scored": 3}


def test_a_subset_is_created_from_options(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.25, 1.0], with_images=False)
    scoring.build_database(workspace)
    options = scoring.SelectOptions("high", "threshold", min=0.5)
    (resolved,) = scoring.create_subsets(workspace, scoring.Store(workspace), options)
    assert resolved.subset.selected.tolist() == [0, 2]
    saved = scoring.read_status(workspace)["subsets"]
    assert saved == ["high"]


def test_options_are_passed_as_an_object_or_by_name(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.25, 1.0])
    options = scoring.ScoreOptions("both", baselines=("none", "gray"))  # type: ignore[call-arg]
    summary = scoring.score_dataset(workspace, FakeModel(), options, limit=2)
    assert (summary.run_id, summary.total, set(summary.by_baseline)) == (
        "both",
        2,
        {"none", "gray"},
    )
    named = scoring.score_dataset(
        workspace, FakeModel(), run_id="both", baselines=("none", "gray"), limit=2
    )
    assert named.done_before == 2
    with pytest.raises(TypeError, match="speed"):
        scoring.score_dataset(workspace, FakeModel(), speed=2)
