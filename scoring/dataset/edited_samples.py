"""Samples as reviewers' edits make them, for runs, trials and trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scoring.dataset.records import read_samples
from scoring.errors import InputError, RecordError
from scoring.readers.turn_removal import EditError
from scoring.reviews.edits import apply_edit, parse_edit, replace_conversation
from scoring.reviews.pinned_edits import ChosenEdit
from scoring.samples import Sample
from scoring.workspace import Workspace


def read_edited_samples(workspace: Workspace, edits: Sequence[ChosenEdit]) -> dict[int, Sample]:
    """Return the edited samples by row, without the bytes of their records.

    Raises RecordError naming the first edit that cannot be applied.
    """
    events = {each.event.row_idx: each.event for each in edits}
    edited = {}
    for sample in read_samples(workspace, sorted(events)):
        event = events[sample.row_idx]
        try:
            conversation = apply_edit(sample, parse_edit(str(event.edit)))
        except (EditError, InputError) as problem:
            raise RecordError(
                f"The edit of row {sample.row_idx} by {event.reviewer} cannot be applied: "
                f"{problem}. Edit the sample again, or undo the edit."
            ) from problem
        edited[sample.row_idx] = replace(replace_conversation(sample, conversation), original=b"")
    return edited
