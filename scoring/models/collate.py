"""Collates samples into the tensors of one batch and moves them to the device.

Inputs with one value per token are laid out and padded like the token ids; the others (pixels,
sizes) are concatenated along the first dimension. Copies to a GPU go through pinned memory and are
asynchronous.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.models.base import EncodedSample
from scoring.models.rows import SHARED, Row, lay_out_tokens

Tensors = dict[str, torch.Tensor]


def input_device(model: Any) -> torch.device:
    """Return the device for the inputs of ``model``, whose modules may be on several devices."""
    devices = (getattr(model, "hf_device_map", None) or {}).values()
    accelerators = [device for device in devices if device not in ("cpu", "disk")]
    if devices:
        return torch.device(accelerators[0] if accelerators else "cpu")
    return torch.device(model.device)


def to_device(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Move ``value`` to ``device``; floating-point values are converted to ``dtype``."""
    kind = dtype if value.is_floating_point() else value.dtype
    if device.type != "cuda":
        return value.to(device, kind)
    return value.to(kind).pin_memory().to(device, non_blocking=True)


def single_sample_inputs(model: Any, sample: EncodedSample) -> Tensors:
    """Return the inputs of ``model`` for one sample alone, on its device and in its dtype."""
    ids = torch.tensor([sample.input_ids])  # (1, length)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **sample.inputs}
    device = input_device(model)
    return {key: to_device(value, device, model.dtype) for key, value in inputs.items()}


def pad_rows(rows: Sequence[NDArray[Any]], value: int, left: bool = False) -> torch.Tensor:
    """Stack rows of integers as (batch, longest), padded with ``value`` on the right or left."""
    width = max(len(row) for row in rows)
    padded = np.full((len(rows), width), value, dtype=np.int64)  # (batch, longest)
    for index, row in enumerate(rows):
        padded[index, slice(width - len(row), width) if left else slice(len(row))] = row
    return torch.from_numpy(padded)


def padding_mask(rows: Sequence[Row], samples: Sequence[EncodedSample]) -> torch.Tensor:
    """Return (batch, longest): 1 for tokens, 0 for padding and for tokens a sample masks."""
    masks: list[NDArray[Any]] = []
    for row in rows:
        sample_mask = samples[row.members[0]].inputs.get("attention_mask")  # (1, length)
        masks.append(np.ones(len(row)) if sample_mask is None else np.asarray(sample_mask[0]))
    return pad_rows(masks, 0)


def tree_mask(branches: torch.Tensor) -> torch.Tensor:
    """Return (batch, 1, longest, longest) booleans: whether a query token attends to a key token.

    A token attends to earlier tokens in the shared beginning or in its own branch. Padding attends
    to the shared beginning, so no row of the attention is empty.
    """
    position = torch.arange(branches.shape[1], device=branches.device)  # (longest,)
    key = branches[:, None, :]  # (batch, 1, longest)
    related = (key == SHARED) | (key == branches[:, :, None])  # (batch, longest, longest)
    return (related & (position[:, None] >= position)).unsqueeze(1)


def row_inputs(
    rows: Sequence[Row], samples: Sequence[EncodedSample], without: Iterable[str] = ()
) -> Tensors:
    """Return the inputs of the rows' samples besides ids and masks, except the keys ``without``.

    A tree's members have the same images, so those of the first are used.
    """
    excluded = {*without, "attention_mask"}
    members = [[samples[member].inputs for member in row.members] for row in rows]
    collated: Tensors = {}
    for key in dict.fromkeys(key for inputs in members for key in inputs[0]):
        if key in excluded:
            continue
        firsts = [samples[row.members[0]] for row in rows]
        if all(_is_per_token(first, key) and first.inputs[key].ndim == 2 for first in firsts):
            laid_out = [
                lay_out_tokens([np.asarray(member[key][0]) for member in inputs], row.shared)
                for row, inputs in zip(rows, members, strict=True)
            ]
            collated[key] = pad_rows(laid_out, 0)  # (batch, longest)
        else:
            collated[key] = concatenate_inputs([inputs[0] for inputs in members], key)
    return collated


def prompt_inputs(samples: Sequence[EncodedSample], pad_id: int) -> Tensors:
    """Collate prompts for generation: padded on the left, so all end at the same position."""
    ids = [np.asarray(sample.input_ids) for sample in samples]
    collated = {
        "input_ids": pad_rows(ids, pad_id, left=True),  # (batch, longest)
        "attention_mask": pad_rows([np.ones(len(row)) for row in ids], 0, left=True),
    }
    width = collated["input_ids"].shape[1]
    for key in dict.fromkeys(key for sample in samples for key in sample.inputs):
        owners = [sample for sample in samples if key in sample.inputs]
        if key in collated:
            continue
        if all(_is_per_token(sample, key) for sample in owners):
            values = [sample.inputs[key] for sample in owners]  # (1, length, ...) each
            shapes = [(width, *value.shape[2:]) for value in values]
            padded = map(partial(_pad_to_shape, left=True), values, shapes)
            collated[key] = torch.cat(list(padded))
        else:
            collated[key] = concatenate_inputs([sample.inputs for sample in owners], key)
    return collated


def concatenate_inputs(inputs: Sequence[Mapping[str, Any]], key: str) -> torch.Tensor:
    """Concatenate the ``key`` of all that have it, with the other dimensions zero-padded."""
    values = [sample_inputs[key] for sample_inputs in inputs if key in sample_inputs]
    widest = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    return torch.cat([_pad_to_shape(value, widest) for value in values])


def input_shapes(sample: EncodedSample, without: Iterable[str] = ()) -> tuple[Hashable, ...]:
    """Return the input shapes that samples of one batch must share, so only tokens are padded.

    Some families (Llama-3.2-Vision) let text attend to the padding of images. The inputs
    ``without``, which are not passed to the model, are not compared.
    """
    excluded = {*without, "attention_mask"}
    return tuple(
        (key, value.shape[2 if _is_per_token(sample, key) else 1 :])
        for key, value in sorted(sample.inputs.items())
        if key not in excluded
    )


def _is_per_token(sample: EncodedSample, key: str) -> bool:
    """Return whether an input has the shape (1, length, ...): one or more values per token."""
    value = sample.inputs.get(key)
    return value is not None and tuple(value.shape[:2]) == (1, len(sample.input_ids))


def _pad_to_shape(value: torch.Tensor, shape: Sequence[int], left: bool = False) -> torch.Tensor:
    """Return ``value`` with zeros, so its dimensions after the first are ``shape``."""
    missing = [large - small for small, large in zip(value.shape[1:], shape, strict=True)]
    if not any(missing):
        return value
    padding = [size for gap in reversed(missing) for size in ((gap, 0) if left else (0, gap))]
    return torch.nn.functional.pad(value, padding)
