"""Arguments and results of queries.

A missing value is None in a value and NaN or None in a frame, never 0. Losses and scores are in
nats per answer token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError
from scoring.necessity import Category

_COLUMN_SORT = re.compile(r"(?P<minus>-?)col:(?P<column>[\w.-]{1,200})")

Record = dict[str, Any]
"""One row of a result by column; NULL is None."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The scores that a query is about: a run, one of its blind baselines, and a clustering."""

    run_id: str
    baseline: str = "none"
    clustering_id: str | None = None


class Sort(StrEnum):
    """Orders of a page; a minus means descending. Samples without the value come last."""

    VISNEC_ASC = "visnec"
    VISNEC_DESC = "-visnec"
    ROW_IDX = "row_idx"
    LOSS_TEXT_DESC = "-loss_text"
    LOSS_MULTIMODAL_DESC = "-loss_multimodal"
    TOKENS_DESC = "-tokens"


@dataclass(frozen=True, slots=True)
class ColumnSort:
    """An order by the values of an imported column, named as in a filter.

    Of a column with one number per answer, the mean counts unless ``.min`` or ``.max`` is named.
    Texts are in the order of their characters, false is before true; those of several answers are
    compared answer by answer.
    """

    column: str
    is_descending: bool = True

    def __str__(self) -> str:
        """Return the written form: ``col:clip``, or ``-col:clip`` if it is descending."""
        return f"{'-' if self.is_descending else ''}col:{self.column}"


Order = Sort | ColumnSort


def parse_order(text: str) -> Order:
    """Return the order of a page from its written form. Raises InputError."""
    column = _COLUMN_SORT.fullmatch(text)
    if column is not None:
        return ColumnSort(column["column"], is_descending=bool(column["minus"]))
    try:
        return Sort(text)
    except ValueError:
        raise InputError(
            f"Unknown order {text!r}. Choose one of: {', '.join(Sort)}, col:NAME, -col:NAME."
        ) from None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position between two samples of an order, and the direction to read from there.

    ``value`` is that of the sort (None among the samples without one); ``row_idx`` breaks ties.
    """

    value: float | None
    row_idx: int
    backward: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Samples under a filter in the order of a sort.

    ``records`` have row_idx, id, source, images (a list), question, answer, visnec, loss_text,
    loss_multimodal, n_answer_tokens, n_turns, status, reason, cluster_id, cluster (its name) and
    decision. ``total`` counts all samples under the filter. ``next`` and ``previous`` are None at
    the ends.
    """

    records: list[Record]
    total: int
    next: Cursor | None
    previous: Cursor | None


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """The scores under a filter in a few numbers; None where nothing is scored.

    ``quantiles`` maps the shares 0.01, 0.05, 0.25, 0.5, 0.75, 0.95 and 0.99 to scores, linearly
    interpolated.
    """

    n_samples: int
    n_scored: int
    categories: Mapping[Category, int]
    mean: float | None
    quantiles: Mapping[float, float]
    min_visnec: float | None
    max_visnec: float | None
    answer_tokens: int | None
    mean_loss_text: float | None
    mean_loss_multimodal: float | None


@dataclass(frozen=True, slots=True)
class ThresholdCounts:
    """What ``minimum <= visnec < maximum`` keeps and drops, in samples and answer tokens.

    Samples without a score are neither kept nor dropped: ``n_unscored``. ``by_source`` has source,
    kept, dropped, unscored, kept_tokens and dropped_tokens, the source with most scores first.
    Tokens are None for imported scores.
    """

    n_kept: int
    n_dropped: int
    n_unscored: int
    tokens_kept: int | None
    tokens_dropped: int | None
    by_source: list[Record]


@dataclass(frozen=True, slots=True)
class LossPlane:
    """Scored samples by their two losses.

    ``counts[y, x]`` is the number of samples with ``edges[x] <= loss_text < edges[x + 1]`` and
    ``edges[y] <= loss_multimodal < edges[y + 1]``; the last bins include what is above.
    """

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SampleDetail:
    """All that the database has about one sample.

    ``scores``: one row per baseline of the run (baseline, status, reason, loss_text,
    loss_multimodal, visnec, n_answer_tokens, truncated; the sums and counts of end tokens and
    thoughts, visnec_without_end). ``other_runs``: its scores in other runs (run_id, baseline,
    visnec). ``turn_scores``: one row per baseline and turn (baseline, turn, loss_text,
    loss_multimodal, visnec, n_answer_tokens). ``image_losses``: those without each of several
    images (image, visnec, loss_without, reason).
    ``predictions``: those of the first answer, one row per run that has any, the scope's run first
    (run_id, model, prediction_text, prediction_multimodal, their matches with the reference:
    exact_text, letter_text, f1_text, exact_multimodal, letter_multimodal, f1_multimodal; reason,
    max_new_tokens). ``turn_predictions``: those of later answers, with their turn and answer,
    ascending by turn within a run. ``decisions``: one row per reviewer (reviewer,
    decision, note, decided_at, event_id). ``neighbours``: other samples on one of the same images
    (row_idx, source, question, answer, visnec, status, decision), ascending, at most 50.
    """

    row_idx: int
    id: str | None
    source: str
    images: tuple[str, ...]
    question: str
    answer: str
    n_turns: int
    status: str
    reason: str | None
    cluster_id: int | None
    cluster: str | None
    decision: str
    scores: list[Record]
    other_runs: list[Record]
    turn_scores: list[Record]
    image_losses: list[Record]
    predictions: list[Record]
    turn_predictions: list[Record]
    decisions: list[Record]
    neighbours: list[Record]
    n_neighbours: int


@dataclass(frozen=True, slots=True)
class BuildReport:
    """Counts of a build, and how long it took."""

    n_samples: int
    n_runs: int
    n_scores: int
    n_predictions: int
    n_clusterings: int
    n_decisions: int
    n_parts: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BuildState:
    """How the database relates to the parts on disk.

    ``n_new_parts`` are not in it yet; they have ``n_new_scores`` scores, of all runs and baselines.
    """

    built_at: str
    n_parts: int
    n_new_parts: int
    n_new_scores: int = 0
