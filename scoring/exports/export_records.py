"""Build the records of an export, once for every format.

All changes to a record (turns, weights, image paths) are made here. Records stream from the
dataset's parts; a record that nothing changes keeps its bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from scoring.dataset.records import read_dataset_info, sample_from_row
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.exports.added_columns import read_added_values
from scoring.exports.export_plan import ExportPlan
from scoring.exports.images import add_prefix, exported_path, image_name
from scoring.exports.json_edits import (
    add_key,
    mask_record_turns,
    remove_record_turns,
    replace_paths,
)
from scoring.exports.options import RECORDS
from scoring.exports.trainers import check_conversation
from scoring.image_references import image_path, split_reference
from scoring.images.decode import ImageProblem, resolve_image
from scoring.readers.conversation import insert_placeholders
from scoring.readers.detect import JSON
from scoring.readers.turn_removal import EditError, remove_turns
from scoring.samples import Role, Sample, Status, Turn

_FROM = {Role.SYSTEM: "system", Role.HUMAN: "human", Role.ASSISTANT: "gpt"}
SAMPLE_COLUMNS = ["id", "source", "images", "turns", "status", "reason", "origin"]
"""Columns of the dataset that make up a sample."""
SCORES = ("loss_text", "loss_multimodal", "visnec", "n_answer_tokens")
"""Columns of scores that tables have, and that the option scores adds to records."""
_OTHER_MEDIA = frozenset(("images", "messages", "video", "videos"))
_EDIT_FAILURES = (EditError, ValueError, IndexError, RecursionError)


def read_records(plan: ExportPlan) -> Iterator[bytes]:
    """Yield the record of every sample, once each.

    Raises RecordError if one would make a file unreadable, or cannot be changed as requested.
    """
    files = read_dataset_info(plan.workspace).files
    is_rewritten = any(file.container not in JSON for file in files)
    for_trainer = plan.options.trains_with is not None
    needs_samples = bool(plan.hits) or is_rewritten or for_trainer
    changes_paths = plan.options.places_images or plan.options.path_prefix is not None
    needs_images = changes_paths and plan.options.format in RECORDS
    columns = SAMPLE_COLUMNS if needs_samples else ["images"] if needs_images else []
    for start, table in plan.read_tables(["original", *columns]):
        images = table.column("images").to_pylist() if needs_images else None
        origins = table.column("origin").to_pylist() if needs_images and is_rewritten else None
        for offset, original in enumerate(table.column("original").to_pylist()):
            sample, row_idx = None, int(plan.rows[start + offset])
            references = images[offset] if images is not None else ()
            if origins is not None and _is_inside_file(origins[offset], references):
                original = None  # it cannot name the copies
            if needs_samples and (original is None or for_trainer or row_idx in plan.hits):
                sample = sample_from_row(table.slice(offset, 1).to_pylist()[0])
            yield build_record(plan, start + offset, original, sample, references)


def _is_inside_file(origin: str | None, references: Sequence[str]) -> bool:
    """Return whether images of a row of a table are in the table itself."""
    name = origin.partition("#row=")[0] if origin else ""
    parts = (split_reference(image_path(reference)) for reference in references)
    return any(part is not None and part[0] == name for part in parts)


def build_record(
    plan: ExportPlan,
    position: int,
    original: bytes | None,
    sample: Sample | None,
    images: Sequence[str] = (),
) -> bytes:
    """Return the record of the sample at ``position`` of the plan.

    Args:
        original: The imported bytes; None if the dataset file was not JSON.
        sample: The parsed sample, where the record is edited or was not JSON.
        images: Images whose paths in the record have to lead to their copies.
    """
    row_idx = int(plan.rows[position])
    is_read = plan.options.trainer is not None and plan.options.format in RECORDS  # by a trainer
    if is_read:
        _check_for_trainer(plan, sample)
    if original is None:
        record = _rebuild_record(plan, row_idx, sample)
        plan.stats.rebuilt.add(row_idx)
    elif is_read and sample is not None and _needs_rewriting(plan, original, sample):
        record = _rebuild_record(plan, row_idx, sample)
        plan.stats.rewritten += 1
    else:
        record = _edit_record(plan, row_idx, original, sample, images)
    if plan.options.scores:
        record = _add_values(plan, position, record, read_scores(plan, position))
    if plan.added and plan.options.format in RECORDS:  # tables have columns for them
        record = _add_values(plan, position, record, read_added_values(plan, position))
    return _add_weight(plan, position, record) if plan.options.weights == "column" else record


def read_scores(plan: ExportPlan, position: int) -> dict[str, float | int | None]:
    """Return the scores of the sample at ``position``, None where it has none.

    An edited sample has none: its scores are of the record before the edit.
    """
    if int(plan.rows[position]) in plan.edits:
        return dict.fromkeys(SCORES)
    candidates = plan.outcome.candidates
    index = int(np.searchsorted(candidates.row_idx, plan.rows[position]))
    values = {name: getattr(candidates, name)[index].item() for name in SCORES}
    if not candidates.scored[index]:
        values["n_answer_tokens"] = None
    return {name: None if value != value else value for name, value in values.items()}


def _add_weight(plan: ExportPlan, position: int, record: bytes) -> bytes:
    if plan.weights is None:
        return record
    try:
        return add_key(record, plan.options.weight_key, f"{float(plan.weights[position]):.6g}")
    except _EDIT_FAILURES as problem:
        raise RecordError(
            f"Cannot add a weight to row {plan.rows[position]}: {problem}. Name another key with "
            "--weight-key, or export with repeated records."
        ) from problem


def _add_values(
    plan: ExportPlan, position: int, record: bytes, values: Mapping[str, object]
) -> bytes:
    try:
        for name, value in values.items():
            record = add_key(record, name, json.dumps(value))
    except _EDIT_FAILURES as problem:
        raise RecordError(
            f"Cannot add {', '.join(values)} to row {plan.rows[position]}: {problem}. Export "
            "without them, or as parquet, which has columns for them."
        ) from problem
    return record


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
    return {"from": _FROM[turn.role], "value": insert_placeholders(turn)}


def _check_for_trainer(plan: ExportPlan, sample: Sample | None) -> None:
    """Raise RecordError where the trainer would misread even a LLaVA record of the sample."""
    trainer = plan.options.trains_with
    if trainer is None or sample is None:
        return
    if sample.status is Status.BAD_RECORD:
        raise RecordError(
            f"Row {sample.row_idx} was kept by a reviewer, but {trainer.title} cannot read it: "
            f"{sample.reason}. Drop it, or export without --for."
        )
    turns = [conversation_turn(turn) for turn in sample.turns]
    check_conversation(trainer, sample.row_idx, turns, len(sample.images))


def _needs_rewriting(plan: ExportPlan, original: bytes, sample: Sample) -> bool:
    """Return whether the trainer would read something else than was imported from a record."""
    trainer = plan.options.trains_with
    turns = [conversation_turn(turn) for turn in sample.turns]
    try:
        value = json.loads(original)
        stated = [{key: turn[key] for key in ("from", "value")} for turn in value["conversations"]]
    except (ValueError, RecursionError, TypeError, KeyError):
        return True
    image = {key: value[key] for key in ("image",) if key in value}
    is_same = stated == turns and image == _image_entry(list(map(image_path, sample.images)))
    lacks_id = trainer is not None and trainer.needs_id and "id" not in value
    return not is_same or lacks_id or not _OTHER_MEDIA.isdisjoint(value)


def _image_entry(paths: Sequence[str]) -> dict[str, object]:
    """Return the key ``image`` of a LLaVA record, absent without images."""
    return {"image": paths[0] if len(paths) == 1 else list(paths)} if paths else {}


def _edit_record(
    plan: ExportPlan, row_idx: int, record: bytes, sample: Sample | None, images: Sequence[str]
) -> bytes:
    """Drop or mask turns, and replace image paths that do not lead to the copies."""
    if row_idx in plan.bad_rows:
        try:
            json.loads(record.decode("utf-8", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise RecordError(
                f"Row {row_idx} was kept by a reviewer, but its record is not JSON ({error}) and "
                "would make the whole file unreadable. Drop it, or export the subset as ids."
            ) from error
    if sample is not None and (answers := plan.hits.get(row_idx)) is not None:
        try:
            if plan.options.turns == "mask":
                record = mask_record_turns(record, sample.turns, answers, plan.options.mask_key)
            else:
                record = remove_record_turns(record, sample.turns, answers)
        except _EDIT_FAILURES as problem:
            plan.stats.unedited[row_idx] = str(problem)
    paths = {
        path: copied
        for image in images
        if split_reference(path := image_path(image)) is None
        and (copied := exported_path(plan, image)) != path
    }
    if not paths:
        return record
    try:
        record = replace_paths(record, paths)
    except _EDIT_FAILURES as problem:
        raise RecordError(
            f"Row {row_idx} names an image by a path outside of the export's images or without its "
            f"prefix, and the path cannot be rewritten: {problem}. Export as webdataset, or with "
            "images embedded in a table."
        ) from problem
    plan.stats.repointed += 1
    return record


def _rebuild_record(plan: ExportPlan, row_idx: int, sample: Sample | None) -> bytes:
    """Build a LLaVA record for a sample whose record is not one."""
    is_lost = sample is None or (sample.origin is None and not sample.original)
    if sample is None or is_lost or sample.status is Status.BAD_RECORD:
        raise WorkspaceError(
            f"The dataset parts lack the record bytes of row {row_idx}. Export the subset as ids, "
            "or import the dataset again."
        )
    trainer = plan.options.trains_with
    identifier = sample.id
    if identifier is None and trainer is not None and trainer.needs_id:
        identifier = str(row_idx)
    record: dict[str, object] = {} if identifier is None else {"id": identifier}
    record |= _image_entry([record_path(plan, row_idx, image) for image in sample.images])
    mask = iter(train_mask(plan, sample))
    turns = [conversation_turn(turn) for turn in exported_turns(plan, sample)]
    if plan.options.turns == "mask":
        for turn in turns:
            if turn["from"] == "gpt" and not next(mask):
                turn[plan.options.mask_key] = False
    record["conversations"] = turns
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")


def record_path(plan: ExportPlan, row_idx: int, reference: str) -> str:
    """Return the path that a record written by this program gives for an image.

    Raises InputError where the image is inside another file, and no copy of it is exported.
    """
    path = image_path(reference)
    if split_reference(path) is None:
        return exported_path(plan, reference)
    if not plan.options.places_images and plan.options.format in (*RECORDS[:2], "messages"):
        raise InputError(
            f"The image of row {row_idx} is inside {path.partition('#')[0]}, where a record cannot "
            "name it. Export with images copied, as webdataset, or embedded in a table."
        )
    try:
        name = image_name(reference, resolve_image(reference, plan.workspace.image_roots))
        return add_prefix(plan, name)
    except ImageProblem:
        return path
