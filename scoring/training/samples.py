"""Samples of a workspace as a dataset for a trainer, with reviewers' edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scoring.dataset.edited_samples import read_edited_samples
from scoring.dataset.records import read_columns, sample_from_row
from scoring.errors import InputError
from scoring.reviews.pinned_edits import current_edits
from scoring.samples import Sample
from scoring.workspace import Workspace

_COLUMNS = ("row_idx", "id", "source", "images", "turns", "status", "reason", "origin")


class WorkspaceSamples:
    """Samples of a workspace as a map-style dataset, in order of row_idx.

    The records that it gives ``TrainingCollator`` have the edits already, as those of an export do:
    the collator applies none.
    """

    def __init__(
        self,
        workspace: Workspace,
        rows: Sequence[int] | NDArray[np.int64],
        edits: Literal["apply", "ignore"] | Mapping[int, Sample] = "apply",
    ) -> None:
        """Read samples by row_idx.

        Args:
            workspace: The workspace.
            rows: Which samples, each once.
            edits: Whether the current edits apply; or the edited samples by row.

        Raises:
            InputError: for rows that the dataset does not have.
            RecordError: for an edit that cannot be applied.
        """
        row_idx = np.unique(np.asarray(rows, dtype=np.int64))
        self._table = pa.concat_tables(read_columns(workspace, _COLUMNS, row_idx))
        if len(self._table) != len(row_idx):
            raise InputError(f"{len(row_idx) - len(self._table):,} samples are not in the dataset.")
        if edits == "apply":
            wanted = set(row_idx.tolist())
            chosen = [edit for edit in current_edits(workspace) if edit.event.row_idx in wanted]
            edits = read_edited_samples(workspace, chosen)
        self._edited: Mapping[int, Sample] = {} if isinstance(edits, str) else edits

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> Sample:
        sample = sample_from_row(self._table.slice(index, 1).to_pylist()[0])
        return self._edited.get(sample.row_idx, sample)
