"""Predictions of every answer: the prompt has the reference answers of the turns before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.engine import pipeline
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.engine.predictions import Predictor, turns_before
from scoring.engine.runner import RunSummary
from scoring.errors import RunConflictError
from scoring.models.base import EncodedSample
from scoring.predictions.answer_match import MATCH_VERSION
from scoring.predictions.records import LaterTurns, read_prediction_settings
from scoring.samples import Role, Sample, Turn
from scoring.schemas import TURN_PREDICTIONS
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.engine.test_families import SMALL, TALL, Talk, plain_inputs, plain_parts
from tests.fakes import FakeModel
from tests.families import family_model

ASKED = "\nwhat colour is it?"
TALK: Talk = (
    Turn(Role.HUMAN, ASKED, (0,)),
    Turn(Role.ASSISTANT, "blue and green"),
    Turn(Role.HUMAN, "how many are there?"),
    Turn(Role.ASSISTANT, "three"),
    Turn(Role.HUMAN, "\nand in this picture?", (0,)),
    Turn(Role.ASSISTANT, "red"),
)


# What asks for an answer in three styles of conversation.
ENDINGS = {"llava": "ASSISTANT:", "qwen2_vl": "<|im_start|>assistant\n", "llava_next": ""}


def plain_answer(name: str, turns: Talk, images: list[Image.Image]) -> str:
    """What transformers alone generates after ``turns``."""
    network, processor = plain_parts(name)
    inputs = plain_inputs(name, turns, images, ENDINGS[name])
    with torch.inference_mode():
        ids = network.generate(**inputs, max_new_tokens=6, do_sample=False, num_beams=1)
    new = ids[0, inputs["input_ids"].shape[1] :].tolist()
    end = network.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    length = next((at for at, token in enumerate(new) if token in ends), len(new))
    controls = family_model(name)._encoder.control_ids
    kept = [token for token in new[:length] if token not in controls]
    return str(processor.tokenizer.decode(kept)).strip()


@pytest.mark.parametrize("name", list(ENDINGS))
def test_each_answer_is_what_the_model_writes_after_the_true_history(
    name: str, tmp_path: Path
) -> None:
    model = family_model(name)
    TALL.save(tmp_path / "tall.png")
    SMALL.save(tmp_path / "small.png")
    images = ("tall.png", "small.png")
    samples = [
        Sample(0, None, "s", images, TALK, b""),
        Sample(1, None, "s", images[:1], TALK[:4], b""),
        Sample(2, None, "s", images[:1], TALK[:2], b""),
    ]
    expected = {}
    for sample in samples:
        for turn in range(1, sample.n_turns):
            history = TALK[: 2 * turn + 1]
            shown = [TALL, SMALL][: sum(len(each.image_offsets) for each in history)]
            expected[sample.row_idx, turn] = (
                plain_answer(name, history, []),
                plain_answer(name, history, shown),
            )

    def predict(samples: Sequence[Sample]) -> dict[tuple[int, int], tuple[str | None, str | None]]:
        predictor = Predictor(model, [tmp_path], max_new_tokens=6, later="all")
        return {
            (each.row_idx, each.turn): (each.prediction_text, each.prediction_multimodal)
            for each in predictor.predict(predictor.prepare(samples))
        }

    assert set(expected) == {(0, 1), (0, 2), (1, 1)}
    assert predict(samples) == expected
    assert {key: pair for sample in samples for key, pair in predict([sample]).items()} == expected
    # the history matters: another answer before changes what is written
    assert len(set(expected.values())) > 1


def test_a_prompt_ends_before_its_answer_and_needs_a_question() -> None:
    assert turns_before(TALK, 0) == TALK[:1]
    assert turns_before(TALK, 2) == TALK[:5]
    system = Turn(Role.SYSTEM, "be brief")
    assert turns_before((system, *TALK), 1) == (system, *TALK[:3])
    greeting = (Turn(Role.ASSISTANT, "hello"), *TALK)
    assert turns_before(greeting, 0) == ()  # no question precedes it
    assert turns_before(greeting, 1) == greeting[:2]
    assert turns_before((*TALK[:2], Turn(Role.ASSISTANT, "more")), 1) == ()
    assert turns_before((system,), 0) == ()


class Echo(FakeModel):
    """Answers with the number of turns and images that it was shown."""

    def __init__(self, max_length: int = 1 << 20) -> None:
        super().__init__(max_length=max_length)
        self.asked = 0

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        said = f"{len(turns)} turns, {len(images)} images"
        return EncodedSample((0,) * len(turns), (-1,) * len(turns), {"said": said})

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        self.asked += len(prompts)
        return [str(prompt.inputs["said"]) for prompt in prompts]


def conversation(*answers: str) -> dict[str, Any]:
    talk = []
    for answer in answers:
        talk += [{"from": "human", "value": f"what is {answer}?"}, {"from": "gpt", "value": answer}]
    talk[0]["value"] = "<image>\n" + talk[0]["value"]
    return {"image": "a.png", "conversations": talk}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Samples with 1, 3, 2 and 1 answers, the last one with a missing image."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    records = [
        conversation("a"),
        conversation("b", "c", "5 turns, 1 images"),
        conversation("e", "f"),
    ]
    records.append(conversation("g") | {"image": "gone.png"})
    (tmp_path / "data.json").write_text(json.dumps(records))
    place = create_workspace(tmp_path / "ws")
    import_dataset(place, [tmp_path / "data.json"])
    score_dataset(place, Echo(), run_id="mine")
    return open_workspace(place.root)


def parts(workspace: Workspace, kind: str) -> list[dict[str, Any]]:
    paths = sorted((workspace.run_dir("mine") / kind).glob("part-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def later_rows(workspace: Workspace) -> list[tuple[int, int]]:
    return [(row["row_idx"], row["turn"]) for row in parts(workspace, "turn_predictions")]


def predict(workspace: Workspace, turns: Any = None, **settings: Any) -> RunSummary:
    return predict_dataset(workspace, Echo(), "mine", turns=turns, **settings)


def test_all_turns_are_stored_and_matched_per_turn(workspace: Workspace) -> None:
    summary = predict(workspace, "all")
    assert (summary.done, summary.later_turns.done, summary.later_turns.total) == (3, 2, 2)
    assert summary.later_turns.n_succeeded == 2
    assert later_rows(workspace) == [(1, 1), (1, 2), (2, 1)]
    assert "turn" not in parts(workspace, "predictions")[0]
    frame = (
        Store(workspace)
        .snapshot()
        .fetch_frame(
            "SELECT row_idx, turn, question, answer, prediction_text, exact_text, exact_multimodal "
            "FROM turn_predictions WHERE run_id = 'mine' ORDER BY row_idx, turn"
        )
    )
    assert [tuple(row) for row in frame.itertuples(index=False)] == [
        (1, 1, "what is c?", "c", "3 turns, 0 images", False, False),
        (1, 2, "what is 5 turns, 1 images?", "5 turns, 1 images", "5 turns, 0 images", False, True),
        (2, 1, "what is f?", "f", "3 turns, 0 images", False, False),
    ]
    first = (
        Store(workspace)
        .snapshot()
        .fetch_rows(
            "SELECT row_idx, prediction_multimodal, exact_multimodal FROM predictions ORDER BY 1"
        )
    )
    assert first == [(row, "1 turns, 1 images", False) for row in range(3)]


def test_turns_are_added_to_first_answers_without_predicting_those_again(
    workspace: Workspace,
) -> None:
    assert predict(workspace).later_turns is None
    before = {path: path.read_bytes() for path in workspace.root.glob("runs/mine/predictions/*")}
    model = Echo()
    predict_dataset(workspace, model, "mine", turns="all")
    assert model.asked == 2 * 3
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(workspace.root.glob("runs/mine/predictions/*"))) == len(before)
    assert read_prediction_settings(workspace, "mine").later_turns == "all"
    assert predict(workspace).later_turns.done == 2  # the default is what the run has
    assert later_rows(workspace) == [(1, 1), (1, 2), (2, 1)]


def test_the_last_turn_of_a_single_answer_is_its_first(workspace: Workspace) -> None:
    predict(workspace, "last")
    assert [row["row_idx"] for row in parts(workspace, "predictions")] == [0]
    assert later_rows(workspace) == [(1, 2), (2, 1)]
    with pytest.raises(RunConflictError, match="began with the last turns, not the all ones"):
        predict(workspace, "all")
    predict(workspace, "first")
    assert sorted(row["row_idx"] for row in parts(workspace, "predictions")) == [0, 1, 2]


def test_stopping_between_turns_loses_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(workspace, "all", rows=np.array([0, 2]))
    assert later_rows(workspace) == [(2, 1)]
    summary = predict(workspace)
    assert (summary.later_turns.done_before, summary.later_turns.done) == (1, 2)
    assert later_rows(workspace)[-2:] == [(1, 1), (1, 2)] or later_rows(workspace)[:2] == [
        (1, 1),
        (1, 2),
    ]


def test_a_prompt_longer_than_the_model_has_a_reason(workspace: Workspace) -> None:
    predict_dataset(workspace, Echo(max_length=5), "mine", turns="all")
    rows = {(row["row_idx"], row["turn"]): row for row in parts(workspace, "turn_predictions")}
    assert rows[1, 2]["reason"] == "5 tokens come before this answer, but the model accepts 5"
    assert rows[1, 2]["prediction_text"] is None
    assert rows[1, 1]["reason"] is None
    phase = pipeline._prediction_phases(workspace, pipeline.read_run(workspace, "mine"))[1]
    assert phase.count_rows().n_succeeded == 1  # sample 1 lacks one of its turns


def test_the_choices_of_a_later_turn_are_rotated(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    question = Turn(Role.HUMAN, "Which?\nA. 3 turns, 1 images\nB. something")
    talk = (*TALK[:2], question, Turn(Role.ASSISTANT, "A"))
    later: LaterTurns = "all"
    predictor = Predictor(Echo(), [tmp_path], rotate_choices=True, later=later)
    (row,) = predictor.compute_rows(
        predictor.prepare([Sample(0, None, "s", ("a.png",), talk, b"")])
    )
    assert (row["turn"], row["rotations"]) == (1, 2)
    assert (row["rotated_right_text"], row["rotated_right_multimodal"]) == (0, 2)


def test_predict_alone_means_the_first_turn(workspace: Workspace) -> None:
    """``--predict`` was a flag: it still may have no value, before any other option or none."""
    from typer.main import get_command

    command: Any = get_command(app)
    score = command.commands["score"]

    def parse(*args: str) -> tuple[str | None, str]:
        values = score.make_context("score", ["-w", "ws", "--model", "m", *args]).params
        return values["predict"], values["run_id"]

    assert parse() == (None, None)
    assert parse("--predict") == ("first", None)
    assert parse("--predict", "--run", "x") == ("first", "x")
    assert parse("--predict", "all", "--run", "x") == ("all", "x")
    assert parse("--predict=last") == ("last", None)
    refused = CliRunner().invoke(app, ["score", "-w", "ws", "--model", "m", "--predict", "some"])
    assert refused.exit_code == 2


def test_older_matches_of_turns_are_recomputed(workspace: Workspace) -> None:
    predict(workspace, "all")
    (path,) = (workspace.run_dir("mine") / "turn_predictions").glob("part-*.parquet")
    rows = pq.read_table(path).to_pylist()
    older = [row | {"matched_by": MATCH_VERSION - 1, "exact_multimodal": None} for row in rows]
    pq.write_table(pa.Table.from_pylist(older, TURN_PREDICTIONS), path)
    build_database(workspace)
    matches = (
        Store(workspace)
        .snapshot()
        .fetch_rows(
            "SELECT turn, exact_multimodal, matched_by FROM turn_predictions WHERE row_idx = 1 "
            "ORDER BY turn"
        )
    )
    assert matches == [(1, False, MATCH_VERSION), (2, True, MATCH_VERSION)]
