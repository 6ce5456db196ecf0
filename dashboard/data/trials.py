"""Reads about trials: the plan, what its results show, and which samples each arm holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboard.charts.trial_plots import ArmPoint
from dashboard.data.cache import APP_CACHE
from dashboard.data.context import Context, cached_read
from dashboard.data.subsets import read_scope_candidates
from dashboard.view.state import Held
from scoring.database.values import Scope
from scoring.necessity import CATEGORIES
from scoring.rules.candidates import ANSWER_KINDS
from scoring.trials.arms import arm_rows, read_arms
from scoring.trials.plan import TrialPlan
from scoring.trials.report import Report, build_report
from scoring.trials.results import UnitResult, read_results
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TrialResults:
    """A plan with its results so far."""

    plan: TrialPlan
    results: tuple[UnitResult, ...]
    report: Report

    @property
    def n_trained(self) -> int:
        """Units with a result, trained here or recorded."""
        return len({(result.arm, result.seed) for result in self.results})

    def points(self, evaluation_set: str, n_samples: int) -> list[ArmPoint]:
        """Return the arms on one evaluation set; ``n_samples`` is the size of the dataset."""
        by_arm: defaultdict[str, list[float]] = defaultdict(list)
        measure = self.plan.measure
        for result in self.results:
            values = result.sets[evaluation_set].values if evaluation_set in result.sets else {}
            if measure in values and result.seed in self.plan.seeds:
                by_arm[result.arm].append(values[measure])
        points = []
        for arm in self.plan.arms:
            value = self.report.arm_value(arm.name, evaluation_set, measure)
            if value is None:
                continue
            is_known = value.n_seeds > 1
            points.append(
                ArmPoint(
                    arm.name,
                    arm.control is not None,
                    arm.n_samples / n_samples if n_samples else 0.0,
                    value.mean,
                    value.low if is_known else None,
                    value.high if is_known else None,
                    tuple(by_arm[arm.name]),
                )
            )
        return points


def read_trial(workspace: Workspace, plan: TrialPlan) -> TrialResults:
    """Return the results of a trial so far. Raises WorkspaceError for a result of another plan."""
    results = tuple(read_results(workspace, plan))
    return TrialResults(plan, results, build_report(plan, results))


@cached_read(decisions=False, make_key=lambda value: getattr(value, "digest", value))
def read_arm_composition(context: Context, plan: TrialPlan, by: Held) -> pd.DataFrame:
    """Return the number of samples of each arm by group, in the first seed, by training weight.

    The index is the group; the first column, ``dataset``, counts all samples. Raises
    WorkspaceError for arms that were changed after the plan.
    """
    candidates = read_scope_candidates(context, Scope(plan.run_id, plan.baseline))
    codes: NDArray[Any]
    names: Sequence[str]
    if by is Held.SOURCE:
        codes, names = candidates.source, candidates.sources
    elif by is Held.CATEGORY:
        codes = context.workspace.bands.category_codes(candidates.visnec)
        codes = np.where(candidates.scored, codes, len(CATEGORIES))
        names = [*map(str, CATEGORIES), "no score"]
    else:
        codes, names = candidates.answer_kind, ANSWER_KINDS
    columns = {"dataset": np.bincount(codes, minlength=len(names)).astype(float)}
    arms = APP_CACHE.answers.get(
        ("arms", context.workspace.root, plan.arms_digest),
        lambda: read_arms(context.workspace, plan),
    )
    for arm in plan.arms:
        rows = arm_rows(arms, arm.name, plan.seeds[0])
        positions = np.searchsorted(candidates.row_idx, rows.row_idx)
        columns[arm.name] = np.bincount(codes[positions], rows.weights, minlength=len(names))
    frame = pd.DataFrame(columns, index=pd.Index(names, name=str(by)))
    return frame[(frame > 0).any(axis=1)]
