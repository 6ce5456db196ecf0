"""Lays samples out as the rows of a batch: one sample a row, or several as a tree.

A tree holds the tokens that its samples begin with once, and each sample's remaining tokens as a
branch behind them. A branch sees the shared beginning and itself, so what the model computes for
each token is what it would for the sample alone, and an image that eight questions are asked
about is read once. Which samples share a row is decided here, in plain arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.models.base import EncodedSample

Integers = NDArray[np.int64]

SHARED = -1  # branch number of the tokens that all samples of a row begin with
PADDING = -2  # branch number of what stands behind a row


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """What a tree may hold.

    ``width``: the model's hidden size. ``window``: tokens that its attention looks back at the
    most (None: all). ``image_token``: id of an image placeholder. ``worth``: the share of a
    sample's tokens that must be common to others; below, the dense mask costs more than is spared.
    """

    width: int
    window: int | None = None
    image_token: int | None = None
    worth: float = 0.15

    def branch_tokens(self, shared: int) -> int:
        """How many tokens the branches may hold together behind ``shared`` common ones.

        With N such tokens in rows of n, a layer's matrices cost 24 width^2 (N / n) shared more for
        the repeated beginnings, and its attention 4 width (shared + n)^2 per row; their sum is
        least at this n.
        """
        return int(math.sqrt(shared * shared + 6 * self.width * shared))


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One row of a batch.

    ``members``: places of its samples in the call. ``starts``: where each one's own tokens begin
    in the row, behind the ``shared`` ones. ``ids``, ``positions``, ``branches`` (length): token,
    its place in its own sample, and its branch. ``predicting``, ``targets``: for all answer
    tokens, member by member, the place in the row that predicts it and the token itself;
    ``counts`` says how many of them each member has.
    """

    members: tuple[int, ...]
    shared: int
    starts: tuple[int, ...]
    ids: Integers
    positions: Integers
    branches: Integers
    predicting: Integers
    targets: Integers
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_tree(self) -> bool:
        """Whether several samples share the row."""
        return len(self.members) > 1


def build_row(samples: Sequence[EncodedSample], members: Sequence[int], shared: int) -> Row:
    """The row of ``members``, whose first ``shared`` tokens are the same."""
    ids = [np.asarray(samples[member].input_ids, dtype=np.int64) for member in members]
    lengths = [len(one) for one in ids]
    own = np.array(lengths) - shared
    starts = shared + np.concatenate([[0], np.cumsum(own[:-1])]).astype(np.int64)
    predicting, targets = [], []
    for member, tokens, start in zip(members, ids, starts.tolist(), strict=True):
        answers = np.flatnonzero(np.asarray(samples[member].turn_ids) >= 0)
        before = answers[answers > 0] - 1  # nothing predicts the first token
        predicting.append(np.where(before < shared, before, before + start - shared))
        targets.append(tokens[before + 1])
    return Row(
        members=tuple(members),
        shared=shared,
        starts=tuple(starts.tolist()),
        ids=lay_out_tokens(ids, shared),
        positions=lay_out_tokens([np.arange(length) for length in lengths], shared),
        branches=np.concatenate([np.full(shared, SHARED), np.repeat(np.arange(len(ids)), own)]),
        predicting=np.concatenate(predicting),
        targets=np.concatenate(targets),
        counts=tuple(len(one) for one in targets),
    )


def lay_out_tokens(values: Sequence[Integers], shared: int) -> Integers:
    """One value per token of each member, brought into the order of their row."""
    return np.concatenate([values[0][:shared], *(value[shared:] for value in values)])


def single_rows(samples: Sequence[EncodedSample]) -> list[Row]:
    """Each sample as a row of its own."""
    lengths = [len(sample.input_ids) for sample in samples]
    return [build_row(samples, [place], length) for place, length in enumerate(lengths)]


def plan_rows(samples: Sequence[EncodedSample], limits: TreeLimits | None) -> list[Row]:
    """Rows for ``samples``: as trees within ``limits`` where that spares work.

    Samples meet in a tree when they have the same images, or none, and begin alike; all of their
    image tokens must lie in what they share. A sample with an attention mask of its own stays
    alone.
    """
    if limits is None:
        return single_rows(samples)
    groups: dict[object, list[int]] = {}
    for place, sample in enumerate(samples):
        groups.setdefault(_group(place, sample), []).append(place)
    rows = []
    for places in groups.values():
        for members, shared in _trees(samples, places, limits):
            rows.append(build_row(samples, members, shared))
    return rows


def _group(place: int, sample: EncodedSample) -> object:
    """What samples of one row have in common; compared by identity where it is a key object."""
    if "attention_mask" in sample.inputs:
        return ("alone", place)
    if sample.image_key is not None:
        return ("image", id(sample.image_key))
    has_image = any(key.startswith("pixel") for key in sample.inputs)
    return ("alone", place) if has_image else "text"


def _trees(
    samples: Sequence[EncodedSample], places: Sequence[int], limits: TreeLimits
) -> list[tuple[list[int], int]]:
    """(members, tokens they share), from samples sorted so that like beginnings meet."""
    found: list[tuple[list[int], int]] = []
    order = sorted(places, key=lambda place: (samples[place].input_ids, place))
    for place in order:
        length = len(samples[place].input_ids)
        if found:
            members, shared = found[-1]
            common = _common(samples, [*members[:1], place], shared)
            if _fits(samples, [*members, place], common, limits):
                members.append(place)
                found[-1] = (members, common)
                continue
        found.append(([place], length))
    return found


def _common(samples: Sequence[EncodedSample], places: Sequence[int], at_most: int) -> int:
    """How many tokens, of the first ``at_most``, all of ``places`` begin with alike."""
    ids = [samples[place].input_ids[:at_most] for place in places]
    first, last = min(ids), max(ids)  # what lies between them begins as they do
    pairs = enumerate(zip(first, last, strict=False))
    shortest = min(len(first), len(last))
    return next((place for place, (one, other) in pairs if one != other), shortest)


def _fits(
    samples: Sequence[EncodedSample], members: Sequence[int], shared: int, limits: TreeLimits
) -> bool:
    lengths = [len(samples[member].input_ids) for member in members]
    if shared < max(1, limits.worth * max(lengths)):
        return False
    if limits.window is not None and max(lengths) > limits.window:
        return False  # such a row's mask does not narrow to the window
    if sum(lengths) - len(lengths) * shared > limits.branch_tokens(shared):
        return False
    first = samples[members[0]]
    if first.image_key is None:
        return True
    return limits.image_token is not None and limits.image_token not in first.input_ids[shared:]


def split_row(samples: Sequence[EncodedSample], row: Row) -> list[Row]:
    """A tree's samples as two rows; nothing for a row that holds one sample."""
    if not row.is_tree:
        return []
    half = (len(row.members) + 1) // 2
    parts = (row.members[:half], row.members[half:])
    return [
        build_row(samples, part, _common(samples, part, len(samples[part[0]].input_ids)))
        for part in parts
    ]
