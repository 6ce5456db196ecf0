"""Logits are computed in float32 from the unchanged weights, for every dtype."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from scoring.models import losses
from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget
from scoring.models.forward import LossEngine
from scoring.models.hf import HfModel
from scoring.models.losses import head_in_float32
from scoring.models.probing import measure_capabilities
from scoring.models.rows import single_sample_inputs
from scoring.samples import Role, Turn
from tests.engine.test_families import SMALL
from tests.families import family_model

TURNS = (Turn(Role.HUMAN, "what is it?", (0,)), Turn(Role.ASSISTANT, "two green squares"))
CAP = 3.0


def model_in(dtype: str) -> tuple[HfModel, Any, EncodedSample]:
    model = family_model("llava")
    network = deepcopy(model.network).to(getattr(torch, dtype))
    return model, network, model.encode(TURNS, [SMALL])


def expected(network: Any, sample: EncodedSample, capped: bool = False) -> np.ndarray:
    """Losses in float64 from the states (length, width) that the layers return in their dtype."""
    with torch.inference_mode():
        states = network.base_model(**single_sample_inputs(network, sample), use_cache=False)[0][0]
        logits = states.double() @ network.lm_head.weight.double().T
        logits = CAP * torch.tanh(logits / CAP) if capped else logits
        logp = torch.log_softmax(logits, dim=-1)
    places = [place for place, turn in enumerate(sample.turn_ids) if turn >= 0]
    return np.array([-float(logp[place - 1, sample.input_ids[place]]) for place in places])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_losses_equal_those_of_exact_logits(dtype: str) -> None:
    model, network, sample = model_in(dtype)
    engine = LossEngine(network, model.pad_id, model.capabilities, TokenBudget(4096))
    (found,) = engine.answer_losses([sample])
    assert found is not None
    np.testing.assert_allclose(found, expected(network, sample), atol=1e-5)
    before = network.lm_head(torch.ones(1, 64, dtype=network.dtype))
    assert before.dtype == network.dtype  # outside of scoring nothing has changed


def test_capped_logits_are_capped_in_float32() -> None:
    """Here the head is not separable, and the model's own forward computes the logits."""
    model, network, sample = model_in("bfloat16")
    original = network.forward

    def capped(*args: object, **options: object) -> Any:
        found = original(*args, **options)
        found.logits = CAP * torch.tanh(found.logits / CAP)
        return found

    network.forward = capped
    capabilities = measure_capabilities(network, model._encoder.encode, model.pad_id)
    assert capabilities.batched
    assert not capabilities.split_head
    engine = LossEngine(network, model.pad_id, capabilities, TokenBudget(4096))
    (found,) = engine.answer_losses([sample])
    assert found is not None
    np.testing.assert_allclose(found, expected(network, sample, capped=True), atol=1e-5)


def test_weights_are_converted_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, _ = model_in("bfloat16")
    states = torch.randn(5, 64).bfloat16()  # (positions, width)
    exact = states.float() @ network.lm_head.weight.float().T
    monkeypatch.setattr(
        losses, "_WEIGHTS_PER_CHUNK", 64 * 300
    )  # 800 rows of vocabulary in 3 pieces
    with torch.inference_mode(), head_in_float32(network):
        found = network.lm_head(states)
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-5)


def test_heads_other_than_a_plain_linear_layer_are_unchanged() -> None:
    _, network, _ = model_in("bfloat16")
    network.lm_head = torch.nn.Sequential(network.lm_head)
    with torch.inference_mode(), head_in_float32(network):
        assert network.lm_head(torch.ones(1, 64).bfloat16()).dtype == torch.bfloat16
