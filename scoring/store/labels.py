"""Decisions as labels for settling a threshold: verdict, score and how the sample was drawn.

The one decision behind it: a verdict from a queue that was no random draw stands for its own
sample alone (weight 1), because the random queues leave out what was decided before; without any
random draw there is nothing that stands for the dataset, and no label is given.
"""

from __future__ import annotations

import numpy as np

from scoring.necessity import Bands
from scoring.reviews.settling import HandLabels, hand_labels
from scoring.store.conditions import EVERYTHING, ask
from scoring.store.filters import Filter
from scoring.store.store import Store
from scoring.store.values import Scope


def read_hand_labels(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> HandLabels:
    """Scored samples under the filter whose verdict over all reviewers is keep or drop.

    Empty, with ``n_without_probability`` telling how many there are, where none was drawn at
    random.
    """
    asked = ask(store, scope, which, bands)
    rows = asked.rows(_LABELS, asked.where, "ORDER BY s.row_idx")
    visnec = np.array([row[0] for row in rows], np.float64)
    keep = np.array([row[1] for row in rows], np.bool_)
    chance = np.array([np.nan if row[2] is None else row[2] for row in rows], np.float64)
    n_unknown = int(np.isnan(chance).sum())
    if n_unknown < len(rows):
        chance = np.where(np.isnan(chance), 1.0, chance)
    labels = hand_labels(visnec, keep, chance)
    return HandLabels(labels.visnec, labels.keep, labels.weight, n_unknown)


_LABELS = """
    SELECT s.visnec, v.decision = 'keep', d.chance
    FROM scores s
    JOIN verdicts v ON v.row_idx = s.row_idx
    LEFT JOIN (
        SELECT row_idx, max(sampling_probability) AS chance FROM decisions
        WHERE decision IS NOT NULL GROUP BY row_idx
    ) d ON d.row_idx = s.row_idx
    WHERE s.visnec IS NOT NULL AND v.decision <> 'unsure' AND
"""
