"""Measures, when a model is loaded, which shortcuts leave its losses as they are.

A few samples about one image are run one at a time with all logits, which is the reference, and
then with each shortcut; a shortcut is used only if the losses agree, per token and in the mean.
The set that was found is then checked on a larger batch: different pictures of several sizes.
Where it fails there, each shortcut is measured again on that batch too.

In a shorter format than float32 the same mathematics rounds differently, so the bound is wider
there, and what must not matter to a shortcut is changed as well: the padding, the other branches
of a tree, the last of an image's features. Nothing may move then, at any precision. At every
precision the model must read the same sample alike in each row of a batch, bit for bit, because a
dependence on the row may be too small to see in a batch of the probe's size and grow with the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.errors import ModelError
from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget
from scoring.models.capabilities import Capabilities
from scoring.models.collate import input_device, single_sample_inputs
from scoring.models.features import VisionTower
from scoring.models.forward import LossEngine, Losses, tree_limits
from scoring.models.head import head_in_float32
from scoring.models.last_layer import limit_last_mlp
from scoring.models.loading import supported_families
from scoring.models.losses import answer_token_losses
from scoring.models.memory import LEAST_GPU_TOKENS, cpu_token_budget, gpu_token_budget
from scoring.models.prompting import PromptProblem
from scoring.models.rows import plan_rows
from scoring.samples import Role, Turn

EXACT = 1e-5  # nats that the mean of a sample may differ by in float32
_EXACT_TOKEN = 5e-5  # and a single token
_ROUNDED = 0.05  # nats per answer token that bfloat16's and float16's rounding may move a mean by
_ROUNDED_TOKEN = 0.25  # and a single token
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
_COMMON_SIZE = (160, 120)
_SIZES = (*[_COMMON_SIZE] * 8, (120, 160), (224, 112))
_ROWS = 11  # rows of one sample; a number that no other dimension is likely to have
_LONGEST_REASON = 300

Encode = Callable[[Sequence[Turn], Sequence[Image.Image]], EncodedSample]


def measure_capabilities(model: Any, encode: Encode, pad_id: int) -> Capabilities:
    """Return the shortcuts that ``model`` can use without changing its losses.

    ``encode`` tokenises a conversation with its images. A shortcut that fails in any way is not
    used; a model that cannot read the probes uses none.

    Raises:
        ModelError: The model fails on a single sample without any shortcut.
    """
    if model.config.is_encoder_decoder:
        raise _unusable(model, "it has an encoder and a decoder, and only decoders are scored")
    try:
        small, large = _small_probes(encode), _large_probes(encode)
    except PromptProblem:
        return Capabilities()
    return _Probe(model, pad_id, small, large).measured()


def measure_token_budget(
    model: Any, encode: Encode, pad_id: int, capabilities: Capabilities
) -> int:
    """Padded tokens of a batch for the device that ``model`` is on."""
    if input_device(model).type != "cuda":
        return cpu_token_budget(model)
    try:
        longest = max(_small_probes(encode)[0], key=lambda sample: len(sample.input_ids))
    except PromptProblem:
        return LEAST_GPU_TOKENS
    copies = [replace(longest, image_key=object()) for _ in range(_COPIES)]
    engine = LossEngine(model, pad_id, replace(capabilities, tree=False), TokenBudget(_ROOM))
    tokens = _COPIES * len(longest.input_ids)
    return gpu_token_budget(input_device(model), tokens, lambda: engine.losses(copies))


Probes = tuple[list[EncodedSample], list[EncodedSample]]
"""Samples with their images, and the same without them."""


def _small_probes(encode: Encode) -> Probes:
    """Return two conversations about one image."""
    image = _noise(0, (288, 192))
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


def _large_probes(encode: Encode) -> Probes:
    """Return questions about different pictures; eight of them have the same size.

    Some families only run images of one size in one batch.
    """
    pictured, blind = [], []
    for number, size in enumerate(_SIZES):
        question = Turn(Role.HUMAN, f"How many of the {number} shapes are red?", (0,))
        talk = (question, Turn(Role.ASSISTANT, " and ".join(["two"] * (1 + number % 4))))
        pictured.append(replace(encode(talk, [_noise(number, size)]), image_key=object()))
        blind.append(encode(talk, ()))
    return pictured, blind


def _noise(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


class _FirstLayerSeen(Exception):
    """Ends a forward pass at the first layer, whose inputs are all that was wanted."""


class _Probe:
    """Runs the probes one at a time and with shortcuts, and compares."""

    def __init__(self, model: Any, pad_id: int, small: Probes, large: Probes) -> None:
        self._model, self._pad_id = model, pad_id
        self._pictured, self._blind = small
        self._small, self._large = small, large
        try:
            self._plain = {
                id(sample): plain_losses(model, sample)
                for samples in (*small, *large)
                for sample in samples
            }
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            raise _unusable(model, f"it fails on a short test conversation ({reason})") from error
        self._limits = replace(tree_limits(model), worth=0.0, width=_ROOM)  # a tree at any cost
        self._exact = model.dtype == torch.float32

    def measured(self) -> Capabilities:
        """Return the shortcuts that hold; see the module's text for the order of the checks."""
        found = self._accepted(self._small, every_row=False)
        if self._agrees(found, self._large) and self._row_is_unseen(found):
            return found
        return self._accepted((*self._small, *self._large), every_row=True)

    def _accepted(self, groups: Sequence[list[EncodedSample]], *, every_row: bool) -> Capabilities:
        """First the safe way in batches, then one shortcut at a time on top of the others."""
        found = Capabilities(split_head=self._head_stands_alone())
        for shortcut in _SHORTCUTS:
            if shortcut == "causal_beginning" and not found.tree:
                continue
            tried = replace(found, **{shortcut: True})
            if (
                self._agrees(tried, groups)
                and (self._exact or self._unmoved(tried))
                and (not every_row or self._row_is_unseen(tried))
            ):
                found = tried
        return found

    def _row_is_unseen(self, capabilities: Capabilities) -> bool:
        """Whether the first layer gets the same inputs for one sample in each row of a batch.

        Compared are the positions, the mask and the embeddings of text, which are looked up and
        not computed in sums whose order could differ between rows.
        """
        if not capabilities.batched:
            return True
        try:
            return all(self._reads_rows_alike(capabilities, group[0]) for group in self._large)
        except Exception:  # noqa: BLE001 as in _agrees
            return False

    def _reads_rows_alike(self, capabilities: Capabilities, sample: EncodedSample) -> bool:
        image = VisionTower(self._model).image_token
        is_text = torch.tensor([token != image for token in sample.input_ids])
        seen: list[torch.Tensor] = []

        def look(_: torch.nn.Module, args: Any, options: dict[str, Any]) -> None:
            hidden = args[0] if args else options["hidden_states"]  # (rows, length, width)
            seen.append(hidden[:, is_text.to(hidden.device)])
            for name in ("position_embeddings", "position_ids", "attention_mask"):
                seen.extend(_tensors(options.get(name)))
            raise _FirstLayerSeen

        hook = self._model.get_decoder().layers[0].register_forward_pre_hook(look, with_kwargs=True)
        copies = [replace(sample, image_key=sample.image_key and object()) for _ in range(_ROWS)]
        try:
            self._losses(replace(capabilities, tree=False, causal_beginning=False), copies)
        except _FirstLayerSeen:
            pass
        finally:
            hook.remove()
        return bool(seen) and all(_rows_equal(tensor) for tensor in seen)

    def _unmoved(self, capabilities: Capabilities) -> bool:
        """Whether what must not matter does not: see the module's text."""
        try:
            if capabilities.short_last_layer and not self._rest_is_unseen():
                return False
            if capabilities.tree:
                causal = self._branches_apart(capabilities) and self._image_is_causal()
                return causal and self._beginning_is_seen()
            return self._padding_is_unseen(capabilities)
        except Exception:  # noqa: BLE001 as in _agrees
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
            inputs = single_sample_inputs(self._model, self._blind[0])
            places = torch.arange(
                0, inputs["input_ids"].shape[1], 2, device=input_device(self._model)
            )
            with torch.inference_mode(), limit_last_mlp(self._model, places, filler):
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
            inputs = single_sample_inputs(self._model, sample)
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
                self._model.base_model(
                    **single_sample_inputs(self._model, longest), use_cache=False
                )
        finally:
            for hook in hooks:
                hook.remove()
        return len(seen) == len(layers) and all(seen)

    def _agrees(
        self, capabilities: Capabilities, groups: Sequence[Sequence[EncodedSample]]
    ) -> bool:
        """Whether the losses of each group, run together, are those of its samples alone."""
        try:
            if capabilities.tree and not plan_rows(self._pictured, self._limits)[0].is_tree:
                return False  # the probes do not show what a tree does
            return all(self._group_agrees(capabilities, group) for group in groups)
        except Exception:  # noqa: BLE001 whatever a family cannot do, it raises in its own way
            return False

    def _group_agrees(self, capabilities: Capabilities, samples: Sequence[EncodedSample]) -> bool:
        of_mean, of_token = (EXACT, _EXACT_TOKEN) if self._exact else (_ROUNDED, _ROUNDED_TOKEN)
        for sample, losses in zip(samples, self._losses(capabilities, samples), strict=True):
            plain = self._plain[id(sample)]
            if losses is None or len(losses) != len(plain):
                return False
            differences = losses.astype(np.float64) - plain
            if not (abs(differences.mean()) <= of_mean and np.abs(differences).max() <= of_token):
                return False
        return True

    def _losses(
        self, capabilities: Capabilities, samples: Sequence[EncodedSample]
    ) -> list[Losses | None]:
        budget = TokenBudget(_ROOM)
        engine = LossEngine(self._model, self._pad_id, capabilities, budget, self._limits)
        return engine.losses(samples)

    def _head_stands_alone(self) -> bool:
        """Whether the output embeddings turn the base model's hidden states into the logits."""
        try:
            with torch.inference_mode(), head_in_float32(self._model):
                inputs = single_sample_inputs(self._model, self._blind[0])
                hidden = self._model.base_model(**inputs, use_cache=False)[0]
                logits = self._model.get_output_embeddings()(hidden)
                expected = self._model(**inputs, use_cache=False).logits
            return bool(torch.equal(logits, expected))
        except Exception:  # noqa: BLE001 as in _agrees
            return False


def _unusable(model: Any, reason: str) -> ModelError:
    family = model.config.model_type
    return ModelError(
        f"models of the family {family!r} cannot be scored: {reason}; {supported_families()}"
    )


def _tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors in a value that may be nested."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in _tensors(part)]
    return []


def _rows_equal(tensor: torch.Tensor) -> bool:
    """Whether a tensor is the same for each row, in whichever dimension it has them."""
    return all(
        bool((tensor == tensor.narrow(axis, 0, 1)).all())
        for axis, size in enumerate(tensor.shape)
        if size == _ROWS
    )


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
    with torch.inference_mode(), head_in_float32(model):
        inputs = single_sample_inputs(model, sample)
        logits = model(**inputs, use_cache=False).logits[0]
        answers = torch.tensor([turn >= 0 for turn in sample.turn_ids], device=logits.device)
        answers[0] = False
        targets = inputs["input_ids"][0].to(logits.device)[answers]
        found: NDArray[np.float32] = (
            answer_token_losses(logits[:-1][answers[1:]], targets).cpu().numpy()
        )
    return found
