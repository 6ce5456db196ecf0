"""Measures, when a model is loaded, which shortcuts leave its losses as they are.

Four small samples go through the plain way, one at a time with all logits, and then through each
route; a route is taken only if the losses agree. In float32 they must agree to 1e-5 nats. In a
shorter format the same mathematics gives other roundings, so there the bound is wider, and what
must not matter to a route is changed as well: the padding, the other branches of a tree, the last
of an image's features to what stands before it. Nothing may move then, at any precision. And what
a tree takes to be seen must be: in each layer, the first token by the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.engine.batching import TokenBudget
from scoring.engine.losses import answer_token_losses
from scoring.engine.prompting import PromptProblem
from scoring.models.base import EncodedSample
from scoring.models.capabilities import Capabilities
from scoring.models.features import VisionTower
from scoring.models.forward import LossEngine, Losses, tree_limits
from scoring.models.last_layer import last_mlp_at
from scoring.models.memory import LEAST_GPU_TOKENS, cpu_token_budget, gpu_token_budget
from scoring.models.rows import plan_rows
from scoring.samples import Role, Turn

EXACT = 1e-5  # nats, in float32
_ROUNDED = 0.05  # nats per answer token that bfloat16's and float16's rounding may move a mean by
_ROOM = 1 << 20  # tokens: all probes in one batch
_SHORTCUTS = (
    "batched",
    "maskless",
    "feature_cache",
    "tree",
    "causal_beginning",
    "short_last_layer",
)
_COPIES = 8  # of the longest probe, in the batch whose memory is measured

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


def measure_token_budget(
    model: Any, encode: Encode, pad_id: int, capabilities: Capabilities
) -> int:
    """Padded tokens of a batch for the device that ``model`` is on."""
    if model.device.type != "cuda":
        return cpu_token_budget(model)
    try:
        longest = max(_probes(encode)[0], key=lambda sample: len(sample.input_ids))
    except PromptProblem:
        return LEAST_GPU_TOKENS
    copies = [replace(longest, image_key=object()) for _ in range(_COPIES)]
    engine = LossEngine(model, pad_id, replace(capabilities, tree=False), TokenBudget(_ROOM))
    tokens = _COPIES * len(longest.input_ids)
    return gpu_token_budget(model.device, tokens, lambda: engine.losses(copies))


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
        self._limits = replace(tree_limits(model), worth=0.0, width=_ROOM)  # a tree at any cost
        self._exact = model.dtype == torch.float32
        self._bound = EXACT if self._exact else _ROUNDED

    def measured(self) -> Capabilities:
        """First the safe way in batches, then one shortcut at a time on top of the others."""
        found = Capabilities(split_head=self._head_stands_alone())
        for shortcut in _SHORTCUTS:
            if shortcut == "causal_beginning" and not found.tree:
                continue
            tried = replace(found, **{shortcut: True})
            if self._farthest(tried) <= self._bound and (self._exact or self._unmoved(tried)):
                found = tried
        return found

    def _unmoved(self, capabilities: Capabilities) -> bool:
        """Whether what must not matter does not: see the module's text."""
        try:
            if capabilities.short_last_layer and not self._rest_is_unseen():
                return False
            if capabilities.tree:
                causal = self._branches_apart(capabilities) and self._image_is_causal()
                return causal and self._beginning_is_seen()
            return self._padding_is_unseen(capabilities)
        except Exception:  # noqa: BLE001 as in _farthest
            return False

    def _padding_is_unseen(self, capabilities: Capabilities) -> bool:
        found = [
            LossEngine(self._model, pad_id, capabilities, TokenBudget(_ROOM)).losses(self._pictured)
            for pad_id in (self._pad_id, self._pictured[0].input_ids[-1])
        ]
        return _same(*found)

    def _rest_is_unseen(self) -> bool:
        """Whether nobody looks at what the last MLP gives for other tokens than the chosen."""
        states = []
        for filler in (0.0, 1.0):
            inputs = _fed(self._model, self._blind[0])
            places = torch.arange(0, inputs["input_ids"].shape[1], 2, device=self._model.device)
            with torch.inference_mode(), last_mlp_at(self._model, places, filler):
                states.append(self._model.base_model(**inputs, use_cache=False)[0][0, places])
        return bool(torch.equal(*states))

    def _branches_apart(self, capabilities: Capabilities) -> bool:
        """Each probe keeps its losses when the other one's branch is turned around."""
        before = self._losses(capabilities, self._pictured)
        shared = plan_rows(self._pictured, self._limits)[0].shared
        first, second = self._pictured
        one = self._losses(capabilities, [_turned(first, shared), second])[1]
        other = self._losses(capabilities, [first, _turned(second, shared)])[0]
        return _same(before, [other, one])

    def _image_is_causal(self) -> bool:
        """Whether an image's tokens are computed as those of text are: each from those before."""
        tower, sample = VisionTower(self._model), self._pictured[0]
        place = max(at for at, token in enumerate(sample.input_ids) if token == tower.image_token)
        with torch.inference_mode():
            features = tower.encode([sample])
            inputs = _fed(self._model, sample)
            for key in tower.replaced_inputs(list(inputs)):
                inputs.pop(key)
            states = []
            for last in (features[0], features[0].with_last_changed()):
                ready = tower.packed([last])
                found = self._model.base_model(**inputs, mm_encoder_outputs=ready, use_cache=False)
                states.append(found[0][0, :place])
        return bool(torch.equal(*states))

    def _beginning_is_seen(self) -> bool:
        """Whether every layer looks back to the first token: a tree's mask knows no window."""
        longest = max(self._pictured, key=lambda sample: len(sample.input_ids))
        seen = []

        def look(layer: torch.nn.Module, args: Any, options: dict[str, Any], output: Any) -> None:
            changed = args[0].clone()
            changed[:, 0] *= -1
            again = layer.forward(changed, *args[1:], **options)
            pair = [found[0] if isinstance(found, tuple) else found for found in (output, again)]
            seen.append(not torch.equal(*(states[0, -1] for states in pair)))

        layers = self._model.get_decoder().layers
        hooks = [layer.register_forward_hook(look, with_kwargs=True) for layer in layers]
        try:
            with torch.inference_mode():
                self._model.base_model(**_fed(self._model, longest), use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return len(seen) == len(layers) and all(seen)

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
        differences = []
        for sample, losses in zip(samples, self._losses(capabilities, samples), strict=True):
            plain = self._plain[id(sample)]
            if losses is None or len(losses) != len(plain):
                return float("inf")
            differences.append(abs(float(losses.mean()) - float(plain.mean())))
        return float(np.max(differences))

    def _losses(
        self, capabilities: Capabilities, samples: Sequence[EncodedSample]
    ) -> list[Losses | None]:
        budget = TokenBudget(_ROOM)
        engine = LossEngine(self._model, self._pad_id, capabilities, budget, self._limits)
        return engine.losses(samples)

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


def _same(before: Sequence[Losses | None], after: Sequence[Losses | None]) -> bool:
    """Whether the losses are equal to what float32 can tell."""
    return all(
        one is not None and other is not None and bool(np.allclose(one, other, rtol=0, atol=EXACT))
        for one, other in zip(before, after, strict=True)
    )


def _turned(sample: EncodedSample, shared: int) -> EncodedSample:
    """``sample`` with its own tokens in reverse, except the first, which decides their order."""
    ids = sample.input_ids
    return replace(sample, input_ids=ids[: shared + 1] + ids[shared + 1 :][::-1])


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
