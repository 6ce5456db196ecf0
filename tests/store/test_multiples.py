"""Histograms of groups, by hand on the eleven typed samples, and as parts of the whole."""

from __future__ import annotations

import pytest

from scoring.errors import InputError
from scoring.store import Filter, Store
from scoring.store.multiples import GROUPS, group_histograms
from scoring.store.queries import histogram
from tests.store.conftest import SCOPE

EDGES = [-1.0, 0.0, 0.5, 1.0]


def test_each_group_by_hand(store: Store) -> None:
    assert group_histograms(store, SCOPE, "source", EDGES) == {
        "scenes": [0, 1, 3],  # 0.125; 0.5, 0.5 and, beyond the last edge, 2.0
        "digits": [1, 0, 0],
        "charts": [1, 2, 0],
    }
    by_length = group_histograms(store, SCOPE, "length", EDGES)
    assert by_length[16] == [1, 0, 0]  # 16 tokens: the score of -1
    assert by_length[1] == [0, 0, 1]  # one token: the score of 2


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("which", [Filter(), Filter(source=("words", "scenes"))])
def test_the_groups_add_up_to_the_whole(plausible: Store, group: str, which: Filter) -> None:
    whole = histogram(plausible, SCOPE, which, EDGES)["n"].tolist()
    groups = group_histograms(plausible, SCOPE, group, EDGES, which)
    assert [sum(one) for one in zip(*groups.values(), strict=True)] == whole


def test_an_unknown_group_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="unknown group 'colour'"):
        group_histograms(store, SCOPE, "colour", EDGES)
