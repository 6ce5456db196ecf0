"""The colour that a model maps to zero, found by showing it pictures of one colour.

Most processors subtract a mean; some models do it themselves, after processors that do not. So the
colour is measured where the first weights are applied to pixels, whichever of them normalised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image

from scoring.models.base import Colour, EncodedSample
from scoring.models.collate import single_sample_inputs
from scoring.samples import Role, Turn

_SIZE = (224, 224)  # a square, which no template pads
_BLACK = (0, 0, 0)
_PRIMARIES = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
_FIRST_LAYERS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv3d)
_LAYERS_LOOKED_AT = 64
_FULL_RESPONSE = 0.99  # of the largest: an input that responds less mixes pixels with padding
_TIE = 0.05  # levels that a measured half may be below one
_SPREAD = 2.0  # levels that the zeros of one channel may be apart, in bfloat16 too
_TALK = (Turn(Role.HUMAN, "What is it?", (0,)), Turn(Role.ASSISTANT, "A colour."))

Encode = Callable[[Sequence[Turn], Sequence[Image.Image]], EncodedSample]


class _SeenEnough(Exception):
    """Ends a forward pass."""


def measure_neutral_colour(model: Any, encode: Encode) -> Colour | None:
    """Return the colour (0 to 255) that becomes zero at the first layer, to the nearest level.

    None where there is no such colour: several inputs depend on it (towers with normalisations of
    their own), they do so differently across the picture, or it would be outside 0 to 255.
    """
    try:
        return _measured(model, encode)
    except Exception:  # noqa: BLE001 models raise in their own way; what is unknown is refused
        return None


def _measured(model: Any, encode: Encode) -> Colour | None:
    def show(colour: Colour) -> EncodedSample:
        return encode(_TALK, [Image.new("RGB", _SIZE, colour)])

    samples = [show(colour) for colour in (_BLACK, *_PRIMARIES)]
    if _count_changing_inputs(samples) != 1:
        return None
    recorded = [_layer_inputs(model, sample) for sample in samples]
    first = next(
        number
        for number, inputs in enumerate(zip(*recorded, strict=True))
        if any(not torch.equal(inputs[0], other) for other in inputs[1:])
    )
    black, *primaries = (inputs[first] for inputs in recorded)
    channels = [_channel(black, primary) for primary in primaries]
    if any(channel is None for channel in channels):
        return None
    found = [channel for channel in channels if channel is not None]
    estimate = _rounded([zero for zero, _, _ in found])
    if estimate is None:
        return None
    # Near zero a short format resolves far less than a level, so one step gives the exact level.
    left = _layer_inputs(model, show(estimate))[first]
    return _rounded(
        [
            level - float(left[responding].median()) / slope
            for level, (_, slope, responding) in zip(estimate, found, strict=True)
        ]
    )


def _channel(
    black: torch.Tensor, primary: torch.Tensor
) -> tuple[float, float, torch.Tensor] | None:
    """(level that gives zero, response per level, which inputs respond) of one colour channel."""
    response = (primary - black) / 255
    slope = float(response.max())
    if slope <= 0:
        return None
    responding = response >= _FULL_RESPONSE * slope
    zeros = -black[responding] / response[responding]
    if float(zeros.max() - zeros.min()) > _SPREAD:
        return None
    return float(zeros.median()), slope, responding


def _rounded(levels: Sequence[float]) -> Colour | None:
    # A half, which a mean of 0.5 gives, is rounded up in every format.
    red, green, blue = (math.floor(level + 0.5 + _TIE) for level in levels)
    return (red, green, blue) if all(0 <= level <= 255 for level in (red, green, blue)) else None


def _count_changing_inputs(samples: Sequence[EncodedSample]) -> int:
    """How many of the model's inputs depend on the colour."""
    return sum(
        any(not torch.equal(value, other.inputs[name]) for other in samples[1:])
        for name, value in samples[0].inputs.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    )


def _layer_inputs(model: Any, sample: EncodedSample) -> list[torch.Tensor]:
    """What the first layers with weights are given in a forward pass, flattened, in float32.

    A layer of another kind than a projection could normalise, so nothing is recorded of it.
    """
    seen: list[torch.Tensor] = []

    def record(layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            known = isinstance(layer, _FIRST_LAYERS)
            seen.append(args[0].flatten().float() if known else args[0].new_zeros(0))
        if len(seen) >= _LAYERS_LOOKED_AT:
            raise _SeenEnough

    layers = [one for one in model.modules() if not list(one.children()) and list(one.parameters())]
    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        with torch.inference_mode():
            model(**single_sample_inputs(model, sample), use_cache=False)
    except _SeenEnough:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return seen
