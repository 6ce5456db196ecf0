"""Review by keys; the expected decisions are read from the log on disk."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from dashboard.view.state import Queue
from scoring.reviews.decision_log import Decision, DecisionDraft, DecisionEvent, parse_draw
from scoring.reviews.decisions import open_review_log, read_events
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched, serving, watching

CHOICES = {"k": "keep", "d": "drop", "u": "unsure"}


PRESS = """([key, n]) => { for (let i = 0; i < n; i++) window.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })); }"""


def begin(demo: Watched, reviewer: str, query: str = "?queue=row_idx") -> Any:
    """Open Review under a name and return the deck with its first sample."""
    page = demo.open("review", query)
    page.get_by_label("Your name").fill(reviewer)
    page.keyboard.press("Enter")
    deck = page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    return deck


def row_on_show(deck: Any) -> int:
    """Return the row of the sample on show, once it is the current one."""
    for _ in range(1800):
        row = deck.get_attribute("data-row")
        if row and deck.locator(f'article.card[data-row="{row}"]').is_visible():
            return int(row)
        deck.page.wait_for_timeout(50)
    raise AssertionError("the sample that is due was never drawn")


def all_saved(deck: Any) -> None:
    """Wait until the server has confirmed everything."""
    expect(deck).to_have_attribute("data-waiting", "0")
    expect(deck.locator(".saved")).to_have_text("all saved")


def on_disk(demo: Watched, reviewer: str) -> tuple[dict[int, str], list[DecisionEvent]]:
    """Return a reviewer's current decisions and all events, from the log alone."""
    events = [e for e in read_events(open_workspace(demo.server.root)) if e.reviewer == reviewer]
    latest = latest_decisions(events)
    return {one.row_idx: str(one.decision) for one in latest if one.decision}, events


def on_page(deck: Any) -> dict[int, str]:
    """Return this reviewer's decisions as the page shows them."""
    return dict(json.loads(deck.get_attribute("data-history")))


def test_ten_keyed_decisions_and_an_undo_survive_a_reload(demo: Watched) -> None:
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
    expect(demo.page).to_have_url(re.compile(rf"row={undone}\b"))  # the address follows

    demo.page.reload()
    deck = demo.page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    assert on_page(deck) == expected
    expect(deck).to_have_attribute("data-row", str(undone))
    assert row_on_show(deck) == undone
    expect(deck.locator(".count")).to_contain_text("9 by Keys Only in total")
    holds, events = on_disk(demo, "Keys Only")
    assert holds == expected
    assert len(events) == 11
    demo.assert_sound()


def test_a_burst_of_twenty_keys_loses_and_misplaces_none(demo: Watched) -> None:
    deck = begin(demo, "Burst")
    first = row_on_show(deck)
    keys = "kdukkdduukkkdkudkduk"
    # One browser task dispatches all of them: no gap and no drawing in between.
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


def test_key_bursts_decide_the_samples_in_order(demo: Watched) -> None:
    deck = begin(demo, "Typist")
    first = row_on_show(deck)
    demo.page.keyboard.type("kdkdkdkdkdkdkdkdkdkd")
    all_saved(deck)
    expected = {first + place: "keep" if place % 2 == 0 else "drop" for place in range(20)}
    assert on_disk(demo, "Typist")[0] == expected


def test_decisions_wait_in_the_browser_while_the_server_is_unreachable(demo: Watched) -> None:
    deck = begin(demo, "Offline")
    first = row_on_show(deck)
    demo.page.evaluate("WebSocket.prototype.send = () => {}")  # the page can no longer send
    for key in "kdu":
        demo.page.keyboard.press(key)
    expect(deck).to_have_attribute("data-waiting", "3")
    # Drawn only once the last decision was stored.
    expect(deck).to_have_attribute("data-row", str(first + 3))
    assert row_on_show(deck) == first + 3
    assert on_disk(demo, "Offline")[0] == {}
    demo.page.reload()
    deck = demo.page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    all_saved(deck)
    holds, _ = on_disk(demo, "Offline")
    assert holds == {first: "keep", first + 1: "drop", first + 2: "unsure"}


def test_keys_are_off_in_a_field_and_a_note_belongs_to_its_sample(demo: Watched) -> None:
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


def test_help_opens_with_its_key_and_buttons_show_their_keys(demo: Watched) -> None:
    deck = begin(demo, "Helped")
    expect(deck.locator(".help")).to_be_hidden()
    demo.page.keyboard.press("?")
    expect(deck.locator(".help")).to_be_visible()
    for label, key in {"Keep": "K", "Drop": "D", "Unsure": "U", "Undo": "Z"}.items():
        button = deck.locator("button", has_text=label).first
        expect(button).to_have_attribute("aria-keyshortcuts", key)
        expect(button.locator("kbd")).to_have_text(key)


def test_a_remembered_name_that_is_rejected_is_asked_again(demo: Watched) -> None:
    demo.page.add_init_script("localStorage.setItem('visnec-reviewer', '\\u200b')")
    demo.open("review")
    field = demo.page.get_by_label("Your name")
    expect(field).to_be_visible(timeout=60_000)
    field.fill("Ada")
    field.press("Enter")
    row_on_show(demo.page.locator(".vn:has(.buttons)"))
    demo.assert_sound()


def test_the_name_is_asked_once_and_a_link_does_not_change_it(demo: Watched) -> None:
    begin(demo, "First Name")
    page = demo.open("review", "?queue=row_idx&reviewer=Somebody+Else")
    deck = page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card")).to_be_visible()
    expect(deck.locator(".count")).to_contain_text("by First Name in total")


def test_plain_buttons_decide_about_their_own_sample(demo: Watched) -> None:
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


def test_an_empty_queue_is_reported(demo: Watched) -> None:
    page = demo.open("review", "?queue=row_idx&filter=text%3Anothinglikethis")
    page.get_by_label("Your name").fill("Empty")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This queue is empty.")).to_be_visible()
    demo.assert_sound()


def test_every_queue_opens_with_a_sample(demo: Watched) -> None:
    workspace = open_workspace(demo.server.root)
    for name, decision in (("One", Decision.KEEP), ("Two", Decision.DROP)):
        open_review_log(workspace, f"Queues {name}").append([DecisionDraft(590, decision)])
    against = [DecisionDraft(row, Decision.DROP) for row in range(500, 540)]
    open_review_log(workspace, "Queues One").append(against)
    decided = (
        Queue.CONFLICTS,
        Queue.REVIEWERS,
        Queue.RULE,
    )  # independent of other tests' decisions
    seen = {}
    for queue in set(Queue) - {Queue.THRESHOLD, Queue.RANDOM, Queue.STRATIFIED}:  # tested elsewhere
        own = "&filter=reviewer%3A%22Queues+One%22" if queue in decided else ""
        deck = begin(demo, "Queues", f"?queue={queue}&seed=7&who=all{own}")
        seen[queue] = row_on_show(deck)
        if queue is Queue.LOWEST:  # only samples with a score
            expect(deck.locator(".count")).to_contain_text("(out of 600 samples)")
        demo.assert_sound()
        demo.page.evaluate("localStorage.clear()")
    assert seen[Queue.ROW_IDX] == 0
    assert seen[Queue.REVIEWERS] == seen[Queue.CONFLICTS] == 590
    assert 500 <= seen[Queue.RULE] < 540
    assert seen[Queue.LOWEST] != seen[Queue.HIGHEST]


def test_a_stratified_queue_records_its_draw(demo: Watched) -> None:
    deck = begin(demo, "Drawn", "?queue=stratified&seed=3&filter=category%3Aredundant")
    row = row_on_show(deck)
    demo.page.keyboard.press("k")
    all_saved(deck)
    _, [event] = on_disk(demo, "Drawn")
    assert (event.row_idx, event.queue) == (row, "stratified seed 3")
    draw = parse_draw(event.draw or "")
    assert (draw.stratified, draw.filter) == (True, "category:redundant")


def test_prefetched_scores_are_replaced_by_other_scores(demo: Watched) -> None:
    deck = begin(demo, "Baselines")
    row = row_on_show(deck)
    score = deck.locator("article.card .score b")
    before = score.inner_text()
    demo.page.locator("[data-testid=stPopover] button").first.click()
    demo.choose("Blind baseline", re.compile("grey image"))
    expect(deck.locator("article.card .facts")).to_contain_text("blind baselinegrey image")
    expect(score).not_to_have_text(before)
    assert row_on_show(deck) == row
    demo.assert_sound()


def test_review_colours_the_answer_tokens(demo: Watched) -> None:
    deck = begin(demo, "Colours", "?queue=highest")
    row_on_show(deck)
    expect(deck.locator(".conversation .turn .token.helped").first).to_be_visible()
    end = deck.locator(".conversation .turn .token.end").first.bounding_box()
    assert end is not None
    assert end["height"] < 40


def test_undo_continues_beyond_the_history_in_the_browser(demo: Watched) -> None:
    deck = begin(demo, "Long Way Back")
    row_on_show(deck)
    for key, n, left in (("k", 205, 205), ("z", 200, 5), ("z", 5, 0)):
        demo.page.evaluate(PRESS, [key, n])
        all_saved(deck)
        assert len(on_disk(demo, "Long Way Back")[0]) == left
    assert len(on_disk(demo, "Long Way Back")[1]) == 410
    demo.assert_sound()


def test_the_deck_shows_what_is_exported_when_the_log_of_another_machine_arrives(
    demo: Watched,
) -> None:
    deck = begin(demo, "Two Machines")
    row = row_on_show(deck)
    demo.page.keyboard.press("k")
    all_saved(deck)
    # The same person, an hour earlier on a laptop whose log arrives only now.
    earlier = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    laptop = open_review_log(open_workspace(demo.server.root), "Two Machines", "laptop")
    decided = ((row, Decision.DROP), (row + 1, Decision.UNSURE))
    laptop.append([DecisionDraft(one, what, decided_at=earlier) for one, what in decided])
    demo.page.keyboard.press("ArrowLeft")
    expect(deck.locator(".count")).to_contain_text("2 by Two Machines in total")
    assert row_on_show(deck) == row
    expect(deck.locator("button.keep")).to_have_attribute("aria-pressed", "true")
    assert on_page(deck) == on_disk(demo, "Two Machines")[0] == {row: "keep", row + 1: "unsure"}
    demo.page.keyboard.press("z")
    expect(deck.locator("button.drop")).to_have_attribute("aria-pressed", "true")
    all_saved(deck)
    expect(deck.locator("button.drop")).to_have_attribute("aria-pressed", "true")
    assert on_page(deck) == on_disk(demo, "Two Machines")[0] == {row: "drop", row + 1: "unsure"}
    laptop.path.unlink()  # both decisions disappear with their log
    demo.page.reload()
    deck = demo.page.locator(".vn:has(.buttons)")
    expect(deck.locator(".count")).to_contain_text("0 by Two Machines in total")
    assert on_page(deck) == on_disk(demo, "Two Machines")[0] == {}
    demo.assert_sound()


def test_a_restarted_server_has_every_decision(
    browser: Browser, demo_workspace: Path, tmp_path: Path
) -> None:
    with serving(demo_workspace, tmp_path / "first.txt") as served, ExitStack() as stack:
        watched = stack.enter_context(watching(browser, served))
        deck = begin(watched, "Stopped")
        first = row_on_show(deck)
        watched.page.keyboard.press("k")
        all_saved(deck)
        row_on_show(deck)
        keep = stack.pop_all()  # the page outlives its server
    with keep:
        for key in "du":  # Streamlit's dialog may have the focus by now
            watched.page.evaluate(PRESS, [key, 1])
        expect(deck).to_have_attribute("data-waiting", "2")
        expect(deck.locator(".saved")).to_contain_text("Server unreachable")
        expect(deck.locator(".saved")).to_contain_text("2 decisions are stored in this browser")
        dialog = watched.page.get_by_role(
            "dialog"
        )  # Streamlit's dialog; it receives the keys while it is open
        expect(dialog).to_contain_text("not responding")
        watched.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        watched.page.keyboard.press("k")
        expect(deck).to_have_attribute("data-waiting", "3")
        assert on_disk(watched, "Stopped")[0] == {first: "keep"}
        with serving(demo_workspace, tmp_path / "second.txt", served.port):
            deck = watched.page.locator(".vn:has(.buttons)")
            all_saved(deck)
            assert on_disk(watched, "Stopped")[0] == {
                first: "keep",
                first + 1: "drop",
                first + 2: "unsure",
                first + 3: "keep",
            }
            # Cards and pictures load with the new server's key.
            row_on_show(deck)
            expect(deck.locator("article.card img.picture")).to_be_visible()
            shown = deck.locator("article.card img.picture").evaluate("one => one.naturalWidth")
            assert shown > 0


def test_blind_first_hides_image_and_reference_until_a_key_reveals_them(demo: Watched) -> None:
    deck = begin(demo, "Blind First", "?queue=row_idx&blind=1")
    row = row_on_show(deck)
    expect(deck.locator(".curtain")).to_be_visible()
    expect(deck.locator("img")).to_have_count(0)
    expect(deck.get_by_text("Reference answer")).to_have_count(0)
    demo.page.keyboard.press("k")
    expect(deck.locator(".last")).to_contain_text("No decision was saved")
    demo.page.keyboard.press("v")
    expect(deck.locator("article.card img.picture")).to_be_visible()
    expect(deck.get_by_text("Reference answer")).to_be_visible()
    demo.page.keyboard.press("k")
    expect(deck).not_to_have_attribute("data-row", str(row))
    expect(deck.locator(".curtain")).to_be_visible()
    all_saved(deck)
    assert on_disk(demo, "Blind First")[0] == {row: "keep"}
    demo.assert_sound()


def test_changed_keys_survive_a_reload(demo: Watched) -> None:
    deck = begin(demo, "Own Keys")
    row = row_on_show(deck)
    demo.page.keyboard.press("?")
    deck.locator(".help").get_by_role("button", name="keep: K; change").click()
    demo.page.keyboard.press("d")  # used by drop: the two swap keys
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
    deck.get_by_role("button", name="Restore default keys").click()
    expect(deck.locator("button.keep kbd")).to_have_text("K")
    demo.assert_sound()


def test_keys_do_not_decide_while_a_record_is_edited(demo: Watched) -> None:
    deck = begin(demo, "Editor")
    row = row_on_show(deck)
    demo.page.keyboard.press("e")
    form = demo.page.get_by_role("dialog")
    answer = form.get_by_label("Answer", exact=True)
    answer.fill("")
    answer.press_sequentially("kid dude")
    answer.press("Control+Enter")
    expect(form.locator(".vn-edit .after").last).to_have_text("kid dude")
    save = form.get_by_role("button", name="Save edit")
    expect(save).to_be_disabled()  # until there is a reason
    demo.choose("Reason", "ambiguous")
    demo.press(save)
    expect(form).to_be_hidden()
    expect(deck.locator(".edit .after")).to_have_text("kid dude")
    expect(deck.locator(".caveat").first).to_contain_text("Edited")
    assert row_on_show(deck) == row
    holds, events = on_disk(demo, "Editor")
    assert holds == {}
    [event] = events
    assert event.edit is not None
    assert (event.row_idx, json.loads(event.edit)["reason"]) == (row, "ambiguous")
    demo.assert_sound()
