"""Candidates built from columns that a test writes out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scoring.rules.candidates import ANSWER_KINDS, STATUSES, Candidates
from scoring.samples import Status

NAN = float("nan")


def candidates(
    scores: Sequence[float | Status],
    clusters: Sequence[int] | None = None,
    rows: Sequence[int] | None = None,
    sources: Sequence[str] | None = None,
    tokens: Sequence[int] | None = None,
    kinds: Sequence[str] | None = None,
    losses: Sequence[float] | None = None,
) -> Candidates:
    """Candidates with these scores, or with a status in place of a score.

    ``losses`` are multimodal losses (default 1); the text-only loss is the score plus that. Without
    ``kinds`` every answer is ``text``.
    """
    n = len(scores)
    visnec = np.array([NAN if isinstance(score, Status) else score for score in scores])
    has_score = [not math.isnan(score) for score in visnec]
    statuses = [score if isinstance(score, Status) else Status.SCORED for score in scores]
    names = [("scenes", "charts")[row % 2] for row in range(n)] if sources is None else sources
    known = tuple(sorted(set(names)))
    multimodal = np.array([1.0] * n if losses is None else losses)
    return Candidates(
        row_idx=np.asarray(range(n) if rows is None else rows, np.int64),
        status=np.array([STATUSES.index(status) for status in statuses], np.int8),
        source=np.array([known.index(name) for name in names], np.int32),
        sources=known,
        visnec=visnec.astype(np.float64),
        loss_text=visnec + multimodal,
        loss_multimodal=np.where(has_score, multimodal, NAN),
        n_answer_tokens=np.where(has_score, [4] * n if tokens is None else tokens, 0).astype(
            np.int64
        ),
        cluster_id=np.asarray([0] * n if clusters is None else clusters, np.int32),
        answer_kind=np.array(
            [ANSWER_KINDS.index(kind) for kind in (kinds or ["text"] * n)], np.int8
        ),
    )
