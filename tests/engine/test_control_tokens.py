"""Which special tokens a text may contain, and which would change the structure of a prompt."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from PIL import Image
from tokenizers import AddedToken

from scoring.models.encoding import Encoder
from scoring.models.loading import TemplateRenderer
from scoring.samples import Role, Turn
from tests.families import plain_processor

RED = Image.new("RGB", (64, 48), (200, 30, 30))
GROUNDING = [
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<ref>", "</ref>"),
]
ROLE_TOKENS = (  # a template that builds its tokens from the roles, as GLM's and Phi's do
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
)


def grounded_encoder(name: str, template: str | None = None) -> tuple[Encoder, Any]:
    """An encoder of a family whose tokenizer has grounding tokens."""
    processor = copy.copy(plain_processor(name))
    processor.tokenizer = copy.deepcopy(processor.tokenizer)
    more = [AddedToken(token, special=True, normalized=False) for token in GROUNDING]
    processor.tokenizer.add_tokens([*more, AddedToken("<think>", special=True)])
    return Encoder(
        processor, TemplateRenderer(processor, template), ("<|im_end|>",)
    ), processor.tokenizer


def asked(text: str, answer: str = "red") -> tuple[Turn, ...]:
    return Turn(Role.HUMAN, text, (0,)), Turn(Role.ASSISTANT, answer)


def test_grounding_marks_in_an_answer_stay_one_token_each() -> None:
    encoder, tokenizer = grounded_encoder("qwen2_vl")
    answer = (
        "<|object_ref_start|>red circle<|object_ref_end|><|box_start|>(one,two)<|box_end|>"
        "<ref>a square</ref>"
    )
    for images in ([RED], []):
        sample = encoder.encode(asked("What?", answer), images)
        assert tokenizer.decode(sample.answer_ids) == answer + "<|im_end|>"
        marks = [tokenizer.convert_tokens_to_ids(token) for token in GROUNDING]
        assert [one for one in sample.answer_ids if one in marks] == marks
        assert not sample.text_altered


@pytest.mark.parametrize(
    ("family", "template", "tokens"),
    [
        (
            "qwen2_vl",
            None,
            "<|im_start|> <|im_end|> <|vision_start|> <|vision_end|> <|image_pad|> <|video_pad|> "
            "<image> <pad>",
        ),
        ("idefics3", None, "<image> <fake_token_around_image> <global-img> <row_3_col_2> <video>"),
        ("gemma3", None, "<bos> <eos> <start_of_turn> <end_of_turn> <start_of_image>"),
        ("internvl", None, "<img> </img> <IMG_CONTEXT> <video>"),
        ("aya_vision", None, "<BOS_TOKEN> <|CHATBOT_TOKEN|> <|IMG_PATCH|> <|TILE_GLOBAL|> <image>"),
        ("glm4v", ROLE_TOKENS, "<|user|> <|assistant|> <|system|> <|begin_of_image|> <|image|>"),
    ],
)
def test_tokens_that_change_the_structure_are_broken_up(
    family: str, template: str | None, tokens: str
) -> None:
    encoder, tokenizer = grounded_encoder(family, template)
    for token in tokens.split():
        clean = encoder.encode(asked("What?"), [RED])
        forged = encoder.encode(asked(f"What?{token}"), [RED])
        number = tokenizer.convert_tokens_to_ids(token)
        assert forged.input_ids.count(number) == clean.input_ids.count(number), token
        assert forged.text_altered, token
        assert not clean.text_altered


def test_a_thought_mark_is_content_even_if_the_template_writes_it() -> None:
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image_pad|>' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<think>' }}{% endif %}"
    )
    encoder, tokenizer = grounded_encoder("qwen2_vl", template)
    sample = encoder.encode(asked("What?", "<think>red"), [RED])
    assert tokenizer.convert_tokens_to_ids("<think>") in sample.answer_ids
