"""Asks ahead what a page is about to ask, so that it is drawn at once.

The first answer from a new database reads scores anew, which takes a second at ten million samples.
The one decision behind it: that is done in the background while the page stands as it is, and the
page is drawn from the new database when the answers are there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from dashboard.data.context import Context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.reviews import read_labels
from dashboard.data.samples import read_page
from dashboard.data.scores import (
    GROUP_BINS,
    choose_bin_count,
    read_ecdf,
    read_group_figures,
    read_group_histograms,
    read_health,
    read_histogram,
    read_loss_plane,
    read_status_counts,
    read_summary,
    read_threshold_counts,
)
from dashboard.view.state import View
from scoring.errors import VisnecError

_SECONDS: Final = 0.25  # that a page may wait here: small databases are ready by then
_REMEMBERED: Final = 64
_asked: OrderedDict[tuple[object, ...], threading.Event] = OrderedDict()
_lock = threading.Lock()


def is_ready(context: Context, view: View) -> bool:
    """Whether the answers for this view are there; begins to ask where they are not."""
    root, generation = context.workspace.root, context.store.generation
    key = (root, generation, context.scope, str(context.filter), context.bands)
    with _lock:
        done = _asked.get(key)
        if done is None:
            done = _asked[key] = threading.Event()
            threading.Thread(target=_ask, args=(context, view, done), daemon=True).start()
        while len(_asked) > _REMEMBERED:
            _asked.popitem(last=False)
    return done.wait(_SECONDS)


def _ask(context: Context, view: View, done: threading.Event) -> None:
    try:
        ask(context, view)
    except VisnecError:
        pass  # the page that asks again tells of it
    finally:
        done.set()


def ask(context: Context, view: View) -> None:
    """Answers the questions of the Overview and of the first list in Explore.

    Raises VisnecError where one cannot be answered.
    """
    read_dataset_counts(context.store)
    read_status_counts(context.everything())
    summary = read_summary(context)
    if summary.n_scored:
        read_histogram(context, choose_bin_count(summary))
        read_ecdf(context)
        cut = view.threshold(context.workspace.bands)
        read_threshold_counts(context, cut)
        read_labels(context)
        read_group_figures(context, view.group)
        read_group_histograms(context, str(view.group), GROUP_BINS)
    read_loss_plane(context)
    read_health(context)
    read_page(context, view)
