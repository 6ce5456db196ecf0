"""Loading processors with and without what only videos need."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
from transformers.processing_utils import ProcessorMixin

from scoring.errors import ModelError
from scoring.models import load_model, processors
from scoring.models.processors import load_processor
from tests.families import family_folder, family_model


def loaders() -> tuple[object, object]:
    return (
        vars(AutoVideoProcessor)["from_pretrained"],
        vars(ProcessorMixin)["check_argument_for_proper_class"],
    )


def test_a_stand_in_for_videos_is_used_only_while_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "is_torchvision_available", lambda: False)
    before = loaders()
    processor = load_processor(family_folder("qwen2_vl"))
    assert loaders() == before
    with pytest.raises(NotImplementedError, match="videos are not scored"):
        processor.video_processor([])
    with pytest.raises(OSError, match="holds no processor"):
        load_processor(tmp_path)
    assert loaders() == before
    assert json.loads(processor.to_json_string())["video_processor"] == {}


def test_nothing_is_changed_where_torchvision_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "is_torchvision_available", lambda: True)
    before = loaders()
    with processors._without_videos():
        assert loaders() == before


def test_a_model_without_images_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    folder = tmp_path / "text-only"
    family_model("llava")._tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}), "utf-8")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"no processor for images and text; .*LLaVA-1\.5, "):
        load_model(str(folder), device="cpu")
