"""The lines that sum up a subset on the screen, and shares in per cent."""

from __future__ import annotations

import math

import pandas as pd

from scoring.cli import console
from scoring.rules.evidence import EVIDENCE_SECTION, find_evidence
from scoring.rules.shortfall import describe_shortfall
from scoring.subsets.definitions import ResolvedSubset

_SHARES = {
    "share": "kept of samples",
    "share_before": "of all samples",
    "share_after": "of the subset",
    "token_share_before": "of all tokens",
    "token_share_after": "of the subset's tokens",
}


def show_headline(resolved: ResolvedSubset) -> None:
    """Print the size of a subset and what was measured about its rule."""
    subset, definition = resolved.subset, resolved.definition
    console.show_message(
        f"Subset {definition.name}: {len(subset.selected):,} of {len(subset.row_idx):,} samples; "
        f"manual decisions added {subset.n_hand_kept:,} and removed {subset.n_hand_dropped:,}"
    )
    name = definition.rule.name
    console.show_message(
        f"Evidence for {name} on synthetic data ({EVIDENCE_SECTION}): {find_evidence(name)}"
    )


def list_size_warnings(resolved: ResolvedSubset) -> list[str]:
    """Return a line if the subset is empty, and one if its rule stays below the size asked for."""
    lines = []
    if not len(resolved.subset.selected):
        name, n = resolved.definition.name, len(resolved.subset.row_idx)
        lines.append(f"Subset {name} keeps none of the {n:,} samples")
    shortfall = describe_shortfall(resolved.definition.rule, resolved.candidates)
    return [*lines, shortfall] if shortfall else lines


def format_shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with shares in per cent, in columns that name what they are shares of."""
    shares = {name: label for name, label in _SHARES.items() if name in frame}
    if "weight" in frame and "share_after" in frame:
        shares["share_after"] = "of the weight"
    text = {name: [format_share(value) for value in frame[name]] for name in shares}
    return frame.assign(**text).rename(columns=shares)


def format_share(value: float) -> str:
    """Return a share in per cent; ``-`` for NaN."""
    return "-" if math.isnan(value) else f"{value:.1%}"
