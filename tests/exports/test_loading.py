"""Exports loaded with ``datasets.load_dataset(FOLDER)``, read as tar files, and imported again."""

from __future__ import annotations

import json
import shutil
import tarfile
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring import import_dataset
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.records import read_samples
from scoring.errors import InputError, VerificationError
from scoring.exports.export import check_folder, export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.images.decode import open_reference
from scoring.readers.options import ReadOptions
from scoring.rules import TopShare
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.synthetic import RUN_ID, Row, write_run

ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep")
IMAGES = {
    "llava": ("none", "copy", "link"),
    "jsonl": ("none", "copy"),
    "parquet": ("none", "copy", "embed"),
    "messages": ("none", "copy", "embed"),
    "huggingface": ("none", "copy", "embed"),
    "webdataset": ("none",),
    "ids": ("none",),
    "dropped": ("none",),
}
CHOICES = [
    ExportOptions(name, images=images, card=card)  # type: ignore[arg-type]
    for name, kinds in IMAGES.items()
    for images, card in product(kinds, (False, True))
]
WITH_RECORDS = [options for options in CHOICES if options.format not in ("ids", "dropped")]


def describe(options: ExportOptions) -> str:
    return f"{options.format} {options.images}{' card' * options.card}"


def make_record(number: int, images: list[str]) -> dict[str, Any]:
    turns = [
        ("human", "<image>\n" * len(images) + f"What is {number}?"),
        ("gpt", f"It is {number}."),
    ]
    turns += [("human", "And 図?"), ("gpt", "naïve")] if number % 3 == 0 else []
    record: dict[str, Any] = {} if number == 4 else {"id": f"sample-{number}"}
    if images:
        record["image"] = images[0] if len(images) == 1 else images
    record["conversations"] = [{"from": role, "value": text} for role, text in turns]
    return record | ({"licence": {"name": "CC0", "year": 2026}} if number == 8 else {})


def make(root: Path, images: list[list[str]], container: str = "array") -> Workspace:
    """A scored workspace with a record for each list of images."""
    for size, name in enumerate(sorted({name for names in images for name in names}), start=4):
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (size, size), (9 * size, 0, 99)).save(path)
    records = [make_record(number, names) for number, names in enumerate(images)]
    source = root / "records.json"
    keyed = {f"key-{number}": record for number, record in enumerate(records)}
    source.write_text(json.dumps(keyed if container == "object" else records))
    workspace = create_workspace(root / "ws")
    info = import_dataset(workspace, [source], [root / "pictures"])
    scored = Row(image="x.png", turns=(("q", "a", 4, 4.0, 0.0),))
    statuses = [Status.SCORED if names else Status.TEXT_ONLY for names in images]
    write_run(workspace, [replace(scored, status=status) for status in statuses], info.fingerprint)
    workspace = open_workspace(workspace.root)
    build_database(workspace)
    return workspace


NAMES = [[f"coco/{number}.png"] if number % 4 else [] for number in range(12)]
SEVERAL = [*NAMES, ["coco/1.png", "vg/b.jpg"]]


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Twelve samples, the first and two others without an image."""
    return make(tmp_path_factory.mktemp("pictured"), NAMES)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same and a sample with two images."""
    return make(tmp_path_factory.mktemp("mixed"), SEVERAL)


def export(workspace: Workspace, to: Path, options: ExportOptions, **changes: Any) -> Path:
    subset = replace(ALL, **changes)
    return export_subset(workspace, Store(workspace), subset, to, options).folder


def load(folder: Path, *name: str) -> list[dict[str, Any]]:
    datasets = pytest.importorskip("datasets")
    cache = folder.parent / "cache"
    return list(datasets.load_dataset(str(folder), *name, split="train", cache_dir=str(cache)))


def drop_nulls(value: object) -> object:
    """Without the keys that ``datasets`` adds where other records have them."""
    if isinstance(value, dict):
        return {key: drop_nulls(inner) for key, inner in value.items() if inner is not None}
    return [drop_nulls(inner) for inner in value] if isinstance(value, list) else value


def read_originals(workspace: Workspace) -> list[dict[str, Any]]:
    return [json.loads(sample.original) for sample in read_samples(workspace)]


def read_sizes(workspace: Workspace, names: list[str]) -> list[tuple[int, int]]:
    return [Image.open(workspace.root.parent / "pictures" / name).size for name in names]


@pytest.mark.parametrize("options", CHOICES, ids=describe)
def test_load_dataset_gives_the_samples_of_a_folder(
    mixed: Workspace, tmp_path: Path, options: ExportOptions
) -> None:
    records = read_originals(mixed)
    is_list = options.format == "dropped"
    subset = {"text_only": "drop" if is_list else "keep"}
    folder = export(mixed, tmp_path / "out", options, **subset)
    rows = load(folder)
    match options.format:
        case "llava" | "jsonl":
            assert drop_nulls(rows) == records
        case "parquet" | "huggingface":
            assert [row["conversations"] for row in rows] == [r["conversations"] for r in records]
            assert [json.loads(row["record"]) for row in rows] == records
            for row, names in zip(rows, SEVERAL, strict=True):
                if options.images == "embed":
                    assert [one.size for one in row["images"]] == read_sizes(mixed, names)
                else:
                    assert row["images"] == names
        case "messages":
            texts = [
                [
                    part["text"]
                    for turn in row["messages"]
                    for part in turn["content"]
                    if "text" in part
                ]
                for row in drop_nulls(rows)
            ]
            assert [text[-1] for text in texts] == [
                record["conversations"][-1]["value"] for record in records
            ]
            shown = [len(row["images"]) for row in rows]
            assert shown == list(map(len, SEVERAL))
        case "webdataset":
            rows.sort(key=lambda row: row["__key__"])
            assert [row["json"] for row in rows] == records
            for row, names in zip(rows, SEVERAL, strict=True):
                shown = [row[key].size for key in ("0.jpg", "1.jpg") if row[key]]
                assert shown == read_sizes(mixed, names)
        case "ids":
            assert [row["text"] for row in rows] == [r.get("id", "") for r in records]
            numbers = [row["text"] for row in load(folder, "row_idx")]
            assert numbers == [str(number) for number in range(len(records))]
        case _:
            assert [(row["row_idx"], row["id"]) for row in rows] == [
                (0, "sample-0"), (4, None), (8, "sample-8")
            ]  # fmt: skip
    if options.places_images:
        assert (folder / "images" / "coco" / "1.png").is_file()
    verify_manifest(folder, mixed)
    readme = folder / "README.md"
    readme.write_text(readme.read_text("utf-8") + "!", "utf-8")
    with pytest.raises(VerificationError, match=r"README\.md"):
        verify_manifest(folder, mixed)


@pytest.mark.parametrize("extra", [{}, {"turns": "mask", "turn_min": -1.0}], ids=["", "mask"])
@pytest.mark.parametrize("name", ["parquet", "messages"])
def test_load_dataset_opens_images_by_absolute_paths(
    mixed: Workspace, tmp_path: Path, name: str, extra: dict[str, Any]
) -> None:
    options = ExportOptions(name, images="copy", absolute_images=True, **extra)
    folder = export(mixed, tmp_path / "out", options)
    rows = load(folder)
    for row, names in zip(rows, SEVERAL, strict=True):
        assert [image.size for image in row["images"]] == read_sizes(mixed, names)
    relative = load(export(mixed, tmp_path / "relative", ExportOptions(name, images="copy")))
    assert [drop_nulls({**row, "images": None}) for row in rows if not extra] == [
        drop_nulls({**row, "images": None}) for row in relative if not extra
    ]
    verify_manifest(folder, mixed)


@pytest.mark.parametrize("name", [name for name in IMAGES if name != "dropped"])
def test_the_cache_of_datasets_never_gives_an_earlier_export(
    pictured: Workspace, tmp_path: Path, name: str
) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions(name))
    assert len(load(folder)) == 12
    shutil.rmtree(folder)
    export(pictured, folder, ExportOptions(name), text_only="drop")
    assert len(load(folder)) == 9


def test_load_dataset_refuses_records_of_one_object(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    workspace = make(tmp_path, NAMES[:3], "object")
    folder = export(workspace, tmp_path / "out", ExportOptions("llava"))
    assert json.loads((folder / "samples.json").read_text())["key-1"]["id"] == "sample-1"
    with pytest.raises(FileNotFoundError, match="is-one-object-export-it-as-jsonl"):
        datasets.load_dataset(str(folder))
    folder = export(workspace, tmp_path / "lines", ExportOptions("jsonl"))
    assert drop_nulls(load(folder)) == read_originals(workspace)


def test_load_from_disk_reads_the_saved_folder(pictured: Workspace, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = export(pictured, tmp_path / "out", ExportOptions("huggingface", images="embed"))
    loaded = datasets.load_from_disk(str(folder))
    assert list(loaded) == ["train"]
    assert [row["record"] for row in loaded["train"]] == [row["record"] for row in load(folder)]


def test_samples_without_an_image_have_tar_files_of_their_own(
    pictured: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    webdataset = pytest.importorskip("webdataset")
    monkeypatch.setattr("scoring.exports.formats._SHARD_SAMPLES", 5)
    folder = export(pictured, tmp_path / "out", ExportOptions("webdataset"))
    assert sorted(path.name for path in folder.glob("*.tar")) == [
        "samples-000000.tar", "samples-000001.tar", "text-000000.tar"
    ]  # fmt: skip
    records = read_originals(pictured)

    def read(shards: str, *names: str) -> list[tuple[Any, ...]]:
        urls = str(folder / shards)
        return list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil").to_tuple(*names))

    found = read("samples-{000000..000001}.tar", "jpg", "json")
    assert [record for _, record in found] == [r for r in records if "image" in r]
    pairs = zip(found, (names for names in NAMES if names), strict=True)
    assert all([image.size] == read_sizes(pictured, names) for (image, _), names in pairs)
    texts = [record for (record,) in read("text-000000.tar", "json")]
    assert texts == [r for r in records if "image" not in r]
    verify_manifest(folder, pictured)


def read_names(shard: Path) -> list[str]:
    with tarfile.open(shard) as archive:
        return archive.getnames()


def test_a_sample_whose_images_are_gone_is_with_those_without_one(tmp_path: Path) -> None:
    workspace = make(tmp_path, NAMES[:6])
    (tmp_path / "pictures" / "coco" / "2.png").unlink()
    folder = export_subset(
        workspace, Store(workspace), ALL, tmp_path / "out", "webdataset", allow_missing_images=True
    ).folder
    assert read_names(folder / "text-000000.tar") == [f"{row:09d}.json" for row in (0, 2, 4)]
    assert len(read_names(folder / "samples-000000.tar")) == 6
    assert [row["jpg"] is None for row in load(folder)] == [False] * 3 + [True] * 3
    verify_manifest(folder, workspace)


def summarise(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Everything that a sample is, in an order that does not depend on the file."""
    samples = []
    for sample in read_samples(workspace):
        images = [open_reference(one, workspace.image_roots) for one in sample.images]
        digests = [(image.size, image.convert("RGB").tobytes()) for image in images]
        samples.append((sample.turns, sample.id, str(sample.status), digests))
    return sorted(samples, key=str)


@pytest.mark.parametrize("options", WITH_RECORDS, ids=describe)
@pytest.mark.parametrize("is_snapshot", [False, True], ids=["folder", "hub"])
def test_an_export_can_be_imported_again(
    mixed: Workspace, tmp_path: Path, options: ExportOptions, is_snapshot: bool
) -> None:
    folder = export(mixed, tmp_path / "out", options)
    source = link_snapshot(folder, tmp_path / "hub") if is_snapshot else folder
    pictures = [] if options.takes_images else [mixed.root.parent / "pictures"]
    again = create_workspace(tmp_path / "again")
    info = import_dataset(again, [source], pictures)
    again = open_workspace(again.root)
    assert info.n_samples == len(SEVERAL)
    expected = summarise(mixed)
    if options.format == "webdataset":  # a record without an id is known by its key
        expected = [(turns, id_ or "000000004", *rest) for turns, id_, *rest in expected]
    assert summarise(again) == sorted(expected, key=str)
    if options.format in ("llava", "jsonl"):
        assert [one.original for one in read_samples(again)] == [
            one.original for one in read_samples(mixed)
        ]


def link_snapshot(folder: Path, home: Path) -> Path:
    """A folder as the hub's client caches it: links to blobs, named by their digest."""
    snapshot = home / "snapshots" / "0123abcd"
    (home / "blobs").mkdir(parents=True)
    for number, path in enumerate(path for path in folder.rglob("*") if path.is_file()):
        blob = home / "blobs" / str(number)
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return snapshot


@pytest.mark.parametrize("name", ["ids", "dropped"])
def test_an_export_without_records_is_not_imported(
    pictured: Workspace, tmp_path: Path, name: str
) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions(name))
    with pytest.raises(InputError, match="is an export without records"):
        import_dataset(create_workspace(tmp_path / "again"), [folder])


def test_an_export_that_lacks_a_file_is_not_imported(pictured: Workspace, tmp_path: Path) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions("webdataset"))
    (folder / "text-000000.tar").unlink()
    with pytest.raises(InputError, match=r"text-000000\.tar, which its manifest\.json lists"):
        import_dataset(create_workspace(tmp_path / "again"), [folder])


@pytest.mark.parametrize("options", WITH_RECORDS, ids=describe)
def test_exports_of_the_version_before_still_verify(
    mixed: Workspace, tmp_path: Path, options: ExportOptions
) -> None:
    folder = export(mixed, tmp_path / "out", replace(options, version=3))
    assert json.loads((folder / "manifest.json").read_text())["manifest_version"] == 3
    assert (folder / "README.md").exists() == options.card
    assert not list(folder.glob("text-*"))
    assert not (folder / "train").exists()
    verify_manifest(folder, mixed)
    again = create_workspace(tmp_path / "again")
    assert import_dataset(again, [folder]).n_samples == len(SEVERAL)


def test_files_of_a_trainer_are_not_replaced(pictured: Workspace, tmp_path: Path) -> None:
    folder = export(pictured, tmp_path / "out", ExportOptions("huggingface"))
    check_folder(folder, overwrite=True)
    (folder / "train" / "checkpoint-1").mkdir()
    with pytest.raises(InputError, match=r"other files than an export \(train/checkpoint-1\)"):
        check_folder(folder, overwrite=True)


def read_bytes(workspace: Workspace) -> list[bytes]:
    return [sample.original for sample in read_samples(workspace)]


def import_again(folder: Path, to: Path, *pictures: Path) -> Workspace:
    """Import an export and give its samples scores."""
    again = create_workspace(to)
    info = import_dataset(again, [folder], list(pictures))
    scored = Row(image="x.png", turns=(("q", "a", 4, 4.0, 0.0),))
    statuses = [Status.SCORED if one.images else Status.TEXT_ONLY for one in read_samples(again)]
    write_run(again, [replace(scored, status=status) for status in statuses], info.fingerprint)
    again = open_workspace(again.root)
    build_database(again)
    return again


@pytest.mark.parametrize("name", ["parquet", "huggingface"])
@pytest.mark.parametrize("images", ["none", "copy", "embed"])
def test_an_imported_table_has_the_original_records(
    mixed: Workspace, tmp_path: Path, name: str, images: Any
) -> None:
    folder = export(mixed, tmp_path / "table", ExportOptions(name, images=images))
    pictures = [] if images == "copy" else [mixed.root.parent / "pictures"]
    again = import_again(folder, tmp_path / "again", *pictures)
    assert read_bytes(again) == read_bytes(mixed)
    assert summarise(again) == summarise(mixed)
    for format_name in ("llava", "jsonl"):
        options = ExportOptions(format_name)
        first = export(mixed, tmp_path / f"first-{format_name}", options)
        second = export(again, tmp_path / f"second-{format_name}", options)
        assert (first / options.data_file).read_bytes() == (second / options.data_file).read_bytes()
        verify_manifest(second, again)
    copied = export(again, tmp_path / "copied", ExportOptions("llava", images="copy"))
    for record in json.loads((copied / "samples.json").read_bytes()):
        listed = record.get("image", [])
        for path in [listed] if isinstance(listed, str) else listed:
            assert (copied / "images" / path).is_file()
    third = import_again(copied, tmp_path / "third")
    assert summarise(third) == summarise(mixed)


def test_a_record_that_says_something_else_is_not_restored(
    mixed: Workspace, tmp_path: Path
) -> None:
    folder = export(mixed, tmp_path / "out", ExportOptions("parquet"))
    table = pq.read_table(folder / "samples.parquet")
    records = table.column("record").to_pylist()
    records[0] = records[0].replace(b"What is 0?", b"What is 1?")
    records[1] = records[1].replace(b"coco/1.png", b"coco/2.png")
    records[2], records[3] = b"no json", None
    changed = table.set_column(table.schema.get_field_index("record"), "record", [records])
    pq.write_table(changed, tmp_path / "changed.parquet")
    again = create_workspace(tmp_path / "again")
    import_dataset(again, [tmp_path / "changed.parquet"], [mixed.root.parent / "pictures"])
    assert read_bytes(again) == [b"", b"", b"", b"", *read_bytes(mixed)[4:]]
    named = create_workspace(tmp_path / "named")
    options = ReadOptions(columns={"source": "id"})
    import_dataset(named, [folder], [mixed.root.parent / "pictures"], options=options)
    assert not any(read_bytes(named))


def test_a_record_of_a_table_is_not_restored(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = {"image": [(tmp_path / "a.png").read_bytes()], "question": ["q"], "answer": ["a"]}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    workspace = import_again(tmp_path / "rows.parquet", tmp_path / "ws")
    folder = export(workspace, tmp_path / "out", ExportOptions("parquet", images="embed"))
    assert b"embedded/" in pq.read_table(folder / "samples.parquet")["record"].to_pylist()[0]
    again = import_again(folder, tmp_path / "again")
    assert read_bytes(again) == [b""]
    with pytest.raises(InputError, match="where a record cannot name it"):
        export(again, tmp_path / "llava", ExportOptions("llava"))
