"""The pages by name, links from one page to another with a changed view, and fragments of pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any, NoReturn
from urllib.parse import urlencode

import streamlit as st

from dashboard.view.state import Key, View, change_view, write_view
from scoring.database.filters import Filter


class PageName(StrEnum):
    """The pages in the order of the navigation."""

    OVERVIEW = "overview"
    EXPLORE = "explore"
    COMPARE = "compare"
    EVALUATE = "evaluate"
    REVIEW = "review"
    SUBSET = "subset"
    TRIALS = "trials"
    RUNS = "runs"


_ICONS = {
    PageName.OVERVIEW: ":material/bar_chart:",
    PageName.EXPLORE: ":material/grid_view:",
    PageName.COMPARE: ":material/compare_arrows:",
    PageName.EVALUATE: ":material/quiz:",
    PageName.REVIEW: ":material/fact_check:",
    PageName.SUBSET: ":material/filter_alt:",
    PageName.TRIALS: ":material/science:",
    PageName.RUNS: ":material/play_circle:",
}


def open_navigation(renderers: dict[PageName, Callable[[], None]]) -> Any:
    """Render the navigation and return the requested page."""
    pages = {
        name: st.Page(
            renderers[name],
            title=name.capitalize(),
            icon=_ICONS[name],
            url_path=str(name),
            default=name is PageName.OVERVIEW,
        )
        for name in PageName
    }
    st.session_state[Key.PAGES] = pages
    return st.navigation(list(pages.values()), position="top")


def go_to(page: PageName, **changes: Any) -> NoReturn:
    """Open another page with these changes of the view. Not for callbacks."""
    change_view(**changes)
    st.switch_page(st.session_state[Key.PAGES][page])
    raise AssertionError("switch_page does not return")


def page_link(page: PageName, view: View) -> str:
    """Return the address of a page with a view, for a plain link."""
    address = "./" if page is PageName.OVERVIEW else str(page)  # the default page has no own path
    parameters = urlencode(write_view(view))
    return f"{address}?{parameters}" if parameters else address


def sample_link(view: View) -> str:
    """Return the address of a sample in Explore without its row number, which is appended."""
    link = page_link(PageName.EXPLORE, replace(view, sample=None))
    return f"{link}{'&' if '?' in link else '?'}sample="


class Fragment(StrEnum):
    """Parts of a page that rerun on their own: moving the threshold does not redraw the loss plane.

    FILTER is in the header line. On the Overview THRESHOLD is inside FILTERED, in Explore LISTED.
    """

    FILTER = "filter"
    FILTERED = "filtered"
    THRESHOLD = "cut"
    LISTED = "listed"


def change_filter(where: Filter, **changes: Any) -> NoReturn:
    """Change the filter, and other fields of the view, and rerun the page; for callbacks."""
    change_view(filter=where, **changes)
    rerun_filtered()


def rerun_filtered() -> NoReturn:
    """Rerun what depends on the filter and the band limits; for callbacks."""
    rerun_fragments(Fragment.FILTERED, Fragment.FILTER)


def rerun_fragments(*fragments: Fragment) -> NoReturn:
    """Rerun these fragments; for callbacks of widgets whose change affects more than their own."""
    st.rerun([str(fragment) for fragment in fragments])
