"""The script that Streamlit runs on every rerun: style, navigation, and the requested page.

It is not next to the folder ``pages``: Streamlit would take that for pages of its own and answer a
link to one of ours with "Page not found".
"""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import single_snapshot
from dashboard.frontend import assets
from dashboard.server.pages import RENDERERS
from dashboard.view.navigation import open_navigation
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
    page = open_navigation(RENDERERS)
    try:
        with single_snapshot():
            page.run()
    except VisnecError as error:
        notices.show_problem(error)


main()
