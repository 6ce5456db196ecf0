"""Losses without one of several images: exactly that image is removed from the prompt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dashboard.data.cards import build_card
from scoring.columns.parts import list_columns, remove_column
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import fetch_page, matching_rows
from scoring.database.queries.column_rows import numeric_columns
from scoring.database.queries.detail import sample_detail
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.estimate import RunEstimate, estimate_run
from scoring.engine.image_columns import store_image_columns
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import score_dataset
from scoring.engine.runner import RunSummary
from scoring.errors import InputError
from scoring.exports.export import export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.models.image_removal import ImagePlaceholders
from scoring.models.prompting import Messages, PromptProblem
from scoring.necessity import Bands
from scoring.rules import TopCount
from scoring.samples import Role, Turn
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.engine.test_families import (
    LAYOUTS,
    SMALL,
    TALL,
    TOLERANCE,
    Talk,
    answer_places,
    losses_at,
    plain_inputs,
    plain_parts,
    plain_text,
)
from tests.fakes import FakeModel
from tests.families import family_model

APART: Talk = (
    Turn(Role.HUMAN, "\nwhat is the shape?", (0,)),
    Turn(Role.ASSISTANT, "a circle and four digits on the left"),
    Turn(Role.HUMAN, "\nand in this picture?", (0,)),
    Turn(Role.ASSISTANT, "blue"),
)
ADJACENT: Talk = (
    Turn(Role.HUMAN, "\nwhat is the shape?", (0, 0)),
    Turn(Role.ASSISTANT, "a circle on the left"),
)


def plain_losses(name: str, turns: Talk, removed: int) -> list[float]:
    """Losses by transformers alone, with one placeholder removed from the text."""
    turned = tuple(replace(turn, image_offsets=turn.image_offsets[:1]) for turn in turns)
    text, image = plain_text(name, turned, with_images=True), LAYOUTS[name].image
    if turns is ADJACENT:
        text = text.replace(image, image * 2)
    pieces = text.split(image)
    assert len(pieces) == 3
    text = pieces[0] + pieces[1] + image + pieces[2]
    if removed == 1:
        text = pieces[0] + image + pieces[1] + pieces[2]
    inputs = plain_inputs(name, turns, [[TALL, SMALL][1 - removed]], text=text)
    places = answer_places(name, inputs["input_ids"][0].tolist(), turns)
    return losses_at(plain_parts(name)[0], inputs, places)


@pytest.mark.parametrize("turns", [APART, ADJACENT], ids=["apart", "adjacent"])
@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "llava_next"])
def test_only_the_placeholder_of_one_image_is_removed(name: str, turns: Talk) -> None:
    model = family_model(name)
    without = [model.encode_without_image(turns, [TALL, SMALL], at) for at in (0, 1)]
    losses = model.answer_losses([model.encode(turns, [TALL, SMALL]), *without])
    for removed in (0, 1):
        plain = plain_losses(name, turns, removed)
        np.testing.assert_allclose(losses[removed + 1], plain, atol=TOLERANCE, rtol=0)
    assert not np.allclose(losses[1], losses[2], atol=1e-3)


def test_adjacent_images_with_different_texts_are_refused() -> None:
    def render(messages: Messages) -> str:
        text, number = "", 0
        for part in messages[0]["content"]:
            number += part["type"] == "image"
            text += part.get("text") or f"Picture {number}: <image>"
        return text

    import re

    placeholders = ImagePlaceholders(render, re.compile("<image>"))
    image, word = {"type": "image"}, {"type": "text", "text": "what?"}

    def spans(*content: dict[str, str]) -> list[str]:
        messages = [{"role": "user", "content": list(content)}]
        text = render(messages)
        found = placeholders.find_image_spans(messages, text)
        return [text[start:end] for start, end in found]

    assert spans(image, word, image) == ["Picture 1: <image>", "Picture 2: <image>"]
    with pytest.raises(PromptProblem, match="cannot be separated"):
        spans(image, image, word)


RED, BLUE, GREY = (200, 0, 0), (0, 0, 200), (128, 128, 128)


def model() -> FakeModel:
    """Its loss per word follows the first image that it is shown."""
    return FakeModel(by_colour={RED: 0.25, BLUE: 0.75, GREY: 1.0})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Samples with the images red and blue, red alone, blue and red, and one that is missing."""
    for name, colour in (("red", RED), ("blue", BLUE)):
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{name}.png")
    records = []
    for names in (("red", "blue"), ("red",), ("blue", "red"), ("red", "gone")):
        images = [f"{name}.png" for name in names]
        question = "<image>" * len(images) + "which?"
        talk = [{"from": "human", "value": question}, {"from": "gpt", "value": "the first one"}]
        records.append({"image": images, "conversations": talk})
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def score(workspace: Workspace, **settings: Any) -> RunSummary:
    return score_dataset(workspace, model(), run_id="mine", **settings)


def rows(workspace: Workspace) -> list[tuple[Any, ...]]:
    return (
        Store(workspace)
        .snapshot()
        .fetch_rows(
            "SELECT row_idx, image, visnec, loss_without, loss_multimodal, n_answer_tokens, reason "
            "FROM image_losses WHERE run_id = 'mine' ORDER BY row_idx, image"
        )
    )


def test_samples_with_several_images_are_scored_without_each(workspace: Workspace) -> None:
    assert score(workspace).left_out is None
    assert rows(workspace) == []
    scores = {path: path.read_bytes() for path in workspace.root.glob("runs/mine/scores/*")}
    summary = score(workspace, leave_one_out=True)
    assert (summary.left_out.done, summary.left_out.total) == (2, 2)
    assert summary.left_out.n_succeeded == 2
    assert rows(workspace) == [
        (0, 0, 0.5, 0.75, 0.25, 3, None),  # without red, blue comes first
        (0, 1, 0.0, 0.25, 0.25, 3, None),
        (2, 0, -0.5, 0.25, 0.75, 3, None),
        (2, 1, 0.0, 0.75, 0.75, 3, None),
    ]
    assert {path: path.read_bytes() for path in scores} == scores
    again = score(workspace, leave_one_out=True)
    assert (again.left_out.done_before, again.left_out.done) == (2, 2)


def test_an_image_without_losses_has_a_reason(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ZeroDivisionError("no such shape")

    monkeypatch.setattr(FakeModel, "encode_without_image", refuse)
    summary = score(workspace, leave_one_out=True)
    assert (summary.left_out.done, summary.left_out.n_succeeded) == (2, 0)
    reason = "the model's processor failed: ZeroDivisionError: no such shape"
    assert {row[2:] for row in rows(workspace)} == {(None, None, None, None, reason)}
    (part,) = workspace.root.glob("runs/mine/image_losses/part-*.parquet")
    assert pq.read_metadata(part).num_rows == 4


def test_the_card_shows_how_much_each_image_matters(workspace: Workspace) -> None:
    score(workspace, leave_one_out=True)
    detail = sample_detail(Store(workspace), Scope("mine"), 2)
    (sample,) = read_samples(workspace, [2])
    first, second = build_card(sample, detail, "none", Bands(), "edition")["images"]
    assert (first["visnec"], first["share"], first["loss_without"]) == (-0.5, 1.0, 0.25)
    assert (second["visnec"], second["share"], second["reason"]) == (0.0, 0.0, None)


def filtered(workspace: Workspace, where: str) -> list[int]:
    selection = Store(workspace).selection(Scope("mine"), parse_filter(where))
    return matching_rows(selection).tolist()


def test_columns_of_the_images_filter_and_sort(workspace: Workspace) -> None:
    score(workspace)
    assert list_columns(workspace) == []
    score(workspace, leave_one_out=True)
    assert filtered(workspace, "col:image_gain_max.mine>=0.5") == [0]
    assert filtered(workspace, "col:image_gain_min.mine<0") == [2]
    assert filtered(workspace, "col:top_image.mine=1") == [0]
    assert filtered(workspace, "col:top_image.mine=2") == [2]
    names = ["image_gain_max.mine", "image_gain_min.mine", "top_image.mine"]
    store = Store(workspace)
    assert numeric_columns(store.snapshot()) == names
    page = fetch_page(store.selection(Scope("mine")), "-col:image_gain_max.mine")
    assert [record["row_idx"] for record in page.records] == [0, 2, 1, 3]


def test_columns_of_the_images_follow_the_run(workspace: Workspace) -> None:
    score(workspace, leave_one_out=True, limit=1)
    definition = SubsetDefinition("it", TopCount(1), "mine", where="col:top_image.mine=1")
    options = ExportOptions("llava", add_columns=("image_gain_max.mine",))
    folder = export_subset(workspace, Store(workspace), definition, format=options).folder
    (record,) = json.loads((folder / "samples.json").read_text("utf-8"))
    assert record["col:image_gain_max.mine"] == 0.5
    before = {column.name: column for column in list_columns(workspace)}
    assert [column.n_values for column in before.values()] == [1, 1, 1]
    score(workspace, leave_one_out=True)
    after = {column.name: column for column in list_columns(workspace)}
    assert [column.n_values for column in after.values()] == [2, 2, 2]
    assert {column.settings["run_id"] for column in after.values()} == {"mine"}
    assert all(column.part != after[name].part for name, column in before.items())
    assert not verify_manifest(folder, workspace).changed_inputs
    score_dataset(workspace, model(), run_id="other", leave_one_out=True)
    assert len(list_columns(workspace)) == 6


def test_a_sample_has_image_columns_once_all_its_images_have_losses(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = FakeModel.encode_without_image

    def refuse_second(self: FakeModel, turns: Talk, images: Any, position: int) -> Any:
        if position == 1 and images[0].getpixel((0, 0)) == RED:
            raise ZeroDivisionError("no such shape")
        return encode(self, turns, images, position)

    monkeypatch.setattr(FakeModel, "encode_without_image", refuse_second)
    score(workspace, leave_one_out=True)
    assert filtered(workspace, "col:image_gain_min.mine<9") == [2]


def test_earlier_losses_get_columns_and_imported_ones_are_kept(workspace: Workspace) -> None:
    score(workspace, leave_one_out=True)
    for column in list_columns(workspace):
        remove_column(workspace, column.name)
    assert [column.n_values for column in store_image_columns(workspace, "mine")] == [2, 2, 2]
    path = workspace.columns_dir / "top_image.mine" / "column.json"
    path.write_text(path.read_text("utf-8").replace("visnec score --leave-one-out", "mine.csv"))
    with pytest.raises(InputError, match="already, imported from mine"):
        score(workspace, leave_one_out=True)


def test_an_estimate_counts_the_samples_to_score_without_each_image(workspace: Workspace) -> None:
    def estimate(leave_one_out: bool) -> RunEstimate:
        options = ScoreOptions("mine", leave_one_out=leave_one_out)
        return estimate_run(workspace, model(), options)

    before = estimate(True)
    assert (before.n_left, before.n_left_out) == (4, 3)  # one of them will have no score
    assert estimate(False).n_left_out is None
    score(workspace)
    after = estimate(True)
    assert (after.n_left, after.n_left_out) == (0, 2)
    assert after.leave_one_out_seconds is not None
    assert 0 < after.leave_one_out_seconds < after.seconds[1]
    assert estimate(False).seconds == (0.0, 0.0)
    score(workspace, leave_one_out=True)
    done = estimate(True)
    assert (done.n_left_out, done.seconds) == (0, (0.0, 0.0))
