"""The reviewers' edits that an export applies: read, pinned in its manifest, written as a diff."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scoring.dataset.records import dataset_table, read_dataset_info, read_samples
from scoring.errors import InputError, RecordError
from scoring.exports.options import LISTS, ExportOptions
from scoring.exports.record_edits import edit_sample, reading_of
from scoring.image_references import image_path
from scoring.readers.turn_removal import EditError
from scoring.reviews.edits import Edit, map_answers, parse_edit
from scoring.reviews.pinned_edits import ChosenEdit, PinnedEdit, current_edits
from scoring.rules.candidates import Ints
from scoring.samples import Sample
from scoring.workspace import Workspace

if TYPE_CHECKING:
    from scoring.exports.export_plan import ExportPlan


@dataclass(frozen=True, slots=True)
class AppliedEdit:
    """An edit with its sample before and after it."""

    chosen: ChosenEdit
    edit: Edit
    before: Sample
    after: Sample

    def edit_values(self, values: list[Any]) -> list[Any]:
        """Return values per answer for the edited answers; None for one with a new text."""
        order = map_answers(self.before, self.edit.operations)
        return [values[n] if n is not None and n < len(values) else None for n in order]


def apply_edits(
    workspace: Workspace, options: ExportOptions, edits: Sequence[ChosenEdit], rows: Ints
) -> dict[int, AppliedEdit]:
    """Apply the edits of the samples ``rows`` (ascending). Raises RecordError where one cannot."""
    selected = set(rows.tolist())
    chosen = {each.event.row_idx: each for each in edits if each.event.row_idx in selected}
    if not chosen or options.format in LISTS or options.edits == "ignore":
        return {}
    if options.columns == "source":
        raise InputError(
            f"{len(chosen):,} of the samples were edited (the first is row {min(chosen)}), and the "
            "columns of the source cannot be. Export with --columns understood, or with --edits "
            "ignore."
        )
    info = read_dataset_info(workspace)
    applied = {}
    for sample in read_samples(workspace, sorted(chosen)):
        event = chosen[sample.row_idx].event
        try:
            edit = parse_edit(str(event.edit))
            reading = reading_of(info, sample.row_idx)
            after = edit_sample(sample, edit, reading, options.format != "messages")
        except (EditError, InputError) as problem:
            others = "" if options.format == "messages" else "as messages, or "
            raise RecordError(
                f"The edit of row {sample.row_idx} by {event.reviewer} cannot be applied: "
                f"{problem}. Edit the sample again, undo the edit, or export {others}with --edits "
                "ignore."
            ) from problem
        applied[sample.row_idx] = AppliedEdit(chosen[sample.row_idx], edit, sample, after)
    return applied


def pin_exported_edits(plan: ExportPlan, edits: Sequence[ChosenEdit]) -> tuple[PinnedEdit, ...]:
    """Return the edits that decide the bytes of an export, for its manifest."""
    used = set(plan.rows.tolist()) if plan.options.edits == "only" else plan.edits.keys()
    return tuple(each.pin() for each in edits if each.event.row_idx in used)


def count_later_edits(plan: ExportPlan, pins: Sequence[PinnedEdit]) -> int:
    """Return how many of the samples have a current edit that the export does not contain."""
    if plan.options.format in LISTS or plan.options.edits == "ignore":
        return 0
    rows, pinned = set(plan.rows.tolist()), {pin.event_id for pin in pins}
    events = [each.event for each in current_edits(plan.workspace)]
    return sum(event.row_idx in rows and event.event_id not in pinned for event in events)


def edit_table(table: pa.Table, edits: Mapping[int, AppliedEdit]) -> pa.Table:
    """Return rows of the dataset with the edited samples in place of those imported."""
    rows = table.column("row_idx").to_pylist() if edits else []
    edited = [number for number, row in enumerate(rows) if row in edits]
    if not edited:
        return table
    after = dataset_table([edits[rows[number]].after for number in edited])
    both = pa.concat_tables([table, after.select(table.column_names).cast(table.schema)])
    order = list(range(len(rows)))
    for after_index, number in enumerate(edited, len(rows)):
        order[number] = after_index
    return both.take(order)


def diff_lines(plan: ExportPlan) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of ``edits.jsonl``: each edited sample before and after, who and why."""
    for row_idx, applied in sorted(plan.edits.items()):
        event, edit = applied.chosen.event, applied.edit
        line = {
            "row_idx": row_idx,
            "id": applied.before.id,
            "event_id": event.event_id,
            "reviewer": event.reviewer,
            "edited_at": event.decided_at,
            "reason": edit.reason,
            "note": edit.note,
            "operations": edit.to_dict()["operations"],
            "conflict": applied.chosen.conflict,
            "before": _describe_sample(applied.before),
            "after": _describe_sample(applied.after),
        }
        yield row_idx, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _describe_sample(sample: Sample) -> dict[str, Any]:
    return {
        "turns": [asdict(turn) for turn in sample.turns],
        "images": [image_path(image) for image in sample.images],
    }
