"""The probe of a loaded model, on models that depend on irrelevant inputs."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from scoring.errors import ModelError
from scoring.models import load_model, probing
from scoring.models.base import EncodedSample
from scoring.models.batching import TokenBudget
from scoring.models.capabilities import Capabilities
from scoring.models.forward import LossEngine
from scoring.models.hf import HfModel
from scoring.samples import Role, Turn
from tests import families
from tests.engine.test_families import picture

ROOM = 1 << 20


def hunyuan(rope_theta: float) -> families.Recipe:
    """HunYuan-VL: one rotary axis is the number of the image, counted over the whole batch.

    A higher ``rope_theta`` makes the last axis turn more slowly, so the dependence on the row
    becomes smaller. The published model has head sizes at which it is small, too.
    """
    rope = {"rope_type": "default", "rope_theta": rope_theta, "mrope_section": [2, 2, 2, 2]}
    return families.Recipe(
        "hunyuan_vl",
        {
            "text_config": {
                **families._TEXT,
                "model_type": "hunyuan_vl_text",
                "head_dim": 16,
                "rope_parameters": rope,
            },
            "vision_config": {
                "hidden_size": 48,
                "intermediate_size": 96,
                "num_attention_heads": 4,
                "num_hidden_layers": 2,
                "out_hidden_size": 64,
                "text_hidden_size": 64,
                "patch_size": 14,
                "max_image_size": 112,
                "min_image_size": 28,
            },
            "image_token_id": families.token_id("<|image_pad|>"),
            "image_start_token_id": families.token_id("<|vision_start|>"),
            "image_end_token_id": families.token_id("<|vision_end|>"),
        },
        "HunYuanVLProcessor",
        families._images(
            "HunYuanVLImageProcessor",
            patch_size=14,
            merge_size=2,
            size={"shortest_edge": 28 * 28, "longest_edge": 84 * 84},
        ),
        families._chatml("<|vision_start|><|image_pad|><|vision_end|>"),
        eos="<|im_end|>",
        named_tokens={
            "image_token": "<|image_pad|>",
            "image_start_token": "<|vision_start|>",
            "image_end_token": "<|vision_end|>",
        },
    )


@cache
def hunyuan_model(rope_theta: float) -> HfModel:
    folder = Path(families._folders().name) / f"hunyuan-{rope_theta:g}"
    families._save(hunyuan(rope_theta), folder)
    return load_model(str(folder), device="cpu")


def samples_of(model: HfModel, count: int) -> list[EncodedSample]:
    return [
        model.encode(
            (Turn(Role.HUMAN, "what is it?", (0,)), Turn(Role.ASSISTANT, "two green squares")),
            [picture(number, 60 + 10 * (number % 4), 50)],
        )
        for number in range(count)
    ]


def differences(
    model: HfModel, capabilities: Capabilities, samples: list[EncodedSample]
) -> list[np.ndarray]:
    """Differences of each sample's token losses, batched and alone, in nats."""
    engine = LossEngine(model.network, model.pad_id, capabilities, TokenBudget(ROOM))
    found = engine.answer_losses(samples)
    plain = [probing.plain_losses(model.network, sample) for sample in samples]
    return [losses - alone for losses, alone in zip(found, plain, strict=True)]


def test_a_dependence_on_the_row_is_detected_with_eight_different_images() -> None:
    """Two rows about one image, compared by their means, do not show it."""
    model = hunyuan_model(5e6)
    assert model.capabilities.split_head
    batched = Capabilities(batched=True)
    for group in probing._small_probes(model._encoder.encode):
        assert all(abs(one.mean()) < 1e-5 for one in differences(model, batched, group))
    samples = samples_of(model, 8)
    assert max(np.abs(one).max() for one in differences(model, batched, samples)) > 1e-4
    assert not model.capabilities.batched
    assert all(np.abs(one).max() < 1e-5 for one in differences(model, model.capabilities, samples))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_very_small_dependence_is_detected_in_the_first_layer(dtype: str) -> None:
    """It grows with the row, and a batch of a real run has many more rows than the probe."""
    model = hunyuan_model(1e12)
    batched = Capabilities(batched=True)
    large, _ = probing._large_probes(model._encoder.encode)
    assert max(np.abs(one).max() for one in differences(model, batched, large)) < 1e-5
    network = deepcopy(model.network).to(getattr(torch, dtype))
    found = probing.measure_capabilities(network, model._encoder.encode, model.pad_id)
    assert not found.batched


def test_a_model_without_batches_answers_prompts_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = hunyuan_model(1e6)
    prompts = [
        model.encode_prompt((Turn(Role.HUMAN, "what is it?", (0,)),), [picture(seed, 60, 50)])
        for seed in range(3)
    ]
    sizes: list[int] = []
    original = model._generate_batch

    def counted(batch: list[EncodedSample], limit: int) -> list[str]:
        sizes.append(len(batch))
        return original(batch, limit)

    monkeypatch.setattr(model, "_generate_batch", counted)
    model.generate(prompts, 4)
    assert sizes == [1, 1, 1]


def test_a_shortcut_that_fails_only_in_a_large_batch_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others are used: each is measured again on the large batch."""
    model = families.family_model("llava")
    network = deepcopy(model.network)
    original = network.base_model.get_image_features

    def wrong_for_many(pixel_values: torch.Tensor, **more: object) -> object:
        found = original(pixel_values=pixel_values, **more)
        if len(pixel_values) > 4:
            found.pooler_output = [one + 0.01 for one in found.pooler_output]
        return found

    monkeypatch.setattr(network.base_model, "get_image_features", wrong_for_many)
    found = probing.measure_capabilities(network, model._encoder.encode, model.pad_id)
    assert not found.batched
    assert found.split_head
    assert found.short_last_layer


def encoder_decoder() -> families.Recipe:
    """T5Gemma-2, which transformers lists among the models for images and text."""
    text = {
        **{key: value for key, value in families._TEXT.items() if key != "model_type"},
        "head_dim": 16,
        "num_key_value_heads": 1,
        "layer_types": ["full_attention"] * 2,
    }
    gemma = families.gemma3()
    special = {key: gemma.config[key] for key in ("image_token_index", "boi_token_index")}
    encoder = {
        "text_config": text,
        "vision_config": families._SIGLIP,
        "mm_tokens_per_image": 4,
        "eoi_token_index": gemma.config["eoi_token_index"],
        **special,
    }
    config = {
        "encoder": encoder,
        "decoder": text,
        "image_token_index": special["image_token_index"],
    }
    return families.replace(gemma, model_type="t5gemma2", config=config)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    families._save(encoder_decoder(), tmp_path / "t5gemma2")
    with pytest.raises(ModelError, match=r"'t5gemma2' cannot be scored: it has an encoder and a"):
        load_model(str(tmp_path / "t5gemma2"), device="cpu")


def test_a_model_that_fails_on_a_single_sample_is_refused(tmp_path: Path) -> None:
    """Its tower expects other patches than its processor produces."""
    families._save(families.qwen2_vl(), tmp_path / "broken")
    path = tmp_path / "broken" / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "patch_size": settings["patch_size"] + 2}))
    with pytest.raises(
        ModelError, match=r"'qwen2_vl' cannot be scored: it fails on a short test conversation \("
    ):
        load_model(str(tmp_path / "broken"), device="cpu")
