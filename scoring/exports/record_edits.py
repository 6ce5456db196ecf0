"""Apply a reviewer's edit to a sample: to its turns, and to the bytes of its record.

The edited bytes are read again as an import reads them, and refused unless they give the edited
conversation and images, so a record is never approximately what was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scoring.dataset.records import DatasetInfo
from scoring.exports.json_edits import edit_record_turns, remove_listed_images
from scoring.readers.json_stream import RawRecord, parse_member
from scoring.readers.records import to_sample
from scoring.readers.turn_removal import EditError
from scoring.reviews.edits import Edit, EditedConversation, apply_edit, replace_conversation
from scoring.samples import Sample, Turn

_FAILURES = (ValueError, IndexError, KeyError, RecursionError)


def family_of(info: DatasetInfo, row_idx: int) -> str:
    """Return the record family of the file that contains a row."""
    ends = np.cumsum([file.n_records for file in info.files])
    return info.files[int(np.searchsorted(ends, row_idx, side="right"))].format


def edit_sample(sample: Sample, edit: Edit, family: str, with_record: bool = True) -> Sample:
    """Return the sample with its edit applied; its scores are not those of the edited one.

    Without ``with_record`` the bytes of the record are left as they were. Raises EditError where
    the edit is of another text, or the record cannot carry it.
    """
    edited = apply_edit(sample, edit)
    changed = replace_conversation(sample, edited)
    if not with_record or not sample.original:
        return changed
    return replace(changed, original=_edit_original(sample, edited, changed.turns, family))


def _edit_original(
    sample: Sample, edited: EditedConversation, turns: Sequence[Turn], family: str
) -> bytes:
    """Return the edited bytes of a record. Raise EditError where they read as something else."""
    before = _read_again(sample, sample.original, family)
    if (before.turns, len(before.images)) != (sample.turns, len(sample.images)):
        raise EditError("it was imported with options of its own, so its bytes cannot be checked")
    images = tuple(before.images[number] for number in edited.images)
    removed = set(range(len(sample.images))) - set(edited.images)
    fitting = set()
    try:
        for record in edit_record_turns(sample.original, sample.turns, edited.turns):
            changed = remove_listed_images(record, removed) if removed else record
            again = _read_again(sample, changed, family)
            if (again.turns, again.images) == (tuple(turns), images):
                fitting.add(changed)
    except _FAILURES as problem:
        raise EditError(str(problem)) from problem
    if len(fitting) != 1:
        raise EditError("its edited bytes would not be read as the edited conversation")
    return next(iter(fitting))


def _read_again(sample: Sample, record: bytes, family: str) -> Sample:
    """Read the bytes of a record as an import without options does."""
    try:
        value = json.loads(record.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError) as problem:
        raise EditError(f"its record is not JSON ({problem})") from problem
    member = parse_member(sample.origin)
    key = None if member is None else str(json.loads(member.key))
    raw = RawRecord(record, value, key=key, origin=sample.origin)
    return to_sample(sample.row_idx, raw, sample.source, default_family=family)
