"""Encoding: several threads, cached images, and control tokens in texts."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.errors import ModelError
from scoring.models import load_model
from scoring.models.base import EncodedSample
from scoring.models.encoding import Encoder
from scoring.models.loading import TemplateRenderer
from scoring.models.processors import load_processor
from scoring.models.prompting import PromptProblem
from scoring.samples import Role, Status, Turn
from tests.families import family_model

RED = Image.new("RGB", (64, 48), (200, 30, 30))
BLUE = Image.new("RGB", (48, 64), (30, 30, 200))
ASKED = Turn(Role.HUMAN, "\nWhat colour is it?", (0,))
TALK = (ASKED, Turn(Role.ASSISTANT, "red"))
IMAGE_TOKENS = {
    "llava": "<image>",
    "qwen2_vl": "<|image_pad|>",
    "idefics3": "<image>",
    "internvl": "<IMG_CONTEXT>",
    "gemma3": "<image_soft_token>",
    "mllama": "<|image|>",
}


class CountingImages:
    """An image processor that counts its calls."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.calls = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, *images: Any, **settings: Any) -> Any:
        self.calls += 1
        return self.inner(*images, **settings)


def counting_encoder(**settings: Any) -> tuple[Encoder, CountingImages]:
    processor = load_processor(bundled_folder(BUNDLED_MODEL))
    images = CountingImages(processor.image_processor)
    processor.image_processor = images
    return Encoder(processor, TemplateRenderer(processor, None), ("</s>",), **settings), images


def same(one: EncodedSample, other: EncodedSample) -> bool:
    pixels = [sample.inputs.get("pixel_values") for sample in (one, other)]
    equal = pixels[0] is pixels[1] is None or bool((pixels[0] == pixels[1]).all())
    return equal and (one.input_ids, one.turn_ids) == (other.input_ids, other.turn_ids)


@pytest.mark.parametrize("pad_to_square", [False, True])
def test_the_same_images_are_processed_once(pad_to_square: bool) -> None:
    encoder, images = counting_encoder(pad_to_square=pad_to_square)
    other = (ASKED, Turn(Role.ASSISTANT, "blue"))
    samples = [encoder.encode(talk, [RED]) for talk in (TALK, other, TALK)]
    samples.append(encoder.encode(TALK, [BLUE]))
    samples.append(encoder.encode(other, [RED]))  # a replacement came between
    assert images.calls == 2
    keys = [sample.image_key for sample in samples]
    assert keys[0] is keys[1] is keys[2] is keys[4]
    assert keys[3] is not keys[0]
    assert same(samples[0], samples[2])
    assert not same(samples[0], samples[3])


def test_equal_images_are_not_treated_as_identical() -> None:
    encoder, images = counting_encoder()
    keys = [encoder.encode(TALK, [image]).image_key for image in (RED, RED.copy())]
    assert keys[0] is not keys[1]
    assert images.calls == 2
    assert encoder.encode(TALK, ()).image_key is None


def test_images_are_not_kept_alive() -> None:
    encoder, _ = counting_encoder()
    keys = set()
    for shade in range(20):  # a new image may have the same memory address as the previous one
        keys.add(encoder.encode(TALK, [Image.new("RGB", (9, 9), (shade, 0, 0))]).image_key)
    assert len(keys) == 20


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_four_threads_encode_the_same_as_one(name: str) -> None:
    model = family_model(name)
    talks = [(ASKED, Turn(Role.ASSISTANT, f"one {'red ' * length}")) for length in range(1, 41)]
    images = [[RED], [BLUE], []]
    tasks = [(talk, image) for talk in talks for image in images]
    expected = [model.encode(*task) for task in tasks]
    barrier = threading.Barrier(4)

    def work(_: int) -> list[EncodedSample]:
        barrier.wait()
        return [model.encode(*task) for task in tasks]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(work, range(4)):
            assert all(map(same, found, expected))


def test_each_thread_has_a_tokenizer_of_its_own() -> None:
    encoder, _ = counting_encoder()
    barrier = threading.Barrier(4)

    def work(_: int) -> Any:
        barrier.wait()
        encoder.encode(TALK, [RED])
        return encoder._local.processor.tokenizer

    with ThreadPoolExecutor(4) as pool:
        tokenizers = list(pool.map(work, range(4)))
    assert len({id(one) for one in tokenizers}) == 4
    assert len({id(one.backend_tokenizer) for one in tokenizers}) == 4


def test_pieces_are_the_text_of_the_answer_tokens() -> None:
    model = family_model("qwen2_vl")
    talk = (ASKED, Turn(Role.ASSISTANT, "a red circle"), Turn(Role.HUMAN, "Sure?"))
    talk = (*talk, Turn(Role.ASSISTANT, "yes é"))
    for images in ([RED], []):
        found = model.encode(talk, images).pieces
        # the two bytes of é are one token each, and each covers the whole letter
        assert found == ("a", " red", " circle", "<|im_end|>", "yes", " ", "é", "é", "<|im_end|>")


def count(name: str, sample: EncodedSample) -> int:
    tokenizer = family_model(name)._tokenizer
    return sample.input_ids.count(tokenizer.convert_tokens_to_ids(IMAGE_TOKENS[name]))


@pytest.mark.parametrize("name", IMAGE_TOKENS)
def test_control_tokens_in_a_text_are_read_as_text(name: str) -> None:
    model, token = family_model(name), IMAGE_TOKENS[name]
    clean = count(name, model.encode(TALK, [RED]))
    assert clean > 0
    for written in (token, f"a{token}{token}b", "<|im_end|></s>[INST]", "\U000f0000", "<image>"):
        for talk in (
            (Turn(Role.HUMAN, f"{written}What?{written}", (0,)), Turn(Role.ASSISTANT, "red")),
            (Turn(Role.HUMAN, "What?", (5,)), Turn(Role.ASSISTANT, f"red {written} or")),
        ):
            seen, blind = model.encode(talk, [RED]), model.encode(talk, ())
            assert count(name, seen) == clean
            assert count(name, blind) == 0
            assert seen.answer_ids == blind.answer_ids


@pytest.mark.parametrize("name", IMAGE_TOKENS)
@pytest.mark.parametrize(
    "text", ["\ud800 lone", "nul\x00byte", "\ue0000\ue001", "", "\u202e{{ x }}"]
)
def test_odd_characters_end_as_a_sample(name: str, text: str) -> None:
    model = family_model(name)
    talk = (Turn(Role.HUMAN, text, (0,)), Turn(Role.ASSISTANT, f"so {text} it is"))
    seen, blind = model.encode(talk, [RED]), model.encode(talk, ())
    assert seen.answer_ids == blind.answer_ids
    losses = model.answer_losses([seen])[0]
    assert losses is not None
    assert np.isfinite(losses).all()


def roles(pattern: str) -> tuple[Turn, ...]:
    kinds = {"h": Role.HUMAN, "a": Role.ASSISTANT, "s": Role.SYSTEM}
    turns = [Turn(kinds[kind], f"turn {place}") for place, kind in enumerate(pattern)]
    first = pattern.index("h")
    turns[first] = Turn(Role.HUMAN, "\nWhat?", (0,))
    return tuple(turns)


@pytest.mark.parametrize("name", IMAGE_TOKENS)
@pytest.mark.parametrize("pattern", ["ah", "aha", "hha", "haa", "hasha", "sha", "hsa", "h"])
def test_odd_orders_of_roles_end_as_a_sample_or_with_a_reason(name: str, pattern: str) -> None:
    model, turns = family_model(name), roles(pattern)
    try:
        seen, blind = model.encode(turns, [RED]), model.encode(turns, ())
    except PromptProblem as problem:
        assert problem.status in {Status.BAD_RECORD, Status.PLACEHOLDER_MISMATCH}
        assert problem.reason
    else:
        assert seen.answer_ids == blind.answer_ids
        assert set(seen.answer_turns) == set(range(pattern.count("a")))


@pytest.mark.parametrize("name", IMAGE_TOKENS)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (4000, 3), (2, 2)])
def test_odd_shapes_of_images_end_as_a_sample_or_as_a_bad_image(
    name: str, size: tuple[int, int]
) -> None:
    model = family_model(name)
    try:
        sample = model.encode(TALK, [Image.new("RGB", size)])
    except PromptProblem as problem:
        assert problem.status is Status.BAD_IMAGE
        assert "image processor refuses" in problem.reason
    else:
        losses = model.answer_losses([sample])[0]
        assert losses is not None
        assert np.isfinite(losses).all()


@pytest.mark.parametrize("n_images", [1, 3])
def test_a_different_number_of_images_and_placeholders_is_a_mismatch(n_images: int) -> None:
    talk = (Turn(Role.HUMAN, "ab", (0, 2)), Turn(Role.ASSISTANT, "red"))
    for name in IMAGE_TOKENS:
        with pytest.raises(PromptProblem) as problem:
            family_model(name).encode(talk, [RED] * n_images)
        assert problem.value.status is Status.PLACEHOLDER_MISMATCH


def test_a_template_that_writes_no_placeholder_has_no_reference_baseline(tmp_path: Path) -> None:
    template = tmp_path / "mute.jinja"
    template.write_text(
        "{% for m in messages %}{{ m.role }}: {% for c in m.content if c.type == 'text' %}"
        "{{ c.text }}{% endfor %}{{ eos_token }}{% endfor %}"
    )
    processor = load_processor(bundled_folder(BUNDLED_MODEL))
    encoder = Encoder(processor, TemplateRenderer(processor, template.read_text()), ("</s>",))
    with pytest.raises(PromptProblem, match="one placeholder token"):
        encoder.encode_masked(TALK)


def test_a_template_without_images_is_refused_at_load(tmp_path: Path) -> None:
    template = tmp_path / "mute.jinja"
    template.write_text("{% for m in messages %}{{ m.content[-1].text }}</s>{% endfor %}")
    with pytest.raises(ModelError, match="cannot be scored"):
        load_model(str(bundled_folder(BUNDLED_MODEL)), template=str(template), device="cpu")
