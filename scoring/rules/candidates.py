"""The samples that a selection chooses from, as columns.

Statuses and sources are small numbers that index into a list of names: as text, ten million of
them would take gigabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

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
class ColumnGroups:
    """The values of a column as groups: ``codes`` are positions in ``names``, -1 without one."""

    codes: NDArray[np.int32]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """All samples of a dataset with the scores of one run and baseline, as columns of length n.

    ``row_idx`` is ascending. ``status`` holds positions in ``STATUSES``, ``source`` positions in
    ``sources``, ``answer_kind`` positions in ``ANSWER_KINDS``. Losses and scores are in nats per
    answer token and NaN where missing. ``cluster_id`` is -1 for samples without a cluster.
    ``inside`` are the samples that the filter of a subset leaves; None without a filter.
    ``columns`` are the imported columns that a rule uses, by name, NaN where missing, ``matching``
    the samples that match each filter of a rule, ``groups`` the columns that it groups by. Raises
    RuleError for inconsistent columns.
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
    inside: Mask | None = None
    columns: Mapping[str, Floats] = field(default_factory=dict)
    matching: Mapping[str, Mask] = field(default_factory=dict)
    groups: Mapping[str, ColumnGroups] = field(default_factory=dict)

    def __post_init__(self) -> None:
        others = ("sources", "columns", "matching", "groups")
        own = [getattr(self, each.name) for each in fields(self) if each.name not in others]
        columns = [*own, *self.columns.values(), *self.matching.values()]
        columns += [group.codes for group in self.groups.values()]
        if {len(column) for column in columns if column is not None} != {len(self.row_idx)}:
            raise RuleError(
                "The columns of the candidates differ in length. Rebuild them with: visnec build"
            )
        if np.any(np.diff(self.row_idx) <= 0):
            raise RuleError("The candidates are not in ascending order of row_idx")
        invalid = self.scored & ~np.isfinite(self.visnec)
        if invalid.any():
            row = int(self.row_idx[invalid.argmax()])
            raise RuleError(
                f"Row {row} has status scored but no finite score. "
                "Rebuild the database with: visnec build"
            )

    def __len__(self) -> int:
        return len(self.row_idx)

    def has_status(self, status: Status) -> Mask:
        """Return which samples have this status."""
        return np.asarray(self.status == STATUSES.index(status))

    @property
    def scored(self) -> Mask:
        """Which samples have a score."""
        return self.has_status(Status.SCORED)

    @property
    def eligible(self) -> Mask:
        """Which samples a rule selects from: scored, and inside the filter of the subset."""
        return self.scored if self.inside is None else self.scored & self.inside
