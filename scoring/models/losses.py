"""Answer-token losses from hidden states or logits; pure torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

_CHUNK_VALUES = 1 << 26  # logits computed at a time: 256 MB in float32


def answer_token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log P of each target in nats, in float32 whatever the model's dtype.

    ``logits`` (answer tokens, vocabulary), ``targets`` (answer tokens).
    """
    return cross_entropy(logits.float(), targets.to(logits.device), reduction="none")


def head_losses(
    hidden: torch.Tensor,
    targets: torch.Tensor,
    head: Callable[[torch.Tensor], torch.Tensor],
    vocabulary: int,
) -> torch.Tensor:
    """As ``answer_token_losses``, from the hidden states (answer tokens, width) before ``head``.

    The logits never exist all at once, so that a very long answer needs no more memory for them
    than a short one.
    """
    step = max(1, _CHUNK_VALUES // vocabulary)
    parts = [
        answer_token_losses(head(hidden[start : start + step]), targets[start : start + step])
        for start in range(0, len(targets), step)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)
