"""The pages on a dataset as large as LLaVA-665K: they show what the library counts.

``VISNEC_LARGE_ROWS`` is the number of records (default 665,000).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from benchmarks._dashboard_setup import make_workspace
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import fetch_page
from scoring.database.queries.overview import sample_count
from scoring.database.score_index.thresholds import count_kept
from scoring.database.values import Scope, Sort
from scoring.workspace import open_workspace
from tests.browser.conftest import Served, Watched, serving, watching
from tests.browser.test_explore import expect_image, row_of, tiles
from tests.browser.test_review import CHOICES, all_saved, begin, on_disk, row_on_show
from tests.browser.test_threshold_editor import drag, live, threshold_in_url, value_of
from tests.database.conftest import row_indices

pytestmark = pytest.mark.long

ROWS = int(os.environ.get("VISNEC_LARGE_ROWS", "665000"))
KEYS = "kduukdkkudkdukkddukd"


@pytest.fixture(scope="module")
def large_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve a workspace made with the public commands."""
    folder = tmp_path_factory.mktemp("large")
    make_workspace(folder, ROWS)
    with serving(folder / "workspace", folder / "log.txt") as served:
        yield served


@pytest.fixture
def large(browser: Browser, large_server: Served) -> Iterator[Watched]:
    expect.set_options(timeout=90_000)
    with watching(browser, large_server) as watched:
        yield watched


@pytest.fixture(scope="module")
def asked(large_server: Served) -> tuple[Store, Scope]:
    store = Store(open_workspace(large_server.root))
    return store, Scope(*store.snapshot().scopes[-1])


def expect_counts(watched: Watched, asked: tuple[Store, Scope], cut: float) -> None:
    counts = count_kept(asked[0].selection(asked[1]), cut, None)
    expect(live(watched)).to_have_attribute("data-exact", "yes")
    expect(live(watched)).to_have_attribute("data-kept", str(counts.n_kept))
    expect(live(watched)).to_contain_text(f"kept {counts.n_kept:,} ")


def test_typed_and_dragged_thresholds_count_exactly(
    large: Watched, asked: tuple[Store, Scope]
) -> None:
    view = large.open("overview")
    samples = view.locator(".vn-figure", has_text="samples").first.locator(".vn-value")
    expect(samples).to_have_text(f"{ROWS:,}")
    expect_counts(large, asked, 0.25)
    for cut in (0.1, 0.731, -0.4):
        field = view.get_by_role("spinbutton", name="Threshold: keep scores from")
        field.fill(str(cut))
        field.press("Enter")
        expect_counts(large, asked, cut)
    for by in (60, -140, 25):
        drag(large, "cut", by)
        cut_now = value_of(large, "threshold")
        expect_counts(large, asked, cut_now)
        large.settle()
        assert threshold_in_url(large) == cut_now
    large.assert_sound()


def test_a_filter_its_pages_and_a_sample(large: Watched, asked: tuple[Store, Scope]) -> None:
    which = parse_filter('source:charts visnec:0..0.5 text:"animal"')
    samples = asked[0].selection(asked[1], which)
    view = large.open("explore", "?size=24")
    view.get_by_role("button", name="Filter").click()
    view.get_by_label("Filter as text").fill(str(which))
    view.keyboard.press("Enter")
    expect(view).to_have_url(re.compile("filter="))
    n = sample_count(samples)
    assert n > 48
    expect(view.get_by_text(re.compile(rf"^{n:,} samples$"))).to_be_visible()
    large.settle()
    first = fetch_page(samples, Sort.VISNEC_DESC)
    assert [row_of(tile) for tile in tiles(large).all()] == row_indices(first)
    view.get_by_role("button", name="Next").first.click()
    second = row_indices(fetch_page(samples, Sort.VISNEC_DESC, first.next))
    expect(tiles(large).first).to_have_attribute("data-row", str(second[0]))
    assert [row_of(tile) for tile in tiles(large).all()] == second
    tiles(large).nth(3).click()
    expect(view.locator(f'article.card[data-row="{second[3]}"]')).to_be_visible()
    expect_image(large)
    view.keyboard.press("ArrowRight")
    expect(view.locator(f'article.card[data-row="{second[4]}"]')).to_be_visible()
    large.assert_sound()


def test_twenty_keyed_decisions_are_on_disk(large: Watched) -> None:
    deck = begin(large, "Large", "?queue=threshold")
    expected: dict[int, str] = {}
    for key in KEYS:
        expected[row_on_show(deck)] = CHOICES[key]
        large.page.keyboard.press(key)
        expect(deck).not_to_have_attribute("data-row", str(next(reversed(expected))))
    all_saved(deck)
    holds, events = on_disk(large, "Large")
    assert len(expected) == len(KEYS)
    assert holds == expected
    assert [event.row_idx for event in events] == list(expected)
    large.assert_sound()
