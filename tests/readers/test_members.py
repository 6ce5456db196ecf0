"""Records that are the members of an object keep their keys on the way out."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.pipeline import score_dataset
from scoring.exports.export import ExportResult, export_subset
from scoring.exports.verify import verify_manifest
from scoring.readers.json_stream import Member, parse_member, read_json_object
from scoring.readers.options import ReadOptions
from scoring.reviews.decisions import open_review_log
from scoring.rules import TopShare
from scoring.samples import Sample
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

RECORD = '{"question" : "q", "choices":["x","y"], "answer": 1, "image": "image.png", "split": "t"}'
KEYS = ('"1"', r'"a\u00e9\"b"', '"3"')


def imported(root: Path, text: str) -> Workspace:
    root.mkdir(exist_ok=True)
    (root / "problems.json").write_text(text, "utf-8")
    for key in KEYS:
        folder = root / "t" / json.loads(key)
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "red").save(folder / "image.png")
    import_dataset(create_workspace(root / "ws"), [root / "problems.json"])
    return open_workspace(root / "ws")


def samples(workspace: Workspace) -> list[Sample]:
    return list(read_samples(workspace))


def export(workspace: Workspace, kind: str = "llava") -> ExportResult:
    score_dataset(workspace, FakeModel(), run_id="run")
    open_review_log(workspace, "ann").append_bulk([1], "keep")
    build_database(workspace)
    subset = SubsetDefinition("all", TopShare(1.0), "run")
    done = export_subset(workspace, Store(workspace), subset, format=kind)
    verify_manifest(done.folder / "manifest.json", workspace)
    return done


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("{{ {0} , {1},{2}}}", "{{\n{0},\n{1},\n{2}\n}}\n"),
        (
            '{{"meta": {{"version": 1, "by": "x"}}, "data": {{{0}, {1}, {2}}}}}',
            '{{\n"data": {{\n{0},\n{1},\n{2}\n}}\n}}\n',
        ),
    ],
)
def test_an_object_of_records_survives_export_and_import(
    tmp_path: Path, layout: str, expected: str
) -> None:
    members = [f"{key}: {RECORD}" for key in KEYS]
    workspace = imported(tmp_path, layout.format(*members))
    done = export(workspace)
    text = (done.folder / "samples.json").read_text("utf-8")
    assert text == expected.format(*members)
    assert "written" not in done.manifest.counts
    again = imported(tmp_path / "again", text)
    assert [(one.id, one.images, one.turns) for one in samples(again)] == [
        (one.id, one.images, one.turns) for one in samples(workspace)
    ]
    assert [one.images for one in samples(again)] == [
        (f"t/{json.loads(key)}/image.png",) for key in KEYS
    ]


def test_export_as_lines_reports_the_lost_keys(tmp_path: Path) -> None:
    members = ", ".join(f"{key}: {RECORD}" for key in KEYS)
    done = export(imported(tmp_path, f"{{{members}}}"), "jsonl")
    assert (done.folder / "samples.jsonl").read_text() == f"{RECORD}\n" * 3
    assert done.manifest.counts["written"]["records_without_their_keys"] == 3


def test_damage_in_an_object_does_not_affect_other_keys(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(f'{{"1": {RECORD}, "2": {{"question" }}, "3": {RECORD}}}')
    options = ReadOptions(keep_going=True)
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "d.json"], options=options)
    found = samples(open_workspace(tmp_path / "ws"))
    assert [one.origin for one in found] == ['#key="1"', None, '#key="3"']


def test_any_key_is_read_from_its_origin() -> None:
    keys = [b'"a"', rb'"key=\""', b'"within=\\"x\\"&key=\\"y\\""']
    for key in keys:
        for within in (None, "data", 'a"&key="'):
            outer = None if within is None else json.dumps(within).encode()
            text = b"{%s: {}}" % key
            text = text if outer is None else b"{%s: %s}" % (outer, text)
            (record,) = read_json_object(io.BytesIO(text), "x", within=within)
            assert parse_member(record.origin) == Member(key, outer)
    for origin in (None, "train.parquet#row=7", "#key=x"):
        assert parse_member(origin) is None
