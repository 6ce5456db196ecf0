"""Ray Data reads exports: tables with images, JSON lines, and tar files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scoring.exports.options import ExportOptions
from scoring.workspace import Workspace
from tests.exports.test_loading import NAMES, export, make, read_originals, read_sizes

pytestmark = pytest.mark.long
ray = pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return make(tmp_path_factory.mktemp("pictured"), NAMES)


def read_size(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


@pytest.mark.parametrize("images", ["embed", "copy"])
def test_ray_reads_a_table(pictured: Workspace, tmp_path: Path, images: Any) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions("parquet", images=images))
    rows = ray.data.read_parquet(str(folder / "samples.parquet")).take_all()
    rows.sort(key=lambda row: row["row_idx"])
    assert [json.loads(row["record"]) for row in rows] == read_originals(pictured)
    for row, names in zip(rows, NAMES, strict=True):
        if images == "embed":
            sizes = [read_size(image["bytes"]) for image in row["images"]]
            assert sizes == read_sizes(pictured, names)
        else:
            assert list(row["images"]) == names
            assert all((folder / "images" / name).is_file() for name in names)


def test_ray_reads_lines(pictured: Workspace, tmp_path: Path) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions("messages", images="copy"))
    rows = ray.data.read_json(str(folder / "samples.jsonl"), lines=True).take_all()
    assert sorted([list(row["images"]) for row in rows]) == sorted(NAMES)


def test_ray_reads_tar_files_of_each_kind(pictured: Workspace, tmp_path: Path) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions("webdataset"))
    records = read_originals(pictured)
    pairs = ray.data.read_webdataset(str(folder / "samples-000000.tar")).take_all()
    for row in pairs:
        number = int(row["__key__"])
        assert row["json"] == records[number]
        assert [row["jpg"].shape[1::-1]] == read_sizes(pictured, NAMES[number])
    texts = ray.data.read_webdataset(str(folder / "text-000000.tar")).take_all()
    numbers = [int(row["__key__"]) for row in (*pairs, *texts)]
    assert sorted(numbers) == list(range(len(records)))
