"""The pages of the navigation, each with the function that renders it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dashboard.pages.compare import page as compare
from dashboard.pages.evaluate import page as evaluate
from dashboard.pages.explore import page as explore
from dashboard.pages.overview import page as overview
from dashboard.pages.review import page as review
from dashboard.pages.runs import page as runs
from dashboard.pages.subset import page as subset
from dashboard.pages.trials import page as trials
from dashboard.view.navigation import PageName

RENDERERS: Final[dict[PageName, Callable[[], None]]] = {
    PageName.OVERVIEW: overview.render,
    PageName.EXPLORE: explore.render,
    PageName.COMPARE: compare.render,
    PageName.EVALUATE: evaluate.render,
    PageName.REVIEW: review.render,
    PageName.SUBSET: subset.render,
    PageName.TRIALS: trials.render,
    PageName.RUNS: runs.render,
}
