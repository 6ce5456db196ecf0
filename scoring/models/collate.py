"""Joins samples into the tensors of one batch, and brings them to the device.

What is as long as a sample's ids is laid out and padded like them; the rest (pixels, sizes) is
joined along the first dimension. On a GPU the copies leave from pinned memory and nobody waits
for them.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.models.base import EncodedSample
from scoring.models.rows import PADDING, SHARED, Row, lay_out_tokens

Tensors = dict[str, torch.Tensor]


def input_device(model: Any) -> torch.device:
    """Where the inputs of ``model`` go; its modules fetch what is on other devices themselves."""
    devices = (getattr(model, "hf_device_map", None) or {}).values()
    accelerators = [device for device in devices if device not in ("cpu", "disk")]
    if devices:
        return torch.device(accelerators[0] if accelerators else "cpu")
    return torch.device(model.device)


def to_device(value: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """``value`` on ``device``; in ``dtype`` where it holds fractions."""
    kind = dtype if value.is_floating_point() else value.dtype
    if device.type != "cuda":
        return value.to(device, kind)
    return value.to(kind).pin_memory().to(device, non_blocking=True)


def single_sample_inputs(model: Any, sample: EncodedSample) -> Tensors:
    """What ``model`` is fed for one sample by itself, on its device and in its number format."""
    ids = torch.tensor([sample.input_ids])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **sample.inputs}
    return {
        key: to_device(value, input_device(model), model.dtype) for key, value in inputs.items()
    }


def pad_rows(rows: Sequence[NDArray[Any]], value: int, left: bool = False) -> torch.Tensor:
    """(batch, longest) of integers."""
    width = max(len(row) for row in rows)
    out = np.full((len(rows), width), value, dtype=np.int64)
    for index, row in enumerate(rows):
        out[index, slice(width - len(row), width) if left else slice(len(row))] = row
    return torch.from_numpy(out)


def token_ids(rows: Sequence[Row], pad_id: int) -> torch.Tensor:
    """(batch, longest) token ids, padded on the right."""
    return pad_rows([row.ids for row in rows], pad_id)


def padding_mask(rows: Sequence[Row], samples: Sequence[EncodedSample]) -> torch.Tensor:
    """(batch, longest): 1 for tokens, 0 for padding and for what a sample hides of itself."""
    return pad_rows([_own_mask(samples[row.members[0]], len(row)) for row in rows], 0)


def _own_mask(sample: EncodedSample, length: int) -> NDArray[Any]:
    own = sample.inputs.get("attention_mask")
    return np.ones(length, dtype=np.int64) if own is None else np.asarray(own[0])


def branch_numbers(rows: Sequence[Row]) -> torch.Tensor:
    """(batch, longest): the branch of each token, for ``tree_mask``."""
    return pad_rows([row.branches for row in rows], PADDING)


def tree_mask(branches: torch.Tensor) -> torch.Tensor:
    """(batch, 1, longest, longest) booleans: whether a token (third) sees another (fourth).

    It sees what stands before it, in the shared beginning or in its own branch. Padding sees
    the shared beginning, so that no row is without anything to see.
    """
    place = torch.arange(branches.shape[1], device=branches.device)
    key = branches[:, None, :]
    related = (key == SHARED) | (key == branches[:, :, None])
    return (related & (place[:, None] >= place)).unsqueeze(1)


def plain_positions(rows: Sequence[Row]) -> torch.Tensor:
    """(batch, longest): each token's place in its own sample."""
    return pad_rows([row.positions for row in rows], 0)


def row_inputs(
    rows: Sequence[Row], samples: Sequence[EncodedSample], without: Iterable[str] = ()
) -> Tensors:
    """What the rows' samples bring besides their ids and masks, except the keys in ``without``.

    A tree's members have the same images, so the first one's stand for all.
    """
    left_out = {*without, "attention_mask"}
    members = [[samples[member].inputs for member in row.members] for row in rows]
    joined: Tensors = {}
    for key in dict.fromkeys(key for inputs in members for key in inputs[0]):
        if key in left_out:
            continue
        if all(_is_number_per_token(samples[row.members[0]], key) for row in rows):
            joined[key] = pad_rows(
                [
                    lay_out_tokens([np.asarray(one[key][0]) for one in inputs], row.shared)
                    for row, inputs in zip(rows, members, strict=True)
                ],
                0,
            )
        else:
            joined[key] = join_inputs([inputs[0] for inputs in members], key)
    return joined


def prompt_inputs(samples: Sequence[EncodedSample], pad_id: int) -> Tensors:
    """Prompts that are to be gone on from: padded on the left, so that all end at one place."""
    ids = [np.asarray(sample.input_ids) for sample in samples]
    ones = [np.ones(len(one), dtype=np.int64) for one in ids]
    joined = {"input_ids": pad_rows(ids, pad_id, left=True)}
    joined["attention_mask"] = pad_rows(ones, 0, left=True)
    width = joined["input_ids"].shape[1]
    for key in dict.fromkeys(key for sample in samples for key in sample.inputs):
        owners = [sample for sample in samples if key in sample.inputs]
        if key in joined:
            continue
        if all(_is_per_token(sample, key) for sample in owners):
            joined[key] = torch.cat([_moved_right(sample.inputs[key], width) for sample in owners])
        else:
            joined[key] = join_inputs([sample.inputs for sample in owners], key)
    return joined


def _is_per_token(sample: EncodedSample, key: str) -> bool:
    """Whether an input holds a value, or several, for each token."""
    value = sample.inputs.get(key)
    return value is not None and tuple(value.shape[:2]) == (1, len(sample.input_ids))


def _is_number_per_token(sample: EncodedSample, key: str) -> bool:
    return _is_per_token(sample, key) and sample.inputs[key].ndim == 2


def _moved_right(value: torch.Tensor, length: int) -> torch.Tensor:
    """(1, length, ...): ``value`` behind zeros."""
    zeros = value.new_zeros(1, length - value.shape[1], *value.shape[2:])
    return torch.cat([zeros, value], dim=1)


def join_inputs(inputs: Sequence[Mapping[str, Any]], key: str) -> torch.Tensor:
    """The ``key`` of all that have it along the first dimension, padded with zeros behind it."""
    values = [one[key] for one in inputs if key in one]
    widest = [max(sizes) for sizes in zip(*(value.shape[1:] for value in values), strict=True)]
    return torch.cat([_grown(value, widest) for value in values])


def input_shapes(sample: EncodedSample, without: Iterable[str] = ()) -> tuple[Hashable, ...]:
    """What samples must have in common to be joined without padding anything but their tokens.

    Some families (Llama-3.2-Vision) let text look at the padding of images. Not compared are the
    inputs ``without``, which the model is not fed.
    """
    left_out = {*without, "attention_mask"}
    return tuple(
        (key, value.shape[2 if _is_per_token(sample, key) else 1 :])
        for key, value in sorted(sample.inputs.items())
        if key not in left_out
    )


def _grown(value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """``value`` padded with zeros up to ``shape`` behind its first dimension."""
    missing = [large - small for small, large in zip(value.shape[1:], shape, strict=True)]
    if not any(missing):
        return value
    padding = [size for gap in reversed(missing) for size in (0, gap)]
    return torch.nn.functional.pad(value, padding)
