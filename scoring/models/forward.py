"""The forward pass for answer losses: rows in, batches through the model, losses out.

Each shortcut is used only if ``Capabilities`` allows it for this model; the losses are the same on
every route. Nothing is copied back from the device before the last batch of a call is queued.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget, run_divisible
from scoring.models.capabilities import Capabilities, limit_last_mlp, tree_attention
from scoring.models.features import FeatureCache, VisionTower
from scoring.models.losses import (
    ReadLogits,
    answer_token_losses,
    head_in_float32,
    head_losses,
)
from scoring.models.memory import translate_out_of_memory
from scoring.models.rows import (
    PADDING,
    Row,
    Tensors,
    TreeLimits,
    input_device,
    input_shapes,
    pad_rows,
    plan_rows,
    row_inputs,
    split_row,
    to_device,
    tree_mask,
)

Losses = NDArray[np.float32]
"""(answer_tokens,) nats."""


class LossEngine:
    """Computes the answer losses of encoded samples with one transformers model."""

    def __init__(
        self,
        model: Any,
        pad_id: int,
        capabilities: Capabilities,
        budget: TokenBudget,
        limits: TreeLimits | None = None,
    ) -> None:
        self._model, self._pad_id = model, pad_id
        self._capabilities = capabilities
        self._budget = budget if capabilities.batched else TokenBudget(1)
        self._tower = VisionTower(model)
        self._limits = (limits or tree_limits(model)) if capabilities.tree else None
        self._short = short_length(model)
        self._vocabulary = int(model.config.get_text_config().vocab_size)

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[Losses | None]:
        """Return -log P of each answer token in nats, per sample; None if one does not fit."""
        return self.read_answers(samples, answer_token_losses)

    def read_answers(
        self, samples: Sequence[EncodedSample], read: ReadLogits
    ) -> list[Losses | None]:
        """Return ``read`` at the answer tokens, (answer_tokens, ...) per sample; None as above."""
        if self._model.training:  # between two steps of a trainer, which sets the mode itself
            self._model.eval()
        rows = plan_rows(samples, self._limits)
        features = FeatureCache(self._tower, samples, rows)
        groups: dict[Hashable, list[Row]] = {}
        for row in rows:
            key = (row.is_tree, self._batch_key(samples[row.members[0]]))
            groups.setdefault(key, []).append(row)
        done: list[Row] = []
        row_losses: list[torch.Tensor] = []  # (answer_tokens, ...) per row, member by member
        for group in groups.values():
            for row, losses in run_divisible(
                group,
                len,
                self._budget,
                lambda batch: self._run_batch(batch, samples, features, read),
                lambda row: split_row(samples, row),
            ):
                if losses is not None:
                    done.append(row)
                    row_losses.append(losses)
        results: list[Losses | None] = [None] * len(samples)
        # all are copied from the device at once: (answer_tokens of all rows, ...)
        whole: Losses = torch.cat(row_losses).cpu().numpy() if done else np.empty(0, np.float32)
        start = 0
        for row in done:
            for member, length in zip(row.members, row.counts, strict=True):
                results[member] = whole[start : start + length]
                start += length
        return results

    def group_for_batches(self, samples: Sequence[EncodedSample]) -> list[list[int]]:
        """Return indices of ``samples`` in groups that can run in one batch, one row per sample."""
        groups: dict[Hashable, list[int]] = {}
        for index, sample in enumerate(samples):
            groups.setdefault(self._batch_key(sample), []).append(index)
        return list(groups.values())

    def _batch_key(self, sample: EncodedSample) -> Hashable:
        """Return what samples of one batch must have in common."""
        is_masked, has_image = "attention_mask" in sample.inputs, sample.image_key is not None
        is_long = self._short is not None and len(sample.input_ids) > self._short
        return is_masked, has_image, is_long, input_shapes(sample, self._replaced_inputs(sample))

    def _replaced_inputs(self, sample: EncodedSample) -> Sequence[str]:
        """Return the inputs of ``sample`` that its image features replace."""
        return self._tower.replaced_inputs(list(sample.inputs)) if self._caches(sample) else ()

    def _caches(self, sample: EncodedSample) -> bool:
        return self._capabilities.feature_cache and sample.image_key is not None

    def _run_batch(
        self,
        rows: Sequence[Row],
        samples: Sequence[EncodedSample],
        features: FeatureCache,
        read: ReadLogits,
    ) -> Sequence[torch.Tensor]:
        """Return what is read of each row, member by member: (answer_tokens, ...) on the device."""
        with translate_out_of_memory(), torch.inference_mode(), ExitStack() as stack:
            inputs = self._batch_inputs(rows, samples, features)
            width = inputs["input_ids"].shape[1]
            # (answer_tokens of all rows,) indices into the flattened (batch * longest) tokens
            predicting = np.concatenate(
                [row.predicting + index * width for index, row in enumerate(rows)]
            )
            if self._capabilities.causal_beginning and rows[0].is_tree:
                shared = min(row.shared for row in rows)
                stack.enter_context(tree_attention(self._model, shared))
            if self._capabilities.short_last_layer:
                positions = self._to_device(torch.from_numpy(np.unique(predicting)))
                stack.enter_context(limit_last_mlp(self._model, positions))
            stack.enter_context(head_in_float32(self._model))
            losses = self._read_batch(rows, inputs, predicting, read)
        features.release_rows(rows)
        return torch.split(losses, [sum(row.counts) for row in rows])

    def _batch_inputs(
        self, rows: Sequence[Row], samples: Sequence[EncodedSample], features: FeatureCache
    ) -> dict[str, Any]:
        firsts = [samples[row.members[0]] for row in rows]
        tensors: Tensors = {"input_ids": pad_rows([row.ids for row in rows], self._pad_id)}
        tensors |= row_inputs(rows, samples, self._replaced_inputs(firsts[0]))
        if rows[0].is_tree:
            tensors["position_ids"] = tree_positions(self._model, rows, samples)
        elif not self._capabilities.maskless or "attention_mask" in firsts[0].inputs:
            own = [first.inputs.get("attention_mask") for first in firsts]  # (1, length) each
            masks = [
                np.ones(len(row)) if mask is None else np.asarray(mask[0])
                for row, mask in zip(rows, own, strict=True)
            ]
            # (batch, longest): 0 for padding and for tokens that a sample masks
            tensors["attention_mask"] = pad_rows(masks, 0)
        inputs: dict[str, Any] = {key: self._to_device(value) for key, value in tensors.items()}
        if rows[0].is_tree:
            branches = pad_rows([row.branches for row in rows], PADDING)  # (batch, longest)
            inputs["attention_mask"] = tree_mask(self._to_device(branches))
        if self._caches(firsts[0]):
            inputs["mm_encoder_outputs"] = features.get_features(rows)
        return inputs

    def _read_batch(
        self,
        rows: Sequence[Row],
        inputs: dict[str, Any],
        predicting: NDArray[np.int64],
        read: ReadLogits,
    ) -> torch.Tensor:
        """Return (answer_tokens of all rows, ...); the head runs only where one is predicted."""
        targets = self._to_device(torch.from_numpy(np.concatenate([row.targets for row in rows])))
        if self._capabilities.split_head:
            hidden = self._model.base_model(**inputs, use_cache=False)[0]  # (batch, longest, width)
            # (answer_tokens, width), on the device of the last layer if there are several
            selected = hidden.flatten(0, 1)[torch.from_numpy(predicting).to(hidden.device)]
            head = self._model.get_output_embeddings()
            return head_losses(selected, targets, head, self._vocabulary, read)
        kept, index_of_kept = np.unique(predicting, return_inverse=True)
        keep = torch.zeros(inputs["input_ids"].numel(), dtype=torch.bool)
        keep[torch.from_numpy(kept)] = True
        keep = self._to_device(keep.view(inputs["input_ids"].shape))  # (batch, longest)
        logits = self._model(**inputs, logits_to_keep=keep, use_cache=False).logits
        logits = logits.reshape(len(kept), -1)  # (kept, vocabulary)
        selected = logits[torch.from_numpy(index_of_kept).to(logits.device)]
        return read(selected, targets)

    def _to_device(self, value: torch.Tensor) -> torch.Tensor:
        return to_device(value, input_device(self._model), self._model.dtype)


def tree_limits(model: Any) -> TreeLimits:
    """Return the limits of a tree for this model."""
    text = model.config.get_text_config()
    windows = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    windows.append(short_length(model))  # longer sequences would change the positions
    return TreeLimits(
        width=int(text.hidden_size),
        window=min((int(size) for size in windows if size), default=None),
        image_token=VisionTower(model).image_token,
    )


def short_length(model: Any) -> int | None:
    """Return the tokens up to which a batch has the usual positions; None if it always has.

    With RoPE of the type longrope one longer row changes them for its whole batch; with dynamic
    NTK for all later batches as well, beyond the length that samples are limited to in any case.
    """
    text = model.config.get_text_config()
    parameters = getattr(text, "rope_parameters", None) or {}
    per_layer = [value for value in parameters.values() if isinstance(value, dict)]
    limits = [
        int(rope.get("original_max_position_embeddings") or text.max_position_embeddings)
        for rope in [parameters, *per_layer]
        if rope.get("rope_type") in ("longrope", "dynamic")
    ]
    return min(limits, default=None)


def tree_positions(
    model: Any, rows: Sequence[Row], samples: Sequence[EncodedSample]
) -> torch.Tensor:
    """Return position ids of trees: (batch, longest), or (4, batch, longest) for image grids.

    In the latter (M-RoPE) the first is the position in the sample and the other three are the
    model's own for the shared part of a row; text after it continues from the highest.
    """
    positions = pad_rows([row.positions for row in rows], 0)  # (batch, longest), in each sample
    get_rope_index = getattr(model.base_model, "get_rope_index", None)
    if get_rope_index is None:
        return positions
    grids = positions.expand(3, -1, -1).clone()  # (3, batch, longest)
    for index, row in enumerate(rows):
        first = samples[row.members[0]]
        if first.image_key is None:
            continue
        accepted = inspect.signature(get_rope_index).parameters
        per_token = (1, len(first.input_ids))
        inputs = {
            key: value[:, : row.shared] if tuple(value.shape) == per_token else value
            for key, value in first.inputs.items()
            if key in accepted
        }
        ids = torch.tensor([first.input_ids[: row.shared]])  # (1, shared)
        shared_grid = get_rope_index(input_ids=ids, **inputs)[0][:, 0]  # (3, shared)
        shift = int(shared_grid.max()) + 1 - row.shared
        grids[:, index] += shift
        grids[:, index, : row.shared] = shared_grid
    return torch.cat([positions[None], grids])
