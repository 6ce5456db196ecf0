"""Overlap of subsets, in total and by source. Pure functions.

Overlap is the Jaccard index: samples in both over samples in either; two empty subsets have 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd

from scoring.errors import RuleError
from scoring.rules.candidates import Candidates, Ints, Mask
from scoring.subsets.selection import Subset


@dataclass(frozen=True, slots=True, eq=False)
class SubsetDiff:
    """The comparison of two subsets of one dataset.

    ``both``, ``only_a`` and ``only_b`` are row_idx, ascending. ``by_source`` has the index source
    and the columns samples, a, b, both, only_a, only_b and jaccard (NaN where neither has any).
    """

    n_a: int
    n_b: int
    both: Ints
    only_a: Ints
    only_b: Ints
    by_source: pd.DataFrame

    @property
    def jaccard(self) -> float:
        """Samples in both over samples in either, from 0 to 1."""
        either = self.n_a + self.n_b - len(self.both)
        return len(self.both) / either if either else 1.0


def compare_subsets(a: Subset, b: Subset, candidates: Candidates) -> SubsetDiff:
    """Compare two subsets of ``candidates``. Raises RuleError for subsets of other rows."""
    for subset in (a, b):
        _check_same_rows(subset.row_idx, candidates.row_idx)
    both, only_a, only_b = a.kept & b.kept, a.kept & ~b.kept, b.kept & ~a.kept
    masks = {"samples": np.ones(len(candidates), np.bool_), "a": a.kept, "b": b.kept}
    masks |= {"both": both, "only_a": only_a, "only_b": only_b}
    n_sources = len(candidates.sources)
    frame = pd.DataFrame(
        {
            name: np.bincount(candidates.source[mask], minlength=n_sources).astype(np.int64)
            for name, mask in masks.items()
        },
        index=pd.Index(candidates.sources, name="source"),
    )
    either = frame["a"] + frame["b"] - frame["both"]
    frame["jaccard"] = (frame["both"] / either).where(either > 0)
    return SubsetDiff(
        n_a=int(a.kept.sum()),
        n_b=int(b.kept.sum()),
        both=candidates.row_idx[both],
        only_a=candidates.row_idx[only_a],
        only_b=candidates.row_idx[only_b],
        by_source=frame,
    )


def overlap_table(subsets: Mapping[str, Subset]) -> pd.DataFrame:
    """Compare every pair of the named subsets once, and each subset with itself.

    The columns are a, b, n_a, n_b, both and jaccard. Raises RuleError for subsets of other rows.
    """
    rows = []
    for (name_a, a), (name_b, b) in combinations_with_replacement(subsets.items(), 2):
        _check_same_rows(a.row_idx, b.row_idx)
        n_a, n_b, both = (int(mask.sum()) for mask in (a.kept, b.kept, a.kept & b.kept))
        rows.append((name_a, name_b, n_a, n_b, both, jaccard_index(a.kept, b.kept)))
    return pd.DataFrame(rows, columns=["a", "b", "n_a", "n_b", "both", "jaccard"])


def jaccard_index(a: Mask, b: Mask) -> float:
    """Return the samples in both masks over those in either; 1 if both are empty."""
    either = int((a | b).sum())
    return int((a & b).sum()) / either if either else 1.0


def _check_same_rows(a: Ints, b: Ints) -> None:
    if not np.array_equal(a, b):
        raise RuleError(
            f"Cannot compare subsets of different datasets ({len(a):,} and {len(b):,} samples). "
            "Choose subsets of one workspace"
        )
