"""Tiny models with random weights, one of each family that users have, built without a download.

Each is saved to a folder as its publisher would, so that tests load it through the product's own
code. Chat templates follow the published ones in everything that decides token ids. Weights are
scaled up, so that no two tokens have nearly the same loss.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SEED = 7
WEIGHT_SCALE = 4.0
_WORDS = (
    "what colour is the red square blue circle green shape in this picture how many are there two "
    "three yes no left right of user assistant system You are a helpful digit one four answer a"
)
_SPECIAL = (
    "<pad> <s> </s> <unk> <image> <video> <|im_start|> <|im_end|> <|vision_start|> <|vision_end|> "
    "<|image_pad|> <|video_pad|> <fake_token_around_image> <global-img> <end_of_utterance> "
    "<start_of_turn> <end_of_turn> <start_of_image> <image_soft_token> <end_of_image> <img> </img> "
    "<IMG_CONTEXT> [INST] [/INST] <|image|> <bos> <eos> <|begin_of_text|> <|eot_id|> "
    "<|start_header_id|> <|end_header_id|> <|IMG_PATCH|> <|START_OF_IMG|> <|END_OF_IMG|> "
    "<|IMG_LINE_BREAK|> <|TILE_GLOBAL|> TILE <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> "
    "<|USER_TOKEN|> <|CHATBOT_TOKEN|> <|SYSTEM_TOKEN|> <BOS_TOKEN> [gMASK] <sop> <|system|> "
    "<|user|> <|assistant|> <|begin_of_image|> <|end_of_image|> <|endoftext|>"
).split() + [f"<row_{row}_col_{col}>" for row in range(1, 5) for col in range(1, 5)]

_TEXT = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 800,
    "max_position_embeddings": 4096,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TOWER = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
_CLIP = {**_TOWER, "model_type": "clip_vision_model", "num_hidden_layers": 3, "projection_dim": 48}
_SIGLIP = {**_TOWER, "model_type": "siglip_vision_model", "vision_use_head": False}
_MROPE = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}


@dataclass(frozen=True)
class Recipe:
    """What a family's folder is made of."""

    model_type: str
    config: dict[str, Any]
    processor_class: str
    image_processor: Any
    template: str
    bos: str | None = None
    eos: str = "</s>"
    adds_bos: bool = False
    named_tokens: dict[str, str] = field(default_factory=dict)  # attributes of the tokenizer
    processor: dict[str, Any] = field(default_factory=dict)  # settings of the processor
    end_tokens: tuple[str, ...] = ()  # what generation stops at, where it is more than ``eos``


RECIPES: dict[str, Callable[[], Recipe]] = {}


def family(build: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Registers a recipe under its function's name."""
    RECIPES[build.__name__] = build
    return build


@cache
def _folders() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="families-")  # removed when the process ends


@cache
def family_folder(name: str) -> Path:
    """The saved model of a family; built when first asked for."""
    folder = Path(_folders().name) / name
    _save(RECIPES[name](), folder)
    return folder


def _save(recipe: Recipe, folder: Path) -> None:
    tokenizer = _tokenizer(recipe)
    torch.manual_seed(SEED)
    config = transformers.AutoConfig.for_model(recipe.model_type, **recipe.config)
    model = transformers.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.mul_(WEIGHT_SCALE)
    ends = [token_id(token) for token in (recipe.eos, *recipe.end_tokens)]
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    recipe.image_processor.save_pretrained(folder)
    settings = {"processor_class": recipe.processor_class, **recipe.processor}
    (folder / "processor_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "chat_template.jinja").write_text(recipe.template, "utf-8")


def _corpus() -> Iterator[str]:
    rng, words = random.Random(SEED), _WORDS.split()
    for _ in range(600):
        yield " ".join(rng.choices(words, k=12)) + "?\n"


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer.to_str()


def token_id(token: str) -> int:
    """Id of a token of the one vocabulary that all families here share."""
    found = Tokenizer.from_str(_trained()).token_to_id(token)
    assert found is not None, token
    return found


def _tokenizer(recipe: Recipe) -> PreTrainedTokenizerFast:
    inner = Tokenizer.from_str(_trained())
    if recipe.adds_bos and recipe.bos:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{recipe.bos} $A", special_tokens=[(recipe.bos, token_id(recipe.bos))]
        )
    named = {"bos_token": recipe.bos} if recipe.bos else {}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=recipe.eos,
        pad_token="<pad>",
        model_max_length=4096,
        extra_special_tokens=recipe.named_tokens,
        **named,
    )


def _images(name: str, **settings: Any) -> Any:
    """The image processor that works without torchvision."""
    return getattr(transformers, name + "Pil")(**settings)


_SQUARE = {"shortest_edge": 56}
_CROP = {"height": 56, "width": 56}
_LLAVA_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role != 'system' %}{{ m.role.upper() + ': ' }}{% endif %}"
    "{% for c in m.content if c.type == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ c.text + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_NEXT_TEMPLATE = (  # LLaVA-NeXT on Mistral
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ '<<SYS>>\n' + m.content[0].text + '\n<</SYS>>\n\n' }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' }}"
    "{% for c in m.content if c.type == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}{{ ' [/INST]' }}"
    "{% else %}{{ ' ' }}{% for c in m.content %}{{ c.text }}{% endfor %}{{ '</s> ' }}{% endif %}"
    "{% endfor %}"
)
_ONEVISION_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + ' ' }}"
    "{% for c in m.content if c.type == 'image' %}{{ '<image>' }}{% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ '\n' + c.text }}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _chatml(image: str) -> str:
    return (
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
        "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
        "{{ '<|im_start|>' + m.role + '\n' }}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '" + image + "' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )


@family
def llava() -> Recipe:
    return Recipe(
        "llava",
        {
            "text_config": _TEXT,
            "vision_config": _CLIP,
            "image_token_index": token_id("<image>"),
            "image_seq_length": 16,
            "vision_feature_layer": -2,
        },
        "LlavaProcessor",
        _images("CLIPImageProcessor", size=_SQUARE, crop_size=_CROP),
        _LLAVA_TEMPLATE,
        bos="<s>",
        adds_bos=True,
        processor={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    )


@family
def llava_next() -> Recipe:
    grid = [[56, 112], [112, 56], [112, 112]]
    return Recipe(
        "llava_next",
        {
            "text_config": {**_TEXT, "model_type": "mistral", "sliding_window": None},
            "vision_config": _CLIP,
            "image_token_index": token_id("<image>"),
            "image_seq_length": 16,
            "vision_feature_layer": -2,
            "image_grid_pinpoints": grid,
        },
        "LlavaNextProcessor",
        _images(
            "LlavaNextImageProcessor", size=_SQUARE, crop_size=_CROP, image_grid_pinpoints=grid
        ),
        _NEXT_TEMPLATE,
        bos="<s>",
        adds_bos=True,
        processor={
            "patch_size": 14,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,
        },
    )


@family
def llava_onevision() -> Recipe:
    grid = [[56, 56], [56, 112], [112, 56], [112, 112]]
    return Recipe(
        "llava_onevision",
        {
            "text_config": {**_TEXT, "model_type": "qwen2"},
            "vision_config": _SIGLIP,
            "image_token_index": token_id("<image>"),
            "video_token_index": token_id("<video>"),
            "image_grid_pinpoints": grid,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
        "LlavaOnevisionProcessor",
        _images("LlavaOnevisionImageProcessor", size=_CROP, image_grid_pinpoints=grid),
        _ONEVISION_TEMPLATE,
        eos="<|im_end|>",
        processor={"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    )


_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
_QWEN_TEMPLATE = _chatml("<|vision_start|><|image_pad|><|vision_end|>")


def _qwen(
    model_type: str,
    processor: str,
    vision: dict[str, Any],
    text: dict[str, Any],
    patch: int = 14,
) -> Recipe:
    ids = {
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }
    common = {"patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2}
    area = patch * patch * 4
    return Recipe(
        model_type,
        {"text_config": {**_TEXT, **text}, "vision_config": {**common, **vision}, **ids},
        processor,
        _images(
            "Qwen2VLImageProcessor",
            patch_size=patch,
            merge_size=2,
            size={"shortest_edge": area * 4, "longest_edge": area * 16},
        ),
        _QWEN_TEMPLATE,
        eos="<|im_end|>",
        named_tokens=_QWEN_TOKENS,
    )


@family
def qwen2_vl() -> Recipe:
    return _qwen(
        "qwen2_vl",
        "Qwen2VLProcessor",
        {"depth": 2, "embed_dim": 48, "num_heads": 4, "hidden_size": 64, "mlp_ratio": 2},
        {"model_type": "qwen2_vl_text", "rope_parameters": _MROPE},
    )


@family
def qwen2_5_vl() -> Recipe:
    return _qwen(
        "qwen2_5_vl",
        "Qwen2_5_VLProcessor",
        {
            "depth": 2,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_heads": 4,
            "out_hidden_size": 64,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        {"model_type": "qwen2_5_vl_text", "rope_parameters": _MROPE},
    )
