"""Leaks found by vectors that users computed themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.duplicates.leakage import check_leakage
from scoring.duplicates.vector_files import VectorLeaks
from scoring.errors import InputError
from scoring.workspace import Workspace
from tests.columns.test_import_columns import values
from tests.duplicates.test_leakage import workspace  # noqa: F401 - a fixture
from tests.test_cli import visnec

# The samples of the dataset: images a, c, b, c, none, none, and one whose file is gone.
IMAGES = ["train/a.png", "train/c.png", "train/b.png", "train/c.png", None, None, "train/gone.png"]
VECTORS = {
    "train/a.png": [1.0, 0.0, 0.0],
    "train/b.png": [0.0, 2.0, 0.0],
    "train/c.png": [0.0, 0.0, 3.0],
}
# Near a with cosine 0.96, near b with 0.8, near none.
BENCHMARK = [[24.0, 7.0, 0.0], [3.0, 4.0, 0.0], [-1.0, 0.0, 0.0]]


def write_parquet(path: Path, vectors: object, **columns: list[object]) -> Path:
    table = {"vector": pa.array(vectors, pa.list_(pa.float32())), **columns}
    pq.write_table(pa.table(table), path)
    return path


@pytest.fixture
def leaks(tmp_path: Path) -> VectorLeaks:
    ours = write_parquet(tmp_path / "ours.parquet", list(VECTORS.values()), image=list(VECTORS))
    theirs = tmp_path / "theirs.npy"
    np.save(theirs, np.array(BENCHMARK, np.float32))
    return VectorLeaks(ours, {"mmbench": theirs})


def test_leaks_are_found_by_vectors_of_images(
    workspace: Workspace,  # noqa: F811
    leaks: VectorLeaks,
) -> None:
    report = check_leakage(workspace, {}, vectors=leaks)
    (found,) = report.benchmarks
    assert (found.name, found.n_samples, found.n_leaked, found.n_dataset) == ("mmbench", 3, 1, 1)
    assert found.leaked == {"image": 0, "near-image": 1, "question": 0, "near-question": 0}
    assert found.examples == {"near-image": [(0, 0)]}
    expected = {0: "near-image", **dict.fromkeys(range(1, 6), "none")}
    assert values(workspace, "leak") == values(workspace, "leak_mmbench") == expected
    assert report.n_unread == 1  # row 6 has an image without a vector
    assert len(report.columns[0].settings["vectors"]["sha256"]) == 64

    wider = VectorLeaks(leaks.path, leaks.benchmarks, similarity=0.75)
    assert check_leakage(workspace, {}, vectors=wider).benchmarks[0].n_leaked == 2
    assert values(workspace, "leak")[2] == "near-image"


def test_a_row_per_sample_and_other_benchmarks(
    workspace: Workspace,  # noqa: F811
    leaks: VectorLeaks,
    tmp_path: Path,
) -> None:
    rows = [VECTORS.get(str(image), [1.0, 1.0, 1.0]) for image in IMAGES]
    np.save(tmp_path / "ours.npy", np.array(rows, np.float32))
    by_row = VectorLeaks(tmp_path / "ours.npy", leaks.benchmarks)
    bench = {"bench": tmp_path / "bench.json"}
    report = check_leakage(workspace, bench, images=False, vectors=by_row)
    assert [each.name for each in report.benchmarks] == ["mmbench", "bench"]
    assert values(workspace, "leak_mmbench")[0] == "near-image"
    assert values(workspace, "leak_bench")[3] == "question"
    expected = {0: "near-image", 3: "question", 4: "question"}
    assert values(workspace, "leak") == dict.fromkeys(range(7), "none") | expected


def test_vectors_that_cannot_be_used_are_refused(
    workspace: Workspace,  # noqa: F811
    leaks: VectorLeaks,
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.parquet"
    np.save(tmp_path / "short.npy", np.ones((3, 3), np.float32))
    np.save(tmp_path / "wide.npy", np.ones((2, 4), np.float32))
    ours, theirs = leaks.path, leaks.benchmarks["mmbench"]
    text = tmp_path / "bench.json"
    cases = {
        "3 vectors without row_idx or image, and the dataset 7": (tmp_path / "short.npy", theirs),
        "vectors of 4 dimensions": (ours, tmp_path / "wide.npy"),
        "is not a Parquet or .npy file": (ours, text),
        "No file": (ours, tmp_path / "gone.npy"),
        "missing vectors, or vectors of different": (
            ours,
            write_parquet(tmp_path / "odd.parquet", [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0]]),
        ),
        "vector 1 is zero or not finite": (
            ours,
            write_parquet(path, [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]),
        ),
    }
    for problem, (of_dataset, of_benchmark) in cases.items():
        with pytest.raises(InputError, match=problem):
            check_leakage(workspace, {}, vectors=VectorLeaks(of_dataset, {"x": of_benchmark}))
    with pytest.raises(InputError, match="same name"):
        check_leakage(workspace, {"mmbench": text}, vectors=leaks)
    with pytest.raises(InputError, match="not 2"):
        VectorLeaks(ours, {}, 2)


def test_the_command_compares_vectors(
    workspace: Workspace,  # noqa: F811
    leaks: VectorLeaks,
) -> None:
    command = ["check-leakage", "-w", workspace.root, "--vectors", leaks.path]
    done = visnec(*command, "--benchmark-vectors", leaks.benchmarks["mmbench"], "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["benchmarks"]
    assert (row["name"], row["share"]) == ("theirs", 1 / 3)
    alone = visnec(*command)
    assert alone.returncode == 2
    assert "--vectors and --benchmark-vectors are used together" in alone.stderr
