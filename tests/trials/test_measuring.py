"""One pass with the reference finds the same right answers as generation."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from scoring.database.answer_kinds import classify_answers
from scoring.dataset.records import read_samples
from scoring.engine.preparation import ImageLoader
from scoring.errors import InputError
from scoring.models import load_model
from scoring.models.hf import HfModel
from scoring.rules.candidates import ANSWER_KINDS
from scoring.samples import Role, Sample, Status, Turn
from scoring.trials.encoding_cache import count_bytes
from scoring.trials.measuring import EvaluationRunner, Question, encode_question
from scoring.trials.results import SetResult
from scoring.trials.training import UnitStoppedError
from scoring.workspace import Workspace, open_workspace
from tests.engine.test_families import LOADABLE, encoded
from tests.families import family_model
from tests.training.test_collator import collate

TOO_LONG, ALWAYS = 10_000, 0  # limits above which answers are generated


@pytest.fixture(scope="module")
def workspace(demo_built: Path) -> Workspace:
    return open_workspace(demo_built)


@pytest.fixture(scope="module")
def model() -> HfModel:
    return load_model("tiny-vlm", device="cpu")


@pytest.fixture(scope="module")
def samples(workspace: Workspace) -> list[Sample]:
    """The single-turn questions of the demo."""
    usable = (Status.PENDING, Status.TEXT_ONLY)
    return [s for s in read_samples(workspace) if s.status in usable and s.n_turns == 1]


def measure(
    model: HfModel, workspace: Workspace, samples: list[Sample], generate_above: int
) -> SetResult:
    loader = ImageLoader(workspace.image_roots)
    return EvaluationRunner(model, samples, loader, generate_above).measure()


def test_one_pass_and_generation_agree(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    runners = [
        EvaluationRunner(model, samples, ImageLoader(workspace.image_roots), limit)
        for limit in (TOO_LONG, ALWAYS)
    ]
    rights: list[list[bool | None]] = []
    for runner in runners:
        batches = [
            runner._measure_batch([q for q in batch if isinstance(q, Question)])
            for batch in runner._batches()
        ]
        rights.append([each and each.is_right for batch in batches for each in batch])
    assert rights[0] == rights[1]
    assert len(rights[0]) > 250
    assert 0.5 < np.mean([bool(right) for right in rights[0]]) < 0.95


def test_values_are_those_of_the_engine_and_of_the_matches(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    result = measure(model, workspace, samples[:100], 32)
    loader = ImageLoader(workspace.image_roots)
    questions = [encode_question(model, each, loader, 32) for each in samples[:100]]
    prepared = [each.encoded for each in questions if isinstance(each, Question)]
    losses = np.concatenate([each for each in model.answer_losses(prepared) if each is not None])
    assert result.values["loss"] == pytest.approx(losses.mean(), abs=1e-6)
    assert result.n_samples + result.n_skipped == 100
    assert result.n_samples == len(prepared)
    n_right = sum(round(n * accuracy / 100) for n, accuracy in result.by_kind.values())
    assert result.values["accuracy"] == pytest.approx(100 * n_right / result.n_samples)
    assert sum(n for n, _ in result.by_kind.values()) == result.n_samples
    assert list(result.by_kind) == [kind for kind in ANSWER_KINDS if kind in result.by_kind]


def test_long_answers_are_generated(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    short = measure(model, workspace, samples[:60], 3)
    assert 0 < short.n_generated < 60
    assert short.values == measure(model, workspace, samples[:60], TOO_LONG).values


def test_the_first_answer_of_a_conversation_is_compared(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    single = next(s for s in samples if s.status is Status.PENDING)
    follow_up = (Turn(Role.HUMAN, "Are you sure?"), Turn(Role.ASSISTANT, "Certainly not, xyzzy"))
    longer = replace(single, turns=(*single.turns, *follow_up))
    for limit in (TOO_LONG, ALWAYS):
        alone, whole = (measure(model, workspace, [each], limit) for each in (single, longer))
        assert whole.values["accuracy"] == alone.values["accuracy"]
        assert whole.values["loss"] > alone.values["loss"]


def test_a_prompt_that_a_conversation_does_not_begin_with_is_generated(
    model: HfModel, workspace: Workspace, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with templates that open a thought in prompts only."""
    encode = model.encode_prompt
    monkeypatch.setattr(
        model, "encode_prompt", lambda turns, images: encode((*turns[:-1], *turns[-1:]), images)
    )
    assert measure(model, workspace, samples[:4], TOO_LONG).n_generated == 0
    longer = Turn(Role.ASSISTANT, "Hm."), Turn(Role.HUMAN, "Well?")
    monkeypatch.setattr(
        model, "encode_prompt", lambda turns, images: encode((*turns, *longer), images)
    )
    assert measure(model, workspace, samples[:4], TOO_LONG).n_generated == 4


def test_samples_that_the_model_cannot_read_are_counted(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    missing = replace(samples[0], images=("nowhere.png",), turns=with_image(samples[0]))
    question = replace(samples[0].turns[0], text="word " * 5000)
    too_long = replace(samples[0], turns=(question, *samples[0].turns[1:]))
    result = measure(model, workspace, [missing, samples[0], too_long], 32)
    assert (result.n_samples, result.n_skipped) == (1, 2)
    with pytest.raises(InputError, match="cannot read any sample"):
        measure(model, workspace, [missing], 32)


def with_image(sample: Sample) -> tuple[Turn, ...]:
    return (replace(sample.turns[0], image_offsets=(0,)), *sample.turns[1:])


def test_measuring_stops_between_batches(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    stop = threading.Event()
    seen: list[tuple[int, int]] = []
    runner = EvaluationRunner(model, samples[:130], ImageLoader(workspace.image_roots), 32)
    with pytest.raises(UnitStoppedError):
        runner.measure(on_measured=lambda *n: (seen.append(n), stop.set()), stop=stop)
    assert seen == [(64, 130)]


def test_encoded_samples_are_kept_up_to_a_size(
    model: HfModel, workspace: Workspace, samples: list[Sample]
) -> None:
    loader = ImageLoader(workspace.image_roots)
    first = encode_question(model, samples[0], loader, 32)
    assert isinstance(first, Question)
    limit = 5 * count_bytes(first.encoded)
    small = EvaluationRunner(model, samples[:40], loader, 32, max_bytes=limit)
    expected = small.measure()
    assert 0 < len(small._kept) < 40
    assert small.measure() == expected


def test_types_of_answers_are_those_of_the_database() -> None:
    answers = ["Yes.", "b", "12 %", "cat", "a red cat", "it is a very large red cat", " "]
    assert classify_answers(answers) == list(ANSWER_KINDS)
    assert classify_answers([]) == []


@pytest.mark.parametrize("name", LOADABLE)
def test_hits_are_the_argmax_of_all_logits(name: str) -> None:
    model = family_model(name)
    samples = [*encoded(name, True), *encoded(name, False)]
    plain = model.answer_losses(samples)
    for sample, values, losses in zip(samples, model.answer_hits(samples), plain, strict=True):
        assert values is not None
        np.testing.assert_array_equal(values[:, 0], losses)
        with torch.no_grad():
            logits = model.network(**collate(model, [sample])).logits[0]  # (length, vocabulary)
        answers = np.flatnonzero(np.asarray(sample.turn_ids) >= 0)
        likeliest = logits[answers - 1].argmax(dim=-1).tolist()
        hits = [token == best for token, best in zip(sample.answer_ids, likeliest, strict=True)]
        assert values[:, 1].astype(bool).tolist() == hits
