"""Comparing two sets of scores, against written-out figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dashboard.charts.plots import comparison_figure
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.compare import compare_scopes
from scoring.database.queries.overview import sample_count, score_health
from scoring.database.queries.review_queues import review_queue
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands
from scoring.samples import Status
from tests.database.conftest import SCOPE
from tests.synthetic import make_workspace, typed_row, write_run

HERE = [-1.0, -0.5, 0.0, 0.125, 0.5, 1.0, None]
THERE: list[float | Status] = [-0.5, -1.0, 0.5, 0.125, 0.5, Status.TEXT_ONLY, 2.0]
OTHER = Scope("second", "none", SCOPE.clustering_id)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Seven samples and two runs; five samples are scored in both."""
    workspace = make_workspace(
        tmp_path_factory.mktemp("two") / "ws", visnec=HERE, with_images=False
    )
    rows = [typed_row(value, i) for i, value in enumerate(THERE)]
    write_run(workspace, rows, "x", run_id="second", created_at="2026-01-03T00:00:00Z")
    build_database(workspace)
    return Store(workspace)


def test_ranks_tops_and_flips(two: Store) -> None:
    found = compare_scopes(two.selection(SCOPE), OTHER, share=0.4)
    assert (found.n_here, found.n_both) == (6, 5)
    # Ranks here 0 1 2 3 4 and there 1 0 3.5 2 3.5: the sum of squared differences is 5.5 and the
    # tie takes 0.5 from the spread of 10.
    assert found.spearman == pytest.approx((20 - 5.5 - 0.5) / 2 / np.sqrt(10 * 9.5))
    # The two highest here are 0.125 and 0.5; there both 0.5.
    assert (found.top_here, found.top_there) == (0.125, 0.5)
    assert (found.n_top_both, found.n_top_either, found.overlap) == (1, 3, 1 / 3)
    assert found.flips.tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert found.n_flipped == 1


def test_bands_and_filter(two: Store) -> None:
    found = compare_scopes(two.selection(SCOPE, bands=Bands(-0.75, 0.25)), OTHER)
    assert found.flips.tolist() == [[0, 1, 0], [1, 1, 1], [0, 0, 1]]
    some = compare_scopes(two.selection(SCOPE, parse_filter("visnec:0..")), OTHER)
    assert (some.n_here, some.n_both) == (4, 3)
    assert some.flips.sum() == 3


def test_density_counts_every_sample(two: Store) -> None:
    found = compare_scopes(two.selection(SCOPE), OTHER, bins=6)
    assert found.density.sum() == 5
    assert found.density.shape == (len(found.edges_there) + 1, len(found.edges_here) + 1)
    x = np.searchsorted(found.edges_here, 0.0, side="right")
    y = np.searchsorted(found.edges_there, 0.5, side="right")
    assert found.density[y, x] == 1


def test_samples_beyond_the_axes_are_in_the_border(tmp_path: Path) -> None:
    here = [0.0, 0.5] * 150 + [100.0, -100.0]  # the axis contains 99 % of the scores
    there: list[float | Status] = [0.5, 0.25] * 150 + [0.5, 90.0]
    workspace = make_workspace(tmp_path / "ws", visnec=here, with_images=False)
    rows = [typed_row(value, i) for i, value in enumerate(there)]
    write_run(workspace, rows, "x", run_id="second", created_at="2026-01-03T00:00:00Z")
    build_database(workspace)
    compared = compare_scopes(Store(workspace).selection(SCOPE), OTHER)
    assert (compared.edges_here[-1], compared.edges_there[-1]) == (0.5, 0.5)
    density = compared.density
    assert density.sum() == 302
    assert density[1:-1, 1:-1].sum() == 300  # the end of the last bin is inside
    assert density[-1, 0] == 1  # below the range of x, above that of y
    assert (density[:, 0].sum(), density[:, -1].sum()) == (1, 1)
    figure = comparison_figure(compared, "a", "b", Bands(), dark=False)
    shown = {trace.marker.symbol: trace.name for trace in figure.data if trace.name}
    assert shown == {"triangle-left": "1", "triangle-right": "1"}
    for trace in figure.data:
        if trace.name:
            low, high = figure.layout.xaxis.range
            assert all(low < x < high for x in trace.x)


def test_largest_rank_differences_come_first(two: Store) -> None:
    apart = compare_scopes(two.selection(SCOPE), OTHER).furthest
    # Gaps of 1, 1, 1.5, 1 and 0.5 ranks.
    assert apart["row_idx"].tolist() == [2, 0, 1, 3, 4]
    assert apart.iloc[0].tolist() == [2, 0.0, 0.5, 2 / 5, 3.5 / 5]
    queue = review_queue(two.selection(SCOPE), "runs:second", 2)
    assert (queue.rows, queue.probabilities, queue.n_eligible) == ([2, 0], [None, None], 5)


def test_comparison_with_itself_and_with_no_common_samples(two: Store) -> None:
    same = compare_scopes(two.selection(SCOPE), SCOPE)
    assert same.spearman == pytest.approx(1)
    assert same.furthest.empty
    assert same.n_flipped == 0
    nothing = compare_scopes(two.selection(SCOPE, Filter(source=("nowhere",))), OTHER)
    assert (nothing.n_both, nothing.spearman, nothing.overlap) == (0, None, None)
    assert nothing.top_here is None
    one = compare_scopes(two.selection(SCOPE, parse_filter("visnec:0.4..0.6")), OTHER)
    assert (one.n_both, one.spearman) == (1, None)


def test_scopes_that_cannot_be_compared_are_refused(two: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'third'"):
        compare_scopes(two.selection(SCOPE), Scope("third"))
    with pytest.raises(InputError, match="between 0 and 1"):
        compare_scopes(two.selection(SCOPE), OTHER, share=15)


def test_comparison_agrees_with_plain_ranks(plausible: Store) -> None:
    gray = Scope(SCOPE.run_id, "gray", SCOPE.clustering_id)
    found = compare_scopes(plausible.selection(SCOPE), gray)
    assert found.n_both == found.n_here > 100
    assert found.spearman == pytest.approx(1)  # 0.125 lower throughout
    assert found.n_flipped == sample_count(
        plausible.selection(SCOPE, parse_filter("other:tiny-run/gray runs:differ"))
    )
    assert found.n_flipped == score_health(plausible.selection(SCOPE)).n_differing > 0
