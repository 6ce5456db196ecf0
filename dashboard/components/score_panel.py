"""The histogram with its limits, every way to set the cut, and what the cut keeps and drops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from dashboard import actions, loaders, text
from dashboard.components import (
    bound,
    composition,
    figures,
    labels_panel,
    notices,
    threshold_editor,
)
from dashboard.components.figures import Figure
from dashboard.loaders import Context
from dashboard.navigation import PageName, go_to
from dashboard.redraw import Part, redraw
from dashboard.state import Queue, RuleKind, change_view, current_view
from scoring.errors import InputError
from scoring.store.filters import Range
from scoring.store.values import CutCounts, ScoreSummary

_LARGEST = 2**53  # whole numbers that a browser can hold


def show(context: Context, summary: ScoreSummary, cut: float, kept: CutCounts) -> None:
    """Draws the panel; what is changed goes into the view."""
    view = current_view()
    title, scale = st.columns([5, 1], vertical_alignment="bottom")
    with title:
        st.subheader("VisNec score", anchor=False)
        figures.show_quiet(
            "Text-only loss minus multimodal loss, in nats per answer token. Drag a limit, move it "
            "with the arrow keys, or type it. Draw across the bars to see only the scores between."
        )
    with scale:
        bound.switch(
            "log", "Log counts", view.log, "Heights in symmetric-log counts: rare scores show"
        )
    bins = bins_for(summary)
    edges, counts = loaders.read_histogram(context, bins)
    threshold_editor.show(
        edges,
        counts,
        context.bands,
        cut,
        summary,
        kept,
        version=f"{context.store.generation}-{context.scope}-{context.filter}-{len(edges)}",
        log_counts=view.log,
        ecdf=loaders.read_ecdf(context),
        follows=view.cut is None,
        take=_take_limits,
        brush=_take_stretch,
    )
    composition.show(kept)
    _show_cut_fields(summary, cut, kept)
    _show_band_fields(context, cut)
    labels = loaders.read_labels(context)
    _show_kept(summary, kept, labels_panel.dropped_figure(labels, cut, kept.n_dropped))
    labels_panel.ask_for_labels(labels)


def bins_for(summary: ScoreSummary) -> int:
    """Bins that so many scores fill: finer for more, within what a screen can show."""
    return min(max(int(math.sqrt(summary.n_scored) * 4), 60), 160)


# ---- where the cut stands ------------------------------------------------------------------------


def _show_cut_fields(summary: ScoreSummary, cut: float, kept: CutCounts) -> None:
    """The cut by score, by share, by samples and by answer tokens: four ways to say one thing."""
    columns = st.columns(4)
    with columns[0]:
        st.number_input(
            "Cut: keep scores from",
            step=0.01,
            format="%.3f",
            key=bound.hold("cut_score", cut),
            on_change=bound.heed,
            args=("cut_score", _take_cut),
        )
    with columns[1]:
        share = round(100 * kept.n_kept / summary.n_scored, 2)
        st.number_input(
            "Keep the top share, %",
            min_value=0.0,
            max_value=100.0,
            step=1.0,
            format="%.2f",
            key=bound.hold("top_share", share),
            on_change=bound.heed,
            args=("top_share", _take_share),
            help="Moves the cut to the score above which this share of the scored samples lies",
        )
    with columns[2]:
        _count_field(
            "top_count",
            "Keep so many samples",
            kept.n_kept,
            summary.n_scored,
            _take_count,
            "Moves the cut to the score above which this many samples lie; ties come on top",
        )
    with columns[3]:
        _token_field(kept)


def _token_field(kept: CutCounts) -> None:
    label = "Keep so many answer tokens"
    if kept.tokens_kept is None or kept.tokens_dropped is None:
        st.text_input(label, text.ABSENT, disabled=True, help=text.UNKNOWN)
        return
    total = kept.tokens_kept + kept.tokens_dropped
    about = "Takes samples from the highest score down while their answer tokens fit the budget"
    _count_field("top_tokens", label, kept.tokens_kept, total, _take_tokens, about)


def _count_field(
    key: str, label: str, value: int, most: int, take: Callable[[], None], about: str
) -> None:
    st.number_input(
        label,
        min_value=0,
        max_value=min(most, _LARGEST),
        step=max(1, most // 100),
        key=bound.hold(key, value),
        on_change=bound.heed,
        args=(key, take),
        help=about,
    )


def _take_limits(limits: dict[str, float]) -> None:
    """What was dragged: a cut alone leaves alone what does not depend on it."""
    view = current_view()
    bands = view.bands(loaders.read_workspace().bands)
    low, high = limits.get("low", bands.low), limits.get("high", bands.high)
    if low > high:
        return
    change_view(**limits)
    if (low, high) != (bands.low, bands.high):
        redraw(Part.SCORES)


def _take_stretch(low: float, high: float) -> None:
    change_view(filter=replace(current_view().filter, visnec=Range(low, high)))
    redraw(Part.SCORES)


def _take_cut() -> None:
    change_view(cut=float(bound.taken("cut_score")))


def _take_share() -> None:
    share = float(bound.taken("top_share")) / 100
    _move_cut(lambda context: loaders.read_threshold_for_share(context, share))


def _take_count() -> None:
    count = int(bound.taken("top_count"))
    _move_cut(lambda context: loaders.read_threshold_for_count(context, count))


def _take_tokens() -> None:
    tokens = int(bound.taken("top_tokens"))
    _move_cut(lambda context: loaders.read_threshold_for_tokens(context, tokens))


def _move_cut(find: Callable[[Context], float]) -> None:
    context = loaders.open_view_context(current_view()).context
    if context is None:
        return
    try:
        cut = find(context)
    except InputError as error:
        notices.remember("problem", "The cut was not moved", str(error))
        return
    if math.isinf(cut):  # so little keeps nothing: the cut goes just above the best score
        best = loaders.read_summary(context).max_visnec
        cut = math.nextafter(best, math.inf) if best is not None else 0.0
    change_view(cut=cut)


# ---- the band limits -----------------------------------------------------------------------------


def _show_band_fields(context: Context, cut: float) -> None:
    own, bands = context.workspace.bands, context.bands
    low, high, buttons = st.columns([1, 1, 2], vertical_alignment="bottom")
    with low:
        st.number_input(
            "Misaligned below",
            step=0.01,
            format="%.3f",
            key=bound.hold("low_limit", bands.low),
            on_change=bound.heed,
            args=("low_limit", _take_low),
        )
    with high:
        st.number_input(
            "Vision-critical from",
            step=0.01,
            format="%.3f",
            key=bound.hold("high_limit", bands.high),
            on_change=bound.heed,
            args=("high_limit", _take_high),
        )
    with buttons, st.container(horizontal=True):
        if st.button("Make a subset with this cut", icon=":material/filter_alt:"):
            go_to(PageName.SUBSET, rule=RuleKind.THRESHOLD, minimum=cut, maximum=None)
        if st.button("Review around the cut", icon=":material/fact_check:"):
            go_to(PageName.REVIEW, queue=Queue.THRESHOLD, cut=cut, row=None)
        st.button(
            "Save these bands",
            icon=":material/save:",
            disabled=bands == own,
            on_click=_save_bands,
            help=f"For everybody in this workspace; now {text.limit(own.low)} and "
            f"{text.limit(own.high)}",
        )
        st.button(
            "Reset",
            icon=":material/undo:",
            disabled=bands == own and cut == own.high,
            on_click=_reset,
        )


def _take_low() -> None:
    _take_band(low=float(bound.taken("low_limit")))


def _take_high() -> None:
    _take_band(high=float(bound.taken("high_limit")))


def _take_band(low: float | None = None, high: float | None = None) -> None:
    default = loaders.read_workspace().bands
    bands = threshold_editor.changed_bands(current_view(), default, low, high)
    change_view(low=bands.low, high=bands.high)
    redraw(Part.SCORES)


def _reset() -> None:
    change_view(low=None, high=None, cut=None)
    redraw(Part.SCORES)


def _save_bands() -> None:
    workspace = loaders.read_workspace()
    actions.save_bands(workspace, current_view().bands(workspace.bands))
    change_view(low=None, high=None)
    redraw(Part.SCORES)


# ---- kept and dropped ----------------------------------------------------------------------------


def _show_kept(summary: ScoreSummary, kept: CutCounts, wrongly_dropped: Figure) -> None:
    """Kept and dropped, exactly, in samples and in answer tokens."""
    scored = kept.n_kept + kept.n_dropped
    low, high = summary.quantiles.get(0.05), summary.quantiles.get(0.95)
    figures.show_figures(
        [
            Figure("kept samples", text.count(kept.n_kept), text.share(kept.n_kept, scored)),
            Figure(
                "dropped samples", text.count(kept.n_dropped), text.share(kept.n_dropped, scored)
            ),
            wrongly_dropped,
            *_token_figures(kept),
            Figure(
                "median score",
                text.score(summary.quantiles.get(0.5)),
                f"mean {text.score(summary.mean)}",
            ),
            Figure(
                "from 5 % to 95 %",
                f"{text.score(low, 2)} … {text.score(high, 2)}",
                f"lowest {text.score(summary.min_visnec, 2)}, "
                f"highest {text.score(summary.max_visnec, 2)}",
            ),
        ]
    )


def _token_figures(kept: CutCounts) -> list[Figure]:
    if kept.tokens_kept is None or kept.tokens_dropped is None:
        return [Figure("answer tokens", text.ABSENT, text.UNKNOWN)]
    tokens = kept.tokens_kept + kept.tokens_dropped
    return [
        Figure(f"{name} answer tokens", text.count(n), text.share(n, tokens))
        for name, n in (("kept", kept.tokens_kept), ("dropped", kept.tokens_dropped))
    ]
