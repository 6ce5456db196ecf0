"""The colour of ``gray`` is the one that the model maps to zero, wherever pixels are normalised."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from PIL import Image

from scoring.engine.baselines import BaselineSettings
from scoring.engine.scorer import check_baselines
from scoring.errors import InputError
from scoring.models import load_model
from scoring.models.neutral_colour import Colour, measure_neutral_colour
from scoring.samples import Role, Turn
from tests import families
from tests.fakes import FakeModel

CLIP_MEAN = (123, 117, 104)  # 255 * (0.48145466, 0.4578275, 0.40821073)
HALF = (128, 128, 128)  # 255 * 0.5, rounded up
TALK = (Turn(Role.HUMAN, "what is it?", (0,)), Turn(Role.ASSISTANT, "red"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "colour"),
    [("llava", CLIP_MEAN), ("qwen2_vl", CLIP_MEAN), ("gemma3", HALF), ("mllama", HALF)],
)
def test_the_colour_is_the_mean_that_the_processor_subtracts(
    name: str, colour: Colour, dtype: str
) -> None:
    model = families.family_model(name)
    network = deepcopy(model.network).to(getattr(torch, dtype))
    assert measure_neutral_colour(network, model._encoder.encode) == colour


def gemma4() -> families.Recipe:
    """Its processor returns pixels from 0 to 1, and the model subtracts 0.5 and doubles them."""
    tokens = {
        "image": "<image_soft_token>",
        "boi": "<start_of_image>",
        "eoi": "<end_of_image>",
        "video": "<video>",
        "audio": "<|video_pad|>",
    }
    sound = {"boa_token": "<img>", "eoa_token": "</img>"}
    text = {
        **families._TEXT,
        "model_type": "gemma4_text",
        "head_dim": 16,
        "global_head_dim": 32,
        "num_hidden_layers": 6,
        "num_kv_shared_layers": 0,
        "hidden_size_per_layer_input": 16,
        "vocab_size_per_layer_input": 800,
        "sliding_window": 64,
    }
    vision = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 12,
        "patch_size": 16,
        "pooling_kernel_size": 2,
        "position_embedding_size": 64,
    }
    ids = {f"{name}_token_id": families.token_id(token) for name, token in tokens.items()}
    return families.Recipe(
        "gemma4",
        {"text_config": text, "vision_config": vision, "audio_config": None, **ids},
        "Gemma4Processor",
        families._images(
            "Gemma4ImageProcessor", patch_size=16, pooling_kernel_size=2, max_soft_tokens=70
        ),
        families._GEMMA_TEMPLATE.replace("<start_of_image>", tokens["image"]),
        bos="<bos>",
        eos="<eos>",
        named_tokens={**{f"{name}_token": token for name, token in tokens.items()}, **sound},
        processor={"feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"}},
        end_tokens=("<end_of_turn>",),
    )


def test_the_colour_is_the_mean_that_the_model_subtracts(tmp_path: Path) -> None:
    families._save(gemma4(), tmp_path / "gemma4")
    model = load_model(str(tmp_path / "gemma4"), device="cpu")
    assert model._encoder._local.processor.image_processor.do_normalize is False
    assert model.neutral_colour() == HALF
    assert model.info.dtype == "float32"


def test_a_gray_image_is_zero_at_the_first_weights() -> None:
    model = families.family_model("llava")
    neutral, seen = model.neutral_colour(), []
    assert neutral == CLIP_MEAN
    layer = model.network.model.vision_tower.embeddings.patch_embedding
    hook = layer.register_forward_pre_hook(lambda _, args: seen.append(float(args[0].abs().max())))
    try:
        for colour in (neutral, (0, 0, 0)):
            model.answer_losses([model.encode(TALK, [Image.new("RGB", (64, 64), colour)])])
    finally:
        hook.remove()
    assert seen[0] < 0.5 / 255 / 0.26  # half a level, over CLIP's deviation
    assert seen[1] > 1


def two_towers(network: torch.nn.Module) -> None:
    """Some inputs are normalised differently than others."""
    layer = network.model.vision_tower.embeddings.patch_embedding
    layer.register_forward_pre_hook(lambda _, args: (args[0] + torch.linspace(0, 1, 56),))
    # A pre-hook of the measurement runs after this one, and sees a gradient over the image.


def never_zero(network: torch.nn.Module) -> None:
    layer = network.model.vision_tower.embeddings.patch_embedding
    layer.register_forward_pre_hook(lambda _, args: (args[0] + 9,))


@pytest.mark.parametrize("change", [two_towers, never_zero])
def test_without_a_colour_that_becomes_zero_there_is_none(change) -> None:  # type: ignore[no-untyped-def]
    model = families.family_model("llava")
    network = deepcopy(model.network)
    change(network)
    assert measure_neutral_colour(network, model._encoder.encode) is None


def test_gray_is_refused_before_any_work_without_a_colour(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = FakeModel()
    check_baselines(model, BaselineSettings(("none", "gray")))
    monkeypatch.setattr(model, "neutral_colour", lambda: None)
    check_baselines(model, BaselineSettings(("none",)))
    with pytest.raises(InputError, match=r"gray is not defined for this model.*leave --baseline g"):
        check_baselines(model, BaselineSettings(("none", "gray")))
