"""What ``visnec select`` prints about a subset, and the same as JSON values."""

from __future__ import annotations

import math
from typing import Any, get_args

import pandas as pd

from scoring.cli import console
from scoring.necessity import Bands
from scoring.precision import Noise
from scoring.rules import Mixture
from scoring.rules.evidence import EVIDENCE_SECTION, find_evidence
from scoring.rules.shortfall import describe_shortfall
from scoring.samples import Status
from scoring.subsets.composition import Grouping
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import effective_share
from scoring.subsets.stability import format_near_threshold

GROUPINGS = get_args(Grouping)
CLUSTERS_SHOWN = 20

_SHARES = {
    "share": "kept of samples",
    "share_before": "of all samples",
    "share_after": "of the subset",
    "token_share_before": "of all tokens",
    "token_share_after": "of the subset's tokens",
}


def show_subset(resolved: ResolvedSubset, bands: Bands, noise: Noise | None) -> None:
    """Print what a subset holds, what its choices left out, and warnings."""
    subset, definition = resolved.subset, resolved.definition
    frame = resolved.by_source() if subset.weights is None else resolved.composition()
    frame = _format_shares(frame)
    if isinstance(definition.rule, Mixture):
        frame = _format_mixture(resolved.mixture(), by_tokens=definition.rule.tokens is not None)
    _show_headline(resolved)
    console.show_frame(f"Subset {definition.name}: {definition.describe_rule()}", frame)
    samples = resolved.by_status()["samples"]
    text_only = int(samples.get(str(Status.TEXT_ONLY), 0))
    unreadable = int(samples.get(str(Status.BAD_RECORD), 0))
    n_unscored = int(
        samples.drop([Status.SCORED, Status.TEXT_ONLY, Status.BAD_RECORD], errors="ignore").sum()
    )
    verb = {"keep": "kept", "drop": "dropped"}
    console.show_message(
        f"By choice: {text_only:,} text-only samples {verb[definition.text_only]}, {n_unscored:,} "
        f"others without a score {verb[definition.unscored]}; {unreadable:,} unreadable records "
        "dropped"
    )
    if isinstance(definition.rule, Mixture):
        unit = "samples" if definition.rule.tokens is None else "answer tokens"
        console.show_message(
            f"Shares of the mixture are of {unit}; after, repeats included. Epochs: how often a "
            "group's samples are seen on average; repeats: how often one of them at most"
        )
        for line in definition.rule.describe_issues(resolved.candidates):
            console.show_warning(line)
    elif subset.weights is not None:
        share = effective_share(subset.weights)
        console.show_message(
            f"The weights are equivalent to {100 * share:.1f} % of the samples at equal weight"
        )
    _show_composition(resolved, bands)
    near = format_near_threshold(definition.rule, resolved.candidates, noise)
    if near is not None:
        console.show_message(near)


def _format_mixture(frame: pd.DataFrame, by_tokens: bool) -> pd.DataFrame:
    """Return the table of a mixture for a terminal: two rows per group, before and after.

    Shares are in the unit of the budget; after, everything includes repeats.
    """
    frame = frame[frame["samples"] > 0]
    share = "token_share" if by_tokens else "share"
    rows: list[tuple[object, ...]] = []
    for name, row in frame.iterrows():
        before, after = _format_share(row[f"{share}_before"]), _format_share(row[f"{share}_after"])
        rows.append((name, "before", int(row["samples"]), int(row["tokens"]), before, "", "", ""))
        counts = int(row["repeated"]), int(row["repeated_tokens"])
        repeats = f"{row['epochs']:.2f}", int(row["most_repeats"])
        rows.append(("", "after", *counts, after, _format_share(row["target"]), *repeats))
    columns = [frame.index.name, "", "samples", "tokens", "share", "target", "epochs", "repeats"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[0])


def _show_composition(resolved: ResolvedSubset, bands: Bands) -> None:
    """Print the groups of samples before and after, and a warning for those that nearly vanish."""
    rows: list[tuple[str, object, int, str, int, str]] = []
    for grouping in GROUPINGS:
        if grouping == "cluster" and resolved.definition.clustering_id is None:
            continue
        frame = resolved.composition(grouping, bands)
        frame = frame[frame["samples"] > 0]
        if len(frame) > CLUSTERS_SHOWN:
            frame = frame.nlargest(CLUSTERS_SHOWN, "samples")
            grouping_name = f"{grouping} ({CLUSTERS_SHOWN} largest)"
        else:
            grouping_name = grouping
        for name, row in frame.iterrows():
            before, after = _format_share(row["share_before"]), _format_share(row["share_after"])
            counts = int(row["samples"]), before, int(row["kept"]), after
            rows.append((grouping_name, name, *counts))
    of_subset = "of the subset" if resolved.subset.weights is None else "of the weight"
    columns = ["by", "group", "samples", "of all samples", "kept", of_subset]
    console.show_table("Composition before and after", columns, rows)
    for line in (*resolved.find_vanishing(), *_list_size_warnings(resolved)):
        console.show_warning(line)


def summarize_subset(resolved: ResolvedSubset, bands: Bands) -> dict[str, Any]:
    """Return what ``show_subset`` prints, as JSON values."""
    subset = resolved.subset
    values = resolved.definition.to_dict() | {"n_selected": len(subset.selected)}
    values |= {"n_hand_kept": subset.n_hand_kept, "n_hand_dropped": subset.n_hand_dropped}
    if (filtered := resolved.describe_filter()) is not None:
        values["filter"] = filtered
    if (unranked := resolved.describe_unranked()) is not None:
        values["not_ranked"] = unranked
    values["reasons"] = resolved.reasons().to_dict(orient="records")
    values["shares"] = {
        grouping: console.frame_records(
            resolved.composition(grouping, bands)[
                ["samples", "share_before", "kept", "share_after"]
            ]
        )
        for grouping in GROUPINGS
    }
    values["vanishing"] = resolved.find_vanishing()
    values["size_warnings"] = _list_size_warnings(resolved)
    if resolved.subset.weights is not None:
        values["composition"] = console.frame_records(resolved.composition())
    if isinstance(resolved.definition.rule, Mixture):
        values["mixture"] = console.frame_records(resolved.mixture())
        values["issues"] = resolved.definition.rule.describe_issues(resolved.candidates)
    return values


def _show_headline(resolved: ResolvedSubset) -> None:
    """Print the size of a subset and what was measured about its rule."""
    subset, definition = resolved.subset, resolved.definition
    console.show_message(
        f"Subset {definition.name}: {len(subset.selected):,} of {len(subset.row_idx):,} samples; "
        f"manual decisions added {subset.n_hand_kept:,} and removed {subset.n_hand_dropped:,}"
    )
    if (filtered := resolved.describe_filter()) is not None:
        console.show_message(filtered)
    if (unranked := resolved.describe_unranked()) is not None:
        console.show_warning(unranked)
    name = definition.rule.name
    measured = find_evidence(name, getattr(definition.rule, "rank_by", None))
    console.show_message(f"Evidence for {name} on synthetic data ({EVIDENCE_SECTION}): {measured}")


def _list_size_warnings(resolved: ResolvedSubset) -> list[str]:
    """Return a line if the subset is empty, and one if its rule stays below the size asked for."""
    lines = []
    if not len(resolved.subset.selected):
        name, n = resolved.definition.name, len(resolved.subset.row_idx)
        lines.append(f"Subset {name} keeps none of the {n:,} samples")
    shortfall = describe_shortfall(resolved.definition.rule, resolved.candidates)
    return [*lines, shortfall] if shortfall else lines


def _format_shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with shares in per cent, in columns that name what they are shares of."""
    shares = {name: label for name, label in _SHARES.items() if name in frame}
    frame = frame.rename(columns={"kept_tokens": "kept answer tokens"})
    if "weight" in frame and "share_after" in frame:
        shares["share_after"] = "of the weight"
    text = {name: [_format_share(value) for value in frame[name]] for name in shares}
    return frame.assign(**text).rename(columns=shares)


def _format_share(value: float) -> str:
    """Return a share in per cent; ``-`` for NaN."""
    return "-" if math.isnan(value) else f"{value:.1%}"
