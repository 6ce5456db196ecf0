"""Answer-token losses from logits; pure torch."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

IGNORED = -1


def answer_mask(turn_ids: torch.Tensor) -> torch.Tensor:
    """Which tokens of (batch, length) ``turn_ids`` are answer tokens that can be scored.

    The first token of a row never is: no logit stands before it.
    """
    mask = turn_ids != IGNORED
    mask[:, 0] = False
    return mask


def predicting_positions(answers: torch.Tensor) -> torch.Tensor:
    """The positions whose logits predict the answer tokens: one to the left of each."""
    positions = torch.zeros_like(answers)
    positions[:, :-1] = answers[:, 1:]
    return positions


def answer_token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log P of each target in nats, in float32 whatever the model's dtype.

    ``logits`` (answer tokens, vocabulary), ``targets`` (answer tokens).
    """
    return cross_entropy(logits.float(), targets, reduction="none")
