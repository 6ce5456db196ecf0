"""The text-only prompt: the multimodal one without the text written for the images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from PIL import Image

from scoring.models.base import EncodedSample
from scoring.models.encoding import Encoder
from scoring.models.image_removal import ImagePlaceholders
from scoring.models.loading import TemplateRenderer
from scoring.models.prompting import LLAVA_V1_TEMPLATE, Messages, PromptProblem, to_messages
from scoring.samples import Role, Status, Turn
from tests.families import plain_processor

RED = Image.new("RGB", (64, 48), (200, 30, 30))
CONTROLS = re.compile("<image>")
ONE_IMAGE = (Turn(Role.HUMAN, "\nWhat?", (0,)), Turn(Role.ASSISTANT, "red"))

# As the published template of Llama-3.2-Vision: the system header, with today's date, is written
# only without an image.
LLAMA_VISION = (
    "{{ bos_token }}"
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{% set images = namespace(any=false) %}"
    "{% for m in messages %}{% for c in m.content %}"
    "{% if c.type == 'image' %}{% set images.any = true %}{% endif %}{% endfor %}{% endfor %}"
    "{% if not images.any %}{{ '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{ 'Cutting Knowledge Date: December 2023\nToday Date: ' + date_string + '\n\n' }}"
    "{{ '<|eot_id|>' }}{% endif %}"
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def prompts(render: Any, turns: Sequence[Turn]) -> tuple[str, str]:
    """The multimodal prompt and the text-only one."""
    messages = to_messages(turns)
    text = render(messages)
    blind = text
    for start, end in reversed(ImagePlaceholders(render, CONTROLS).find_spans(messages, text)):
        blind = blind[:start] + blind[end:]
    return text, blind


def encoder(name: str, template: str, **settings: Any) -> Encoder:
    processor = plain_processor(name)
    return Encoder(
        processor, TemplateRenderer(processor, template), ("<|eot_id|>", "</s>"), **settings
    )


def decoded(name: str, sample: EncodedSample) -> str:
    text: str = plain_processor(name).tokenizer.decode(sample.input_ids)
    return text


def test_a_header_written_only_without_images_is_omitted() -> None:
    model = encoder("mllama", LLAMA_VISION)
    seen, blind = model.encode(ONE_IMAGE, [RED]), model.encode(ONE_IMAGE, ())
    expected = (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{}\nWhat?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert decoded("mllama", seen) == expected.format("<|image|>") + "red<|eot_id|>"
    assert decoded("mllama", blind) == expected.format("") + "red<|eot_id|>"
    question = model.encode_prompt(ONE_IMAGE[:1], ())
    assert decoded("mllama", question) == expected.format("")


def test_the_date_of_a_template_is_frozen() -> None:
    model = encoder("mllama", LLAMA_VISION)
    model.render.freeze_date(datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    text_only = (Turn(Role.HUMAN, "What?"), Turn(Role.ASSISTANT, "red"))
    assert "Today Date: 01 Mar 2026\n" in decoded("mllama", model.encode(text_only, ()))


def colon_or_space(messages: Messages) -> str:
    """As in Idefics: a space after the colon only if text comes first."""
    text = ""
    for message in messages:
        first = message["content"][0]["type"] if message["content"] else "text"
        text += message["role"] + (":" if first == "image" else ": ") + shown(message) + "\n"
    return text


def shown(message: dict[str, Any], image: str = "<image>") -> str:
    parts = message["content"]
    return "".join(image if part["type"] == "image" else part["text"] for part in parts)


def test_a_space_written_only_without_images_is_omitted() -> None:
    assert prompts(colon_or_space, ONE_IMAGE) == (
        "user:<image>\nWhat?\nassistant: red\n",
        "user:\nWhat?\nassistant: red\n",
    )


def numbering(messages: Messages) -> str:
    text, number = "", 0
    for message in messages:
        for part in message["content"]:
            number += part["type"] == "image"
            text += f"Picture {number}: <image>" if part["type"] == "image" else part["text"]
    return text


def separated(messages: Messages) -> str:
    """Images first, with a comma between them."""
    return "".join(
        ",".join("<image>" for part in message["content"] if part["type"] == "image")
        + "".join(part["text"] for part in message["content"] if part["type"] == "text")
        for message in messages
    )


TWO_PLACES = (
    Turn(Role.HUMAN, "Compare with this one.", (7, 21)),
    Turn(Role.ASSISTANT, "red"),
    Turn(Role.HUMAN, "And this?", (9, 9)),
    Turn(Role.ASSISTANT, "blue"),
)


@pytest.mark.parametrize("render", [numbering, separated, colon_or_space])
def test_images_are_removed_from_any_position(render: Any) -> None:
    seen, blind = prompts(render, TWO_PLACES)
    assert seen.count("<image>") == 4
    without = re.sub(r",?(Picture \d: )?<image>", "", seen)
    assert blind == without


def test_a_part_of_a_placeholder_in_the_text_is_kept() -> None:
    turns = (Turn(Role.HUMAN, "< image>\nimage>\n", (9,)), Turn(Role.ASSISTANT, "< image>"))
    seen, blind = prompts(lambda chat: "".join(shown(one) + "</s>" for one in chat), turns)
    assert seen == "< image>\n<image>image>\n</s>< image></s>"
    assert blind == "< image>\nimage>\n</s>< image></s>"


def test_inseparable_images_are_refused() -> None:
    def counting(messages: Messages) -> str:
        """Writes the number of images, and a greeting only without one."""
        n_images = sum(part["type"] == "image" for one in messages for part in one["content"])
        text = "".join(map(shown, messages))
        return f"{n_images} images: {text}" if n_images else f"hello {text}"

    with pytest.raises(PromptProblem, match="no exact prompt without them") as problem:
        prompts(counting, ONE_IMAGE)
    assert problem.value.status is Status.PLACEHOLDER_MISMATCH


@pytest.mark.parametrize(
    ("text", "offset", "read"),
    [
        ("look at\nand tell", 8, "look at\nand tell"),
        ("look at  and tell", 8, "look at  and tell"),
        (" What? \n", 1, "What?"),
        ("\n", 0, ""),
    ],
)
def test_llava_v1_joins_the_text_around_an_image_and_trims_it(
    text: str, offset: int, read: str
) -> None:
    """As in LLaVA's preprocess_multimodal: ``<image>\\n`` first, then the rest, trimmed."""
    turns = (
        Turn(Role.HUMAN, text, (offset,)),
        Turn(Role.ASSISTANT, "red"),
        Turn(Role.HUMAN, " sure? "),
        Turn(Role.ASSISTANT, "yes"),
    )
    processor = plain_processor("llava")
    seen, blind = prompts(TemplateRenderer(processor, LLAVA_V1_TEMPLATE), turns)
    image = f"<image>\n{read}".strip()
    rest = "ASSISTANT: red</s>USER:  sure?  ASSISTANT: yes</s>"
    assert seen.endswith(f"questions. USER: {image} {rest}")
    assert blind.endswith(f"questions. USER: {read} {rest}")
