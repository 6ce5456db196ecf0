"""How a subset is exported: format, images, weights, turns, card, and where it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import actions, text
from dashboard.components import figures, notices
from dashboard.loaders import Context
from scoring.curation.subsets import SubsetDefinition
from scoring.errors import VisnecError
from scoring.exports import FORMATS, ExportOptions, options_from_dict
from scoring.rules import Weighing

_WAIT_SECONDS = 1.5  # a small export is done before the page is drawn again
_IMAGES = {
    "none": "not along",
    "copy": "copied beside the records",
    "link": "linked beside the records",
    "embed": "inside the table",
}
_WEIGHTS = {
    "column": "as a key or column of each sample",
    "repeat": "as repeated records",
    "ignore": "left out",
}
_TURNS = {
    "keep": "all stay",
    "drop": "low answers go",
    "mask": "low answers are masked",
}


def show(context: Context, definition: SubsetDefinition, place: str) -> None:
    """A button that unfolds the choices; ``place`` shows what came of a short export."""
    name = definition.name
    with st.popover("Export", icon=":material/download:"):
        chosen = _chosen(definition)
        default = actions.export_folder(context.workspace, name, chosen["format"])
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
            _start(context, definition, chosen, folder, there, place)


def _chosen(definition: SubsetDefinition) -> dict[str, Any]:
    name = definition.name
    file_format = st.selectbox("Format", list(FORMATS), key=f"format-{name}")
    figures.show_quiet(FORMATS[file_format])
    chosen: dict[str, Any] = {"format": file_format}
    if chosen["format"] in ("ids", "dropped"):
        return chosen
    images = ["none", "copy", "link"]
    if chosen["format"] in ("parquet", "huggingface"):
        images.append("embed")
    if chosen["format"] != "webdataset":  # which always holds them
        chosen["images"] = st.selectbox(
            "Images", images, key=f"images-{name}", format_func=lambda one: _IMAGES[one]
        )
    if isinstance(definition.rule, Weighing):
        chosen["weights"] = st.selectbox(
            "Weights", list(_WEIGHTS), key=f"weights-{name}", format_func=lambda one: _WEIGHTS[one]
        )
    chosen["turns"] = st.selectbox(
        "Turns", list(_TURNS), key=f"turns-{name}", format_func=lambda one: _TURNS[one]
    )
    if chosen["turns"] != "keep":
        chosen["turn_min"] = st.number_input(
            "Lowest VisNec score of an answer", value=0.0, step=0.05, key=f"turn-min-{name}"
        )
    chosen["card"] = st.checkbox(
        "With a dataset card",
        value=True,
        key=f"card-{name}",
        help="README.md with figures and plots, and Croissant metadata",
    )
    return chosen


def _start(
    context: Context,
    definition: SubsetDefinition,
    chosen: dict[str, Any],
    folder: Path,
    overwrite: bool,
    place: str,
) -> None:
    try:
        options: ExportOptions = options_from_dict(chosen)
        job = actions.start_export(context, definition, options, folder, overwrite)
    except (VisnecError, OSError) as error:
        notices.show_problem(error, "The export was not begun")
        return
    if job.wait(_WAIT_SECONDS) and job.state == "failed":
        actions.dismiss_export(context.workspace, job)
        notices.show_problem(VisnecError(job.said), "The export was not written")
        return
    if job.result is not None:
        actions.dismiss_export(context.workspace, job)
        n = text.plural(job.result.n_samples, "sample")
        notices.remember("done", f"Exported {n} of {definition.name}", str(job.folder), place)
    st.rerun()
