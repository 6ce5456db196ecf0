"""Samples on the same image, known by its content: embedded rows, and copies of files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dashboard.data.cards import build_card
from scoring.database.build.build import build_database
from scoring.database.connection import Selection, Store
from scoring.database.filters import Filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.detail import sample_detail
from scoring.database.values import Scope
from scoring.dataset.image_index import index_images
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.pipeline import score_dataset
from scoring.necessity import DEFAULT_BANDS
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

SCOPE = Scope("run")
COLOURS = ["red", "blue", "red", "green", "red", "blue"]


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


def talk(image: Any, n: int) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\nwhat {n}?"}, {"from": "gpt", "value": f"a {n}"}]
    return {"id": str(n), "image": image, "conversations": turns}


def scored(path: Path) -> Workspace:
    import_dataset(create_workspace(path.parent / "ws"), [path])
    workspace = open_workspace(path.parent / "ws")
    score_dataset(workspace, FakeModel(), run_id="run")
    return workspace


def embedded(folder: Path) -> Workspace:
    rows = [talk({"bytes": png(colour), "path": None}, n) for n, colour in enumerate(COLOURS)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return scored(folder / "train.parquet")


def copies(folder: Path) -> Workspace:
    for n, colour in enumerate(COLOURS):
        (folder / f"{n}.png").write_bytes(png(colour))
    (folder / "a.json").write_text(json.dumps([talk(f"{n}.png", n) for n in range(len(COLOURS))]))
    return scored(folder / "a.json")


def neighbours(store: Store, row: int) -> list[int]:
    detail = sample_detail(store, SCOPE, row)
    assert detail.n_neighbours == len(detail.neighbours)
    return [each["row_idx"] for each in detail.neighbours]


def matching(store: Store, *images: str) -> int:
    return len(matching_rows(Selection(store, SCOPE, Filter(image=images), DEFAULT_BANDS)))


def test_embedded_rows_are_on_the_same_image(tmp_path: Path) -> None:
    store = Store(embedded(tmp_path))
    assert [neighbours(store, row) for row in range(6)] == [[2, 4], [5], [0, 4], [], [0, 2], [1]]
    for row, n in ((0, 3), (4, 3), (5, 2), (3, 1)):
        (image,) = sample_detail(store, SCOPE, row).images
        assert matching(store, image) == n


def test_the_page_lists_the_other_samples(tmp_path: Path) -> None:
    workspace = embedded(tmp_path)
    store = Store(workspace)
    (sample,) = read_samples(workspace, [2])
    card = build_card(sample, sample_detail(store, SCOPE, 2), "none", DEFAULT_BANDS, "edition")
    assert [each["row_idx"] for each in card["neighbours"]] == [0, 4]


def test_copies_of_files_are_the_same_image_once_they_are_indexed(tmp_path: Path) -> None:
    workspace = copies(tmp_path)
    store = Store(workspace)
    assert neighbours(store, 0) == []
    index_images(workspace)
    assert store.build_state().n_new_parts == 1
    build_database(workspace)
    store = Store(workspace)
    assert [neighbours(store, row) for row in (0, 1, 3)] == [[2, 4], [5], []]
    assert (matching(store, "4.png"), matching(store, "0.png", "3.png")) == (3, 4)
    assert matching(store, "absent.png") == 0


def test_the_last_digest_of_a_changed_file_counts(tmp_path: Path) -> None:
    workspace = copies(tmp_path)
    index_images(workspace)
    (tmp_path / "4.png").write_bytes(png("yellow"))
    index_images(workspace)
    build_database(workspace)
    assert [neighbours(Store(workspace), row) for row in (0, 4)] == [[2], []]


def test_without_digests_only_equal_paths_are_the_same_image(tmp_path: Path) -> None:
    workspace = embedded(tmp_path)
    for part in (workspace.dataset_dir / "image-digests").iterdir():
        part.unlink()
    build_database(workspace)
    store = Store(workspace)
    assert neighbours(store, 0) == []
