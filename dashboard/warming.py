"""Asks ahead, while the server starts, what the first page is about to ask.

The first answer about a million samples and more reads their scores once; the answers are kept
where the pages look for them. Importing the pages here takes that time out of the first visit too.
"""

from __future__ import annotations

from dashboard import loaders
from dashboard.app_pages import compare, evaluate, explore, overview, review, runs, subset
from dashboard.components import groups_panel, score_panel
from dashboard.loaders import Context
from dashboard.state import View
from scoring.errors import VisnecError

PAGES = (overview, explore, compare, review, subset, evaluate, runs)


def warm_up() -> None:
    """Answers the questions of the first page; what cannot be answered, the page itself tells."""
    try:
        context = loaders.open_view_context(View()).context
        if context is not None:
            _ask(context)
    except VisnecError:
        return


def _ask(context: Context) -> None:
    loaders.read_dataset_counts(context.store)
    loaders.read_status_counts(context)
    summary = loaders.read_summary(context)
    if summary.n_scored:
        loaders.read_histogram(context, score_panel.bins_for(summary))
        loaders.read_ecdf(context)
        cut = View().threshold(context.workspace.bands)
        loaders.read_cut(context, cut)
        groups_panel.read_groups(context, View().group, cut)
    loaders.read_loss_plane(context)
    loaders.read_health(context)
    loaders.read_page(context, View())
