"""``import scoring`` offers the verbs of the command as functions."""

from __future__ import annotations

import io
import json
from pathlib import Path

import scoring
from tests.synthetic import RUN_ID, make_workspace


def test_every_name_is_there() -> None:
    for name in scoring.__all__:
        assert getattr(scoring, name) is not None
    assert scoring.evaluate is scoring.evaluate_predictions
    assert not hasattr(scoring, "nothing")


def test_the_way_from_a_workspace_to_figures_and_files(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.25, 1.0], with_images=False)
    scoring.build_database(workspace)
    store, scope = scoring.Store(workspace), scoring.Scope(RUN_ID, "none")
    found = scoring.evaluate(store, scope, threshold=0.5)
    assert (found.n_samples, found.n_necessary) == (3, 2)
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


def test_image_folders_of_an_import_count_in_a_workspace_opened_before(tmp_path: Path) -> None:
    """The folders are declared by the import; the caller's value is older than it."""
    data = Path(__file__).parent.parent / "data" / "demo"
    records = json.loads((data / "records.json").read_text("utf-8"))
    file = tmp_path / "records.json"
    file.write_text(json.dumps([record for record in records if record["source"] == "words"][:3]))
    workspace = scoring.create_workspace(tmp_path / "ws")
    scoring.import_dataset(workspace, [file], [data / "images"])
    run = scoring.score_dataset(workspace, scoring.load_model("tiny-vlm"), run_id="r")
    assert run.statuses == {"scored": 3}
