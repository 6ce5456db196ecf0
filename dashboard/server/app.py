"""The script that Streamlit runs on every rerun: style, navigation, and the requested page.

It is not next to the folder ``pages``: Streamlit would take that for pages of its own and answer a
link to one of ours with "Page not found".
"""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import single_snapshot
from dashboard.frontend import assets
from dashboard.pages.compare import page as compare
from dashboard.pages.evaluate import page as evaluate
from dashboard.pages.explore import page as explore
from dashboard.pages.overview import page as overview
from dashboard.pages.review import page as review
from dashboard.pages.runs import page as runs
from dashboard.pages.subset import page as subset
from dashboard.view.navigation import PageName, open_navigation
from dashboard.widgets import notices
from scoring.errors import VisnecError


def main() -> None:
    """Render one page; an explained error replaces its content."""
    st.set_page_config(
        page_title="VisNec Studio",
        page_icon=assets.icon(),
        layout="wide",
        initial_sidebar_state="collapsed",
    )
    st.html(f"<style>{assets.page_style()}</style>")
    st.logo(assets.logo(), size="medium")
    page = open_navigation(
        {
            PageName.OVERVIEW: overview.render,
            PageName.EXPLORE: explore.render,
            PageName.COMPARE: compare.render,
            PageName.EVALUATE: evaluate.render,
            PageName.REVIEW: review.render,
            PageName.SUBSET: subset.render,
            PageName.RUNS: runs.render,
        }
    )
    try:
        with single_snapshot():
            page.run()
    except VisnecError as error:
        notices.show_problem(error)


main()
