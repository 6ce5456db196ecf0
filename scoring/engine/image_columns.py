"""Columns of how much the images of a sample matter in a run that was scored without each of them.

They summarize the run's parts of ``image_losses`` and are written again whenever these grow. Their
names end with the run, because another run has other losses.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from scoring.columns.computed import ComputedColumn, check_names, write_computed
from scoring.columns.parts import INTEGER, NUMBER, ColumnRecord
from scoring.runs.journal import Journal
from scoring.schemas import IMAGE_LOSSES
from scoring.workspace import Workspace

COMMAND: Final = "visnec score --leave-one-out"
_PREFIXES: Final = ("image_gain_min", "image_gain_max", "top_image")


def image_column_names(run_id: str) -> list[str]:
    """Return the names of a run's columns: the least and the greatest gain, and whose that is."""
    return [f"{prefix}.{run_id}" for prefix in _PREFIXES]


def check_image_columns(workspace: Workspace, run_id: str) -> None:
    """Raise InputError if imported columns have the names of a run's."""
    check_names(workspace, COMMAND, image_column_names(run_id))


def store_image_columns(workspace: Workspace, run_id: str) -> list[ColumnRecord]:
    """Store the columns of a run from its losses without each image; none without losses.

    The gain of an image is the loss without it minus the loss with all images, in nats per answer
    token; ``top_image`` counts from 1. A sample has values once there are losses for all of its
    images.
    """
    journal = Journal(workspace.run_dir(run_id) / "image_losses", IMAGE_LOSSES)
    # Processes that share the run finish it at about the same time.
    with FileLock(workspace.root / ".visnec.image-columns.lock"):
        tables = list(journal.read_new(IMAGE_LOSSES.names))
        if not tables:
            return []
        row_idx, least, greatest, top = _summarize_images(pa.concat_tables(tables))
        if not len(row_idx):
            return []
        settings = {"run_id": run_id}
        columns = [
            ComputedColumn(name, row_idx, values, settings, kind)
            for name, values, kind in zip(
                image_column_names(run_id),
                (least, greatest, top),
                (NUMBER, NUMBER, INTEGER),
                strict=True,
            )
        ]
        return write_computed(workspace, COMMAND, columns, keep_earlier=True)


def _summarize_images(
    losses: pa.Table,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return row_idx, least gain, greatest gain and the image that has it, first of equal ones."""
    rows, images = (losses[name].to_numpy() for name in ("row_idx", "image"))
    without, complete, n_tokens = (
        losses[name].to_numpy().astype(np.float64)
        for name in ("loss_without_sum", "loss_multimodal_sum", "n_answer_tokens")
    )
    gains = (without - complete) / n_tokens  # NaN for an image without losses
    # By sample, from the greatest gain to the least. A repeated image counts by its first part.
    _, first = np.unique(np.stack([rows, images], axis=1), axis=0, return_index=True)
    order = first[np.lexsort((images[first], -gains[first], rows[first]))]
    rows, images, gains = rows[order], images[order], gains[order]
    row_idx, starts = np.unique(rows, return_index=True)
    least = np.minimum.reduceat(gains, starts)  # NaN if any image has none
    complete_rows = ~np.isnan(least)
    return (
        row_idx[complete_rows],
        least[complete_rows],
        gains[starts][complete_rows],
        images[starts][complete_rows].astype(np.int64) + 1,
    )
