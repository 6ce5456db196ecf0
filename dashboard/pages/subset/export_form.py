"""The options of an export: format, images, weights, turns, card, and folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.exports import default_export_folder, dismiss_export_job, start_export
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from scoring.errors import VisnecError
from scoring.exports.options import FORMATS, MANIFEST, TABLES, ExportOptions
from scoring.rules import Weights
from scoring.subsets.definitions import SubsetDefinition

_WAIT_SECONDS = 1.5  # a small export finishes before the page is drawn again
_IMAGES = {
    "none": "not included",
    "copy": "copied next to the records",
    "link": "linked next to the records",
    "embed": "inside the table",
}
_COLUMNS = {
    None: "original columns of a Parquet dataset, else parsed",
    "understood": "parsed: conversations, images, scores, the record",
}
_WEIGHTS = {
    "column": "as a key or column of each sample",
    "repeat": "as repeated records",
    "ignore": "left out",
}
_TURNS = {
    "keep": "keep all",
    "drop": "drop answers outside the limits",
    "mask": "mask answers outside the limits",
}


def show_export_button(context: Context, definition: SubsetDefinition, section: str) -> None:
    """Show a button that unfolds the options; ``section`` shows the outcome of a short export."""
    name = definition.name
    with st.popover("Export", icon=":material/download:"):
        chosen = _choose_options(definition)
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
        exists = (folder / MANIFEST).exists()
        if st.button(
            "Replace the existing export" if exists else "Export now",
            key=f"export-{name}",
            type="primary",
        ):
            _start_export(context, definition, chosen, folder, exists, section, allow_missing)


def _choose_options(definition: SubsetDefinition) -> dict[str, Any]:
    """Return the arguments of ``ExportOptions``, and whether images may be missing."""
    name = definition.name
    file_format = st.selectbox("Format", list(FORMATS), key=f"format-{name}")
    figures.show_caption(FORMATS[file_format])
    chosen: dict[str, Any] = {"format": file_format}
    if file_format in ("ids", "dropped"):
        return chosen
    if file_format != "webdataset":  # which always contains them
        images = ["none", "copy", "link"] + (["embed"] if file_format in TABLES else [])
        chosen["images"] = st.selectbox(
            "Images", images, key=f"images-{name}", format_func=_IMAGES.__getitem__
        )
    if file_format == "webdataset" or chosen["images"] != "none":
        chosen["allow_missing_images"] = st.checkbox(
            "Export without missing images",
            key=f"allow-missing-{name}",
            help="Missing images are left out and listed in images.jsonl. Otherwise one missing "
            "image stops the export.",
        )
    if file_format == "parquet":
        chosen["columns"] = st.selectbox(
            "Columns", list(_COLUMNS), key=f"columns-{name}", format_func=_COLUMNS.__getitem__
        )
    if isinstance(definition.rule, Weights):
        chosen |= _choose_weights(name)
    chosen |= _choose_turns(name)
    chosen["card"] = st.checkbox(
        "Dataset card",
        value=True,
        key=f"card-{name}",
        help="README.md with figures and plots, and Croissant metadata",
    )
    if chosen["card"]:
        license_id = st.text_input(
            "License for the dataset card",
            key=f"license-{name}",
            placeholder="such as cc-by-4.0",
        )
        chosen["license"] = license_id.strip() or None
    return chosen


def _choose_weights(name: str) -> dict[str, Any]:
    how = st.selectbox(
        "Weights", list(_WEIGHTS), key=f"weights-{name}", format_func=_WEIGHTS.__getitem__
    )
    chosen: dict[str, Any] = {"weights": how}
    if how == "column":
        chosen["weight_key"] = st.text_input("Weight key", value="weight", key=f"weight-key-{name}")
    if how == "repeat":
        left, right = st.columns(2)
        with left:
            chosen["epoch_size"] = st.number_input(
                "Records in total",
                value=None,
                min_value=1,
                step=1,
                key=f"epoch-size-{name}",
                placeholder="sum of the weights",
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
    # Set in the state, not as a default: a default cannot be cleared.
    st.session_state.setdefault(f"turn_min-{name}", 0.0)
    limits = (("turn_min", "Answer score from"), ("turn_max", "below"))
    for (field, label), column in zip(limits, st.columns(2), strict=True):
        with column:
            chosen[field] = st.number_input(
                label,
                value=None,
                step=0.05,
                key=f"{field}-{name}",
                placeholder="no limit",
                help="VisNec score of a single answer, nats per answer token",
            )
    if how == "mask":
        chosen["mask_key"] = st.text_input(
            "Key that is false in masked answers", value="loss", key=f"mask-key-{name}"
        )
    return chosen


def _start_export(
    context: Context,
    definition: SubsetDefinition,
    chosen: dict[str, Any],
    folder: Path,
    overwrite: bool,
    section: str,
    allow_missing: bool,
) -> None:
    try:
        options = ExportOptions(**chosen)
        job = start_export(context, definition, options, folder, overwrite, allow_missing)
    except (VisnecError, OSError) as error:
        notices.show_problem(error, "The export was not started")
        return
    if job.wait_for_end(_WAIT_SECONDS) and job.state == "failed":
        dismiss_export_job(context.workspace.root, job)
        notices.show_problem(VisnecError(job.error), "The export failed")
        return
    if job.result is not None:
        dismiss_export_job(context.workspace.root, job)
        n_samples = formatting.plural(job.result.n_samples, "sample")
        details = "\n".join([str(job.folder), *job.result.manifest.image_notes()])
        notices.set_message("done", f"Exported {n_samples} of {definition.name}", details, section)
    st.rerun()
