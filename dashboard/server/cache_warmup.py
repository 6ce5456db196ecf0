"""Warms the caches for the first page while the server starts.

The first query on a million samples or more reads all their scores once. Importing the pages here
takes that time out of the first visit, too.
"""

from __future__ import annotations

import gc

from dashboard.data.context import open_view_context
from dashboard.pages.compare import page as compare
from dashboard.pages.evaluate import page as evaluate
from dashboard.pages.explore import page as explore
from dashboard.pages.overview import page as overview
from dashboard.pages.review import page as review
from dashboard.pages.runs import page as runs
from dashboard.pages.subset import page as subset
from dashboard.view.state import View
from dashboard.widgets import prefetch
from scoring.errors import VisnecError

PAGES = (overview, explore, compare, review, subset, evaluate, runs)


def warm_up_caches() -> None:
    """Run the queries of the first page; if one fails, the page itself reports it."""
    try:
        context = open_view_context(View()).context
        if context is not None:
            prefetch.run_page_queries(context, View())
    except VisnecError:
        return
    freeze_imported_objects()


def freeze_imported_objects() -> None:
    """Exclude everything imported and cached so far from garbage collection.

    A full collection over the objects of pandas, DuckDB and plotly alone takes 90 ms of CPU time,
    during which nothing is sent. For the same reason Streamlit's collection after every rerun is
    off, which still took 13 ms each time; Python collects when necessary.
    """
    gc.collect()
    gc.freeze()
