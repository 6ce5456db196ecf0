"""Loading processors with and without the packages that only videos need."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
from transformers.processing_utils import ProcessorMixin
from transformers.utils import is_torchvision_available

from scoring.errors import ModelError
from scoring.models import load_model
from scoring.models.processors import load_processor
from tests.families import family_folder, family_model
from tests.newer_families import NEWER


def loaders() -> tuple[object, object]:
    return (
        vars(AutoVideoProcessor)["from_pretrained"],
        vars(ProcessorMixin)["check_argument_for_proper_class"],
    )


def test_the_video_placeholder_is_used_only_while_loading(tmp_path: Path) -> None:
    before = loaders()
    processor = load_processor(family_folder("qwen2_vl"))
    assert loaders() == before
    with pytest.raises(NotImplementedError, match="videos are not scored"):
        processor.video_processor([])
    with pytest.raises(OSError, match="contains no processor"):
        load_processor(tmp_path)
    assert loaders() == before
    assert json.loads(processor.to_json_string())["video_processor"] == {}


def test_a_model_without_images_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "text-only"
    family_model("llava")._tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), "utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no processor for images and text; .*LLaVA-1\.5, "):
        load_model(str(folder), device="cpu")


@pytest.mark.skipif(is_torchvision_available(), reason="torchvision is installed")
@pytest.mark.parametrize("name", ["mistral3", "kimi_k25"])
def test_a_missing_torchvision_is_reported_with_the_remedy(name: str) -> None:
    assert name in NEWER
    with pytest.raises(ModelError, match=r"needs torchvision: pip install torchvision$"):
        load_model(str(family_folder(name)), device="cpu")


def test_a_model_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(family_folder("llava"), folder)
    weights = load_file(folder / "model.safetensors")
    left_out = next(name for name in weights if name.endswith("layers.1.mlp.up_proj.weight"))
    del weights[left_out]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights of the model: .*up_proj\.weight"):
        load_model(str(folder), device="cpu")


def test_a_model_whose_images_need_lora_weights_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "phi"
    shutil.copytree(family_folder("llava"), folder)
    (folder / "vision-lora").mkdir()
    with pytest.raises(ModelError, match=r"LoRA weights .*: --adapter"):
        load_model(str(folder), device="cpu")
