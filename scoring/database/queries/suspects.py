"""Suspects: samples whose reference answer may be wrong, by what the runs have stored.

There are three kinds of evidence:

- ``different``: the model finds the reference answer unlikely and predicts another one. Its
  multimodal loss is among the highest tenth of the scored samples of the selection and above ln 2,
  so that a token of the reference has a probability below one half on (geometric) average; and its
  multimodal prediction has another option, or less than half of its words in common (token F1).
  Where the options were rotated, it was wrong in every order. No probability of a prediction is
  stored, so this is what "confident" means here.
- ``misaligned``: the score is below the lower band limit in two or more sets of scores, by run and
  blind baseline.
- ``column``: the score ranks the sample above a given column by half of the samples or more.

More kinds come first, then a higher multimodal loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scoring.database.conditions import compile_query
from scoring.database.connection import Selection
from scoring.database.queries.column_values import disagreements
from scoring.reviews.threshold_estimation import wilson_interval

EVIDENCE = ("different", "misaligned", "column")
_LEAST_GAP = 0.5  # of the ranks of score and column, from 0 to 1
_SUSPECTS = """
    SELECT s.row_idx, s.visnec, s.loss_multimodal,
        coalesce(
            p.row_idx IS NOT NULL AND s.loss_multimodal > ln(2) AND s.loss_multimodal >= (
                SELECT quantile_cont(loss_multimodal, 0.9) FROM matching WHERE visnec IS NOT NULL
            ),
            false
        ) AS different,
        coalesce(m.n_scopes >= 2, false) AS misaligned
    FROM matching s
    LEFT JOIN (
        SELECT row_idx FROM predictions
        WHERE run_id = $run_id AND trim(prediction_multimodal) <> ''
            AND NOT exact_multimodal AND NOT coalesce(letter_multimodal, false)
            AND (letter_multimodal IS NOT NULL OR f1_multimodal < 0.5)
            AND coalesce(rotated_right_multimodal, 0) = 0 AND coalesce(thoughts_unfinished, 0) = 0
    ) p ON p.row_idx = s.row_idx
    LEFT JOIN (
        SELECT row_idx, count(*) AS n_scopes FROM scores WHERE visnec < $low GROUP BY row_idx
    ) m ON m.row_idx = s.row_idx
    WHERE s.visnec IS NOT NULL
"""
_DECIDED = """
    SELECT row_idx, decision = 'drop' AS is_wrong FROM final_decisions
    WHERE decision IN ('keep', 'drop') AND row_idx NOT IN (FROM edited_samples)
    UNION ALL
    SELECT row_idx, true FROM edited_samples
"""


@dataclass(frozen=True, slots=True)
class SuspectPrecision:
    """How many suspects reviewers found wrong: dropped, or corrected by an edit.

    ``evidence`` is a kind, or "any". ``low`` and ``high`` are the 95 % interval of
    ``n_wrong / n_decided``. Reviewers start with the strongest suspects, so it is about those
    decided, not about a random sample of all ``n``.
    """

    evidence: str
    n: int
    n_decided: int
    n_wrong: int
    low: float
    high: float

    @property
    def precision(self) -> float | None:
        """Share of the decided that are wrong; None without a decision."""
        return self.n_wrong / self.n_decided if self.n_decided else None


def suspects(
    selection: Selection, column: str | None = None, limit: int | None = None
) -> pd.DataFrame:
    """Return the samples whose reference answer may be wrong, the strongest suspects first.

    Args:
        selection: The samples to look at, with the scores and predictions of its run.
        column: A column of numbers that is high for good samples; None: no evidence by column.
        limit: Samples to return; None: all.

    Returns:
        row_idx, visnec, loss_multimodal, different, misaligned, column.

    Raises:
        InputError: for a column without one number per sample.
    """
    frame = compile_query(selection).fetch_frame(_SUSPECTS)
    frame["column"] = False
    if column:
        apart = disagreements(selection, column)
        apart = apart[apart["score_rank"] - apart["column_rank"] >= _LEAST_GAP]
        frame["column"] = np.isin(frame["row_idx"], apart["row_idx"])
    n_kinds = frame[list(EVIDENCE)].sum(axis=1)
    frame = frame.assign(n_kinds=n_kinds)[n_kinds > 0]
    order = ["n_kinds", "loss_multimodal", "row_idx"]
    frame = frame.sort_values(order, ascending=[False, False, True], ignore_index=True)
    return frame.drop(columns="n_kinds")[:limit]


def suspect_precision(selection: Selection, column: str | None = None) -> list[SuspectPrecision]:
    """Return the precision of the suspects from decisions and edits, of all and by kind."""
    frame = suspects(selection, column)
    rows = selection.store.snapshot().fetch_rows(_DECIDED)
    is_wrong = frame["row_idx"].map(dict(rows))
    kinds = {"any": np.ones(len(frame), np.bool_)}
    kinds |= {
        kind: frame[kind].to_numpy(np.bool_) for kind in EVIDENCE if column or kind != "column"
    }
    counts = []
    for kind, mask in kinds.items():
        decided = is_wrong[mask].dropna()
        n_decided, n_wrong = len(decided), int(decided.sum())
        share = n_wrong / n_decided if n_decided else 0.0
        interval = wilson_interval(share, n_decided)
        counts.append(SuspectPrecision(kind, int(mask.sum()), n_decided, n_wrong, *interval))
    return counts
