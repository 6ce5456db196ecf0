"""Asks ahead, while the server starts, what the first page is about to ask.

The first answer about a million samples and more reads their scores once; the answers are kept
where the pages look for them. Importing the pages here takes that time out of the first visit too.
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


def warm_up() -> None:
    """Answers the questions of the first page; what cannot be answered, the page itself tells."""
    try:
        context = open_view_context(View()).context
        if context is not None:
            prefetch.ask(context, View())
    except VisnecError:
        return
    freeze_imported_objects()


def freeze_imported_objects() -> None:
    """Leaves what was imported and prepared so far out of garbage collection, for good.

    A full collection over the objects of pandas, DuckDB and plotly alone takes 90 ms of the
    processor, during which nothing is sent. For the same reason Streamlit is told not to collect
    after every run of a script, which still took 13 ms each time; Python does so when it is due.
    """
    gc.collect()
    gc.freeze()
