"""The form with the options of an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.widgets import figures
from scoring.exports.options import EMBEDDING, FORMATS, TABLES
from scoring.exports.trainers import TRAINERS, Trainer
from scoring.rules import Mixture, Weights
from scoring.subsets.definitions import SubsetDefinition

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
_EDITS = {
    "apply": "apply reviewers' edits",
    "ignore": "records as imported",
    "only": "only edited samples",
}
_WEIGHTS = {
    "column": "as a key or column of each sample",
    "repeat": "as repeated records",
    "source": "as weights of sources",
    "ignore": "left out",
}
_TURNS = {
    "keep": "keep all",
    "drop": "drop answers outside the limits",
    "mask": "mask answers outside the limits",
}


def choose_options(definition: SubsetDefinition, columns: Sequence[str] = ()) -> dict[str, Any]:
    """Return the arguments of ``ExportOptions``, and whether images may be missing.

    ``columns`` are the imported columns that can be added.
    """
    name = definition.name
    titles: dict[str | None, str] = {None: "any"}
    titles |= {key: trainer.title for key, trainer in TRAINERS.items()}
    chosen: dict[str, Any] = {"trainer": _select(name, "trainer", titles)}
    trainer = TRAINERS.get(chosen["trainer"])
    form = f"{name}:{chosen['trainer']}" if trainer else name  # each trainer has its own defaults
    formats = trainer.formats if trainer else tuple(FORMATS)
    file_format = st.selectbox("Format", formats, key=f"format-{form}")
    figures.show_caption(FORMATS[file_format])
    chosen["format"] = file_format
    if file_format in ("ids", "dropped"):
        return chosen
    if file_format != "webdataset":  # which always contains them
        chosen |= _choose_images(form, file_format, trainer)
    if file_format == "webdataset" or chosen["images"] != "none":
        chosen["allow_missing_images"] = st.checkbox(
            "Export without missing images",
            key=f"allow-missing-{name}",
            help="Missing images are left out and listed in images.jsonl. Otherwise one missing "
            "image stops the export.",
        )
    if file_format == "parquet" and not trainer:
        chosen["columns"] = _select(name, "columns", _COLUMNS)
    if isinstance(definition.rule, Weights | Mixture):
        chosen |= _choose_weights(form, trainer)
    chosen |= _choose_turns(form, can_mask=not trainer or trainer.mask_key is not None)
    chosen["edits"] = _select(name, "edits", _EDITS)
    if file_format not in TABLES:
        chosen["scores"] = st.checkbox("Add scores to the records", key=f"scores-{name}")
    if columns:
        chosen["add_columns"] = st.multiselect(
            "Add columns", columns, key=f"add-columns-{name}", placeholder="none"
        )
    chosen["card"] = st.checkbox(
        "Dataset card",
        value=True,
        key=f"card-{name}",
        help="README.md with figures and plots, and Croissant metadata",
    )
    if chosen["card"]:
        label, example = "License for the dataset card", "such as cc-by-4.0"
        license_id = st.text_input(label, key=f"license-{name}", placeholder=example)
        chosen["license"] = license_id.strip() or None
    return chosen


def _select(name: str, field: str, options: Mapping[Any, str]) -> Any:
    key = f"{field}-{name}"
    label = field.capitalize()
    return st.selectbox(label, list(options), key=key, format_func=options.__getitem__)


def _choose_images(name: str, file_format: str, trainer: Trainer | None) -> dict[str, Any]:
    can_embed = file_format in EMBEDDING and not (trainer and trainer.parts_name_images)
    images = {key: _IMAGES[key] for key in _IMAGES if key != "embed" or can_embed}
    if trainer:  # its default first
        images = {trainer.images: images[trainer.images], **images}
    chosen: dict[str, Any] = {"images": _select(name, "images", images)}
    if chosen["images"] != "embed":
        prefix = st.text_input(
            "Prefix of image paths",
            key=f"image-prefix-{name}",
            placeholder="none",
            help="A folder put before the image paths that records give",
        )
        chosen["image_prefix"] = prefix.strip() or None
    return chosen


def _choose_weights(name: str, trainer: Trainer | None) -> dict[str, Any]:
    hidden = {"column"} if trainer else {"source"}
    hidden |= {"source"} if trainer and not trainer.weighs_sources else set()
    weights = {key: _WEIGHTS[key] for key in _WEIGHTS if key not in hidden}
    chosen: dict[str, Any] = {"weights": _select(name, "weights", weights)}
    if chosen["weights"] == "column":
        chosen["weight_key"] = st.text_input("Weight key", value="weight", key=f"weight-key-{name}")
    if chosen["weights"] == "repeat":
        left, right = st.columns(2)
        chosen["epoch_size"] = left.number_input(
            "Records in total",
            value=None,
            min_value=1,
            step=1,
            key=f"epoch-size-{name}",
            placeholder="sum of the weights",
        )
        chosen["seed"] = right.number_input(
            "Seed", value=0, min_value=0, step=1, key=f"export-seed-{name}"
        )
    return chosen


def _choose_turns(name: str, can_mask: bool) -> dict[str, Any]:
    turns = {key: _TURNS[key] for key in _TURNS if key != "mask" or can_mask}
    chosen: dict[str, Any] = {"turns": _select(name, "turns", turns)}
    if chosen["turns"] == "keep":
        return chosen
    # Set in the state, not as a default: a default cannot be cleared.
    st.session_state.setdefault(f"turn_min-{name}", 0.0)
    limits = (("turn_min", "Answer score from"), ("turn_max", "below"))
    for (field, label), column in zip(limits, st.columns(2), strict=True):
        chosen[field] = column.number_input(
            label,
            value=None,
            step=0.05,
            key=f"{field}-{name}",
            placeholder="no limit",
            help="VisNec score of a single answer, nats per answer token",
        )
    if chosen["turns"] == "mask":
        chosen["mask_key"] = st.text_input(
            "Key that is false in masked answers", value="loss", key=f"mask-key-{name}"
        )
    return chosen
