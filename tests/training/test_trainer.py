"""``transformers.Trainer`` reads exports of the demo through the collator."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from scoring.dataset.records import read_samples
from scoring.errors import InputError
from scoring.models import load_model
from scoring.models.hf import HfModel
from scoring.training.collator import IGNORED, TrainingCollator
from scoring.training.weights import repeat_rows, weighted_sampler
from scoring.workspace import open_workspace
from tests.engine.test_families import TOLERANCE
from tests.training.conftest import Export
from tests.training.test_collator import row_losses

datasets = pytest.importorskip("datasets")
EMBEDDED = ("--images", "embed")


@pytest.fixture(scope="module")
def model() -> HfModel:
    return load_model("tiny-vlm", device="cpu")


def train(model: HfModel, dataset: Any, collator: TrainingCollator, folder: Path) -> Any:
    """Two steps of the real trainer; a changed copy of the model is not needed elsewhere."""
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        str(folder),
        max_steps=2,
        per_device_train_batch_size=8,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
    )
    trainer = Trainer(model.network, arguments, collator, dataset)
    trainer.train()
    return trainer


def expected_loss(rows: list[dict[str, Any]]) -> float:
    """The loss of a batch from its rows' stored losses: a mean over all their answer tokens."""
    total = sum(row["loss_multimodal"] * row["n_answer_tokens"] for row in rows)
    return float(total / sum(row["n_answer_tokens"] for row in rows))


@pytest.mark.parametrize("table", ["huggingface", "parquet"])
def test_labels_of_every_row_have_the_loss_that_the_run_stored(
    export: Export, model: HfModel, table: str
) -> None:
    rows = load(export("above", "--format", table, *EMBEDDED))
    assert len(rows) > 100
    collator = TrainingCollator(model)
    for start in range(0, len(rows), 16):
        batch = [rows[index] for index in range(start, min(start + 16, len(rows)))]
        collated = collator(batch)
        n_labels = (collated["labels"] != IGNORED).sum(dim=1).tolist()
        for row, loss, n in zip(batch, row_losses(model, collated), n_labels, strict=True):
            if row["status"] == "scored":
                assert n == row["n_answer_tokens"]
                assert loss == pytest.approx(row["loss_multimodal"], abs=TOLERANCE)
            else:
                assert (row["status"], row["images"]) == ("text_only", [])


def load(folder: Path) -> Any:
    return datasets.load_dataset(str(folder), split="train")


def test_trainer_runs_on_embedded_images(
    export: Export, tmp_path: Path, demo_workspace: Path
) -> None:
    model = load_model("tiny-vlm", device="cpu")
    dataset = load(export("above", "--format", "huggingface", *EMBEDDED))
    scored = dataset.filter(lambda row: row["status"] == "scored")
    trainer = train(model, scored, TrainingCollator(model), tmp_path / "out")
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(expected_loss(list(scored.select(range(8)))), abs=1e-4)
    assert all(map(math.isfinite, losses))


def test_the_trained_model_scores_without_saving_and_the_same_after(
    export: Export, tmp_path: Path
) -> None:
    model = load_model("tiny-vlm", device="cpu")
    folder = export("above", "--format", "jsonl", "--images", "copy")
    dataset, collator = load(folder), TrainingCollator(model, [folder / "images"])
    samples = [collator.encode(collator.read(dataset[index])) for index in range(6)]
    before = model.answer_losses(samples)
    train(model, dataset, collator, tmp_path / "out").save_model(str(tmp_path / "trained"))
    after = model.answer_losses(samples)
    assert any(abs(old - new).max() > 1e-4 for old, new in zip(before, after, strict=True))
    model.processor.save_pretrained(tmp_path / "trained")
    saved = load_model(str(tmp_path / "trained"), device="cpu").answer_losses(samples)
    for mine, other in zip(after, saved, strict=True):
        assert abs(mine - other).max() < TOLERANCE


def test_a_model_in_bfloat16_gets_its_pixels_in_bfloat16(export: Export) -> None:
    model = load_model("tiny-vlm", device="cpu", dtype="bfloat16")
    rows = load(export("above", "--format", "huggingface", *EMBEDDED))
    rows = rows.filter(lambda row: row["status"] == "scored").select(range(8))
    batch = TrainingCollator(model)(list(rows))
    assert batch["pixel_values"].dtype == torch.bfloat16
    with torch.no_grad():
        loss = float(model.network(**batch).loss)
    assert loss == pytest.approx(expected_loss(list(rows)), abs=0.1)


def test_an_adapter_in_training_counts_in_the_scores(export: Export) -> None:
    peft = pytest.importorskip("peft")
    model = load_model("tiny-vlm", device="cpu")
    rows = load(export("above", "--format", "huggingface", *EMBEDDED)).select(range(6))
    collator = TrainingCollator(model)
    samples = [collator.encode(collator.read(row)) for row in rows]
    adapted = peft.get_peft_model(
        model.network, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"])
    ).train()
    optimizer = torch.optim.AdamW(adapted.parameters(), lr=0.01)
    before = model.answer_losses(samples)
    for _ in range(2):
        adapted(**collator(list(rows))).loss.backward()
        optimizer.step()
    after = model.answer_losses(samples)
    assert any(abs(old - new).max() > 1e-3 for old, new in zip(before, after, strict=True))
    expected = row_losses(model, collator(list(rows)))
    assert [losses.mean() for losses in after] == pytest.approx(expected, abs=TOLERANCE)


def test_formats_give_the_same_batch(export: Export, model: HfModel, demo_workspace: Path) -> None:
    tables = [
        load(export("above", "--format", *options))
        for options in (
            ("parquet", *EMBEDDED),
            ("parquet", "--images", "copy"),
            ("messages", *EMBEDDED),
            ("messages", "--images", "copy"),
        )
    ]
    folder = export("above", "--format", "jsonl", "--images", "copy")
    records = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    inline = []
    for record in records:
        paths = record.get("image", [])
        images = [
            folder / "images" / path for path in ([paths] if isinstance(paths, str) else paths)
        ]
        encoded = [base64.b64encode(image.read_bytes()).decode() for image in images]
        inline.append({**record, "image": encoded} if encoded else record)
    workspace = open_workspace(demo_workspace)
    chosen = tables[0]["row_idx"][:12]
    samples = list(read_samples(workspace, chosen))
    sources = [*tables, load(folder), records, inline]
    batches = [
        TrainingCollator(model, [folder / "images"])([rows[i] for i in range(12)])
        for rows in sources
    ]
    batches.append(TrainingCollator(model, workspace.image_roots)(samples))
    for batch in batches[1:]:
        assert batch.keys() == batches[0].keys()
        for key, value in batch.items():
            assert torch.equal(value, batches[0][key]), key


@pytest.mark.parametrize("loader", ["datasets", "raw", "pil", "rgb8"])
def test_rows_of_tar_files_give_the_same_batch(
    export: Export, model: HfModel, demo_workspace: Path, loader: str
) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder = export("above", "--format", "webdataset", "--turns", "mask", "--turn-min", "0.5")
    if loader == "datasets":
        rows = list(load(folder))
    else:
        shards = sorted(map(str, folder.glob("*.tar")))
        tars = webdataset.WebDataset(shards, shardshuffle=False)
        rows = list(tars if loader == "raw" else tars.decode(loader))
    table = load(export("above", "--format", "parquet", *EMBEDDED, "--turns", "mask",
                        "--turn-min", "0.5"))  # fmt: skip
    by_row = {row["row_idx"]: row for row in table}
    assert sorted(int(row["__key__"]) for row in rows) == sorted(by_row)
    rows = [*rows[:12], *rows[-3:]]  # the last have no image
    collator = TrainingCollator(model)
    batch = collator(rows)
    expected = collator([by_row[int(row["__key__"])] for row in rows])
    assert batch.keys() == expected.keys()
    assert all(torch.equal(batch[key], expected[key]) for key in batch)


def test_a_tar_row_without_its_image_is_refused(model: HfModel) -> None:
    row = {"__key__": "0", "json": {"image": "gone.png", "conversations": TURNS}, "jpg": None}
    with pytest.raises(InputError, match=r"gone\.png"):
        TrainingCollator(model)([row])


def test_masked_answers_are_not_trained_on(export: Export, model: HfModel) -> None:
    masked = ("--turns", "mask", "--turn-min", "0.5")
    table = load(export("above", "--format", "parquet", *EMBEDDED, *masked))
    folder = export("above", "--format", "jsonl", "--images", "copy", *masked)
    lines = load(folder)
    whole = [{**row, "turn_mask": None} for row in table]
    partly = [i for i, row in enumerate(table) if not all(row["turn_mask"])]
    assert len(partly) >= 5
    collators = [TrainingCollator(model), TrainingCollator(model, [folder / "images"])]
    for index in partly:
        batches = [c([rows[index]]) for c, rows in zip(collators, (table, lines), strict=True)]
        labels, others = (batch["labels"] for batch in batches)
        assert torch.equal(labels, others)
        every = collators[0]([whole[index]])["labels"]
        kept = labels != IGNORED
        assert 0 < int(kept.sum()) < int((every != IGNORED).sum())
        assert torch.equal(labels[kept], every[kept])


def test_repeated_rows_are_those_of_the_export(export: Export) -> None:
    table = load(export("often", "--format", "parquet", "--weights", "column"))
    written = export("often", "--format", "ids", "--weights", "repeat") / "row_idx.txt"
    rows = repeat_rows(table["weight"], table["row_idx"])
    expected = list(map(int, written.read_text().split()))
    assert [table["row_idx"][position] for position in rows] == expected
    assert len(repeat_rows(table["weight"], size=50)) == 50


def test_a_sampler_draws_in_proportion_to_the_weights() -> None:
    drawn = Counter(weighted_sampler([0.0, 1.0, 3.0], size=8_000, seed=4))
    assert drawn[0] == 0
    assert drawn[2] / drawn[1] == pytest.approx(3, rel=0.1)
    assert list(weighted_sampler([1, 2, 3], seed=4)) == list(weighted_sampler([1, 2, 3], seed=4))
    assert len(weighted_sampler([1, 2, 3])) == 3


PICTURE = Image.new("RGB", (40, 30), (200, 30, 30))
TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red"}]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"id": 3, "image": "gone.png", "conversations": TURNS}, "id 3: .*gone.png"),
        ({"images": [None], "conversations": TURNS}, "None"),
        ({"images": [PICTURE, PICTURE], "conversations": TURNS}, "placeholder_mismatch"),
        ({"images": [PICTURE], "conversations": TURNS, "turn_mask": [False]}, "no answer token"),
        ({"images": [PICTURE], "conversations": TURNS, "turn_mask": [True, False]}, "mask of 2"),
        ({"images": [{"bytes": b"no image", "path": "a"}], "conversations": TURNS}, "not an image"),
        ({"image": "../secret.png", "conversations": TURNS}, "outside|in none"),
        ({"input": "a"}, "bad_record"),
        ({}, "bad_record"),
    ],
)
def test_a_record_that_cannot_be_trained_on_exactly_is_refused(
    model: HfModel, tmp_path: Path, record: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InputError, match=f"(?s)Cannot train on .*{reason}"):
        TrainingCollator(model, [tmp_path])([record])


def test_a_conversation_longer_than_the_model_is_refused(model: HfModel) -> None:
    turns = [TURNS[0], {"from": "gpt", "value": "red " * 20_000}]
    with pytest.raises(InputError, match=r"tokens, but the model accepts"):
        TrainingCollator(model)([{"images": [PICTURE], "conversations": turns}])


def test_a_folder_may_be_given_alone_and_must_exist(model: HfModel, tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")
    record = {"image": "a.png", "conversations": TURNS}
    alone, listed = (TrainingCollator(model, folder) for folder in (str(tmp_path), [tmp_path]))
    assert torch.equal(alone([record])["input_ids"], listed([record])["input_ids"])
    with pytest.raises(InputError, match="There is no image folder"):
        TrainingCollator(model, tmp_path / "none")


def test_messages_and_images_of_any_mode_are_read(model: HfModel) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "\nWhat?"}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": "Red"}]
    grey = PICTURE.convert("L")
    png = io.BytesIO()
    grey.save(png, "PNG")
    collator = TrainingCollator(model)
    batches = [
        collator([{"images": [image], **rest}])
        for image in (grey, grey.convert("RGB"), {"bytes": png.getvalue(), "path": None})
        for rest in ({"conversations": TURNS}, {"messages": messages})
    ]
    for batch in batches:
        assert all(torch.equal(value, batches[0][key]) for key, value in batch.items())
