"""The plan: the order in which a run processes the dataset, split into chunks.

``dataset/plan/`` contains the parts of the records that scoring needs, in that order, written once
and shared by runs: reading a chunk decodes one row group wherever its rows are in the dataset. It
depends on the dataset and on the images that were known as equal when a run began; a run keeps its
plan when more becomes known. If a plan is lost, any process can write the same one again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray

from scoring.database.build.plan_order import GROUP_ROWS, PART_ROWS, write_in_plan_order
from scoring.dataset.records import dataset_parts, read_dataset_info, sample_from_row
from scoring.images.digests import digest_parts, last_index
from scoring.samples import Sample
from scoring.workspace import Workspace, write_json

CHUNK_ROWS = 64  # rows that a process leases at a time, and that a window sorts by length
_VERSION = 3
_CACHED_GROUPS = 4


class Plan:
    """The rows of a dataset in the order of runs. A position is an index in that order."""

    def __init__(self, folder: Path, n_samples: int) -> None:
        self.chunk_rows = CHUNK_ROWS
        self._folder, self._lock = folder, threading.Lock()
        self._cached_group = lru_cache(_CACHED_GROUPS)(self._read_group)
        self.edited: Mapping[int, Sample] = {}  # by row: samples that replace those imported
        self.rows = np.empty(n_samples, dtype=np.int64)  # (n,) the row_idx at each position
        self.source_codes = np.empty(n_samples, dtype=np.int32)  # (n,) indices into source_names
        source_codes: dict[str, int] = {}
        # (n,) the first row with the same image as the one at each position
        self.leaders = np.empty(n_samples, dtype=np.int64)
        borders: list[NDArray[np.int64]] = []  # positions where the image changes, and the end
        start, last = 0, -1
        for path in sorted(folder.glob("part-*.parquet")):
            table = pq.read_table(path, columns=["row_idx", "source", "leader"])
            end = start + len(table)
            self.rows[start:end] = table.column("row_idx").to_numpy()
            sources = pc.fill_null(table.column("source"), "")
            encoded = pc.dictionary_encode(sources).combine_chunks()
            names = encoded.dictionary.to_pylist()
            codes = [source_codes.setdefault(name, len(source_codes)) for name in names]
            self.source_codes[start:end] = np.array(codes, np.int32)[encoded.indices.to_numpy()]
            leaders = self.leaders[start:end] = table.column("leader").to_numpy()
            borders.append(start + np.flatnonzero(np.diff(leaders, prepend=last)))
            start, last = end, int(leaders[-1])
        self.source_names = list(source_codes)
        ends = np.concatenate([*borders, [start]]).astype(np.int64)
        # (n_chunks,) the first position of each chunk
        self.chunk_starts = split_between_groups(ends, n_samples, CHUNK_ROWS)
        self.position_of = np.empty(n_samples, dtype=np.int64)  # (n,) the inverse of rows
        self.position_of[self.rows] = np.arange(n_samples)

    def chunk_of(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the chunk that contains each of ``positions``."""
        return np.searchsorted(self.chunk_starts, positions, side="right") - 1

    def chunk_positions(self, number: int) -> slice:
        """Return the positions of one chunk."""
        following = self.chunk_starts[number + 1 : number + 2].tolist()
        return slice(int(self.chunk_starts[number]), *(following or [len(self.rows)]))

    def read_samples(self, positions: NDArray[np.int64]) -> list[Sample]:
        """Return the samples at ``positions``, in order, without original bytes; thread-safe."""
        samples: list[Sample] = []
        for group in dict.fromkeys((positions // GROUP_ROWS).tolist()):
            mine = positions[positions // GROUP_ROWS == group] % GROUP_ROWS
            with self._lock:
                table = self._cached_group(group)
            samples += map(sample_from_row, table.take(pa.array(mine)).to_pylist())
        return [self.edited.get(sample.row_idx, sample) for sample in samples]

    def _read_group(self, group: int) -> pa.Table:
        part, inside = divmod(group, PART_ROWS // GROUP_ROWS)
        with pq.ParquetFile(self._folder / f"part-{part:05d}.parquet") as file:
            return file.read_row_group(inside)


def split_between_groups(
    borders: NDArray[np.int64], n_rows: int, chunk_rows: int
) -> NDArray[np.int64]:
    """Return the first positions of chunks of about ``chunk_rows`` rows each.

    Each ends at the nearest of ``borders``, where the image changes, unless that would make it
    shorter or longer by more than half: only groups about as large as a chunk are split.
    """
    starts = [0] if n_rows else []
    while starts:
        target = starts[-1] + chunk_rows
        after = int(np.searchsorted(borders, target))
        near = [int(border) for border in borders[max(after - 1, 0) : after + 1]]
        near = [border for border in near if 2 * abs(border - target) <= chunk_rows]
        end = min(near, key=lambda border: (abs(border - target), -border), default=target)
        if end >= n_rows:
            break
        starts.append(end)
    return np.array(starts, dtype=np.int64)


def open_plan(workspace: Workspace, image_index: str | None = None) -> Plan:
    """Open the plan of the workspace's dataset; write it if it is missing or out of date.

    ``image_index`` is that of a run, by default the latest: which passes over the images count.
    """
    index = last_index(workspace) if image_index is None else image_index
    suffix = f"-{hashlib.sha256(index.encode()).hexdigest()[:8]}" if index else ""
    folder = workspace.dataset_dir / f"plan{suffix}"
    info = read_dataset_info(workspace)
    description = {
        "version": _VERSION,
        "fingerprint": info.fingerprint,
        "n_samples": info.n_samples,
        "rows": [PART_ROWS, GROUP_ROWS],
        "image_index": index,
    }
    if _read_description(folder) != description:
        with FileLock(workspace.dataset_dir / ".plan.lock"):
            if _read_description(folder) != description:
                _write_plan(workspace, folder, description)
    return Plan(folder, info.n_samples)


def _read_description(folder: Path) -> object:
    try:
        return json.loads((folder / "plan.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _write_plan(workspace: Workspace, folder: Path, description: dict[str, object]) -> None:
    for leftover in folder.parent.glob(".plan*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    for other in folder.parent.glob("plan*"):  # of an earlier edition; there is no active run
        present = _read_description(other)
        if (
            not isinstance(present, dict)
            or present.get("fingerprint") != description["fingerprint"]
        ):
            shutil.rmtree(other, ignore_errors=True)
    temporary = folder.with_name(f".plan.{uuid.uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        digests = digest_parts(workspace, str(description["image_index"]))
        n_rows = write_in_plan_order(dataset_parts(workspace), digests, temporary)
        if n_rows != description["n_samples"]:
            raise OSError(
                f"The plan in {folder} has {n_rows} rows instead of {description['n_samples']}"
            )
        write_json(temporary / "plan.json", description)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def split_at_images(
    samples: Sequence[Sample], leaders: NDArray[np.int64], n: int
) -> list[list[Sample]]:
    """Split ``samples`` into about ``n`` groups of similar size, never between equal images.

    ``leaders`` are those of the samples. Equal lists of several images are recognised by their
    paths.
    """
    size = -(-len(samples) // max(n, 1))
    groups: list[list[Sample]] = [[]]
    last = -1
    for sample, leader in zip(samples, leaders.tolist(), strict=True):
        is_other = leader != last or (
            len(sample.images) > 1 and sample.images != groups[-1][-1].images
        )
        if len(groups[-1]) >= size and is_other:
            groups.append([])
        groups[-1].append(sample)
        last = leader
    return [group for group in groups if group]
