"""Apply a reviewer's edit to a sample: to its turns, and to the bytes of its record.

The edited bytes are read again as an import reads them, and refused unless they give the edited
conversation and images, so a record is never approximately what was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scoring.dataset.records import DatasetInfo
from scoring.exports.json_edits import edit_record_turns, remove_listed_images
from scoring.readers.json_stream import RawRecord, parse_member
from scoring.readers.options import ReadOptions, described_options
from scoring.readers.records import to_sample
from scoring.readers.turn_removal import EditError
from scoring.reviews.edits import Edit, EditedConversation, apply_edit, replace_conversation
from scoring.samples import Sample, Turn

_FAILURES = (ValueError, IndexError, KeyError, RecursionError)


@dataclass(frozen=True, slots=True)
class RecordReading:
    """How the import read a record: the family of ambiguous ones, and the options given."""

    family: str
    options: ReadOptions = field(default_factory=ReadOptions)


def reading_of(info: DatasetInfo, row_idx: int) -> RecordReading:
    """Return how the file that contains a row was read."""
    ends = np.cumsum([file.n_records for file in info.files])
    file = info.files[int(np.searchsorted(ends, row_idx, side="right"))]
    return RecordReading(file.format, described_options(file.reading))


def edit_sample(
    sample: Sample, edit: Edit, reading: RecordReading, with_record: bool = True
) -> Sample:
    """Return the sample with its edit applied; its scores are not those of the edited one.

    Without ``with_record`` the bytes of the record are left as they were. Raises EditError where
    the edit is of another text, or the record cannot carry it.
    """
    edited = apply_edit(sample, edit)
    changed = replace_conversation(sample, edited)
    if not with_record or not sample.original:
        return changed
    return replace(changed, original=_edit_original(sample, edited, changed.turns, reading))


def _edit_original(
    sample: Sample, edited: EditedConversation, turns: Sequence[Turn], reading: RecordReading
) -> bytes:
    """Return the edited bytes of a record. Raise EditError where they read as something else."""
    before = _read_again(sample, sample.original, reading)
    if (before.turns, len(before.images)) != (sample.turns, len(sample.images)):
        raise EditError(
            "it was imported with options that are not stored, so its bytes cannot be checked"
        )
    images = tuple(before.images[number] for number in edited.images)
    removed = set(range(len(sample.images))) - set(edited.images)
    fitting = set()
    try:
        options = reading.options
        for record in edit_record_turns(sample.original, sample.turns, edited.turns, options):
            changed = remove_listed_images(record, removed, options) if removed else record
            again = _read_again(sample, changed, reading)
            if (again.turns, again.images) == (tuple(turns), images):
                fitting.add(changed)
    except _FAILURES as problem:
        raise EditError(str(problem)) from problem
    if len(fitting) != 1:
        raise EditError("its edited bytes would not be read as the edited conversation")
    return next(iter(fitting))


def _read_again(sample: Sample, record: bytes, reading: RecordReading) -> Sample:
    """Read the bytes of a record as its import does."""
    try:
        value = json.loads(record.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError) as problem:
        raise EditError(f"its record is not JSON ({problem})") from problem
    member = parse_member(sample.origin)
    key = None if member is None else str(json.loads(member.key))
    raw = RawRecord(record, value, key=key, origin=sample.origin)
    row_idx, source = sample.row_idx, sample.source
    return to_sample(row_idx, raw, source, reading.options, default_family=reading.family)
