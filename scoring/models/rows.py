"""Lays samples out as the rows of a batch, and these as tensors.

A row has one sample, or several as a tree: the tokens at the beginning of all its samples once,
followed by each sample's remaining tokens as a branch. A branch attends to the shared beginning and
itself, so each token is computed as it would be for the sample alone, and an image with eight
questions is read once.

As tensors, inputs with one value per token are laid out and padded like the token ids; the others
(pixels, sizes) are concatenated along the first dimension. Copies to a GPU go through pinned memory
and are asynchronous.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.models.base import EncodedSample

Integers = NDArray[np.int64]
Tensors = dict[str, torch.Tensor]

SHARED = -1  # branch number of the tokens that all samples of a row share
PADDING = -2  # branch number of the padding after a row


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Limits of a tree."""

    width: int  # the model's hidden size
    window: int | None = None  # tokens that its attention looks back at most; None: all
    image_token: int | None = None  # id of an image placeholder
    # of a sample's tokens, common to others; with less, the dense mask costs more than is saved
    min_shared: float = 0.15

    def branch_tokens(self, shared: int) -> int:
        """Return how many tokens all branches together may have after ``shared`` common tokens.

        With N such tokens in rows of n, a layer's matrices cost 24 width^2 (N / n) shared more for
        the repeated beginnings, and its attention 4 width (shared + n)^2 per row; this n minimises
        their sum.
        """
        return int(math.sqrt(shared * shared + 6 * self.width * shared))


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row of a batch; its answer tokens are ordered member by member."""

    members: tuple[int, ...]  # indices of its samples in the call
    shared: int  # tokens that all members share
    ids: Integers  # (length,) token ids
    positions: Integers  # (length,) each token's position in its own sample
    branches: Integers  # (length,) each token's branch
    predicting: Integers  # (answer_tokens,) index in the row whose output predicts the token
    targets: Integers  # (answer_tokens,) the answer tokens themselves
    counts: tuple[int, ...]  # answer tokens of each member

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_tree(self) -> bool:
        """Whether several samples share the row."""
        return len(self.members) > 1


def build_row(samples: Sequence[EncodedSample], members: Sequence[int], shared: int) -> Row:
    """Build the row of ``members``, whose first ``shared`` tokens are the same."""
    ids = [np.asarray(samples[member].input_ids, dtype=np.int64) for member in members]
    lengths = [len(tokens) for tokens in ids]
    n_own = np.array(lengths) - shared  # (members,) tokens in each branch
    starts = shared + np.concatenate([[0], np.cumsum(n_own[:-1])]).astype(np.int64)  # (members,)
    predicting, targets = [], []
    for member, tokens, start in zip(members, ids, starts.tolist(), strict=True):
        answers = np.flatnonzero(np.asarray(samples[member].turn_ids) >= 0)  # (answer_tokens,)
        before = answers[answers > 0] - 1  # no output predicts the first token
        predicting.append(np.where(before < shared, before, before + start - shared))
        targets.append(tokens[before + 1])
    return Row(
        members=tuple(members),
        shared=shared,
        ids=lay_out_tokens(ids, shared),
        positions=lay_out_tokens([np.arange(length) for length in lengths], shared),
        branches=np.concatenate([np.full(shared, SHARED), np.repeat(np.arange(len(ids)), n_own)]),
        predicting=np.concatenate(predicting),
        targets=np.concatenate(targets),
        counts=tuple(len(tokens) for tokens in targets),
    )


def lay_out_tokens(values: Sequence[Integers], shared: int) -> Integers:
    """Put one value per token of each member into the order of their row: (length,)."""
    return np.concatenate([values[0][:shared], *(value[shared:] for value in values)])


def plan_rows(samples: Sequence[EncodedSample], limits: TreeLimits | None) -> list[Row]:
    """Plan rows for ``samples``: trees within ``limits`` where that saves work.

    Samples share a tree if they have the same images, or none, and the same beginning; all their
    image tokens must be in the shared part. A sample with its own attention mask stays alone.
    Without limits, each sample is a row.
    """
    if limits is None:
        lengths = [len(sample.input_ids) for sample in samples]
        return [build_row(samples, [index], length) for index, length in enumerate(lengths)]
    groups: dict[object, list[int]] = {}  # of samples that may share a row
    for index, sample in enumerate(samples):
        key: object = "text"
        if "attention_mask" in sample.inputs:
            key = ("alone", index)
        elif sample.image_key is not None:
            key = ("image", id(sample.image_key))
        elif any(name.startswith("pixel") for name in sample.inputs):
            key = ("alone", index)
        groups.setdefault(key, []).append(index)
    trees: list[tuple[list[int], int]] = []  # members and number of shared tokens of each row
    for indices in groups.values():
        first_tree = len(trees)
        for index in sorted(indices, key=lambda index: (samples[index].input_ids, index)):
            if len(trees) > first_tree:
                members, shared = trees[-1]
                common = _common_length(samples, [*members[:1], index], shared)
                if _fits_tree(samples, [*members, index], common, limits):
                    trees[-1] = ([*members, index], common)
                    continue
            trees.append(([index], len(samples[index].input_ids)))
    return [build_row(samples, members, shared) for members, shared in trees]


def _common_length(samples: Sequence[EncodedSample], indices: Sequence[int], at_most: int) -> int:
    """Return how many of their first ``at_most`` tokens all samples at ``indices`` share."""
    ids = [samples[index].input_ids[:at_most] for index in indices]
    first, last = min(ids), max(ids)  # everything between them in this order shares as much
    pairs = enumerate(zip(first, last, strict=False))
    shortest = min(len(first), len(last))
    return next((position for position, (left, right) in pairs if left != right), shortest)


def _fits_tree(
    samples: Sequence[EncodedSample], members: Sequence[int], shared: int, limits: TreeLimits
) -> bool:
    lengths = [len(samples[member].input_ids) for member in members]
    if shared < max(1, limits.min_shared * max(lengths)):
        return False
    if limits.window is not None and max(lengths) > limits.window:
        return False  # the mask of a tree is not limited to the window
    if sum(lengths) - len(lengths) * shared > limits.branch_tokens(shared):
        return False
    first = samples[members[0]]
    if first.image_key is None:
        return True
    return limits.image_token is not None and limits.image_token not in first.input_ids[shared:]


def split_row(samples: Sequence[EncodedSample], row: Row) -> list[Row]:
    """Split a tree into two rows; return nothing for a row with one sample."""
    if not row.is_tree:
        return []
    middle = (len(row.members) + 1) // 2
    return [
        build_row(samples, half, _common_length(samples, half, len(samples[half[0]].input_ids)))
        for half in (row.members[:middle], row.members[middle:])
    ]


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
    return collated | collate_inputs(samples, left=True)


def collate_inputs(samples: Sequence[EncodedSample], left: bool = False) -> Tensors:
    """Return the inputs of ``samples`` besides ids and masks, one sample per row.

    Inputs with one value per token are padded like the ids, on the right or left. A sample without
    an input, as one without an image may be, has zeros for it if it is per token, and for any if
    the model attends from tokens to the images of the same row (Llama-3.2-Vision).
    """
    width = max(len(sample.input_ids) for sample in samples)
    keys = dict.fromkeys(key for sample in samples for key in sample.inputs)
    collated: Tensors = {}
    for key in keys:
        owners = [sample for sample in samples if key in sample.inputs]
        if key == "attention_mask":
            continue
        values = [sample.inputs[key] for sample in owners]  # (1, length, ...) or (images, ...) each
        is_per_token = all(_is_per_token(sample, key) for sample in owners)
        if len(owners) < len(samples) and (is_per_token or "cross_attention_mask" in keys):
            missing = values[0].new_zeros((1, *values[0].shape[1:]))
            values = [sample.inputs.get(key, missing) for sample in samples]
        shape = [max(sizes) for sizes in zip(*(v.shape[1:] for v in values), strict=True)]
        if is_per_token:
            shape[0] = width
        collated[key] = torch.cat(
            [_pad_to_shape(value, shape, left and is_per_token) for value in values]
        )
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
