"""What a dataset consists of before and after a selection. Pure functions on columns."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.rules.candidates import Floats, Ints, Mask

Grouping = Literal["source", "category", "answer type", "cluster"]
"""How the samples of a composition are grouped."""

SMALLEST_SHARE: Final = 0.02
LARGEST_RATIO: Final = 0.25
MIN_EXPECTED: Final = 5
"""A group nearly vanishes if it is at least ``SMALLEST_SHARE`` of the data and its share of the
subset is at most ``LARGEST_RATIO`` of that. Groups of which a random subset of the same size would
have fewer than ``MIN_EXPECTED`` samples are left out."""


def compare_composition(
    codes: NDArray[Any], n_groups: int, kept: Mask, weights: Floats | None = None
) -> pd.DataFrame:
    """Return the shares of groups before and after a selection, one row per group.

    ``codes`` (the group of each sample, 0-based), ``kept`` and ``weights`` are columns over all
    samples. Columns: samples, share_before (of all samples), kept, weight (sum over the kept
    samples; 1 each without weights), mean_weight (NaN where none is kept) and share_after (of the
    total weight; NaN for an empty subset).
    """
    values = kept.astype(np.float64) if weights is None else weights
    samples = np.bincount(codes, minlength=n_groups)
    n_kept = np.bincount(codes[kept], minlength=n_groups)
    weight = np.bincount(codes, values, n_groups).astype(np.float64)
    with np.errstate(invalid="ignore"):
        columns = {
            "samples": samples,
            "share_before": samples / samples.sum(),
            "kept": n_kept,
            "weight": weight,
            "mean_weight": weight / n_kept,
            "share_after": weight / weight.sum(),
        }
    return pd.DataFrame(columns)


def compare_mixture(
    codes: NDArray[Any], n_groups: int, tokens: Ints, repeats: Floats
) -> pd.DataFrame:
    """Return what a mixture does to groups, one row per group.

    ``codes``, ``tokens`` (answer tokens) and ``repeats`` (how often a sample counts, 0 if dropped)
    are columns over all samples. Columns: samples, tokens, kept, repeated (samples with repeats),
    repeated_tokens, epochs (repeated / samples), most_repeats, and the shares of samples and of
    tokens before and after.
    """
    samples = np.bincount(codes, minlength=n_groups)
    repeated = np.bincount(codes, repeats, n_groups)
    tokens_before = np.bincount(codes, tokens, n_groups)
    tokens_after = np.bincount(codes, tokens * repeats, n_groups)
    most = np.zeros(n_groups)
    np.maximum.at(most, codes, repeats)
    with np.errstate(invalid="ignore"):
        columns = {
            "samples": samples,
            "tokens": tokens_before.astype(np.int64),
            "kept": np.bincount(codes[repeats > 0], minlength=n_groups),
            "repeated": repeated.astype(np.int64),
            "repeated_tokens": tokens_after.astype(np.int64),
            "epochs": repeated / samples,
            "most_repeats": most.astype(np.int64),
            "share_before": samples / samples.sum(),
            "share_after": repeated / repeated.sum(),
            "token_share_before": tokens_before / tokens_before.sum(),
            "token_share_after": tokens_after / tokens_after.sum(),
        }
    return pd.DataFrame(columns)


def describe_vanishing(grouping: str, composition: pd.DataFrame) -> list[str]:
    """Return a line for each group that nearly vanishes, the largest first.

    ``composition`` has the columns of :func:`compare_composition` and the groups as index.
    """
    before, after = composition["share_before"], composition["share_after"]
    vanishing = (
        (before >= SMALLEST_SHARE)
        & (after <= LARGEST_RATIO * before)
        & (before * composition["kept"].sum() >= MIN_EXPECTED)
    )
    rows = composition[vanishing].sort_values("samples", ascending=False, kind="stable")
    return [
        f"{grouping.capitalize()} {name} nearly vanishes: {100 * row['share_before']:.1f} % of "
        f"the data, {100 * row['share_after']:.1f} % of the subset"
        for name, row in rows.iterrows()
    ]
