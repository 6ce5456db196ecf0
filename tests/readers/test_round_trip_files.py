"""Every kind of file all the way: imported, scored, shown as a card, exported, imported again."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dashboard.data.cards import Card
from dashboard.data.context import Context
from dashboard.data.samples import read_cards
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.engine.pipeline import score_dataset
from scoring.exports.export import ExportResult, export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.images.decode import open_reference
from scoring.images.thumbnails import load_thumbnail
from scoring.rules import TopShare
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel
from tests.readers.test_files import COLOURS, png

RED, LIME = COLOURS["red"], COLOURS["lime"]
TURNS = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
CHAT = [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]
STRUCTS = [
    {"role": "user", "content": [{"index": None, "text": "q", "type": "text"},
                                 {"index": 0, "text": None, "type": "image"}]},
    {"role": "assistant", "content": [{"index": None, "text": "a", "type": "text"}]},
]  # fmt: skip
LLAVA = [{"id": str(n), "image": f"{c}.png", "conversations": TURNS} for n, c in enumerate("rl")]

Rows = list[dict[str, Any]]
Made = tuple[Path, list[Path]]  # what is imported, and with which --images


def image(colour: str, path: str | None = None) -> dict[str, Any]:
    return {"bytes": png(colour), "path": path}


def files(folder: Path) -> None:
    for name, colour in (("r", "red"), ("l", "lime")):
        (folder / f"{name}.png").write_bytes(png(colour))


def parquet(rows: Rows) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        files(folder)
        pq.write_table(pa.Table.from_pylist(rows), folder / "d.parquet")
        return folder / "d.parquet", []

    return make


def arrow(folder: Path) -> Made:
    table = pa.Table.from_pylist([{"image": image(c), "messages": CHAT} for c in ("red", "lime")])
    with (
        pa.OSFile(str(folder / "d.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as to,
    ):
        to.write_table(table)
    return folder / "d.arrow", []


def tar(second: str, content: bytes) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        with tarfile.open(folder / "d.tar", "w") as archive:
            for number, colour in enumerate(("red", "lime")):
                for suffix, data in (("png", png(colour)), (second, content)):
                    member = tarfile.TarInfo(f"{number:04d}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        return folder / "d.tar", []

    return make


def text(name: str, content: str | bytes) -> Callable[[Path], Made]:
    def make(folder: Path) -> Made:
        files(folder)
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)
        return folder / name, []

    return make


def by_key(folder: Path) -> Made:
    keyed = {
        f"D3_IMG_{n}": base64.b64encode(png(c)).decode() for n, c in enumerate(("red", "lime"))
    }
    (folder / "D3.json").write_text(json.dumps(keyed))
    data = {
        f"D3_INS_{n}": {"instruction": "q", "answer": "a", "image_ids": [f"D3_IMG_{n}"],
                        "rel_ins_ids": []}
        for n in range(2)
    }  # fmt: skip
    meta = {"version": "0.0.1", "time": "2023-06", "author": "x"}
    (folder / "D3_instructions.json").write_text(json.dumps({"meta": meta, "data": data}))
    return folder / "D3_instructions.json", [folder / "D3.json"]


def meta(folder: Path) -> Made:
    (folder / "img").mkdir()
    files(folder / "img")
    lines = "".join(json.dumps(one) + "\n" for one in LLAVA)
    (folder / "d.jsonl").write_text(lines)
    one = {"root": "img/", "annotation": "d.jsonl", "data_augment": False, "length": 2}
    (folder / "meta.json").write_text(json.dumps({"one": one}))
    return folder / "meta.json", []


def with_base64() -> list[str]:
    return [base64.b64encode(png(colour)).decode() for colour in ("red", "lime")]


KINDS: Mapping[str, Callable[[Path], Made]] = {
    "Parquet, an image struct": parquet(
        [{"image": image(c), "text": "a"} for c in ("red", "lime")]
    ),
    "Parquet, lists of images and nulls": parquet(
        [{"images": [image("red", "x.png")], "query": "<image>q", "response": "a", "odd": None},
         {"images": [image("lime")], "query": "<image>q", "response": "a", "odd": [1.5, None]}]
    ),
    "Parquet, paths": parquet(
        [{"image": f"{c}.png", "conversations": TURNS, "x": {"y": i}} for i, c in enumerate("rl")]
    ),
    "Parquet, a struct of a path": parquet(
        [{"images": [{"bytes": None, "path": f"{c}.png"}], "messages": STRUCTS} for c in "rl"]
    ),
    "Parquet, bytes and paths": parquet(
        [{"images": ["gone.png"], "image_bytes": [png(c)], "text": "<__dj__image> a"}
         for c in ("red", "lime")]
    ),
    "Parquet, rows for rewards": parquet(
        [{"data_source": "geo", "prompt": CHAT[:1], "images": [image(c)],
          "reward_model": {"ground_truth": "a", "style": "rule"}, "extra_info": {"index": i}}
         for i, c in enumerate(("red", "lime"))]
    ),
    "Arrow": arrow,
    "tar with texts": tar("txt", b"a"),
    "tar with conversations": tar("json", json.dumps(TURNS).encode()),
    "TSV with base64": text("d.tsv", "index\timage\tquestion\tanswer\n" + "".join(
        f"{n}\t{one}\tq\ta\n" for n, one in enumerate(with_base64()))),
    "CSV with paths": text("d.csv", "image,question,answer\nr.png,q,a\nl.png,q,a\n"),
    "JSON by key": text("d.json", json.dumps(
        {f"k{n}": {"image": f"{c}.png", "question": "q", "answer": "a"}
         for n, c in enumerate("rl")})),
    "JSON, packed": text("d.json", json.dumps([LLAVA])),
    "JSON with base64": text("d.json", json.dumps(
        [{"image": one, "conversations": TURNS} for one in with_base64()])),
    "JSON lines, compressed": text("d.jsonl.gz", gzip.compress(
        "\n".join(map(json.dumps, LLAVA)).encode())),
    "JSON over several lines": text("d.json", "\n".join(json.dumps(r, indent=1) for r in LLAVA)),
    "instructions and images by key": by_key,
    "a meta file": meta,
}  # fmt: skip
TABLES = [name for name in KINDS if name.startswith(("Parquet", "Arrow"))]


def imported(root: Path, made: Made) -> Workspace:
    import_dataset(create_workspace(root), [made[0]], made[1])
    return open_workspace(root)


def seen(workspace: Workspace) -> list[tuple[object, ...]]:
    """Each sample as a model and a curator see it: turns, status, and the colours of its images."""
    roots = workspace.image_roots
    return [
        (
            one.turns,
            one.status,
            [open_reference(image, roots).getpixel((5, 5)) for image in one.images],
        )
        for one in read_samples(workspace)
    ]


def cards_of_run(workspace: Workspace, run: str) -> list[Card]:
    edition = read_dataset_info(workspace).fingerprint
    store = Store(workspace)
    context = Context(workspace, store, Scope(run), workspace.bands, Filter(), edition)
    return read_cards(context, range(2))


def export(workspace: Workspace, options: ExportOptions) -> ExportResult:
    subset = SubsetDefinition("all", TopShare(1.0), "run")
    to = workspace.exports_dir / options.format
    done = export_subset(workspace, Store(workspace), subset, to, options)
    assert done.n_samples == 2
    verify_manifest(done.folder / "manifest.json", workspace)
    return done


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_is_imported_and_exported(tmp_path: Path, kind: str) -> None:
    (tmp_path / "d").mkdir()
    made = KINDS[kind](tmp_path / "d")
    workspace = imported(tmp_path / "ws", made)
    before = seen(workspace)
    assert [colours for *_, colours in before] == [[RED], [LIME]]
    score_dataset(workspace, FakeModel(), run_id="run")
    cards = cards_of_run(workspace, "run")
    assert [(card["status"], card["visnec"]) for card in cards] == [
        ("scored", pytest.approx(0.5)), ("scored", pytest.approx(0.5)),
    ]  # fmt: skip
    samples = list(read_samples(workspace))
    assert [len(card["images"]) for card in cards] == [1, 1]
    assert all(load_thumbnail(workspace, one.images[0]) for one in samples)

    done = export(workspace, ExportOptions("llava", images="copy"))
    root = "images/img" if kind == "a meta file" else "images"  # which names a root of its own
    again = done.folder / "samples.json", [*made[1], done.folder / root]
    assert seen(imported(tmp_path / "again", again)) == before

    inside = (
        ExportOptions("parquet") if kind in TABLES else ExportOptions("parquet", images="embed")
    )
    done = export(workspace, inside)
    found = pq.read_table(done.folder / "samples.parquet")
    if kind in TABLES:
        assert found.column_names == _columns(made[0])
    table = done.folder / "samples.parquet", [] if kind not in TABLES else [tmp_path / "d"]
    assert seen(imported(tmp_path / "table", table)) == before


def _columns(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa.OSFile(str(path), "rb") as source:
        return list(pa.ipc.open_stream(source).schema.names)
