"""Measures the colour that a model maps to zero by showing it images of a single colour.

Most processors subtract a mean; some models do so themselves, after processors that do not. So the
colour is measured at the first layer with weights, wherever the pixels were normalised before it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from scoring.models.base import Colour, EncodedSample
from scoring.models.rows import single_sample_inputs
from scoring.samples import Role, Turn

_SIZE = (224, 224)  # a square, which no template pads
_BLACK = (0, 0, 0)
_PRIMARIES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
_FIRST_LAYERS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
_MOST_LAYERS = 64
_FULL_RESPONSE = 0.99  # of the largest: an input that responds less mixes pixels with padding
_TIE = 0.05  # levels that a measured half may be below one
_SPREAD = 2.0  # levels that the zeros of one channel may differ by, in bfloat16 too
_CONVERSATION = (Turn(Role.HUMAN, "What is it?", (0,)), Turn(Role.ASSISTANT, "A colour."))

Encode = Callable[[Sequence[Turn], Sequence[Image.Image]], EncodedSample]


class _EnoughLayers(Exception):
    """Ends a forward pass."""


def measure_neutral_colour(model: Any, encode: Encode) -> Colour | None:
    """Return the colour (0 to 255) that becomes zero at the first layer, to the nearest level.

    None if there is no such colour: several inputs depend on it (towers with normalisations of
    their own), they depend on it differently across the image, or it would be outside 0 to 255.
    """
    try:
        return _measure_colour(model, encode)
    except Exception:  # noqa: BLE001 models raise in their own way; the unknown is refused
        return None


def _measure_colour(model: Any, encode: Encode) -> Colour | None:
    def encode_colour(colour: Colour) -> EncodedSample:
        return encode(_CONVERSATION, [Image.new("RGB", _SIZE, colour)])

    samples = [encode_colour(colour) for colour in (_BLACK, *_PRIMARIES)]
    n_changing = sum(  # of the model's inputs
        any(not torch.equal(value, other.inputs[name]) for other in samples[1:])
        for name, value in samples[0].inputs.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )
    if n_changing != 1:
        return None
    recorded = [_record_layer_inputs(model, sample) for sample in samples]
    first = next(
        number
        for number, inputs in enumerate(zip(*recorded, strict=True))
        if any(not torch.equal(inputs[0], other) for other in inputs[1:])
    )
    black, *primaries = (inputs[first] for inputs in recorded)  # (values,) each
    levels: list[float] = []  # of each channel, that give zero
    slopes: list[float] = []  # response per level
    responding: list[torch.Tensor] = []  # (values,) flags of values that respond
    for primary in primaries:
        response = (primary - black) / 255  # (values,)
        slopes.append(float(response.max()))
        if slopes[-1] <= 0:
            return None
        responding.append(response >= _FULL_RESPONSE * slopes[-1])
        zeros = -black[responding[-1]] / response[responding[-1]]
        if float(zeros.max() - zeros.min()) > _SPREAD:
            return None
        levels.append(float(zeros.median()))
    estimate = _round_levels(levels)
    if estimate is None:
        return None
    # Near zero a short format resolves far less than a level, so one step gives the exact level.
    residual = _record_layer_inputs(model, encode_colour(estimate))[first]  # (values,)
    return _round_levels(
        [
            level - float(residual[flags].median()) / slope
            for level, slope, flags in zip(estimate, slopes, responding, strict=True)
        ]
    )


def _round_levels(levels: Sequence[float]) -> Colour | None:
    # A half, which a mean of 0.5 gives, is rounded up in every format.
    red, green, blue = (math.floor(level + 0.5 + _TIE) for level in levels)
    return (red, green, blue) if all(0 <= level <= 255 for level in (red, green, blue)) else None


def _record_layer_inputs(model: Any, sample: EncodedSample) -> list[torch.Tensor]:
    """Return the inputs of the first layers with weights in a forward pass: (values,) in float32.

    A layer that is not a projection could normalise, so its input is recorded as empty.
    """
    recorded: list[torch.Tensor] = []

    def record_input(layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            is_projection = isinstance(layer, _FIRST_LAYERS)
            recorded.append(args[0].flatten().float() if is_projection else args[0].new_zeros(0))
        if len(recorded) >= _MOST_LAYERS:
            raise _EnoughLayers

    hooks = [
        layer.register_forward_pre_hook(record_input)
        for layer in model.modules()
        if not list(layer.children()) and list(layer.parameters())
    ]
    try:
        with torch.inference_mode():
            model(**single_sample_inputs(model, sample), use_cache=False)
    except _EnoughLayers:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return recorded
