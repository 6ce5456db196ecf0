"""Exported images: missing ones, unusual names, and the libraries that read them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring import import_dataset
from scoring.cli import app
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError, MissingImagesError, RecordError
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.rules import TopShare
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.synthetic import RUN_ID, Row, write_run

ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep", unscored="keep")
INSIDE = [
    ExportOptions("parquet", images="embed"),
    ExportOptions("huggingface", images="embed"),
    ExportOptions("webdataset"),
]
BESIDE = [ExportOptions("llava", images="copy"), ExportOptions("jsonl", images="link")]


def picture(kind: str = "PNG", size: int = 9) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(content, kind)
    return content.getvalue()


def record(image: Any = None, **more: Any) -> dict[str, Any]:
    n = 0 if image is None else len(image) if isinstance(image, list) else 1
    turns = [{"from": "human", "value": "<image>" * n + "q"}, {"from": "gpt", "value": "a"}]
    named = {} if image is None else {"image": image}
    return {**named, **more, "conversations": turns}


def make(
    root: Path,
    records: Sequence[Mapping[str, Any]],
    images: Mapping[str, bytes],
    unscored: Mapping[int, Status] | None = None,
) -> Workspace:
    """A scored workspace of these records, with these files below ``root / "pictures"``."""
    for name, content in images.items():
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    source = root / "records.json"
    source.write_text(json.dumps(records))
    workspace = create_workspace(root / "ws")
    info = import_dataset(workspace, [source], [root / "pictures"])
    return score(workspace, len(records), info.fingerprint, unscored or {})


def score(
    workspace: Workspace, n: int, fingerprint: str, unscored: Mapping[int, Status]
) -> Workspace:
    plain = Row(image="x.png", turns=(("q", "a", 4, 4.0, 0.0),))
    rows = [replace(plain, status=unscored.get(place, plain.status)) for place in range(n)]
    write_run(workspace, rows, fingerprint)
    build_database(open_workspace(workspace.root))
    return open_workspace(workspace.root)


def export(workspace: Workspace, options: ExportOptions, **more: Any) -> Path:
    return export_subset(workspace, Store(workspace), ALL, format=options, **more).folder


def listed(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "images.jsonl").read_text().splitlines()]


def four(root: Path) -> Workspace:
    """Four samples, the images of two of which are gone since they were scored."""
    names = ["a.png", "b.png", "c.png", "d.png"]
    workspace = make(root, [record(name) for name in names], dict.fromkeys(names, picture()))
    (root / "pictures" / "b.png").unlink()
    (root / "pictures" / "d.png").unlink()
    return workspace


@pytest.mark.parametrize("options", BESIDE + INSIDE, ids=lambda one: f"{one.format} {one.images}")
def test_missing_images_refuse_an_export_unless_they_are_allowed(
    tmp_path: Path, options: ExportOptions
) -> None:
    workspace = four(tmp_path)
    names = workspace.exports_dir / "all.missing-images.jsonl"
    with pytest.raises(MissingImagesError) as caught:
        export(workspace, options)
    said = str(caught.value)
    assert said.startswith("2 images are missing, so nothing was exported: ")
    assert "'b.png' is in none of the image folders; 'd.png' is in none" in said
    assert str(names) in said
    assert "--allow-missing-images" in said
    missing = [json.loads(line) for line in names.read_text().splitlines()]
    assert [(one["image"], one["row_idx"], one["status"]) for one in missing] == [
        ("b.png", 1, "missing_image"),
        ("d.png", 3, "missing_image"),
    ]
    assert [one.name for one in workspace.exports_dir.iterdir() if one.is_dir()] == []

    folder = export(workspace, options, allow_missing_images=True)
    assert not names.exists()
    manifest = read_manifest(folder)
    assert manifest.counts["written"]["images"]["missing"] == manifest.n_missing_images == 2
    assert [one["image"] for one in listed(folder) if "problem" in one] == ["b.png", "d.png"]
    assert verify_manifest(folder).notes == (
        "2 images were missing and not exported; images.jsonl lists them",
    )


def test_a_refused_export_leaves_the_earlier_one(tmp_path: Path) -> None:
    workspace = four(tmp_path)
    before = (export(workspace, ExportOptions()) / "manifest.json").read_bytes()
    with pytest.raises(MissingImagesError):
        export(workspace, BESIDE[0], overwrite=True)
    folder = workspace.exports_dir / "all"
    assert (folder / "manifest.json").read_bytes() == before
    assert not (folder / "images").exists()


def test_an_image_that_goes_missing_while_it_is_exported_is_noticed(tmp_path: Path) -> None:
    names = ["a.png", "b.png"]
    workspace = make(tmp_path, [record(one) for one in names], dict.fromkeys(names, picture()))
    calls: list[int] = []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 2:  # all were looked for, none is written yet
            (tmp_path / "pictures" / "b.png").unlink()

    with pytest.raises(MissingImagesError, match="1 image is missing"):
        export(workspace, BESIDE[0], progress=progress)
    assert [one.name for one in workspace.exports_dir.iterdir() if one.is_dir()] == []


def test_the_command_refuses_missing_images_and_verify_reports_them(tmp_path: Path) -> None:
    workspace = four(tmp_path)
    save_subset(workspace, ALL)
    command = ["export", "all", "-w", str(workspace.root), "--images", "copy"]
    refused = CliRunner().invoke(app, command).exception
    assert isinstance(refused, MissingImagesError)
    assert refused.exit_code == 2
    done = CliRunner().invoke(app, [*command, "--allow-missing-images"])
    assert done.exit_code == 0, done.output
    assert "2 images were missing and not exported" in " ".join(done.stderr.split())
    manifest = str(workspace.exports_dir / "all" / "manifest.json")
    checked = CliRunner().invoke(app, ["verify", manifest, "--json"])
    assert json.loads(checked.stdout)["n_missing_images"] == 2
    assert "missing images: 2" in " ".join(checked.stderr.split())


ODD_NAMES = [
    "Screenshot 2026-01-02 at 3.04.05\u202fPM.png",
    "no\u00a0break/space.png",
    "zero\u200bwidth.png",
    "line\nbreak\tand tab.png",
    "\u202eright to left.png",
    "x" * 240 + ".png",
    "é" * 120 + ".png",
    "elsewhere/own.png",
    "a.b..c/..d.png",
    " .png",
]


@pytest.mark.parametrize("options", BESIDE, ids=lambda one: one.images)
def test_images_keep_every_name_that_the_file_system_supports(
    tmp_path: Path, options: ExportOptions
) -> None:
    contents = {name: picture(size=number + 1) for number, name in enumerate(ODD_NAMES)}
    workspace = make(tmp_path, [record(name) for name in ODD_NAMES], contents)
    folder = export(workspace, options)
    for name, content in contents.items():
        assert (folder / "images" / name).read_bytes() == content
    assert read_manifest(folder).derived == ()
    assert verify_manifest(folder).n_samples == len(ODD_NAMES)


def test_a_path_that_the_file_system_does_not_support_is_refused(tmp_path: Path) -> None:
    """It fits where the image is, by a few characters, and not where the copy would be."""
    length = 4090 - len(f"{tmp_path}/pictures/")
    folders = (length - 10) // 201
    name = ("d." * 100 + "/") * folders + "x" * (length - 201 * folders - 4) + ".png"
    workspace = make(tmp_path, [record(name)], {name: picture()})
    with pytest.raises(InputError, match=r"x+\.png' cannot have that name .*File name too long"):
        export(workspace, BESIDE[0])
    assert [one.name for one in workspace.exports_dir.iterdir()] == [".export.lock"]


def outside_paths(root: Path) -> tuple[Workspace, list[bytes]]:
    """Records whose paths would lead out of the export, each in another shape, and their images."""
    outside = str(root / "pictures" / "sub" / "1.png")
    part = {"type": "image", "image": "sub/../2.png"}
    records = [
        record(outside, id=outside),
        {
            "messages": [
                {"role": "user", "content": [part, {"type": "text", "text": "sub/../2.png?"}]},
                {"role": "assistant", "content": "a"},
            ]
        },
        record(["../pictures/3.png", "2.png"]),
        record({"<image_00>": "sub/../2.png"}, note=None)
        | {
            "conversations": [
                {"from": "human", "value": "<image_00> q"},
                {"from": "gpt", "value": "a"},
            ]
        },
        record("../pictures/2.png###[1, 1, 4, 4]"),
        record("2.png"),
    ]
    images = {"sub/1.png": picture(size=1), "2.png": picture(size=2), "3.png": picture(size=3)}
    return make(root, records, images), list(images.values())


@pytest.mark.parametrize("options", BESIDE, ids=lambda one: one.images)
def test_records_with_outside_paths_name_the_copies(tmp_path: Path, options: ExportOptions) -> None:
    workspace, (first, second, third) = outside_paths(tmp_path)
    folder = export(workspace, options)
    text = (folder / ("samples.json" if options.format == "llava" else "samples.jsonl")).read_text()
    records = (
        json.loads(text)
        if options.format == "llava"
        else list(map(json.loads, text.split("\n")[:-1]))
    )

    def copy(path: str) -> bytes:
        place = folder / "images" / path
        assert place.resolve().is_relative_to(folder.resolve() / "images")
        return place.read_bytes()

    assert copy(records[0]["image"]) == first
    assert records[0]["id"] == str(tmp_path / "pictures" / "sub" / "1.png")  # no path of an image
    parts = records[1]["messages"][0]["content"]
    assert copy(parts[0]["image"]) == second
    assert parts[1]["text"] == "sub/../2.png?"
    assert [copy(path) for path in records[2]["image"]] == [third, second]
    assert records[2]["image"][1] == "2.png"
    assert copy(records[3]["image"]["<image_00>"]) == second
    path, box = records[4]["image"].split("###")
    assert (copy(path), box) == (second, "[1, 1, 4, 4]")
    assert records[5] == record("2.png")
    manifest = read_manifest(folder)
    assert manifest.derived == ("images",)
    assert manifest.counts["written"]["records_with_new_image_paths"] == 5
    verify_manifest(folder)
    inside = {one for one in (folder / "images").rglob("*") if one.is_file()}
    assert len(inside) == len(listed(folder)) == 5  # one for each path that leads to an image
    assert {one.name for one in tmp_path.iterdir()} == {"pictures", "records.json", "ws"}


def test_only_the_path_of_the_image_changes_in_a_record(tmp_path: Path) -> None:
    given = (
        b'{ "zeta":1e-7,"image" : "\\u002e./pictures\\/1.png", "conversations": [{"from":"human",'
    )
    given += b'"value":"<image>q"},{"from":"gpt","value":"../pictures/1.png"}]}'
    workspace = make(tmp_path, [json.loads(given)], {"1.png": picture()})
    (tmp_path / "other").mkdir()
    source = tmp_path / "other" / "records.json"
    source.write_bytes(b"[" + given + b"]")
    workspace = create_workspace(tmp_path / "other" / "ws")
    info = import_dataset(workspace, [source], [tmp_path / "pictures"])
    workspace = score(workspace, 1, info.fingerprint, {})
    folder = export(workspace, BESIDE[0])
    [line] = listed(folder)
    path = line["file"].removeprefix("images/").encode()
    expected = given.replace(b'"\\u002e./pictures\\/1.png"', b'"' + path + b'"')
    assert (folder / "samples.json").read_bytes() == b"[\n" + expected + b"\n]\n"


def test_a_path_that_cannot_be_rewritten_is_refused_with_its_row(tmp_path: Path) -> None:
    inside = str(tmp_path / "pictures" / "1.png")
    turns = [{"from": "human", "value": f"<img>{inside}</img>q"}, {"from": "gpt", "value": "a"}]
    workspace = make(tmp_path, [record("1.png"), {"conversations": turns}], {"1.png": picture()})
    with pytest.raises(RecordError, match=r"Row 1 names an image by a path .*/pictures/1\.png'"):
        export(workspace, BESIDE[0])
    assert [one.name for one in workspace.exports_dir.iterdir()] == [".export.lock"]
    verify_manifest(export(workspace, INSIDE[0]))


@pytest.mark.parametrize("file_format", ["parquet", "huggingface"])
def test_tables_name_the_copies_and_keep_the_record_unchanged(
    tmp_path: Path, file_format: str
) -> None:
    workspace, (first, *_) = outside_paths(tmp_path)
    folder = export(workspace, ExportOptions(file_format, images="copy"))
    if file_format == "parquet":
        rows = pq.read_table(folder / "samples.parquet").to_pylist()
    else:
        with pa.ipc.open_stream(folder / "train" / "data-00000-of-00001.arrow") as stream:
            rows = stream.read_all().to_pylist()
    assert (folder / "images" / rows[0]["images"][0]).read_bytes() == first
    assert json.loads(rows[0]["record"])["image"] == str(tmp_path / "pictures" / "sub" / "1.png")
    for row in rows:
        for path in row["images"]:
            assert (folder / "images" / path.partition("###")[0]).is_file()
    verify_manifest(folder)


def test_table_rows_with_outside_paths_need_the_understood_columns(
    tmp_path: Path,
) -> None:
    (tmp_path / "pictures").mkdir()
    image = tmp_path / "pictures" / "1.png"
    image.write_bytes(picture())
    rows = [{"question": "q?", "answer": "a", "image": str(image)}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    workspace = create_workspace(tmp_path / "ws")
    info = import_dataset(workspace, [tmp_path / "train.parquet"], [tmp_path / "pictures"])
    workspace = score(workspace, 1, info.fingerprint, {})
    with pytest.raises(InputError, match=r"Row 0 names its image .*--columns understood"):
        export(workspace, ExportOptions("parquet", images="copy"))
    folder = export(workspace, ExportOptions("parquet", images="copy", columns="understood"))
    [row] = pq.read_table(folder / "samples.parquet").to_pylist()
    assert (folder / "images" / row["images"][0]).read_bytes() == picture()
    folder = export(workspace, ExportOptions("llava", images="copy"), overwrite=True)
    [made] = json.loads((folder / "samples.json").read_text())
    assert (folder / "images" / made["image"]).read_bytes() == picture()
    verify_manifest(folder)


def mixed(root: Path, records: Sequence[Mapping[str, Any]] | None = None) -> Workspace:
    """Twelve images of four kinds, by turns; their sides are their numbers."""
    kinds = ("PNG", "JPEG", "GIF", "WEBP")
    images = {f"{n}.img": picture(kinds[n % 4], n + 1) for n in range(12)}
    return make(root, records or [record(f"{n}.img") for n in range(12)], images)


def test_datasets_and_webdataset_read_every_image_of_mixed_kinds(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    webdataset = pytest.importorskip("webdataset")
    folder = export(mixed(tmp_path), ExportOptions("webdataset"))
    shard = str(folder / "samples-000000.tar")
    loaded = datasets.load_dataset(
        "webdataset", data_files=shard, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["jpg"].size for row in loaded] == [(n, n) for n in range(1, 13)]
    assert [row["json"]["image"] for row in loaded] == [f"{n}.img" for n in range(12)]
    opened = webdataset.WebDataset(shard, shardshuffle=False).decode("pil").to_tuple("jpg", "json")
    assert [image.size for image, _ in opened] == [(n, n) for n in range(1, 13)]
    raw = list(webdataset.WebDataset(shard, shardshuffle=False))
    for number, one in enumerate(raw):  # unchanged bytes, under any name
        assert one["jpg"] == (tmp_path / "pictures" / f"{number}.img").read_bytes()


def test_members_have_the_same_names_where_any_sample_has_several_images(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    records = [record("0.img"), record(["1.img", "2.img"]), record(None), record("3.img")]
    folder = export(mixed(tmp_path, records), ExportOptions("webdataset"))
    found = webdataset.WebDataset(str(folder / "samples-000000.tar"), shardshuffle=False)
    keys = [sorted(key for key in one if not key.startswith("__")) for one in found]
    assert keys == [["0.jpg", "json"], ["0.jpg", "1.jpg", "json"], ["0.jpg", "json"]]
    again = create_workspace(tmp_path / "again")
    assert import_dataset(again, [folder]).n_samples == 4


@pytest.mark.parametrize("n_text_only", [1, 7])
def test_every_image_of_a_mixture_with_text_only_samples_is_loaded(
    tmp_path: Path, n_text_only: int
) -> None:
    """``datasets`` fixes the columns by the first five samples of a tar file."""
    datasets = pytest.importorskip("datasets")
    records = [record(None)] * n_text_only + [record(f"{n}.img") for n in range(12)]
    folder = export(mixed(tmp_path, records), ExportOptions("webdataset", card=True))
    card = (folder / "README.md").read_text("utf-8")
    [line] = [one.strip() for one in card.splitlines() if "datasets.load_dataset(" in one]
    line = line.replace('"FOLDER"', repr(str(folder)))
    line = line.replace("split=", f"cache_dir={str(tmp_path / 'cache')!r}, split=")
    loaded = eval(line, {"datasets": datasets})  # noqa: S307 - the line that a user copies
    sizes = [row["jpg"].size[0] if row["jpg"] else None for row in loaded]
    assert sizes == list(range(1, 13)) + [None] * n_text_only
    assert loaded[n_text_only]["json"]["conversations"][1]["value"] == "a"


def damaged(root: Path) -> Workspace:
    """One good image, a truncated one, a Git LFS pointer and an image that two samples share."""
    whole = picture("JPEG", 200)
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    images = {"good.jpg": whole, "cut.jpg": whole[:-400], "lfs.jpg": pointer}
    records = [record(name) for name in ("good.jpg", "cut.jpg", "lfs.jpg")]
    records.append(record(["cut.jpg", "good.jpg"]))
    bad = dict.fromkeys((1, 2, 3), Status.BAD_IMAGE)
    return make(root, records, images, bad)


def test_images_that_cannot_be_decoded_stay_out_of_tables(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = export(damaged(tmp_path), ExportOptions("huggingface", images="embed"))
    rows = list(datasets.load_from_disk(str(folder))["train"])  # which decodes every image
    sizes = [[one and one.size for one in row["images"]] for row in rows]
    assert sizes == [[(200, 200)], [None], [None], [None, (200, 200)]]
    lines = {one["image"]: one for one in listed(folder)}
    assert "sha256" in lines["good.jpg"]
    assert lines["cut.jpg"]["status"] == "bad_image"
    assert "is a Git LFS pointer" in lines["lfs.jpg"]["problem"]
    images = read_manifest(folder).counts["written"]["images"]
    assert (images["files"], images["missing"], images["undecodable"]) == (1, 0, 2)
    [note] = verify_manifest(folder).notes
    assert note.startswith("2 images cannot be decoded")


def test_images_that_cannot_be_decoded_stay_out_of_shards_and_are_copied(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    workspace = damaged(tmp_path)
    folder = export(workspace, ExportOptions("webdataset"))
    shard = webdataset.WebDataset(str(folder / "samples-000000.tar"), shardshuffle=False)
    keys = [[key for key in one if key.endswith("jpg")] for one in shard.decode("pil")]
    assert keys == [["0.jpg"], ["1.jpg"]]
    with tarfile.open(folder / "text-000000.tar") as archive:
        assert archive.getnames() == ["000000001.json", "000000002.json"]
    verify_manifest(folder)
    folder = export(workspace, BESIDE[0], overwrite=True)
    for name in ("good.jpg", "cut.jpg", "lfs.jpg"):
        original = tmp_path / "pictures" / name
        assert (folder / "images" / name).read_bytes() == original.read_bytes()


def test_images_of_imported_scores_are_decoded_too(tmp_path: Path) -> None:
    """No model of this program has decoded them, even if their status is scored."""
    images = {"good.jpg": picture("JPEG", 200), "cut.jpg": picture("JPEG", 200)[:-400]}
    workspace = make(tmp_path, [record(name) for name in images], images)
    path = workspace.run_dir(RUN_ID) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"imported_from": "scores.csv"}))
    folder = export(workspace, INSIDE[0])
    rows = pq.read_table(folder / "samples.parquet").column("images").to_pylist()
    assert [row[0] and row[0]["path"] for row in rows] == ["good.jpg", None]
    assert read_manifest(folder).counts["written"]["images"]["undecodable"] == 1


@pytest.mark.parametrize("options", BESIDE + INSIDE, ids=lambda one: f"{one.format} {one.images}")
def test_exports_of_the_previous_version_still_verify(
    tmp_path: Path, options: ExportOptions
) -> None:
    """Whose rules for images were others: names were changed, records were not."""
    contents = {"a\u202fb.png": picture(), "b.jpg": picture("JPEG"), "cut.jpg": picture()[:40]}
    records = [record(str(tmp_path / "pictures" / "b.jpg")), *map(record, contents)]
    workspace = make(tmp_path, records, contents, {3: Status.BAD_IMAGE})
    folder = export(workspace, replace(options, version=2))
    manifest = read_manifest(folder)
    assert json.loads((folder / "manifest.json").read_text())["manifest_version"] == 2
    assert manifest.derived == ()
    assert manifest.counts["written"]["images"]["files"] == 4
    if options.places_images:
        assert len(list((folder / "images" / "elsewhere").iterdir())) == 2
        assert str(tmp_path).encode() in next(folder.glob("samples.*")).read_bytes()
    assert verify_manifest(folder).notes == ()
    assert read_manifest(export(workspace, options, overwrite=True)).options.version == 4
