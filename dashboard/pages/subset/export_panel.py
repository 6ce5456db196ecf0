"""How a subset is exported: format, images, weights, turns, card, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.exports import default_export_folder, dismiss_export_job, start_export
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from scoring.errors import VisnecError
from scoring.exports import FORMATS, ExportOptions, options_from_dict
from scoring.exports.options import TABLES
from scoring.rules import WeightingRule
from scoring.subsets.definitions import SubsetDefinition

_WAIT_SECONDS = 1.5  # a small export is done before the page is drawn again
_IMAGES = {
    "none": "not along",
    "copy": "copied beside the records",
    "link": "linked beside the records",
    "embed": "inside the table",
}
_COLUMNS = {
    None: "of a Parquet dataset as they came, else as understood",
    "understood": "as understood: conversations, images, scores, the record",
}
_WEIGHTS = {
    "column": "as a key or column of each sample",
    "repeat": "as repeated records",
    "ignore": "left out",
}
_TURNS = {
    "keep": "all stay",
    "drop": "answers outside of limits go",
    "mask": "answers outside of limits are masked",
}


def show(context: Context, definition: SubsetDefinition, place: str) -> None:
    """A button that unfolds the choices; ``place`` shows what came of a short export."""
    name = definition.name
    with st.popover("Export", icon=":material/download:"):
        chosen = _chosen(definition)
        allow_missing = chosen.pop("allow_missing_images", False)
        default = default_export_folder(context.workspace, name, chosen["format"])
        typed = st.text_input(
            "Folder on this machine",
            key=f"export-to-{name}",
            placeholder=str(default),
            help="A new or empty folder, or an earlier export to replace",
        )
        folder = Path(typed).expanduser() if typed else default
        st.code(str(folder), language=None, wrap_lines=True)
        there = (folder / "manifest.json").exists()
        pressed = st.button(
            "Replace the export there" if there else "Export now",
            key=f"export-{name}",
            type="primary",
        )
        if pressed:
            _start(context, definition, chosen, folder, there, place, allow_missing)


def _chosen(definition: SubsetDefinition) -> dict[str, Any]:
    """The choices as ``options_from_dict`` takes them, and whether images may be missing."""
    name = definition.name
    file_format = st.selectbox("Format", list(FORMATS), key=f"format-{name}")
    figures.show_quiet(FORMATS[file_format])
    chosen: dict[str, Any] = {"format": file_format}
    if file_format in ("ids", "dropped"):
        return chosen
    if file_format != "webdataset":  # which always holds them
        chosen["images"] = _choose_images(name, file_format)
    if file_format == "webdataset" or chosen["images"] != "none":
        chosen["allow_missing_images"] = st.checkbox(
            "Export without missing images",
            key=f"allow-missing-{name}",
            help="Missing images are left out and listed in images.jsonl. Otherwise nothing is "
            "exported while any image is missing.",
        )
    if file_format == "parquet":
        chosen["columns"] = st.selectbox(
            "Columns", list(_COLUMNS), key=f"columns-{name}", format_func=_COLUMNS.__getitem__
        )
    if isinstance(definition.rule, WeightingRule):
        chosen |= _choose_weights(name)
    chosen |= _choose_turns(name)
    chosen["card"] = st.checkbox(
        "With a dataset card",
        value=True,
        key=f"card-{name}",
        help="README.md with figures and plots, and Croissant metadata",
    )
    if chosen["card"]:
        licence = st.text_input(
            "Licence told in the card", key=f"license-{name}", placeholder="such as cc-by-4.0"
        )
        chosen["license"] = licence.strip() or None
    return chosen


def _choose_images(name: str, file_format: str) -> str:
    options = ["none", "copy", "link"] + (["embed"] if file_format in TABLES else [])
    return st.selectbox("Images", options, key=f"images-{name}", format_func=_IMAGES.__getitem__)


def _choose_weights(name: str) -> dict[str, Any]:
    how = st.selectbox(
        "Weights", list(_WEIGHTS), key=f"weights-{name}", format_func=_WEIGHTS.__getitem__
    )
    chosen: dict[str, Any] = {"weights": how}
    if how == "column":
        chosen["weight_key"] = st.text_input(
            "Name of that key", value="weight", key=f"weight-key-{name}"
        )
    if how == "repeat":
        left, right = st.columns(2)
        with left:
            chosen["epoch_size"] = st.number_input(
                "Records in all",
                value=None,
                min_value=1,
                step=1,
                key=f"epoch-size-{name}",
                placeholder="as the weights add up",
            )
        with right:
            chosen["seed"] = st.number_input(
                "Seed", value=0, min_value=0, step=1, key=f"export-seed-{name}"
            )
    return chosen


def _choose_turns(name: str) -> dict[str, Any]:
    how = st.selectbox("Turns", list(_TURNS), key=f"turns-{name}", format_func=_TURNS.__getitem__)
    chosen: dict[str, Any] = {"turns": how}
    if how == "keep":
        return chosen
    # Set before it is drawn, not as its default, which could not be cleared.
    st.session_state.setdefault(f"turn_min-{name}", 0.0)
    limits = (("turn_min", "Answers stay from"), ("turn_max", "and below"))
    for (field, label), column in zip(limits, st.columns(2), strict=True):
        with column:
            chosen[field] = st.number_input(
                label,
                value=None,
                step=0.05,
                key=f"{field}-{name}",
                placeholder="no limit",
                help="VisNec score of the single answer, nats per answer token",
            )
    if how == "mask":
        chosen["mask_key"] = st.text_input(
            "Key that is false in a masked answer", value="loss", key=f"mask-key-{name}"
        )
    return chosen


def _start(
    context: Context,
    definition: SubsetDefinition,
    chosen: dict[str, Any],
    folder: Path,
    overwrite: bool,
    place: str,
    allow_missing: bool,
) -> None:
    try:
        options: ExportOptions = options_from_dict(chosen)
        job = start_export(context, definition, options, folder, overwrite, allow_missing)
    except (VisnecError, OSError) as error:
        notices.show_problem(error, "The export was not begun")
        return
    if job.wait_for_end(_WAIT_SECONDS) and job.state == "failed":
        dismiss_export_job(context.workspace.root, job)
        notices.show_problem(VisnecError(job.error), "The export was not written")
        return
    if job.result is not None:
        dismiss_export_job(context.workspace.root, job)
        n = formatting.plural(job.result.n_samples, "sample")
        said = "\n".join([str(job.folder), *job.result.manifest.image_notes()])
        notices.remember("done", f"Exported {n} of {definition.name}", said, place)
    st.rerun()
