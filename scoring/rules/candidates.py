"""The samples that a selection chooses from, as columns.

Statuses and sources are small numbers with a list of names beside them: ten million samples as
text would cost gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from scoring.errors import RuleError
from scoring.samples import Status

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

STATUSES: tuple[Status, ...] = tuple(Status)
"""``Candidates.status`` holds positions in this list."""

ANSWER_KINDS = ("yes/no", "choice", "number", "word", "phrase", "text", "none")
"""Types of the first answer. ``Candidates.answer_kind`` holds positions in this list."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All samples of a dataset with the scores of one run and baseline, as columns of length n.

    ``row_idx`` ascends. ``status`` holds positions in ``STATUSES``, ``source`` positions in
    ``sources``, ``answer_kind`` positions in ``ANSWER_KINDS``. Losses and scores are in nats per
    answer token and NaN where there are none. ``cluster_id`` is -1 where a sample has no cluster.
    Raises RuleError where the columns do not fit together.
    """

    row_idx: Ints
    status: NDArray[np.int8]
    source: NDArray[np.int32]
    sources: tuple[str, ...]
    visnec: Floats
    loss_text: Floats
    loss_multimodal: Floats
    n_answer_tokens: Ints
    cluster_id: NDArray[np.int32]
    answer_kind: NDArray[np.int8]

    def __post_init__(self) -> None:
        columns = [value for value in self._values() if isinstance(value, np.ndarray)]
        if {len(column) for column in columns} != {len(self.row_idx)}:
            raise RuleError("the columns of the candidates differ in length; rebuild the database")
        if np.any(np.diff(self.row_idx) <= 0):
            raise RuleError("the candidates are not in ascending order of row_idx")
        odd = self.scored & ~np.isfinite(self.visnec)
        if odd.any():
            row = int(self.row_idx[odd.argmax()])
            raise RuleError(
                f"row {row} has status scored but no finite score; "
                "rebuild the database with: visnec build"
            )

    def _values(self) -> list[object]:
        return [getattr(self, field.name) for field in fields(self)]

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.row_idx)

    @classmethod
    def from_columns(
        cls,
        row_idx: Sequence[int] | Ints,
        status: Sequence[str],
        source: Sequence[str],
        visnec: Sequence[float] | Floats,
        loss_text: Sequence[float] | Floats,
        loss_multimodal: Sequence[float] | Floats,
        n_answer_tokens: Sequence[int] | Ints,
        cluster_id: Sequence[int] | NDArray[np.int32],
        answer_kind: Sequence[str] | None = None,
    ) -> Candidates:
        """Candidates from columns that hold statuses, sources and types of answer as text.

        Without types every answer is ``text``.
        """
        kinds = ["text"] * len(row_idx) if answer_kind is None else answer_kind
        sources = tuple(sorted(set(source)))
        places = {name: place for place, name in enumerate(sources)}
        return cls(
            row_idx=np.asarray(row_idx, np.int64),
            status=np.array([STATUSES.index(Status(one)) for one in status], np.int8),
            source=np.array([places[one] for one in source], np.int32),
            sources=sources,
            visnec=np.asarray(visnec, np.float64),
            loss_text=np.asarray(loss_text, np.float64),
            loss_multimodal=np.asarray(loss_multimodal, np.float64),
            n_answer_tokens=np.asarray(n_answer_tokens, np.int64),
            cluster_id=np.asarray(cluster_id, np.int32),
            answer_kind=np.array([ANSWER_KINDS.index(kind) for kind in kinds], np.int8),
        )

    def has_status(self, status: Status) -> Mask:
        """Which samples have this status."""
        return np.asarray(self.status == STATUSES.index(status))

    @property
    def scored(self) -> Mask:
        """Which samples have a score."""
        return self.has_status(Status.SCORED)
