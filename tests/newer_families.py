"""Tiny models of the families published after those in ``families``; registered on import."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests import families
from tests.families import (
    _CLIP,
    _LLAVA_TEMPLATE,
    _MROPE,
    _QWEN_TOKENS,
    _SIGLIP,
    _TEXT,
    _TOWER,
    Recipe,
    _chatml,
    family,
    token_id,
)

_CROP = {"height": 56, "width": 56}
_MEAN = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.3, 0.3]}


def _published(name: str, **settings: Any) -> dict[str, Any]:
    """An image processor as its file names it; the environment decides the class."""
    return {"image_processor_type": name, **settings}


def _turns(
    user: str, assistant: str, end: str, image: str, *, start: str = "", system: str = ""
) -> str:
    """A template that writes each message between two marks, in the order of its parts."""
    return (
        f"{{{{ '{start}' }}}}{{% if messages[0].role != 'system' %}}{{{{ '{system}' }}}}"
        "{% endif %}{% for m in messages %}{% if m.role == 'user' %}"
        f"{{{{ '{user}' }}}}{{% elif m.role == 'assistant' %}}{{{{ '{assistant}' }}}}{{% endif %}}"
        f"{{% for c in m.content %}}{{% if c.type == 'image' %}}{{{{ '{image}' }}}}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}"
        f"{{% if m.role == 'assistant' %}}{{{{ '{end}' }}}}{{% endif %}}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{{{ '{assistant}' }}}}{{% endif %}}"
    )


# --- Qwen ---------------------------------------------------------------------------------------

_MOE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}


@family
def qwen3_vl_moe() -> Recipe:
    base = families.qwen3_vl()
    text = {**base.config["text_config"], **_MOE, "model_type": "qwen3_vl_moe_text"}
    return replace(
        base,
        model_type="qwen3_vl_moe",
        config={**base.config, "text_config": text},
    )


_QWEN3_5_TEMPLATE = (
    "{% set last = namespace(question=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set last.question = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > last.question %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{% else %}{{ c.text }}{% endif %}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
_LINEAR = {
    "head_dim": 16,
    "num_hidden_layers": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 1e4,
        "partial_rotary_factor": 0.5,
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
    },
}


def _qwen3_5(model_type: str, text: dict[str, Any]) -> Recipe:
    base = families.qwen3_vl()
    vision = {**base.config["vision_config"]}
    del vision["deepstack_visual_indexes"]
    return replace(
        base,
        model_type=model_type,
        config={
            **base.config,
            "text_config": {**_TEXT, **_LINEAR, **text, "model_type": f"{model_type}_text"},
            "vision_config": vision,
        },
        template=_QWEN3_5_TEMPLATE,
    )


@family
def qwen3_5() -> Recipe:
    return _qwen3_5("qwen3_5", {})


@family
def qwen3_5_moe() -> Recipe:
    return _qwen3_5("qwen3_5_moe", _MOE)


_OMNI_TOKENS = {
    **_QWEN_TOKENS,
    "audio_token": "<|audio|>",
    "audio_bos_token": "<|audio|>",
    "audio_eos_token": "<|audio|>",
}


def _omni(base: Recipe, version: str, processor: str, audio: dict[str, Any]) -> Recipe:
    """Published with a talker too, which is not loaded and so not built."""
    config = {
        "text_config": {**base.config["text_config"], "model_type": f"{version}_text"},
        "vision_config": {
            **base.config["vision_config"],
            "model_type": f"{version}_vision_encoder",
        },
        "audio_config": {
            "model_type": f"{version}_audio_encoder",
            "num_mel_bins": 16,
            "encoder_layers": 1,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "d_model": 32,
            "output_dim": 64,
            **audio,
        },
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }
    for kind, token in (("image", "<|image_pad|>"), ("video", "<|video_pad|>")):
        config[f"{kind}_token_id"] = config[f"{kind}_token_index"] = token_id(token)
    config["audio_token_id"] = config["audio_token_index"] = token_id("<|audio|>")
    return replace(
        base,
        model_type=version,
        config={"thinker_config": config, "enable_audio_output": False},
        processor_class=processor,
        named_tokens=_OMNI_TOKENS,
        processor={"feature_extractor": {"feature_extractor_type": "WhisperFeatureExtractor"}},
    )


@family
def qwen2_5_omni() -> Recipe:
    return _omni(families.qwen2_5_vl(), "qwen2_5_omni", "Qwen2_5OmniProcessor", {})


@family
def qwen3_omni_moe() -> Recipe:
    return _omni(qwen3_vl_moe(), "qwen3_omni_moe", "Qwen3OmniMoeProcessor", {})


# --- Gemma --------------------------------------------------------------------------------------


@family
def gemma4() -> Recipe:
    return Recipe(
        "gemma4",
        {
            "text_config": {
                **_TEXT,
                "model_type": "gemma4_text",
                "head_dim": 16,
                "global_head_dim": 32,
                "num_hidden_layers": 6,
                "num_kv_shared_layers": 0,
                "hidden_size_per_layer_input": 16,
                "vocab_size_per_layer_input": 800,
                "sliding_window": 64,
            },
            "vision_config": {
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "head_dim": 12,
                "patch_size": 16,
                "pooling_kernel_size": 2,
                "position_embedding_size": 64,
            },
            "audio_config": None,
            "boi_token_id": token_id("<|image>"),
            "eoi_token_id": token_id("<image|>"),
            "image_token_id": token_id("<|image|>"),
            "video_token_id": token_id("<|video|>"),
            "audio_token_id": token_id("<|audio|>"),
        },
        "Gemma4Processor",
        _published(
            "Gemma4ImageProcessor", patch_size=16, pooling_kernel_size=2, max_soft_tokens=70
        ),
        "{{ bos_token }}{% for m in messages %}"
        "{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '\n\n<|image|>\n\n' }}"
        "{% else %}{{ c.text | trim }}{% endif %}{% endfor %}{{ '<turn|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}",
        bos="<bos>",
        eos="<eos>",
        named_tokens={
            "image_token": "<|image|>",
            "boi_token": "<|image>",
            "eoi_token": "<image|>",
            "audio_token": "<|audio|>",
            "boa_token": "<|audio|>",
            "eoa_token": "<|audio|>",
        },
        processor={"feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"}},
        end_tokens=("<turn|>",),
    )


# --- Llama --------------------------------------------------------------------------------------


@family
def llama4() -> Recipe:
    return Recipe(
        "llama4",
        {
            "text_config": {
                **_TEXT,
                "model_type": "llama4_text",
                "head_dim": 16,
                "intermediate_size_mlp": 128,
                "num_hidden_layers": 4,
                "num_local_experts": 4,
                "interleave_moe_layer_step": 2,
                "attention_chunk_size": 64,
                "floor_scale": 32,
            },
            "vision_config": {
                "hidden_size": 48,
                "intermediate_size": 192,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": 56,
                "patch_size": 14,
                "vision_output_dim": 64,
                "projector_input_dim": 64,
                "projector_output_dim": 64,
            },
            "boi_token_index": token_id("<|image_start|>"),
            "eoi_token_index": token_id("<|image_end|>"),
            "image_token_index": token_id("<|patch|>"),
        },
        "Llama4Processor",
        _published("Llama4ImageProcessor", size=_CROP, max_patches=4, **_MEAN),
        "{{ bos_token }}{% for m in messages %}"
        "{{ '<|header_start|>' + m.role + '<|header_end|>\n\n' }}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|image|>' }}"
        "{% else %}{{ c.text | trim }}{% endif %}{% endfor %}{{ '<|eot|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\n\n' }}"
        "{% endif %}",
        bos="<|begin_of_text|>",
        eos="<|eot|>",
        adds_bos=True,
        processor={"patch_size": 14, "pixel_shuffle_ratio": 0.5},
    )


@family
def perception_lm() -> Recipe:
    return replace(
        families.mllama(),
        model_type="perception_lm",
        config={
            "text_config": {**_TEXT, "model_type": "llama"},
            "vision_config": {
                "model_type": "timm_wrapper",
                "architecture": "vit_pe_core_large_patch14_336",
                "model_args": {
                    "embed_dim": 48,
                    "num_heads": 4,
                    "img_size": [56, 56],
                    "depth": 2,
                    "global_pool": "",
                    "use_post_transformer_norm": False,
                    "init_values": 0.1,
                    "ref_feat_shape": [4, 4],
                },
            },
            "vision_use_cls_token": True,
            "projector_pooling_ratio": 2,
            "image_token_id": token_id("<|image|>"),
            "video_token_id": token_id("<|video|>"),
        },
        processor_class="PerceptionLMProcessor",
        image_processor=_published("PerceptionLMImageProcessor", tile_size=56, max_num_tiles=4),
        named_tokens={"image_token": "<|image|>", "video_token": "<|video|>"},
        processor={"patch_size": 14, "pooling_ratio": 2},
    )


# --- Mistral ------------------------------------------------------------------------------------

_MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{{ '[SYSTEM_PROMPT]' + messages[0].content[0].text + '[/SYSTEM_PROMPT]' }}"
    "{% set messages = messages[1:] %}{% else %}"
    "{{ '[SYSTEM_PROMPT]You are a helpful assistant.[/SYSTEM_PROMPT]' }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' }}"
    "{% for c in m.content %}{% if c.type == 'image' %}{{ '[IMG]' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '[/INST]' }}"
    "{% else %}{% for c in m.content %}{{ c.text }}{% endfor %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
_PIXTRAL_TOWER = {
    "model_type": "pixtral",
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 112,
    "patch_size": 14,
}
_PIXTRAL_IMAGES = _published(
    "PixtralImageProcessor", patch_size={"height": 14, "width": 14}, size={"longest_edge": 84}
)


@family
def mistral3() -> Recipe:
    return Recipe(
        "mistral3",
        {
            "text_config": {**_TEXT, "model_type": "mistral", "sliding_window": None},
            "vision_config": _PIXTRAL_TOWER,
            "image_token_index": token_id("[IMG]"),
            "spatial_merge_size": 2,
            "vision_feature_layer": -1,
        },
        "PixtralProcessor",
        _PIXTRAL_IMAGES,
        _MISTRAL_TEMPLATE,
        bos="<s>",
        adds_bos=True,
        processor={"patch_size": 14, "spatial_merge_size": 2},
    )


@family
def pixtral() -> Recipe:
    return Recipe(
        "llava",
        {
            "text_config": {**_TEXT, "model_type": "mistral", "sliding_window": None},
            "vision_config": _PIXTRAL_TOWER,
            "image_token_index": token_id("[IMG]"),
            "image_seq_length": 1,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
        },
        "PixtralProcessor",
        _PIXTRAL_IMAGES,
        _MISTRAL_TEMPLATE,
        bos="<s>",
        adds_bos=True,
        processor={"patch_size": 14},
    )


# --- Cohere, LFM2, Ovis -------------------------------------------------------------------------


@family
def cohere2_vision() -> Recipe:
    return Recipe(
        "cohere2_vision",
        {
            "text_config": families.aya_vision().config["text_config"],
            "vision_config": {**_SIGLIP, "image_size": 32, "patch_size": 4},
            "image_token_id": token_id("<|IMG_PATCH|>"),
            "downsample_factor": 2,
            "alignment_intermediate_size": 96,
        },
        "Cohere2VisionProcessor",
        _published(
            "Cohere2VisionImageProcessor",
            size={"height": 32, "width": 32},
            patch_size=4,  # also the number of tokens in a tile's row, after halving
            max_patches=4,
            **_MEAN,
        ),
        "{{ bos_token }}{% if messages[0].role != 'system' %}"
        "{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>You are a helpful assistant."
        "<|END_OF_TURN_TOKEN|>' }}{% endif %}"
        "{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|>' }}"
        "{% if m.role == 'system' %}{{ '<|SYSTEM_TOKEN|>' }}"
        "{% elif m.role == 'user' %}{{ '<|USER_TOKEN|>' }}"
        "{% else %}{{ '<|CHATBOT_TOKEN|><|START_RESPONSE|>' }}{% endif %}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '<|IMG_PATCH|>' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}"
        "{% if m.role == 'assistant' %}{{ '<|END_RESPONSE|>' }}{% endif %}"
        "{{ '<|END_OF_TURN_TOKEN|>' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>' }}{% endif %}",
        bos="<BOS_TOKEN>",
        eos="<|END_OF_TURN_TOKEN|>",
        adds_bos=True,
        named_tokens={
            "image_token": "<|IMG_PATCH|>",
            "boi_token": "<|START_OF_IMG|>",
            "eoi_token": "<|END_OF_IMG|>",
            "img_line_break_token": "<|IMG_LINE_BREAK|>",
        },
    )


@family
def lfm2_vl() -> Recipe:
    return Recipe(
        "lfm2_vl",
        {
            "text_config": {
                **_TEXT,
                "model_type": "lfm2",
                "num_hidden_layers": 4,
                "layer_types": ["conv", "conv", "full_attention", "conv"],
                "block_multiple_of": 16,
            },
            "vision_config": {
                **_TOWER,
                "model_type": "siglip2_vision_model",
                "patch_size": 16,
                "num_patches": 16,
                "vision_use_head": False,
            },
            "image_token_id": token_id("<image>"),
            "projector_hidden_size": 64,
            "downsample_factor": 2,
        },
        "Lfm2VlProcessor",
        _published(
            "Lfm2VlImageProcessor",
            tile_size=64,
            encoder_patch_size=16,
            downsample_factor=2,
            min_image_tokens=2,
            max_image_tokens=8,
            min_tiles=2,
            max_tiles=4,
            use_thumbnail=True,
        ),
        "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '<image>' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        bos="<|startoftext|>",
        eos="<|im_end|>",
        adds_bos=True,
        named_tokens={
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail_token": "<|img_thumbnail|>",
        },
    )


@family
def ovis2() -> Recipe:
    marks = ["<IMG_START>", "<IMG_END>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>"]
    return Recipe(
        "ovis2",
        {
            "text_config": {**_TEXT, "model_type": "qwen2"},
            "vision_config": {
                **_TOWER,
                "num_visual_indicator_tokens": 5,
                "vocab_size": 64,
                "hidden_stride": 2,
            },
            "image_token_id": token_id("<IMG_ATOM>"),
            "visual_indicator_token_ids": [token_id(mark) for mark in marks],
            "vocab_size": 800,
            "hidden_size": 64,
        },
        "Ovis2Processor",
        _published(
            "Ovis2ImageProcessor", size=_CROP, crop_to_patches=True, min_patches=1, max_patches=4
        ),
        _chatml("<image>\\n"),
        eos="<|im_end|>",
        processor={"image_seq_length": 4},
    )


# --- GLM ----------------------------------------------------------------------------------------

_GLM_TEMPLATE = (
    "{{ '[gMASK]<sop>' }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ '<|system|>\n' }}"
    "{% elif m.role == 'user' %}{{ '<|user|>\n' }}"
    "{% else %}{{ '<|assistant|>\n<think></think>\n' }}{% endif %}"
    "{% for c in m.content %}{% if c.type == 'image' %}"
    "{{ '<|begin_of_image|><|image|><|end_of_image|>' }}"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@family
def glm4v_moe() -> Recipe:
    base = families.glm4v()
    text = {
        **base.config["text_config"],
        "model_type": "glm4v_moe_text",
        "moe_intermediate_size": 32,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
        "head_dim": 16,
    }
    return replace(
        base,
        model_type="glm4v_moe",
        config={**base.config, "text_config": text},
        template=_GLM_TEMPLATE,
    )


@family
def glm46v() -> Recipe:
    base = families.glm4v()
    vision = {**base.config["vision_config"], "model_type": "glm4v_vision"}
    return replace(
        base,
        model_type="glm46v",
        config={**base.config, "vision_config": vision},
        processor_class="Glm46VProcessor",
        image_processor=_published(
            "Glm46VImageProcessor",
            patch_size=14,
            merge_size=2,
            size={"shortest_edge": 14 * 14 * 16, "longest_edge": 14 * 14 * 2 * 64},
        ),
        template=_GLM_TEMPLATE,
    )


# --- Kimi, MiniCPM, ERNIE, PaddleOCR ------------------------------------------------------------


@family
def kimi_k25() -> Recipe:
    return Recipe(
        "kimi_k25",
        {
            "text_config": {
                **_TEXT,
                "model_type": "deepseek_v3",
                "moe_intermediate_size": 32,
                "num_key_value_heads": 4,
                "n_routed_experts": 4,
                "n_group": 2,
                "topk_group": 1,
                "num_experts_per_tok": 2,
                "first_k_dense_replace": 1,
                "kv_lora_rank": 16,
                "q_lora_rank": 32,
                "qk_rope_head_dim": 8,
                "qk_nope_head_dim": 8,
                "v_head_dim": 16,
            },
            "vision_config": {
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "patch_size": 14,
                "pos_emb_height": 8,
                "pos_emb_width": 8,
            },
            "projection_hidden_size": 48,
            "image_token_id": token_id("<|media_pad|>"),
            "video_token_id": token_id("<|video_pad|>"),
            "vision_start_token_id": token_id("<|media_begin|>"),
            "vision_end_token_id": token_id("<|media_end|>"),
        },
        "Kimi_K25Processor",
        _published(
            "Kimi_K25ImageProcessor",
            patch_size=14,
            merge_size=2,
            size={"max_height": 112, "max_width": 112},
            max_patches=64,
        ),
        "{% if messages[0].role != 'system' %}"
        "{{ '<|im_system|>system<|im_middle|>You are a helpful assistant.<|im_end|>' }}{% endif %}"
        "{% for m in messages %}"
        "{{ '<|im_' + m.role + '|>' + m.role + '<|im_middle|>' }}"
        "{% if m.role == 'assistant' %}{{ '<think></think>' }}{% endif %}"
        "{% for c in m.content %}{% if c.type == 'image' %}"
        "{{ '<|media_begin|>image<|media_content|><|media_pad|><|media_end|>\n' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_assistant|>assistant<|im_middle|><think>' }}"
        "{% endif %}",
        bos="<s>",
        eos="<|im_end|>",
        named_tokens={"image_token": "<|media_pad|>", "video_token": "<|video_pad|>"},
    )


@family
def minicpmv4_6() -> Recipe:
    return Recipe(
        "minicpmv4_6",
        {
            "text_config": {
                **_TEXT,
                **_LINEAR,
                "model_type": "qwen3_5_text",
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1e4,
                    "partial_rotary_factor": 0.5,
                },
            },
            "vision_config": {**_TOWER, "image_size": 112},
            "insert_layer_id": 0,
            "image_size": 56,
            "image_token_id": token_id("<|image_pad|>"),
            "video_token_id": token_id("<|video_pad|>"),
        },
        "MiniCPMV4_6Processor",
        _published(
            "MiniCPMV4_6ImageProcessor", scale_resolution=56, patch_size=14, max_slice_nums=4
        ),
        _QWEN3_5_TEMPLATE.replace(
            "<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>\\n"
        ),
        eos="<|im_end|>",
        named_tokens={
            "image_token": "<|image_pad|>",
            "video_token": "<|video_pad|>",
            "image_start_token": "<img>",
            "image_end_token": "</img>",
            "slice_start_token": "<slice>",
            "slice_end_token": "</slice>",
            "image_id_start_token": "<image_id>",
            "image_id_end_token": "</image_id>",
        },
    )


@family
def ernie4_5_vl_moe() -> Recipe:
    return Recipe(
        "ernie4_5_vl_moe",
        {
            "text_config": {
                **_TEXT,
                "num_hidden_layers": 2,
                "moe_intermediate_size": [48, 32],
                "moe_k": 2,
                "moe_num_experts": 4,
                "moe_num_shared_experts": 1,
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": 1e4,
                    "mrope_section": [3, 3, 2],
                },
            },
            "vision_config": {
                "depth": 2,
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_heads": 4,
                "patch_size": 14,
            },
            "image_start_token_id": token_id("<|IMAGE_START|>"),
            "image_end_token_id": token_id("<|IMAGE_END|>"),
            "image_token_id": token_id("<|IMAGE_PLACEHOLDER|>"),
            "video_start_token_id": token_id("<|VIDEO_START|>"),
            "video_end_token_id": token_id("<|VIDEO_END|>"),
            "video_token_id": token_id("<|VIDEO_PLACEHOLDER|>"),
        },
        "Ernie4_5_VLMoeProcessor",
        _published(
            "Ernie4_5_VLMoeImageProcessor",
            size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 8},
        ),
        "{{ '<|begin_of_sentence|>' }}{% set n = namespace(image=0) %}{% for m in messages %}"
        "{% if m.role == 'user' %}{{ 'User: ' }}{% elif m.role == 'assistant' %}"
        "{{ 'Assistant: ' }}{% endif %}"
        "{% for c in m.content %}{% if c.type == 'image' %}{% set n.image = n.image + 1 %}"
        "{{ 'Picture ' + n.image | string + ':<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}"
        "{{ '<|end_of_sentence|>' if m.role == 'assistant' else '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}",
        bos="<s>",
        eos="<|end_of_sentence|>",
        named_tokens={
            "image_token": "<|IMAGE_PLACEHOLDER|>",
            "image_start_token": "<|IMAGE_START|>",
            "image_end_token": "<|IMAGE_END|>",
            "video_token": "<|VIDEO_PLACEHOLDER|>",
            "video_start_token": "<|VIDEO_START|>",
            "video_end_token": "<|VIDEO_END|>",
        },
    )


@family
def paddleocr_vl() -> Recipe:
    return Recipe(
        "paddleocr_vl",
        {
            "text_config": {**_TEXT, "head_dim": 16, "rope_parameters": _MROPE}
            | {"model_type": "paddleocr_vl_text"},
            "vision_config": {**_TOWER, "model_type": "paddleocr_vl_vision"},
            "image_token_id": token_id("<|IMAGE_PLACEHOLDER|>"),
            "video_token_id": token_id("<|VIDEO_PLACEHOLDER|>"),
            "vision_start_token_id": token_id("<|IMAGE_START|>"),
            "vision_end_token_id": token_id("<|IMAGE_END|>"),
        },
        "PaddleOCRVLProcessor",
        _published(
            "PaddleOCRVLImageProcessor",
            size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 8},
        ),
        "{{ '<|begin_of_sentence|>' }}{% for m in messages %}"
        "{% if m.role == 'user' %}{{ 'User: ' }}{% elif m.role == 'assistant' %}"
        "{{ 'Assistant:\n' }}{% endif %}"
        "{% for c in m.content if c.type == 'image' %}"
        "{{ '<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>' }}{% endfor %}"
        "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}"
        "{{ '</s>' if m.role == 'assistant' else '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:\n' }}{% endif %}",
        bos="<s>",
        named_tokens={"image_token": "<|IMAGE_PLACEHOLDER|>"},
    )


# --- Aria, DeepSeek, Janus ----------------------------------------------------------------------


@family
def aria() -> Recipe:
    return Recipe(
        "aria",
        {
            "text_config": {
                **_TEXT,
                "model_type": "aria_text",
                "moe_num_experts": 4,
                "moe_topk": 2,
                "moe_num_shared_experts": 1,
            },
            "vision_config": {
                **_TOWER,
                "model_type": "idefics3_vision",
                "image_size": 980,  # the processor requires it
                "patch_size": 245,
            },
            "projector_patch_to_query_dict": {"16": 4},
            "image_token_index": token_id("<|img|>"),
        },
        "AriaProcessor",
        _published("AriaImageProcessor", max_image_size=980, min_image_size=336),
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% for c in m.content %}{% if c.type == 'image' %}{{ '<fim_prefix><|img|><fim_suffix>' }}"
        "{% else %}{{ c.text }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        bos="<s>",
        eos="<|im_end|>",
        named_tokens={"image_token": "<|img|>"},
        processor={"size_conversion": {"980": 4}},
    )


_DEEPSEEK_TEMPLATE = _turns(
    "User: ",
    "\n\nAssistant: ",
    "<|end_of_sentence|>",
    "<image_placeholder>",
    start="<|begin_of_sentence|>",
    system="You are a helpful assistant.\n\n",
)


@family
def deepseek_vl() -> Recipe:
    return Recipe(
        "deepseek_vl",
        {
            "text_config": _TEXT,
            "vision_config": _SIGLIP,
            "image_token_id": token_id("<image_placeholder>"),
        },
        "DeepseekVLProcessor",
        _published("DeepseekVLImageProcessor", size=_CROP),
        _DEEPSEEK_TEMPLATE,
        bos="<|begin_of_sentence|>",
        eos="<|end_of_sentence|>",
        adds_bos=True,
        named_tokens={"image_token": "<image_placeholder>"},
        processor={"num_image_tokens": 16},
    )


@family
def janus() -> Recipe:
    return Recipe(
        "janus",
        {
            "text_config": _TEXT,
            "vision_config": {
                "hidden_size": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": 56,
                "patch_size": 14,
                "mlp_ratio": 2.0,
                "projection_dim": 64,
                "num_image_tokens": 16,
            },
            "vq_config": {
                "num_embeddings": 16,
                "latent_channels": 32,
                "base_channels": 32,
                "channel_multiplier": [1, 1],
                "num_res_blocks": 1,
                "projection_dim": 64,
                "image_token_embed_dim": 64,
            },
            "image_token_id": token_id("<image_placeholder>"),
        },
        "JanusProcessor",
        _published("JanusImageProcessor", size=_CROP),
        _turns(
            "<|User|>: ",
            "\n\n<|Assistant|>: ",
            "<|end_of_sentence|>",
            "<image_placeholder>\n",
            start="<|begin_of_sentence|>",
            system="You are a helpful assistant.\n\n",
        ),
        bos="<|begin_of_sentence|>",
        eos="<|end_of_sentence|>",
        adds_bos=True,
        named_tokens={
            "image_token": "<image_placeholder>",
            "boi_token": "<begin_of_image>",
            "eoi_token": "<|end_of_image|>",
        },
        processor={"num_image_tokens": 16},
    )


# --- VideoLLaMA, EXAONE, LightOn, Granite, LLaVA-NeXT-Video -------------------------------------


@family
def video_llama_3() -> Recipe:
    return Recipe(
        "video_llama_3",
        {
            "text_config": {**_TEXT, "model_type": "qwen2"},
            "vision_config": {**_TOWER, "model_type": "video_llama_3_vision"},
            "image_token_id": token_id("<image>"),
            "video_token_id": token_id("<video>"),
        },
        "VideoLlama3Processor",
        _published(
            "VideoLlama3ImageProcessor",
            size={"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 4},
        ),
        _chatml("<image>\\n"),
        eos="<|im_end|>",
        named_tokens={"image_token": "<image>", "video_token": "<video>"},
    )


@family
def exaone4_5() -> Recipe:
    base = families.qwen2_5_vl()
    return replace(
        base,
        model_type="exaone4_5",
        config={
            "text_config": {
                **_TEXT,
                "model_type": "exaone4",
                "num_hidden_layers": 4,
                "sliding_window": 64,
                "sliding_window_pattern": 4,
            },
            "vision_config": {
                **base.config["vision_config"],
                "num_key_value_heads": 2,
            },
            "image_token_id": token_id("<|image_pad|>"),
            "video_token_id": token_id("<|video_pad|>"),
        },
        processor_class="Exaone4_5_Processor",
        template=_turns(
            "[|user|]\n",
            "[|endofturn|]\n[|assistant|]\n<think>\n\n</think>\n\n",
            "[|endofturn|]\n",
            "<vision><|image_pad|></vision>\n",
        ),
        bos="<s>",
        eos="[|endofturn|]",
    )


@family
def lighton_ocr() -> Recipe:
    return Recipe(
        "lighton_ocr",
        {
            "text_config": {**_TEXT, "model_type": "qwen3", "head_dim": 16},
            "vision_config": _PIXTRAL_TOWER,
            "image_token_id": token_id("<|image_pad|>"),
            "spatial_merge_size": 2,
        },
        "LightOnOcrProcessor",
        _PIXTRAL_IMAGES,
        _chatml("<|image_pad|>").replace("You are a helpful assistant.", ""),
        eos="<|im_end|>",
        named_tokens={
            "image_token": "<|image_pad|>",
            "image_break_token": "<|vision_start|>",
            "image_end_token": "<|vision_end|>",
        },
        processor={"patch_size": 14, "spatial_merge_size": 2},
    )


_GRANITE_TEMPLATE = (
    "{% if messages[0].role != 'system' %}{{ '<|system|>\nYou are a helpful assistant.\n' }}"
    "{% endif %}{% for m in messages %}{{ '<|' + m.role + '|>\n' }}"
    "{% for c in m.content if c.type == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for c in m.content if c.type == 'text' %}{{ c.text }}{% endfor %}"
    "{{ '<|end_of_text|>\n' if m.role == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_GRANITE_TEXT = {
    **_TEXT,
    "model_type": "granite",
    "embedding_multiplier": 2.0,
    "logits_scaling": 2.0,
    "residual_multiplier": 0.5,
    "attention_multiplier": 0.25,
}


@family
def granite_vision() -> Recipe:
    base = families.llava_next()
    return replace(
        base,
        config={
            **base.config,
            "text_config": _GRANITE_TEXT,
            "vision_config": {**_SIGLIP, "num_hidden_layers": 3},
            "vision_feature_layer": [-3, -1],
            "vision_feature_select_strategy": "full",
        },
        template=_GRANITE_TEMPLATE,
        bos=None,
        eos="<|end_of_text|>",
        adds_bos=False,
        processor={"patch_size": 14, "vision_feature_select_strategy": "full"},
    )


@family
def granite4_vision() -> Recipe:
    base = families.llava_next()
    grid = [[64, 128], [128, 64], [128, 128]]
    config = {
        **base.config,
        "image_grid_pinpoints": grid,
        "text_config": {
            **_GRANITE_TEXT,
            "model_type": "granite4_vision_text",
            "num_hidden_layers": 4,
        },
        "vision_config": {
            **_SIGLIP,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "image_size": 64,
            "patch_size": 16,
        },
        "vision_feature_select_strategy": "full",
        "downsample_rate": "1/2",
        "deepstack_layer_map": [[-2, 1], [-1, 0]],
        "spatial_target_layers": [0, 1, 2, 3],
        "qformer_config": {
            "model_type": "blip_2_qformer",
            "num_hidden_layers": 1,
            "intermediate_size": 64,
            "cross_attention_frequency": 1,
            "max_position_embeddings": 64,
            "use_qformer_text_input": False,
            "vocab_size": 8,
        },
    }
    del config["vision_feature_layer"]
    return replace(
        base,
        model_type="granite4_vision",
        config=config,
        processor_class="Granite4VisionProcessor",
        image_processor=_published(
            "LlavaNextImageProcessor",
            size={"height": 64, "width": 64},
            crop_size={"height": 64, "width": 64},
            image_grid_pinpoints=grid,
        ),
        template=_GRANITE_TEMPLATE,
        bos=None,
        eos="<|end_of_text|>",
        adds_bos=False,
        processor={
            "patch_size": 16,
            "vision_feature_select_strategy": "full",
            "downsample_rate": "1/2",
        },
    )


@family
def llava_next_video() -> Recipe:
    base = families.llava_next()
    return replace(
        base,
        model_type="llava_next_video",
        config={
            **base.config,
            "text_config": _TEXT,
            "vision_config": _CLIP,
            "video_token_index": token_id("<video>"),
        },
        processor_class="LlavaNextVideoProcessor",
        template=_LLAVA_TEMPLATE,
        named_tokens={"image_token": "<image>", "video_token": "<video>"},
    )


NEWER = tuple(name for name, build in families.RECIPES.items() if build.__module__ == __name__)
