"""Rows of a score file beside the samples that they are about.

The one decision behind it: a row says something about a sample only where nothing contradicts
that, neither its id nor its image; what is not taken becomes a finding, and the sample keeps a
status with the reason. Losses and scores are in nats per answer token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scoring.image_references import image_path
from scoring.issues import ImportIssues
from scoring.samples import Status
from scoring.schemas import IMPORTED_SCORES

TOLERANCE = 1e-5  # nats: three numbers of six decimals differ by less from rounding alone


@dataclass(slots=True)
class Join:
    """Joins one file to a dataset, stretch by stretch; ``n_taken`` counts what was taken in.

    ``check``: a row whose id or image path is not the sample's is not taken.
    """

    file: str
    baseline: str
    check: bool
    findings: ImportIssues
    n_taken: int = 0

    def part(self, samples: pa.Table, rows: pa.Table) -> pa.Table:
        """A part of the run: one row for each of ``samples``."""
        first_row = samples.column("row_idx")[0].as_py()
        rows = self._once(rows)
        place = rows.column("row_idx").to_numpy() - first_row
        status = np.array(samples.column("status").to_pylist(), dtype=object)
        reason = np.array(samples.column("reason").to_pylist(), dtype=object)
        open_ = status == Status.PENDING
        reason[open_] = f"{self.file} has no row for it"
        taken = self._takable(samples, rows, place, open_, reason)
        kept = rows.filter(pa.array(taken))
        losses = self._judged(kept, place[taken], status, reason)
        self.n_taken += len(kept)
        missing = open_.copy()
        missing[place] = False
        at = np.flatnonzero(missing)
        self.findings.add(
            "sample without a row in the file",
            len(at),
            (f"row {first_row + int(one)}" for one in at),
        )
        values = {"row_idx": samples.column("row_idx"), "status": status, "reason": reason}
        values |= {"baseline": pa.repeat(self.baseline, len(samples)), **losses}
        return pa.table(
            [_array(values[one.name], one.type) for one in IMPORTED_SCORES], IMPORTED_SCORES
        )

    def _once(self, rows: pa.Table) -> pa.Table:
        """The first of the rows with one number; the others are findings."""
        numbers = rows.column("row_idx").to_numpy()
        _, firsts = np.unique(numbers, return_index=True)
        again = np.setdiff1d(np.arange(len(numbers)), firsts)
        lines = rows.column("line").to_numpy()
        self.findings.add(
            "row_idx again; the first row holds",
            len(again),
            (f"row_idx {numbers[at]} in row {lines[at]:,} of the file" for at in again),
        )
        return rows.take(pa.array(firsts))

    def _takable(
        self,
        samples: pa.Table,
        rows: pa.Table,
        place: NDArray[np.int64],
        open_: NDArray[np.bool_],
        reason: NDArray[np.object_],
    ) -> NDArray[np.bool_]:
        """Which rows are about a sample that may have a score, and about that very sample."""
        taken: NDArray[np.bool_] = open_[place]
        statuses = samples.column("status")
        self._found(
            "score for a sample that can have none",
            rows,
            ~taken,
            lambda at: f"which is {statuses[int(place[at])].as_py()}",
        )
        if not self.check:
            return taken
        mine = samples.take(pa.array(place))
        for what, differs, said in (
            ("another id", _other_ids(mine, rows), partial(_said_ids, mine, rows)),
            ("another image", _other_images(mine, rows), partial(_said_images, mine, rows)),
        ):
            odd = taken & differs
            self._found(what, rows, odd, said)
            reason[place[odd]] = f"its row in {self.file} is about {what}"
            taken &= ~differs
        return taken

    def _found(self, what: str, rows: pa.Table, odd: NDArray[np.bool_], said: Any) -> None:
        at = np.flatnonzero(odd)
        numbers = rows.column("row_idx")
        self.findings.add(
            what, len(at), (f"row {numbers[int(one)].as_py()}, {said(int(one))}" for one in at)
        )

    def _judged(
        self,
        rows: pa.Table,
        place: NDArray[np.int64],
        status: NDArray[np.object_],
        reason: NDArray[np.object_],
    ) -> dict[str, pa.Array]:
        """Sets status and reason of the samples at ``place``; returns the three number columns."""
        multimodal = rows.column("loss_multimodal").to_numpy()
        text = rows.column("loss_text").to_numpy()
        given = rows.column("visnec").to_numpy()
        finite = np.isfinite(multimodal) & np.isfinite(text)
        status[place], reason[place] = str(Status.SCORED), None
        status[place[~finite]] = str(Status.NON_FINITE)
        reason[place[~finite]] = f"a loss in {self.file} is no finite number"
        # An infinite loss has no place in a difference; such rows are not compared.
        derived = np.where(finite, text, 0.0) - np.where(finite, multimodal, 0.0)
        scale = np.maximum(np.abs(np.where(finite, text, 0.0)), 1.0)
        told = finite & ~np.isnan(given)
        agrees = told & (np.abs(np.where(told, given, 0.0) - derived) <= TOLERANCE * scale)
        self._found(
            "visnec is not loss_text - loss_multimodal; the losses hold",
            rows,
            told & ~agrees,
            lambda at: f"{given[at]:g} instead of {derived[at]:g}",
        )
        found = {"loss_text": text, "loss_multimodal": multimodal}
        found["visnec"] = np.where(agrees, given, derived)
        return {name: _spread(values, finite, place, len(status)) for name, values in found.items()}


def _spread(
    values: NDArray[np.float64], known: NDArray[np.bool_], place: NDArray[np.int64], n: int
) -> pa.Array:
    """``values`` at their places among ``n``, null everywhere else."""
    out, absent = np.zeros(n), np.ones(n, dtype=bool)
    out[place[known]], absent[place[known]] = values[known], False
    return pa.array(out, mask=absent)


def _array(values: Any, kind: pa.DataType) -> Any:
    return pa.array(values, kind) if isinstance(values, np.ndarray) else values


def _other_ids(samples: pa.Table, rows: pa.Table) -> NDArray[np.bool_]:
    """Where both have an id and they differ."""
    differ = pc.not_equal(samples.column("id").cast(pa.binary()), rows.column("id"))
    return _flags(pc.fill_null(differ, False))


def _said_ids(samples: pa.Table, rows: pa.Table, at: int) -> str:
    return f"id {_shown(rows, 'id', at)} in the file, {samples.column('id')[at].as_py()!r} here"


def _other_images(samples: pa.Table, rows: pa.Table) -> NDArray[np.bool_]:
    """Where both name an image and it is none of the sample's."""
    images, paths = samples.column("images").combine_chunks(), rows.column("image_path")
    parents = pc.list_parent_indices(images).to_numpy()
    owners, firsts = np.unique(parents, return_index=True)
    first = pc.list_flatten(images).take(pa.array(firsts)).cast(pa.binary())
    named = paths.take(pa.array(owners)).combine_chunks()
    unequal = _flags(pc.fill_null(pc.not_equal(first, named), False))
    differs = np.zeros(len(rows), dtype=bool)
    for at in owners[unequal].tolist():
        path = paths[at].as_py().decode("utf-8", "replace")
        differs[at] = not any(_same_path(path, image_path(image)) for image in images[at].as_py())
    return differs


def _same_path(one: str, other: str) -> bool:
    """Whether two paths are the same or one is the end of the other."""
    left, right = (["", *PurePosixPath(path.replace("\\", "/")).parts] for path in (one, other))
    short = min(len(left), len(right)) - 1
    return short > 0 and left[-short:] == right[-short:]


def _said_images(samples: pa.Table, rows: pa.Table, at: int) -> str:
    here = ", ".join(map(image_path, samples.column("images")[at].as_py()))
    return f"{_shown(rows, 'image_path', at)} in the file, {here!r} here"


def _shown(rows: pa.Table, column: str, at: int) -> str:
    cell = rows.column(column)[at].as_py()
    return repr(cell.decode("utf-8", "replace")[:200])


def _flags(values: Any) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = np.array(values.to_pylist(), dtype=bool)
    return flags
