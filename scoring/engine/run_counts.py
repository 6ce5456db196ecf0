"""What is done of a run, read off its parts, and counted by status and by source.

Parts are read once each, as they appear: the count costs the same however long a run goes on. A
row that two processes did counts once.
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
    """The done and the open positions of a plan, ``wanted`` among them ((n,) flags by position).

    ``by_baseline`` counts every row of the run by status under each blind baseline, wanted or
    not; ``counts`` are of what is wanted, with the statuses under the first baseline.
    ``succeeded``: (n,) flags of positions with a score under any baseline, or with both
    predictions. ``n_text_altered`` and ``n_thoughts_dropped`` are samples of the run, see
    ``RunSummary``; ``n_thoughts_unfinished`` are samples with a prediction that ends inside a
    thought.
    """

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        wanted: NDArray[np.bool_],
        baselines: Sequence[str] = (),
    ) -> None:
        self._plan, self._journal, self._wanted = plan, journal, wanted
        self._first = baselines[0] if baselines else None
        self._seen = np.zeros(len(wanted), dtype=bool)
        self.succeeded = np.zeros(len(wanted), dtype=bool)
        self.left = np.add.reduceat(
            wanted.astype(np.int64), plan.chunk_starts
        )  # open rows of each chunk
        self.total = int(wanted.sum())
        self.source_totals = self._by_source(np.flatnonzero(wanted))
        self.by_baseline: dict[str, Counter[str]] = {name: Counter() for name in baselines}
        self.counts = SampleCounts()
        self.n_text_altered = self.n_thoughts_dropped = self.n_thoughts_unfinished = 0
        columns = _COUNTED if baselines else (*_COUNTED, "reason")
        self._columns = [name for name in columns if name in journal.schema.names]
        self.refresh()

    def refresh(self) -> None:
        """Takes in the parts that have appeared since."""
        for table in self._journal.read_new(self._columns):
            self._take(table)

    def open_positions(self, chunk: int) -> NDArray[np.int64]:
        """Positions of ``chunk`` that are wanted and in no part, ascending."""
        part = self._plan.chunk(chunk)
        found: NDArray[np.int64] = part.start + np.flatnonzero(
            self._wanted[part] & ~self._seen[part]
        )
        return found

    def counts_of(self, rows: Sequence[dict[str, Any]]) -> SampleCounts:
        """Counts of rows that are not in a part yet."""
        first = [row for row in rows if row.get("baseline") == self._first]
        positions = self._plan.position_of[[row["row_idx"] for row in first]]
        statuses = dict(Counter(str(row["status"]) for row in first if "status" in row))
        return SampleCounts(len(first), statuses, self._by_source(positions))

    @property
    def n_succeeded(self) -> int:
        """Positions that are wanted and have a result."""
        return int((self.succeeded & self._wanted).sum())

    def _take(self, table: pa.Table) -> None:
        positions = self._plan.position_of[table.column("row_idx").to_numpy()]
        new = ~self._seen[positions]
        table, positions = table.filter(pa.array(new)), positions[new]
        if self._first is not None:
            self._count_statuses(table, positions)
        else:
            self.succeeded[positions] = table.column("reason").is_null().to_numpy()
            if "thoughts_unfinished" in table.column_names:
                unfinished = pc.greater(table.column("thoughts_unfinished"), 0)
                self.n_thoughts_unfinished += pc.sum(unfinished).as_py() or 0
        positions = np.unique(positions)
        self._seen[positions] = True
        finished = positions[self._wanted[positions]]
        np.subtract.at(self.left, self._plan.chunk_of(finished), 1)
        self.counts.add(SampleCounts(len(finished), {}, self._by_source(finished)))

    def _count_statuses(self, table: pa.Table, positions: NDArray[np.int64]) -> None:
        scored = pc.equal(table.column("status"), Status.SCORED.value).to_numpy()
        self.succeeded[positions[scored]] = True
        grouped = table.group_by(["baseline", "status"]).aggregate([([], "count_all")])
        for one in grouped.to_pylist():
            counter = self.by_baseline.setdefault(one["baseline"], Counter())
            counter[one["status"]] += one["count_all"]
        self.counts.statuses = dict(self.by_baseline[str(self._first)])
        if "text_altered" not in table.column_names:  # scores that were imported
            return
        first = table.filter(pc.equal(table.column("baseline"), self._first))
        self.n_text_altered += pc.sum(first.column("text_altered")).as_py() or 0
        dropped = pc.greater(first.column("thoughts_dropped"), 0)
        self.n_thoughts_dropped += pc.sum(dropped).as_py() or 0

    def _by_source(self, positions: NDArray[np.int64]) -> dict[str, int]:
        codes = self._plan.source_codes[positions]
        counted = np.bincount(codes, minlength=len(self._plan.source_names)).tolist()
        named = zip(self._plan.source_names, counted, strict=True)
        return {name: n for name, n in named if n}


def positions_with_status(
    plan: Plan, journal: Journal, statuses: Sequence[str]
) -> NDArray[np.bool_]:
    """(n,) flags of the positions whose row has one of ``statuses``, under any blind baseline."""
    seen = np.zeros(len(plan.rows), dtype=bool)
    found = np.zeros(len(plan.rows), dtype=bool)
    for table in journal.read_new(["row_idx", "status"]):
        positions = plan.position_of[table.column("row_idx").to_numpy()]
        ended = pc.is_in(table.column("status"), pa.array(statuses, pa.string())).to_numpy()
        found[positions[ended & ~seen[positions]]] = True
        seen[positions] = True
    return found
