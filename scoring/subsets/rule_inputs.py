"""What a subset reads besides scores: the samples of its filter, and the columns of its rule."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from typing import Final

import numpy as np

from scoring.columns.parts import list_columns
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.column_rows import column_groups, column_numbers
from scoring.database.values import Scope
from scoring.errors import FilterError, InputError
from scoring.rules import BestOfGroup, Control, Rule
from scoring.rules.candidates import Candidates, Mask

_MOVING: Final = {
    "category": "the band limits can be moved. Write the limits: visnec:0.25..",
    "certainty": "the band limits can be moved. Write the limits: visnec:0.25..",
    "decision": "decisions change, and they override the rule anyway",
    "reviewer": "decisions change, and they override the rule anyway",
    "edited": "edits change. Export the edited samples with --edits only",
    "image": "images are compared by content once they are indexed. Use a column instead",
    "baselines": "it compares scores that can be computed later",
    "other": "another run can grow or be removed",
    "other_category": "another run can grow or be removed",
    "runs": "another run can grow or be removed",
    "blind": "predictions can be added or replaced",
    "seen": "predictions can be added or replaced",
    "model": "predictions can be added or replaced",
    "measure": "predictions can be added or replaced",
}
"""Parts of a filter whose samples can change although dataset, scores, clusters and columns do not,
and why."""


def parse_pinned_filter(text: str) -> Filter:
    """Parse the filter of a subset.

    Raises FilterError for an invalid filter, and for a part whose samples an export cannot pin.
    """
    where = parse_filter(text)
    for item in fields(Filter):
        if item.name in _MOVING and getattr(where, item.name):
            raise FilterError(
                f"The filter of a subset cannot have {item.name}: {_MOVING[item.name]}"
            )
    return where


def list_columns_of(rule: Rule, where: Filter, known: Collection[str]) -> set[str]:
    """Return the imported columns that a rule and a filter read, of those ``known``."""
    filters = [where, *map(parse_pinned_filter, rule.list_filters())]
    names = {*rule.list_columns(), *rule.list_group_columns()}
    names |= {each.name for part in filters for each in part.col}
    names |= {name for part in filters for area in part.area for name in area.columns}
    return {name if name in known else name.rpartition(".")[0] for name in names}


def read_rule_columns(store: Store, scope: Scope, rule: Rule, candidates: Candidates) -> Candidates:
    """Return the candidates with the columns and the matches of the filters that the rule uses.

    Raises FilterError or InputError where the database cannot answer one.
    """
    _check_groups(store, rule, len(candidates))
    snapshot = store.snapshot()
    columns = {name: column_numbers(snapshot, name) for name in rule.list_columns()}
    groups = {name: column_groups(snapshot, name) for name in rule.list_group_columns()}
    matching = {text: _match_filter(store, scope, text, candidates) for text in rule.list_filters()}
    return replace(candidates, columns=columns, groups=groups, matching=matching)


def _check_groups(store: Store, rule: Rule, n_samples: int) -> None:
    """Raise InputError if samples were added since the groups of a rule were found.

    They would be in no group, and all be kept.
    """
    rule = rule.of if isinstance(rule, Control) else rule
    if not isinstance(rule, BestOfGroup):
        return
    for column in list_columns(store.workspace):
        if column.name == rule.group and column.n_samples != n_samples:
            raise InputError(
                f"The column {column.name!r} is about {column.n_samples:,} of {n_samples:,} "
                f"samples: others were added later. Make it again ({column.file})."
            )


def apply_filter(store: Store, scope: Scope, where: str, candidates: Candidates) -> Candidates:
    """Return the candidates with those marked that the filter leaves.

    Raises FilterError or InputError where the database cannot answer the filter.
    """
    if not where:
        return candidates
    return replace(candidates, inside=_match_filter(store, scope, where, candidates))


def _match_filter(store: Store, scope: Scope, where: str, candidates: Candidates) -> Mask:
    rows = matching_rows(store.selection(scope, parse_pinned_filter(where)))
    return np.isin(candidates.row_idx, rows, assume_unique=True)
