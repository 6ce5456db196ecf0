"""The choices of an export: the settings in the form are those of the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dashboard.data.context import Context
from dashboard.data.exports import default_export_folder, list_export_jobs, start_export
from dashboard.pages.subset.exports import describe_result
from dashboard.pages.subset.rule_choices import read_definition
from dashboard.view.state import RuleKind, View
from scoring.dataset.records import read_samples
from scoring.exchange.imported_columns import import_columns
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.subsets.definitions import read_outcome, save_subset
from tests.dashboard.conftest import Draw, written

# Inputs of the widgets, and the options in the manifest.
CHOICES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "as it comes": ({}, {"card": True}),
    "ids": ({"format": "ids"}, {}),
    "embedded, licence": (
        {"format": "parquet", "images": "embed", "license": "cc-by-4.0"},
        {"images": "embed", "card": True, "license": "cc-by-4.0"},
    ),
    "columns": (
        {"format": "parquet", "columns": "understood", "card": False},
        {"columns": "understood"},
    ),
    "a column of weights": (
        {"format": "jsonl", "weights": "column", "weight-key": "w", "card": False},
        {"weights": "column", "weight_key": "w"},
    ),
    "repeated": (
        {"weights": "repeat", "epoch-size": 30, "export-seed": 7, "card": False},
        {"weights": "repeat", "epoch_size": 30, "seed": 7},
    ),
    "dropped turns": (
        {"turns": "drop", "turn_min": 0.25, "turn_max": 2.0, "card": False},
        {"turns": "drop", "turn_min": 0.25, "turn_max": 2.0},
    ),
    "messages with scores": (
        {"format": "messages", "images": "embed", "scores": True, "card": False},
        {"images": "embed", "scores": True},
    ),
    "a prefix": (
        {"image-prefix": "/data", "card": False},
        {"image_prefix": "/data"},
    ),
    "imported columns": (
        {"format": "jsonl", "add-columns": ["made"], "card": False},
        {"add_columns": ("made",)},
    ),
    "records as imported": (
        {"edits": "ignore", "card": False},
        {"edits": "ignore"},
    ),
    "masked turns": (
        {"turns": "mask", "turn_max": 0.5, "mask-key": "train", "card": False},
        {"turns": "mask", "turn_min": 0.0, "turn_max": 0.5, "mask_key": "train"},
    ),
}
OPENED = {"export-options-it-0": True}
FIRST = ("trainer", "format", "weights", "turns", "card")  # others appear with them


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_chosen_is_what_is_exported(
    root: Path, context: Context, draw: Draw, name: str
) -> None:
    chosen, expected = CHOICES[name]
    if "add-columns" in chosen:
        values = root.parent / "made.csv"
        values.write_text("row_idx,made\n0,5\n")
        import_columns(context.workspace, values)
    rule = RuleKind.WEIGHTS if "weights" in chosen else RuleKind.TOP_SHARE
    save_subset(context.workspace, read_definition(context, View(rule=rule), "it"))
    app = draw("subset", session=OPENED)
    for key in sorted(chosen, key=lambda one: one not in FIRST):
        find(app, f"{key}-it").set_value(chosen[key]).run()
    app.button("export-it").click().run()
    assert not app.exception, app.exception
    for job in list_export_jobs(context.workspace.root):
        assert job.wait_for_end(60)
        assert job.state == "done", job.error
    file_format = chosen.get("format", "llava")
    folder = default_export_folder(context.workspace, "it", file_format)
    options = read_manifest(folder).options.to_dict()
    if rule is RuleKind.TOP_SHARE:
        options.pop("weights", None)
    assert options == {"format": file_format, **expected}


def find(app: Any, key: str) -> Any:
    """Return the widget of this key, of any kind."""
    kinds = (app.selectbox, app.number_input, app.text_input, app.checkbox, app.multiselect)
    [found] = [one for kind in kinds for one in kind if one.key == key]
    return found


def test_options_are_drawn_once_opened_and_kept_when_closed(
    root: Path, context: Context, draw: Draw
) -> None:
    save_subset(context.workspace, read_definition(context, View(rule=RuleKind.TOP_SHARE), "it"))
    app = draw("subset")
    assert "format-it" not in [one.key for one in app.selectbox]
    app.session_state["export-options-it-0"] = True
    find(app.run(), "license-it").set_value("cc0-1.0").run()
    app.session_state["export-options-it-0"] = False
    assert find(app.run(), "license-it").value == "cc0-1.0"


def test_an_export_for_a_trainer_shows_how_to_start(
    root: Path, context: Context, draw: Draw
) -> None:
    save_subset(context.workspace, read_definition(context, View(rule=RuleKind.TOP_SHARE), "it"))
    app = draw("subset", session=OPENED)
    find(app, "trainer-it").set_value("trl").run()
    assert "mask" not in find(app, "turns-it:trl").options
    app.button("export-it").click().run()
    for job in list_export_jobs(context.workspace.root):
        assert job.wait_for_end(60)
    folder = default_export_folder(context.workspace, "it", "messages")
    options = read_manifest(folder).options
    assert (options.trainer, options.format, options.images) == ("trl", "messages", "embed")
    said = written(app) + written(app.run())  # at once, or in the list of exports
    assert f"Train with TRL: trl sft --model_name_or_path MODEL --dataset_name {folder}" in said
    assert "TRL needs a chat template with {% generation %} marks" in said
    assert "cannot be moved" not in said  # its images are embedded


def test_an_export_that_cannot_be_moved_reports_it(root: Path, context: Context) -> None:
    definition = read_definition(context, View(rule=RuleKind.TOP_COUNT, count=5, hand=False), "it")
    chosen = ExportOptions(trainer="llamafactory")
    folder = default_export_folder(context.workspace, "it", chosen.format)
    job = start_export(context.workspace, definition, chosen, folder, allow_missing_images=True)
    assert job.wait_for_end(60)
    title, text = describe_result(job)
    assert title == "Exported 5 samples of it"
    assert "absolute paths in its folder, so it cannot be moved" in text


def test_two_exports_side_by_side(root: Path, context: Context, draw: Draw) -> None:
    for name, count in (("few", 10), ("more", 20)):
        view = View(rule=RuleKind.TOP_COUNT, count=count, hand=False)
        definition = read_definition(context, view, name)
        job = start_export(
            context.workspace,
            definition,
            options(),
            default_export_folder(context.workspace, name, "llava"),
        )
        assert job.wait_for_end(60)
    app = draw("subset")
    assert "Difference" not in written(app)
    app.button("compare_exports").click().run()
    said = written(app)
    assert ">50.0 %</div>" in said  # ten of twenty
    assert "Difference" in said
    assert "subset.rule.count" in said
    app.selectbox("export_a").set_value("more").run()
    assert "Difference" not in written(app)  # asked about other exports
    app.button("compare_exports").click().run()
    assert "both manifests are the same" in written(app)


def options() -> Any:
    return ExportOptions("llava")


def test_missing_images_are_counted_and_may_be_left_out(
    root: Path, context: Context, draw: Draw
) -> None:
    definition = read_definition(context, View(rule=RuleKind.TOP_COUNT, count=5, hand=False), "it")
    save_subset(context.workspace, definition)
    rows = read_outcome(context.workspace, context.store, definition).subset.selected
    images = {image for one in read_samples(context.workspace, rows) for image in one.images}
    for image in images:
        (root / "images" / image).unlink()
    app = draw("subset", session=OPENED)
    find(app, "images-it").set_value("copy").run()
    app.button("export-it").click().run()
    said = written(app)
    assert "The export failed" in said
    assert f"{len(images)} images are missing, so nothing was exported" in said
    folder = default_export_folder(context.workspace, "it", "llava")
    assert not folder.exists()
    find(app, "allow-missing-it").set_value(True).run()
    app.button("export-it").click().run()
    for job in list_export_jobs(context.workspace.root):
        assert job.wait_for_end(60)
    said = written(draw("subset"))
    assert read_manifest(folder).n_missing_images == len(images)
    assert f"{len(images)} images missing" in said
