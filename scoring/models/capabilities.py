"""The shortcuts that a loaded model can use without changing its losses.

They are measured when the model is loaded (``probing``), never looked up by the family's name.
Without any of them every sample runs as a row of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_TREE_ATTENTION = "visnec_tree"
_shared: ContextVar[int] = ContextVar("tokens that all rows of the batch share", default=0)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Shortcuts that gave the same losses as one sample at a time with all logits."""

    batched: bool = False  # several rows in a batch, padded on the right and masked
    maskless: bool = False  # the same without the mask: allows the kernel for causal attention
    feature_cache: bool = False  # the vision tower runs once per distinct image
    tree: bool = False  # samples with the same beginning share a row
    causal_beginning: bool = False  # the shared beginning goes through the causal kernel
    split_head: bool = False  # the output head runs at the answer positions only, in chunks
    short_last_layer: bool = False  # the last layer's MLP runs at the answer positions only

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the available shortcuts, for the run record and for display."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


@contextmanager
def limit_last_mlp(model: Any, positions: torch.Tensor, filler: float = 0.0) -> Iterator[None]:
    """Run the last decoder layer's MLP only at ``positions``; its output elsewhere is ``filler``.

    ``positions`` are indices into the flattened (batch * length) tokens. An MLP's output for a
    token depends on that token alone, and only the answer positions of the last layer are read. In
    a model of eight layers this saves a twelfth of the computation. Raises any exception of a model
    whose last layer has no such MLP.
    """
    mlp = model.get_decoder().layers[-1].mlp
    shapes: list[torch.Size] = []

    def select_positions(_: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (hidden,) = args  # (batch, length, width)
        shapes.append(hidden.shape)
        return (hidden.flatten(0, 1)[positions][None],)  # (1, positions, width)

    def restore_shape(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        shape = shapes.pop()
        whole = output.new_full((shape[0] * shape[1], shape[2]), filler)  # (batch * length, width)
        whole[positions] = output[0]
        return whole.view(shape)

    hooks = [
        mlp.register_forward_pre_hook(select_positions),
        mlp.register_forward_hook(restore_shape),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute what SDPA does, with a mask only for the branches: (batch, length, heads, width).

    The shared beginning of a row is ordinary causal text, so its queries go through the causal
    kernel over the beginning alone. ``query``, ``key`` and ``value`` are (batch, heads, length,
    width), ``attention_mask`` is (batch, 1, length, length).
    """
    shared = _shared.get()
    length = query.shape[2]
    if attention_mask is None or attention_mask.shape[-2:] != (length, length) or shared < 2:
        whole, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return whole, None
    beginning, _ = sdpa_attention_forward(
        module, query[:, :, :shared], key[:, :, :shared], value[:, :, :shared], None, **options
    )  # (batch, shared, heads, width)
    if shared >= length:
        return beginning, None
    rest, _ = sdpa_attention_forward(
        module, query[:, :, shared:], key, value, attention_mask[:, :, shared:], **options
    )  # (batch, length - shared, heads, width)
    return torch.cat([beginning, rest], dim=1), None


AttentionInterface.register(_TREE_ATTENTION, _tree_attention)


@contextmanager
def tree_attention(model: Any, shared: int) -> Iterator[None]:
    """Make ``model``, if it uses SDPA, treat the first ``shared`` tokens as causal text."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if before != "sdpa":
        yield
        return
    token = _shared.set(shared)
    config._attn_implementation = _TREE_ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before
        _shared.reset(token)
