"""Formats that are text: a JSON array, JSON lines, ids, and the list of what is left out.

The one decision behind it: nothing is parsed and printed again, so unknown keys, key order, number
forms and escapes pass through.

- ``llava``: ``samples.json``, a JSON array; each record byte for byte as it came. Records of one
  object go out as an object again, under their keys.
- ``jsonl``: ``samples.jsonl``, a record a line. White space with a line break in it that stands
  between the tokens of a record is left out; everything else is byte for byte as it came.
- ``ids``: ``ids.txt`` and ``row_idx.txt``, a sample a line in the same order. ``row_idx`` is the
  identity; an id may repeat, a missing one is an empty line, and a line break in one is written
  as ``\\n`` or ``\\r``.
- ``dropped``: ``dropped.jsonl``, a line per sample that is not in the subset.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from scoring.dataset.records import read_columns
from scoring.exports.export_plan import ExportPlan, format_json_line
from scoring.exports.files import BytesFile, Chunk, OutputFile
from scoring.reviews.decision_log import Decision
from scoring.samples import Status
from scoring.subsets.selection import REASONS, Reason

# Every character at which some reader of text files ends a line.
_BREAKS = {
    character: character.encode("unicode_escape").decode()
    for character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}


def array_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``samples.json``."""
    pieces = _object_pieces(chosen) if chosen.is_object() else _array_pieces(chosen)
    return [BytesFile("samples.json", pieces)]


def line_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``samples.jsonl``."""
    return [BytesFile("samples.jsonl", _line_pieces(chosen))]


def id_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``ids.txt`` and ``row_idx.txt``."""
    ids, rows = _id_pieces(chosen), _row_pieces(chosen)
    return [BytesFile("ids.txt", ids), BytesFile("row_idx.txt", rows)]


def dropped_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``dropped.jsonl``."""
    return [BytesFile("dropped.jsonl", _dropped_pieces(chosen))]


def _array_pieces(chosen: ExportPlan) -> Iterator[Chunk]:
    before = b"[\n"
    for written, member in zip(chosen.records(), chosen.members(), strict=True):
        chosen.tally.keyless += member is not None
        for _ in range(chosen.times(written.place)):
            yield None, before
            yield written.row_idx, written.record
            before = b",\n"
    yield None, b"[]\n" if before == b"[\n" else b"\n]\n"


def _object_pieces(chosen: ExportPlan) -> Iterator[Chunk]:
    """The members under their keys; under another key, around all, where they stood so."""
    closing = b"\n}\n"
    before = b"{\n"
    for written, member in zip(chosen.records(), chosen.members(), strict=True):
        if member is None:
            continue
        if member.within and before == b"{\n":
            before, closing = b"{\n" + member.within + b": {\n", b"\n}\n}\n"
        yield None, before + member.key + b": "
        yield written.row_idx, written.record
        before = b",\n"
    yield None, b"{}\n" if before == b"{\n" else closing


def _line_pieces(chosen: ExportPlan) -> Iterator[Chunk]:
    for written, member in zip(chosen.records(), chosen.members(), strict=True):
        chosen.tally.keyless += member is not None
        line = format_json_line(written)
        for _ in range(chosen.times(written.place)):
            yield written.row_idx, line
            yield None, b"\n"


def _id_pieces(chosen: ExportPlan) -> Iterator[Chunk]:
    for place, name in chosen.identifiers():
        text = "".join(_BREAKS.get(character, character) for character in name)
        for _ in range(chosen.times(place)):
            yield int(chosen.rows[place]), text.encode() + b"\n"


def _row_pieces(chosen: ExportPlan) -> Iterator[Chunk]:
    for place, row_idx in enumerate(map(int, chosen.rows)):
        for _ in range(chosen.times(place)):
            yield row_idx, b"%d\n" % row_idx


def _dropped_pieces(chosen: ExportPlan) -> Iterator[Chunk]:
    """``by`` says who left a sample out: the rule, the choice for samples without a score, the
    reviewer against both, or both a rule (or choice) and the reviewer.
    """
    subset, found, hand = chosen.outcome.subset, chosen.outcome.candidates, chosen.outcome.decisions
    why = subset.why[~subset.kept]
    scores = found.visnec[~subset.kept]
    status = found.status[~subset.kept]
    statuses = tuple(Status)
    place = 0
    for table in read_columns(chosen.workspace, ["row_idx", "id", "source"], subset.dropped):
        for row in table.to_pylist():
            row_idx = row["row_idx"]
            reason = REASONS[int(why[place])]
            line = {
                "row_idx": row_idx,
                "id": row["id"],
                "source": row["source"],
                "by": _by(reason, hand.get(row_idx) is Decision.DROP),
                "reason": str(reason),
                "status": str(statuses[int(status[place])]),
                "visnec": None if scores[place] != scores[place] else float(scores[place]),
            }
            place += 1
            yield row_idx, json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _by(reason: Reason, also_by_hand: bool) -> str:
    if reason is Reason.REVIEWER:
        return "reviewer"
    if also_by_hand:
        return "both"
    if reason in (Reason.RULE, Reason.NOT_POSITIVE):
        return "rule"
    return "turns" if reason is Reason.NO_TURN else "choice"
