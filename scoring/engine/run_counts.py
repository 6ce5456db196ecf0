"""Counts the completed samples of a run from its parts, by status and by source.

Each part is read once, when it appears: counting costs the same however long a run takes. A row
that two processes computed counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scoring.engine.plan import Plan
from scoring.runs.journal import Journal
from scoring.runs.progress import SampleCounts
from scoring.samples import Status

_COUNTED = (
    *("row_idx", "baseline", "status"),
    *("text_altered", "thoughts_dropped", "thoughts_unfinished"),
)


class RunCounts:
    """The completed and the open positions of a plan, among those that are ``wanted``."""

    def __init__(
        self, plan: Plan, journal: Journal, wanted: NDArray[np.bool_], baselines: Sequence[str] = ()
    ) -> None:
        self._plan, self._journal, self._wanted = plan, journal, wanted
        self._first = baselines[0] if baselines else None
        self._done = np.zeros(len(wanted), dtype=bool)  # (n,) by position, as all flags
        # it has a score under any baseline, or both predictions of each turn
        self.succeeded = np.zeros(len(wanted), dtype=bool)
        # (n_chunks,) open positions in each chunk
        self.open_rows = np.add.reduceat(wanted.astype(np.int64), plan.chunk_starts)
        self.total = int(wanted.sum())
        self.source_totals = self._count_by_source(np.flatnonzero(wanted))  # of wanted positions
        # rows of the run by status under each blind baseline, wanted or not
        self.by_baseline: dict[str, Counter[str]] = {name: Counter() for name in baselines}
        self.counts = SampleCounts()  # of the completed ones; statuses under the first baseline
        self.thoughts_unfinished = np.zeros(len(wanted), dtype=bool)  # a prediction ends inside one
        self.n_text_altered = self.n_thoughts_dropped = 0  # samples of the run, see RunSummary
        columns = _COUNTED if baselines else (*_COUNTED, "reason")
        self._columns = [name for name in columns if name in journal.schema.names]
        self.read_new_parts()

    def read_new_parts(self) -> None:
        """Add the parts that have appeared since the last call."""
        for table in self._journal.read_new(self._columns):
            positions = self._plan.position_of[table.column("row_idx").to_numpy()]
            is_new = ~self._done[positions]
            positions = positions[is_new]
            self._count_outcomes(table.filter(pa.array(is_new)), positions)
            positions = np.unique(positions)
            self._done[positions] = True
            finished = positions[self._wanted[positions]]
            np.subtract.at(self.open_rows, self._plan.chunk_of(finished), 1)
            self.counts.add(SampleCounts(len(finished), {}, self._count_by_source(finished)))

    def open_positions(self, chunk: int) -> NDArray[np.int64]:
        """Return the positions of ``chunk`` that are wanted and in no part, ascending."""
        inside = self._plan.chunk_positions(chunk)
        is_open = self._wanted[inside] & ~self._done[inside]
        positions: NDArray[np.int64] = inside.start + np.flatnonzero(is_open)
        return positions

    def count_rows(self, rows: Sequence[dict[str, Any]]) -> SampleCounts:
        """Return the counts of rows that are not in a part yet."""
        first = {row["row_idx"]: row for row in rows if row.get("baseline") == self._first}
        positions = self._plan.position_of[list(first)]
        statuses = dict(Counter(str(row["status"]) for row in first.values() if "status" in row))
        return SampleCounts(len(first), statuses, self._count_by_source(positions))

    @property
    def n_succeeded(self) -> int:
        """Number of wanted positions that have a result."""
        return int((self.succeeded & self._wanted).sum())

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(n,) flags of completed positions without a result."""
        return self._done & ~self.succeeded

    def _count_outcomes(self, table: pa.Table, positions: NDArray[np.int64]) -> None:
        """Count the statuses of scores, or the predictions, in the new rows of a part."""
        if self._first is None:
            self.succeeded[positions] = True
            self.succeeded[positions[table.column("reason").is_valid().to_numpy()]] = False
            if "thoughts_unfinished" in table.column_names:
                unfinished = pc.greater(table.column("thoughts_unfinished"), 0).fill_null(False)
                self.thoughts_unfinished[positions[unfinished.to_numpy()]] = True
            return
        scored = pc.equal(table.column("status"), Status.SCORED.value).to_numpy()
        self.succeeded[positions[scored]] = True
        grouped = table.group_by(["baseline", "status"]).aggregate([([], "count_all")])
        for row in grouped.to_pylist():
            counter = self.by_baseline.setdefault(row["baseline"], Counter())
            counter[row["status"]] += row["count_all"]
        self.counts.statuses = dict(self.by_baseline[str(self._first)])
        first = table.filter(pc.equal(table.column("baseline"), self._first))
        self.n_text_altered += _count_positive(first, "text_altered")
        self.n_thoughts_dropped += _count_positive(first, "thoughts_dropped")

    def _count_by_source(self, positions: NDArray[np.int64]) -> dict[str, int]:
        codes = self._plan.source_codes[positions]
        counts = np.bincount(codes, minlength=len(self._plan.source_names)).tolist()
        named = zip(self._plan.source_names, counts, strict=True)
        return {name: n for name, n in named if n}


def _count_positive(table: pa.Table, column: str) -> int:
    """Return the rows with a positive number or true; 0 without the column (imported scores)."""
    if column not in table.column_names:
        return 0
    return pc.sum(pc.greater(table.column(column).cast(pa.int64()), 0)).as_py() or 0


def positions_with_status(
    plan: Plan, journal: Journal, statuses: Sequence[str]
) -> NDArray[np.bool_]:
    """Return (n,) flags of positions with one of ``statuses``, under any blind baseline."""
    done = np.zeros(len(plan.rows), dtype=bool)
    matching = np.zeros(len(plan.rows), dtype=bool)
    for table in journal.read_new(["row_idx", "status"]):
        positions = plan.position_of[table.column("row_idx").to_numpy()]
        has_status = pc.is_in(table.column("status"), pa.array(statuses, pa.string())).to_numpy()
        matching[positions[has_status & ~done[positions]]] = True
        done[positions] = True
    return matching
