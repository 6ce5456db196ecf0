"""Files with randomly changed bytes are refused or read, without a crash or traceback."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.dataset.records import dataset_table
from scoring.errors import VisnecError
from scoring.images.decode import ImageProblem, open_reference
from scoring.readers.options import ReadOptions
from scoring.readers.sources import SourceReader, open_sources
from tests.readers.test_files import png, record, write_lines, write_tar


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """One small sound file of every kind."""
    images = [{"bytes": png(name), "path": None} for name in ("red", "blue")] * 4
    table = pa.table({"image": images, "question": ["q"] * 8, "answer": ["a"] * 8})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=3)
    arrow = str(tmp_path / "d.arrow")
    with pa.OSFile(arrow, "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    turns = json.dumps(record(0)["conversations"]).encode()
    members = [(f"{i}.{s}", c) for i in range(4) for s, c in (("png", png("red")), ("json", turns))]
    write_tar(tmp_path / "s.tar", members)
    cell = base64.b64encode(png("red")).decode()
    rows = "".join(f"{i}\t{cell}\tq\ta\n" for i in range(5))
    (tmp_path / "b.tsv").write_text("index\timage\tquestion\tanswer\n" + rows)
    write_lines(tmp_path / "m.jsonl", [record(i) for i in range(5)])
    (tmp_path / "a.json").write_text(json.dumps([record(i) for i in range(5)], indent=1))
    return {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def damage(draw: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(draw.randrange(1, 6)):
        place = draw.randrange(len(data) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            data[place : place + 1] = draw.randbytes(1)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = draw.randbytes(draw.randrange(8))
        else:
            del data[place : place + draw.randrange(600)]
    return bytes(data)


def read_through(path: Path, keep_going: bool) -> None:
    options = ReadOptions(keep_going=keep_going)
    for source in open_sources([path], options):
        with SourceReader(source, options) as reading:
            samples = list(reading.samples(0))
            reading.sha256()
        if samples:
            dataset_table(samples)
        for image in [image for sample in samples[:4] for image in sample.images]:
            try:
                open_reference(image, [path])
            except ImageProblem:
                continue


@pytest.mark.parametrize("n_files", [600, pytest.param(20_000, marks=pytest.mark.long, id="many")])
def test_random_damage_is_reported_or_read(
    whole: dict[str, bytes], tmp_path: Path, n_files: int
) -> None:
    draw = random.Random(11)  # noqa: S311 - repeatable on purpose
    told = 0
    for _ in range(n_files):
        name = draw.choice(sorted(whole))
        (tmp_path / "x").mkdir(exist_ok=True)
        path = tmp_path / "x" / name
        path.write_bytes(damage(draw, whole[name]))
        for keep_going in (False, True):
            try:
                read_through(path, keep_going)
            except VisnecError:
                told += 1
    assert 0 < told < 2 * n_files
