"""Two exports side by side: which facts of their manifests differ, and how far they agree."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.exports import ExportSummary
from dashboard.data.subsets import ExportDiff, read_export_diff
from dashboard.pages.subset import subset_comparison
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Table
from scoring.errors import VisnecError

_FOUND: Final = "export_diff"
_MAX_VALUE: Final = 60


def show(context: Context, exports: list[ExportSummary]) -> None:
    """Draws the choice of two exports and, once asked for, what they differ in."""
    if len(exports) < 2:
        return
    by_name = {one.folder.name: one for one in exports}
    with st.expander("Two exports side by side"):
        left, right, press = st.columns([2, 2, 1], vertical_alignment="bottom")
        with left:
            a = by_name[st.selectbox("Export A", list(by_name), key="export_a")]
        with right:
            b = by_name[st.selectbox("Export B", list(by_name), index=1, key="export_b")]
        with press:
            pressed = st.button("Compare", key="compare_exports", width="stretch")
        about = (a.folder, a.version, b.folder, b.version)
        if pressed:
            try:
                with st.spinner("Choosing the samples of both again …"):
                    found = read_export_diff(context, a.manifest, b.manifest)
            except (VisnecError, OSError) as error:
                notices.show_problem(error, "These two cannot be compared")
                return
            st.session_state[_FOUND] = (about, found)
        kept, shown = st.session_state.get(_FOUND, (None, None))
        if shown is not None and kept == about:
            _draw(shown, (a.folder.name, b.folder.name))


def _draw(found: ExportDiff, names: tuple[str, str]) -> None:
    subset_comparison.show_figures(found.samples, names)
    if not found.facts:
        figures.show_quiet("Both manifests say the same, but for the files.")
        return
    rows = [(fact, _short(a), _short(b)) for fact, a, b in found.facts]
    figures.show_table(Table(("fact that differs", *names), rows))


def _short(value: object) -> str:
    said = formatting.ABSENT if value is None else str(value)
    return said if len(said) <= _MAX_VALUE else said[: _MAX_VALUE - 1] + "…"
