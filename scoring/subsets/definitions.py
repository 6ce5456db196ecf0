"""Saved subsets: a name for a rule and its choices, and what they come to.

``subsets/<name>.json`` holds the definition, never rows. The one decision behind it: a subset is
resolved anew from the scores and the verdicts whenever it is looked at, so it cannot go stale;
an export pins it down, with the decisions counted up to an offset of each log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.database.values import Scope
from scoring.errors import InputError, WorkspaceError
from scoring.necessity import Bands, Category
from scoring.reviews.decision_log import Decision, DecisionEvent
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import LatestDecision, latest_decisions, majority_decisions
from scoring.rules import Rule, rule_from_dict
from scoring.rules.candidates import STATUSES, Candidates
from scoring.runs.record import utc_now
from scoring.subsets.comparison import overlap_table
from scoring.subsets.selection import Subset, Treatment, select
from scoring.workspace import Workspace, check_name, is_valid_name, write_json


@dataclass(frozen=True, slots=True)
class SubsetDefinition:
    """All that decides a subset, apart from the scores and the verdicts themselves.

    ``text_only`` and ``unscored`` say what becomes of samples without an image and of those
    without a score for another reason; ``hand_wins`` lets verdicts overrule the rule. Raises
    InputError for a name that cannot be a file's, or for another word than drop and keep.
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

    def __post_init__(self) -> None:
        check_name(self.name, "subset")
        for what in ("text_only", "unscored"):
            if getattr(self, what) not in get_args(Treatment):
                raise InputError(f"{what} is drop or keep, got {getattr(self, what)!r}")

    @property
    def scope(self) -> Scope:
        """Which scores the rule looks at."""
        return Scope(self.run_id, self.baseline, self.clustering_id)

    def to_dict(self) -> dict[str, Any]:
        """The definition as JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"rule": self.rule.to_dict()}


def definition_from_dict(value: Mapping[str, Any]) -> SubsetDefinition:
    """The definition that ``to_dict`` gave; keys of later versions are passed over."""
    known = {name: value[name] for name in SubsetDefinition.__dataclass_fields__ if name in value}
    return SubsetDefinition(**(known | {"rule": rule_from_dict(value["rule"])}))


def save_subset(
    workspace: Workspace, definition: SubsetDefinition, overwrite: bool = False
) -> Path:
    """Saves the definition under its name. Raises InputError where another one has the name."""
    path = _path(workspace, definition.name)
    if path.exists() and not overwrite:
        saved = read_subset(workspace, definition.name)
        if _deciding(saved) != _deciding(definition):
            raise InputError(
                f"a subset {definition.name!r} with other choices is saved already "
                f"({saved.rule}); take another name, or overwrite it"
            )
        return path
    write_json(path, definition.to_dict())
    return path


def read_subset(workspace: Workspace, name: str) -> SubsetDefinition:
    """The saved definition. Raises InputError naming the subsets there are."""
    path = _path(workspace, name)
    try:
        return definition_from_dict(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in _files(workspace))) or "none yet"
        raise InputError(f"no subset {name!r} in {workspace.root}; there are: {known}") from None
    except (ValueError, KeyError, TypeError, InputError) as error:
        raise WorkspaceError(
            f"{path} is no subset that this version can read ({error}); save it again"
        ) from error


def list_subsets(workspace: Workspace) -> list[SubsetDefinition]:
    """All saved definitions, oldest first."""
    found = [read_subset(workspace, path.stem) for path in _files(workspace)]
    return sorted(found, key=lambda one: (one.created_at, one.name))


def delete_subset(workspace: Workspace, name: str) -> None:
    """Forgets a definition; exports made from it stay. Raises InputError where there is none."""
    read_subset(workspace, name)
    _path(workspace, name).unlink()


@dataclass(frozen=True, slots=True, eq=False)
class ResolvedSubset:
    """A resolved subset beside the samples it was chosen from.

    The frames have the columns ``samples`` (before), ``kept`` and ``dropped`` (after), ``share``
    (kept of samples) and, where scores exist, ``kept_tokens`` (answer tokens kept).
    """

    definition: SubsetDefinition
    candidates: Candidates
    subset: Subset
    hand: Mapping[int, Decision] = field(default_factory=dict)  # verdicts that counted, by row

    def by_source(self) -> pd.DataFrame:
        """Per source, ascending by name, as the index."""
        return self._frame("source", self.candidates.source, self.candidates.sources)

    def by_status(self) -> pd.DataFrame:
        """Per status that occurs, in the order of the closed list."""
        frame = self._frame("status", self.candidates.status, [str(one) for one in STATUSES])
        return frame[frame["samples"] > 0]

    def by_category(self, bands: Bands) -> pd.DataFrame:
        """Per category of the scored samples; the unscored stand last as ``no score``."""
        score = self.candidates.visnec
        code = np.where(score < bands.low, 0, np.where(score < bands.high, 1, 2))
        code = np.where(self.candidates.scored, code, 3)
        return self._frame("category", code, [*(str(one) for one in Category), "no score"])

    def by_cluster(self) -> pd.DataFrame:
        """Per cluster number that occurs; -1 are samples without a cluster."""
        numbers, code = np.unique(self.candidates.cluster_id, return_inverse=True)
        return self._frame("cluster_id", code, [int(number) for number in numbers])

    def composition(self) -> pd.DataFrame:
        """What mixture of sources training will see; index source.

        Columns samples, share_before (of all samples), kept, weight (of the kept samples
        together; without weights each has 1), mean_weight (NaN where none is kept) and
        share_after (of the whole weight).
        """
        found, subset = self.candidates, self.subset
        n = len(found.sources)
        weights = subset.kept.astype(np.float64) if subset.weights is None else subset.weights
        samples = np.bincount(found.source, minlength=n)
        kept = np.bincount(found.source[subset.kept], minlength=n)
        weight = np.bincount(found.source, weights, n).astype(np.float64)
        with np.errstate(invalid="ignore"):
            columns = {
                "samples": samples,
                "share_before": samples / samples.sum(),
                "kept": kept,
                "weight": weight,
                "mean_weight": weight / kept,
                "share_after": weight / weight.sum(),
            }
        return pd.DataFrame(columns, index=pd.Index(found.sources, name="source"))

    def reasons(self) -> pd.DataFrame:
        """Columns outcome (kept or dropped), reason and samples; adds up to the dataset."""
        rows = [
            ("kept" if one.kept else "dropped", str(one.reason), one.n)
            for one in self.subset.count_reasons()
        ]
        return pd.DataFrame(rows, columns=["outcome", "reason", "samples"])

    def _frame(
        self, what: str, code: NDArray[Any], names: Sequence[str] | Sequence[int]
    ) -> pd.DataFrame:
        n = len(names)
        kept = self.subset.kept
        samples = np.bincount(code, minlength=n)
        n_kept = np.bincount(code[kept], minlength=n)
        tokens = np.bincount(code[kept], self.candidates.n_answer_tokens[kept], minlength=n)
        with np.errstate(invalid="ignore"):
            share = n_kept / samples
        columns = {
            "samples": samples,
            "kept": n_kept,
            "dropped": samples - n_kept,
            "share": share,
            "kept_tokens": tokens.astype(np.int64),
        }
        return pd.DataFrame(columns, index=pd.Index(names, name=what))


def resolve_subset(
    workspace: Workspace,
    store: Store,
    definition: SubsetDefinition,
    until: Mapping[str, int] | None = None,
) -> Subset:
    """The samples that the definition takes now, or with the decisions up to ``until``.

    ``until`` maps log names to last sequence numbers. Raises RuleError.
    """
    return read_outcome(workspace, store, definition, until).subset


def read_outcome(
    workspace: Workspace,
    store: Store,
    definition: SubsetDefinition,
    until: Mapping[str, int] | None = None,
) -> ResolvedSubset:
    """Like :func:`resolve_subset`, with the samples beside it for the tables before and after."""
    found = read_candidates(store, definition.scope)
    return resolve_from_events(definition, found, read_events(workspace, until))


def read_overlaps(
    workspace: Workspace, store: Store, definition: SubsetDefinition, clustering_ids: Sequence[str]
) -> pd.DataFrame:
    """How much the subset of a definition depends on the clustering: the overlap of each pair.

    Columns a, b (clustering ids), n_a, n_b, both, jaccard. Verdicts are left out: they would make
    every pair look alike.
    """
    by_rule = replace(definition, hand_wins=False)
    subsets = {
        one: resolve_subset(workspace, store, replace(by_rule, clustering_id=one))
        for one in clustering_ids
    }
    return overlap_table(subsets)


def resolve_from_events(
    definition: SubsetDefinition, found: Candidates, events: Iterable[DecisionEvent]
) -> ResolvedSubset:
    """Applies a definition to candidates and decision events. Pure."""
    latest = latest_decisions(events) if definition.hand_wins else ()
    return apply_definition(definition, found, latest)


def apply_definition(
    definition: SubsetDefinition, found: Candidates, latest: Iterable[LatestDecision]
) -> ResolvedSubset:
    """As :func:`resolve_from_events`, for the decisions that hold. Pure."""
    hand = majority_decisions(latest) if definition.hand_wins else {}
    subset = select(
        definition.rule,
        found,
        hand,
        definition.text_only,
        definition.unscored,
        definition.hand_wins,
    )
    return ResolvedSubset(definition, found, subset, hand)


def _deciding(definition: SubsetDefinition) -> dict[str, Any]:
    return {key: value for key, value in definition.to_dict().items() if key != "created_at"}


def _path(workspace: Workspace, name: str) -> Path:
    return workspace.subsets_dir / f"{check_name(name, 'subset')}.json"


def _files(workspace: Workspace) -> list[Path]:
    """Files of subsets; what lies beside them under another sort of name is none."""
    return [path for path in workspace.subsets_dir.glob("*.json") if is_valid_name(path.stem)]
