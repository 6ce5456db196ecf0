"""Unit tests of the browser scripts without a server: each page has only the scripts under test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route

SCRIPTS = Path(__file__).parents[2] / "dashboard" / "frontend"
ADDRESS = "http://scripts.test/"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page with an origin of its own, so that the browser's storage works."""
    context = browser.new_context()
    page = context.new_page()
    page.route(ADDRESS, lambda route: route.fulfill(body="<main></main>", content_type="text/html"))
    page.goto(ADDRESS)
    for name in ("dom", "keymap", "deck_state", "deck_loader", "outbox", "threshold_plot"):
        page.add_script_tag(content=(SCRIPTS / f"{name}.js").read_text("utf-8"))
    yield page
    context.close()


# ---- deck_state.js -------------------------------------------------------------------------------

SETUP = """
const data = {decided: {}, history: [], blind: false, queue_name: "ambiguous", draw: "all",
              receipt: null};
const queue = {queue: [5, 7, 9], chances: [0.5, null, null], start: null};
const stamp = (n) => ({eventId: `e${n}`, now: 1000 * n});
const start = (more = {}) => new DeckState().open([]).receive({...data, ...more}).openQueue(queue);
const show = (state) => {
  const {decided, stack} = state.resolve();
  const ids = (entries) => entries.map((entry) => entry.event_id);
  return {row: state.row ?? null, decided: Object.fromEntries(decided),
          undoable: ids(stack), pending: ids(state.pending)};
};
"""


def run(page: Page, script: str) -> Any:
    """Return what the script returns, as JSON."""
    return json.loads(page.evaluate(f"(() => {{ {SETUP} {script} }})()"))


def shown(page: Page, script: str) -> dict[str, Any]:
    state: dict[str, Any] = run(page, f"{script} return JSON.stringify(show(state));")
    return state


def test_a_decision_moves_on_and_waits_for_the_server(page: Page) -> None:
    state = shown(page, "const state = start().decide(stamp(1), 'keep');")
    assert state == {"row": 7, "decided": {"5": "keep"}, "undoable": ["e1"], "pending": ["e1"]}


def test_an_undo_restores_what_held_before_and_goes_back(page: Page) -> None:
    state = shown(
        page,
        """const decided = start({decided: {5: "drop"}}).decide(stamp(1), "keep");
           // Row 5 is decided, so the queue starts at row 7.
           const state = decided.undo(stamp(2));""",
    )
    assert state["row"] == 7
    assert state["decided"] == {"5": "drop"}
    assert state["pending"] == ["e1", "e2"]


def test_an_undo_of_a_saved_decision_shows_the_one_that_the_server_names(page: Page) -> None:
    entry = '{event_id: "s", row_idx: 9, decision: "drop", then: "unsure"}'
    state = shown(
        page,
        f"""const begun = start({{decided: {{9: "drop"}}, history: [{entry}]}});
            const state = begun.undo(stamp(1));""",
    )
    assert (state["row"], state["decided"], state["undoable"]) == (9, {"9": "unsure"}, [])


def test_a_draft_that_the_server_already_lists_counts_once(page: Page) -> None:
    entry = '{event_id: "e1", row_idx: 5, decision: "keep", then: null}'
    state = shown(
        page,
        f"""const decided = start().decide(stamp(1), "keep");
            const news = {{decided: {{5: "keep"}}, history: [{entry}]}};
            const state = decided.receive({{...data, ...news}});""",
    )
    assert (state["undoable"], state["pending"]) == (["e1"], ["e1"])


def test_saved_and_refused_drafts_are_removed_and_others_stay(page: Page) -> None:
    state = shown(
        page,
        """let state = start();
           for (const n of [1, 2, 3]) state = state.decide(stamp(n), "drop");
           const receipt = {saved: ["e1"], refused: ["e3"], problem: "disk full"};
           state = state.receive({...data, receipt});""",
    )
    assert state["pending"] == ["e2"]


@pytest.mark.parametrize(
    ("given", "row"),
    [
        ("start: null", 5),
        ("start: 7", 7),
        ("start: 6", 5),  # not in the queue
        ("start: null, decided: {5: 'keep'}", 7),
        ("start: 7, decided: {7: 'keep'}", 9),
        ("start: 7, decided: {7: 'keep', 9: 'drop'}", 7),  # all decided from there on
    ],
)
def test_a_queue_opens_at_the_first_open_sample(page: Page, given: str, row: int) -> None:
    state = shown(
        page,
        f"""const given = {{{given}}};
            const begun = start({{decided: given.decided ?? {{}}}});
            const state = begun.openQueue({{...queue, start: given.start}});""",
    )
    assert state["row"] == row


def test_a_hidden_sample_cannot_be_decided_before_it_is_revealed(page: Page) -> None:
    states = run(
        page,
        """const begun = start({blind: true});
           const decide = (state) => show(state.decide(stamp(1), "keep")).pending;
           return JSON.stringify([decide(begun), decide(begun.reveal())]);""",
    )
    assert states == [[], ["e1"]]


def test_a_draft_carries_how_its_sample_was_drawn(page: Page) -> None:
    drafts = run(
        page,
        """let state = start().decide(stamp(1), "keep");
           state = state.decide(stamp(2), "drop");
           return JSON.stringify(state.pending);""",
    )
    first, second = drafts
    assert (first["sampling_probability"], first["draw"], first["queue"]) == (
        0.5,
        "all",
        "ambiguous",
    )
    assert (second["sampling_probability"], second["draw"]) == (None, None)
    assert first["decided_at"] == "1970-01-01T00:00:01.000Z"


def test_the_order_of_drafts_survives_a_clock_that_goes_back(page: Page) -> None:
    orders = run(
        page,
        """let state = start().decide(stamp(9), "keep");
           state = state.decide(stamp(1), "drop");
           return JSON.stringify(state.pending.map((draft) => draft.order));""",
    )
    assert orders == [9_000_000, 9_000_001]


def test_another_deck_starts_without_the_drafts_of_the_last(page: Page) -> None:
    state = shown(
        page,
        """const decided = start().decide(stamp(1), "keep");
           const state = decided.switchDeck("other");""",
    )
    assert state["pending"] == []
    assert run(page, "return JSON.stringify(start().switchDeck('other').ready);") is False


def test_steps_stay_inside_the_queue_and_a_row_outside_is_inserted(page: Page) -> None:
    rows = run(
        page,
        """const rows = [];
           let state = start().step(-1);
           rows.push(state.row);
           for (let i = 0; i < 5; i++) state = state.step(1);
           rows.push(state.row ?? null);
           state = state.step(-1).goTo(100);
           rows.push(state.row, state.queue);
           return JSON.stringify(rows);""",
    )
    assert rows == [5, None, 100, [5, 7, 100, 9]]


def test_the_latest_note_is_shown(page: Page) -> None:
    notes = run(
        page,
        """const begun = start();
           const noted = begun.writeNote(stamp(1), 5, "typed");
           const reopened = noted.switchDeck("d").open(noted.pending);
           return JSON.stringify([
             begun.noteOf(5), begun.noteOf(5, "stored"),
             noted.noteOf(5, "stored"), reopened.noteOf(5, "stored")]);""",
    )
    assert notes == ["", "stored", "typed", "typed"]


def test_a_decision_on_a_group_is_one_draft_and_one_undo(page: Page) -> None:
    states = run(
        page,
        """const begun = start({decided: {11: "drop"}});
           const decided = begun.decide(stamp(1), "keep", [5, 7, 11, 12]);
           const undone = decided.undo(stamp(2));
           const refused = decided.receive({...data, receipt: {refused: ["e1"]}});
           return JSON.stringify([show(decided), decided.pending[0].others, show(undone),
             undone.nextIndex(), refused.nextIndex()]);""",
    )
    decided, others, undone, after_undo, after_refusal = states
    # Row 7 is in the queue and passed over; row 11 was decided before.
    assert (decided["row"], others) == (9, [7, 12])
    assert decided["decided"] == {"5": "keep", "7": "keep", "11": "drop", "12": "keep"}
    assert decided["undoable"] == ["e1"]
    assert (undone["row"], undone["decided"]) == (5, {"11": "drop"})
    assert undone["pending"] == ["e1", "e2"]
    assert (after_undo, after_refusal) == (1, 3)


def test_a_saved_decision_on_a_group_is_undone_as_the_server_says(page: Page) -> None:
    entry = '{event_id: "s", row_idx: 9, decision: "drop", then: null, others: {5: "keep"}}'
    state = shown(
        page,
        f"""const begun = start({{decided: {{9: "drop", 5: "drop"}}, history: [{entry}]}});
            const state = begun.undo(stamp(1));""",
    )
    assert (state["row"], state["decided"], state["undoable"]) == (9, {"5": "keep"}, [])


# ---- keymap.js -----------------------------------------------------------------------------------


def keymap(page: Page, script: str) -> Any:
    return json.loads(page.evaluate(f"(() => {{ {script} }})()"))


def test_a_key_in_use_swaps_places(page: Page) -> None:
    keys = keymap(
        page,
        """const keymap = new Keymap(localStorage);
           keymap.startRebinding("keep");
           const results = [keymap.bind("Shift"), keymap.bind("d")];
           const again = new Keymap(localStorage);
           return JSON.stringify([results, again.keys.keep, again.keys.drop, again.actionFor("k"),
                                  again.isChanged]);""",
    )
    assert keys == [[False, True], "d", "k", "drop", True]


def test_shift_and_a_deciding_letter_are_for_the_group(page: Page) -> None:
    actions = keymap(
        page,
        """const keymap = new Keymap(localStorage);
           const read = () => [keymap.actionFor("k", true), keymap.actionFor("z", true),
                               keymap.actionFor("?", true), keymap.groupLabel("keep")];
           const before = read();
           keymap.startRebinding("keep");
           keymap.bind("1");
           return JSON.stringify([before, read(), keymap.actionFor("1", true)]);""",
    )
    assert actions == [
        ["keepGroup", "undo", "help", "⇧K"],
        [None, "undo", "help", None],
        "keep",
    ]


def test_keys_that_cannot_be_typed_are_refused(page: Page) -> None:
    problem, key = keymap(
        page,
        """const keymap = new Keymap(localStorage);
           keymap.startRebinding("keep");
           keymap.bind("F5");
           return JSON.stringify([keymap.problem, keymap.keys.keep]);""",
    )
    assert problem.startswith("F5 cannot be used.")
    assert key == "k"


@pytest.mark.parametrize("stored", ["{", "null", '{"keep": 5, "other": "x", "drop": ""}'])
def test_a_damaged_choice_of_keys_means_the_defaults(page: Page, stored: str) -> None:
    page.evaluate("(text) => localStorage.setItem('visnec-review-keys', text)", stored)
    assert keymap(page, "return JSON.stringify(new Keymap(localStorage).isChanged);") is False


def test_a_browser_without_storage_reports_it(page: Page) -> None:
    problem = keymap(
        page,
        """const refuse = () => { throw new Error("refused"); };
           const keymap = new Keymap({getItem: refuse, setItem: refuse});
           keymap.startRebinding("keep");
           keymap.bind("x");
           return JSON.stringify(keymap.problem);""",
    )
    assert "stores nothing" in problem


# ---- outbox.js -----------------------------------------------------------------------------------


def test_drafts_are_stored_per_deck_in_their_order(page: Page) -> None:
    ids = page.evaluate(
        """async () => {
             const [own, other] = [new Outbox("own"), new Outbox("other")];
             await own.put({event_id: "b", order: 2});
             await own.put({event_id: "a", order: 1});
             await own.put({event_id: "c", order: 3});
             await other.put({event_id: "x", order: 1});
             await own.remove(["c"]);
             return (await new Outbox("own").readAll()).map((draft) => draft.event_id);
           }"""
    )
    assert ids == ["a", "b"]


def test_without_a_database_the_outbox_is_not_durable(page: Page) -> None:
    result = page.evaluate(
        """async () => {
             IDBFactory.prototype.open = () => { throw new Error("refused"); };
             const outbox = new Outbox("own");
             await outbox.put({event_id: "a", order: 1});
             return [await outbox.readAll(), outbox.durable];
           }"""
    )
    assert result == [[], False]


SENDER = """
  let drafts = [{event_id: "a"}];
  const sent = [];
  const send = () => sent.push(drafts.map((draft) => draft.event_id).join(""));
  const sender = new DraftSender(() => drafts, send);
  sender.enabled = true;
"""


def stop_clock(page: Page) -> None:
    """Let time pass in the page only by ``page.clock.run_for``, however busy the machine is."""
    page.clock.install(time=0)
    page.clock.pause_at(1)


def test_batches_wait_for_a_pause_and_for_the_answer_to_the_last(page: Page) -> None:
    stop_clock(page)
    page.evaluate(
        f"() => {{ {SENDER} Object.assign(window, {{sender, sent}}); sender.sendSoon(); }}"
    )
    page.clock.run_for(100)
    assert page.evaluate("sent") == []
    page.clock.run_for(50)
    assert page.evaluate("sent") == ["a"]
    page.evaluate("sender.sendNow()")  # the last one is not answered
    assert page.evaluate("sent") == ["a"]
    page.evaluate("() => { sender.confirm(); sender.sendNow(); }")
    assert page.evaluate("sent") == ["a", "a"]


def test_unanswered_batches_are_repeated_until_the_server_counts_as_away(page: Page) -> None:
    stop_clock(page)
    page.evaluate(
        f"() => {{ {SENDER} Object.assign(window, {{sender, sent}}); sender.sendNow(); }}"
    )
    assert page.evaluate("sender.isServerAway") is False
    page.clock.run_for(5_100)
    assert page.evaluate("sent") == ["a", "a", "a"]
    assert page.evaluate("sender.isServerAway") is True


def test_a_draft_made_while_a_batch_was_on_its_way_follows(page: Page) -> None:
    stop_clock(page)
    page.evaluate(
        f"""() => {{ {SENDER} sender.sendNow(); drafts = [...drafts, {{event_id: "b"}}];
                    Object.assign(window, {{sender, sent}}); sender.confirm(); }}"""
    )
    page.clock.run_for(200)
    assert page.evaluate("sent") == ["a", "ab"]


# ---- deck_loader.js ------------------------------------------------------------------------------


def test_cards_are_loaded_ahead_once_and_again_after_a_failure(page: Page) -> None:
    requests: list[list[int]] = []

    def answer(route: Route) -> None:
        match = re.search(r"rows=([\d,]+)", route.request.url)
        assert match is not None
        rows = [int(row) for row in match[1].split(",")]
        requests.append(rows)
        failing = len(requests) == 1
        cards = json.dumps([{"row_idx": row, "images": []} for row in rows])
        route.fulfill(status=500 if failing else 200, body="" if failing else cards)

    page.route(re.compile("cards"), answer)
    stop_clock(page)
    page.evaluate(
        """async () => {
             const queue = Array.from({length: 100}, (_, i) => i);
             const calls = [];
             const loader = new DeckLoader((rows) => { calls.push(rows?.length ?? null); });
             loader.reset("/cards?v=1");
             Object.assign(window, {loader, calls, queue});
             await loader.load(queue, 0);
             await loader.load(queue, 0);  // too early to try again
           }"""
    )
    assert len(requests) == 1
    assert page.evaluate("[loader.problem.startsWith('500'), calls, loader.cards.size]") == [
        True,
        [32],
        0,
    ]
    page.clock.run_for(2_600)
    assert page.evaluate("calls") == [32, None]
    page.evaluate("async () => { await loader.load(queue, 0); await loader.load(queue, 1); }")
    assert requests[1] == list(range(32))
    assert len(requests) == 2  # one more row ahead is not worth a request
    assert page.evaluate("[loader.problem, loader.cards.size]") == [None, 32]


# ---- dom.js and threshold_plot.js ----------------------------------------------------------------


def test_numbers_are_written_as_on_the_pages(page: Page) -> None:
    texts = page.evaluate(
        """() => [VN.score(0.12345), VN.score(-0.5), VN.score(-0.0001), VN.score(null),
                  VN.limit(-0.05),
                  VN.count(1234567), VN.share(1, 3), VN.share(0, 0), VN.loss(2)]"""
    )
    assert texts == ["+0.123", "−0.500", "0.000", "–", "−0.05", "1,234,567", "33.3 %", "–", "2.000"]


def test_a_limit_belongs_to_the_upper_category(page: Page) -> None:
    categories = page.evaluate("() => [-0.1, 0, 0.2, 0.25].map((x) => VN.categoryOf(x, 0, 0.25))")
    assert categories == ["misaligned", "redundant", "redundant", "vision-critical"]


def test_markup_in_data_stays_text(page: Page) -> None:
    html = page.evaluate("() => el('p', {title: '<b>'}, '<img src=x onerror=alert(1)>').innerHTML")
    assert html == "&lt;img src=x onerror=alert(1)&gt;"


@pytest.mark.parametrize(("least", "step"), [(0.3, 0.5), (1, 1), (1.1, 2), (23, 25), (60, 100)])
def test_axis_steps_are_round(page: Page, least: float, step: float) -> None:
    assert page.evaluate("(least) => niceStep(least)", least) == pytest.approx(step)
