"""``arms.parquet``: the samples of each arm, pinned when a trial is planned."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.errors import WorkspaceError
from scoring.trials.controls import ArmRows
from scoring.trials.plan import ARMS_SCHEMA, TrialPlan, trial_folder
from scoring.workspace import Workspace, open_atomic

Arms = Mapping[tuple[str, int | None], ArmRows]
"""The samples by (arm, seed); the seed is None for an arm with the same samples in every seed."""


def digest_arms(arms: Arms) -> str:
    """Return a digest of the samples and weights of all arms, in order."""
    digest = hashlib.sha256()
    for (name, seed), rows in arms.items():
        digest.update(f"{name}\0{seed}\0{len(rows.row_idx)}\0".encode())
        digest.update(rows.row_idx.astype("<i8").tobytes() + rows.weights.astype("<f8").tobytes())
    return digest.hexdigest()


def write_arms(workspace: Workspace, name: str, arms: Arms) -> None:
    """Write the arms of the trial ``name``, atomically."""
    with (
        open_atomic(trial_folder(workspace, name) / "arms.parquet") as file,
        pq.ParquetWriter(file, ARMS_SCHEMA, compression="zstd") as writer,
    ):
        for (arm, seed), rows in arms.items():
            n = len(rows.row_idx)
            columns = [
                pa.array([arm] * n, pa.string()),
                pa.array([seed] * n, pa.int64()),
                pa.array(rows.row_idx, pa.int64()),
                pa.array(rows.weights, pa.float64()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=ARMS_SCHEMA))


def read_arms(workspace: Workspace, plan: TrialPlan) -> Arms:
    """Return the samples of all arms. Raises WorkspaceError if they are not those of the plan."""
    path = trial_folder(workspace, plan.name) / "arms.parquet"
    try:
        table = pq.read_table(path, schema=ARMS_SCHEMA)
    except (OSError, pa.ArrowInvalid) as error:
        raise WorkspaceError(f"Cannot read {path}: {error}") from error
    arm = table["arm"].dictionary_encode().combine_chunks()
    names, codes = arm.dictionary.to_pylist(), arm.indices.to_numpy()
    seeds = table["seed"].fill_null(-1).to_numpy()
    starts = np.flatnonzero(
        np.diff(codes, prepend=-1).astype(bool) | np.diff(seeds, prepend=-2).astype(bool)
    )
    row_idx, weights = table["row_idx"].to_numpy(), table["weight"].to_numpy()
    arms = {
        (names[codes[start]], None if seeds[start] < 0 else int(seeds[start])): ArmRows(
            row_idx[start:end], weights[start:end]
        )
        for start, end in zip(starts, [*starts[1:], len(codes)], strict=True)
    }
    if digest_arms(arms) != plan.arms_digest:
        raise WorkspaceError(f"{path} was changed after the trial was planned. Restore it")
    return arms


def arm_rows(arms: Arms, name: str, seed: int) -> ArmRows:
    """Return the samples of one arm in one seed."""
    return arms[name, seed] if (name, seed) in arms else arms[name, None]
