"""Saved subsets: a name for a rule with its options, and the samples that it selects.

``subsets/<name>.json`` holds the definition, never rows. A subset is resolved from the current
scores and decisions each time it is used, so it cannot become outdated. An export pins it, with
the decisions up to an offset in each log.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.database.values import Scope
from scoring.errors import InputError, RuleError, WorkspaceError
from scoring.necessity import DEFAULT_BANDS, Bands, Category
from scoring.reviews.decision_log import Decision
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import LatestDecision, latest_decisions, majority_decisions
from scoring.rules import Mixture, Rule, rule_from_dict
from scoring.rules.candidates import ANSWER_KINDS, STATUSES, Candidates
from scoring.rules.mixture import NO_VALUE
from scoring.runs.record import utc_now
from scoring.subsets.comparison import overlap_table
from scoring.subsets.composition import (
    Grouping,
    compare_composition,
    compare_mixture,
    describe_vanishing,
)
from scoring.subsets.rule_inputs import (
    apply_filter,
    list_columns_of,
    parse_pinned_filter,
    read_rule_columns,
)
from scoring.subsets.selection import Subset, Treatment, select
from scoring.workspace import Workspace, check_name, is_valid_name, write_json


@dataclass(frozen=True, slots=True)
class SubsetDefinition:
    """Everything that determines a subset, apart from the scores and the decisions themselves.

    ``text_only`` and ``unscored`` are the treatment of samples without an image and of those
    without a score for another reason; ``hand_wins`` lets decisions override the rule. ``where`` is
    the written form of a filter: rule and treatments apply to the samples that match it, and all
    others are out of the subset unless a decision keeps them. Raises InputError for an invalid file
    name or treatment, FilterError for a filter that an export cannot pin.
    """

    name: str
    rule: Rule
    run_id: str
    baseline: str = "none"
    clustering_id: str | None = None
    text_only: Treatment = "drop"
    unscored: Treatment = "drop"
    hand_wins: bool = True
    created_at: str = field(default_factory=utc_now)
    where: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        check_name(self.name, "subset")
        # Filters have one written form.
        object.__setattr__(self, "where", str(parse_pinned_filter(self.where)))
        rule = self.rule.map_filters(lambda text: str(parse_pinned_filter(text)))
        object.__setattr__(self, "rule", rule)
        for option in ("text_only", "unscored"):
            if getattr(self, option) not in get_args(Treatment):
                raise InputError(f"{option} must be drop or keep, got {getattr(self, option)!r}")

    @property
    def scope(self) -> Scope:
        """The scores that the rule uses."""
        return Scope(self.run_id, self.baseline, self.clustering_id)

    def describe_rule(self) -> str:
        """Return the rule and the filter as text."""
        return f"{self.rule} where {self.where}" if self.where else str(self.rule)

    def uses_cluster_filter(self) -> bool:
        """Return whether a filter names clusters."""
        texts = (self.where, *self.rule.list_filters())
        return any(parse_pinned_filter(text).cluster for text in texts)

    def find_columns(self, known: Collection[str]) -> set[str]:
        """Return which of the ``known`` imported columns it depends on."""
        return list_columns_of(self.rule, parse_pinned_filter(self.where), known)

    def to_dict(self) -> dict[str, Any]:
        """Return the definition as JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        rule = self.rule.to_dict()
        if where := values.pop("where"):
            rule["where"] = (
                where  # with the rule: earlier versions refuse it instead of ignoring it
            )
        return values | {"rule": rule}


def definition_from_dict(value: Mapping[str, Any]) -> SubsetDefinition:
    """Build a definition from the output of ``to_dict``; keys of later versions are ignored."""
    known = {name: value[name] for name in SubsetDefinition.__dataclass_fields__ if name in value}
    rule = dict(value["rule"])
    where = rule.pop("where", "")
    return SubsetDefinition(**(known | {"rule": rule_from_dict(rule), "where": where}))


def name_arm(name: str, arm: str) -> str:
    """Return the name of a comparison arm of the subset ``name``, short enough for a file name."""
    return f"{name[:80]}-{arm}"


def save_subset(
    workspace: Workspace, definition: SubsetDefinition, overwrite: bool = False
) -> Path:
    """Save the definition under its name. Raises InputError if the name has another definition."""
    path = _subset_path(workspace, definition.name)
    if path.exists() and not overwrite:
        saved = read_subset(workspace, definition.name)
        if replace(saved, created_at=definition.created_at) != definition:
            raise InputError(
                f"Subset {definition.name!r} is already saved with other settings "
                f"({saved.describe_rule()}). "
                "Choose another name, or replace it with --overwrite."
            )
        return path
    write_json(path, definition.to_dict())
    return path


def read_subset(workspace: Workspace, name: str) -> SubsetDefinition:
    """Read a saved definition. Raises InputError listing the saved subsets if there is none."""
    path = _subset_path(workspace, name)
    try:
        return definition_from_dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        known = ", ".join(sorted(file.stem for file in _subset_files(workspace))) or "none yet"
        raise InputError(
            f"No subset {name!r} in {workspace.root}. Saved subsets: {known}"
        ) from None
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise WorkspaceError(
            f"{path} is not a subset that this version can read ({error}). Save it again"
        ) from error


def list_subsets(workspace: Workspace) -> list[SubsetDefinition]:
    """Return all saved definitions, oldest first."""
    definitions = [read_subset(workspace, path.stem) for path in _subset_files(workspace)]
    return sorted(definitions, key=lambda saved: (saved.created_at, saved.name))


def delete_subset(workspace: Workspace, name: str) -> None:
    """Delete a definition; its exports are kept. Raises InputError if there is none."""
    read_subset(workspace, name)
    _subset_path(workspace, name).unlink()


def _subset_path(workspace: Workspace, name: str) -> Path:
    return workspace.subsets_dir / f"{check_name(name, 'subset')}.json"


def _subset_files(workspace: Workspace) -> list[Path]:
    """Return the files of saved subsets, ignoring files that have no valid subset name."""
    return [path for path in workspace.subsets_dir.glob("*.json") if is_valid_name(path.stem)]


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedSubset:
    """A resolved subset together with the candidates it was selected from.

    ``decisions`` are the manual decisions that counted, by row. The frames have the columns
    ``samples`` (before), ``kept`` and ``dropped`` (after), ``share`` (kept of samples) and
    ``kept_tokens`` (answer tokens of the kept samples).
    """

    definition: SubsetDefinition
    candidates: Candidates
    subset: Subset
    decisions: Mapping[int, Decision] = field(default_factory=dict)

    def describe_filter(self) -> str | None:
        """Return what the filter leaves; None without a filter."""
        inside = self.candidates.inside
        if inside is None:
            return None
        n_scored = int(self.candidates.eligible.sum())
        return (
            f"The filter {self.definition.where} leaves {int(inside.sum()):,} of {len(inside):,} "
            f"samples, {n_scored:,} of them scored; shares and numbers are of these"
        )

    def describe_unranked(self) -> str | None:
        """Return how many scored samples the rule does not rank; None if it ranks all."""
        unranked = self.definition.rule.find_unranked(self.candidates)
        if unranked is None or not unranked.any():
            return None
        n, n_scored = int(unranked.sum()), int(self.candidates.eligible.sum())
        return (
            f"{n:,} of {n_scored:,} scored samples lack a value that the rule ranks by and are not "
            "ranked; shares are of the others"
        )

    def by_source(self) -> pd.DataFrame:
        """Count samples per source; the index is in ascending order."""
        return self._count_groups("source", *self.group_codes("source"))

    def by_status(self) -> pd.DataFrame:
        """Count samples per status that occurs, in the order of the closed list."""
        statuses = [str(status) for status in STATUSES]
        frame = self._count_groups("status", self.candidates.status, statuses)
        return frame[frame["samples"] > 0]

    def by_category(self, bands: Bands) -> pd.DataFrame:
        """Count scored samples per category; the unscored come last as ``no score``."""
        return self._count_groups("category", *self.group_codes("category", bands))

    def by_cluster(self) -> pd.DataFrame:
        """Count samples per cluster number that occurs; -1 are samples without a cluster."""
        return self._count_groups("cluster_id", *self.group_codes("cluster"))

    def group_codes(
        self, grouping: Grouping, bands: Bands = DEFAULT_BANDS
    ) -> tuple[NDArray[Any], Sequence[str] | Sequence[int]]:
        """Return the group of each candidate as a position in the names, and the names."""
        candidates = self.candidates
        if grouping == "source":
            return candidates.source, candidates.sources
        if grouping == "answer type":
            return candidates.answer_kind, ANSWER_KINDS
        if grouping == "cluster":
            numbers, codes = np.unique(candidates.cluster_id, return_inverse=True)
            return codes, [int(number) for number in numbers]
        names = [*(str(category) for category in Category), "no score"]
        categories = bands.category_codes(candidates.visnec)
        categories[~candidates.scored] = -1
        return categories % len(names), names

    def composition(
        self, grouping: Grouping = "source", bands: Bands = DEFAULT_BANDS
    ) -> pd.DataFrame:
        """Return the mixture of groups that training will see; the index is the group.

        The columns are those of :func:`compare_composition`.
        """
        codes, names = self.group_codes(grouping, bands)
        frame = compare_composition(codes, len(names), self.subset.kept, self.subset.weights)
        return frame.set_axis(pd.Index(names, name=grouping.replace(" ", "_")), axis=0)

    def mixture(self) -> pd.DataFrame:
        """Return samples, tokens and repeats per group of a mixture, before and after.

        The columns are those of :func:`compare_mixture`, and target (NaN without one). Raises
        RuleError for another rule.
        """
        rule = self.definition.rule
        if not isinstance(rule, Mixture):
            raise RuleError(f"Subset {self.definition.name!r} is not a mixture: {rule}")
        codes, names = self._mixture_codes(rule)
        weights = self.subset.weights
        repeats = self.subset.kept.astype(np.float64) if weights is None else weights
        frame = compare_mixture(codes, len(names), self.candidates.n_answer_tokens, repeats)
        frame["target"] = [dict(rule.target).get(str(name), np.nan) for name in names]
        return frame.set_axis(pd.Index(names, name=rule.per.replace("-", "_")), axis=0)

    def _mixture_codes(self, rule: Mixture) -> tuple[NDArray[Any], Sequence[str] | Sequence[int]]:
        """Return the group of each candidate as a position in the names, and the names."""
        if rule.column is not None:
            groups = self.candidates.groups[rule.column]
            return groups.codes % (len(groups.names) + 1), (*groups.names, NO_VALUE)
        grouping = cast(Grouping, rule.per.replace("-", " "))
        return self.group_codes(grouping, Bands(rule.low, rule.high))

    def find_vanishing(self) -> list[str]:
        """Return a line for each source and type of answer that nearly vanishes."""
        return [
            line
            for grouping in ("source", "answer type")
            for line in describe_vanishing(grouping, self.composition(grouping))
        ]

    def reasons(self) -> pd.DataFrame:
        """Count samples by outcome (kept or dropped) and reason; adds up to the dataset."""
        rows = [
            ("kept" if count.kept else "dropped", str(count.reason), count.n)
            for count in self.subset.count_reasons()
        ]
        return pd.DataFrame(rows, columns=["outcome", "reason", "samples"])

    def _count_groups(
        self, label: str, codes: NDArray[Any], names: Sequence[str] | Sequence[int]
    ) -> pd.DataFrame:
        n, kept = len(names), self.subset.kept
        samples = np.bincount(codes, minlength=n)
        n_kept = np.bincount(codes[kept], minlength=n)
        tokens = np.bincount(codes[kept], self.candidates.n_answer_tokens[kept], minlength=n)
        with np.errstate(invalid="ignore"):
            columns = {
                "samples": samples,
                "kept": n_kept,
                "dropped": samples - n_kept,
                "share": n_kept / samples,
                "kept_tokens": tokens.astype(np.int64),
            }
        return pd.DataFrame(columns, index=pd.Index(names, name=label))


def read_outcome(
    workspace: Workspace,
    store: Store,
    definition: SubsetDefinition,
    until: Mapping[str, int] | None = None,
) -> ResolvedSubset:
    """Resolve a definition with the current scores and decisions, or with the decisions ``until``.

    ``until`` maps log names to last sequence numbers. Raises RuleError.
    """
    candidates = read_rule_inputs(store, definition)
    return resolve_definition(workspace, definition, candidates, until)


def read_rule_inputs(
    store: Store, definition: SubsetDefinition, scored: Candidates | None = None
) -> Candidates:
    """Return what a definition selects from: all samples, its columns, and what its filter leaves.

    ``scored`` are the candidates of its scope, if they were read before. Raises FilterError or
    InputError for a column or a filter that the database cannot answer.
    """
    pinned = store.pin()
    candidates = scored or read_candidates(pinned, definition.scope)
    candidates = read_rule_columns(pinned, definition.scope, definition.rule, candidates)
    return apply_filter(pinned, definition.scope, definition.where, candidates)


def resolve_definition(
    workspace: Workspace,
    definition: SubsetDefinition,
    candidates: Candidates,
    until: Mapping[str, int] | None = None,
) -> ResolvedSubset:
    """Like :func:`read_outcome`, for candidates that :func:`read_rule_inputs` returned."""
    events = read_events(workspace, until) if definition.hand_wins else ()
    return apply_definition(definition, candidates, latest_decisions(events))


def apply_definition(
    definition: SubsetDefinition, candidates: Candidates, latest: Iterable[LatestDecision]
) -> ResolvedSubset:
    """Apply a definition to candidates and each reviewer's current decisions. Pure.

    Raises RuleError for candidates that its filter was not applied to.
    """
    if definition.where and candidates.inside is None:
        raise RuleError(f"The filter of {definition.name} was not applied to its candidates")
    decisions = majority_decisions(latest) if definition.hand_wins else {}
    rule, treatments = definition.rule, (definition.text_only, definition.unscored)
    subset = select(rule, candidates, decisions, *treatments, definition.hand_wins)
    return ResolvedSubset(definition, candidates, subset, decisions)


def read_overlaps(
    workspace: Workspace, store: Store, definition: SubsetDefinition, clustering_ids: Sequence[str]
) -> pd.DataFrame:
    """Compare the subsets of one definition under several clusterings, pair by pair.

    Decisions are ignored: they would make every pair look similar. The columns are a, b
    (clustering ids), n_a, n_b, both and jaccard.
    """
    subsets = {}
    for clustering_id in clustering_ids:
        variant = replace(definition, clustering_id=clustering_id, hand_wins=False)
        subsets[clustering_id] = read_outcome(workspace, store, variant).subset
    return overlap_table(subsets)
