"""The samples that an export writes, one after the other, as it writes them.

The one decision behind it: all that an export changes about a record (turns, weights, repeats)
happens here, once, for every format. Records stream from the dataset's parts; a record that
nothing changes is passed on as the bytes it came in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scoring.database.connection import Store
from scoring.database.queries.turns import turns_outside
from scoring.dataset.records import read_columns, read_dataset_info, sample_from_row
from scoring.errors import InputError, RecordError, RuleError, WorkspaceError
from scoring.exports.images import exported_path, image_name, read_image_bytes
from scoring.exports.json_edits import (
    EditError,
    add_key,
    cut_turns,
    mask_turns,
    one_line,
    replace_paths,
    without_turns,
)
from scoring.exports.options import RECORDS, TABLES, ExportOptions
from scoring.image_references import image_path, split_reference
from scoring.images.decode import ImageLocation, ImageProblem, open_image, resolve_image
from scoring.readers.detect import JSON
from scoring.readers.members import Member, parse_member
from scoring.rules.candidates import Floats, Ints
from scoring.runs.record import read_run
from scoring.samples import Role, Sample, Status, Turn
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import REASONS, Reason, Subset
from scoring.subsets.weights import repeat_counts
from scoring.workspace import Workspace

PLACEHOLDER = "<image>"
_FROM = {Role.SYSTEM: "system", Role.HUMAN: "human", Role.ASSISTANT: "gpt"}
_PARSED = ("id", "source", "images", "turns", "status", "reason", "origin")


@dataclass(slots=True)
class ExportStats:
    """What happened to records on the way out, by their rows."""

    rebuilt: set[int] = field(default_factory=set)  # came from no JSON: printed as LLaVA records
    whole: dict[int, str] = field(default_factory=dict)  # turns could not be taken out, and why
    images: dict[str, int] = field(default_factory=dict)  # files, bytes, missing, undecodable
    undecodable: dict[str, str] = field(default_factory=dict)  # images left out, and why
    decodable: set[str] = field(default_factory=set)  # images that were tried
    repointed: int = 0  # records that name an image by another path than they came with
    most_images: int = 0  # of one sample, where members of tar files are named by it
    keyless: int = 0  # came as members of an object and went out without their keys


@dataclass(frozen=True, slots=True)
class ExportRecord:
    """One sample as it goes out: ``place`` is its position among the rows."""

    row_idx: int
    place: int
    record: bytes


@dataclass(frozen=True, slots=True, eq=False)
class ExportPlan:
    """The samples of an export: ``rows`` ascending, ``weights`` and ``repeats`` beside them.

    ``decoded`` are the samples whose images a model has seen: they need no trial before they are
    embedded. ``hits`` are the answers that go or are masked, by row; ``emptied`` the rows that lost
    all of theirs, which are no longer among ``rows`` nor in the subset of ``outcome``. ``bad_rows``
    are no clean records: a reviewer kept them.
    """

    workspace: Workspace
    outcome: ResolvedSubset
    options: ExportOptions
    hits: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    emptied: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    weights: Floats | None = None
    repeats: Ints | None = None
    bad_rows: frozenset[int] = frozenset()
    decoded: NDArray[np.bool_] | None = None
    tally: ExportStats = field(default_factory=ExportStats)

    @property
    def rows(self) -> Ints:
        """Samples taken, ascending by row_idx."""
        return self.outcome.subset.selected

    @property
    def n_written(self) -> int:
        """Records written, repeats counted."""
        return len(self.rows) if self.repeats is None else int(self.repeats.sum())

    @property
    def n_steps(self) -> int:
        """Samples that the files report while they are written: images go through them again."""
        if self.options.format == "dropped":
            return len(self.outcome.subset.dropped)
        again = self.options.images != "none" or self.options.format in ("ids", "webdataset")
        return self.n_written * (2 if again else 1)

    def times(self, place: int) -> int:
        """How often the sample at this place is written."""
        return 1 if self.repeats is None else int(self.repeats[place])

    def tables(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        """Columns of the rows with the place of each table's first one.

        Raises WorkspaceError where the dataset lacks a row.
        """
        place = 0
        for table in read_columns(self.workspace, ["row_idx", *columns], self.rows):
            found = table.column("row_idx").to_numpy()
            wanted = self.rows[place : place + len(found)]
            if not np.array_equal(found, wanted):
                raise _lacking(int(np.setdiff1d(wanted, found)[0]))
            if len(found):
                yield place, table
            place += len(found)
        if place < len(self.rows):
            raise _lacking(int(self.rows[place]))

    def records(self) -> Iterator[ExportRecord]:
        """Every sample's record, once each. Raises RecordError for one that would spoil a file."""
        parsed = [*_PARSED] if self._needs_samples() else []
        columns = parsed or (["images"] if self._places_records() else [])
        for start, table in self.tables(["original", *columns]):
            originals = table.column("original").to_pylist()
            images = table.column("images").to_pylist() if self._places_records() else None
            for offset, original in enumerate(originals):
                row_idx = int(self.rows[start + offset])
                sample = None
                if original is None or row_idx in self.hits:
                    if not parsed:
                        raise _without_bytes(row_idx)
                    sample = sample_from_row(table.slice(offset, 1).to_pylist()[0])
                named = images[offset] if images is not None else ()
                yield self.finished(start + offset, original, sample, named)

    def finished(
        self,
        place: int,
        original: bytes | None,
        sample: Sample | None,
        images: Sequence[str] = (),
    ) -> ExportRecord:
        """The record of the sample at ``place`` as it goes out; ``images`` are those whose paths
        in it have to lead to their copies.
        """
        row_idx = int(self.rows[place])
        if original is None:
            record = self._rebuilt(row_idx, sample)
        else:
            if row_idx in self.bad_rows:
                _check_json(row_idx, original)
            record = original
            if sample is not None and row_idx in self.hits:
                record = self._cut(row_idx, original, sample)
            record = self._repointed(row_idx, record, images)
        if self.weights is not None and self.options.weights == "column":
            record = self._weighed(row_idx, record, float(self.weights[place]))
        return ExportRecord(row_idx, place, record)

    def turns(self, sample: Sample) -> tuple[Turn, ...]:
        """The conversation as it goes out."""
        answers = self.hits.get(sample.row_idx)
        if answers is None or self.options.turns != "drop" or sample.row_idx in self.tally.whole:
            return sample.turns
        try:
            return tuple(without_turns(sample.turns, answers))
        except EditError as problem:
            self.tally.whole[sample.row_idx] = str(problem)
            return sample.turns

    def mask(self, sample: Sample) -> list[bool]:
        """Of each answer whether it is trained on."""
        answers = self.hits.get(sample.row_idx, ()) if self.options.turns == "mask" else ()
        return [place not in answers for place in range(sample.n_turns)]

    def exported_path(self, reference: str) -> str:
        """The path by which the export names an image: in ``images/`` where it goes along so."""
        if not self.options.places_images or self.options.version < 3:
            return image_path(reference)
        return exported_path(reference, self.workspace.image_roots)

    def image_bytes(self, place: int, reference: str) -> bytes:
        """An image of the sample at ``place``, for a format that holds images itself.

        Raises ImageProblem for one that is missing or cannot be decoded.
        """
        found = resolve_image(reference, self.workspace.image_roots)
        trusted = self.decoded is not None and bool(self.decoded[place])
        if not trusted and self.options.version > 2:
            self._try_decoding(reference, found)
        return read_image_bytes(found)

    def _try_decoding(self, reference: str, place: ImageLocation) -> None:
        tally = self.tally
        if reference in tally.decodable:
            return
        try:
            if reason := tally.undecodable.get(reference):
                raise ImageProblem(Status.BAD_IMAGE, reason)
            open_image(replace(place, box=None), min_size=1)
        except ImageProblem as problem:
            if problem.status is Status.BAD_IMAGE:
                tally.undecodable[reference] = problem.reason
            raise
        tally.decodable.add(reference)

    def references(self) -> Iterator[tuple[int, str]]:
        """(row_idx, image) of every image of every sample, in their order."""
        for start, table in self.tables(["images"]):
            for offset, images in enumerate(table.column("images").to_pylist()):
                if self.times(start + offset):
                    for image in images:
                        yield int(self.rows[start + offset]), image

    def identifiers(self) -> Iterator[tuple[int, str]]:
        """(place, id) of every row, the id empty where a record has none."""
        for start, table in self.tables(["id"]):
            for offset, name in enumerate(table.column("id").to_pylist()):
                yield start + offset, name or ""

    def members(self) -> Iterator[Member | None]:
        """Of every row its place in the JSON object that it came from, None without one."""
        if all(one.container != "object" for one in read_dataset_info(self.workspace).files):
            yield from repeat(None, len(self.rows))
            return
        for _, table in self.tables(["origin"]):
            yield from map(parse_member, table.column("origin").to_pylist())

    def is_object(self) -> bool:
        """Whether the records go out as the members of an object, as they came: each once."""
        files = read_dataset_info(self.workspace).files
        if len(files) != 1 or files[0].container != "object" or self.repeats is not None:
            return False
        return all(self.members())

    def counts(self) -> dict[str, Any]:
        """What the options did, for the manifest; empty where they changed nothing."""
        told: dict[str, Any] = {}
        if self.options.turns != "keep":
            kept = {row: hits for row, hits in self.hits.items() if row not in self.tally.whole}
            told["turns"] = {
                "samples_changed": len(kept),
                "answers": sum(map(len, kept.values())),
                "samples_without_answers": len(self.emptied),
                "samples_left_whole": len(self.tally.whole),
            }
        if self.repeats is not None:
            told["repeats"] = {
                "records": self.n_written,
                "samples": int(np.count_nonzero(self.repeats)),
                "most": int(self.repeats.max(initial=0)),
            }
        if self.tally.images:
            told["images"] = dict(self.tally.images)
        if self.tally.most_images:
            told["most_images_of_a_sample"] = self.tally.most_images
        if self.tally.repointed:
            told["records_with_new_image_paths"] = self.tally.repointed
        if self.tally.keyless:
            told["records_without_their_keys"] = self.tally.keyless
        if self.tally.rebuilt:
            told["records_from_other_files"] = len(self.tally.rebuilt)
        return told

    def derived(self) -> list[str]:
        """In which ways records differ from those that came in; empty where all are untouched."""
        files = read_dataset_info(self.workspace).files
        in_table = self.options.format in TABLES and self.weights is not None
        in_table = in_table and self.options.columns != "source"
        ways = {
            "turns": self.options.turns != "keep",
            "weights": self.options.weights in ("column", "repeat") or in_table,
            "records": bool(self.tally.rebuilt),
            "encoding": any(one.encoding and one.container in JSON for one in files),
            "images": bool(self.tally.repointed),
        }
        return [way for way, used in ways.items() if used]

    def _places_records(self) -> bool:
        """Whether copies of the images are exported with the records."""
        return self.options.places_images and self.options.format in RECORDS

    def _repointed(self, row_idx: int, record: bytes, images: Sequence[str]) -> bytes:
        """The record with new paths for images that its own paths do not lead to."""
        paths = {
            image_path(one): path
            for one in images
            if split_reference(image_path(one)) is None
            and (path := self.exported_path(one)) != image_path(one)
        }
        if not paths:
            return record
        try:
            record = replace_paths(record, paths)
        except (EditError, ValueError, IndexError, RecursionError) as problem:
            raise RecordError(
                f"row {row_idx} names an image by a path that leads out of the export's images, "
                f"and it cannot be rewritten: {problem}; export as webdataset, or with images "
                "embedded in a table"
            ) from problem
        self.tally.repointed += 1
        return record

    def _needs_samples(self) -> bool:
        files = read_dataset_info(self.workspace).files
        return bool(self.hits) or any(file.container not in JSON for file in files)

    def _cut(self, row_idx: int, original: bytes, sample: Sample) -> bytes:
        answers = self.hits[row_idx]
        try:
            if self.options.turns == "mask":
                return mask_turns(original, sample.turns, answers, self.options.mask_key)
            return cut_turns(original, sample.turns, answers)
        except (EditError, ValueError, IndexError, RecursionError) as problem:
            self.tally.whole[row_idx] = str(problem)
            return original

    def _weighed(self, row_idx: int, record: bytes, weight: float) -> bytes:
        try:
            return add_key(record, self.options.weight_key, f"{weight:.6g}")
        except (EditError, ValueError, IndexError, RecursionError) as problem:
            raise RecordError(
                f"row {row_idx} cannot take a weight: {problem}; name another key with "
                "--weight-key, or export with repeated records"
            ) from problem

    def _rebuilt(self, row_idx: int, sample: Sample | None) -> bytes:
        """A LLaVA record of what was understood of a record that is no JSON."""
        if sample is None or sample.origin is None or sample.status is Status.BAD_RECORD:
            raise _without_bytes(row_idx)
        self.tally.rebuilt.add(row_idx)
        images = [self._named(row_idx, image) for image in sample.images]
        record: dict[str, object] = {} if sample.id is None else {"id": sample.id}
        if images:
            record["image"] = images[0] if len(images) == 1 else images
        mask = iter(self.mask(sample))
        turns = [conversation_turn(turn) for turn in self.turns(sample)]
        if self.options.turns == "mask":
            for turn in turns:
                if turn["from"] == "gpt" and not next(mask):
                    turn[self.options.mask_key] = False
        record["conversations"] = turns
        return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")

    def _named(self, row_idx: int, reference: str) -> str:
        """The path that a rebuilt record gives for an image."""
        if split_reference(image_path(reference)) is None:
            return self.exported_path(reference)
        if not self.options.places_images and self.options.format in RECORDS[:2]:
            raise InputError(
                f"the image of row {row_idx} lies inside "
                f"{image_path(reference).partition('#')[0]}, where no "
                "record can name it; export with images copied, as webdataset, or embedded in a "
                "table"
            )
        try:
            return image_name(reference, resolve_image(reference, self.workspace.image_roots))
        except ImageProblem:
            return image_path(reference)


def plan_export(
    workspace: Workspace, store: Store, outcome: ResolvedSubset, options: ExportOptions
) -> ExportPlan:
    """Applies the options to a resolved subset; turn scores come from ``store``.

    Raises RuleError where the subset has weights and nothing is said about them, or has none.
    """
    hits: dict[int, tuple[int, ...]] = {}
    emptied = np.empty(0, np.int64)
    if options.turns != "keep":
        hits, emptied = _plan_turns(store, outcome, options)
        outcome = _emptied(outcome, emptied)
    weights, repeats = _weights(outcome, options)
    found, kept = outcome.candidates, outcome.subset.kept
    bad = frozenset(found.row_idx[found.has_status(Status.BAD_RECORD) & kept].tolist())
    decoded = None
    if options.holds_images and not read_run(workspace, outcome.definition.run_id).imported_from:
        decoded = found.scored[kept]  # scores from elsewhere say nothing about the images here
    return ExportPlan(workspace, outcome, options, hits, emptied, weights, repeats, bad, decoded)


def _plan_turns(
    store: Store, outcome: ResolvedSubset, options: ExportOptions
) -> tuple[dict[int, tuple[int, ...]], Ints]:
    found = turns_outside(store, outcome.definition.scope, options.turn_min, options.turn_max)
    taken = np.isin(found["row_idx"], outcome.subset.selected)
    rows, starts, counts = np.unique(found["row_idx"][taken], return_index=True, return_counts=True)
    turns, answers = found["turn"][taken], found["n_turns"][taken][starts]
    empty = counts == answers
    hits = {
        int(row): tuple(turns[start : start + count].tolist())
        for row, start, count, gone in zip(rows, starts, counts, empty, strict=True)
        if not gone
    }
    return hits, rows[empty].astype(np.int64)


def _emptied(outcome: ResolvedSubset, rows: Ints) -> ResolvedSubset:
    """The outcome without samples of which no answer is left."""
    before: Subset = outcome.subset
    gone = np.isin(before.row_idx, rows)
    why = np.where(gone, REASONS.index(Reason.NO_TURN), before.why).astype(np.int8)
    kept = before.kept & ~gone
    subset = replace(
        before,
        selected=before.row_idx[kept],
        dropped=before.row_idx[~kept],
        kept=kept,
        why=why,
        weights=None if before.weights is None else np.where(kept, before.weights, 0.0),
    )
    return replace(outcome, subset=subset)


def _weights(outcome: ResolvedSubset, options: ExportOptions) -> tuple[Floats | None, Ints | None]:
    subset = outcome.subset
    if subset.weights is None:
        if options.weights in ("column", "repeat"):
            raise RuleError(
                f"{outcome.definition.rule} gives no weights; choose by the rule weights, or "
                "export without them"
            )
        return None, None
    if options.weights is None and options.format in RECORDS:
        raise RuleError(
            "this subset has weights; say what becomes of them: a column, repeated records, or "
            "ignore (--weights column, repeat or ignore)"
        )
    weights = subset.weights[subset.kept]
    if options.weights == "repeat":
        repeats = repeat_counts(subset.selected, weights, options.epoch_size, options.seed)
        return weights, repeats
    return (None if options.weights == "ignore" else weights), None


def conversation_turn(turn: Turn) -> dict[str, object]:
    """A turn as a LLaVA record has it, with a placeholder for each image."""
    text, at, pieces = turn.text, 0, []
    for offset in turn.image_offsets:
        pieces += [text[at:offset], PLACEHOLDER]
        at = offset
    return {"from": _FROM[turn.role], "value": "".join([*pieces, text[at:]])}


def format_json_line(written: ExportRecord) -> bytes:
    """The record on one line. Raises RecordError for one that no line can hold."""
    line = one_line(written.record)
    if b"\n" in line or b"\r" in line:
        raise RecordError(
            f"row {written.row_idx} has a raw line break inside a string, which no line of JSON "
            "can hold; export it as llava"
        )
    return line


def _lacking(row_idx: int) -> WorkspaceError:
    return WorkspaceError(
        f"the dataset parts lack row {row_idx}; they do not hold what was imported: restore "
        "them, or import the dataset into a new workspace"
    )


def _without_bytes(row_idx: int) -> WorkspaceError:
    return WorkspaceError(
        f"the dataset parts hold no record bytes of row {row_idx}; "
        "export the subset as ids, or import the dataset anew"
    )


def _check_json(row_idx: int, original: bytes) -> None:
    try:
        json.loads(original.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"row {row_idx} was kept by a reviewer, but its record is no JSON ({error}) and "
            "would make the whole file unreadable; drop it, or export the subset as ids"
        ) from error
