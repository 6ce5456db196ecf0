"""Build the records of an export, once for every format.

All changes to a record (turns, weights, image paths) are made here. Records stream from the
dataset's parts; a record that nothing changes keeps its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scoring.dataset.records import read_dataset_info, sample_from_row
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.exports.export_plan import ExportPlan
from scoring.exports.images import image_name
from scoring.exports.json_edits import (
    EditError,
    add_key,
    mask_record_turns,
    remove_line_breaks,
    remove_record_turns,
    remove_turns,
    replace_paths,
)
from scoring.exports.options import RECORDS
from scoring.image_references import image_path, split_reference
from scoring.images.decode import ImageProblem, resolve_image
from scoring.readers.detect import JSON
from scoring.samples import Role, Sample, Status, Turn

PLACEHOLDER = "<image>"
_FROM = {Role.SYSTEM: "system", Role.HUMAN: "human", Role.ASSISTANT: "gpt"}
_SAMPLE_COLUMNS = ("id", "source", "images", "turns", "status", "reason", "origin")
_EDIT_FAILURES = (EditError, ValueError, IndexError, RecursionError)


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """The record of a sample as it is exported; ``position`` is the sample's in the plan."""

    row_idx: int
    position: int
    record: bytes


def read_records(plan: ExportPlan) -> Iterator[ExportRecord]:
    """Yield the record of every sample, once each.

    Raises:
        RecordError: A record would make a file unreadable, or cannot be changed as requested.
    """
    files = read_dataset_info(plan.workspace).files
    needs_samples = bool(plan.hits) or any(file.container not in JSON for file in files)
    needs_images = plan.places_records
    columns = [*_SAMPLE_COLUMNS] if needs_samples else ["images"] if needs_images else []
    for start, table in plan.read_tables(["original", *columns]):
        originals = table.column("original").to_pylist()
        images = table.column("images").to_pylist() if needs_images else None
        for offset, original in enumerate(originals):
            row_idx = int(plan.rows[start + offset])
            sample = None
            if original is None or row_idx in plan.hits:
                if not needs_samples:
                    raise _missing_bytes(row_idx)
                sample = sample_from_row(table.slice(offset, 1).to_pylist()[0])
            references = images[offset] if images is not None else ()
            yield build_record(plan, start + offset, original, sample, references)


def build_record(
    plan: ExportPlan,
    position: int,
    original: bytes | None,
    sample: Sample | None,
    images: Sequence[str] = (),
) -> ExportRecord:
    """Return the record of the sample at ``position``.

    Args:
        plan: The export.
        position: Position of the sample in the plan.
        original: The imported bytes; None if the dataset file was not JSON.
        sample: The parsed sample, where the record is edited or was not JSON.
        images: Images whose paths in the record have to lead to their copies.
    """
    row_idx = int(plan.rows[position])
    if original is None:
        record = _rebuild_record(plan, row_idx, sample)
    else:
        if row_idx in plan.bad_rows:
            _check_json(row_idx, original)
        record = original
        if sample is not None and row_idx in plan.hits:
            record = _edit_turns(plan, row_idx, original, sample)
        record = _repoint_images(plan, row_idx, record, images)
    if plan.weights is not None and plan.options.weights == "column":
        record = _add_weight(plan, row_idx, record, float(plan.weights[position]))
    return ExportRecord(row_idx, position, record)


def exported_turns(plan: ExportPlan, sample: Sample) -> tuple[Turn, ...]:
    """Return the conversation as it is exported."""
    answers = plan.hits.get(sample.row_idx)
    if answers is None or plan.options.turns != "drop" or sample.row_idx in plan.stats.unedited:
        return sample.turns
    try:
        return tuple(remove_turns(sample.turns, answers))
    except EditError as problem:
        plan.stats.unedited[sample.row_idx] = str(problem)
        return sample.turns


def train_mask(plan: ExportPlan, sample: Sample) -> list[bool]:
    """Return for each answer whether it is trained on."""
    masked = plan.hits.get(sample.row_idx, ()) if plan.options.turns == "mask" else ()
    return [answer not in masked for answer in range(sample.n_turns)]


def conversation_turn(turn: Turn) -> dict[str, object]:
    """Return a turn as in a LLaVA record, with a placeholder for each image."""
    text, start, pieces = turn.text, 0, []
    for offset in turn.image_offsets:
        pieces += [text[start:offset], PLACEHOLDER]
        start = offset
    return {"from": _FROM[turn.role], "value": "".join([*pieces, text[start:]])}


def format_json_line(record: ExportRecord) -> bytes:
    """Return the record on one line. Raise RecordError where that is impossible."""
    line = remove_line_breaks(record.record)
    if b"\n" in line or b"\r" in line:
        raise RecordError(
            f"Row {record.row_idx} has a raw line break inside a string, which a line of JSON "
            "cannot contain. Export it as llava."
        )
    return line


def _edit_turns(plan: ExportPlan, row_idx: int, original: bytes, sample: Sample) -> bytes:
    answers, options = plan.hits[row_idx], plan.options
    try:
        if options.turns == "mask":
            return mask_record_turns(original, sample.turns, answers, options.mask_key)
        return remove_record_turns(original, sample.turns, answers)
    except _EDIT_FAILURES as problem:
        plan.stats.unedited[row_idx] = str(problem)
        return original


def _repoint_images(plan: ExportPlan, row_idx: int, record: bytes, images: Sequence[str]) -> bytes:
    """Replace image paths that do not lead to the copies."""
    paths = {
        image_path(image): path
        for image in images
        if split_reference(image_path(image)) is None
        and (path := plan.exported_path(image)) != image_path(image)
    }
    if not paths:
        return record
    try:
        record = replace_paths(record, paths)
    except _EDIT_FAILURES as problem:
        raise RecordError(
            f"Row {row_idx} names an image by a path outside of the export's images, and the path "
            f"cannot be rewritten: {problem}. Export as webdataset, or with images embedded in a "
            "table."
        ) from problem
    plan.stats.repointed += 1
    return record


def _add_weight(plan: ExportPlan, row_idx: int, record: bytes, weight: float) -> bytes:
    try:
        return add_key(record, plan.options.weight_key, f"{weight:.6g}")
    except _EDIT_FAILURES as problem:
        raise RecordError(
            f"Cannot add a weight to row {row_idx}: {problem}. Name another key with --weight-key, "
            "or export with repeated records."
        ) from problem


def _rebuild_record(plan: ExportPlan, row_idx: int, sample: Sample | None) -> bytes:
    """Build a LLaVA record for a sample whose dataset file was not JSON."""
    if sample is None or sample.origin is None or sample.status is Status.BAD_RECORD:
        raise _missing_bytes(row_idx)
    plan.stats.rebuilt.add(row_idx)
    images = [_rebuilt_path(plan, row_idx, image) for image in sample.images]
    record: dict[str, object] = {} if sample.id is None else {"id": sample.id}
    if images:
        record["image"] = images[0] if len(images) == 1 else images
    mask = iter(train_mask(plan, sample))
    turns = [conversation_turn(turn) for turn in exported_turns(plan, sample)]
    if plan.options.turns == "mask":
        for turn in turns:
            if turn["from"] == "gpt" and not next(mask):
                turn[plan.options.mask_key] = False
    record["conversations"] = turns
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")


def _rebuilt_path(plan: ExportPlan, row_idx: int, reference: str) -> str:
    """Return the path that a rebuilt record gives for an image."""
    if split_reference(image_path(reference)) is None:
        return plan.exported_path(reference)
    if not plan.options.places_images and plan.options.format in RECORDS[:2]:
        container = image_path(reference).partition("#")[0]
        raise InputError(
            f"The image of row {row_idx} is inside {container}, where a record cannot name it. "
            "Export with images copied, as webdataset, or embedded in a table."
        )
    try:
        return image_name(reference, resolve_image(reference, plan.workspace.image_roots))
    except ImageProblem:
        return image_path(reference)


def _missing_bytes(row_idx: int) -> WorkspaceError:
    return WorkspaceError(
        f"The dataset parts lack the record bytes of row {row_idx}. Export the subset as ids, or "
        "import the dataset again."
    )


def _check_json(row_idx: int, original: bytes) -> None:
    try:
        json.loads(original.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"Row {row_idx} was kept by a reviewer, but its record is not JSON ({error}) and would "
            "make the whole file unreadable. Drop it, or export the subset as ids."
        ) from error
