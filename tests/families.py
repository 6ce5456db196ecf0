"""Tiny models with random weights, one of each family, built without a download.

Each is saved to a folder as its publisher would, so tests load it through the product's own code.
Chat templates follow the published ones in everything that decides token ids. Weights are scaled
up, so no two tokens have nearly the same loss.
"""

from __future__ import annotations

import inspect
import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import ProcessorMixin

from scoring.models import load_model
from scoring.models.hf import HfModel

SEED = 7
WEIGHT_SCALE = 4.0
FIRST_STEP = 0.3  # of weights initialised to zero: gates, and Gemma-3's projection of images
_WORDS = (
    "what colour is the red square blue circle green shape in this picture how many are there two "
    "three yes no left right of user assistant system You are a helpful digit one four answer a"
)
_MARKS = (
    "<pad> <s> </s> <unk> <image> <video> <|im_start|> <|im_end|> <|vision_start|> <|vision_end|> "
    "<|image_pad|> <|video_pad|> <fake_token_around_image> <global-img> <end_of_utterance> "
    "<start_of_turn> <end_of_turn> <start_of_image> <image_soft_token> <end_of_image> <img> </img> "
    "<IMG_CONTEXT> [INST] [/INST] <|image|> <bos> <eos> <|begin_of_text|> <|eot_id|> "
    "<|start_header_id|> <|end_header_id|> <|IMG_PATCH|> <|START_OF_IMG|> <|END_OF_IMG|> "
    "<|IMG_LINE_BREAK|> <|TILE_GLOBAL|> TILE <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> "
    "<|USER_TOKEN|> <|CHATBOT_TOKEN|> <|SYSTEM_TOKEN|> <BOS_TOKEN> [gMASK] <sop> <|system|> "
    "<|user|> <|assistant|> <|begin_of_image|> <|end_of_image|> <|endoftext|> "
    "<|turn> <turn|> <|image> <image|> <|video|> <|audio|> <|header_start|> <|header_end|> "
    "<|eot|> <|image_start|> <|image_end|> <|patch|> <|tile_x_separator|> <|tile_y_separator|> "
    "[IMG] [IMG_BREAK] [IMG_END] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] <|START_RESPONSE|> "
    "<|END_RESPONSE|> <|startoftext|> <|img_thumbnail|> <IMG_START> <IMG_ATOM> <IMG_GRID> "
    "<IMG_COL> <IMG_ROW> <IMG_END> <think> </think> <|im_user|> <|im_assistant|> <|im_system|> "
    "<|im_middle|> <|media_begin|> <|media_content|> <|media_pad|> <|media_end|> <slice> "
    "</slice> <image_id> </image_id> <|begin_of_sentence|> <|end_of_sentence|> <|IMAGE_START|> "
    "<|IMAGE_END|> <|IMAGE_PLACEHOLDER|> <|VIDEO_START|> <|VIDEO_END|> <|VIDEO_PLACEHOLDER|> "
    "<fim_prefix> <fim_suffix> <|img|> <image_placeholder> <begin_of_image> <|User|> "
    "<|Assistant|> [|user|] [|assistant|] [|system|] [|endofturn|] <vision> </vision> "
    "<|end_of_text|>"
)
_SPECIAL = [
    *_MARKS.split(),
    *(f"<row_{row}_col_{col}>" for row in range(1, 5) for col in range(1, 5)),
]

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
    """The contents of a family's folder."""

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
    end_tokens: tuple[str, ...] = ()  # stop tokens of generation, if more than ``eos``


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
    """The saved model of a family, built on the first call."""
    folder = Path(_folders().name) / name
    _save(RECIPES[name](), folder)
    return folder


def _save(recipe: Recipe, folder: Path) -> None:
    tokenizer = _tokenizer(recipe)
    torch.manual_seed(SEED)
    config = transformers.AutoConfig.for_model(recipe.model_type, **recipe.config)
    images_only = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    name = "AutoModelForImageTextToText" if images_only else "AutoModelForMultimodalLM"
    model = getattr(transformers, name).from_config(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.ndim > 1:
                weights.mul_(WEIGHT_SCALE)
            if not name.endswith("bias") and not weights.any():
                weights.normal_(std=FIRST_STEP)  # else some families would see no image at all
    ends = [token_id(token) for token in (recipe.eos, *recipe.end_tokens)]
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends, pad_token_id=0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if isinstance(recipe.image_processor, dict):
        text = json.dumps(recipe.image_processor)
        (folder / "preprocessor_config.json").write_text(text, "utf-8")
    else:
        recipe.image_processor.save_pretrained(folder)
    settings = {"processor_class": recipe.processor_class, **recipe.processor}
    (folder / "processor_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "chat_template.jinja").write_text(recipe.template, "utf-8")


def _corpus() -> Iterator[str]:
    rng, words = random.Random(SEED), _WORDS.split()  # noqa: S311 - no secret
    for _ in range(600):
        yield " ".join(rng.choices(words, k=12)) + "?\n"


@cache
def _trained() -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=765,
        special_tokens=_SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer.to_str()


def token_id(token: str) -> int:
    """Id of a token in the vocabulary that all families here share."""
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
        pad_token="<pad>",  # noqa: S106 - not a password
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


@family
def qwen3_vl() -> Recipe:
    return _qwen(
        "qwen3_vl",
        "Qwen3VLProcessor",
        {
            "depth": 3,
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_heads": 4,
            "out_hidden_size": 64,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0, 1],
        },
        {
            "model_type": "qwen3_vl_text",
            "head_dim": 16,
            "rope_parameters": {**_MROPE, "mrope_interleaved": True},
        },
        patch=16,
    )


_IDEFICS_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m.role | capitalize }}"
    "{% if m.content[0].type == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<image>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_IDEFICS_TOKENS = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}


def _idefics(model_type: str, processor: str, images: str) -> Recipe:
    return Recipe(
        model_type,
        {
            "text_config": _TEXT,
            "vision_config": _TOWER,
            "image_token_id": token_id("<image>"),
            "scale_factor": 2,
            "pad_token_id": 0,
        },
        processor,
        _images(images, size={"longest_edge": 112}, max_image_size={"longest_edge": 56}),
        _IDEFICS_TEMPLATE,
        bos="<|im_start|>",
        eos="<end_of_utterance>",
        named_tokens=_IDEFICS_TOKENS,
        processor={"image_seq_len": 4},
    )


@family
def idefics3() -> Recipe:
    return _idefics("idefics3", "Idefics3Processor", "Idefics3ImageProcessor")


@family
def smolvlm() -> Recipe:
    return _idefics("smolvlm", "SmolVLMProcessor", "SmolVLMImageProcessor")


def _tiles() -> Any:
    return _images(
        "GotOcr2ImageProcessor", size=_CROP, crop_to_patches=True, min_patches=1, max_patches=4
    )


@family
def internvl() -> Recipe:
    return Recipe(
        "internvl",
        {
            "text_config": {**_TEXT, "model_type": "qwen2"},
            "vision_config": {**_TOWER, "image_size": [56, 56], "patch_size": [14, 14]},
            "image_token_id": token_id("<IMG_CONTEXT>"),
            "image_seq_length": 4,
            "downsample_ratio": 0.5,
        },
        "InternVLProcessor",
        _tiles(),
        _chatml("<IMG_CONTEXT>\\n"),
        eos="<|im_end|>",
        named_tokens={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        processor={"image_seq_length": 4},
    )


_GEMMA_TEMPLATE = (
    "{{ bos_token }}{% set first = '' %}"
    "{% if messages[0].role == 'system' %}{% set first = messages[0].content[0].text + '\n\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/...') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{% if loop.first %}{{ first }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<start_of_image>' }}"
    "{% else %}{{ c.text | trim }}{% endif %}{% endfor %}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


@family
def gemma3() -> Recipe:
    return Recipe(
        "gemma3",
        {
            "text_config": {
                **_TEXT,
                "model_type": "gemma3_text",
                "head_dim": 16,
                "num_key_value_heads": 1,
                "num_hidden_layers": 6,
                "sliding_window": 64,
            },
            "vision_config": _SIGLIP,
            "image_token_index": token_id("<image_soft_token>"),
            "boi_token_index": token_id("<start_of_image>"),
            "eoi_token_index": token_id("<end_of_image>"),
            "mm_tokens_per_image": 4,
        },
        "Gemma3Processor",
        _images("Gemma3ImageProcessor", size=_CROP),
        _GEMMA_TEMPLATE,
        bos="<bos>",
        eos="<eos>",
        adds_bos=True,
        named_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
        processor={"image_seq_length": 4},
        end_tokens=("<end_of_turn>",),
    )


_AYA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|>' }}"
    "{% if m.role == 'system' %}{{ '<|SYSTEM_TOKEN|>' }}"
    "{% elif m.role == 'user' %}{{ '<|USER_TOKEN|>' }}"
    "{% else %}{{ '<|CHATBOT_TOKEN|>' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<image>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)


@family
def aya_vision() -> Recipe:
    return Recipe(
        "aya_vision",
        {
            "text_config": {
                **_TEXT,
                "model_type": "cohere2",
                "head_dim": 16,
                "num_hidden_layers": 4,
                "sliding_window": 64,
            },
            "vision_config": _SIGLIP,
            "image_token_index": token_id("<|IMG_PATCH|>"),
            "downsample_factor": 2,
            "vision_feature_layer": -1,
        },
        "AyaVisionProcessor",
        _tiles(),
        _AYA_TEMPLATE,
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        adds_bos=True,
        processor={
            "patch_size": 14,
            "img_size": 56,
            "downsample_factor": 2,
            "image_token": "<image>",
            "start_of_img_token": "<|START_OF_IMG|>",
            "end_of_img_token": "<|END_OF_IMG|>",
            "img_patch_token": "<|IMG_PATCH|>",
            "img_line_break_token": "<|IMG_LINE_BREAK|>",
            "tile_token": "TILE",
            "tile_global_token": "<|TILE_GLOBAL|>",
        },
    )


_GLM_TEMPLATE = (
    "{{ '[gMASK]<sop>' }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ '<|system|>\n' }}"
    "{% elif m.role == 'user' %}{{ '<|user|>\n' }}{% else %}{{ '<|assistant|>\n' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}"
    "{{ '<|begin_of_image|><|image|><|end_of_image|>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@family
def glm4v() -> Recipe:
    rope = {
        "rope_type": "default",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "mrope_section": [1, 1, 2],
    }
    return Recipe(
        "glm4v",
        {
            "text_config": {**_TEXT, "model_type": "glm4v_text", "rope_parameters": rope},
            "vision_config": {
                "depth": 2,
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_heads": 4,
                "out_hidden_size": 64,
                "patch_size": 14,
                "image_size": 56,
                "spatial_merge_size": 2,
                "temporal_patch_size": 2,
            },
            "image_token_id": token_id("<|image|>"),
            "video_token_id": token_id("<|video_pad|>"),
            "image_start_token_id": token_id("<|begin_of_image|>"),
            "image_end_token_id": token_id("<|end_of_image|>"),
            "video_start_token_id": token_id("<|vision_start|>"),
            "video_end_token_id": token_id("<|vision_end|>"),
        },
        "Glm4vProcessor",
        _images(
            "Glm4vImageProcessor",
            patch_size=14,
            merge_size=2,
            size={"shortest_edge": 14 * 14 * 16, "longest_edge": 14 * 14 * 2 * 64},
        ),
        _GLM_TEMPLATE,
        eos="<|endoftext|>",
        named_tokens={"image_token": "<|image|>", "video_token": "<|video_pad|>"},
        end_tokens=("<|user|>",),
    )


@family
def vipllava() -> Recipe:
    base = llava()
    config = {**base.config, "vision_feature_layers": [-1, -2]}
    del config["vision_feature_layer"]
    return replace(base, model_type="vipllava", config=config)


_MLLAMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


@family
def mllama() -> Recipe:
    return Recipe(
        "mllama",
        {
            "text_config": {
                **_TEXT,
                "model_type": "mllama_text_model",
                "num_hidden_layers": 3,
                "vocab_size": 792,  # its head has fewer tokens than its embeddings
                "cross_attention_layers": [1],
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
            },
            "vision_config": {
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_global_layers": 1,
                "attention_heads": 4,
                "image_size": 56,
                "patch_size": 14,
                "vision_output_dim": 96,
                "intermediate_layers_indices": [1],
                "max_num_tiles": 2,
                "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
            },
            "image_token_index": token_id("<|image|>"),
        },
        "MllamaProcessor",
        _images("MllamaImageProcessor", size=_CROP, max_image_tiles=2),
        _MLLAMA_TEMPLATE,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        named_tokens={"image_token": "<|image|>"},
    )


_PALIGEMMA_TEMPLATE = (
    "{% for m in messages %}{% for c in m.content %}{% if c.type == 'image' %}{{ '<image>' }}"
    "{% else %}{{ c.text }}{{ '\n' if m.role == 'user' else '<eos>' }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


@family
def paligemma() -> Recipe:
    return Recipe(
        "paligemma",
        {
            "text_config": {
                **_TEXT,
                "model_type": "gemma",
                "head_dim": 16,
                "num_key_value_heads": 1,
            },
            "vision_config": {**_SIGLIP, "projection_dim": 64, "num_image_tokens": 16},
            "image_token_index": token_id("<image>"),
            "projection_dim": 64,
            "hidden_size": 64,
        },
        "PaliGemmaProcessor",
        _images("SiglipImageProcessor", size=_CROP, image_seq_length=16),
        _PALIGEMMA_TEMPLATE,
        bos="<bos>",
        eos="<eos>",
        named_tokens={"image_token": "<image>"},
    )


@cache
def family_model(name: str) -> HfModel:
    """The family's model, loaded as a user would; shared, so a test may not change it."""
    return load_model(str(family_folder(name)), device="cpu")


class _Unset:
    """A video processor that has no settings."""

    def __getattr__(self, name: str) -> None:
        return None


@cache
def plain_processor(name: str) -> Any:
    """The family's processor, assembled from its saved parts without the product's loader.

    If it needs a video processor it gets an empty one: real ones need torchvision.
    """
    folder, recipe = family_folder(name), RECIPES[name]()
    kind = getattr(transformers, recipe.processor_class)
    parts = {
        "image_processor": transformers.AutoImageProcessor.from_pretrained(folder),
        "tokenizer": transformers.AutoTokenizer.from_pretrained(folder),
        "chat_template": recipe.template,
    }
    if "video_processor" in inspect.signature(kind).parameters:
        parts["video_processor"] = _Unset()
    with (
        patch.object(ProcessorMixin, "check_argument_for_proper_class", lambda *_: None),
        patch.object(processing_smolvlm, "num2words", "for the lengths of videos"),
    ):
        return kind(**parts, **recipe.processor)
