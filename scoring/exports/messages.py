"""The format ``messages``: conversations as messages of typed parts.

A message has a role (system, user, assistant) and a list of parts, each a text or an image at its
exact position; texts keep every character. ``images`` lists the images in the order of the parts
and is empty without any. axolotl takes the path of an image from its part instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from scoring.dataset.records import sample_from_row
from scoring.errors import RecordError
from scoring.exports.added_columns import read_added_values
from scoring.exports.export_plan import ExportPlan
from scoring.exports.export_records import (
    SAMPLE_COLUMNS,
    exported_turns,
    read_scores,
    record_path,
    train_mask,
)
from scoring.exports.files import Chunk
from scoring.exports.options import ExportOptions
from scoring.samples import Role, Sample, Status, Turn

_ROLES = {Role.SYSTEM: "system", Role.HUMAN: "user", Role.ASSISTANT: "assistant"}
_TEXT = pa.string()


def message_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    """Yield a line of JSON for every sample."""
    for start, table in plan.read_tables(SAMPLE_COLUMNS):
        for position, row in enumerate(table.to_pylist(), start):
            sample = sample_from_row(row)
            paths = [record_path(plan, sample.row_idx, image) for image in sample.images]
            record: dict[str, Any] = {
                "id": sample.id,
                "source": sample.source,
                "messages": build_messages(plan, sample, paths),
            }
            if not _parts_name_images(plan.options):
                record["images"] = paths
            if plan.weights is not None and plan.options.weights == "column":
                record[plan.options.weight_key] = float(plan.weights[position])
            if plan.options.scores:
                record |= read_scores(plan, position)
            record |= read_added_values(plan, position)
            line = json.dumps(record, ensure_ascii=False).encode()
            for _ in range(plan.n_repeats(position)):
                yield sample.row_idx, line
                yield None, b"\n"


def build_messages(plan: ExportPlan, sample: Sample, paths: list[str]) -> list[dict[str, Any]]:
    """Return the messages of a sample. Raise RecordError where its images have no positions."""
    turns = exported_turns(plan, sample)
    n_positions = sum(len(turn.image_offsets) for turn in turns)
    if sample.status is Status.BAD_RECORD or n_positions != len(sample.images):
        reason = sample.reason or f"{n_positions} image position(s)"
        raise RecordError(
            f"Row {sample.row_idx} cannot be written as messages: {reason}. Drop the sample, or "
            "export as jsonl."
        )
    unused = iter(paths) if _parts_name_images(plan.options) else None
    trained = iter(train_mask(plan, sample))
    messages = []
    for turn in turns:
        message: dict[str, Any] = {"role": _ROLES[turn.role], "content": _split_turn(turn, unused)}
        if plan.options.turns == "mask" and turn.role is Role.ASSISTANT and not next(trained):
            message[plan.options.mask_key] = False
        messages.append(message)
    return messages


def message_type(options: ExportOptions) -> pa.DataType:
    """Return the type of a message in a table."""
    parts = pa.list_(pa.struct([("type", _TEXT), ("text", _TEXT)]))
    mask = [(options.mask_key, pa.bool_())] if options.turns == "mask" else []
    return pa.struct([("role", _TEXT), ("content", parts), *mask])


def _split_turn(turn: Turn, paths: Iterator[str] | None) -> list[dict[str, str]]:
    """Return the text of a turn as parts, split at its images; ``paths`` name these."""
    parts: list[dict[str, str]] = []
    start = 0
    for offset in turn.image_offsets:
        if offset > start:
            parts.append({"type": "text", "text": turn.text[start:offset]})
        parts.append({"type": "image"} if paths is None else {"type": "image", "path": next(paths)})
        start = offset
    if start < len(turn.text) or not parts:
        parts.append({"type": "text", "text": turn.text[start:]})
    return parts


def _parts_name_images(options: ExportOptions) -> bool:
    trainer = options.trains_with
    return trainer is not None and trainer.parts_name_images
