"""Attention over a tree of samples, with a dense mask only where it is needed.

The shared beginning of a row is ordinary causal text, so its queries go through the causal kernel
over the beginning alone; only the branches need a mask. transformers lets a model name its
attention function, which is replaced by the one below for one forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_NAME = "visnec_tree"
_shared: ContextVar[int] = ContextVar("tokens that all rows of the batch share", default=0)


def _tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Compute what SDPA does.

    Args:
        module: The attention layer.
        query, key, value: (batch, heads, length, width).
        attention_mask: (batch, 1, length, length).
        **options: Passed on.

    Returns:
        (batch, length, heads, width).
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


AttentionInterface.register(_NAME, _tree_attention)


@contextmanager
def tree_attention(model: Any, shared: int) -> Iterator[None]:
    """Make the text half of ``model`` treat the first ``shared`` tokens as causal text.

    Nothing changes for a model that does not use torch's own attention (SDPA).
    """
    config = model.config.get_text_config()
    before = config._attn_implementation
    if before != "sdpa":
        yield
        return
    token = _shared.set(shared)
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _shared.reset(token)
