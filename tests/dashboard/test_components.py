"""Values that the browser sends to components, valid and invalid, and what is done with them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st

from dashboard.charts.plots import loss_plane_figure
from dashboard.charts.theme import css_variables
from dashboard.data import actions
from dashboard.data.actions import Receipt
from dashboard.data.cards import build_card
from dashboard.data.context import Context
from dashboard.data.samples import read_cards, read_page, read_tiles
from dashboard.data.scores import read_group_statistics, read_summary
from dashboard.data.threshold_stats import choose_step
from dashboard.frontend import assets
from dashboard.pages.explore.open_sample import read_action
from dashboard.pages.overview import threshold_editor
from dashboard.pages.overview.threshold_editor import (
    read_limits,
    read_score_range,
    read_sequence_number,
)
from dashboard.pages.review.review_deck import read_outbox
from dashboard.view.state import Group, View
from dashboard.widgets import breakdown
from dashboard.widgets.filter_bar import read_range
from scoring.database.filters import Filter, Range
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.overview import loss_plane
from scoring.dataset.records import read_sample
from scoring.errors import VisnecError
from scoring.necessity import Bands, Category
from scoring.precision import noise_of
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions
from scoring.workspace import open_workspace

# ---- limits of the histogram ---------------------------------------------------------------------


def test_limits_from_the_browser() -> None:
    sent = {"low": -0.5, "high": 1, "cut": 0.25, "seq": 3}
    assert read_limits(sent) == {"low": -0.5, "high": 1.0, "cut": 0.25}
    assert read_sequence_number(sent) == 3
    assert read_limits({"cut": 0.5, "seq": 4}) == {"cut": 0.5}  # only what was moved


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "0.5",
        {},
        {"seq": 1},
        {"low": 0.5, "high": 0.25, "cut": 0.0},
        {"low": 0.0, "high": math.nan, "cut": 0.0},
        {"low": 0.0, "high": math.inf, "cut": 0.0},
        {"low": 0.0, "high": 1e300, "cut": 0.0},
        {"low": True, "high": 1.0, "cut": 0.0},
        {"low": "0", "high": 1.0, "cut": 0.0},
    ],
)
def test_invalid_limits_change_nothing(sent: object) -> None:
    assert read_limits(sent) == {}


def test_a_range_dragged_across_the_bars() -> None:
    assert read_score_range([-1, 0.25]) == (-1.0, 0.25)
    for senseless in (None, [], [1.0], [0.5, 0.5], [0.5, 0.1], [0.0, math.nan], ["0", 1.0], "01"):
        assert read_score_range(senseless) is None


@pytest.mark.parametrize(
    ("lowest", "highest", "step"),
    [(-2.0, 3.0, 0.01), (-6.3, 1.6, 0.01), (0.0, 0.4, 0.001), (-30.0, 30.0, 0.1)],
)
def test_a_limit_moves_in_steps_that_fit_the_axis(
    lowest: float, highest: float, step: float
) -> None:
    assert choose_step([lowest, 0.2, highest]) == pytest.approx(step)


def test_requests_with_the_limits_from_the_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[dict[str, Any]] = []
    monkeypatch.setattr(threshold_editor, "change_view", lambda **change: changes.append(change))
    monkeypatch.setattr(threshold_editor, "rerun_filtered", lambda: None)
    for action in ("reset", None, "delete", 3, ["save"], {}):
        monkeypatch.setattr(st, "session_state", {"threshold_editor": {"act": action}})
        threshold_editor.change_bands()
    assert changes == [{"low": None, "high": None, "cut": None}]  # by the first alone


def test_a_typed_range_in_reverse_order_is_swapped() -> None:
    assert read_range(None, None) is None
    assert read_range(0.5, -0.5) == Range(-0.5, 0.5)
    assert read_range(None, 0.0) == Range(max=0.0)


# ---- the sample view and the deck ----------------------------------------------------------------


def test_actions_from_the_browser() -> None:
    assert read_action({"action": "next", "row": 3}) == ("next", 3)
    for senseless in (None, "next", {"action": "delete", "row": 3}, {"action": "next"}):
        assert read_action(senseless)[1] is None
    for row in (-1, 1.5, True, "3"):
        assert read_action({"action": "open", "row": row})[1] is None


def test_an_outbox_from_the_browser() -> None:
    sent = {"deck": "d", "reviewer": "ada", "drafts": [{"row_idx": 1}, "x", None], "row": 4, "n": 9}
    outbox = read_outbox(sent)
    assert outbox is not None
    assert (outbox.deck, outbox.reviewer, outbox.row) == ("d", "ada", 4)
    assert outbox.drafts == ({"row_idx": 1},)
    for senseless in (None, [], {"drafts": []}, {**sent, "deck": 3}, {**sent, "drafts": "all"}):
        assert read_outbox(senseless) is None


def draft(event_id: str, row_idx: object, decision: object = "keep", **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "row_idx": row_idx, "decision": decision, **more}


def own_decisions(root: Path, reviewer: str) -> dict[int, str | None]:
    latest = latest_decisions(read_events(open_workspace(root)))
    return {one.row_idx: one.decision for one in latest if one.reviewer == reviewer}


def test_an_outbox_sent_twice_is_saved_once(root: Path) -> None:
    workspace = open_workspace(root)
    drafts = [draft("event-0001", 3), draft("event-0002", 4, "drop", note="blurred")]
    assert actions.record_decisions(workspace, "zoe", drafts).saved == ("event-0001", "event-0002")
    again = [*drafts, draft("event-0003", 4, None, undoes="event-0002")]
    receipt = actions.record_decisions(workspace, "zoe", again)
    assert receipt == Receipt(saved=("event-0001", "event-0002", "event-0003"))
    events = [event for event in read_events(workspace) if event.reviewer == "zoe"]
    assert [event.event_id for event in events] == ["event-0001", "event-0002", "event-0003"]
    assert own_decisions(root, "zoe") == {3: "keep"}


@pytest.mark.parametrize(
    "bad",
    [
        draft("event-0009", 10**9),
        draft("event-0009", -1),
        draft("event-0009", "3"),
        draft("event-0009", True),
        draft("event-0009", 3, "approve"),
        draft("event-0009", 3, None),
        draft("event-0009", 3, sampling_probability=2),
        draft("event-0009", 3, decided_at="yesterday"),
        draft("event-0009", 3, undoes=7),
    ],
)
def test_an_invalid_draft_does_not_block_others(root: Path, bad: dict[str, Any]) -> None:
    drafts = [draft("event-0001", 3), bad, draft("event-0002", 4, "unsure")]
    receipt = actions.record_decisions(open_workspace(root), "zoe", drafts)
    assert receipt.saved == ("event-0001", "event-0002")
    assert receipt.refused == ("event-0009",)
    assert receipt.problem
    assert own_decisions(root, "zoe") == {3: "keep", 4: "unsure"}


def test_a_log_that_cannot_be_written_saves_nothing(root: Path) -> None:
    reviews = root / "reviews"
    for path in reviews.glob("*"):
        path.unlink()
    reviews.rmdir()
    reviews.write_text("in the way")
    with pytest.raises((VisnecError, OSError)):
        actions.record_decisions(open_workspace(root), "yan", [draft("event-0001", 3)])


# ---- cards, tables, charts -----------------------------------------------------------------------


def test_a_card_contains_the_sample_unchanged(root: Path, context: Context) -> None:
    sample = read_sample(context.workspace, 12)
    detail = sample_detail(context.store, context.scope, 12)
    card = build_card(sample, detail, "none", Bands(0.0, 0.25), "edition")
    said = [
        "".join(part.get("text", "") for part in turn["parts"])
        for turn in card["turns"]
        if turn["role"] == "human"
    ]
    assert said == [turn.text for turn in sample.turns if turn.role == "human"]
    assert card["visnec"] == pytest.approx(card["loss_text"] - card["loss_multimodal"])
    assert card["category"] == Bands(0.0, 0.25).category_of(card["visnec"])
    answers = [turn for turn in card["turns"] if turn["role"] == "assistant"]
    assert sum(turn["n_answer_tokens"] for turn in answers) == card["n_answer_tokens"]


def test_a_card_shows_how_firm_its_category_is(root: Path, context: Context) -> None:
    sample = read_sample(context.workspace, 12)
    detail = sample_detail(context.store, context.scope, 12)
    (own,) = (row for row in detail.scores if row["baseline"] == "none")
    segments = {
        "n_end_tokens": 1,
        "end_loss_text_sum": 0.5,
        "end_loss_multimodal_sum": 0.25,
        "n_thought_tokens": 4,
        "thought_loss_text_sum": 2.0,
        "thought_loss_multimodal_sum": 1.0,
        "visnec_without_end": 0.25,
    }
    scores = [
        own | {"visnec": 0.2425, "n_answer_tokens": 6} | segments,
        own | {"baseline": "gray", "visnec": 0.125},
        own | {"baseline": "blur", "visnec": None},
    ]
    others = [
        {"run_id": "second", "baseline": "none", "visnec": 0.5},
        {"run_id": "second", "baseline": "gray", "visnec": 0.0},
    ]
    detail = replace(detail, scores=scores, other_runs=others)
    noise = noise_of("bfloat16")
    card = build_card(sample, detail, "none", Bands(0.0, 0.25), "edition", noise=noise)
    assert card["nearest"]["limit"] == 0.25
    assert card["nearest"]["distance"] == pytest.approx(-0.0075)
    assert card["nearest"]["within_noise"]
    assert card["noise"] == "± 0.01 in bfloat16"
    assert (card["n_agreeing"], card["n_others"]) == (2, 3)
    assert [(one["name"], one["category"]) for one in card["other_scores"]] == [
        ("grey image", "redundant"),
        ("second, no image", "vision-critical"),
        ("second, grey image", "redundant"),
    ]
    assert (card["n_content_tokens"], card["visnec_without_end"]) == (1, 0.25)
    # 6 * 0.2425 nats, minus 1 for the thought and 0.25 for the end: 0.205 for one token.
    assert card["thought"] == {"n": 4, "visnec": 0.25, "content": pytest.approx(0.205)}
    unknown = build_card(sample, detail, "none", Bands(0.0, 0.25), "edition")
    assert (unknown["noise"], unknown["nearest"]["within_noise"]) == (None, False)


def test_predictions_are_compared_with_each_other_and_the_reference(
    root: Path, context: Context
) -> None:
    sample = read_sample(context.workspace, 12)
    asked, answered, *_ = sample.turns
    sample = replace(sample, turns=(asked, replace(answered, text="It is red.")))
    detail = sample_detail(context.store, context.scope, 12)
    (row,) = detail.predictions
    said = {"prediction_text": "It is blue.", "prediction_multimodal": "It is red."}
    rows = [row | said, row | {"run_id": "other", "prediction_text": None}]
    card = build_card(sample, replace(detail, predictions=rows), "none", Bands(), "edition")
    first, second = card["predictions"]
    assert first["text"] == [["It is ", False], ["blue", True], [".", False]]
    assert first["multimodal"] == [["It is ", False], ["red", True], [".", False]]
    assert first["text_off"] == [["It is ", False], ["blue", True], [".", False]]
    assert first["multimodal_off"] == [["It is red.", False]]
    assert (second["run"], second["text"], second["text_off"]) == ("other", None, None)


def test_a_card_names_the_turns_of_references_and_predictions(root: Path, context: Context) -> None:
    sample = read_sample(context.workspace, 12)
    asked, answered, *_ = sample.turns
    sample = replace(sample, turns=(asked, answered) * 3)
    detail = sample_detail(context.store, context.scope, 12)
    (first,) = detail.predictions
    said = {"prediction_text": "no", "prediction_multimodal": "red", "answer": "red"}
    later = [first | said | {"turn": turn, "exact_multimodal": True} for turn in (1, 2)]
    alone = first | said | {"turn": 2, "run_id": "last"}

    def predictions(*turns: dict[str, Any]) -> list[dict[str, Any]]:
        of_turns = replace(detail, turn_predictions=list(turns))
        card = build_card(sample, of_turns, "none", Bands(), "edition")
        assert [turn.get("turn") for turn in card["turns"]] == [None, 0, None, 1, None, 2]
        return card["predictions"]

    (shown,) = predictions()
    assert (shown["predicted"], shown["later"]) == ("turn 1 of 3", {})
    shown, other = predictions(*later, alone)
    assert shown["predicted"] == "turns 1 to 3 of 3"
    assert shown["later"]["1"]["text"] == [["no", True]]
    assert shown["later"]["1"]["multimodal_off"] == [["red", False]]
    assert shown["later"]["2"]["multimodal_match"] == {"same": True, "said": "= reference"}
    assert (other["run"], other["predicted"]) == ("last", "turn 3 of 3")
    assert (other["text"], other["reason"], list(other["later"])) == (None, None, ["2"])
    sample = replace(sample, turns=(asked, answered))
    assert build_card(sample, detail, "none", Bands(), "e")["predictions"][0]["predicted"] is None


def test_all_cards_are_plain_json(root: Path, context: Context) -> None:
    import json

    cards = read_cards(context, list(range(40)))
    page = read_page(context, View())
    for value in (cards, read_tiles(context, page)):
        assert json.loads(json.dumps(value, allow_nan=False)) == value


def test_table_rows_add_up_and_contain_no_nan(root: Path, context: Context) -> None:
    rows = breakdown.read_rows(*read_group_statistics(context, Group.SOURCE))
    summary = read_summary(context)
    for category in Category:
        assert sum(row[category] for row in rows) == summary.categories[category]
    chat = next(row for row in rows if row["key"] == "chat")
    assert (chat["n_scored"], chat["mean_visnec"]) == (0, None)


@pytest.mark.parametrize("dark", [False, True])
def test_the_loss_plane_draws_every_sample_once(context: Context, dark: bool) -> None:
    plane = loss_plane(context.store.selection(context.scope), 48)
    figure = loss_plane_figure(plane, Bands(0.0, 0.25), dark)
    assert figure.data[0].customdata.sum() == read_summary(context).n_scored
    names = {annotation.text.strip("◣◢◤◥ ") for annotation in figure.layout.annotations}
    assert names == {
        "redundant",
        "vision-critical",
        "image hurts",
        "model cannot use the image",
    }


def test_an_empty_plane_is_drawn(context: Context) -> None:
    plane = loss_plane(context.store.selection(context.scope, Filter(text="nowhere at all")), 48)
    assert loss_plane_figure(plane, Bands(), False).data[0].customdata.sum() == 0


# ---- style and scripts ---------------------------------------------------------------------------


def test_page_and_components_define_every_colour() -> None:
    for category in Category:
        assert f"--vn-{category}:" in css_variables()
    assert css_variables() in assets.style("base")
    assert css_variables() in assets.page_style()


def test_scripts_build_no_html_from_data() -> None:
    folder = Path(assets.__file__).parent
    scripts = sorted(folder.glob("*.js"))
    assert scripts
    for script in scripts:
        source = script.read_text("utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in source, f"{script.name} uses {way}"
