"""Write text formats: a JSON array, JSON lines, ids, and the list of dropped samples.

Records are never parsed and printed again, which preserves unknown keys, key order, number forms
and escapes.

- ``llava``: ``samples.json``, a JSON array of the records byte for byte. Records of one object are
  written as an object again, under their keys.
- ``jsonl``: ``samples.jsonl``, a record per line. White space with a line break between the tokens
  of a record is removed; everything else is byte for byte the same.
- ``ids``: ``ids.txt`` and ``row_idx.txt``, a sample per line in the same order. ``row_idx`` is the
  identity; an id may repeat, a missing one is an empty line, and a line break in one is written
  as ``\\n`` or ``\\r``.
- ``dropped``: ``dropped.jsonl``, a line per sample that is not in the subset.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from scoring.dataset.records import read_columns
from scoring.exports.export_plan import ExportPlan
from scoring.exports.export_records import format_json_line, read_records
from scoring.exports.files import BytesFile, Chunk, OutputFile
from scoring.reviews.decision_log import Decision
from scoring.samples import Status
from scoring.subsets.selection import REASONS, Reason

# Every character at which some reader of text files ends a line.
_BREAKS = {
    character: character.encode("unicode_escape").decode()
    for character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}


def array_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``samples.json``."""
    chunks = _object_chunks(plan) if plan.is_object() else _array_chunks(plan)
    return [BytesFile("samples.json", chunks)]


def line_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``samples.jsonl``."""
    return [BytesFile("samples.jsonl", _line_chunks(plan))]


def id_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``ids.txt`` and ``row_idx.txt``."""
    return [
        BytesFile("ids.txt", _id_chunks(plan)),
        BytesFile("row_idx.txt", _row_idx_chunks(plan)),
    ]


def dropped_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``dropped.jsonl``."""
    return [BytesFile("dropped.jsonl", _dropped_chunks(plan))]


def _array_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    before = b"[\n"
    for record, member in zip(read_records(plan), plan.read_members(), strict=True):
        plan.stats.keyless += member is not None
        for _ in range(plan.n_repeats(record.position)):
            yield None, before
            yield record.row_idx, record.record
            before = b",\n"
    yield None, b"[]\n" if before == b"[\n" else b"\n]\n"


def _object_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    """Write the members under their keys, inside another key where the file had one."""
    closing = b"\n}\n"
    before = b"{\n"
    for record, member in zip(read_records(plan), plan.read_members(), strict=True):
        if member is None:
            continue
        if member.within and before == b"{\n":
            before, closing = b"{\n" + member.within + b": {\n", b"\n}\n}\n"
        yield None, before + member.key + b": "
        yield record.row_idx, record.record
        before = b",\n"
    yield None, b"{}\n" if before == b"{\n" else closing


def _line_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    for record, member in zip(read_records(plan), plan.read_members(), strict=True):
        plan.stats.keyless += member is not None
        line = format_json_line(record)
        for _ in range(plan.n_repeats(record.position)):
            yield record.row_idx, line
            yield None, b"\n"


def _id_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    for position, identifier in plan.read_ids():
        text = "".join(_BREAKS.get(character, character) for character in identifier)
        for _ in range(plan.n_repeats(position)):
            yield int(plan.rows[position]), text.encode() + b"\n"


def _row_idx_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    for position, row_idx in enumerate(plan.rows.tolist()):
        for _ in range(plan.n_repeats(position)):
            yield row_idx, b"%d\n" % row_idx


def _dropped_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    """Write the dropped samples; ``by`` is who dropped each.

    This is the rule, the choice for samples without a score, the reviewer against both, or both a
    rule (or choice) and the reviewer.
    """
    subset, candidates, decisions = (
        plan.outcome.subset,
        plan.outcome.candidates,
        plan.outcome.decisions,
    )
    dropped = ~subset.kept
    reasons = [REASONS[code] for code in subset.why[dropped].tolist()]
    scores = candidates.visnec[dropped].tolist()
    statuses = [tuple(Status)[code] for code in candidates.status[dropped].tolist()]
    position = 0
    for table in read_columns(plan.workspace, ["row_idx", "id", "source"], subset.dropped):
        for row in table.to_pylist():
            row_idx, reason, score = row["row_idx"], reasons[position], scores[position]
            line = {
                "row_idx": row_idx,
                "id": row["id"],
                "source": row["source"],
                "by": _dropped_by(reason, decisions.get(row_idx) is Decision.DROP),
                "reason": str(reason),
                "status": str(statuses[position]),
                "visnec": None if score != score else score,
            }
            position += 1
            yield row_idx, json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _dropped_by(reason: Reason, by_reviewer_too: bool) -> str:
    if reason is Reason.REVIEWER:
        return "reviewer"
    if by_reviewer_too:
        return "both"
    if reason in (Reason.RULE, Reason.NOT_POSITIVE):
        return "rule"
    return "turns" if reason is Reason.NO_TURN else "choice"
