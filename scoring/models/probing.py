"""Measures, when a model is loaded, which shortcuts leave its losses unchanged.

A few samples about one image are run one at a time with all logits, which is the reference, and
then with each shortcut; a shortcut is used only if the losses agree, per token and in the mean.
The resulting set is then checked on a larger batch: different images of several sizes. If that
fails, each shortcut is measured again on that batch too.

In a shorter format than float32 the same mathematics rounds differently, so the tolerance is wider
there, and inputs that must not affect the result are changed as well: the padding, the other
branches of a tree, the last image feature. The losses must not change, at any precision. At every
precision the model must also read the same sample identically in each row of a batch, bit for bit,
because a dependence on the row may be too small to detect in a batch of the probe's size and grow
with the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import wraps
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget
from scoring.models.capabilities import Capabilities, limit_last_mlp
from scoring.models.features import VisionTower
from scoring.models.forward import LossEngine, Losses, tree_limits
from scoring.models.loading import unsupported_family
from scoring.models.losses import answer_token_losses, head_in_float32
from scoring.models.memory import LEAST_GPU_TOKENS, cpu_token_budget, gpu_token_budget
from scoring.models.prompting import PromptProblem
from scoring.models.rows import input_device, plan_rows, single_sample_inputs
from scoring.samples import Role, Turn

EXACT = 1e-5  # nats that the mean of a sample may differ by in float32
_EXACT_TOKEN = 5e-5  # and a single token
_ROUNDED = 0.05  # nats per answer token that bfloat16's and float16's rounding may change a mean by
_ROUNDED_TOKEN = 0.25  # and a single token
_ALL_TOKENS = 1 << 20  # a budget for all probes in one batch
_SHORTCUTS = [field.name for field in fields(Capabilities) if field.name != "split_head"]
_COPIES = 8  # of the longest probe, in the batch whose memory is measured
_COMMON_SIZE = (160, 120)
_SIZES = (*[_COMMON_SIZE] * 8, (120, 160), (224, 112))
_ROWS = 11  # rows of one sample; a number that no other dimension is likely to have
_LONGEST_REASON = 300

Encode = Callable[[Sequence[Turn], Sequence[Image.Image]], EncodedSample]


def measure_capabilities(model: Any, encode: Encode, pad_id: int) -> Capabilities:
    """Return the shortcuts that ``model`` can use without changing its losses.

    A shortcut that fails in any way is not used; a model that cannot read the probes uses none.
    Raises ModelError if the model fails on a single sample without any shortcut.
    """
    if model.config.is_encoder_decoder:
        reason = "it has an encoder and a decoder, and only decoders are scored"
        raise unsupported_family(model.config.model_type, reason)
    try:
        small, large = _small_probes(encode), _large_probes(encode)
    except PromptProblem:
        return Capabilities()
    return _Probe(model, pad_id, small, large).measure_shortcuts()


def measure_token_budget(
    model: Any, encode: Encode, pad_id: int, capabilities: Capabilities
) -> int:
    """Return the padded tokens of a batch for the device that ``model`` is on."""
    if input_device(model).type != "cuda":
        return cpu_token_budget(model)
    try:
        longest = max(_small_probes(encode)[0], key=lambda sample: len(sample.input_ids))
    except PromptProblem:
        return LEAST_GPU_TOKENS
    copies = [replace(longest, image_key=object()) for _ in range(_COPIES)]
    engine = LossEngine(model, pad_id, replace(capabilities, tree=False), TokenBudget(_ALL_TOKENS))
    tokens = _COPIES * len(longest.input_ids)
    return gpu_token_budget(input_device(model), tokens, lambda: engine.answer_losses(copies))


Probes = tuple[list[EncodedSample], list[EncodedSample]]
"""Samples with their images, and the same without them."""


def _small_probes(encode: Encode) -> Probes:
    """Return two conversations about one image."""
    image = _noise_image(0, (288, 192))
    conversations = (
        (Turn(Role.HUMAN, "What is it?", (0,)), Turn(Role.ASSISTANT, "A field of many colours")),
        (
            Turn(Role.HUMAN, "Which of the two is left?", (0,)),
            Turn(Role.ASSISTANT, "one"),
            Turn(Role.HUMAN, "Are you sure of that?"),
            Turn(Role.ASSISTANT, "Yes, the other one stands to the right of it."),
        ),
    )
    key = object()
    with_image = [replace(encode(turns, [image]), image_key=key) for turns in conversations]
    return with_image, [encode(turns, ()) for turns in conversations]


def _large_probes(encode: Encode) -> Probes:
    """Return questions about different images; eight have one size, which some families need."""
    with_image, without_image = [], []
    for number, size in enumerate(_SIZES):
        question = Turn(Role.HUMAN, f"How many of the {number} shapes are red?", (0,))
        turns = (question, Turn(Role.ASSISTANT, " and ".join(["two"] * (1 + number % 4))))
        encoded = encode(turns, [_noise_image(number, size)])
        with_image.append(replace(encoded, image_key=object()))
        without_image.append(encode(turns, ()))
    return with_image, without_image


def _noise_image(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 72, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


class _FirstLayerReached(Exception):
    """Ends a forward pass at the first layer, as only its inputs are needed."""


def _false_if_it_fails(check: Callable[..., bool]) -> Callable[..., bool]:
    """Make ``check`` return False where it raises: families raise in their own ways."""

    @wraps(check)
    def passes(*arguments: Any) -> bool:
        try:
            return check(*arguments)
        except Exception:  # noqa: BLE001
            return False

    return passes


class _Probe:
    """Runs the probes one at a time and with shortcuts, and compares the losses."""

    def __init__(self, model: Any, pad_id: int, small: Probes, large: Probes) -> None:
        self._model, self._pad_id = model, pad_id
        self._with_image, self._without_image = small
        self._small, self._large = small, large
        try:
            self._plain = {
                id(sample): plain_losses(model, sample)
                for samples in (*small, *large)
                for sample in samples
            }
        except Exception as error:
            message = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            reason = f"it fails on a short test conversation ({message})"
            raise unsupported_family(model.config.model_type, reason) from error
        # force trees: no minimum shared part
        self._limits = replace(tree_limits(model), min_shared=0.0, width=_ALL_TOKENS)
        self._exact = model.dtype == torch.float32

    def measure_shortcuts(self) -> Capabilities:
        """Return the exact shortcuts; see the module's docstring for the order of the checks."""
        capabilities = self._accept_shortcuts(self._small, every_row=False)
        if self._losses_agree(capabilities, self._large) and self._ignores_row(capabilities):
            return capabilities
        return self._accept_shortcuts((*self._small, *self._large), every_row=True)

    def _accept_shortcuts(
        self, groups: Sequence[list[EncodedSample]], *, every_row: bool
    ) -> Capabilities:
        """Start without shortcuts; add them one at a time and keep those that pass."""
        accepted = Capabilities(split_head=self._head_is_separable())
        for shortcut in _SHORTCUTS:
            if shortcut == "causal_beginning" and not accepted.tree:
                continue
            candidate = replace(accepted, **{shortcut: True})
            if (
                self._losses_agree(candidate, groups)
                and (self._exact or self._ignores_irrelevant(candidate))
                and (not every_row or self._ignores_row(candidate))
            ):
                accepted = candidate
        return accepted

    @_false_if_it_fails
    def _ignores_row(self, capabilities: Capabilities) -> bool:
        """Return whether the first layer gets the same inputs for a sample in each row of a batch.

        Compares the positions, the mask and the embeddings of text, which are looked up rather
        than computed in sums whose order could differ between rows.
        """
        samples = [group[0] for group in self._large]
        return not capabilities.batched or all(
            self._reads_rows_alike(capabilities, sample) for sample in samples
        )

    def _reads_rows_alike(self, capabilities: Capabilities, sample: EncodedSample) -> bool:
        image = VisionTower(self._model).image_token
        is_text = torch.tensor([token != image for token in sample.input_ids])  # (length,)
        recorded: list[torch.Tensor] = []

        def record_inputs(_: torch.nn.Module, args: Any, options: dict[str, Any]) -> None:
            hidden = args[0] if args else options["hidden_states"]  # (rows, length, width)
            recorded.append(hidden[:, is_text.to(hidden.device)])  # (rows, text_tokens, width)
            for name in ("position_embeddings", "position_ids", "attention_mask"):
                recorded.extend(_nested_tensors(options.get(name)))
            raise _FirstLayerReached

        first_layer = self._model.get_decoder().layers[0]
        hook = first_layer.register_forward_pre_hook(record_inputs, with_kwargs=True)
        copies = [replace(sample, image_key=sample.image_key and object()) for _ in range(_ROWS)]
        try:
            self._run_losses(replace(capabilities, tree=False, causal_beginning=False), copies)
        except _FirstLayerReached:
            pass
        finally:
            hook.remove()
        rows_first = [  # in any dimension that could be rows
            tensor.movedim(axis, 0)
            for tensor in recorded
            for axis, size in enumerate(tensor.shape)
            if size == _ROWS
        ]
        return bool(recorded) and all(bool((rows == rows[:1]).all()) for rows in rows_first)

    @_false_if_it_fails
    def _ignores_irrelevant(self, capabilities: Capabilities) -> bool:
        """Return whether irrelevant inputs have no influence: see the module's docstring."""
        if capabilities.short_last_layer and not self._ignores_last_mlp_elsewhere():
            return False
        if capabilities.tree:
            is_causal = self._branches_are_separate(capabilities) and self._image_is_causal()
            return is_causal and self._beginning_is_visible()
        engines = [
            LossEngine(self._model, padding, capabilities, TokenBudget(_ALL_TOKENS))
            for padding in (self._pad_id, self._with_image[0].input_ids[-1])
        ]
        return _are_close(*(engine.answer_losses(self._with_image) for engine in engines))

    def _ignores_last_mlp_elsewhere(self) -> bool:
        """Return whether the last MLP's output at other positions has no influence."""
        device = input_device(self._model)
        states = []
        for filler in (0.0, 1.0):
            inputs = single_sample_inputs(self._model, self._without_image[0])
            positions = torch.arange(0, inputs["input_ids"].shape[1], 2, device=device)
            with torch.inference_mode(), limit_last_mlp(self._model, positions, filler):
                hidden = self._model.base_model(**inputs, use_cache=False)[0]  # (1, length, width)
            states.append(hidden[0, positions])
        return bool(torch.equal(*states))

    def _branches_are_separate(self, capabilities: Capabilities) -> bool:
        """Return whether each probe keeps its losses if the other one's branch is reversed."""
        before = self._run_losses(capabilities, self._with_image)
        shared = plan_rows(self._with_image, self._limits)[0].shared
        first, second = self._with_image
        second_losses = self._run_losses(capabilities, [_reverse_branch(first, shared), second])[1]
        first_losses = self._run_losses(capabilities, [first, _reverse_branch(second, shared)])[0]
        return _are_close(before, [first_losses, second_losses])

    def _image_is_causal(self) -> bool:
        """Return whether an image's tokens depend only on earlier ones, as those of text do."""
        tower, sample = VisionTower(self._model), self._with_image[0]
        ids = np.asarray(sample.input_ids)
        last_image_token = int(np.flatnonzero(ids == tower.image_token)[-1])
        with torch.inference_mode():
            (features,) = tower.encode_images([sample])
            inputs = single_sample_inputs(self._model, sample)
            for key in tower.replaced_inputs(list(inputs)):
                inputs.pop(key)
            states = []
            changed = features.pooled.clone()
            changed[-1] = 1 - changed[-1]
            for variant in (features, replace(features, pooled=changed)):
                output = self._model.base_model(
                    **inputs, mm_encoder_outputs=tower.pack_features([variant]), use_cache=False
                )
                states.append(output[0][0, :last_image_token])  # (tokens before it, width)
        return bool(torch.equal(*states))

    def _beginning_is_visible(self) -> bool:
        """Return whether every layer sees the first token: a tree's mask has no window."""
        longest = max(self._with_image, key=lambda sample: len(sample.input_ids))
        sees_first = []

        def compare_outputs(
            layer: torch.nn.Module, args: Any, options: dict[str, Any], output: Any
        ) -> None:
            changed = args[0].clone()  # (1, length, width)
            changed[:, 0] *= -1
            outputs = (output, layer.forward(changed, *args[1:], **options))
            pair = [states[0] if isinstance(states, tuple) else states for states in outputs]
            sees_first.append(not torch.equal(*(states[0, -1] for states in pair)))

        layers = self._model.get_decoder().layers
        hooks = [layer.register_forward_hook(compare_outputs, with_kwargs=True) for layer in layers]
        try:
            with torch.inference_mode():
                inputs = single_sample_inputs(self._model, longest)
                self._model.base_model(**inputs, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return len(sees_first) == len(layers) and all(sees_first)

    @_false_if_it_fails
    def _losses_agree(
        self, capabilities: Capabilities, groups: Sequence[Sequence[EncodedSample]]
    ) -> bool:
        """Return whether the losses of each group, run together, are those of its samples alone."""
        if capabilities.tree and not plan_rows(self._with_image, self._limits)[0].is_tree:
            return False  # the probes do not exercise a tree
        of_mean, of_token = (EXACT, _EXACT_TOKEN) if self._exact else (_ROUNDED, _ROUNDED_TOKEN)
        for group in groups:
            for sample, losses in zip(group, self._run_losses(capabilities, group), strict=True):
                plain = self._plain[id(sample)]  # (answer_tokens,)
                if losses is None or len(losses) != len(plain):
                    return False
                off = losses.astype(np.float64) - plain  # (answer_tokens,)
                if not (abs(off.mean()) <= of_mean and np.abs(off).max() <= of_token):
                    return False
        return True

    def _run_losses(
        self, capabilities: Capabilities, samples: Sequence[EncodedSample]
    ) -> list[Losses | None]:
        budget = TokenBudget(_ALL_TOKENS)
        engine = LossEngine(self._model, self._pad_id, capabilities, budget, self._limits)
        return engine.answer_losses(samples)

    @_false_if_it_fails
    def _head_is_separable(self) -> bool:
        """Return whether the output embeddings turn the base model's states into the logits."""
        with torch.inference_mode(), head_in_float32(self._model):
            inputs = single_sample_inputs(self._model, self._without_image[0])
            hidden = self._model.base_model(**inputs, use_cache=False)[0]  # (1, length, width)
            logits = self._model.get_output_embeddings()(hidden)  # (1, length, vocabulary)
            expected = self._model(**inputs, use_cache=False).logits
        return bool(torch.equal(logits, expected))


def _nested_tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors in a value that may be nested."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        return [tensor for part in value for tensor in _nested_tensors(part)]
    return []


def _are_close(before: Sequence[Losses | None], after: Sequence[Losses | None]) -> bool:
    """Return whether the losses are equal within float32's precision."""
    return all(
        old is not None and new is not None and bool(np.allclose(old, new, rtol=0, atol=EXACT))
        for old, new in zip(before, after, strict=True)
    )


def _reverse_branch(sample: EncodedSample, shared: int) -> EncodedSample:
    """Reverse the sample's own tokens, except the first, which decides the order of branches."""
    ids = sample.input_ids
    return replace(sample, input_ids=ids[: shared + 1] + ids[shared + 1 :][::-1])


def plain_losses(model: Any, sample: EncodedSample) -> NDArray[np.float32]:
    """Return the losses of one sample alone from all logits: the reference for every route."""
    with torch.inference_mode(), head_in_float32(model):
        inputs = single_sample_inputs(model, sample)
        logits = model(**inputs, use_cache=False).logits[0]  # (length, vocabulary)
        is_answer = torch.tensor([turn >= 0 for turn in sample.turn_ids], device=logits.device)
        is_answer[0] = False
        targets = inputs["input_ids"][0].to(logits.device)[is_answer]  # (answer_tokens,)
        losses = answer_token_losses(logits[:-1][is_answer[1:]], targets)  # (answer_tokens,)
        return losses.cpu().numpy()
