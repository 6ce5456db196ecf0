"""Every JSON variant all the way: imported, scored, shown as a card, exported byte for byte."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image

from dashboard.data.cards import Card
from dashboard.data.context import Context
from dashboard.data.samples import read_cards
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.engine.pipeline import score_dataset
from scoring.exports.export import export_subset
from scoring.rules import TopShare
from scoring.samples import Sample
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import create_workspace, open_workspace
from tests.fakes import FakeModel
from tests.readers.test_variants import FLAT, LLAVA, MESSAGES, told

VARIANTS = [
    row for row in [*LLAVA, *MESSAGES, *FLAT] if not any("p.parquet" in image for image in row[4])
]
OUTSIDE = ("original#", "http", "../", "/")  # images that the fixtures do not put there


def written(number: int, record: dict[str, Any]) -> bytes:
    """Odd on purpose, and in another way each time: spaces, escapes, numbers, unknown keys."""
    odd = {"zz": number, **record, "\u00e9": "na\u00efve <b>"}
    text = json.dumps(odd, ensure_ascii=number % 2 == 0, separators=(", ", " :  "))
    return text.replace(f'"zz" :  {number}', f'"zz":{number}.50e0').encode()


@dataclass(frozen=True)
class Travelled:
    samples: list[Sample]
    cards: list[Card]
    array: bytes
    lines: list[bytes]


@pytest.fixture(scope="module")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Travelled:
    root = tmp_path_factory.mktemp("round trip")
    for row in VARIANTS:
        for image in row[4]:
            if not image.startswith(OUTSIDE):
                path = root / image.partition("###")[0]
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (900, 300), "red").save(path, "PNG")
    records = [written(number, row[1]) for number, row in enumerate(VARIANTS)]
    (root / "all.json").write_bytes(b"[\n" + b",\n".join(records) + b"\n]")
    import_dataset(create_workspace(root / "ws"), [root / "all.json"])
    workspace = open_workspace(root / "ws")
    run = score_dataset(workspace, FakeModel()).run_id
    store = Store(workspace)
    edition = read_dataset_info(workspace).fingerprint
    context = Context(workspace, store, Scope(run), workspace.bands, Filter(), edition)
    exported = {}
    for kind in ("llava", "jsonl"):
        subset = SubsetDefinition(kind, TopShare(1.0), run, text_only="keep", unscored="keep")
        result = export_subset(workspace, store, subset, format=kind)
        assert result.n_samples == len(VARIANTS)
        exported[kind] = next(result.folder.glob("samples.json*")).read_bytes()
    cards = read_cards(context, range(len(VARIANTS)))
    samples = list(read_samples(workspace))
    return Travelled(samples, cards, exported["llava"], exported["jsonl"].splitlines())


@pytest.mark.parametrize(
    "number", [pytest.param(number, id=row[0]) for number, row in enumerate(VARIANTS)]
)
def test_a_variant_survives_import_display_and_export(travelled: Travelled, number: int) -> None:
    _, record, _, status, images, lines = VARIANTS[number]
    original = written(number, record)
    sample, card = travelled.samples[number], travelled.cards[number]
    at_home = [image.replace("row=0", f"row={number}") for image in images]
    assert (sample.original, list(sample.images), told(sample)) == (original, at_home, lines)
    if status == "pending" and not any(image.startswith(OUTSIDE) for image in images):
        status = "scored"
        assert card["visnec"] == pytest.approx(0.5)
    elif status == "pending":
        assert card["status"] in ("bad_image", "missing_image", "refused_path")
        assert card["reason"]
        status = card["status"]
    assert (card["row_idx"], card["status"]) == (number, status)
    assert [image["path"] for image in card["images"]] == at_home
    shown = ["".join(part.get("text", "") for part in turn["parts"]) for turn in card["turns"]]
    assert shown == [turn.text for turn in sample.turns]
    assert travelled.lines[number] == original
    assert original in travelled.array


def test_the_exported_array_has_all_records_in_order(travelled: Travelled) -> None:
    originals = [sample.original for sample in travelled.samples]
    assert travelled.array == b"[\n" + b",\n".join(originals) + b"\n]\n"
    assert len(originals) > 50
