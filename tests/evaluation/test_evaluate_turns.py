"""Accuracy over the answers of conversations: the sample is the unit of the intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.database.connection import Store
from scoring.database.queries.evaluation import evaluate_predictions, read_cell_rows
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.evaluation.accuracy import (
    RIGHT,
    WRONG,
    measure_accuracy,
    measure_paired_gain,
    resample_mean,
)
from scoring.evaluation.evaluate import EvaluationOptions
from scoring.models.base import EncodedSample
from scoring.predictions.records import TurnChoice
from scoring.reviews.threshold_estimation import wilson_interval
from scoring.samples import Turn
from scoring.workspace import Workspace, create_workspace
from tests.fakes import FakeModel

SCOPE = Scope("mine")


class Parrot(FakeModel):
    """Repeats the word it was asked for, except cat; without the image only fox."""

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        word = turns[-1].text.split()[-1]
        knows = word != "cat" if images else word == "fox"
        return EncodedSample((0,), (-1,), {"said": word if knows else "nothing"})

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        return [str(prompt.inputs["said"]) for prompt in prompts]


def make_conversations(tmp_path: Path) -> Workspace:
    """Samples with one, three and two answers, and one with a missing image."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    records = []
    for image, answers in (("a", "ant"), ("a", "bee cat dog"), ("a", "emu fox"), ("gone", "gnu")):
        talk = []
        for answer in answers.split():
            talk += [
                {"from": "human", "value": f"write {answer}"},
                {"from": "gpt", "value": answer},
            ]
        talk[0]["value"] = "<image>\n" + talk[0]["value"]
        records.append({"image": f"{image}.png", "conversations": talk})
    (tmp_path / "data.json").write_text(json.dumps(records))
    place = create_workspace(tmp_path / "ws")
    import_dataset(place, [tmp_path / "data.json"])
    score_dataset(place, Parrot(), run_id="mine")
    return place


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_conversations(tmp_path)


@pytest.mark.parametrize(
    ("turns", "seen", "blind"),
    [("first", (3, 3), (0, 3)), ("last", (3, 3), (1, 3)), ("all", (5, 6), (1, 6))],
)
def test_the_turns_that_were_asked_for_are_counted(
    workspace: Workspace, turns: TurnChoice, seen: tuple[int, int], blind: tuple[int, int]
) -> None:
    predict_dataset(workspace, Parrot(), "mine", turns="all")
    found = evaluate_predictions(Store(workspace), SCOPE, turns=turns)
    (model,) = found.models
    assert (found.n_samples, found.n_scored) == (4, 3)
    assert (model.all.n_samples, model.necessary.n_samples) == (4, 3)
    assert (model.all.seen.right, model.all.seen.n) == seen
    assert (model.all.blind.right, model.all.blind.n) == blind
    assert model.all.cells.n == model.all.gain.seen.n == seen[1]
    assert [(group.name, group.n_samples) for group in model.by_kind] == [("word", 4)]


def test_the_last_turns_alone_can_be_evaluated(workspace: Workspace) -> None:
    predict_dataset(workspace, Parrot(), "mine", turns="last")
    store = Store(workspace)
    last = evaluate_predictions(store, SCOPE, turns="last").models[0].all
    assert (last.seen.right, last.seen.n) == (3, 3)
    first = evaluate_predictions(store, SCOPE).models[0].all
    assert (first.seen.right, first.seen.n) == (1, 1)  # of the sample with one answer


def test_cells_over_all_turns_list_samples_once(workspace: Workspace) -> None:
    predict_dataset(workspace, Parrot(), "mine", turns="all")
    cells = read_cell_rows(Store(workspace), SCOPE, options=EvaluationOptions(turns="all"))["mine"]
    assert cells["all"] == {
        "blind_right_seen_right": [2],
        "blind_right_seen_wrong": [],
        "blind_wrong_seen_right": [0, 1, 2],
        "blind_wrong_seen_wrong": [1],
    }


def test_intervals_over_turns_resample_samples() -> None:
    samples = np.array([0, 1, 1, 1, 2, 2])
    right = np.array([RIGHT, RIGHT, WRONG, RIGHT, RIGHT, WRONG], np.int8)
    sums, sizes = np.array([1, 2, 1]), np.array([1, 3, 2])
    draws = [list(drawn) for drawn in product(range(3), repeat=3)]  # every bootstrap sample
    means = [sums[drawn].sum() / sizes[drawn].sum() for drawn in draws]
    expected = np.quantile(means, (0.025, 0.975), method="inverted_cdf")
    assert measure_accuracy(right, samples).interval == pytest.approx(tuple(expected), abs=0.02)


def test_turns_of_a_sample_are_not_counted_as_independent() -> None:
    """Forty samples with ten equal answers each have the spread of forty answers."""
    samples = np.repeat(np.arange(40), 10)
    right = np.repeat(np.arange(40) % 2, 10).astype(np.int8)
    low, high = measure_accuracy(right, samples).interval
    narrow, wide = (wilson_interval(0.5, n) for n in (400, 40))
    assert high - low > 2.5 * (narrow[1] - narrow[0])
    assert (low, high) == pytest.approx(wide, abs=0.03)
    blind = np.zeros(400, np.int8)
    gain = measure_paired_gain(blind, right, samples)
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.01)


def test_samples_with_one_answer_have_the_usual_intervals() -> None:
    right = np.array([1, 1, 0, -1, 1], np.int8)
    usual, over_turns = (measure_accuracy(right, each) for each in (None, np.arange(5)))
    assert over_turns.interval == usual.interval
    assert resample_mean(np.ones(3), np.arange(3)) is None
    same = measure_accuracy(np.ones(6, np.int8), np.array([0, 0, 0, 1, 1, 1]))
    assert same.interval == wilson_interval(1.0, 2)  # of two samples, not of six answers
    assert measure_accuracy(np.full(2, -1, np.int8), np.array([0, 0])).interval is None


def test_the_command_names_what_it_counts(workspace: Workspace) -> None:
    predict_dataset(workspace, Parrot(), "mine", turns="all")
    arguments = ["evaluate", "-w", str(workspace.root), "--turns", "all", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "Accuracies count the answers of all turns" in done.stderr
    values = json.loads(done.stdout)
    assert (values["turns"], values["models"][0]["all"]["seen"]["n"]) == ("all", 6)
