"""Lays samples out as the rows of a batch: one sample per row, or several as a tree.

A tree contains the tokens at the beginning of all its samples once, followed by each sample's
remaining tokens as a branch. A branch attends to the shared beginning and itself, so each token is
computed as it would be for the sample alone, and an image with eight questions is read once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.models.base import EncodedSample

Integers = NDArray[np.int64]

SHARED = -1  # branch number of the tokens that all samples of a row share
PADDING = -2  # branch number of the padding after a row


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Limits of a tree.

    ``min_shared`` is the least share of a sample's tokens that must be common to others; with less,
    the dense mask costs more than is saved.
    """

    width: int  # the model's hidden size
    window: int | None = None  # tokens that its attention looks back at most; None: all
    image_token: int | None = None  # id of an image placeholder
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
