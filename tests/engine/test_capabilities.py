"""The shortcuts of the engine: exact for each family that uses them, refused where they are not."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scoring.models import probing
from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget
from scoring.models.capabilities import Capabilities
from scoring.models.forward import LossEngine, Losses, short_length, tree_limits
from scoring.models.hf import HfModel
from scoring.models.memory import cpu_token_budget
from scoring.models.rows import TreeLimits, plan_rows
from scoring.samples import Role, Turn
from tests.engine.test_families import FAMILIES, SMALL, TALL, WIDE
from tests.families import family_model

ROOM = 1 << 20
ALL = Capabilities(*[True] * len(fields(Capabilities)))
NO_TREE = {"gemma3", "aya_vision", "mllama"}  # both ways within images; a short window; crosswise
QUESTIONS = [
    ("what colour is it?", "red", (WIDE,)),
    ("how many shapes are there?", "two green squares " * 8, (WIDE,)),
    ("what are the two?", "a circle and a digit", (TALL, SMALL)),
    ("what is left?", "no", (TALL, SMALL)),
    ("is it blue?", "yes", (SMALL,)),
]


def samples_of(model: HfModel, with_images: bool = True) -> list[EncodedSample]:
    found = []
    for question, answer, images in QUESTIONS:
        at = (0,) * len(images)
        talk = (Turn(Role.HUMAN, question, at), Turn(Role.ASSISTANT, answer))
        found.append(model.encode(talk, images if with_images else ()))
    return found


def farthest(found: list[Losses | None], plain: list[Losses]) -> float:
    """Largest difference of a token's loss from the plain one."""
    gaps = []
    for losses, expected in zip(found, plain, strict=True):
        assert losses is not None
        gaps.append(np.abs(losses - expected).max())
    return float(max(gaps))


@pytest.mark.parametrize("name", FAMILIES)
def test_each_shortcut_that_a_family_uses_is_exact(name: str) -> None:
    model = family_model(name)
    own = model.capabilities
    routes = [Capabilities(), own]
    routes += [
        replace(own, **{left_out: False})
        for left_out in (field.name for field in fields(own) if field.name != "batched")
    ]
    limits = replace(tree_limits(model.network), min_shared=0.0, width=ROOM)
    for with_images in (True, False):
        samples = samples_of(model, with_images)
        plain = [probing.plain_losses(model.network, sample) for sample in samples]
        for route in routes:
            engine = LossEngine(model.network, model.pad_id, route, TokenBudget(ROOM), limits)
            assert farthest(engine.answer_losses(samples), plain) < 1e-5, route


@pytest.mark.parametrize("name", FAMILIES)
def test_shortcuts_of_each_family(name: str) -> None:
    found = family_model(name).capabilities
    assert found.batched
    assert found.maskless
    assert found.split_head
    assert found.short_last_layer
    assert found.feature_cache == (name != "mllama")
    assert found.tree == found.causal_beginning == (name not in NO_TREE)


def measured_in(name: str, dtype: str) -> Capabilities:
    model = family_model(name)
    network = deepcopy(model.network).to(getattr(torch, dtype))
    return probing.measure_capabilities(network, model._encoder.encode, model.pad_id)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gemma3", "aya_vision"])
def test_a_tree_that_would_be_wrong_is_detected(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the limit of the window the probes form a tree, and the measurement refuses it."""
    limits = tree_limits(family_model(name).network)
    assert limits.window is not None
    open_limits = replace(limits, window=None)
    monkeypatch.setattr(probing, "tree_limits", lambda _: open_limits)
    found = measured_in(name, dtype)
    assert not found.tree
    assert found.maskless


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_last_layer_that_other_layers_use_is_not_shortened(dtype: str) -> None:
    """The layer after it mixes the tokens slightly: too little for the tolerance of bfloat16."""
    model = family_model("llava")
    network = deepcopy(model.network).to(getattr(torch, dtype))
    network.get_decoder().norm.register_forward_hook(
        lambda _, __, output: output + 1e-3 * output.cumsum(1)
    )
    found = probing.measure_capabilities(network, model._encoder.encode, model.pad_id)
    assert found.batched
    assert not found.short_last_layer


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_formats_use_the_shortcuts_too(dtype: str) -> None:
    assert measured_in("llava", dtype) == ALL


def test_a_long_sample_changes_nothing_for_short_ones() -> None:
    """longrope uses other frequencies for a whole batch if one row is long."""
    model = family_model("llava")
    config = deepcopy(model.network.config)
    config.text_config.rope_parameters = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 155,
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
    }
    network = type(model.network)(config).eval()
    network.load_state_dict(model.network.state_dict())
    assert short_length(network) == 155
    assert short_length(model.network) is None
    samples = samples_of(model)
    lengths = sorted(len(one.input_ids) for one in samples)
    assert lengths[0] < 155 < lengths[-1]
    plain = [probing.plain_losses(network, sample) for sample in samples]
    engine = LossEngine(network, model.pad_id, ALL, TokenBudget(ROOM))
    assert farthest(engine.answer_losses(samples), plain) < 1e-5
    usual = [probing.plain_losses(model.network, sample) for sample in samples]
    assert farthest(usual, plain) > 1e-3


def test_images_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = family_model("llava")
    seen: list[int] = []
    original = model.network.base_model.get_image_features

    def counted(pixel_values: torch.Tensor, **more: object) -> object:
        seen.append(len(pixel_values))
        return original(pixel_values=pixel_values, **more)

    samples = samples_of(model)
    monkeypatch.setattr(model.network.base_model, "get_image_features", counted)
    engine = LossEngine(model.network, 0, Capabilities(feature_cache=True), TokenBudget(1))
    engine.answer_losses(samples)
    assert sorted(seen) == [1, 1, 2]  # WIDE, SMALL, and the pair of TALL and SMALL


def test_a_tree_that_does_not_fit_is_split_and_lowers_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = family_model("llava")
    samples = samples_of(model, with_images=False)
    budget = TokenBudget(ROOM)
    limits = TreeLimits(width=ROOM, min_shared=0.0)
    engine = LossEngine(model.network, 0, model.capabilities, budget, limits)
    whole = plan_rows(samples, limits)
    assert [len(row.members) for row in whole] == [5]
    original = engine._batch_inputs

    def short_of_memory(rows, *rest):  # type: ignore[no-untyped-def]
        if sum(map(len, rows)) >= len(whole[0]):
            raise torch.OutOfMemoryError("the message of a device")
        return original(rows, *rest)

    monkeypatch.setattr(engine, "_batch_inputs", short_of_memory)
    plain = [probing.plain_losses(model.network, sample) for sample in samples]
    assert farthest(engine.answer_losses(samples), plain) < 1e-5
    assert budget.tokens <= len(whole[0]) // 2


def test_a_sample_that_never_fits_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = family_model("llava")
    engine = LossEngine(model.network, 0, model.capabilities, TokenBudget(ROOM))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("the message of a device")

    monkeypatch.setattr(engine, "_batch_inputs", full)
    assert engine.answer_losses(samples_of(model)) == [None] * 5


def test_a_cpu_gets_batches_just_large_enough_to_hide_python() -> None:
    def budget(layers: int, width: int) -> int:
        text = SimpleNamespace(num_hidden_layers=layers, hidden_size=width)
        config = SimpleNamespace(get_text_config=lambda: text)
        return cpu_token_budget(SimpleNamespace(config=config))

    assert budget(4, 128) == 762  # 6e8 / (12 * 4 * 128 * 128)
    assert budget(2, 64) == 1024
    assert budget(32, 4096) == 128
