"""TRL trains on the same tokens as the collator's labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scoring.models import load_model
from scoring.training.collator import IGNORED, TrainingCollator
from tests.training.conftest import Export
from tests.training.test_trainer import load

pytestmark = pytest.mark.long
pytest.importorskip("trl", reason="TRL is not installed")
N_ROWS = 16


def labels_by_row(batch: dict[str, torch.Tensor]) -> list[list[tuple[int, int]]]:
    """(place, token id) of each label."""
    rows = []
    for labels in batch["labels"]:
        places = torch.nonzero(labels != IGNORED).flatten().tolist()
        rows.append([(place, int(labels[place])) for place in places])
    return rows


def test_sft_trainer_has_the_same_labels_and_takes_two_steps(
    export: Export, tmp_path: Path
) -> None:
    from trl import SFTConfig, SFTTrainer

    model = load_model("tiny-vlm", device="cpu")
    collator = TrainingCollator(model)
    dataset = load(export("above", "--for", "trl")).select(range(N_ROWS))
    arguments = SFTConfig(
        str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=N_ROWS // 2,
        assistant_only_loss=True,
        max_length=None,
        train_sampling_strategy="sequential",
        bf16=False,
        report_to="none",
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
    )
    trainer = SFTTrainer(
        model.network, arguments, train_dataset=dataset, processing_class=model.processor
    )
    theirs = [row for batch in trainer.get_train_dataloader() for row in labels_by_row(batch)]
    ours = labels_by_row(collator(list(dataset)))
    assert theirs == ours
    batch = collator(list(dataset)[: N_ROWS // 2])
    with torch.no_grad():
        expected = float(model.network(**batch).loss)
    with_ours = SFTTrainer(
        model.network,
        replace(arguments, dataset_kwargs={"skip_prepare_dataset": True}),
        collator,
        dataset,
        processing_class=model.processor,
    )
    batches = list(with_ours.get_train_dataloader())
    assert [row for batch in batches for row in labels_by_row(batch)] == ours
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(expected, abs=1e-4)
