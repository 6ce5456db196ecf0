"""Measures, when a model is loaded, which shortcuts leave its losses as they are.

Four small samples go through the plain way, one at a time with all logits, and then through each
route; a route is taken only if the losses agree. In float32 they must agree to 1e-5 nats. In a
shorter format the same mathematics gives other roundings, so there the bound is a small multiple
of what rounding alone was seen to do, and no route is taken where that is large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.batching import TokenBudget
from scoring.losses import answer_token_losses
from scoring.models.base import EncodedSample
from scoring.models.capabilities import Capabilities
from scoring.models.forward import LossEngine, tree_limits
from scoring.models.rows import plan_rows
from scoring.prompting import PromptProblem
from scoring.samples import Role, Turn

EXACT = 1e-5  # nats, in float32
_ROUNDING = 0.05  # nats that rounding may move a loss by in a shorter format, at the most
_TIMES_ROUNDING = 3.0  # how far from the plain losses a route may be, in roundings
_ROOM = 1 << 20  # tokens: all probes in one batch

Encode = Callable[[Sequence[Turn], Sequence[Image.Image]], EncodedSample]


def measure_capabilities(model: Any, encode: Encode, pad_id: int) -> Capabilities:
    """The shortcuts that ``model`` takes without changing its losses.

    ``encode`` tokenises a conversation with its images. A route that fails in any way is not
    taken; a model that cannot read the probes takes none.
    """
    try:
        pictured, blind = _probes(encode)
    except PromptProblem:
        return Capabilities()
    probe = _Probe(model, pad_id, pictured, blind)
    return probe.measured()


def _probes(encode: Encode) -> tuple[list[EncodedSample], list[EncodedSample]]:
    """Two conversations about one image, and the same without it."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((288, 192), Image.Resampling.BICUBIC)
    talks = (
        (Turn(Role.HUMAN, "What is it?", (0,)), Turn(Role.ASSISTANT, "A field of many colours")),
        (
            Turn(Role.HUMAN, "Which of the two is left?", (0,)),
            Turn(Role.ASSISTANT, "one"),
            Turn(Role.HUMAN, "Are you sure of that?"),
            Turn(Role.ASSISTANT, "Yes, the other one stands to the right of it."),
        ),
    )
    key = object()
    pictured = [replace(encode(talk, [image]), image_key=key) for talk in talks]
    return pictured, [encode(talk, ()) for talk in talks]


class _Probe:
    """Runs the probes the plain way and by route, and compares."""

    def __init__(
        self,
        model: Any,
        pad_id: int,
        pictured: Sequence[EncodedSample],
        blind: Sequence[EncodedSample],
    ) -> None:
        self._model, self._pad_id = model, pad_id
        self._pictured, self._blind = pictured, blind
        self._plain = {id(one): plain_losses(model, one) for one in (*pictured, *blind)}
        self._limits = replace(tree_limits(model), worth=0.0)
        self._bound = EXACT

    def measured(self) -> Capabilities:
        """First the safe way in batches, which tells the rounding; then one shortcut at a time."""
        found = Capabilities(split_head=self._head_stands_alone())
        batched = replace(found, batched=True)
        rounding = self._farthest(batched)
        if self._model.dtype != torch.float32:
            self._bound = max(EXACT, min(_TIMES_ROUNDING * rounding, _ROUNDING))
        if rounding <= self._bound:
            found = batched
        for shortcut in ("maskless", "feature_cache", "tree"):
            tried = replace(found, **{shortcut: True})
            if self._farthest(tried) <= self._bound:
                found = tried
        return found

    def _farthest(self, capabilities: Capabilities) -> float:
        """Largest difference of a sample's mean loss from the plain way, in nats."""
        try:
            if capabilities.tree and not plan_rows(self._pictured, self._limits)[0].is_tree:
                return float("inf")  # the probes do not show what a tree does
            return max(
                self._distance(capabilities, group) for group in (self._pictured, self._blind)
            )
        except Exception:  # noqa: BLE001 whatever a family cannot do, it raises in its own way
            return float("inf")

    def _distance(self, capabilities: Capabilities, samples: Sequence[EncodedSample]) -> float:
        budget = TokenBudget(_ROOM)
        engine = LossEngine(self._model, self._pad_id, capabilities, budget, self._limits)
        differences = []
        for sample, losses in zip(samples, engine.losses(samples), strict=True):
            plain = self._plain[id(sample)]
            if losses is None or len(losses) != len(plain):
                return float("inf")
            differences.append(abs(float(losses.mean()) - float(plain.mean())))
        return float(np.max(differences))

    def _head_stands_alone(self) -> bool:
        """Whether the output embeddings turn the base model's hidden states into the logits."""
        try:
            with torch.inference_mode():
                inputs = _fed(self._model, self._blind[0])
                hidden = self._model.base_model(**inputs, use_cache=False)[0]
                logits = self._model.get_output_embeddings()(hidden)
                expected = self._model(**inputs, use_cache=False).logits
            return bool(torch.equal(logits, expected))
        except Exception:  # noqa: BLE001 as above
            return False


def plain_losses(model: Any, sample: EncodedSample) -> NDArray[np.float32]:
    """Losses of one sample by itself from all logits: what every route is held against."""
    with torch.inference_mode():
        inputs = _fed(model, sample)
        logits = model(**inputs, use_cache=False).logits[0]
        answers = torch.tensor([turn >= 0 for turn in sample.turn_ids], device=logits.device)
        answers[0] = False
        targets = inputs["input_ids"][0, answers]
        found: NDArray[np.float32] = (
            answer_token_losses(logits[:-1][answers[1:]], targets).cpu().numpy()
        )
    return found


def _fed(model: Any, sample: EncodedSample) -> dict[str, torch.Tensor]:
    ids = torch.tensor([sample.input_ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **sample.inputs}
    return {
        key: value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
        for key, value in inputs.items()
    }
