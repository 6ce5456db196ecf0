"""The bundled model: it loads offline, its template gives these tokens, and it stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from data.synthetic.dialogues import Dialogue
from data.synthetic.palette import seeded
from data.synthetic.scenes import random_scene

MODEL = Path(__file__).parents[2] / "data" / "tiny-vlm"
SCENE = random_scene(seeded(1))
QUESTION, ANSWER = "\nWhat colour is the circle?", "red"
NEXT_QUESTION, NEXT_ANSWER = "Which number is on the sign?", "The number is 47."


@pytest.fixture(scope="module")
def processor() -> Any:
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(MODEL, local_files_only=True)


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(MODEL, local_files_only=True).eval()


def chat(image: Image.Image | None) -> list[dict[str, Any]]:
    picture = [] if image is None else [{"type": "image", "image": image}]
    return [
        {"role": "user", "content": [*picture, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]},
        {"role": "user", "content": [{"type": "text", "text": NEXT_QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": NEXT_ANSWER}]},
    ]


def test_weights_are_float32_and_below_ten_megabytes() -> None:
    weights = MODEL / "model.safetensors"
    assert weights.stat().st_size < 10_000_000
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    kinds = {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    assert kinds == {"F32"}


def test_the_template_puts_the_image_where_it_stands(processor: Any) -> None:
    text = processor.apply_chat_template(chat(SCENE.draw()), tokenize=False)
    assert text == (
        "<s><user><image>\nWhat colour is the circle?<assistant> red</s>"
        "<user>Which number is on the sign?<assistant> The number is 47.</s>"
    )


def test_without_the_image_only_the_placeholder_is_gone(processor: Any) -> None:
    text = processor.apply_chat_template(chat(None), tokenize=False)
    assert text.startswith("<s><user>\nWhat colour is the circle?<assistant> red</s>")


def test_a_conversation_without_images_renders(processor: Any) -> None:
    messages = [{"role": "user", "content": "What is the opposite of hot?"}]
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s><user>What is the opposite of hot?<assistant>"


def test_answer_tokens_are_the_answers_and_their_end_tokens(processor: Any) -> None:
    inputs = processor.apply_chat_template(
        chat(SCENE.draw()),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        return_assistant_tokens_mask=True,
    )
    mask = torch.as_tensor(inputs["assistant_masks"]).view(-1).bool()
    answers = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0][mask])
    assert [token.replace("\u0120", " ") for token in answers] == [
        *(" red", "</s>"),
        *(" The", " number", " is", " 4", "7", ".", "</s>"),
    ]
    assert (inputs["input_ids"] == 4).sum() == 16


def test_training_and_processor_see_the_same(processor: Any) -> None:
    from data.tiny_llava import Encoder, to_pixels

    turns = ((QUESTION, ANSWER), (NEXT_QUESTION, NEXT_ANSWER))
    ids, _ = Encoder(processor.tokenizer).encode(Dialogue(SCENE, turns))
    inputs = processor.apply_chat_template(
        chat(SCENE.draw()), tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert ids == inputs["input_ids"][0].tolist()
    assert torch.equal(to_pixels([SCENE.draw()]), inputs["pixel_values"])


def test_generation_answers_and_stops(processor: Any, model: Any) -> None:
    text = "<s><user>My coat is yellow. What colour is my coat?<assistant>"
    inputs = processor(text=text, return_tensors="pt")
    output = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
    assert processor.tokenizer.decode(output) == " yellow</s>"


def test_it_answers_from_the_image(processor: Any, model: Any) -> None:
    text = "<s><user><image>\nWhat colour is the sign?<assistant>"
    from data.synthetic.signs import Sign

    for colour in ("red", "green", "blue"):
        image = Sign((250, 250, 250), "OPEN", colour, 1, 0).draw()
        inputs = processor(text=text, images=image, return_tensors="pt")
        output = model.generate(**inputs)[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(output, skip_special_tokens=True).strip() == colour
