"""How far subsets agree: overlap, what only one of them holds, by source. Pure.

The overlap is Jaccard's: samples in both over samples in either; two empty subsets agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoring.errors import RuleError
from scoring.rules.candidates import Candidates, Ints, Mask
from scoring.subsets.selection import Subset


@dataclass(frozen=True, slots=True, eq=False)
class SubsetDiff:
    """Two subsets of one dataset side by side.

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
        return _jaccard(self.n_a, self.n_b, len(self.both))


def compare_subsets(a: Subset, b: Subset, found: Candidates) -> SubsetDiff:
    """What two subsets of ``found`` have in common. Raises RuleError for those of other rows."""
    for subset in (a, b):
        _check_rows(subset.row_idx, found.row_idx)
    both = a.kept & b.kept
    only_a, only_b = a.kept & ~b.kept, b.kept & ~a.kept
    counted = {
        "samples": np.ones(len(found), np.bool_),
        "a": a.kept,
        "b": b.kept,
        "both": both,
        "only_a": only_a,
        "only_b": only_b,
    }
    frame = pd.DataFrame(
        {name: _by_source(mask, found) for name, mask in counted.items()},
        index=pd.Index(found.sources, name="source"),
    )
    either = frame["a"] + frame["b"] - frame["both"]
    frame["jaccard"] = (frame["both"] / either).where(either > 0)
    return SubsetDiff(
        n_a=int(a.kept.sum()),
        n_b=int(b.kept.sum()),
        both=found.row_idx[both],
        only_a=found.row_idx[only_a],
        only_b=found.row_idx[only_b],
        by_source=frame,
    )


def overlap_table(subsets: Mapping[str, Subset]) -> pd.DataFrame:
    """Every pair of the named subsets, in their order: columns a, b, n_a, n_b, both, jaccard.

    Each pair stands once, and each subset once with itself. Raises RuleError for subsets of
    different rows.
    """
    rows = []
    named = list(subsets.items())
    for place, (name_a, a) in enumerate(named):
        for name_b, b in named[place:]:
            _check_rows(a.row_idx, b.row_idx)
            n_a, n_b = int(a.kept.sum()), int(b.kept.sum())
            both = int((a.kept & b.kept).sum())
            rows.append((name_a, name_b, n_a, n_b, both, _jaccard(n_a, n_b, both)))
    return pd.DataFrame(rows, columns=["a", "b", "n_a", "n_b", "both", "jaccard"])


def _by_source(mask: Mask, found: Candidates) -> Ints:
    return np.bincount(found.source[mask], minlength=len(found.sources)).astype(np.int64)


def _jaccard(n_a: int, n_b: int, both: int) -> float:
    either = n_a + n_b - both
    return both / either if either else 1.0


def _check_rows(a: Ints, b: Ints) -> None:
    if not np.array_equal(a, b):
        raise RuleError(
            f"subsets of {len(a):,} and {len(b):,} samples are not of one dataset; compare "
            "subsets of one workspace"
        )
