"""Exports opened by the libraries that people open them with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError
from scoring.exports.card import card_text
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.rules import TopShare
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, make_workspace

ALL = SubsetDefinition("all", TopShare(1.0), RUN_ID, text_only="keep")


@pytest.fixture
def pictured(tmp_path: Path) -> Workspace:
    """A workspace of 40 samples whose images are there."""
    made = make_workspace(tmp_path / "ws", 40)
    build_database(made)
    return made


def export(workspace: Workspace, options: ExportOptions) -> tuple[Path, list[dict[str, Any]]]:
    """The folder, and the records that it is to hold."""
    store = Store(workspace)
    as_json = workspace.exports_dir / "json"
    export_subset(workspace, store, ALL, as_json, overwrite=True)
    result = export_subset(workspace, store, ALL, format=options, overwrite=True)
    return result.folder, json.loads((as_json / "samples.json").read_text("utf-8"))


@pytest.mark.parametrize("images", ["copy", "embed"])
def test_datasets_loads_the_saved_folder(pictured: Workspace, images: str) -> None:
    datasets = pytest.importorskip("datasets")
    folder, records = export(pictured, ExportOptions("huggingface", images=images))
    loaded = datasets.load_from_disk(str(folder))["train"]
    assert [json.loads(record) for record in loaded["record"]] == records
    opened = 0
    for row, record in zip(loaded, records, strict=True):
        original = pictured.root / "images" / record.get("image", "none")
        if not original.is_file() or not row["images"] or row["images"][0] is None:
            continue
        if images == "copy":
            assert row["images"] == [record["image"]]
            assert (folder / "images" / row["images"][0]).read_bytes() == original.read_bytes()
        else:
            with Image.open(original) as image:
                assert row["images"][0].size == image.size
        opened += 1
    assert opened > 10


def test_webdataset_reads_the_tar_files(pictured: Workspace) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder, records = export(pictured, ExportOptions("webdataset"))
    shards = [str(folder / f"{stem}-000000.tar") for stem in ("samples", "text")]
    found = list(webdataset.WebDataset(shards, shardshuffle=False))
    records = sorted(records, key=lambda record: "image" not in record)
    assert [json.loads(one["json"]) for one in found] == records
    pictures = 0
    for one, record in zip(found, records, strict=True):
        if "jpg" in one:
            pictures += 1
            original = pictured.root / "images" / record["image"]
            assert one["jpg"] == original.read_bytes()
    assert pictures > 10


@pytest.mark.parametrize(
    "options",
    [
        ExportOptions("parquet", card=True),
        ExportOptions("parquet", images="embed", card=True),
        ExportOptions("llava", images="copy", card=True),
        ExportOptions("huggingface", card=True),
        ExportOptions("webdataset", card=True),
        ExportOptions("jsonl", card=True),
    ],
    ids=lambda one: f"{one.format} {one.images}",
)
def test_mlcroissant_accepts_the_metadata(pictured: Workspace, options: ExportOptions) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    folder, records = export(pictured, options)
    dataset = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    left = {"citeAs", "datePublished", "license", "url", "version"}  # only the owner knows these
    for warning in dataset.metadata.ctx.issues.warnings:
        assert any(f"/{name}" in warning for name in left), warning
    names = [one.id for one in dataset.metadata.distribution]
    assert ("images" in names) == (options.images == "copy")
    if options.format == "parquet":
        rows = list(dataset.records(record_set="samples"))
        assert len(rows) == len(records)
        assert [row["samples/row_idx"] for row in rows] == sorted(
            row["samples/row_idx"] for row in rows
        )


def test_the_card_has_license_url_and_date(pictured: Workspace) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    said = {"license": "cc-by-4.0", "url": "https://example.org/d", "date_published": "2026-05-01"}
    folder, _ = export(pictured, ExportOptions("jsonl", card=True, **said))
    metadata = mlcroissant.Dataset(jsonld=folder / "croissant.json").metadata
    assert metadata.license == ["cc-by-4.0"]
    assert metadata.url == "https://example.org/d"
    assert str(metadata.date_published).startswith("2026-05-01")
    assert 'license: "cc-by-4.0"' in (folder / "README.md").read_text("utf-8").split("---")[1]
    with pytest.raises(InputError, match="written to the card"):
        ExportOptions("jsonl", license="mit")


@pytest.mark.parametrize(
    ("n", "size"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (9_999_999, "1M<n<10M"), (10**7, "10M<n<100M")],
)
def test_the_card_names_the_size(pictured: Workspace, n: int, size: str) -> None:
    folder, _ = export(pictured, ExportOptions("jsonl"))
    manifest = read_manifest(folder)
    card = card_text(replace(manifest, counts={**manifest.counts, "selected": n}))
    assert f"size_categories:\n- {size}\n" in card
