"""The formats of an export and the files of each. Text formats and tar files are written here.

Records are never parsed and printed again, which preserves unknown keys, key order, number forms
and escapes.

- ``llava``: ``samples.json``, a JSON array of the records byte for byte. Records of one object are
  written as an object again, under their keys.
- ``jsonl``: ``samples.jsonl``, a record per line. White space with a line break between the tokens
  of a record is removed; everything else is byte for byte the same.
- ``messages``: ``samples.jsonl``, or ``samples.parquet`` with the images inside: a conversation of
  typed parts per sample (see ``messages``).
- ``ids``: ``ids.txt`` and ``row_idx.txt``, a sample per line in the same order. ``row_idx`` is the
  identity; an id may repeat, a missing one is an empty line, and a line break in one is written
  as ``\\n`` or ``\\r``.
- ``dropped``: ``dropped.jsonl``, a line per sample that is not in the subset.
- with edited samples, ``edits.jsonl``: a line for each, before and after its edit.
- ``webdataset``: tar files whose samples are a record and its images under one key. Headers have no
  owner and no time, which makes a shard the same bytes on every machine. Readers fix their columns
  by the first samples, so images have the same names in every sample, and samples without an image
  are in tar files of their own (``text-000000.tar`` ...).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, compress, islice

import numpy as np

from scoring.dataset.records import read_columns
from scoring.errors import RecordError
from scoring.exports.export_edits import diff_lines
from scoring.exports.export_plan import ExportPlan
from scoring.exports.export_records import read_records
from scoring.exports.files import BytesFile, Chunk, OutputFile, TableFile
from scoring.exports.images import ImagesFile, image_suffix, read_image
from scoring.exports.json_edits import remove_line_breaks
from scoring.exports.messages import message_chunks
from scoring.exports.source_weights import split_by_source
from scoring.exports.tables import folder_outputs, parquet_outputs, source_outputs
from scoring.exports.trainers import trainer_outputs
from scoring.images.decode import ImageProblem
from scoring.readers.json_stream import Member
from scoring.reviews.decision_log import Decision
from scoring.rules.candidates import Mask
from scoring.samples import Status
from scoring.subsets.selection import REASONS, Reason

# Every character at which some reader of text files ends a line.
_BREAKS = str.maketrans(
    {
        character: character.encode("unicode_escape").decode()
        for character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
    }
)
_SHARD_SAMPLES = 5_000
_DROPPED_BY = {
    Reason.REVIEWER: "reviewer",
    Reason.RULE: "rule",
    Reason.NOT_POSITIVE: "rule",
    Reason.NO_TURN: "turns",
    Reason.FILTER: "filter",
    Reason.NOT_RANKED: "rule",
    Reason.NOT_EDITED: "edits",
}  # any other reason is a choice for samples without a score


def plan_outputs(plan: ExportPlan) -> Iterable[OutputFile]:
    """Return the files of an export. Write or compare each to its end before taking the next."""
    outputs = _source_outputs(plan) if plan.source_files else _data_outputs(plan)
    images = [ImagesFile(plan)] if plan.options.takes_images else []
    edits = [BytesFile("edits.jsonl", diff_lines(plan))] if plan.edits else []
    return chain(outputs, trainer_outputs(plan), images, edits)


def _source_outputs(plan: ExportPlan) -> Iterator[OutputFile]:
    """Yield a file with the samples of each source."""
    for file, part in split_by_source(plan):
        [output] = _data_outputs(part)
        yield replace(output, name=file.file)


def _data_outputs(plan: ExportPlan) -> Iterable[BytesFile | TableFile]:
    """Return the files with the samples."""
    if plan.options.columns == "source":
        return source_outputs(plan)
    match plan.options.format:
        case "llava":
            chunks = _object_chunks if plan.is_object() else _array_chunks
            return [BytesFile("samples.json", chunks(plan))]
        case "jsonl":
            return [BytesFile("samples.jsonl", _line_chunks(plan))]
        case "messages" if plan.options.images != "embed":
            return [BytesFile("samples.jsonl", message_chunks(plan))]
        case "parquet" | "messages":
            return parquet_outputs(plan)
        case "huggingface":
            return folder_outputs(plan)
        case "webdataset":
            return _shard_outputs(plan)
        case "ids":
            row_idx_file = BytesFile("row_idx.txt", _row_idx_chunks(plan))
            return [BytesFile("ids.txt", _id_chunks(plan)), row_idx_file]
        case "dropped":
            return [BytesFile("dropped.jsonl", _dropped_chunks(plan))]
        case other:
            raise AssertionError(f"no files are defined for the format {other!r}")


def _array_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    before = b"[\n"
    for position, (record, member) in _number_records(plan):
        plan.stats.keyless += member is not None
        for _ in range(plan.n_repeats(position)):
            yield None, before
            yield int(plan.rows[position]), record
            before = b",\n"
    yield None, b"[]\n" if before == b"[\n" else b"\n]\n"


def _object_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    """Write the members under their keys, inside another key where the file had one."""
    before, closing = b"{\n", b"\n}\n"
    for position, (record, member) in _number_records(plan):
        if member is None:
            continue
        if member.within and before == b"{\n":
            before, closing = b"{\n" + member.within + b": {\n", b"\n}\n}\n"
        yield None, before + member.key + b": "
        yield int(plan.rows[position]), record
        before = b",\n"
    yield None, b"{}\n" if before == b"{\n" else closing


def _number_records(plan: ExportPlan) -> Iterator[tuple[int, tuple[bytes, Member | None]]]:
    """Yield (position, (record, its place in the JSON object that contained it))."""
    return enumerate(zip(read_records(plan), plan.read_members(), strict=True))


def _line_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    for position, (record, member) in _number_records(plan):
        plan.stats.keyless += member is not None
        row_idx, line = int(plan.rows[position]), remove_line_breaks(record)
        if b"\n" in line or b"\r" in line:
            raise RecordError(
                f"Row {row_idx} has a raw line break inside a string, which a line of JSON cannot "
                "contain. Export it as llava."
            )
        for _ in range(plan.n_repeats(position)):
            yield row_idx, line
            yield None, b"\n"


def _id_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    for start, table in plan.read_tables(["id"]):
        for position, identifier in enumerate(table.column("id").to_pylist(), start):
            text = (identifier or "").translate(_BREAKS)
            for _ in range(plan.n_repeats(position)):
                yield int(plan.rows[position]), text.encode() + b"\n"


def _row_idx_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    for position, row_idx in enumerate(plan.rows.tolist()):
        for _ in range(plan.n_repeats(position)):
            yield row_idx, b"%d\n" % row_idx


def _dropped_chunks(plan: ExportPlan) -> Iterator[Chunk]:
    """Write the dropped samples; ``by`` is who dropped each.

    This is the rule, the filter of the subset, the choice for samples without a score, the reviewer
    against these, or both one of them and the reviewer.
    """
    subset, candidates = plan.outcome.subset, plan.outcome.candidates
    dropped = ~subset.kept
    reasons = [REASONS[code] for code in subset.why[dropped].tolist()]
    scores = candidates.visnec[dropped].tolist()
    statuses = [tuple(Status)[code] for code in candidates.status[dropped].tolist()]
    tables = read_columns(plan.workspace, ["row_idx", "id", "source"], subset.dropped)
    rows = (row for table in tables for row in table.to_pylist())
    for row, reason, status, score in zip(rows, reasons, statuses, scores, strict=False):
        by = _DROPPED_BY.get(reason, "choice")
        if by != "reviewer" and plan.outcome.decisions.get(row["row_idx"]) is Decision.DROP:
            by = "both"
        line = {
            **{name: row[name] for name in ("row_idx", "id", "source")},
            "by": by,
            "reason": str(reason),
            "status": str(status),
            "visnec": None if score != score else score,
        }
        yield row["row_idx"], json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _shard_outputs(plan: ExportPlan) -> Iterator[BytesFile]:
    """Yield ``samples-000000.tar`` ..., then ``text-000000.tar`` ... of samples without an image.

    The key of a sample is its row_idx; members are ``KEY.json`` and ``KEY.jpg`` (``KEY.0.jpg``,
    ``KEY.1.jpg`` ... in every sample if any has several images). A repeated sample has the keys
    ``KEY-1`` ... Every image is called ``.jpg``, and its bytes are unchanged:
    readers choose the image decoder by the suffix, and the format by the bytes.
    """
    columns = (table.column("n_images").to_numpy() for _, table in plan.read_tables(["n_images"]))
    n_images = np.concatenate([np.empty(0, np.int64), *columns])
    if plan.options.version > 2:
        plan.stats.most_images = int(n_images.max(initial=0))
    if plan.options.version < 4:
        yield from _write_shards(plan, "samples", np.ones(len(n_images), bool))
        return
    has_images = n_images > 0
    imageless = ~has_images
    if has_images.any() or not len(has_images):
        yield from _write_shards(plan, "samples", has_images, imageless)
    if imageless.any():
        yield from _write_shards(plan, "text", imageless)


def _write_shards(
    plan: ExportPlan, stem: str, chosen: Mask, imageless: Mask | None = None
) -> Iterator[BytesFile]:
    """Yield the shards of the chosen positions.

    With ``imageless``, a sample none of whose images can be read is left out and marked there.
    """
    tables = (table for _, table in plan.read_tables(["images"]))
    images = (references for table in tables for references in table.column("images").to_pylist())
    samples = compress(enumerate(zip(read_records(plan), images, strict=True)), chosen)
    for shard in range(max(1, -(-int(chosen.sum()) // _SHARD_SAMPLES))):
        chunks = _shard_chunks(plan, islice(samples, _SHARD_SAMPLES), imageless)
        yield BytesFile(f"{stem}-{shard:06d}.tar", chunks)


def _shard_chunks(
    plan: ExportPlan,
    samples: Iterator[tuple[int, tuple[bytes, list[str]]]],
    imageless: Mask | None,
) -> Iterator[Chunk]:
    """Yield a shard from (position, (record, images)) of its samples."""
    for position, (record, references) in samples:
        row_idx, n_repeats = int(plan.rows[position]), plan.n_repeats(position)
        images = _read_images(plan, position, references) if n_repeats else []
        if imageless is not None and n_repeats and not images:
            imageless[position] = True
            continue
        for repeat in range(n_repeats):
            key = f"{row_idx:09d}" + (f"-{repeat}" if repeat else "")
            yield row_idx, tar_member(f"{key}.json", record)
            for suffix, content in images:
                yield None, tar_member(key + suffix, content)
    yield None, b"\0" * (2 * tarfile.BLOCKSIZE)


def _read_images(plan: ExportPlan, position: int, references: list[str]) -> list[tuple[str, bytes]]:
    """Return (suffix, bytes) of the images that are present and can be decoded."""
    has_format_suffix = plan.options.version < 3
    is_numbered = (len(references) if has_format_suffix else plan.stats.most_images) > 1
    images: list[tuple[str, bytes]] = []
    for number, reference in enumerate(references):
        try:
            content = read_image(plan, position, reference)
        except ImageProblem:
            continue
        suffix = image_suffix(content) if has_format_suffix else ".jpg"
        images.append((f".{number}{suffix}" if is_numbered else suffix, content))
    return images


def tar_member(name: str, content: bytes) -> bytes:
    """Return a regular file in ustar form, padded to whole blocks."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)
