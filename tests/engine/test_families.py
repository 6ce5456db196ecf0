"""Every family of models, against a plain loop that shares none of the engine's code.

Recreate the golden tokens after an intended change of a template or of tokenisation:
python -m tests.engine.test_families, and python -m tests.with_torchvision
tests.engine.test_families for the families that need torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.utils import is_torchvision_available

from scoring.errors import ModelError
from scoring.models import load_model, load_prompt_encoder
from scoring.models.base import EncodedSample
from scoring.models.loading import SUPPORTED
from scoring.models.prompting import PromptProblem
from scoring.samples import Role, Segment, Status, Turn
from tests.families import RECIPES, family_folder, family_model, plain_processor
from tests.newer_families import NEWER
from tests.with_torchvision import FAMILIES as NEED_TORCHVISION

GOLDEN = Path(__file__).parent.parent / "golden" / "family_tokens.json"
CONFIRMED = [name for name in RECIPES if name != "paligemma"]
FAMILIES = [name for name in CONFIRMED if name not in NEWER]
LOADABLE = [n for n in CONFIRMED if is_torchvision_available() or n not in NEED_TORCHVISION]
MASKS_MOVE_POSITIONS = {
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen2_5_omni",
    "qwen3_omni_moe",
    "qwen3_5",
    "qwen3_5_moe",
    "glm4v",
    "glm4v_moe",
    "glm46v",
    "ernie4_5_vl_moe",
    "paddleocr_vl",
}
ROUTED = {  # rounding may send a token to another expert
    "qwen3_vl_moe",
    "qwen3_omni_moe",
    "qwen3_5_moe",
    "llama4",
    "glm4v_moe",
    "kimi_k25",
    "ernie4_5_vl_moe",
    "aria",
}
TOLERANCE = 1e-5  # nats


@dataclass(frozen=True)
class Layout:
    """How a family's template writes an answer, to locate it without the engine."""

    lead: str = ""  # the text before the answer that its first token includes
    end: str = ""
    last_end: str | None = None  # where the last answer ends differently
    image: str = "<image>"  # the text for an image, absent from the text-only prompt; # counts


QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
BAIDU_IMAGE = "<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>"
GLM_IMAGE = "<|begin_of_image|><|image|><|end_of_image|>"
LAYOUTS = {
    "llava": Layout(" ", "</s>", image="<image>\n"),
    "llava_next": Layout(" ", "</s>", image="<image>\n"),
    "llava_onevision": Layout("", "<|im_end|>"),
    "qwen2_vl": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "qwen2_5_vl": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "qwen3_vl": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "idefics3": Layout(" ", "<end_of_utterance>"),
    "smolvlm": Layout(" ", "<end_of_utterance>"),
    "internvl": Layout("", "<|im_end|>", image="<IMG_CONTEXT>\n"),
    "gemma3": Layout("", "<end_of_turn>", image="<start_of_image>"),
    "aya_vision": Layout("", "<|END_OF_TURN_TOKEN|>"),
    "glm4v": Layout("", "<|user|>", last_end="", image=GLM_IMAGE),
    "vipllava": Layout(" ", image="<image>\n"),
    "mllama": Layout("", "<|eot_id|>", image="<|image|>"),
    "qwen3_vl_moe": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "qwen2_5_omni": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "qwen3_omni_moe": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "qwen3_5": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "qwen3_5_moe": Layout("", "<|im_end|>", image=QWEN_IMAGE),
    "gemma4": Layout("", "<turn|>", image="\n\n<|image|>\n\n"),
    "llama4": Layout("", "<|eot|>", image="<|image|>"),
    "perception_lm": Layout("", "<|eot_id|>", image="<|image|>"),
    "mistral3": Layout("", "</s>", image="[IMG]"),
    "pixtral": Layout("", "</s>", image="[IMG]"),
    "cohere2_vision": Layout("", "<|END_RESPONSE|>", image="<|IMG_PATCH|>"),
    "lfm2_vl": Layout("", "<|im_end|>"),
    "ovis2": Layout("", "<|im_end|>", image="<image>\n"),
    "glm4v_moe": Layout("", "<|user|>", last_end="", image=GLM_IMAGE),
    "glm46v": Layout("", "<|user|>", last_end="", image=GLM_IMAGE),
    "kimi_k25": Layout(
        "", "<|im_end|>", image="<|media_begin|>image<|media_content|><|media_pad|><|media_end|>\n"
    ),
    "minicpmv4_6": Layout("", "<|im_end|>", image="<|image_pad|>\n"),
    "ernie4_5_vl_moe": Layout(" ", "<|end_of_sentence|>", image=f"Picture #:{BAIDU_IMAGE}"),
    "paddleocr_vl": Layout("", "</s>", image=BAIDU_IMAGE),
    "aria": Layout("", "<|im_end|>", image="<fim_prefix><|img|><fim_suffix>"),
    "deepseek_vl": Layout(" ", "<|end_of_sentence|>", image="<image_placeholder>"),
    "janus": Layout(" ", "<|end_of_sentence|>", image="<image_placeholder>\n"),
    "video_llama_3": Layout("", "<|im_end|>", image="<image>\n"),
    "exaone4_5": Layout("", "[|endofturn|]", image="<vision><|image_pad|></vision>\n"),
    "lighton_ocr": Layout("", "<|im_end|>", image="<|image_pad|>"),
    "granite_vision": Layout("", "<|end_of_text|>", image="<image>\n"),
    "granite4_vision": Layout("", "<|end_of_text|>", image="<image>\n"),
    "llava_next_video": Layout(" ", image="<image>\n"),
}


def thorough(names: Iterable[str]) -> list[Any]:
    """Cases of a test; the newer families run only in a thorough run, and the others cover them."""
    ordered = [name for name in LOADABLE if name in names]
    return [pytest.param(n, marks=pytest.mark.long) if n in NEWER else n for n in ordered]


def picture(seed: int, width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


WIDE, TALL, SMALL = picture(0, 120, 60), picture(1, 50, 100), picture(2, 64, 64)
Talk = tuple[Turn, ...]
TALKS: list[tuple[Talk, list[Image.Image]]] = [
    ((Turn(Role.HUMAN, "\nwhat colour is it?", (0,)), Turn(Role.ASSISTANT, "red")), [WIDE]),
    (
        (
            Turn(Role.HUMAN, "how many are there?\n", (20,)),
            Turn(Role.ASSISTANT, "two green squares"),
            Turn(Role.HUMAN, "is that so?"),
            Turn(Role.ASSISTANT, "yes"),
        ),
        [WIDE],
    ),
    (
        (
            Turn(Role.HUMAN, "\nwhat is the shape?", (0,)),
            Turn(Role.ASSISTANT, "a circle and four digits on the left"),
            Turn(Role.HUMAN, "\nand in this picture?", (0,)),
            Turn(Role.ASSISTANT, "blue"),
        ),
        [TALL, SMALL],
    ),
    (
        (Turn(Role.HUMAN, "\nsay more", (0,)), Turn(Role.ASSISTANT, "one blue square " * 60 + ".")),
        [SMALL],
    ),
]


def talks_of(name: str) -> list[tuple[Talk, list[Image.Image]]]:
    """Conversations that the family's processor accepts: Perception-LM's not with two shapes."""
    return [talk for talk in TALKS if len(talk[1]) == 1] if name == "perception_lm" else TALKS


@cache
def plain_parts(name: str) -> tuple[Any, Any]:
    folder = family_folder(name)
    config = AutoConfig.from_pretrained(folder)
    network = AutoModelForImageTextToText.from_pretrained(
        folder, config=getattr(config, "thinker_config", config), dtype=torch.float32
    )
    return network.eval(), plain_processor(name)


def messages_of(turns: Talk) -> list[dict[str, Any]]:
    messages = []
    for turn in turns:
        pieces: list[dict[str, str]] = [{"type": "text", "text": turn.text}]
        if turn.image_offsets:
            at = turn.image_offsets[0]
            before, after = turn.text[:at], turn.text[at:]
            pieces = [{"type": "text", "text": text} for text in (before, after) if text]
            pieces.insert(1 if before else 0, {"type": "image"})
        role = "assistant" if turn.role is Role.ASSISTANT else "user"
        messages.append({"role": role, "content": pieces})
    return messages


def plain_text(name: str, turns: Talk, with_images: bool) -> str:
    if name == "llava":
        text = llava_v1_text(turns)
    else:
        text = plain_parts(name)[1].apply_chat_template(messages_of(turns), tokenize=False)
    if not with_images:
        for number in ("1", "2"):
            text = text.replace(LAYOUTS[name].image.replace("#", number), "")
    return text


def llava_v1_text(turns: Talk) -> str:
    """The prompt that LLaVA-1.5 was trained with, written out."""
    text = (
        "<s>A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    )
    for turn in turns:
        if turn.role is Role.ASSISTANT:
            text += f"ASSISTANT: {turn.text}</s>"
        else:
            shown = "<image>\n" * len(turn.image_offsets)
            text += f"USER: {shown}{turn.text.strip()} "
    return text


def adds_bos(processor: Any, text: str) -> bool:
    bos = processor.tokenizer.bos_token
    return not (bos and text.startswith(bos))


def plain_inputs(
    name: str,
    turns: Talk,
    images: Sequence[Image.Image],
    ending: str = "",
    text: str | None = None,
) -> dict[str, Any]:
    _, processor = plain_parts(name)
    text = (plain_text(name, turns, bool(images)) if text is None else text) + ending
    if name == "llava":  # trained on squares
        mean = tuple(int(value * 255) for value in processor.image_processor.image_mean)
        sides = [max(image.size) for image in images]
        pairs = zip(images, sides, strict=True)
        images = [ImageOps.pad(image, (side, side), color=mean) for image, side in pairs]
    shown = [list(images)] if images else None
    special = adds_bos(processor, text)
    inputs = processor(text=[text], images=shown, return_tensors="pt", add_special_tokens=special)
    return {  # Llama-4's processor rounds pixels to bfloat16
        key: value.float() if value.is_floating_point() else value for key, value in inputs.items()
    }


def answer_places(name: str, ids: list[int], turns: Talk) -> list[int]:
    """Positions of the answers' tokens, located by searching for their ids in order."""
    tokenizer, layout = plain_parts(name)[1].tokenizer, LAYOUTS[name]
    answers = [turn.text for turn in turns if turn.role is Role.ASSISTANT]
    places: list[int] = []
    at = 0
    for number, answer in enumerate(answers):
        is_last = number == len(answers) - 1
        end = layout.last_end if is_last and layout.last_end is not None else layout.end
        wanted = tokenizer.encode(layout.lead + answer + end, add_special_tokens=False)
        at = next(i for i in range(at, len(ids)) if ids[i : i + len(wanted)] == wanted)
        places += range(at, at + len(wanted))
        at += len(wanted)
    return places


def losses_at(network: Any, inputs: dict[str, Any], places: list[int]) -> list[float]:
    with torch.inference_mode():
        logp = torch.log_softmax(network(**inputs).logits[0].double(), dim=-1)
    ids = inputs["input_ids"][0]
    return [-logp[place - 1, ids[place]].item() for place in places]


def plain_losses(name: str, turns: Talk, images: Sequence[Image.Image]) -> list[float]:
    """Batch 1, full logits, log-softmax in float64."""
    inputs = plain_inputs(name, turns, images)
    places = answer_places(name, inputs["input_ids"][0].tolist(), turns)
    return losses_at(plain_parts(name)[0], inputs, places)


@cache
def expected_losses(name: str, with_images: bool) -> list[list[float]]:
    return [
        plain_losses(name, talk, images if with_images else ()) for talk, images in talks_of(name)
    ]


def encoded(name: str, with_images: bool) -> list[EncodedSample]:
    model = family_model(name)
    return [model.encode(talk, images if with_images else ()) for talk, images in talks_of(name)]


@pytest.mark.parametrize("name", LOADABLE)
def test_prompts_need_no_weights(name: str) -> None:
    whole, encoder = family_model(name), load_prompt_encoder(str(family_folder(name)))
    turns = (Turn(Role.HUMAN, "\nWhat is it?", (0,)), Turn(Role.ASSISTANT, "A cat."))
    for images in ([Image.new("RGB", (64, 48))], []):
        expected, encoded = whole.encode(turns, images), encoder.encode(turns, images)
        assert (encoded.input_ids, encoded.turn_ids) == (expected.input_ids, expected.turn_ids)
    assert encoder.info.template_digest == whole.info.template_digest
    assert encoder.info.image_token_id == whole.info.image_token_id


@pytest.mark.parametrize("with_images", [True, False], ids=["multimodal", "text"])
@pytest.mark.parametrize("name", LOADABLE)
def test_losses_equal_those_of_a_plain_loop(name: str, with_images: bool) -> None:
    model, samples = family_model(name), encoded(name, with_images)
    together = model.answer_losses(samples)
    alone = [model.answer_losses([sample])[0] for sample in samples]
    for plain, batched, single in zip(
        expected_losses(name, with_images), together, alone, strict=True
    ):
        np.testing.assert_allclose(batched, plain, atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(single, plain, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", thorough(LOADABLE))
def test_one_call_may_mix_samples_with_and_without_images(name: str) -> None:
    losses = family_model(name).answer_losses(encoded(name, True) + encoded(name, False))
    expected = expected_losses(name, True) + expected_losses(name, False)
    for found, plain in zip(losses, expected, strict=True):
        np.testing.assert_allclose(found, plain, atol=TOLERANCE, rtol=0)


@pytest.mark.long
@pytest.mark.parametrize(("dtype", "close"), [("bfloat16", 0.05), ("float16", 0.01)])
@pytest.mark.parametrize("name", thorough(LOADABLE))
def test_reduced_precision_stays_close(name: str, dtype: str, close: float) -> None:
    model = load_model(str(family_folder(name)), device="cpu", dtype=dtype)
    for with_images in (True, False):
        losses = model.answer_losses(
            [model.encode(talk, images if with_images else ()) for talk, images in talks_of(name)]
        )
        for found, plain in zip(losses, expected_losses(name, with_images), strict=True):
            assert found is not None
            assert found.dtype == np.float32
            bound = 0.05 if name in ROUTED else close
            assert abs(found.mean() - np.mean(plain)) < bound


@pytest.mark.parametrize("name", LOADABLE)
def test_passes_share_their_answer_tokens_but_not_losses(name: str) -> None:
    multimodal, text = encoded(name, True), encoded(name, False)
    for seen, blind in zip(multimodal, text, strict=True):
        assert seen.answer_ids == blind.answer_ids
        assert seen.answer_turns == blind.answer_turns
        assert seen.pieces == blind.pieces
        assert len(seen.pieces) == len(seen.answer_ids)
        assert seen.segments == blind.segments
        parts = zip(seen.pieces, seen.segments, strict=True)
        layout, n_answers = LAYOUTS[name], len(set(seen.answer_turns))
        last = layout.end if layout.last_end is None else layout.last_end
        expected = [end for end in [layout.end] * (n_answers - 1) + [last] if end]
        assert [piece for piece, part in parts if part == Segment.END] == expected
        assert seen.image_key is not None
        assert blind.image_key is None
    apart = zip(expected_losses(name, True), expected_losses(name, False), strict=True)
    assert all(abs(np.mean(seen) - np.mean(blind)) > 1e-4 for seen, blind in apart)


@pytest.mark.parametrize("name", thorough(LOADABLE))
def test_another_image_gives_other_losses(name: str) -> None:
    model, talk = family_model(name), TALKS[0][0]
    seen = [model.encode(talk, [image]) for image in (WIDE, picture(9, *WIDE.size))]
    assert seen[0].input_ids == seen[1].input_ids
    (one,), (other,) = (model.answer_losses([sample]) for sample in seen)
    assert one is not None
    assert other is not None
    assert np.abs(one - other).max() > 0.01


@pytest.mark.parametrize("name", thorough(LOADABLE))
def test_predictions_do_not_depend_on_their_batch(name: str) -> None:
    model = family_model(name)
    seen = [model.encode_prompt(talk[:1], images[:1]) for talk, images in talks_of(name)]
    blind = [model.encode_prompt(talk[:1], ()) for talk, _ in talks_of(name)]
    for prompts in (seen, blind):
        alone = [model.generate([prompt], 6)[0] for prompt in prompts]
        assert model.generate(prompts, 6) == alone


@pytest.mark.skipif("mistral3" not in LOADABLE, reason="run by test_torchvision.py")
def test_a_one_token_image_is_read_the_same_alone_and_in_a_batch_mistral3() -> None:
    model, talk = family_model("mistral3"), TALKS[0][0]
    lone = model.encode(talk, [picture(3, 5, 7)])
    tokens = plain_parts("mistral3")[1].tokenizer.convert_ids_to_tokens(lone.input_ids)
    assert tokens.count("[IMG]") == 1
    network, _ = plain_parts("mistral3")  # fails on a lone token, so it is passed twice
    inputs = plain_inputs("mistral3", talk, [picture(3, 5, 7)])
    places = answer_places("mistral3", list(lone.input_ids), talk)
    plain = losses_at(network, {k: torch.cat([v, v]) for k, v in inputs.items()}, places)
    for company in ([], [model.encode(talk, [WIDE])]):
        losses = model.answer_losses([lone, *company])[0]
        np.testing.assert_allclose(losses, plain, atol=TOLERANCE, rtol=0)
    prompt = model.encode_prompt(talk[:1], [picture(3, 5, 7)])
    both = model.generate([prompt, model.encode_prompt(talk[:1], [WIDE])], 6)
    assert model.generate([prompt], 6) == both[:1]


@pytest.mark.skipif("perception_lm" not in LOADABLE, reason="run by test_torchvision.py")
def test_images_refused_only_together_are_not_bad_images_perception_lm() -> None:
    model = family_model("perception_lm")
    with pytest.raises(
        PromptProblem, match="accepts each of these 2 images, but not together"
    ) as no:
        model.encode(*TALKS[2])
    assert no.value.status is Status.BAD_RECORD


def masked_plain_losses(name: str, turns: Talk) -> list[float]:
    """As in the paper's code: each placeholder is one masked token, all positions are kept."""
    network, processor = plain_parts(name)
    text = plain_text(name, turns, with_images=True)
    ids = processor.tokenizer(text, add_special_tokens=adds_bos(processor, text))["input_ids"]
    placeholder = processor.tokenizer.convert_tokens_to_ids(processor.image_token)
    assert ids.count(placeholder) == sum(len(turn.image_offsets) for turn in turns)
    inputs = {
        "input_ids": torch.tensor([[0 if token == placeholder else token for token in ids]]),
        "attention_mask": torch.tensor([[int(token != placeholder) for token in ids]]),
        "position_ids": torch.arange(len(ids))[None],
    }
    places = answer_places(name, ids, turns)
    return losses_at(network, inputs, places)


@pytest.mark.parametrize("name", thorough(set(LOADABLE) - MASKS_MOVE_POSITIONS))
def test_a_masked_placeholder_keeps_its_position(name: str) -> None:
    model = family_model(name)
    masked = [model.encode_masked(talk) for talk, _ in talks_of(name)]
    plain_text_pass = encoded(name, False)
    together = model.answer_losses([*masked, *plain_text_pass])
    for (talk, _), losses, sample in zip(talks_of(name), together, masked, strict=False):
        np.testing.assert_allclose(losses, masked_plain_losses(name, talk), atol=TOLERANCE, rtol=0)
        hidden = sample.inputs["attention_mask"][0] == 0
        assert int(hidden.sum()) == sum(len(turn.image_offsets) for turn in talk)
    for blind, sample in zip(plain_text_pass, masked, strict=True):
        assert sample.answer_ids == blind.answer_ids


@pytest.mark.parametrize("name", thorough(MASKS_MOVE_POSITIONS))
def test_no_masked_placeholder_if_positions_follow_the_mask(name: str) -> None:
    with pytest.raises(PromptProblem, match="reference is not defined for this model"):
        family_model(name).encode_masked(TALKS[0][0])


def shown_tokens(name: str, sample: EncodedSample) -> list[str]:
    """Tokens, repeated ones as ``token *16``; answer tokens start with their turn: ``0> red``."""
    tokenizer = plain_parts(name)[1].tokenizer
    tokens = [tokenizer.decode([token]) for token in sample.input_ids]
    pairs = zip(sample.turn_ids, tokens, strict=True)
    marked = [f"{turn}>{token}" if turn >= 0 else token for turn, token in pairs]
    runs = [(token, len(list(run))) for token, run in groupby(marked)]
    return [token if length == 1 else f"{token} *{length}" for token, length in runs]


def golden_tokens(name: str) -> dict[str, list[str]]:
    talk, images = TALKS[1]
    model = family_model(name)
    return {
        "multimodal": shown_tokens(name, model.encode(talk, images)),
        "text": shown_tokens(name, model.encode(talk, ())),
    }


@pytest.mark.parametrize("name", LOADABLE)
def test_answer_tokens_equal_the_golden_ones(name: str) -> None:
    assert golden_tokens(name) == json.loads(GOLDEN.read_text("utf-8"))[name]


def test_the_supported_families_are_the_tested_ones() -> None:
    assert set(SUPPORTED) == {RECIPES[name]().model_type for name in CONFIRMED}


def test_the_documentation_names_every_supported_family() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
    assert [name for name in SUPPORTED.values() if name not in page] == []


def test_a_family_that_needs_an_image_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'paligemma' cannot be scored: .*LLaVA-1\.5, .*Qwen3-VL"):
        load_model(str(family_folder("paligemma")), device="cpu")


if __name__ == "__main__":
    golden = json.loads(GOLDEN.read_text("utf-8"))
    golden |= {name: golden_tokens(name) for name in LOADABLE}
    lines = [
        f"{json.dumps(name)}: {json.dumps(golden[name], ensure_ascii=False)}" for name in golden
    ]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
