"""The format messages, prefixes of image paths, and scores in records."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring import import_dataset
from scoring.database.connection import Store
from scoring.dataset.records import read_samples
from scoring.errors import InputError, RecordError, VerificationError
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.rules import TopShare, Weights
from scoring.samples import Sample, Status
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace
from tests.exports.conftest import RUN_ID, golden_workspace
from tests.exports.test_export_formats import multi_turn
from tests.exports.test_export_images import make, picture, record

ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep")
SPOTS = [
    {"from": "system", "value": "Be  brief.\n"},
    {"from": "human", "value": "A\n<image> b <image>\r\n"},
    {"from": "gpt", "value": "<b>né</b>\u2028 "},
    {"from": "human", "value": "and <image>"},
    {"from": "gpt", "value": "x"},
]
FILES = {"a/1.png": picture(size=9), "a/2.png": picture(size=10), "3.png": picture(size=11)}


def export(workspace: Workspace, options: ExportOptions, definition: Any = ALL) -> Path:
    return export_subset(
        workspace, Store(workspace), definition, format=options, overwrite=True
    ).folder


def spots(root: Path) -> Workspace:
    """Three images at their positions in two questions; one image; a literal <image>."""
    records: list[dict[str, Any]] = [
        {"id": 7, "image": ["a/1.png", "3.png", "a/2.png"], "conversations": SPOTS, "x": 1.50},
        record("3.png"),
        {"conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "a"}]},
    ]
    return make(root, records, FILES, {2: Status.TEXT_ONLY})


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "samples.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def test_images_are_parts_at_their_exact_position(tmp_path: Path) -> None:
    workspace = spots(tmp_path)
    folder = export(workspace, ExportOptions("messages", images="copy"))
    first, second, third = lines(folder)
    image = {"type": "image"}
    assert first == {
        "id": "7",
        "source": "a",
        "messages": [
            {"role": "system", "content": [text("Be  brief.\n")]},
            {"role": "user", "content": [text("A\n"), image, text(" b "), image, text("\r\n")]},
            {"role": "assistant", "content": [text("<b>né</b>\u2028 ")]},
            {"role": "user", "content": [text("and "), image]},
            {"role": "assistant", "content": [text("x")]},
        ],
        "images": ["a/1.png", "3.png", "a/2.png"],
    }
    assert second["images"] == ["3.png"]
    assert third["images"] == []
    assert third["messages"][0]["content"] == [text("<image>?")]
    assert (folder / "images" / "a/2.png").read_bytes() == FILES["a/2.png"]
    assert read_manifest(folder).derived == ("records",)
    assert verify_manifest(folder).n_samples == 3


def test_embedded_images_are_values_of_a_table(tmp_path: Path) -> None:
    folder = export(spots(tmp_path), ExportOptions("messages", images="embed"))
    table = pq.read_table(folder / "samples.parquet")
    assert table.column_names == ["id", "source", "messages", "images"]
    rows = table.to_pylist()
    sizes = [Image.open(io.BytesIO(image["bytes"])).size[0] for image in rows[0]["images"]]
    assert sizes == [9, 11, 10]
    assert rows[2]["images"] == []
    assert rows[0]["messages"][3]["content"] == [text("and "), {"type": "image", "text": None}]
    assert verify_manifest(folder).n_samples == 3


@pytest.mark.parametrize("images", ["copy", "embed"])
def test_datasets_loads_messages(tmp_path: Path, images: Any) -> None:
    datasets = pytest.importorskip("datasets")
    options = ExportOptions("messages", images=images)
    path = export(spots(tmp_path), options) / options.data_file
    kind = {".jsonl": "json", ".parquet": "parquet"}[path.suffix]
    cache = str(tmp_path / "cache")
    rows = datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache)
    assert [len(row["images"]) for row in rows] == [3, 1, 0]
    parts = [message["content"] for message in rows[0]["messages"]]
    assert parts[1][1]["type"] == "image"
    assert parts[1][1].get("text") is None
    assert parts[1][2] == text(" b ")
    if images == "embed":
        assert [image.size[0] for image in rows[0]["images"]] == [9, 11, 10]


@pytest.mark.parametrize("images", ["none", "copy", "embed"])
def test_messages_are_imported_as_they_were(tmp_path: Path, images: Any) -> None:
    workspace = spots(tmp_path)
    options = ExportOptions("messages", images=images)
    folder = export(workspace, options)
    again = create_workspace(tmp_path / "again")
    import_dataset(again, [folder / options.data_file], [tmp_path / "pictures"])

    def facts(sample: Sample) -> Any:
        named = len(sample.images) if images == "embed" else sample.images
        return sample.id, sample.source, sample.turns, named, sample.status

    assert list(map(facts, read_samples(again))) == list(map(facts, read_samples(workspace)))


def test_messages_of_odd_records_verify(tmp_path: Path) -> None:
    workspace = golden_workspace(tmp_path)
    folder = export(workspace, ExportOptions("messages"))
    assert [len(line["messages"]) for line in lines(folder)] == [2] * 6
    assert lines(folder)[2]["messages"][0]["content"][0] == text("図 ")
    assert lines(folder)[4]["messages"] == [
        {"role": "user", "content": [{"type": "image"}]},
        {"role": "assistant", "content": [text("")]},
    ]
    path = folder / "samples.jsonl"
    path.write_bytes(path.read_bytes().replace("図".encode(), b"###"))
    with pytest.raises(VerificationError, match=r"samples\.jsonl differs"):
        verify_manifest(folder)


def test_turns_are_dropped_and_masked_in_messages(tmp_path: Path) -> None:
    workspace = multi_turn(tmp_path)
    dropped = lines(export(workspace, ExportOptions("messages", turns="drop", turn_min=0.0)))
    assert [m["content"][-1]["text"] for m in dropped[0]["messages"]] == ["\nB?", "B"]
    assert dropped[0]["messages"][0]["content"][0] == {"type": "image"}
    masked = lines(export(workspace, ExportOptions("messages", turns="mask", turn_min=0.0)))
    assert [m.get("loss") for m in masked[0]["messages"]] == [None, False, None, None]


def test_weights_and_scores_are_keys_of_messages(tmp_path: Path) -> None:
    workspace = golden_workspace(tmp_path)
    weighted = SubsetDefinition("weighted", Weights(), RUN_ID)
    options = ExportOptions("messages", weights="column", scores=True)
    folder = export(workspace, options, weighted)
    first = lines(folder)[0]
    assert first["visnec"] == 0.5
    assert first["n_answer_tokens"] == 4
    assert first["loss_text"] - first["loss_multimodal"] == 0.5
    assert isinstance(first["weight"], float)
    assert set(read_manifest(folder).derived) == {"records", "weights", "scores"}
    verify_manifest(folder)


def test_a_record_that_cannot_be_messages_is_refused(tmp_path: Path) -> None:
    two = record("3.png") | {"conversations": SPOTS}
    workspace = make(tmp_path, [two], FILES, {0: Status.PLACEHOLDER_MISMATCH})
    kept = SubsetDefinition("all", TopShare(1.0), RUN_ID, unscored="keep")
    with pytest.raises(RecordError, match="Row 0 cannot be written as messages: 3 placeholder"):
        export(workspace, ExportOptions("messages"), kept)


@pytest.mark.parametrize("file_format", ["llava", "jsonl"])
def test_scores_are_added_to_records_and_nothing_else(tmp_path: Path, file_format: str) -> None:
    workspace = golden_workspace(tmp_path)
    plain = export(workspace, ExportOptions(file_format))
    name = ExportOptions(file_format).data_file
    before = (plain / name).read_bytes()
    folder = export(workspace, ExportOptions(file_format, scores=True))
    after = (folder / name).read_bytes()
    scores = b', "loss_text": null, "loss_multimodal": null, "visnec": null'
    scores += b', "n_answer_tokens": null'
    assert after.count(b'"visnec": ') == 6
    assert scores in after  # of the sample without an image
    values = [value["visnec"] for value in read_records(after, file_format)]
    assert values == [0.5, 0.25, 0.75, 1.0, -0.5, None]
    stripped = after.replace(scores, b"")
    for value in read_records(after, file_format)[:5]:
        added = {key: value[key] for key in list(value)[-4:]}
        stripped = stripped.replace(b", " + json.dumps(added).encode()[1:-1], b"")
    assert stripped == before
    assert read_manifest(folder).derived == ("scores",)
    verify_manifest(folder)


def read_records(content: bytes, file_format: str) -> list[dict[str, Any]]:
    if file_format == "llava":
        return list(json.loads(content))
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def test_a_record_with_a_score_of_its_own_is_refused(tmp_path: Path) -> None:
    workspace = make(tmp_path, [record("3.png", visnec=1)], FILES)
    with pytest.raises(RecordError, match=r"Cannot add .* to row 0: it has a key 'visnec'"):
        export(workspace, ExportOptions("jsonl", scores=True))


@pytest.mark.parametrize("file_format", ["llava", "jsonl", "messages", "parquet"])
@pytest.mark.parametrize("images", ["none", "copy"])
def test_paths_get_a_prefix(tmp_path: Path, file_format: str, images: Any) -> None:
    workspace = spots(tmp_path)
    options = ExportOptions(file_format, images=images, image_prefix="/data/pictures")
    folder = export(workspace, options)
    if file_format == "parquet":
        rows = pq.read_table(folder / "samples.parquet").to_pylist()
        paths = [row["images"] for row in rows]
    else:
        key = "images" if file_format == "messages" else "image"
        values = read_records((folder / options.data_file).read_bytes(), file_format)
        paths = [value.get(key, []) for value in values]
    expected = ["/data/pictures/a/1.png", "/data/pictures/3.png", "/data/pictures/a/2.png"]
    assert paths[0] == expected
    assert paths[1] in (expected[1], expected[1:2])
    assert "images" in read_manifest(folder).derived
    verify_manifest(folder)


def test_a_prefix_changes_nothing_but_paths(tmp_path: Path) -> None:
    workspace = spots(tmp_path)
    plain = (export(workspace, ExportOptions("jsonl")) / "samples.jsonl").read_bytes()
    folder = export(workspace, ExportOptions("jsonl", image_prefix="p/"))
    prefixed = (folder / "samples.jsonl").read_bytes()
    assert prefixed != plain
    assert prefixed.replace(b'"p/', b'"') == plain


@pytest.mark.parametrize("file_format", ["jsonl", "messages"])
def test_absolute_paths_lead_to_the_copies(tmp_path: Path, file_format: str) -> None:
    folder = export(
        spots(tmp_path), ExportOptions(file_format, images="copy", absolute_images=True)
    )
    value = lines(folder)[0]
    paths = value.get("images") or value["image"]
    assert [Path(path).read_bytes() for path in paths] == [
        FILES[name] for name in ("a/1.png", "3.png", "a/2.png")
    ]
    assert all(path.startswith(f"{folder}/images/") for path in paths)
    assert verify_manifest(folder).n_samples == 3


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"absolute_images": True}, "need exported images"),
        ({"image_prefix": " "}, "prefix is empty"),
        ({"image_prefix": "/a", "absolute_images": True, "images": "copy"}, "either a prefix or"),
        ({"format": "webdataset", "image_prefix": "/a"}, "--image-prefix changes the image paths"),
        ({"format": "messages", "images": "embed", "image_prefix": "/a"}, "this export gives none"),
        ({"format": "parquet", "columns": "source", "image_prefix": "/a"}, "unchanged"),
        ({"format": "ids", "image_prefix": "/a"}, "this export gives none"),
        ({"format": "parquet", "scores": True}, "Scores are added to the records of llava"),
    ],
)
def test_paths_and_scores_where_there_are_none_are_refused(
    choice: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        ExportOptions(**choice)
