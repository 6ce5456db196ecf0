"""The output embeddings in float32, whatever format the rest of the model computes in.

bfloat16 keeps eight bits of a logit, which is a step of 0.06 at a logit of 10, so rounding the
logits adds more noise to a loss than the layers before them do. Models scale or cap their logits
after the output embeddings, and that then happens in float32, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear

_CHUNK_VALUES = 1 << 25  # weights converted at a time: 128 MB in float32


@contextmanager
def head_in_float32(model: Any) -> Iterator[None]:
    """Within, the output embeddings of ``model`` return float32 logits.

    Output embeddings that are quantised, or not a linear layer, stay as they are.
    """
    head = model.get_output_embeddings()
    if not _is_plain_linear(head) or head.weight.dtype == torch.float32:
        yield
        return
    # accelerate wraps forward to fetch offloaded weights, and keeps the layer's own one here.
    name = "_old_forward" if hasattr(head, "_old_forward") else "forward"
    before = vars(head).get(name)
    setattr(head, name, partial(_float32_logits, head))
    try:
        yield
    finally:
        if before is None:
            delattr(head, name)
        else:
            setattr(head, name, before)


def _is_plain_linear(head: Any) -> bool:
    is_linear = type(head) is torch.nn.Linear
    return is_linear and type(head.weight.data) is torch.Tensor and head.weight.is_floating_point()


def _float32_logits(head: torch.nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    """(..., vocabulary) from (..., width); the weights are converted in chunks of rows."""
    wide = hidden.float()
    rows = max(1, _CHUNK_VALUES // head.weight.shape[1])
    chunks = [linear(wide, weight.float()) for weight in torch.split(head.weight, rows)]
    logits = torch.cat(chunks, dim=-1)
    return logits if head.bias is None else logits + head.bias.float()
