"""A workspace of any size, for benchmarks: whole columns, no images, one run, one clustering.

python -m tests.synthetic_large DEST [N]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring import schemas
from scoring.workspace import Workspace, create_workspace, write_json
from tests.synthetic import CLUSTERING_ID, CREATED_AT, RUN_ID, run_record

SOURCES = ("scenes", "digits", "charts", "words", "documents", "chat")
WORDS = ("colour", "shape", "number", "sign", "bar", "animal", "letter", "building", "road", "cup")
N_CLUSTERS = 20
_PART_ROWS = 100_000


def make_large_workspace(
    root: Path, n: int = 665_000, seed: int = 7, distinct_questions: bool = False
) -> Workspace:
    """Write ``n`` samples, 19 of 20 of them scored, sources in turn, three samples per image.

    There are 10,000 distinct questions, or ``n`` with ``distinct_questions``.
    """
    workspace = create_workspace(root)
    draw = np.random.default_rng(seed)
    for part, rows in enumerate(_slices(n)):
        name = f"part-{part:05d}.parquet"
        _write(workspace.dataset_dir / name, _dataset(rows, draw, distinct_questions))
        _write(workspace.run_dir(RUN_ID) / "scores" / name, _scores(rows, draw))
    _write_clusters(workspace, n, draw)
    info = {"fingerprint": f"large-{n}", "n_samples": n, "imported_at": CREATED_AT, "files": []}
    write_json(workspace.dataset_dir / "dataset.json", info)
    record = run_record(RUN_ID, "tiny-vlm", f"large-{n}", ("none",))
    write_json(workspace.run_dir(RUN_ID) / "run.json", record)
    return workspace


def _slices(n: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, n, _PART_ROWS):
        yield np.arange(start, min(start + _PART_ROWS, n))


def _dataset(
    rows: NDArray[np.int64], draw: np.random.Generator, distinct_questions: bool
) -> pa.Table:
    source = pa.array(SOURCES).take(pa.array(rows % len(SOURCES)))
    image = _joined(source, pa.array(["/"] * len(rows)), _text(rows // 3), end=".jpg")
    word = pa.array(WORDS).take(pa.array(draw.integers(len(WORDS), size=len(rows))))
    number = _text(draw.integers(1000, size=len(rows)))
    asked = _text(rows) if distinct_questions else number
    question = _joined(
        pa.array(["What "] * len(rows)), word, asked, end=" is on the left, and why?"
    )
    answer = _joined(pa.array(["It is the "] * len(rows)), word, number, end=".")
    columns = {
        "row_idx": pa.array(rows),
        "id": _text(rows),
        "source": source,
        "images": pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1), pa.int32()), image),
        "n_images": pa.array(np.ones(len(rows)), pa.int32()),
        "n_turns": pa.array(np.ones(len(rows)), pa.int32()),
        "question": question,
        "answer": answer,
        "turns": pa.nulls(len(rows), schemas.DATASET.field("turns").type),
        "status": pa.array(["pending"] * len(rows)),
        "reason": pa.nulls(len(rows), pa.string()),
        "original": pa.nulls(len(rows), pa.binary()),
    }
    return _filled(columns, schemas.DATASET)


def _scores(rows: NDArray[np.int64], draw: np.random.Generator) -> pa.Table:
    scored = rows % 20 != 0
    rows = draw.permutation(rows)  # parts follow a plan, not the file
    tokens = draw.integers(2, 60, len(rows))
    multimodal = draw.gamma(2.0, 0.4, len(rows))
    text = np.abs(multimodal + draw.normal(0.35, 0.5, len(rows)))
    values = {
        "turn": pa.array(np.zeros(len(rows)), pa.int32()),
        "loss_text_sum": pa.array(text * tokens),
        "loss_multimodal_sum": pa.array(multimodal * tokens),
        "n_answer_tokens": pa.array(tokens, pa.int32()),
    }
    turns = pa.StructArray.from_arrays(
        [values.get(item.name, pa.nulls(len(rows), item.type)) for item in schemas.TURN_SCORE],
        fields=list(schemas.TURN_SCORE),
    )
    offsets = np.concatenate([[0], np.cumsum(scored)])
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), turns.filter(pa.array(scored)))
    columns = {
        "row_idx": pa.array(rows),
        "baseline": pa.array(["none"] * len(rows)),
        "status": pc.if_else(pa.array(scored), "scored", "missing_image"),
        "reason": pc.if_else(pa.array(scored), None, "the image file does not exist"),
        "truncated": pa.array(np.zeros(len(rows), bool)),
        "turns": lists,
    }
    return _filled(columns, schemas.SCORES)


def _write_clusters(workspace: Workspace, n: int, draw: np.random.Generator) -> None:
    folder = workspace.clusters_dir / CLUSTERING_ID
    clusters = draw.integers(N_CLUSTERS, size=n)
    columns = {
        "row_idx": pa.array(np.arange(n)),
        "cluster_id": pa.array(clusters, pa.int32()),
        "distance": pa.array(draw.random(n), pa.float32()),
    }
    _write(folder / "clusters.parquet", pa.table(columns, schemas.CLUSTERS))
    sizes = np.bincount(clusters, minlength=N_CLUSTERS)
    info = {
        "clustering_id": CLUSTERING_ID,
        "embedder": "tfidf-svd",
        "k": N_CLUSTERS,
        "seed": 42,
        "created_at": CREATED_AT,
        "dataset_fingerprint": f"large-{n}",
        "clusters": [
            {"cluster_id": c, "name": f"cluster {c}", "size": int(sizes[c])}
            for c in range(N_CLUSTERS)
        ],
    }
    write_json(folder / "clustering.json", info)


def _filled(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    """Return the table with nulls in the columns that are not given."""
    n = len(columns["row_idx"])
    absent = {
        column.name: pa.nulls(n, column.type) for column in schema if column.name not in columns
    }
    return pa.table(columns | absent, schema)


def _text(numbers: NDArray[np.int64]) -> pa.Array:
    return pc.cast(pa.array(numbers), pa.string())


def _joined(*columns: pa.Array, end: str) -> pa.Array:
    return pc.binary_join_element_wise(*columns, end, "")


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def main(arguments: Sequence[str]) -> None:
    """Write a large workspace."""
    make_large_workspace(Path(arguments[0]), int(arguments[1]) if arguments[1:] else 665_000)


if __name__ == "__main__":
    main(sys.argv[1:])
