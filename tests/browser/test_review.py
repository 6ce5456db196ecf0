"""Review as a person does it: keys only, then the log on disk is the judge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from scoring.reviews.decisions import DecisionEvent, latest_decisions, read_events
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched

CHOICES = {"k": "keep", "d": "drop", "u": "unsure"}


def begin(demo: Watched, reviewer: str, query: str = "?queue=row_idx") -> Any:
    """Opens Review in somebody's name and returns the deck, which shows its first sample."""
    page = demo.open("review", query)
    page.get_by_label("Your name").fill(reviewer)
    page.keyboard.press("Enter")
    deck = page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    return deck


def row_on_show(deck: Any) -> int:
    """The row of the sample that is drawn, once it is the one that is due."""
    for _ in range(1800):
        row = deck.get_attribute("data-row")
        if row and deck.locator(f'article.card[data-row="{row}"]').is_visible():
            return int(row)
        deck.page.wait_for_timeout(50)
    raise AssertionError("the sample that is due was never drawn")


def all_saved(deck: Any) -> None:
    """Waits until the server has confirmed everything."""
    expect(deck).to_have_attribute("data-waiting", "0")
    expect(deck.locator(".saved")).to_have_text("all saved")


def on_disk(demo: Watched, reviewer: str) -> tuple[dict[int, str], list[DecisionEvent]]:
    """What holds of a reviewer's decisions by the log alone, and the events."""
    events = [e for e in read_events(open_workspace(demo.server.root)) if e.reviewer == reviewer]
    latest = latest_decisions(events)
    return {one.row_idx: str(one.decision) for one in latest if one.decision}, events


def on_page(deck: Any) -> dict[int, str]:
    """What the page says this reviewer has decided."""
    return dict(json.loads(deck.get_attribute("data-history")))


def test_ten_samples_by_keyboard_one_undone_survive_a_reload(demo: Watched) -> None:
    deck = begin(demo, "Keys Only")
    expected: dict[int, str] = {}
    for key in "kdukkddukk":
        row = row_on_show(deck)
        expected[row] = CHOICES[key]
        demo.page.keyboard.press(key)
        expect(deck).not_to_have_attribute("data-row", str(row))
    assert len(expected) == 10
    demo.page.keyboard.press("z")
    undone = list(expected)[-1]
    del expected[undone]
    expect(deck).to_have_attribute("data-row", str(undone))
    assert row_on_show(deck) == undone
    all_saved(deck)
    assert on_page(deck) == expected

    demo.page.reload()
    deck = demo.page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    assert on_page(deck) == expected
    expect(deck).to_have_attribute("data-row", str(undone))
    assert row_on_show(deck) == undone
    expect(deck.locator(".count")).to_contain_text("9 by Keys Only in all")
    holds, events = on_disk(demo, "Keys Only")
    assert holds == expected
    assert len(events) == 11
    demo.assert_sound()


def test_a_burst_of_twenty_keys_loses_and_misplaces_none(demo: Watched) -> None:
    deck = begin(demo, "Burst")
    first = row_on_show(deck)
    keys = "kdukkdduukkkdkudkduk"
    # One task of the browser dispatches all of them: no gap at all, no drawing in between.
    demo.page.evaluate(
        "keys => { for (const key of keys) window.dispatchEvent("
        "new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true })); }",
        keys,
    )
    all_saved(deck)
    expected = {first + place: CHOICES[key] for place, key in enumerate(keys)}
    assert on_page(deck) == expected
    holds, events = on_disk(demo, "Burst")
    assert holds == expected
    assert [event.seq for event in events] == list(range(1, 21))
    demo.assert_sound()


def test_typed_bursts_land_on_the_samples_in_their_order(demo: Watched) -> None:
    deck = begin(demo, "Typist")
    first = row_on_show(deck)
    demo.page.keyboard.type("kdkdkdkdkdkdkdkdkdkd")
    all_saved(deck)
    expected = {first + place: "keep" if place % 2 == 0 else "drop" for place in range(20)}
    assert on_disk(demo, "Typist")[0] == expected


def test_decisions_wait_in_the_browser_while_the_server_is_out_of_reach(demo: Watched) -> None:
    deck = begin(demo, "Offline")
    first = row_on_show(deck)
    demo.page.evaluate("WebSocket.prototype.send = () => {}")  # nothing leaves this page any more
    for key in "kdu":
        demo.page.keyboard.press(key)
    expect(deck).to_have_attribute("data-waiting", "3")
    # Drawn only when the last decision was kept.
    expect(deck).to_have_attribute("data-row", str(first + 3))
    assert row_on_show(deck) == first + 3
    assert on_disk(demo, "Offline")[0] == {}
    demo.page.reload()
    deck = demo.page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    all_saved(deck)
    holds, _ = on_disk(demo, "Offline")
    assert holds == {first: "keep", first + 1: "drop", first + 2: "unsure"}


def test_keys_rest_in_a_field_and_the_note_belongs_to_its_sample(demo: Watched) -> None:
    deck = begin(demo, "Notes")
    row = row_on_show(deck)
    demo.page.keyboard.press("n")
    demo.page.keyboard.type("kddu <b>unclear</b>")
    demo.page.keyboard.press("Enter")
    all_saved(deck)
    demo.page.keyboard.press("k")
    all_saved(deck)
    _, events = on_disk(demo, "Notes")
    assert [(e.row_idx, e.decision, e.note) for e in events] == [
        (row, None, "kddu <b>unclear</b>"),
        (row, "keep", None),
    ]


def test_help_opens_by_its_key_and_the_buttons_name_their_keys(demo: Watched) -> None:
    deck = begin(demo, "Helped")
    expect(deck.locator(".help")).to_be_hidden()
    demo.page.keyboard.press("?")
    expect(deck.locator(".help")).to_be_visible()
    for label, key in {"Keep": "K", "Drop": "D", "Unsure": "U", "Undo": "Z"}.items():
        button = deck.locator("button", has_text=label).first
        expect(button).to_have_attribute("aria-keyshortcuts", key)
        expect(button.locator("kbd")).to_have_text(key)


def test_the_name_is_asked_once_and_a_link_does_not_change_it(demo: Watched) -> None:
    begin(demo, "First Name")
    page = demo.open("review", "?queue=row_idx&reviewer=Somebody+Else")
    deck = page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    expect(deck.locator(".count")).to_contain_text("by First Name in all")


def test_plain_buttons_decide_about_the_sample_they_were_drawn_for(demo: Watched) -> None:
    begin(demo, "Plain")
    page = demo.open("review", "?queue=row_idx&buttons=1")
    expect(page.get_by_text("Sample 1 of")).to_be_visible()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("Sample 2 of")).to_be_visible()
    demo.settle()
    page.get_by_role("button", name="Drop").click()
    expect(page.get_by_text("Sample 3 of")).to_be_visible()
    demo.settle()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Sample 2 of")).to_be_visible()
    demo.settle()
    expect(page.get_by_label("Note on this sample")).to_have_count(1)
    page.get_by_label("Note on this sample").fill("look again")
    page.get_by_role("button", name="Save note").click()
    expect(page.get_by_text("Note saved")).to_be_visible()
    holds, events = on_disk(demo, "Plain")
    assert holds == {events[0].row_idx: "keep"}
    assert [(e.decision, e.note) for e in events] == [
        ("keep", None),
        ("drop", None),
        (None, None),
        (None, "look again"),
    ]
    assert [e.row_idx - events[0].row_idx for e in events] == [0, 1, 1, 1]
    demo.assert_sound()


def test_an_empty_queue_says_so(demo: Watched) -> None:
    page = demo.open("review", "?queue=row_idx&filter=text%3Anothinglikethis")
    page.get_by_label("Your name").fill("Empty")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This queue is empty.")).to_be_visible()
    demo.assert_sound()


@pytest.mark.parametrize("queue", ["threshold", "lowest", "highest", "random"])
def test_every_queue_opens_with_a_sample(demo: Watched, queue: str) -> None:
    deck = begin(demo, "Queues", f"?queue={queue}&seed=7")
    row_on_show(deck)
    demo.assert_sound()


def test_blind_first_hides_image_and_reference_until_a_key_reveals_them(demo: Watched) -> None:
    deck = begin(demo, "Blind First", "?queue=row_idx&blind=1")
    row = row_on_show(deck)
    expect(deck.locator(".curtain")).to_be_visible()
    expect(deck.locator("img")).to_have_count(0)
    expect(deck.get_by_text("Reference answer")).to_have_count(0)
    demo.page.keyboard.press("k")
    expect(deck.locator(".last")).to_contain_text("Nothing was decided")
    demo.page.keyboard.press("v")
    expect(deck.locator("article.card img.picture")).to_be_visible()
    expect(deck.get_by_text("Reference answer")).to_be_visible()
    demo.page.keyboard.press("k")
    expect(deck).not_to_have_attribute("data-row", str(row))
    expect(deck.locator(".curtain")).to_be_visible()
    all_saved(deck)
    assert on_disk(demo, "Blind First")[0] == {row: "keep"}
    demo.assert_sound()


def test_keys_can_be_changed_and_the_change_outlives_the_page(demo: Watched) -> None:
    deck = begin(demo, "Own Keys")
    row = row_on_show(deck)
    demo.page.keyboard.press("?")
    deck.locator(".help").get_by_role("button", name="keep: K; change").click()
    demo.page.keyboard.press("d")  # taken by drop: the two change places
    expect(deck.locator("button.keep kbd")).to_have_text("D")
    expect(deck.locator("button.drop kbd")).to_have_text("K")
    demo.page.reload()
    deck = demo.page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    demo.page.keyboard.press("d")
    expect(deck).not_to_have_attribute("data-row", str(row))
    all_saved(deck)
    assert on_disk(demo, "Own Keys")[0] == {row: "keep"}
    demo.page.keyboard.press("?")
    deck.get_by_role("button", name="Use the usual keys again").click()
    expect(deck.locator("button.keep kbd")).to_have_text("K")
    demo.assert_sound()
