"""Layouts of well-known datasets, each as a small table or file with the same columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.exports.export import export_subset
from scoring.exports.options import ExportOptions
from scoring.images.decode import open_reference
from scoring.rules import TopShare
from scoring.samples import Sample, Status
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.readers.test_files import COLOURS, png
from tests.synthetic import RUN_ID, typed_row, write_run

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
RED, BLUE = ({"bytes": png(name), "path": f"{name}.png"} for name in ("red", "blue"))
RATINGS = ("relevance", "visual_dependency", "image_correspondence", "formatting")
PAIR = pa.struct([("user", pa.string()), ("assistant", pa.string())])
CAULDRON_TURN = pa.struct([*PAIR, ("source", pa.string())])
TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string())])

FINEVISION = pa.schema(
    [
        ("images", pa.list_(IMAGE)),
        ("texts", pa.list_(PAIR)),
        ("source", pa.string()),
        *((f"{name}_ratings", pa.list_(pa.int64())) for name in RATINGS),
        *((f"{name}_min", pa.int64()) for name in RATINGS),
    ]
)
CAULDRON = pa.schema([("images", pa.list_(IMAGE)), ("texts", pa.list_(CAULDRON_TURN))])
ONEVISION = pa.schema(
    [
        ("id", pa.string()),
        ("image", IMAGE),
        ("conversations", pa.list_(TURN)),
        ("data_source", pa.string()),
    ]
)
VERL = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(MESSAGE)),
        ("images", pa.list_(IMAGE)),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("ground_truth", pa.string()), ("style", pa.string())])),
        ("extra_info", pa.struct([
            ("answer", pa.string()), ("index", pa.int64()), ("question", pa.string()),
            ("split", pa.string()),
        ])),
    ]
)  # fmt: skip
EASY_R1 = pa.schema(
    [("images", pa.list_(IMAGE)), ("problem", pa.string()), ("answer", pa.string())]
)


def rated(images: list[Any], *pairs: tuple[str, str]) -> dict[str, Any]:
    ratings: dict[str, Any] = {f"{name}_ratings": [4, 2][: len(pairs)] for name in RATINGS}
    ratings |= {f"{name}_min": 2 for name in RATINGS}
    texts = [{"user": user, "assistant": assistant} for user, assistant in pairs]
    return {"images": images, "texts": texts, "source": "chartqa", **ratings}


def verl(question: str, answer: str, *images: Any, system: str = "") -> dict[str, Any]:
    prompt = [{"role": "system", "content": system}] if system else []
    return {
        "data_source": "hiyouga/geometry3k",
        "prompt": [*prompt, {"role": "user", "content": question}],
        "images": list(images),
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {"split": "train", "index": 7, "answer": answer, "question": "raw"},
    }


LAYOUTS: dict[str, tuple[pa.Schema, list[dict[str, Any]]]] = {
    "finevision": (
        FINEVISION,
        [rated([RED, BLUE], ("Which?", "red"), ("And?", "blue")), rated([], ("2+2?", "4"))],
    ),
    "cauldron": (
        CAULDRON,
        [
            {"images": [RED], "texts": [
                {"user": "Which?", "assistant": "red", "source": "ChartQA"},
                {"user": "And?", "assistant": "blue", "source": "ChartQA"},
            ]},
        ],
    ),
    "onevision": (
        ONEVISION,
        [
            {"id": "a", "image": RED, "data_source": "chartqa(cauldron)", "conversations": [
                {"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "red"},
            ]},
            {"id": "b", "image": None, "data_source": "magpie", "conversations": [
                {"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"},
            ]},
        ],
    ),
    "verl": (
        VERL,
        [
            verl("<image>Find x.", "3", RED),
            verl("<image><image>Find y.", "sqrt(2)", RED, BLUE, system="Think first."),
        ],
    ),
    "easy_r1": (EASY_R1, [{"images": [RED], "problem": "<image>Find x.", "answer": "3"}]),
}  # fmt: skip


def imported(tmp_path: Path, name: str) -> tuple[Workspace, list[Sample]]:
    schema, rows = LAYOUTS[name]
    path = tmp_path / name / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [path])
    opened = open_workspace(workspace.root)
    return opened, list(read_samples(opened))


def texts(sample: Sample) -> list[str]:
    return [turn.text.strip() for turn in sample.turns]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("finevision", [
            ("chartqa", ["Which?", "red", "And?", "blue"], ["red", "blue"], Status.PENDING),
            ("chartqa", ["2+2?", "4"], [], Status.TEXT_ONLY),
        ]),
        ("cauldron", [("cauldron", ["Which?", "red", "And?", "blue"], ["red"], Status.PENDING)]),
        ("onevision", [
            ("chartqa(cauldron)", ["Which?", "red"], ["red"], Status.PENDING),
            ("magpie", ["2+2?", "4"], [], Status.TEXT_ONLY),
        ]),
        ("verl", [
            ("hiyouga/geometry3k", ["Find x.", "3"], ["red"], Status.PENDING),
            ("hiyouga/geometry3k", ["Think first.", "Find y.", "sqrt(2)"], ["red", "blue"],
             Status.PENDING),
        ]),
        ("easy_r1", [("easy_r1", ["Find x.", "3"], ["red"], Status.PENDING)]),
    ],
)  # fmt: skip
def test_a_known_layout_is_read(tmp_path: Path, name: str, expected: list[Any]) -> None:
    workspace, samples = imported(tmp_path, name)
    found = []
    for sample in samples:
        pixels = [
            open_reference(image, workspace.image_roots).getpixel((5, 5)) for image in sample.images
        ]
        names = [next(n for n, colour in COLOURS.items() if colour == pixel) for pixel in pixels]
        found.append((sample.source, texts(sample), names, sample.status))
        assert sum(len(turn.image_offsets) for turn in sample.turns) == len(sample.images)
    assert found == expected
    assert not read_dataset_info(workspace).files[0].unread


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_an_export_keeps_every_column(tmp_path: Path, name: str) -> None:
    workspace, samples = imported(tmp_path, name)
    scores = [typed_row(1.0, n) for n in range(len(samples))]
    write_run(workspace, scores, read_dataset_info(workspace).fingerprint)
    build_database(workspace)
    every = SubsetDefinition("every", TopShare(1.0), RUN_ID, text_only="keep")
    options = ExportOptions("parquet")
    result = export_subset(workspace, Store(workspace), every, tmp_path / "out", options)
    schema, rows = LAYOUTS[name]
    table = pq.read_table(result.folder / "samples.parquet")
    assert table.schema.names == schema.names
    assert table.to_pylist() == pa.Table.from_pylist(rows, schema).to_pylist()


@pytest.mark.parametrize("tokens", ["<image>" * 3 + "\n", ""])
def test_frames_of_a_video_are_images(tmp_path: Path, tokens: str) -> None:
    names = ("red", "lime", "blue")
    for number, name in enumerate(names):
        (tmp_path / "frames" / "v1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "frames" / "v1" / f"{number}.png").write_bytes(png(name))
    row = {
        "id": "v1_0",
        "video_id": "v1",
        "images": [f"frames/v1/{number}.png" for number in range(3)],
        "messages": [
            {"role": "user", "content": f"{tokens}What happens first?"},
            {"role": "assistant", "content": "It is red."},
        ],
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [tmp_path / "rows.jsonl"])
    workspace = open_workspace(workspace.root)
    (sample,) = read_samples(workspace)
    assert (sample.id, sample.status, len(sample.images)) == ("v1_0", Status.PENDING, 3)
    assert texts(sample) == ["What happens first?", "It is red."]
    assert sample.original == json.dumps(row).encode()
    pixels = [open_reference(i, workspace.image_roots).getpixel((5, 5)) for i in sample.images]
    assert pixels == [COLOURS[name] for name in names]
