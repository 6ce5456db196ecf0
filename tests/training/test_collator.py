"""Labels equal the scored answer tokens, and their cross-entropy the stored losses."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from scoring.models import load_model
from scoring.models.base import EncodedSample
from scoring.models.hf import HfModel
from scoring.samples import Role, Turn
from scoring.training.collator import (
    IGNORED,
    TrainingCollator,
    answer_labels,
    collate_training,
)
from tests.engine.test_families import (
    LOADABLE,
    TOLERANCE,
    WIDE,
    answer_places,
    encoded,
    talks_of,
)
from tests.families import family_model

ONE_SHAPE = {"mllama", "perception_lm"}
"""Families whose batches need images of one shape: the text of the first attends to the padding of
images and to absent ones, the second fails."""


def label_places(labels: torch.Tensor) -> list[int]:
    return torch.nonzero(labels != IGNORED).flatten().tolist()


def collate(model: HfModel, samples: list[EncodedSample]) -> dict[str, torch.Tensor]:
    return collate_training(samples, pad_id=model.pad_id, dtype=model.network.dtype)


def row_losses(model: HfModel, batch: dict[str, torch.Tensor]) -> list[float]:
    """The mean cross-entropy of each row's labels, from all logits."""
    labels = batch["labels"]
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        logits = model.network(**inputs).logits.float()  # (batch, longest, vocabulary)
    losses = cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
    counts = (labels[:, 1:] != IGNORED).sum(dim=1)
    return (losses.sum(dim=1) / counts).tolist()


def mean_losses(model: HfModel, samples: list[EncodedSample]) -> list[float]:
    """``loss_multimodal`` of each, as the scorer computes it."""
    return [float(losses.mean()) for losses in model.answer_losses(samples) if losses is not None]


@pytest.mark.parametrize("name", LOADABLE)
def test_labels_are_the_scored_answer_tokens(name: str) -> None:
    model, seen, blind = family_model(name), encoded(name, True), encoded(name, False)
    batch = collate_training([*seen, *blind], pad_id=model.pad_id)
    talks = [talk for talk, _ in talks_of(name)]
    for row, (talk, sample) in enumerate(zip([*talks, *talks], [*seen, *blind], strict=True)):
        ids, labels = batch["input_ids"][row], batch["labels"][row]
        places = answer_places(name, list(sample.input_ids), talk)  # by a search for their text
        assert label_places(labels) == places
        assert tuple(labels[places].tolist()) == tuple(ids[places].tolist()) == sample.answer_ids
        n_tokens = int(batch["attention_mask"][row].sum())
        assert tuple(ids[:n_tokens].tolist()) == sample.input_ids


@pytest.mark.parametrize("name", LOADABLE)
def test_cross_entropy_of_the_labels_is_the_loss_of_the_sample(name: str) -> None:
    model = family_model(name)
    for sample in [*encoded(name, True), *encoded(name, False)]:
        batch = collate(model, [sample])
        with torch.no_grad():
            loss = float(model.network(**batch).loss)
        assert loss == pytest.approx(mean_losses(model, [sample])[0], abs=TOLERANCE)


@pytest.mark.parametrize("name", LOADABLE)
def test_rows_of_a_mixed_batch_have_their_own_losses(name: str) -> None:
    """Different lengths, one, two and no images."""
    model = family_model(name)
    samples = [*encoded(name, True), *encoded(name, False)]
    if not model.capabilities.batched:  # samples of a batch change each other's losses
        samples = samples[:1]
    if name in ONE_SHAPE:
        samples = samples[:2]
    losses = row_losses(model, collate(model, samples))
    np.testing.assert_allclose(losses, mean_losses(model, samples), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", LOADABLE)
def test_a_step_of_training_changes_the_scores_of_the_same_model(name: str) -> None:
    model = load_model(model_name(name), device="cpu")
    samples = [*encoded(name, True)[:2], *encoded(name, False)[:1]]
    before = mean_losses(model, samples)
    network = model.network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    for sample in samples:
        network(**collate(model, [sample])).loss.backward()
    optimizer.step()
    after = mean_losses(model, samples)
    assert not network.training
    assert np.abs(np.subtract(after, before)).max() > 1e-4


def model_name(name: str) -> str:
    return family_model(name).info.name


def test_a_masked_answer_has_no_labels() -> None:
    sample = EncodedSample((5, 6, 7, 8, 9), (-1, 0, 0, -1, 1))
    expected: dict[Any, list[int]] = {
        None: [IGNORED, 6, 7, IGNORED, 9],
        (True, False): [IGNORED, 6, 7, IGNORED, IGNORED],
        (False, True): [IGNORED, IGNORED, IGNORED, IGNORED, 9],
        (False, False): [IGNORED] * 5,
    }
    assert {mask: answer_labels(sample, mask).tolist() for mask in expected} == expected


def test_batches_that_are_not_exact_are_named() -> None:
    collator = TrainingCollator(family_model("mllama"))
    turns = [{"from": "human", "value": "<image>what?"}, {"from": "gpt", "value": "red"}]
    seen = {"images": [WIDE], "conversations": turns}
    blind = {"conversations": [{"from": "human", "value": "hi"}, turns[1]]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collator([seen, seen])
        collator([blind, blind])
    with pytest.warns(UserWarning, match="family 'mllama'.* batch size of 1"):
        batch = collator([seen, blind])
    assert math.isfinite(family_model("mllama").network(**batch).loss.item())


def test_a_batch_is_padded_on_the_right_and_keeps_its_pixels() -> None:
    model = family_model("llava")
    short, long = encoded("llava", False)[0], encoded("llava", True)[2]
    batch = collate_training([short, long], pad_id=7, dtype=torch.bfloat16)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "pixel_values"}
    n_tokens = len(short.input_ids)
    assert batch["input_ids"][0, n_tokens:].unique().tolist() == [7]
    assert batch["attention_mask"].sum(dim=1).tolist() == [n_tokens, len(long.input_ids)]
    assert batch["labels"][0, n_tokens:].unique().tolist() == [IGNORED]
    assert batch["pixel_values"].shape[0] == 2  # the images of one sample
    assert batch["pixel_values"].dtype == torch.bfloat16
    assert batch["input_ids"].dtype == torch.int64
    assert model.pad_id == 0


def test_samples_without_an_image_can_fill_a_batch() -> None:
    model = family_model("qwen2_vl")
    talks = [(Turn(Role.HUMAN, "hi"), Turn(Role.ASSISTANT, "yes " * n)) for n in (1, 5)]
    samples = [model.encode(talk, ()) for talk in talks]
    losses = row_losses(model, collate(model, samples))
    np.testing.assert_allclose(losses, mean_losses(model, samples), atol=TOLERANCE, rtol=0)
