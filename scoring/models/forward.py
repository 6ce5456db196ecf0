"""The forward pass that gives answer losses: rows in, batches through the model, losses out.

Each shortcut is taken only where ``Capabilities`` says that this model allows it; the losses are
the same on every route. Nothing is copied back before the last batch of a call is under way.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget, run_divisible
from scoring.models.capabilities import Capabilities
from scoring.models.collate import (
    Tensors,
    branch_numbers,
    input_device,
    input_shapes,
    padding_mask,
    plain_positions,
    row_inputs,
    to_device,
    token_ids,
    tree_mask,
)
from scoring.models.features import FeatureCache, VisionTower
from scoring.models.head import head_in_float32
from scoring.models.last_layer import limit_last_mlp
from scoring.models.losses import answer_token_losses, head_losses
from scoring.models.memory import translate_out_of_memory
from scoring.models.rows import Row, TreeLimits, plan_rows, split_row
from scoring.models.tree_attention import tree_attention

Losses = NDArray[np.float32]


class LossEngine:
    """Answer losses of encoded samples by one transformers model."""

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

    def losses(self, samples: Sequence[EncodedSample]) -> list[Losses | None]:
        """-log P of each answer token in nats, per sample; None where one does not fit alone."""
        rows = plan_rows(samples, self._limits)
        features = FeatureCache(self._tower, samples, rows)
        done: list[Row] = []
        found: list[torch.Tensor] = []
        for alike in self._alike(rows, samples):
            for row, losses in run_divisible(
                alike,
                len,
                self._budget,
                lambda batch: self._run(batch, samples, features),
                lambda row: split_row(samples, row),
            ):
                if losses is not None:
                    done.append(row)
                    found.append(losses)
        return _by_sample(len(samples), done, found)

    def joinable(self, samples: Sequence[EncodedSample]) -> list[list[int]]:
        """Places of ``samples`` in groups that can run in one batch, each as a row of its own."""
        groups: dict[Hashable, list[int]] = {}
        for place, sample in enumerate(samples):
            groups.setdefault(self._kind(sample), []).append(place)
        return list(groups.values())

    def _alike(self, rows: Sequence[Row], samples: Sequence[EncodedSample]) -> list[list[Row]]:
        """Rows in groups that can run in one batch."""
        groups: dict[Hashable, list[Row]] = {}
        for row in rows:
            kind = (row.is_tree, self._kind(samples[row.members[0]]))
            groups.setdefault(kind, []).append(row)
        return list(groups.values())

    def _kind(self, sample: EncodedSample) -> Hashable:
        masked, pictured = "attention_mask" in sample.inputs, sample.image_key is not None
        is_long = self._short is not None and len(sample.input_ids) > self._short
        return masked, pictured, is_long, input_shapes(sample, self._replaced(sample))

    def _replaced(self, sample: EncodedSample) -> Sequence[str]:
        """The inputs of ``sample`` that its image features stand for."""
        return (
            self._tower.replaced_inputs(list(sample.inputs)) if self._has_features(sample) else ()
        )

    def _has_features(self, sample: EncodedSample) -> bool:
        return self._capabilities.feature_cache and sample.image_key is not None

    def _run(
        self, rows: Sequence[Row], samples: Sequence[EncodedSample], features: FeatureCache
    ) -> Sequence[torch.Tensor]:
        """Losses on the device, per row, member by member."""
        with translate_out_of_memory(), torch.inference_mode():
            inputs = self._inputs(rows, samples, features)
            width = inputs["input_ids"].shape[1]
            places = np.concatenate([row.predicting + at * width for at, row in enumerate(rows)])
            with self._attention(rows), self._last_layer(places), head_in_float32(self._model):
                losses = self._losses(rows, inputs, places)
        features.release(rows)
        return torch.split(losses, [sum(row.counts) for row in rows])

    def _attention(self, rows: Sequence[Row]) -> AbstractContextManager[None]:
        if not (self._capabilities.causal_beginning and rows[0].is_tree):
            return nullcontext()
        return tree_attention(self._model, min(row.shared for row in rows))

    def _inputs(
        self, rows: Sequence[Row], samples: Sequence[EncodedSample], features: FeatureCache
    ) -> dict[str, Any]:
        firsts = [samples[row.members[0]] for row in rows]
        inputs: Tensors = {"input_ids": token_ids(rows, self._pad_id)}
        inputs |= row_inputs(rows, samples, self._replaced(firsts[0]))
        if rows[0].is_tree:
            inputs["position_ids"] = tree_positions(self._model, rows, samples)
        elif not self._capabilities.maskless or "attention_mask" in firsts[0].inputs:
            inputs["attention_mask"] = padding_mask(rows, samples)
        fed: dict[str, Any] = {key: self._moved(value) for key, value in inputs.items()}
        if rows[0].is_tree:
            fed["attention_mask"] = tree_mask(self._moved(branch_numbers(rows)))
        if self._has_features(firsts[0]):
            fed["mm_encoder_outputs"] = features.of(rows)
        return fed

    def _last_layer(self, places: NDArray[np.int64]) -> AbstractContextManager[None]:
        if not self._capabilities.short_last_layer:
            return nullcontext()
        return limit_last_mlp(self._model, self._moved(torch.from_numpy(np.unique(places))))

    def _losses(
        self, rows: Sequence[Row], inputs: dict[str, Any], places: NDArray[np.int64]
    ) -> torch.Tensor:
        """(answer tokens of all rows): only what predicts one of them goes through the head."""
        targets = self._moved(torch.from_numpy(np.concatenate([row.targets for row in rows])))
        if self._capabilities.split_head:
            hidden = self._model.base_model(**inputs, use_cache=False)[0]
            # (answer tokens, width), on the device of the last layer where there are several
            chosen = hidden.flatten(0, 1)[torch.from_numpy(places).to(hidden.device)]
            head = self._model.get_output_embeddings()
            return head_losses(chosen, targets, head, self._vocabulary)
        kept, of_kept = np.unique(places, return_inverse=True)
        keep = torch.zeros(inputs["input_ids"].numel(), dtype=torch.bool)
        keep[torch.from_numpy(kept)] = True
        keep = self._moved(keep.view(inputs["input_ids"].shape))
        logits = self._model(**inputs, logits_to_keep=keep, use_cache=False).logits
        chosen = logits.reshape(len(kept), -1)[torch.from_numpy(of_kept).to(logits.device)]
        return answer_token_losses(chosen, targets)

    def _moved(self, value: torch.Tensor) -> torch.Tensor:
        return to_device(value, input_device(self._model), self._model.dtype)


def tree_limits(model: Any) -> TreeLimits:
    """What a tree may hold for this model."""
    text = model.config.get_text_config()
    looks_back = [getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size")]
    looks_back.append(short_length(model))  # no more than that in one tree
    return TreeLimits(
        width=int(text.hidden_size),
        window=min((int(size) for size in looks_back if size), default=None),
        image_token=VisionTower(model).image_token,
    )


def short_length(model: Any) -> int | None:
    """Tokens up to which a batch's positions are the usual ones; None where they always are.

    With RoPE of the type longrope one longer row changes them for its whole batch; with dynamic
    NTK all that come after as well, beyond the length that samples are held to in any case.
    """
    text = model.config.get_text_config()
    found = getattr(text, "rope_parameters", None) or {}
    kinds = [found, *(one for one in found.values() if isinstance(one, dict))]  # or one per layer
    limits = [
        int(kind.get("original_max_position_embeddings") or text.max_position_embeddings)
        for kind in kinds
        if kind.get("rope_type") in ("longrope", "dynamic")
    ]
    return min(limits, default=None)


def tree_positions(
    model: Any, rows: Sequence[Row], samples: Sequence[EncodedSample]
) -> torch.Tensor:
    """Position ids of trees: (batch, longest), or (4, batch, longest) where an image has a grid.

    In the latter (M-RoPE) the first row is the place in the sample and the others are the
    model's own for what a row shares; what follows is text and counts on from the highest.
    """
    places = plain_positions(rows)
    index = getattr(model.base_model, "get_rope_index", None)
    if index is None:
        return places
    grids = places.expand(3, -1, -1).clone()
    for at, row in enumerate(rows):
        first = samples[row.members[0]]
        if first.image_key is None:
            continue
        own = _shared_grid(index, first, row.shared)
        shift = int(own.max()) + 1 - row.shared
        grids[:, at] += shift
        grids[:, at, : row.shared] = own
    return torch.cat([places[None], grids])


def _shared_grid(index: Any, sample: EncodedSample, shared: int) -> torch.Tensor:
    """(3, shared) positions of the first ``shared`` tokens, as the model's own ``index`` has it."""
    takes = inspect.signature(index).parameters
    length = len(sample.input_ids)
    fed = {
        key: value[:, :shared] if tuple(value.shape) == (1, length) else value
        for key, value in sample.inputs.items()
        if key in takes
    }
    ids = torch.tensor([sample.input_ids[:shared]])
    found: torch.Tensor = index(input_ids=ids, **fed)[0]
    return found[:, 0]


def _by_sample(
    count: int, rows: Sequence[Row], found: Sequence[torch.Tensor]
) -> list[Losses | None]:
    """One copy from the device, cut into the samples' own losses."""
    results: list[Losses | None] = [None] * count
    if not rows:
        return results
    losses: Losses = torch.cat(list(found)).cpu().numpy()
    at = 0
    for row in rows:
        for member, length in zip(row.members, row.counts, strict=True):
            results[member] = losses[at : at + length]
            at += length
    return results
