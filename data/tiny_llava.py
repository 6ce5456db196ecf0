"""The bundled model's parts: tokenizer, processor, untrained model, and batches to train it on.

It is a LLaVA in every respect except size: a CLIP tower, a projector of two layers, a Llama. Each
object in a picture fills one patch (16 of 64 pixels), so a tower of three layers can name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from data.synthetic.dialogues import Dialogue, random_dialogue
from data.synthetic.palette import seeded

PIXELS, PATCH = 64, 16
IMAGE_TOKENS = (PIXELS // PATCH) ** 2
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<user>", "<assistant>")
PAD, BOS, EOS, UNK, IMAGE, USER, ASSISTANT = range(len(SPECIAL_TOKENS))
IGNORED = -100

VOCABULARY = 1280
WORD_PATTERN = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s"
"""Words with the space before them; single digits, so that numbers are read digit by digit."""

TOKENIZER_SEED, MODEL_SEED = 1, 3

CHAT_TEMPLATE = """\
{%- macro show(content) -%}
  {%- if content is string -%}{{ content }}
  {%- else -%}
    {%- for part in content -%}
      {%- if part['type'] == 'image' -%}{{ '<image>' }}
      {%- elif part['type'] == 'text' -%}{{ part['text'] }}
      {%- endif -%}
    {%- endfor -%}
  {%- endif -%}
{%- endmacro -%}
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] == 'assistant' -%}
    {{- '<assistant>' -}}
    {%- generation -%}{{- ' ' + show(message['content']) + eos_token -}}{%- endgeneration -%}
  {%- elif message['role'] == 'user' -%}{{- '<user>' + show(message['content']) -}}
  {%- else -%}{{- show(message['content']) -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<assistant>' -}}{%- endif -%}
"""


@dataclass(frozen=True)
class Batch:
    """Padded token ids, labels and mask, each (B, L), and pixels (B with image, 3, 64, 64)."""

    input_ids: Tensor
    labels: Tensor
    attention_mask: Tensor
    pixel_values: Tensor | None


class Encoder:
    """Turns dialogues into token ids; caches the ids of texts."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, without special tokens."""
        if text not in self._known:
            self._known[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._known[text]

    def encode(self, dialogue: Dialogue) -> tuple[list[int], list[int]]:
        """Return ids and labels; the labels contain answer tokens, including end tokens."""
        return self.encode_turns(dialogue.turns, dialogue.picture is not None)

    def encode_turns(
        self, turns: Iterable[tuple[str, str]], with_image: bool
    ) -> tuple[list[int], list[int]]:
        """Return ids and labels of questions and answers; an image is before the first question."""
        ids, labels = [BOS], [IGNORED]
        image = [IMAGE] * IMAGE_TOKENS if with_image else []
        for question, answer in turns:
            asked = [USER, *image, *self.ids(question), ASSISTANT]
            answered = [*self.ids(" " + answer), EOS]
            ids += asked + answered
            labels += [IGNORED] * len(asked) + answered
            image = []
        return ids, labels


def build_tokenizer(n_dialogues: int = 20_000) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on training dialogues."""
    rng = seeded(TOKENIZER_SEED)

    def texts() -> Iterator[str]:
        for _ in range(n_dialogues):
            for question, answer in random_dialogue(rng).turns:
                yield question
                yield " " + answer

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL_TOKENS[BOS],
        eos_token=SPECIAL_TOKENS[EOS],
        pad_token=SPECIAL_TOKENS[PAD],
        unk_token=SPECIAL_TOKENS[UNK],
        extra_special_tokens={"image_token": SPECIAL_TOKENS[IMAGE]},
        model_max_length=512,
    )


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Return the processor: shortest side to 64 pixels, centre crop, one token per patch."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": PIXELS},
        crop_size={"height": PIXELS, "width": PIXELS},
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_STD] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(vocabulary: int) -> LlavaForConditionalGeneration:
    """Return the untrained model: CLIP tower 3 x 128, Llama 4 x 128, tied embeddings."""
    # 0.08 instead of the usual 0.02: at this width a model with 0.02 hardly learns to see.
    text = {
        "model_type": "llama",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "vocab_size": vocabulary,
        "initializer_range": 0.08,
        "max_position_embeddings": 512,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "tie_word_embeddings": True,
    }
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": PIXELS,
        "patch_size": PATCH,
        "projection_dim": 128,
    }
    config = LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=IMAGE,
        image_seq_length=IMAGE_TOKENS,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        pad_token_id=PAD,
    )
    torch.manual_seed(MODEL_SEED)
    model = LlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, max_new_tokens=32, do_sample=False
    )
    return model


def to_pixels(images: Iterable[Image.Image]) -> Tensor:
    """Return (N, 3, 64, 64) as the processor would: bicubic, then mean and standard deviation."""
    size = (PIXELS, PIXELS)
    small = [np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images]
    stacked = torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2)
    return (stacked.float() / 255 - PIXEL_MEAN) / PIXEL_STD


def make_batch(dialogues: list[Dialogue], encoder: Encoder) -> Batch:
    """Return a batch of dialogues, padded on the right to the longest one."""
    encoded = [encoder.encode(dialogue) for dialogue in dialogues]
    shape = (len(encoded), max(len(ids) for ids, _ in encoded))
    input_ids, labels = torch.full(shape, PAD), torch.full(shape, IGNORED)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, (ids, targets) in enumerate(encoded):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        labels[row, : len(ids)] = torch.tensor(targets)
        mask[row, : len(ids)] = 1
    images = [dialogue.picture.draw() for dialogue in dialogues if dialogue.picture is not None]
    return Batch(input_ids, labels, mask, to_pixels(images) if images else None)
