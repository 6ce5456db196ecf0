"""Filter values never become SQL text, and SQL agrees with Python about categories.

``tests/security/test_values.py`` tries hostile values in every part of a filter.
"""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest

from scoring.database.conditions import compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter, Range
from scoring.necessity import CATEGORIES, Bands, Category
from scoring.samples import Status
from tests.database.conftest import SCOPE

TWO_VALUES = {
    **dict.fromkeys(("source", "reviewer", "image"), (("a",), ("b", "c"))),
    "cluster": ((0,), (1, 2)),
    "kind": (("word",), ("phrase", "text")),
    "category": ((Category.REDUNDANT,), (Category.REDUNDANT,)),
    "status": ((Status.SCORED,), (Status.PENDING, Status.BAD_IMAGE)),
    "certainty": (("sure",), ("sure",)),
    "decision": (("keep",), ("drop", "unsure")),
    **{
        name: (Range(0.1, 0.5), Range(-2, 7.25))
        for name in ("visnec", "loss_text", "loss_multimodal", "tokens", "content", "length")
    },
    "turns": (Range(1, 2), Range(2, 3)),
    "text": ("a", "100%_\\"),
}


@pytest.mark.parametrize("part", TWO_VALUES)
def test_sql_text_does_not_depend_on_the_values_of_a_filter(plausible: Store, part: str) -> None:
    bands = (Bands(0.0, 0.25), Bands(-0.5, 1.75))
    queries = [
        compile_query(plausible.selection(SCOPE, Filter(**{part: value}), limits))
        for value, limits in product(TWO_VALUES[part], bands)
    ]
    texts = {re.sub(r"match_[0-9a-f]{16}", "match", query.relations) for query in queries}
    assert len(texts) == 1


@pytest.mark.parametrize("bands", [Bands(), Bands(-0.5, 0.5), Bands(0.25, 0.25)])
def test_category_is_the_same_in_python_numpy_and_sql(plausible: Store, bands: Bands) -> None:
    around = [np.nextafter(limit, way) for limit in (bands.low, bands.high) for way in (-9, 9)]
    visnec = np.array([-3.0, bands.low, bands.high, *around, 3.0])
    codes = bands.category_codes(visnec).tolist()
    assert [CATEGORIES.index(bands.category_of(score)) for score in visnec.tolist()] == codes
    in_sql = plausible.snapshot().fetch_rows(
        "SELECT category_code(unnest($visnec::DOUBLE[]), $low, $high)",
        {"visnec": visnec.tolist(), "low": bands.low, "high": bands.high},
    )
    assert [code for (code,) in in_sql] == codes
    for score, code in zip(visnec.tolist(), codes, strict=True):
        for category in CATEGORIES:
            minimum, maximum = bands.range_of(category)
            inside = (minimum is None or score >= minimum) and (maximum is None or score < maximum)
            assert inside == (CATEGORIES[code] is category)
