"""Plan an export: which samples it contains, and what changes about their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scoring.database.connection import Store
from scoring.database.queries.export import turns_outside
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.errors import RuleError, WorkspaceError
from scoring.exports.added_columns import AddedColumn, read_added_columns
from scoring.exports.export_edits import AppliedEdit, apply_edits, edit_table
from scoring.exports.options import RECORDS, TABLES, ExportOptions
from scoring.exports.source_weights import SourceFile, plan_source_files
from scoring.readers.detect import JSON
from scoring.readers.json_stream import Member, parse_member
from scoring.reviews.pinned_edits import ChosenEdit
from scoring.rules import Mixture
from scoring.rules.candidates import Floats, Ints
from scoring.runs.record import read_run
from scoring.samples import Status
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import REASONS, Reason, repeat_counts
from scoring.workspace import Workspace


@dataclass(slots=True)
class ExportStats:
    """What happened to records and images while they were written."""

    rebuilt: set[int] = field(default_factory=set)  # rows not from JSON: written as LLaVA records
    rewritten: int = 0  # records of JSON that were written as LLaVA records for a trainer
    unedited: dict[int, str] = field(default_factory=dict)  # rows whose turns could not be edited
    images: dict[str, int] = field(default_factory=dict)  # files, bytes, missing, undecodable
    undecodable: dict[str, str] = field(default_factory=dict)  # images left out, and why
    decodable: set[str] = field(default_factory=set)  # images that were decoded
    repointed: int = 0  # records that name an image by another path than in the dataset
    most_images: int = 0  # of one sample; members of tar files are named by it
    keyless: int = 0  # members of a JSON object that were written without their keys


@dataclass(frozen=True, slots=True, eq=False)
class ExportPlan:
    """The samples of an export and the changes to their records.

    A sample's position is its place among ``rows``, which are ascending; ``weights`` and
    ``repeats`` are given by position.

    Attributes:
        hits: Answers to drop or mask, by row.
        emptied: Rows that lost all answers. They are in neither ``rows`` nor ``outcome``'s subset.
        bad_rows: Rows with a malformed record that a reviewer kept.
        decoded: By position, whether a model has seen the images, which then need no trial
            decoding before they are embedded.
        source_files: The file of each source, where sources are weighed; else empty.
        added: Imported columns that are added to the records.
        edits: Reviewers' edits that are applied, by row.
    """

    workspace: Workspace
    outcome: ResolvedSubset
    options: ExportOptions
    hits: Mapping[int, tuple[int, ...]]
    emptied: Ints
    weights: Floats | None
    repeats: Ints | None
    bad_rows: frozenset[int]
    decoded: NDArray[np.bool_] | None
    source_files: tuple[SourceFile, ...] = ()
    added: tuple[AddedColumn, ...] = ()
    edits: Mapping[int, AppliedEdit] = field(default_factory=dict)
    stats: ExportStats = field(default_factory=ExportStats)

    @property
    def rows(self) -> Ints:
        """The row_idx of the exported samples, ascending."""
        return self.outcome.subset.selected

    @property
    def n_written(self) -> int:
        """Number of records written, counting repeats."""
        return len(self.rows) if self.repeats is None else int(self.repeats.sum())

    @property
    def n_steps(self) -> int:
        """Number of samples that the files report while written; listing images counts again."""
        if self.options.format == "dropped":
            return len(self.outcome.subset.dropped)
        twice = self.options.images != "none" or self.options.format in ("ids", "webdataset")
        return self.n_written * (2 if twice else 1)

    def n_repeats(self, position: int) -> int:
        """Return how often the sample at this position is written."""
        return 1 if self.repeats is None else int(self.repeats[position])

    def read_tables(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        """Yield (position of the first row, these columns) of all rows, in bounded memory.

        Edited samples are as their edit makes them.

        Raises WorkspaceError if the dataset lacks a row.
        """
        position, missing = 0, None
        for table in read_columns(self.workspace, ["row_idx", *columns], self.rows):
            present = table.column("row_idx").to_numpy()
            expected = self.rows[position : position + len(present)]
            if not np.array_equal(present, expected):
                missing = np.setdiff1d(expected, present)[0]
                break
            if len(present):
                yield position, edit_table(table, self.edits)
            position += len(present)
        if position < len(self.rows):
            missing = self.rows[position] if missing is None else missing
            raise WorkspaceError(
                f"The dataset parts lack row {missing}, so they are not what was imported. Restore "
                "them, or import the dataset into a new workspace."
            )

    def read_references(self) -> Iterator[tuple[int, str]]:
        """Yield (row_idx, image) of every image of every sample, in order."""
        for start, table in self.read_tables(["images"]):
            for position, images in enumerate(table.column("images").to_pylist(), start):
                if self.n_repeats(position):
                    for image in images:
                        yield int(self.rows[position]), image

    def read_members(self) -> Iterator[Member | None]:
        """Yield the place of each row in the JSON object that contained it; None without one."""
        files = read_dataset_info(self.workspace).files
        if all(file.container != "object" for file in files):
            yield from repeat(None, len(self.rows))
            return
        for _, table in self.read_tables(["origin"]):
            yield from map(parse_member, table.column("origin").to_pylist())

    def is_object(self) -> bool:
        """Return whether records are written as members of one object, as they were imported."""
        files = read_dataset_info(self.workspace).files
        if len(files) != 1 or files[0].container != "object" or self.repeats is not None:
            return False
        if self.options.trainer is not None:  # trainers read lists
            return False
        return all(self.read_members())

    def count_changes(self) -> dict[str, Any]:
        """Return what the options changed, for the manifest; empty where nothing."""
        stats = self.stats
        counts: dict[str, Any] = {}
        if self.options.turns != "keep":
            edited = {row: hits for row, hits in self.hits.items() if row not in stats.unedited}
            counts["turns"] = {
                "samples_changed": len(edited),
                "answers": sum(map(len, edited.values())),
                "samples_without_answers": len(self.emptied),
                "samples_left_whole": len(stats.unedited),
            }
        if self.edits:
            conflicts = sum(edit.chosen.conflict for edit in self.edits.values())
            counts["edits"] = {"samples": len(self.edits), "conflicts": conflicts}
        if self.repeats is not None:
            counts["repeats"] = {
                "records": self.n_written,
                "samples": int(np.count_nonzero(self.repeats)),
                "most": int(self.repeats.max(initial=0)),
            }
        if self.source_files:
            counts["sources"] = [file.to_dict() for file in self.source_files]
        others = {
            "images": dict(stats.images),
            "most_images_of_a_sample": stats.most_images,
            "records_with_new_image_paths": stats.repointed,
            "records_without_their_keys": stats.keyless,
            "records_from_other_files": len(stats.rebuilt),
            "records_rewritten_for_trainer": stats.rewritten,
        }
        return counts | {name: count for name, count in others.items() if count}

    def derived_kinds(self) -> list[str]:
        """Return in which ways records differ from the imported ones; empty where they do not."""
        options = self.options
        files = read_dataset_info(self.workspace).files
        has_weight_column = (
            self.weights is not None and options.format in TABLES and options.columns != "source"
        )
        kinds = {
            "turns": options.turns != "keep",
            "weights": options.weights in ("column", "repeat") or has_weight_column,
            "records": bool(self.stats.rebuilt or self.stats.rewritten)
            or options.format == "messages",
            "scores": options.scores,
            "columns": bool(options.add_columns),
            "edits": bool(self.edits),
            "encoding": any(file.encoding and file.container in JSON for file in files),
            "images": bool(self.stats.repointed) or options.path_prefix is not None,
        }
        return [kind for kind, applies in kinds.items() if applies]


def plan_export(
    workspace: Workspace,
    store: Store,
    outcome: ResolvedSubset,
    options: ExportOptions,
    edits: Sequence[ChosenEdit] = (),
) -> ExportPlan:
    """Apply the options to a resolved subset; ``store`` provides the turn scores and the columns.

    ``edits`` are those that may be applied. Raises RuleError if the subset has weights and the
    options do not use them, or the reverse, InputError for an unknown column, and RecordError for
    an edit that does not fit its record.
    """
    if options.edits == "only":
        edited = [each.event.row_idx for each in edits]
        rows = outcome.subset.selected
        outcome = _drop_rows(outcome, rows[~np.isin(rows, edited)], Reason.NOT_EDITED)
    applied = apply_edits(workspace, options, edits, outcome.subset.selected)
    hits: dict[int, tuple[int, ...]] = {}
    emptied, stats = np.empty(0, np.int64), ExportStats()
    if options.turns != "keep":
        hits, emptied = _plan_turns(store, outcome, options, stats, applied)
        outcome = _drop_rows(outcome, emptied, Reason.NO_TURN)
    candidates, subset = outcome.candidates, outcome.subset
    is_mixture = isinstance(outcome.definition.rule, Mixture)
    if subset.weights is None and is_mixture and options.weights not in (None, "ignore"):
        subset = replace(subset, weights=subset.kept.astype(np.float64))  # each counts once
        outcome = replace(outcome, subset=subset)
    if subset.weights is None and options.weights in ("column", "repeat", "source"):
        raise RuleError(
            f"The rule {outcome.definition.rule} gives no weights. Select with the rule weights "
            "or mixture, or export without them."
        )
    is_asked = options.format in (*RECORDS, "messages") or options.trainer is not None
    if subset.weights is not None and options.weights is None and is_asked:
        raise RuleError(
            "This subset has weights. Choose how to export them: --weights column, repeat or "
            "ignore."
        )
    weights = repeats = decoded = None
    source_files: tuple[SourceFile, ...] = ()
    if subset.weights is not None and options.weights != "ignore":
        weights = subset.weights[subset.kept]
        if options.weights == "repeat":
            repeats = repeat_counts(subset.selected, weights, options.epoch_size, options.seed)
        elif options.weights == "source":
            source_files, weights = plan_source_files(outcome, options, weights), None
    if options.holds_images and not read_run(workspace, outcome.definition.run_id).imported_from:
        decoded = candidates.scored[subset.kept]  # imported scores do not prove that images decode
    is_bad = candidates.has_status(Status.BAD_RECORD) & subset.kept
    bad_rows = frozenset(candidates.row_idx[is_bad].tolist())
    return ExportPlan(
        workspace,
        outcome,
        options,
        hits,
        emptied,
        weights,
        repeats,
        bad_rows,
        decoded,
        source_files,
        read_added_columns(store, options.add_columns, subset.selected),
        applied,
        stats,
    )


def _plan_turns(
    store: Store,
    outcome: ResolvedSubset,
    options: ExportOptions,
    stats: ExportStats,
    edits: Mapping[int, AppliedEdit],
) -> tuple[dict[int, tuple[int, ...]], Ints]:
    """Return the answers outside of the turn limits by row, and the rows that lose all answers.

    Edited samples stay whole: the scores are those of their answers before the edit.
    """
    outside = turns_outside(store, outcome.definition.scope, options.turn_min, options.turn_max)
    selected = np.isin(outside["row_idx"], outcome.subset.selected)
    for row in set(outside["row_idx"][selected].tolist()) & edits.keys():
        stats.unedited[row] = "its record was edited after it was scored"
    selected &= ~np.isin(outside["row_idx"], list(stats.unedited))
    rows, starts, counts = np.unique(
        outside["row_idx"][selected], return_index=True, return_counts=True
    )
    turns, n_answers = outside["turn"][selected], outside["n_turns"][selected][starts]
    is_empty = counts == n_answers
    hits = {
        int(row): tuple(turns[start : start + count].tolist())
        for row, start, count, empty in zip(rows, starts, counts, is_empty, strict=True)
        if not empty
    }
    return hits, rows[is_empty].astype(np.int64)


def _drop_rows(outcome: ResolvedSubset, rows: Ints, reason: Reason) -> ResolvedSubset:
    """Drop samples from a resolved subset."""
    subset = outcome.subset
    removed = np.isin(subset.row_idx, rows)
    kept = subset.kept & ~removed
    changed = replace(
        subset,
        selected=subset.row_idx[kept],
        dropped=subset.row_idx[~kept],
        kept=kept,
        why=np.where(removed, REASONS.index(reason), subset.why).astype(np.int8),
        weights=None if subset.weights is None else np.where(kept, subset.weights, 0.0),
    )
    return replace(outcome, subset=changed)
