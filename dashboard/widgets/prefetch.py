"""Runs a page's queries in the background, so that the page is then drawn from cached results.

The first queries on a new database read all scores, which takes a second at ten million samples.
Meanwhile the page keeps showing the previous results.
"""

from __future__ import annotations

import threading
from typing import Final

from dashboard.data.cache import APP_CACHE
from dashboard.data.context import Context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.samples import read_page
from dashboard.data.scores import (
    read_ecdf,
    read_group_histograms,
    read_group_statistics,
    read_health,
    read_histogram,
    read_loss_plane,
    read_status_counts,
    read_summary,
)
from dashboard.data.threshold_stats import threshold_stats
from dashboard.view.state import Group, View
from scoring.errors import VisnecError

_WAIT_SECONDS: Final = 0.25  # small databases are ready by then


def is_ready(context: Context, view: View) -> bool:
    """Return whether the view's results are cached; starts the queries if not."""
    root, generation = context.workspace.root, context.store.generation
    key = (root, generation, context.scope, str(context.filter), context.bands)

    def start() -> threading.Event:
        done = threading.Event()

        def run() -> None:
            try:
                run_page_queries(context, view)
            except VisnecError:
                pass  # the page runs into it again and reports it
            finally:
                done.set()

        threading.Thread(target=run, daemon=True).start()
        return done

    return APP_CACHE.prefetches.get(key, start).wait(_WAIT_SECONDS)


def run_page_queries(context: Context, view: View) -> None:
    """Run the queries of the Overview and of the first list in Explore.

    Raises VisnecError if one fails.
    """
    read_dataset_counts(context.store)
    read_status_counts(context.without_filter())
    if read_summary(context).n_scored:
        read_histogram(context)
        read_ecdf(context)
        threshold_stats(view)
        if view.group is not Group.COLUMN:
            read_group_statistics(context, view.group)
            read_group_histograms(context, view.group)
    read_loss_plane(context)
    read_health(context)
    read_page(context, view)
