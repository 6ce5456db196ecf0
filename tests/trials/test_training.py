"""Units are trained from the same weights, in the order of their seed, and leave no trace."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from scoring.dataset.records import read_samples
from scoring.errors import InputError
from scoring.models import load_model
from scoring.models.hf import HfModel
from scoring.samples import Status
from scoring.training.samples import WorkspaceSamples
from scoring.trials import training
from scoring.trials.encoding_cache import CachingCollator
from scoring.trials.plan import TrainingSettings
from scoring.trials.training import (
    TrainingError,
    UnitStoppedError,
    UnitTrainer,
    find_frozen,
    linear_layers,
    loading_dtype,
    save_trained,
    training_device,
)
from scoring.workspace import Workspace, open_workspace
from tests.engine.test_families import LOADABLE, encoded
from tests.families import family_model
from tests.training.test_collator import collate

pytest.importorskip("accelerate")
SETTINGS = TrainingSettings(
    "tiny-vlm", "-", epochs=None, steps=3, learning_rate=1e-3, batch_size=4, lora_rank=4
)
LORA = replace(SETTINGS, adapter="lora")
N_SAMPLES = 24


@pytest.fixture(scope="module")
def workspace(demo_built: Path) -> Workspace:
    return open_workspace(demo_built)


@pytest.fixture(scope="module")
def rows(workspace: Workspace) -> list[int]:
    """Samples without a fault, also some without an image."""
    samples = [s for s in read_samples(workspace) if s.status is Status.TEXT_ONLY][:6]
    samples += [s for s in read_samples(workspace, range(60)) if s.status is Status.PENDING]
    return [sample.row_idx for sample in samples[:N_SAMPLES]]


@pytest.fixture(scope="module")
def model() -> HfModel:
    return load_model("tiny-vlm", device="cpu")


@pytest.fixture
def samples(workspace: Workspace, rows: list[int]) -> WorkspaceSamples:
    return WorkspaceSamples(workspace, np.sort(rows))


@pytest.fixture
def collator(model: HfModel, workspace: Workspace) -> CachingCollator:
    return CachingCollator(model, workspace)


def losses(model: HfModel, collator: CachingCollator, samples: WorkspaceSamples) -> np.ndarray:
    prepared = [collator.prepare(samples[index])[0] for index in range(8)]
    return np.concatenate([each for each in model.answer_losses(prepared) if each is not None])


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["full", "lora"])
def test_units_in_either_order_give_the_same_weights(
    model: HfModel, samples: WorkspaceSamples, collator: CachingCollator, settings: TrainingSettings
) -> None:
    trainer = UnitTrainer(model, settings, collator)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    config = model.network.config.to_dict()
    results: dict[tuple[int, int], np.ndarray] = {}
    for turn, order in enumerate([(1, 2), (2, 1)]):
        for seed in order:
            with trainer.train(samples, seed) as trained:
                results[turn, seed] = losses(model, collator, samples)
                assert trained.n_steps == 3
            after = model.network.state_dict()
            assert after.keys() == before.keys()
            assert all(torch.equal(after[name], value) for name, value in before.items())
    assert model.network.config.to_dict() == config
    assert not model.network.training
    assert all(parameter.grad is None for parameter in model.network.parameters())
    for seed in (1, 2):
        np.testing.assert_array_equal(results[0, seed], results[1, seed])
    assert np.abs(results[0, 1] - results[0, 2]).max() > 1e-4


def test_a_fresh_model_gives_the_same_unit(
    model: HfModel, samples: WorkspaceSamples, collator: CachingCollator, workspace: Workspace
) -> None:
    fresh = load_model("tiny-vlm", device="cpu")
    results = []
    for each in (model, fresh):
        trainer = UnitTrainer(each, LORA, CachingCollator(each, workspace))
        with trainer.train(samples, 3) as trained:
            results.append((losses(each, collator, samples).tolist(), trained.loss))
    assert results[0] == results[1]


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["full", "lora"])
def test_the_tower_is_frozen_and_the_rest_is_trained(
    model: HfModel, samples: WorkspaceSamples, collator: CachingCollator, settings: TrainingSettings
) -> None:
    before = {name: value.clone() for name, value in model.network.named_parameters()}
    with UnitTrainer(model, settings, collator).train(samples, 1) as trained:
        if settings.adapter:
            names = {n for n, p in trained.network.named_parameters() if p.requires_grad}
            changed = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in names}
            assert changed == set(linear_layers_of(model.network))
        else:
            now = dict(model.network.named_parameters())
            changed = {name for name, value in before.items() if not torch.equal(now[name], value)}
    assert any("multi_modal_projector" in name for name in changed)
    assert any("language_model.layers" in name for name in changed)
    assert not any("vision_tower" in name for name in changed)


def linear_layers_of(network: Any) -> list[str]:
    """Those of the model, while an adapter wraps them."""
    return [
        name.removesuffix(".base_layer")
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
        and ".lora_" not in name
        and "vision_tower" not in name
        and name != "lm_head"
    ]


def test_a_budget_in_epochs_counts_every_answer_token_once_an_epoch(
    model: HfModel, samples: WorkspaceSamples, collator: CachingCollator
) -> None:
    tokens = sum(len(collator.prepare(samples[i])[0].answer_ids) for i in range(N_SAMPLES))
    settings = replace(SETTINGS, epochs=2.0, steps=None, batch_size=7)
    with UnitTrainer(model, settings, collator).train(samples, 1) as trained:
        assert (trained.n_steps, trained.n_answer_tokens) == (2 * 4, 2 * tokens)


def test_weights_draw_samples_by_weight(
    model: HfModel, samples: WorkspaceSamples, workspace: Workspace
) -> None:
    seen: list[int] = []

    class Spy(CachingCollator):
        def prepare(self, record: Any) -> Any:
            seen.append(record.row_idx)
            return super().prepare(record)

    weights = [0.0] * N_SAMPLES
    weights[3] = weights[5] = 1.0
    with UnitTrainer(model, SETTINGS, Spy(model, workspace)).train(samples, 1, weights):
        pass
    assert set(seen) == {samples[3].row_idx, samples[5].row_idx}


def test_smaller_batches_are_accumulated_if_one_does_not_fit(
    model: HfModel,
    samples: WorkspaceSamples,
    collator: CachingCollator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with UnitTrainer(model, SETTINGS, collator).train(samples, 1) as whole:
        expected = losses(model, collator, samples)
    compute_loss = training._Trainer.compute_loss

    def run_out_of_memory(self: Any, network: Any, inputs: Any, *rest: Any, **options: Any) -> Any:
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError
        return compute_loss(self, network, inputs, *rest, **options)

    monkeypatch.setattr(training._Trainer, "compute_loss", run_out_of_memory)
    with UnitTrainer(model, SETTINGS, collator).train(samples, 1) as trained:
        assert (trained.n_steps, trained.n_answer_tokens) == (3, whole.n_answer_tokens)
        np.testing.assert_allclose(losses(model, collator, samples), expected, atol=1e-4)

    def never_fit(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(training._Trainer, "compute_loss", never_fit)
    with (
        pytest.raises(TrainingError, match="Not even one sample"),
        UnitTrainer(model, SETTINGS, collator).train(samples, 1),
    ):
        pass


def test_training_stops_within_a_step(
    model: HfModel, samples: WorkspaceSamples, collator: CachingCollator
) -> None:
    stop = threading.Event()
    steps: list[tuple[int, int]] = []

    def on_step(step: int, n_steps: int) -> None:
        steps.append((step, n_steps))
        stop.set()

    before = losses(model, collator, samples)
    trainer = UnitTrainer(model, SETTINGS, collator)
    with (
        pytest.raises(UnitStoppedError),
        trainer.train(samples, 1, on_step=on_step, stop=stop),
    ):
        pass
    assert steps == [(1, 3)]
    np.testing.assert_array_equal(losses(model, collator, samples), before)


def test_a_diverged_training_is_reported(
    model: HfModel, samples: WorkspaceSamples, collator: CachingCollator
) -> None:
    settings = replace(SETTINGS, learning_rate=1e30)
    with (
        pytest.raises(TrainingError, match=r"diverged.*--learning-rate"),
        UnitTrainer(model, settings, collator).train(samples, 1),
    ):
        pass


@pytest.mark.parametrize("settings", [SETTINGS, LORA], ids=["full", "lora"])
def test_a_trained_model_is_kept_on_request(
    model: HfModel,
    samples: WorkspaceSamples,
    collator: CachingCollator,
    tmp_path: Path,
    settings: TrainingSettings,
) -> None:
    with UnitTrainer(model, settings, collator).train(samples, 1) as trained:
        expected = losses(model, collator, samples)
        save_trained(trained, model, tmp_path / "kept")
    if settings.adapter:
        kept = load_model("tiny-vlm", device="cpu", adapter=str(tmp_path / "kept"))
    else:
        kept = load_model(str(tmp_path / "kept"), device="cpu")
    np.testing.assert_allclose(losses(kept, collator, samples), expected, atol=1e-5)


def test_bfloat16_trains_float32_weights(workspace: Workspace, samples: WorkspaceSamples) -> None:
    settings = replace(SETTINGS, dtype="bfloat16")
    assert (loading_dtype(settings), loading_dtype(replace(LORA, dtype="bfloat16"))) == (
        "float32",
        "bfloat16",
    )
    model = load_model("tiny-vlm", device="cpu", dtype="bfloat16")
    collator = CachingCollator(model, workspace)
    before = losses(model, collator, samples)
    adapted = UnitTrainer(model, replace(LORA, dtype="bfloat16"), collator)
    with adapted.train(samples, 1) as trained:
        dtypes = {p.dtype for p in trained.network.parameters() if p.requires_grad}
        assert dtypes == {torch.float32}
        assert np.abs(losses(model, collator, samples) - before).max() > 1e-3
    np.testing.assert_array_equal(losses(model, collator, samples), before)


@pytest.mark.parametrize(
    ("settings", "missing", "named"),
    [(SETTINGS, "accelerate", "accelerate"), (LORA, "peft", "peft")],
)
def test_missing_packages_are_named_with_the_extra(
    model: HfModel,
    collator: CachingCollator,
    monkeypatch: pytest.MonkeyPatch,
    settings: TrainingSettings,
    missing: str,
    named: str,
) -> None:
    monkeypatch.setattr(
        training, "find_spec", lambda name: None if name == missing else util.find_spec(name)
    )
    with pytest.raises(InputError, match=rf"need {named}, .*pip install 'visnec-studio\[trial\]'"):
        UnitTrainer(model, settings, collator)


@pytest.mark.parametrize(("device", "expected"), [("cpu", "cpu"), ("cuda:0", "cuda")])
def test_the_device_is_the_trainers(device: str, expected: str) -> None:
    assert training_device(device) == expected


def test_another_gpu_is_refused_with_the_way_to_choose_it() -> None:
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES=1"):
        training_device("cuda:1")


def test_a_sample_that_is_gone_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="1 samples are not in the dataset"):
        WorkspaceSamples(workspace, np.array([1, 10**6]))


@pytest.mark.parametrize("name", LOADABLE)
def test_a_tower_is_found_and_a_projector_is_trained(name: str) -> None:
    network = family_model(name).network
    frozen = find_frozen(network)
    decoder = set(network.get_decoder().modules())
    trained = {n: m for n, m in network.named_modules() if n not in frozen and n}
    outside = [m for m in trained.values() if m not in decoder and len(list(m.parameters(False)))]
    assert outside  # the projector
    assert decoder <= set(trained.values())
    assert not frozen & set(linear_layers(network))


@pytest.mark.long
@pytest.mark.parametrize("name", LOADABLE)
def test_a_new_adapter_changes_nothing_and_gets_gradients(name: str) -> None:
    pytest.importorskip("peft")
    model = family_model(name)
    batch = collate(model, encoded(name, True)[:1])
    before = sum_of_losses(model.answer_losses(encoded(name, True)))
    with training._trainable(model.network, LORA, 1) as network:
        assert sum_of_losses(model.answer_losses(encoded(name, True))) == pytest.approx(before)
        network.train()(**batch).loss.backward()
        trained = [p for p in network.parameters() if p.requires_grad]
        assert sum(float(p.grad.abs().sum()) for p in trained if p.grad is not None) > 0
    assert sum_of_losses(model.answer_losses(encoded(name, True))) == before


def sum_of_losses(arrays: Sequence[np.ndarray | None]) -> float:
    return sum(float(each.sum()) for each in arrays if each is not None)
