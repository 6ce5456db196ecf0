"""Explore: filter, page, open a sample by key and by click, and go back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.detail import sample_detail
from scoring.database.values import Scope
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched


def tiles(watched: Watched) -> Locator:
    return watched.page.locator(".tile")


def row_of(tile: Locator) -> int:
    return int(str(tile.get_attribute("data-row")))


def scope_of(store: Store) -> Scope:
    return Scope(store.snapshot().scopes[-1][0], "none")


def expect_image(watched: Watched) -> None:
    """Check that the sample's image is decoded and not empty."""
    picture = watched.page.locator("article.card img.picture").first
    expect(picture).to_be_visible()
    watched.page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())


def test_a_filter_lists_what_matches_it(visited: Watched) -> None:
    page = visited.open("explore")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="misaligned").click()
    expect(page).to_have_url(re.compile("filter=category%3Amisaligned"))
    page.get_by_role("textbox", name="Text", exact=True).fill("colour")
    page.get_by_role("textbox", name="Text", exact=True).press("Enter")
    expect(page).to_have_url(re.compile("text%3A"))
    visited.settle()
    store = Store(open_workspace(visited.server.root))
    n = len(
        matching_rows(
            store.selection(scope_of(store), Filter(category=("misaligned",), text="colour"))
        )
    )  # type: ignore[arg-type]
    expect(page.get_by_text(re.compile(rf"^{n:,} samples?$"))).to_be_visible()
    assert tiles(visited).count() == min(n, 48)
    visited.assert_sound()


def test_a_typed_filter_stays_in_its_field(visited: Watched) -> None:
    page = visited.open("explore")
    page.get_by_role("button", name="Filter").click()
    field = page.get_by_label("Filter as text")
    for source in ("scenes", "digits"):
        field.fill(f"source:{source}")
        field.press("Enter")
        expect(page).to_have_url(re.compile(f"filter=source%3A{source}"))
        visited.settle()
        expect(field).to_be_visible()
    visited.assert_sound()


def test_a_sample_opens_with_its_image_and_both_predictions(visited: Watched) -> None:
    page = visited.open("explore", "?filter=source:scenes+status:scored")
    row = row_of(tiles(visited).first)
    tiles(visited).first.click()
    card = page.locator(f'article.card[data-row="{row}"]')
    expect(card).to_be_visible()
    expect(page).to_have_url(re.compile(rf"sample={row}\b"))
    expect_image(visited)
    store = Store(open_workspace(visited.server.root))
    detail = sample_detail(store, scope_of(store), row)
    predictions = detail.predictions[0]
    expect(card.locator(".answer.reference p")).to_have_text(detail.answer)
    expect(card.locator(".answer.blind p")).to_have_text(predictions["prediction_text"])
    expect(card.locator(".answer.seeing p")).to_have_text(predictions["prediction_multimodal"])
    if predictions["prediction_text"] != predictions["prediction_multimodal"]:
        assert card.locator("mark").count() > 0
    page.get_by_text("Raw record").click()
    expect(page.get_by_text('"conversations"')).to_be_visible()
    visited.assert_sound()


def test_keys_open_and_close_samples(visited: Watched) -> None:
    page = visited.open("explore")
    tiles(visited).first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    wanted = row_of(tiles(visited).nth(2))
    after = row_of(tiles(visited).nth(3))
    page.keyboard.press("Enter")
    expect(page.locator(f'article.card[data-row="{wanted}"]')).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator(f'article.card[data-row="{after}"]')).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'article.card[data-row="{wanted}"]')).to_be_visible()
    page.keyboard.press("Escape")
    expect(tiles(visited).first).to_be_visible()
    expect(page.locator(f'.tile[data-row="{wanted}"]')).to_have_attribute("tabindex", "0")
    visited.assert_sound()


def test_the_list_is_unchanged_after_closing_a_sample(visited: Watched) -> None:
    page = visited.open("explore", "?sort=row_idx&size=24&tiles=small")
    tiles(visited).nth(2).click()
    expect(page.locator("article.card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(tiles(visited)).to_have_count(24)
    page.get_by_role("button", name="Next").first.click()
    expect(page).to_have_url(re.compile("page="))
    expect(tiles(visited).first).to_have_attribute("data-row", "24")
    expect(page).to_have_url(re.compile("tiles=small"))
    expect(page).to_have_url(re.compile("sort=row_idx"))
    visited.assert_sound()


def test_click_and_key_enlarge_the_image(visited: Watched) -> None:
    page = visited.open("explore", "?filter=source:scenes+status:scored")
    tiles(visited).first.click()
    expect_image(visited)
    picture = page.locator("img.picture").first
    before = picture.evaluate("image => image.clientWidth")
    page.locator(".stage").first.click()
    assert picture.evaluate("image => image.clientWidth") > before
    page.locator(".stage").first.press("0")
    assert picture.evaluate("image => image.clientWidth") == before


def test_next_and_previous_page(visited: Watched) -> None:
    page = visited.open("explore")
    first = row_of(tiles(visited).first)
    page.get_by_role("button", name="Next").first.click()
    expect(page).to_have_url(re.compile("page="))
    expect(page.locator(f'.tile[data-row="{first}"]')).to_have_count(0)
    page.get_by_role("button", name="Previous").first.click()
    expect(page.locator(f'.tile[data-row="{first}"]')).to_be_visible()
    visited.assert_sound()


def test_other_samples_on_the_same_image_open(visited: Watched) -> None:
    store = Store(open_workspace(visited.server.root))
    scope = scope_of(store)
    rows = [int(row) for row in matching_rows(store.selection(scope))[:200]]
    shared = next(row for row in rows if sample_detail(store, scope, row).n_neighbours)
    other = sample_detail(store, scope, shared).neighbours[0]["row_idx"]
    page = visited.open("explore", f"?sample={shared}")
    page.locator(".neighbours button").first.click()
    expect(page.locator(f'article.card[data-row="{other}"]')).to_be_visible()
    expect(page).to_have_url(re.compile(rf"sample={other}\b"))


def test_all_samples_on_an_image_are_listed(visited: Watched) -> None:
    store = Store(open_workspace(visited.server.root))
    scope = scope_of(store)
    rows = [int(row) for row in matching_rows(store.selection(scope))[:200]]
    details = (sample_detail(store, scope, row) for row in rows)
    shared = next(one for one in details if one.n_neighbours)
    page = visited.open("explore", f"?sample={shared.row_idx}")
    page.get_by_role("button", name=re.compile("Show all .* as a list")).click()
    expect(page).to_have_url(re.compile("filter=image%3A"))
    wanted = {shared.row_idx, *(row["row_idx"] for row in shared.neighbours)}
    expect(tiles(visited)).to_have_count(len(wanted))
    assert {row_of(tile) for tile in tiles(visited).all()} == wanted


def test_a_copied_link_opens_exactly_this_sample(demo: Watched) -> None:
    demo.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = demo.open("explore", "?filter=source:scenes&sample=2&low=-0.5")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = str(page.evaluate("navigator.clipboard.readText()"))
    scope = scope_of(Store(open_workspace(demo.server.root)))
    assert {"sample=2", f"run={scope.run_id}", f"baseline={scope.baseline}"} <= set(
        link.partition("?")[2].split("&")
    )
    page.goto(link)
    demo.settle()
    expect(page.locator('article.card[data-row="2"]')).to_be_visible()
    expect(page).to_have_url(re.compile("low=-0.5"))


def test_differing_words_are_marked_against_the_reference(visited: Watched) -> None:
    page = visited.open("explore", "?sample=3")
    card = page.locator("article.card")
    blind, seeing = card.locator(".answer.blind p"), card.locator(".answer.seeing p")
    expect(card.locator(".answer.reference p")).to_have_text("three")
    expect(blind.locator("mark")).to_have_text("one")
    expect(seeing.locator("mark")).to_have_text("three")
    card.get_by_role("button", name="the reference").click()
    expect(blind.locator("mark")).to_have_text("one")
    expect(seeing.locator("mark")).to_have_count(0)
    expect(card.get_by_role("button", name="the reference")).to_be_focused()


@pytest.mark.parametrize("several_at_once", [True, False])
def test_every_picture_of_a_page_loads(demo: Watched, several_at_once: bool) -> None:
    if not several_at_once:  # then the pictures load one by one
        demo.page.route("**/visnec/thumbnails?*", lambda route: route.abort())
    page = demo.open("explore", "?filter=status:scored")
    images = page.locator(".tile img")
    expect(images.last).to_be_attached()
    images.last.scroll_into_view_if_needed()
    page.wait_for_function(
        """() => {
            const hosts = [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")];
            const found = hosts.flatMap((h) => [...h.shadowRoot.querySelectorAll(".tile img")]);
            return found.length > 0 && found.every((one) => one.complete && one.naturalWidth > 0);
        }"""
    )


def test_a_bulk_decision_is_saved_and_undone_as_a_whole(demo: Watched) -> None:
    page = demo.open("review", "?queue=row_idx")
    page.get_by_label("Your name").fill("Bulk")
    page.keyboard.press("Enter")
    expect(page.locator(".vn:has(.buttons) article.card")).to_be_visible()
    page.get_by_role("link", name="Explore").first.click()
    demo.settle()
    rows = [row_of(tiles(demo).nth(at)) for at in range(2, 6)]
    tiles(demo).nth(2).hover()
    tiles(demo).nth(2).locator(".pick").click()
    tiles(demo).nth(5).click(modifiers=["Shift"])
    bar = page.locator(".selection")
    expect(bar.locator(".said")).to_have_text("4 selected")
    bar.get_by_role("button", name="drop 4").click()
    expect(bar.locator(".said")).to_contain_text("Saved: drop on 4 samples.")
    workspace = open_workspace(demo.server.root)

    def dropped() -> list[int]:
        latest = latest_decisions(read_events(workspace))
        mine = [one for one in latest if one.reviewer == "Bulk" and one.decision]
        return sorted(one.row_idx for one in mine if one.decision == "drop")

    assert dropped() == sorted(rows)

    # A second decision on the same samples and two more keeps the first and reports it.
    tiles(demo).nth(1).focus()
    page.keyboard.press("x")
    for _ in range(5):
        page.keyboard.press("Shift+ArrowRight")
    bar.get_by_role("button", name="keep 6").click()
    expect(bar.locator(".said")).to_contain_text(
        "Saved: keep on 2 samples. Skipped 4 samples that already had your decision."
    )
    assert dropped() == sorted(rows)
    bar.get_by_role("button", name="Undo").click()
    expect(bar.locator(".said")).to_contain_text("Undid the decision on 2 samples.")
    assert dropped() == sorted(rows)
    demo.assert_sound()


def test_a_bulk_decision_asks_for_the_name_first(demo: Watched) -> None:
    page = demo.open("explore", "?layout=cut&cut=0.25&size=24")
    expect(page.locator(".selection")).to_have_count(2)
    expect(page.locator(".selection button")).to_have_count(0)
    page.get_by_role("button", name="Select several").click()
    page.get_by_label("Your name").fill("Side")
    page.keyboard.press("Enter")
    dropped, kept = page.locator(".selection").all()
    expect(kept.get_by_role("button", name="drop")).to_be_visible()
    right = page.locator(".grid").nth(1)
    row = row_of(right.locator(".tile").first)
    right.locator(".tile").first.focus()
    page.keyboard.press("x")
    expect(right.locator(".tile").first).to_have_attribute("aria-label", re.compile("^Selected; "))
    kept.get_by_role("button", name="drop 1").click()
    expect(kept.locator(".said")).to_contain_text("Saved: drop on 1 sample.")
    expect(dropped.locator(".said")).not_to_contain_text("Saved")

    # After closing a sample, its picture has the focus, on its side only.
    right.locator(f'.tile[data-row="{row}"]').click()
    expect(page.locator("article.card")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(f'.tile[data-row="{row}"]')).to_have_attribute("tabindex", "0")
    expect(kept.locator(".said")).to_contain_text("Saved: drop on 1 sample.")
    kept.get_by_role("button", name="Undo").click()
    expect(kept.locator(".said")).to_contain_text("Undid the decision on 1 sample.")
    demo.assert_sound()


def test_pictures_are_a_list_of_buttons(visited: Watched) -> None:
    page = visited.open("explore", "?size=24")
    expect(
        page.get_by_role("listitem").get_by_role("button", name=re.compile("VisNec"))
    ).to_have_count(24)


def test_both_sides_of_the_threshold_are_listed(visited: Watched) -> None:
    page = visited.open("explore", "?layout=cut&cut=0.25&size=24")
    expect(page.locator(".grid")).to_have_count(2)
    values = [
        [float(text.replace("−", "-")) for text in grid.locator(".value").all_inner_texts()]
        for grid in page.locator(".grid").all()
    ]
    below, above = values
    assert len(below) == len(above) == 24
    assert below == sorted(below, reverse=True)
    assert above == sorted(above)
    assert below[0] <= 0.25 <= above[0]
    page.locator(".grid").first.locator(".tile").first.click()
    expect(page.locator("article.card")).to_be_visible()
    visited.assert_sound()
