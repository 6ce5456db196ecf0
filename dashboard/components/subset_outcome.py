"""What a subset comes to: its size, where it comes from, why, and what lies around its edge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import loaders, text
from dashboard.components import figures, gallery, notices
from dashboard.components.figures import Bar, Figure, Table
from dashboard.loaders import Context
from dashboard.rule_choices import REASON_NAMES
from scoring.selection import REASONS, Reason
from scoring.subsets import Outcome

_N_EDGE = 7
_SHOWN_ROWS = 100


def show(context: Context, outcome: Outcome) -> int | None:
    """Draws the outcome; returns the row of a sample that was chosen just now."""
    _show_size(outcome)
    if len(outcome.subset.selected) == 0:
        notices.show_note(
            "This subset is empty", "Nothing fits these choices; widen the rule to take more."
        )
    with st.container(key="pair-outcome"):
        left, right = st.columns(2, gap="large")
        with left:
            _show_tables(context, outcome)
        with right:
            st.subheader("Why", anchor=False)
            _show_reasons(outcome)
            if context.scope.clustering_id is not None:
                st.subheader("By cluster", anchor=False)
                _show_clusters(context, outcome)
    return _show_samples(context, outcome)


def _show_tables(context: Context, outcome: Outcome) -> None:
    st.subheader("By source", anchor=False)
    _show_groups("source", outcome.by_source())
    st.subheader("By category", anchor=False)
    _show_groups("category", outcome.by_category(context.bands), swatches=True)


def _show_size(outcome: Outcome) -> None:
    subset, found = outcome.subset, outcome.candidates
    n = len(subset.selected)
    scored = int(found.scored.sum())
    kept_scored = int((subset.kept & found.scored).sum())
    tokens = int(found.n_answer_tokens[found.scored].sum())
    kept_tokens = int(found.n_answer_tokens[subset.kept & found.scored].sum())
    known = tokens > 0  # imported scores do not tell their answer tokens
    by_hand = subset.n_hand_kept + subset.n_hand_dropped
    figures.show_figures(
        [
            Figure(
                "samples in the subset",
                text.count(n),
                f"{text.share(n, len(found))} of {text.count(len(found))}",
            ),
            Figure(
                "of the scored",
                text.share(kept_scored, scored),
                f"{text.count(kept_scored)} of {text.count(scored)}",
            ),
            Figure(
                "answer tokens",
                text.count(kept_tokens if known else None),
                f"{text.share(kept_tokens, tokens)} of all scored ones" if known else text.UNKNOWN,
            ),
            Figure("without a score", text.count(n - kept_scored), "taken in by choice or by hand"),
            Figure(
                "turned by hand",
                text.count(by_hand),
                f"{text.count(subset.n_hand_kept)} kept, {text.count(subset.n_hand_dropped)} "
                "dropped against the rule",
            ),
        ]
    )


def _show_groups(
    what: str,
    frame: pd.DataFrame,
    names: Mapping[Any, str] | None = None,
    swatches: bool = False,
) -> None:
    """Before and after, with the share that stays as a bar."""
    rows: list[list[str | Bar]] = [
        [
            (names or {}).get(name, str(name)),
            text.count(row["samples"]),
            text.count(row["kept"]),
            text.share(row["kept"], row["samples"]),
            _kept_bar(row["kept"], row["samples"]),
        ]
        for name, row in frame.iterrows()
        if row["samples"]
    ]
    shown = [
        str(name) if " " not in str(name) else "none"
        for name, row in frame.iterrows()
        if row["samples"]
    ]
    figures.show_table(
        Table(
            (what, "samples", "kept", "share", ""),
            rows,
            frozenset({1, 2, 3}),
            swatches=shown if swatches else (),
        )
    )


def _kept_bar(kept: float, samples: float) -> Bar:
    return Bar({"kept": kept / samples}, f"{text.share(kept, samples)} kept")


def _show_clusters(context: Context, outcome: Outcome) -> None:
    names: dict[int, str] = {-1: "no cluster", **loaders.read_cluster_names(context)}
    frame = outcome.by_cluster()
    largest = frame.sort_values("samples", ascending=False, kind="stable").head(_SHOWN_ROWS)
    _show_groups("cluster", largest, names)
    if len(frame) > len(largest):
        figures.show_quiet(f"The {len(largest)} largest of {len(frame)} clusters.")


def _show_reasons(outcome: Outcome) -> None:
    """Why samples are in or out; adds up to the dataset."""
    frame = outcome.reasons()
    total = int(frame["samples"].sum())
    rows: list[list[str | Bar]] = [
        [
            row["outcome"],
            REASON_NAMES[Reason(row["reason"])],
            text.count(row["samples"]),
            text.share(row["samples"], total),
        ]
        for row in frame.to_dict("records")
    ]
    rows.append(["all samples", "", text.count(total), text.share(total, total)])
    figures.show_table(
        Table(("outcome", "because of", "samples", "share"), rows, frozenset({2, 3}), total=True)
    )


# ---- pictures around the edge --------------------------------------------------------------------


def edge_rows(outcome: Outcome, n: int = _N_EDGE) -> dict[str, list[int]]:
    """Rows to look at: the lowest scores kept, the highest dropped, and those turned by hand."""
    found, subset = outcome.candidates, outcome.subset
    by_score = np.lexsort((-found.row_idx, found.visnec))
    by_score = by_score[found.scored[by_score]]
    kept = by_score[subset.kept[by_score]][:n]
    dropped = by_score[~subset.kept[by_score]][::-1][:n]
    by_hand = np.flatnonzero(subset.why == REASONS.index(Reason.REVIEWER))[:n]
    places = {"Lowest scores kept": kept, "Highest scores dropped": dropped}
    if len(by_hand):
        places["Turned by hand"] = by_hand
    return {name: [int(row) for row in found.row_idx[some]] for name, some in places.items()}


def _show_samples(context: Context, outcome: Outcome) -> int | None:
    edges = edge_rows(outcome)
    st.subheader("Samples at the edge", anchor=False)
    choice = st.segmented_control(
        "Samples at the edge",
        list(edges),
        default=next(iter(edges)),
        key="subset_edge",
        label_visibility="collapsed",
        required=True,
    )
    rows = edges.get(str(choice), [])
    if not rows:
        figures.show_quiet("There are none.")
        return None
    return gallery.show("subset_gallery", loaders.read_row_tiles(context, rows))
