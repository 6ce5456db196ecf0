"""Candidates whose columns are typed in."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scoring.rules.candidates import Candidates
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
    """Candidates with these scores; a status stands for a sample without one.

    ``losses`` are multimodal ones (default 1); the text-only loss lies above it by the score.
    """
    n = len(scores)
    visnec = [NAN if isinstance(one, Status) else one for one in scores]
    multimodal = [1.0] * n if losses is None else list(losses)
    counts = [4] * n if tokens is None else list(tokens)
    return Candidates.from_columns(
        row_idx=range(n) if rows is None else rows,
        status=[one if isinstance(one, Status) else Status.SCORED for one in scores],
        source=[("scenes", "charts")[place % 2] for place in range(n)]
        if sources is None
        else sources,
        visnec=visnec,
        loss_text=[score + loss for score, loss in zip(visnec, multimodal, strict=True)],
        loss_multimodal=[
            NAN if math.isnan(score) else loss
            for score, loss in zip(visnec, multimodal, strict=True)
        ],
        n_answer_tokens=[
            0 if math.isnan(score) else count for score, count in zip(visnec, counts, strict=True)
        ],
        cluster_id=[0] * n if clusters is None else clusters,
        answer_kind=kinds,
    )
