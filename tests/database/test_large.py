"""The database at the size of LLaVA-665K, against numpy, in little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from scoring.database.build import build
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import fetch_page, matching_rows
from scoring.database.queries.overview import histogram_edges, score_histogram, score_summary
from scoring.database.score_index.thresholds import count_kept, threshold_for_share
from tests.database.conftest import SCOPE, row_indices
from tests.synthetic_large import make_large_workspace

N = 665_000


@pytest.mark.long
def test_results_are_exact_and_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_MEMORY_CAP", 256 << 20)
    workspace = make_large_workspace(tmp_path / "ws", N)
    report = build_database(workspace)
    rows, visnec = read_scores(workspace.run_dir(SCOPE.run_id) / "scores")
    assert (report.n_samples, report.n_scores) == (N, len(visnec))
    store = Store(workspace)

    edges = histogram_edges(store, SCOPE)
    bars = score_histogram(store.selection(SCOPE, parse_filter("")), edges)
    outer = np.array([-np.inf, *edges[1:-1], np.inf])
    assert bars["n"].tolist() == np.histogram(visnec, outer)[0].tolist()

    cut = count_kept(store.selection(SCOPE, parse_filter("")), 0.25, None)
    assert cut.n_kept == (visnec >= 0.25).sum()
    threshold = threshold_for_share(store.selection(SCOPE, parse_filter("")), 0.15)
    assert threshold == np.sort(visnec)[::-1][int(0.15 * len(visnec)) - 1]
    summary = score_summary(store.selection(SCOPE))
    shares = list(summary.quantiles)
    assert list(summary.quantiles.values()) == pytest.approx(np.quantile(visnec, shares).tolist())
    found = matching_rows(store.selection(SCOPE, parse_filter("visnec:..-1")))
    assert found.tolist() == np.sort(rows[visnec < -1]).tolist()

    lowest = rows[np.lexsort((rows, visnec))]
    page = fetch_page(store.selection(SCOPE, parse_filter("")), limit=24)
    assert row_indices(page) == lowest[:24].tolist()
    page = fetch_page(store.selection(SCOPE, parse_filter("")), after=page.next, limit=24)
    assert row_indices(page) == lowest[24:48].tolist()


def read_scores(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """row_idx and score of the scored samples, straight from the parts (one turn each)."""
    rows, scores = [], []
    for path in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(path)
        table = table.filter([status == "scored" for status in table["status"].to_pylist()])
        turns = table["turns"].combine_chunks().flatten()
        tokens = turns.field("n_answer_tokens").to_numpy()
        text = turns.field("loss_text_sum").to_numpy() / tokens
        rows.append(table["row_idx"].to_numpy())
        scores.append(text - turns.field("loss_multimodal_sum").to_numpy() / tokens)
    return np.concatenate(rows), np.concatenate(scores)
