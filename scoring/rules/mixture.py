"""A rule that mixes groups of samples: target shares per group, with repeats for small groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, cast, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.necessity import CATEGORIES, DEFAULT_BANDS, Bands
from scoring.rules.base import check_choice, check_count, check_seed, check_size
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Floats, Ints, Mask
from scoring.rules.combination import RankingRule, check_ranking
from scoring.rules.limits import check_limits, is_between
from scoring.rules.ranking import group_scored, random_numbers, scored_positions, sort_best_first
from scoring.rules.shares import check_tokens_known
from scoring.rules.targets import TOLERANCE, Targets, read_targets, split_budget

MixtureGroup = Literal["source", "category", "cluster", "answer-type"]
"""Groups of a mixture; ``col:NAME`` are those by a column."""
DrawBy = Literal["random", "all", "visnec"]
"""How samples of a group are drawn: at random inside a band or from all scores, or ranked."""

REPEATS_TO_WARN_OF: Final = 4
"""Above this many repeats, instruction data lost in the experiments of DataComp-VLM."""
REST: Final = "the rest"
NO_VALUE: Final = "(no value)"
"""Group of the samples without a value in the column that a mixture groups by."""
_COLUMN: Final = "col:"
_UNSET: Final = math.nan
"""No lower limit was given; None is one that is left open."""
_MAX_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class GroupDraw:
    """What a mixture draws from a group.

    ``quota`` and ``drawn`` are in the unit of the budget (samples or answer tokens, repeats
    included), ``n_available`` counts the samples in the band, ``positions`` and ``counts`` are the
    drawn candidates and how often each is repeated.
    """

    name: str
    quota: int
    drawn: int
    n_available: int
    positions: Ints
    counts: Ints

    @property
    def most_repeats(self) -> int:
        """The highest number of repeats of a sample."""
        return int(self.counts.max(initial=0))


@dataclass(frozen=True, slots=True)
class Mixture(RankingRule):
    """Groups of samples by target shares of a budget.

    The budget is a ``count``, a ``share`` of the scored samples, or a number of answer ``tokens``,
    repeats included; each ``target`` is (group, share of it), in samples or in answer tokens. If
    the targets add up to less than 1, all other groups together get the rest; else nothing.
    A group's samples are drawn at random between ``min`` and ``max`` (either may be open), at
    random from all scores (``by="all"``), or the highest scores first (``by="visnec"``), with
    ``rank_by`` those of a combination. A random draw without limits is from ``high`` on; with
    ``per="category"``, where ``low`` and ``high`` are the band limits, each category is a band of
    its own. A group with too few samples is repeated as a whole, at most ``max_repeat`` times; if
    that is not enough, it stays below its target, and no other group gets more. With
    ``per="col:NAME"``, groups are the values of an imported column of texts or booleans; samples
    without a value have no target of their own.
    """

    target: Targets
    per: str = "source"
    count: int | None = None
    tokens: int | None = None
    share: float | None = None
    min: float | None = _UNSET
    max: float | None = None
    by: DrawBy = "random"
    max_repeat: int = 1
    low: float = DEFAULT_BANDS.low
    high: float = DEFAULT_BANDS.high
    seed: int = 0
    name: ClassVar[str] = "mixture"

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", read_targets(self.target))
        if not self.target:
            raise RuleError("Rule mixture needs at least one --target NAME=SHARE")
        if (total := sum(share for _, share in self.target)) > 1 + TOLERANCE:
            raise RuleError(f"The targets add up to {total:g}; they can add up to at most 1")
        if self.column is None:
            check_choice(self.per, (*get_args(MixtureGroup), "col:NAME"), "--per")
        check_choice(self.by, get_args(DrawBy), "--by")
        check_size(self.name, self.share, self.count, self.tokens)
        if self.min is _UNSET:
            is_limited = self.max is None and draws_in_band(self.by, self.per)
            object.__setattr__(self, "min", self.high if is_limited else None)
        if self.min is not None or self.max is not None:
            if self.by == "all":
                raise RuleError("--by all draws from all scores. Leave out --min and --max")
            check_limits(self, self.min, self.max)
        check_ranking(self)
        if self.rank_by is not None and self.by != "visnec":
            raise RuleError(f"--rank-by needs --by visnec; --by {self.by} draws at random")
        check_count(self.max_repeat, what="The number of repeats")
        Bands(self.low, self.high)  # checks the limits
        check_seed(self.seed)

    @property
    def column(self) -> str | None:
        """The name of the column that the groups come from; None for other groups."""
        return column_of(self.per)

    def list_group_columns(self) -> tuple[str, ...]:
        """Return the column that the groups come from."""
        return () if self.column is None else (self.column,)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select every sample that is drawn at least once."""
        return self._count_repeats(candidates) > 0

    def compute_weights(self, candidates: Candidates) -> Floats | None:
        """Return how often each sample counts; None if no sample may be repeated."""
        return self._count_repeats(candidates).astype(np.float64) if self.max_repeat > 1 else None

    def draw_groups(self, candidates: Candidates) -> list[GroupDraw]:
        """Draw from each group with a target, and from the rest; raises RuleError."""
        ranked = self.rank(candidates)
        candidates = replace(candidates, inside=ranked.inside)
        scored = scored_positions(candidates)
        codes, names = group_mixture(candidates, self.per, Bands(self.low, self.high))
        if unknown := [name for name, _ in self.target if name not in names]:
            known = ", ".join(names[:_MAX_LISTED]) or "none"
            known += ", …" if len(names) > _MAX_LISTED else ""
            raise RuleError(f"Unknown {self.per} {unknown[0]!r} in --target. Choose from: {known}")
        shares = [share for _, share in self.target]
        numbers = [names.index(name) for name, _ in self.target]
        members = [codes == number for number in numbers]
        if (rest := 1 - sum(shares)) > TOLERANCE:
            shares.append(rest)
            members.append(~np.isin(codes, numbers))
        budget = self.count or self.tokens or int(cast(float, self.share) * len(scored))
        titles = [name for name, _ in self.target] + [REST]
        return [
            self._draw_group(candidates, ranked.visnec, title, quota, scored[inside])
            for title, quota, inside in zip(
                titles, split_budget(budget, shares), members, strict=False
            )
        ]

    def _draw_group(
        self, candidates: Candidates, values: Floats, name: str, quota: int, positions: Ints
    ) -> GroupDraw:
        """Draw from a group: whole passes over its samples, then the first of another pass."""
        inside = positions[is_between(candidates, self.min, self.max)[positions]]
        if self.by == "visnec":
            ordered = sort_best_first(values, inside)
        else:
            numbers = random_numbers(candidates.row_idx[inside], self.seed)
            ordered = inside[np.argsort(numbers, kind="stable")]
        sizes = np.ones(len(ordered), np.int64)
        if self.tokens is not None:
            check_tokens_known(candidates)
            sizes = candidates.n_answer_tokens[ordered]
        total = int(sizes.sum())
        passes = min(quota // total, self.max_repeat) if total else 0
        remaining = quota - passes * total if passes < self.max_repeat else 0
        counts = np.full(len(ordered), passes, np.int64)
        counts[: np.searchsorted(np.cumsum(sizes), remaining, side="right")] += 1
        drawn = int((counts * sizes).sum())
        taken = counts > 0
        return GroupDraw(name, quota, drawn, len(inside), ordered[taken], counts[taken])

    def _count_repeats(self, candidates: Candidates) -> Ints:
        repeats = np.zeros(len(candidates), np.int64)
        if candidates.eligible.any():
            for group in self.draw_groups(candidates):
                repeats[group.positions] = group.counts
        return repeats

    def describe_issues(self, candidates: Candidates) -> list[str]:
        """Return a line for each group below its target, and for each that is repeated often."""
        unit = "samples" if self.tokens is None else "answer tokens"
        band = "" if self.min is None and self.max is None else " in the band"
        lines = []
        for group in self.draw_groups(candidates) if candidates.eligible.any() else []:
            is_cluster = self.per == "cluster" and group.name != REST
            name = f"cluster {group.name}" if is_cluster else group.name
            is_used_up = len(group.positions) == group.n_available and bool(
                (group.counts == self.max_repeat).all()
            )
            if is_used_up and group.drawn < group.quota:
                lines.append(
                    f"{name} gets {group.drawn:,} of {group.quota:,} {unit}: it has "
                    f"{group.n_available:,} samples{band}, repeated at most "
                    f"{self.max_repeat:,} times. Lower its target or the budget, or allow "
                    "more repeats"
                )
            if group.most_repeats > REPEATS_TO_WARN_OF:
                lines.append(
                    f"{name} is repeated up to {group.most_repeats:,} times; more than "
                    f"{REPEATS_TO_WARN_OF} repeats of instruction data can hurt"
                )
        return lines


def draws_in_band(by: str, per: str) -> bool:
    """Return whether a mixture without limits draws from the upper band limit on, as a band."""
    return by == "random" and per != "category"


def column_of(per: str) -> str | None:
    """Return the name of the column in ``col:NAME``; None for other groups."""
    is_column = isinstance(per, str) and per.startswith(_COLUMN) and len(per) > len(_COLUMN)
    return per.removeprefix(_COLUMN) if is_column else None


def group_mixture(candidates: Candidates, per: str, bands: Bands) -> tuple[Ints, Sequence[str]]:
    """Return the group of each eligible sample as a position in the names, and the names.

    The position is -1 for a sample without a value in the column of a mixture.
    """
    scored = candidates.eligible
    if per == "source":
        return candidates.source[scored].astype(np.int64), candidates.sources
    if per == "answer-type":
        return candidates.answer_kind[scored].astype(np.int64), ANSWER_KINDS
    if per == "category":
        categories = bands.category_codes(candidates.visnec[scored])
        return categories.astype(np.int64), [str(category) for category in CATEGORIES]
    if (column := column_of(per)) is not None:
        if column not in candidates.groups:
            raise RuleError(f"The column {column!r} was not read for this mixture")
        groups = candidates.groups[column]
        return groups.codes[scored].astype(np.int64), groups.names
    numbers, codes = np.unique(group_scored(candidates, "cluster"), return_inverse=True)
    return codes.astype(np.int64), [str(number) for number in numbers]
