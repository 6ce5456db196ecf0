"""Answer-token losses from hidden states or logits, with the output head in float32.

bfloat16 keeps eight bits of a logit, a step of 0.06 at a logit of 10, so rounding the logits adds
more noise to a loss than all layers before them. Models that scale or cap their logits after the
output embeddings then do so in float32 as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import cross_entropy, linear

_LOGITS_PER_CHUNK = 1 << 26  # 256 MB in float32
_WEIGHTS_PER_CHUNK = 1 << 25  # 128 MB in float32

ReadLogits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What is read off (answer_tokens, vocabulary) logits and (answer_tokens,) targets, per token."""


def answer_token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return (answer_tokens,) nats of ``targets``, in float32, from (answer_tokens, vocabulary)."""
    return cross_entropy(logits.float(), targets.to(logits.device), reduction="none")


def answer_token_hits(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return (answer_tokens, 2) in float32: the losses, and 1 where the target is likeliest."""
    hits = logits.argmax(dim=-1) == targets.to(logits.device)  # (answer_tokens,)
    return torch.stack([answer_token_losses(logits, targets), hits.float()], dim=-1)


def head_losses(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    vocabulary: int,
    read: ReadLogits = answer_token_losses,
) -> torch.Tensor:
    """Return ``read`` of the logits from the hidden states (answer_tokens, width) before ``head``.

    The logits are computed in chunks, so very long answers need no more memory for them.
    """
    step = max(1, _LOGITS_PER_CHUNK // vocabulary)
    chunks = [
        read(head(hidden[start : start + step]), targets[start : start + step])
        for start in range(0, len(targets), step)
    ]
    if not chunks:
        return read(hidden.new_zeros((0, vocabulary), dtype=torch.float32), targets)
    return torch.cat(chunks)


@contextmanager
def head_in_float32(model: Any) -> Iterator[None]:
    """Make the output embeddings of ``model`` return float32 logits within the context.

    Output embeddings that are quantised, or not a linear layer, stay unchanged.
    """
    head = model.get_output_embeddings()
    is_plain_linear = (
        type(head) is torch.nn.Linear
        and type(head.weight.data) is torch.Tensor
        and head.weight.is_floating_point()
    )
    if not is_plain_linear or head.weight.dtype == torch.float32:
        yield
        return
    # accelerate wraps forward to fetch offloaded weights, and keeps the layer's own one here.
    name = "_old_forward" if hasattr(head, "_old_forward") else "forward"
    before = vars(head).get(name)

    def float32_logits(hidden: torch.Tensor) -> torch.Tensor:
        """Return (..., vocabulary) from (..., width); weights are converted in chunks of rows."""
        wide = hidden.float()  # (..., width)
        rows = max(1, _WEIGHTS_PER_CHUNK // head.weight.shape[1])
        chunks = [linear(wide, weight.float()) for weight in torch.split(head.weight, rows)]
        logits = torch.cat(chunks, dim=-1)  # (..., vocabulary)
        return logits if head.bias is None else logits + head.bias.float()

    setattr(head, name, float32_logits)
    try:
        yield
    finally:
        if before is None:
            delattr(head, name)
        else:
            setattr(head, name, before)
