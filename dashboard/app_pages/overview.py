"""Overview: what is in this workspace, how the scores lie, and what a threshold does to them."""

from __future__ import annotations

import math

import streamlit as st

from dashboard import actions, charts, loaders, text
from dashboard.components import bound, breakdown, figures, notices, page_frame, threshold_editor
from dashboard.components.figures import Bar, Figure, Table
from dashboard.loaders import Context, Opened
from dashboard.navigation import PageName, go_to
from dashboard.state import Queue, RuleKind, change_view, current_view, take_view
from scoring.runs import RunRecord
from scoring.samples import Status
from scoring.store.filters import Filter
from scoring.store.values import CutCounts, ScoreSummary


def render() -> None:
    """The page."""
    _, opened = page_frame.open_page("Overview", "What is here, and what a threshold does to it")
    context = opened.context
    if opened.dataset is not None and context is None:
        _show_dataset_only(opened)
    if page_frame.require_scores(opened, "The overview") is None or context is None:
        return
    _show_workspace(opened, context.everything())
    _show_scores()
    _show_run(context)


def _show_dataset_only(opened: Opened) -> None:
    dataset = opened.dataset
    if dataset is None:
        return
    figures.show_figures(
        [
            Figure("samples", text.count(dataset.n_samples), "imported"),
            Figure("files", text.count(len(dataset.files)), text.moment(dataset.imported_at)),
        ]
    )


def _show_workspace(opened: Opened, context: Context) -> None:
    """The dataset in a line of figures."""
    statuses = loaders.read_status_counts(context)
    by_status = dict(zip(statuses["status"], statuses["n"], strict=True))
    total = int(statuses["n"].sum())
    scored = int(by_status.get(Status.SCORED, 0))
    sources = loaders.read_dataset_counts(context.store)
    with_image = int(sources["with_image"].sum())
    reviewers = loaders.read_reviewers(opened.workspace)
    decided = sum(one.decided for one in reviewers)
    pending = int(by_status.get(Status.PENDING, 0))
    rest = total - scored - pending
    figures.show_figures(
        [
            Figure("samples", text.count(total), text.plural(len(sources), "source")),
            Figure("with an image", text.count(with_image), text.share(with_image, total)),
            Figure("scored", text.count(scored), text.share(scored, total)),
            Figure("pending", text.count(pending), "not scored yet" if pending else "none left"),
            Figure("without a score", text.count(rest), "each with a reason, below"),
            Figure("decisions", text.count(decided), text.plural(len(reviewers), "reviewer")),
        ]
    )


@st.fragment
def _show_scores() -> None:
    """Everything that moves with the limits, so that nothing beside it can be out of date."""
    view = current_view()
    context = loaders.open_view_context(view).context
    if context is None:
        return
    context = context.everything()
    summary = loaders.read_summary(context)
    if summary.n_scored == 0:
        notices.show_empty(
            "No sample of this run has a score yet",
            "The run may just have begun; its statuses below say what became of the others.",
        )
    else:
        cut = view.threshold(context.workspace.bands)
        kept = loaders.read_cut(context, cut)
        _show_histogram(context, summary, cut, kept)
        _show_cut(summary, kept)
        _show_groups(context, cut)
    with st.container(key="pair-plane"):
        left, right = st.columns([6, 5], gap="large")
        with left:
            _show_plane(context)
        with right:
            _show_statuses(context)


def _show_histogram(context: Context, summary: ScoreSummary, cut: float, kept: CutCounts) -> None:
    st.subheader("VisNec score", anchor=False)
    figures.show_quiet(
        "Text-only loss minus multimodal loss, in nats per answer token. Drag a limit, move it "
        "with the arrow keys, or type it."
    )
    bins = min(max(int(math.sqrt(summary.n_scored) * 4), 60), 160)
    edges, counts = loaders.read_histogram(context, bins)
    threshold_editor.show(
        edges,
        counts,
        context.bands,
        cut,
        summary,
        kept,
        version=f"{context.store.generation}-{context.scope}-{len(edges)}",
    )
    _show_limits(context, summary, cut, kept)


def _show_limits(context: Context, summary: ScoreSummary, cut: float, kept: CutCounts) -> None:
    """The limits as typed numbers."""
    bands = context.bands
    columns = st.columns(4)
    with columns[0]:
        bound.choose_number("cut", "Cut: keep scores from", cut)
    with columns[1]:
        share = 100 * kept.n_kept / summary.n_scored
        st.session_state["top_share"] = round(share, 2)
        st.number_input(
            "Keep the top share, %",
            min_value=0.0,
            max_value=100.0,
            step=1.0,
            format="%.2f",
            key="top_share",
            on_change=_take_share,
            help="Moves the cut to the score above which this share of the scored samples lies",
        )
    with columns[2]:
        st.session_state["low_limit"] = bands.low
        st.number_input(
            "Misaligned below", step=0.01, format="%.3f", key="low_limit", on_change=_take_low
        )
    with columns[3]:
        st.session_state["high_limit"] = bands.high
        st.number_input(
            "Vision-critical from",
            step=0.01,
            format="%.3f",
            key="high_limit",
            on_change=_take_high,
        )
    _show_limit_buttons(context, cut)


def _show_limit_buttons(context: Context, cut: float) -> None:
    own = context.workspace.bands
    with st.container(horizontal=True):
        if st.button("Make a subset with this cut", icon=":material/filter_alt:"):
            go_to(PageName.SUBSET, rule=RuleKind.THRESHOLD, minimum=cut, maximum=None)
        if st.button("Review around the cut", icon=":material/fact_check:"):
            go_to(PageName.REVIEW, queue=Queue.THRESHOLD, cut=cut, row=None)
        st.button(
            "Save these bands for the workspace",
            icon=":material/save:",
            disabled=context.bands == own,
            on_click=_save_bands,
            help=f"Now {text.limit(own.low)} and {text.limit(own.high)} for everybody",
        )
        st.button(
            "Reset",
            icon=":material/undo:",
            disabled=context.bands == own and cut == own.high,
            on_click=take_view,
            kwargs={"low": None, "high": None, "cut": None},
        )


def _take_share() -> None:
    context = loaders.open_view_context(current_view()).context
    share = float(st.session_state["top_share"]) / 100
    if context is None:
        return
    cut = loaders.read_threshold_for_share(context.everything(), share)
    if math.isinf(cut):  # so small a share keeps nothing: the cut goes just above the best score
        best = loaders.read_summary(context.everything()).max_visnec
        cut = math.nextafter(best, math.inf) if best is not None else 0.0
    change_view(cut=cut)


def _take_low() -> None:
    _take_band(low=float(st.session_state["low_limit"]))


def _take_high() -> None:
    _take_band(high=float(st.session_state["high_limit"]))


def _take_band(low: float | None = None, high: float | None = None) -> None:
    default = loaders.read_workspace().bands
    bands = threshold_editor.changed_bands(current_view(), default, low, high)
    change_view(low=bands.low, high=bands.high)


def _save_bands() -> None:
    workspace = loaders.read_workspace()
    actions.save_bands(workspace, current_view().bands(workspace.bands))
    change_view(low=None, high=None)


def _show_cut(summary: ScoreSummary, kept: CutCounts) -> None:
    """Kept and dropped, exactly, in samples and in answer tokens."""
    known = kept.tokens_kept is not None  # imported scores do not tell their answer tokens
    tokens_kept, tokens_dropped = kept.tokens_kept or 0, kept.tokens_dropped or 0
    tokens = tokens_kept + tokens_dropped
    scored = kept.n_kept + kept.n_dropped
    low, high = summary.quantiles.get(0.05), summary.quantiles.get(0.95)
    figures.show_figures(
        [
            Figure("kept samples", text.count(kept.n_kept), text.share(kept.n_kept, scored)),
            Figure(
                "dropped samples", text.count(kept.n_dropped), text.share(kept.n_dropped, scored)
            ),
            Figure(
                "kept answer tokens",
                text.count(kept.tokens_kept),
                text.share(tokens_kept, tokens) if known else text.UNKNOWN,
            ),
            Figure(
                "dropped answer tokens",
                text.count(kept.tokens_dropped),
                text.share(tokens_dropped, tokens) if known else text.UNKNOWN,
            ),
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


def _show_groups(context: Context, cut: float) -> None:
    """By source and by cluster, with the share that the cut keeps."""
    kept = loaders.read_cut(context, cut).by_source.to_dict("records")
    shares = {
        row["source"]: row["kept"] / (row["kept"] + row["dropped"])
        for row in kept
        if row["kept"] + row["dropped"]
    }
    rows = breakdown.read_rows(loaders.read_by_source(context), "source", "source")
    for row in rows:
        row["kept_share"] = shares.get(row["key"])
    st.subheader("By source", anchor=False)
    source = breakdown.show("by_source", "Scores by source", "source", rows)
    if source is not None:
        go_to(PageName.EXPLORE, filter=Filter(source=(str(source),)), sample=None)
    clusters = loaders.read_by_cluster(context)
    st.subheader("By cluster", anchor=False)
    if clusters.empty:
        notices.show_empty(
            "No clusters yet",
            "Clusters of similar instructions show where necessity lies, and the paper's rules "
            "choose inside them.",
            f"visnec cluster -w {context.workspace.root}",
        )
        return
    rows = breakdown.read_rows(clusters, "cluster_id", "name")
    cluster = breakdown.show("by_cluster", "Scores by cluster", "cluster", rows)
    if isinstance(cluster, int):
        go_to(PageName.EXPLORE, filter=Filter(cluster=(cluster,)), sample=None)


def _show_plane(context: Context) -> None:
    st.subheader("Loss plane", anchor=False)
    figures.show_quiet(
        "A score near 0 with both losses high means that the model cannot use the image, not "
        "that the image is redundant."
    )
    plane = loaders.read_loss_plane(context)
    if plane.counts.sum() == 0:
        notices.show_empty("No losses yet", "The plane fills as samples are scored.")
        return
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        charts.loss_plane_figure(plane, context.bands, dark),
        theme="streamlit",
        config={"displayModeBar": False, "scrollZoom": False},
        key="loss_plane",
    )


def _show_statuses(context: Context) -> None:
    st.subheader("Statuses", anchor=False)
    frame = loaders.read_status_counts(context)
    total = int(frame["n"].sum())
    rows: list[list[str | Bar]] = [
        [
            text.status_name(str(row["status"])),
            text.count(row["n"]),
            text.share(row["n"], total),
            _meaning(str(row["status"])),
        ]
        for row in frame.to_dict("records")
    ]
    rows.append(["all samples", text.count(total), text.share(total, total), ""])
    figures.show_table(
        Table(("status", "samples", "share", ""), rows, frozenset({1, 2}), total=True)
    )


def _settings(run: RunRecord) -> dict[str, str]:
    """What decided the scores, as far as it is known."""
    if run.imported_from:
        file = run.imported_from.partition(" sha256:")[0]
        return {"scores": f"computed elsewhere, imported from {file}"}
    return {
        "template, dtype, device": f"{run.template}, {run.dtype}, {run.device}",
        "end of the answer scored": "yes" if run.score_eos else "no",
    }


def _meaning(status: str) -> str:
    return text.STATUS_MEANINGS[Status(status)] if status in list(Status) else ""


def _show_run(context: Context) -> None:
    st.subheader("This run", anchor=False)
    runs = {run.run_id: run for run in loaders.read_runs(context.workspace)}
    run = runs.get(context.scope.run_id)
    if run is None:
        return
    figures.show_facts(
        {
            "model": run.model,
            "run": run.run_id,
            "begun": text.moment(run.created_at),
            "blind baseline": text.BASELINE_NAMES.get(
                context.scope.baseline, context.scope.baseline
            ),
            **_settings(run),
            "workspace": str(context.workspace.root),
        }
    )
