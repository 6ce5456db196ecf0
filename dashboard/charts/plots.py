"""The charts of all pages: a frame or value in, a plotly figure out. No Streamlit here.

Only binned counts are drawn, never one mark per sample, so a chart costs the same for six hundred
samples and for ten million.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts import style, theme
from scoring.database.queries.column_values import ColumnPlane
from scoring.database.queries.compare import Comparison
from scoring.database.values import LossPlane
from scoring.evaluation.evaluate import GroupResult
from scoring.necessity import Bands, Category
from scoring.reviews.threshold_estimation import ThresholdQuality

PLANE_HEIGHT = 420  # pixels
_SCORE_AXIS = "VisNec score (nats per answer token)"
_ACCURACIES = (
    ("seen", "with the image", Category.VISION_CRITICAL, "solid", "circle"),
    ("blind", "without the image", Category.MISALIGNED, "dash", "square"),
    ("text_model", "text-only model", Category.REDUNDANT, "dot", "diamond"),
)


# ---- scores --------------------------------------------------------------------------------------


def loss_plane_figure(plane: LossPlane, bands: Bands, dark: bool) -> go.Figure:
    """Return scored samples by text-only loss (x) and multimodal loss (y), with named regions.

    The score is the distance to the right of the diagonal; lines mark both band limits. Bins above
    the highest loss are left out.
    """
    used = np.flatnonzero(plane.counts.any(axis=0) | plane.counts.any(axis=1))
    last = int(used[-1]) if len(used) else 0
    n_bins = min(max(last + 2, 8), len(plane.edges) - 1)  # one more than needed
    edges, counts = plane.edges[: n_bins + 1], plane.counts[:n_bins, :n_bins]
    hover = (
        "text-only loss %{x:.2f}<br>multimodal loss %{y:.2f}"
        "<br><b>%{customdata:,}</b> samples<extra></extra>"
    )
    figure = go.Figure(style.draw_density(counts, edges, edges, dark, hover))
    quiet = theme.QUIET_INK.of(dark)
    style.set_layout(figure, dark, PLANE_HEIGHT, rangemode="nonnegative")
    style.make_selectable(figure, dark)
    top = float(edges[-1])
    for offset, category in (
        (bands.low, Category.MISALIGNED),
        (bands.high, Category.VISION_CRITICAL),
    ):
        start, end = max(offset, 0.0), min(top, top + offset)
        colour = theme.CATEGORY_COLOURS[category].of(dark)
        figure.add_trace(
            style.draw_dotted_line([start, end], [start - offset, end - offset], colour, 1.6)
        )
    # The names of the regions are in the margins around the data, so that none covers a sample.
    for x, y, name, side in (
        (0.0, -0.045, "◣ redundant", "left"),
        (1.0, -0.045, "vision-critical ◢", "right"),
        (0.0, 1.045, "◤ image hurts", "left"),
        (1.0, 1.045, "model cannot use the image ◥", "right"),
    ):
        font = style.SMALL | {"color": quiet}
        position = {"x": x * top, "y": y * top, "xanchor": side}
        figure.add_annotation(**position, text=name, showarrow=False, font=font)
    x_title = {"text": "text-only loss (nats per answer token)"}
    figure.update_xaxes(title=x_title, range=[0, top])
    y_title = {"text": "multimodal loss"}
    figure.update_yaxes(title=y_title, range=[-0.09 * top, 1.09 * top], tick0=0)
    return figure


def column_plane_figure(plane: ColumnPlane, column: str, bands: Bands, dark: bool) -> go.Figure:
    """Return scored samples by score (x) and value in a column (y); lines mark the band limits."""
    hover = "score %{x:.2f}<br>value %{y:.4g}<br><b>%{customdata:,}</b> samples<extra></extra>"
    x, y = plane.score_edges, plane.column_edges
    figure = go.Figure(style.draw_density(plane.counts, x, y, dark, hover))
    style.set_layout(figure, dark, PLANE_HEIGHT)
    style.make_selectable(figure, dark)
    for limit, category in (
        (bands.low, Category.MISALIGNED),
        (bands.high, Category.VISION_CRITICAL),
    ):
        colour = theme.CATEGORY_COLOURS[category].of(dark)
        figure.add_vline(limit, line={"color": colour, "width": 1.6, "dash": "dot"})
    figure.update_xaxes(title={"text": _SCORE_AXIS}, range=[x[0], x[-1]])
    y_title = {"text": style.escape_markup(column)}
    figure.update_yaxes(title=y_title, range=[y[0], y[-1]])
    return figure


def comparison_figure(
    comparison: Comparison, here: str, there: str, bands: Bands, dark: bool
) -> go.Figure:
    """Return samples by their scores in two sets (x and y), with the line of equal scores.

    Samples beyond the axes are marked at the border.
    """
    x, y = comparison.edges_here, comparison.edges_there
    hover = "here %{x:.2f}<br>there %{y:.2f}<br><b>%{customdata:,}</b> samples<extra></extra>"
    figure = go.Figure(style.draw_density(comparison.density[1:-1, 1:-1], x, y, dark, hover))
    figure.add_traces(style.draw_beyond(comparison.density, x, y, dark))
    style.set_layout(figure, dark, 440, legend_height=1.08)
    style.make_selectable(figure, dark)
    figure.update_layout(selectdirection="h")  # a filter uses the scores here, not those there
    ends = [max(float(x[0]), float(y[0])), min(float(x[-1]), float(y[-1]))]
    figure.add_trace(style.draw_dotted_line(ends, ends, theme.QUIET_INK.of(dark), 1.2))
    for limit in (bands.low, bands.high):
        figure.add_vline(limit, line={"color": theme.LINE.of(dark), "width": 1})
        figure.add_hline(limit, line={"color": theme.LINE.of(dark), "width": 1})
    for update_axis, name, edges in (
        (figure.update_xaxes, here, x),
        (figure.update_yaxes, there, y),
    ):
        title = {"text": style.escape_markup(name)}
        update_axis(title=title, range=style.widen_range(edges))
    return figure


def threshold_quality_figure(
    curve: Sequence[ThresholdQuality], threshold: float, dark: bool
) -> go.Figure:
    """Return precision and recall of "keep" by threshold with 95 % intervals."""
    figure = go.Figure()
    for name, colour, dash in (
        ("precision", theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark), "solid"),
        ("recall", theme.INK.of(dark), "dash"),
    ):
        known = [(each.threshold, getattr(each, name)) for each in curve if getattr(each, name)]
        x = [at for at, _ in known]
        low = [100 * share.low for _, share in known]
        high = [100 * share.high for _, share in known]
        figure.add_trace(
            style.draw_interval_band(x, low, high, colour, opacity=0.13, showlegend=False)
        )
        figure.add_trace(
            go.Scatter(
                x=x,
                y=[100 * share.value for _, share in known],
                mode="lines",
                name=name,
                line={"color": colour, "width": 2, "dash": dash, "shape": "hv"},
                hovertemplate=f"threshold %{{x:.3f}}<br>{name} %{{y:.1f}} %<extra></extra>",
            )
        )
    style.set_layout(figure, dark, 300, legend_height=1.12)
    figure.add_vline(threshold, line={"color": theme.ACCENT.of(dark), "width": 2})
    figure.update_xaxes(title={"text": "threshold (nats per answer token)"})
    style.show_shares(figure, dark, 102)
    return figure


# ---- evaluations ---------------------------------------------------------------------------------


def accuracy_figure(bands: Sequence[GroupResult], dark: bool) -> go.Figure:
    """Return accuracy with and without the image by score band, with Wilson's 95 % intervals."""
    figure = go.Figure()
    for sight, name, category, dash, symbol in _ACCURACIES:
        known = [
            (band, accuracy.value, accuracy.interval, accuracy.n)
            for band, group in enumerate(bands)
            if (accuracy := getattr(group, sight))
            and accuracy.value is not None
            and accuracy.interval is not None
        ]
        if not known:
            continue
        figure.add_trace(
            go.Scatter(
                x=[band for band, *_ in known],
                y=[100 * value for _, value, _, _ in known],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (high - value) for _, value, (_, high), _ in known],
                    "arrayminus": [100 * (value - low) for _, value, (low, _), _ in known],
                    "thickness": 1.4,
                    "width": 4,
                },
                customdata=[n for *_, n in known],
                mode="lines+markers",
                name=name,
                line={"color": theme.CATEGORY_COLOURS[category].of(dark), "width": 2, "dash": dash},
                marker={"size": 8, "symbol": symbol},
                hovertemplate=f"{name}: %{{y:.1f}} % of %{{customdata:,}}<extra></extra>",
            )
        )
    style.set_layout(
        figure, dark, 330, legend_height=1.14, margin={"l": 52, "r": 12, "t": 12, "b": 48}
    )
    figure.update_xaxes(
        title={"text": _SCORE_AXIS},
        tickvals=list(range(len(bands))),
        ticktext=[format_band(group) for group in bands],
        range=[-0.4, len(bands) - 0.6],
    )
    style.show_shares(figure, dark, 103)
    return figure


def format_band(group: GroupResult) -> str:
    """Return a score band in words."""
    low, high = (
        None if limit is None else f"{limit:.2f}".replace("-", "−")
        for limit in (group.low, group.high)
    )
    if low is None:
        return "all scores" if high is None else f"below {high}"
    return f"{low} and more" if high is None else f"{low} to {high}"


# ---- subsets -------------------------------------------------------------------------------------


def inclusion_figure(by_score: pd.DataFrame, dark: bool) -> go.Figure:
    """Return inclusion probability by score.

    A line is the mean of each bin, a band the range of 8 in 10 samples, faint bars the numbers of
    samples.
    """
    blue = theme.CATEGORY_COLOURS[Category.VISION_CRITICAL].of(dark)
    x, low, high = by_score["visnec"], 100 * by_score["low"], 100 * by_score["high"]
    tallest = max(float(by_score["samples"].max()), 1.0) if len(by_score) else 1.0
    bars = go.Bar(
        x=x,
        y=100 * by_score["samples"] / tallest,
        marker={"color": theme.LINE.of(dark), "line": {"width": 0}},
        hoverinfo="skip",
        name="samples (relative)",
    )
    mean = go.Scatter(
        x=x,
        y=100 * by_score["inclusion"],
        customdata=by_score["samples"],
        mode="lines+markers",
        marker={"size": 4},
        line={"color": blue, "width": 2},
        name="mean",
        hovertemplate="score %{x:.3f}<br>in %{y:.0f} % of the draws"
        "<br>%{customdata:,} samples<extra></extra>",
    )
    band = style.draw_interval_band(
        list(x), list(low), list(high), blue, opacity=0.2, name="8 in 10 samples"
    )
    figure = go.Figure([bars, band, mean])
    style.set_layout(figure, dark, 300, legend_height=1.14)
    figure.update_layout(bargap=0.05)
    figure.update_xaxes(title={"text": _SCORE_AXIS})
    title = {"text": "inclusion probability"}
    figure.update_yaxes(range=[0, 104], ticksuffix=" %", title=title)
    return figure


def overlap_figure(overlaps: pd.DataFrame, names: dict[str, str], dark: bool) -> go.Figure:
    """Return the overlap of each pair of subsets as a square with its number."""
    table = pd.DataFrame(1.0, index=list(names), columns=list(names))
    for row in overlaps.to_dict("records"):
        table.loc[row["a"], row["b"]] = table.loc[row["b"], row["a"]] = row["jaccard"]
    labels = [style.escape_markup(name) for name in names.values()]
    figure = go.Figure(
        go.Heatmap(
            x=labels,
            y=labels,
            z=table.to_numpy(),
            zmin=0,
            zmax=1,
            colorscale=style.density_scale(dark),
            showscale=False,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.2f}",
            textfont={"size": 13},
            hovertemplate="%{y} and %{x}<br>overlap %{z:.3f}<extra></extra>",
        )
    )
    height, margin = 90 + 62 * max(len(names), 2), {"l": 90, "r": 12, "t": 40, "b": 12}
    style.set_layout(figure, dark, height, margin=margin)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(side="top", automargin=True)
    return figure
