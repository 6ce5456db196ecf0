"""Processors that change a prompt inside their call, which only its tokens show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlavaProcessor, Molmo2Processor, PreTrainedTokenizerFast
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin

from scoring.errors import ModelError
from scoring.models.encoding import Encoder, create_encoder
from scoring.models.loading import TemplateRenderer
from scoring.models.prompting import LLAVA_V1_TEMPLATE, PromptProblem
from scoring.samples import Role, Turn
from tests.families import family_model, plain_processor

RED = Image.new("RGB", (64, 48), (200, 30, 30))
TALK = (
    Turn(Role.HUMAN, "\nWhat?", (0,)),
    Turn(Role.ASSISTANT, "red"),
    Turn(Role.HUMAN, "Sure?"),
    Turn(Role.ASSISTANT, "yes"),
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
)
MOLMO_TOKENS = (
    "<im_patch> <im_col> <im_start> <low_res_im_start> <frame_start> <im_end> <frame_end> <im_low>"
)


class TwoByThree(BaseImageProcessor):
    """Splits every image into 2 x 3 patches; Molmo2's own image processor needs torchvision."""

    def fetch_images(self, images: Any) -> Any:
        return images

    def __call__(self, images: Any, **_: Any) -> dict[str, Any]:
        return {"pixel_values": np.zeros((1, 6, 4)), "image_grids": [[1, 1, 2, 3]]}


def molmo_processor() -> Any:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain_processor("mllama").tokenizer.backend_tokenizer,
        eos_token="<|endoftext|>",  # noqa: S106 - not a password
        pad_token="<pad>",  # noqa: S106
        extra_special_tokens=MOLMO_TOKENS.split(),
    )
    tokenizer.image_token = "<|image|>"  # noqa: S105
    with patch.object(ProcessorMixin, "check_argument_for_proper_class", lambda *_: None):
        return Molmo2Processor(TwoByThree(), SimpleNamespace(), tokenizer)


def scored(encoder: Encoder, images: list[Image.Image]) -> str:
    sample = encoder.encode(TALK, images)
    decoded: str = encoder._local.processor.tokenizer.decode(sample.answer_ids)
    assert "".join(sample.pieces) == decoded
    return decoded


@pytest.mark.parametrize("images", [[RED], []])
def test_answers_are_located_after_a_token_added_by_the_processor(images: Any) -> None:
    processor = molmo_processor()
    encoder = Encoder(processor, TemplateRenderer(processor, CHATML), ("<|im_end|>",))
    sample = encoder.encode(TALK, images)
    assert processor.tokenizer.decode(sample.input_ids[:2]) == "<|endoftext|><|im_start|>"
    assert scored(encoder, images) == "red<|im_end|>yes<|im_end|>"


class Rewriting(LlavaProcessor):
    """Converts every text to capitals."""

    def __call__(self, images: Any = None, text: Any = None, **settings: Any) -> Any:
        changed = [one.replace("What", "WHAT") for one in text]
        return super().__call__(images=images, text=changed, **settings)


class Misplacing(LlavaProcessor):
    """Reports each token one character too early."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        batch = super().__call__(*args, **settings)
        batch["offset_mapping"] = [[(a - 4, b - 4) for a, b in batch["offset_mapping"][0]]]
        return batch


class Reordering(LlavaProcessor):
    """Changes the ids after the tokenizer made them."""

    def __call__(self, *args: Any, **settings: Any) -> Any:
        batch = super().__call__(*args, **settings)
        batch["input_ids"] = [batch["input_ids"][0][::-1]]
        return batch


def changed(kind: type[LlavaProcessor]) -> Any:
    own = plain_processor("llava")
    return kind(own.image_processor, own.tokenizer, patch_size=14, chat_template=own.chat_template)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Rewriting, "changes the prompt's text before it is tokenised"),
        (Reordering, "changes the tokens after its tokenizer made them"),
        (Misplacing, r"for the answer ' ?A cat\.</s>' the tokens of .* would be scored"),
    ],
)
def test_a_processor_that_hides_the_answer_is_refused_at_load(
    kind: type[LlavaProcessor], reason: str
) -> None:
    model, processor = family_model("llava"), changed(kind)
    render = model._encoder.render
    with pytest.raises(ModelError, match=f"cannot be scored: .*{reason}"):
        create_encoder(model.network, processor, render, model.info)


def test_a_processor_that_changes_one_text_refuses_that_sample() -> None:
    processor = changed(Rewriting)
    encoder = Encoder(processor, TemplateRenderer(processor, None), ("</s>",))
    with pytest.raises(PromptProblem, match="before it is tokenised"):
        encoder.encode(TALK, [])
    encoder.encode((Turn(Role.HUMAN, "who?"), *TALK[1:]), [])


def metaspace_processor() -> Any:
    """A tokenizer like LLaVA's: spaces start words, and a digit is always a token of its own."""
    letters = "▁ USERASSISTANT:What?redyes0123456789\n.'"
    vocabulary = ["<unk>", "<s>", "</s>", "<image>", *dict.fromkeys(letters), "▁r", "▁re", "▁red"]
    inner = Tokenizer(
        models.BPE(
            {token: number for number, token in enumerate(vocabulary)},
            [("▁", "r"), ("▁r", "e"), ("▁re", "d")],
            unk_token="<unk>",  # noqa: S106 - not a password
        )
    )
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        pad_token="<unk>",  # noqa: S106
        extra_special_tokens={"image_token": "<image>"},
    )
    own = plain_processor("llava").image_processor
    return LlavaProcessor(own, tokenizer, patch_size=14, vision_feature_select_strategy="default")


@pytest.mark.parametrize(
    ("answer", "labels"),
    [("red", ["▁red"]), ("3", ["▁", "3"]), ("42", ["▁", "4", "2"]), ("re", ["▁re"])],
)
def test_llava_v1_scores_what_the_reference_trains(answer: str, labels: list[str]) -> None:
    """LLaVA's preprocess_v1 leaves a lone ``▁`` before a digit among the labels."""
    processor = metaspace_processor()
    encoder = Encoder(
        processor, TemplateRenderer(processor, LLAVA_V1_TEMPLATE), ("</s>",), answer_lead=" "
    )
    sample = encoder.encode((Turn(Role.HUMAN, "What?"), Turn(Role.ASSISTANT, answer)), ())
    found = processor.tokenizer.convert_ids_to_tokens(sample.answer_ids)
    assert found == [*labels, "</s>"]


def test_the_llava_v1_template_counts_the_space_before_an_answer() -> None:
    model = family_model("llava")
    assert model.info.template == "llava_v1"
    assert model._encoder.answer_texts(TALK) == [" red</s>", " yes</s>"]
    own = family_model("qwen2_vl")
    assert own._encoder.answer_texts(TALK) == ["red<|im_end|>", "yes<|im_end|>"]
