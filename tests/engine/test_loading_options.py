"""Adapters, quantised weights, weights on several devices, and the choice of image processor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.errors import ModelError, RunConflictError
from scoring.models import load_model
from scoring.models.base import EncodedSample
from scoring.models.hf import HfModel
from scoring.runs.record import read_run
from scoring.samples import Role, Turn
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.engine.test_families import picture
from tests.engine.test_run_record import losses, written
from tests.families import family_folder

FAMILY = "qwen2_vl"
TURNS = (Turn(Role.HUMAN, "what is it?", (0,)), Turn(Role.ASSISTANT, "two green squares"))


def sample_losses(model: HfModel) -> list[np.ndarray]:
    samples: list[EncodedSample] = [
        model.encode(TURNS, images) for images in ([picture(1, 64, 64)], [picture(2, 90, 60)], [])
    ]
    found = model.answer_losses(samples)
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


def largest_difference(first: list[np.ndarray], second: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(first, second, strict=True))


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return save_adapter(tmp_path / "adapter", seed=1)


def save_adapter(folder: Path, seed: int, **more: object) -> Path:
    """A LoRA with random weights over the attention of both halves and the text MLP."""
    network = AutoModelForImageTextToText.from_pretrained(family_folder(FAMILY))
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "qkv", "up_proj"], **more)
    wrapped = peft.get_peft_model(network, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weights in wrapped.named_parameters():
            if "lora_" in name:
                weights.normal_(std=0.2)
    wrapped.save_pretrained(folder)
    return folder


@pytest.fixture
def merged(adapter: Path, tmp_path: Path) -> Path:
    """The model with the adapter's product added to its weights, saved as a model of its own."""
    network = AutoModelForImageTextToText.from_pretrained(family_folder(FAMILY))
    whole = peft.PeftModel.from_pretrained(network, adapter).merge_and_unload()
    folder = tmp_path / "merged"
    whole.save_pretrained(folder)
    for file in family_folder(FAMILY).iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_an_adapter_gives_the_losses_of_merged_weights(adapter: Path, merged: Path) -> None:
    plain = load_model(str(family_folder(FAMILY)), device="cpu")
    adapted = load_model(str(family_folder(FAMILY)), device="cpu", adapter=str(adapter))
    whole = load_model(str(merged), device="cpu")
    assert largest_difference(sample_losses(adapted), sample_losses(whole)) < 1e-5
    assert largest_difference(sample_losses(adapted), sample_losses(plain)) > 0.01
    assert adapted.capabilities == plain.capabilities
    assert adapted.info.fingerprint == plain.info.fingerprint  # of the weights next to it


def test_an_adapter_is_part_of_a_run(adapter: Path, tmp_path: Path) -> None:
    place = workspace_of(tmp_path)
    folder = str(family_folder(FAMILY))
    adapted = load_model(folder, device="cpu", adapter=str(adapter))
    score_dataset(place, adapted, run_id="mine", limit=1)
    assert read_run(place, "mine").adapter == str(adapter)
    moved = adapter.rename(tmp_path / "elsewhere")
    assert score_dataset(place, load_model(folder, device="cpu", adapter=str(moved)), run_id="mine")
    other = save_adapter(tmp_path / "other", seed=2)
    for model in (
        load_model(folder, device="cpu", adapter=str(other)),
        load_model(folder, device="cpu"),
    ):
        with pytest.raises(RunConflictError, match=r"adapter_fingerprint: '.*' then, .* now"):
            score_dataset(place, model, run_id="mine")
        with pytest.raises(RunConflictError, match=r"adapter_fingerprint: '.*' then, .* now"):
            predict_dataset(place, model, "mine")


def test_an_adapter_of_another_model_is_refused(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    first = next(name for name in weights if "q_proj" in name)
    weights[first.replace("q_proj", "k_proj")] = weights.pop(first)
    save_file(weights, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"does not fit this model: \d+ of its weights do not mat"):
        load_model(str(family_folder(FAMILY)), device="cpu", adapter=str(adapter))


def test_an_adapter_in_another_format_than_safetensors_is_refused(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    torch.save(weights, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"not a PEFT adapter in safetensors: missing adapter_m"):
        load_model(str(family_folder(FAMILY)), device="cpu", adapter=str(adapter))


def workspace_of(folder: Path) -> Workspace:
    place = create_workspace(folder / "ws")
    import_dataset(place, [written(folder)])
    return open_workspace(folder / "ws")


OFFLOADED = {
    "model.vision_tower": "disk",
    "model.multi_modal_projector": "cpu",
    "model.language_model.embed_tokens": "cpu",
    "model.language_model.layers.0": "disk",
    "model.language_model.layers.1": "cpu",
    "model.language_model.layers.2": "disk",
    "model.language_model.layers.3": "cpu",
    "model.language_model.norm": "disk",
    "model.language_model.rotary_emb": "cpu",
    "lm_head": "cpu",
}


def test_weights_on_disk_give_the_same_scores(tmp_path: Path) -> None:
    place = workspace_of(tmp_path)
    whole = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")
    spread = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu", device_map=OFFLOADED)
    assert next(spread.network.model.vision_tower.parameters()).device.type == "meta"
    assert spread.capabilities == whole.capabilities
    score_dataset(place, whole, run_id="whole")
    score_dataset(place, spread, run_id="spread")
    assert losses(place, "spread") == pytest.approx(losses(place, "whole"), abs=1e-6)
    record = read_run(place, "spread")
    assert record.device_map == OFFLOADED
    with pytest.raises(RunConflictError, match=r"device_map: \{.*\} then, None now"):
        score_dataset(place, whole, run_id="spread")
    assert predict_dataset(place, spread, "spread").done == 3


def test_quantisation_is_given_by_name_or_as_json() -> None:
    pytest.importorskip("optimum.quanto")
    exact = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")
    small = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu", quantization="quanto-int8")
    as_json = json.dumps({"quant_method": "quanto", "weights": "int8"})
    again = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu", quantization=as_json)
    assert small.info.quantization == again.info.quantization
    assert 1e-6 < largest_difference(sample_losses(small), sample_losses(exact)) < 0.5
    assert small.capabilities.batched


def test_a_quantised_run_is_not_resumed_without_quantisation(tmp_path: Path) -> None:
    """Only the record is compared, which needs no library."""
    place = workspace_of(tmp_path)
    model = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")
    score_dataset(place, model, run_id="mine", limit=1)
    path = place.run_dir("mine") / "run.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps({**raw, "quantization": {"quant_method": "quanto"}}))
    with pytest.raises(RunConflictError, match=r"quantization: \{'quant_method'.*\} then, None no"):
        score_dataset(place, model, run_id="mine")


def test_a_run_keeps_its_image_processor(tmp_path: Path) -> None:
    place = workspace_of(tmp_path)
    model = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu")
    assert model.info.image_processor == "CLIPImageProcessorPil (pil)"
    run = score_dataset(place, model, limit=1).run_id
    path = place.run_dir(run) / "run.json"
    raw = json.loads(path.read_text())
    assert raw["image_processor"] == "CLIPImageProcessorPil (pil)"
    path.write_text(json.dumps({**raw, "image_processor": "CLIPImageProcessor (torchvision)"}))
    named = (
        r"image_processor: 'CLIPImageProcessor \(torchvision\)' then, "
        r"'CLIPImageProcessorPil \(pil\)' now, choose one with --image-processor pil or torchvision"
    )
    with pytest.raises(RunConflictError, match=named):
        score_dataset(place, model)  # the name of a run does not depend on it
    with pytest.raises(RunConflictError, match=named):
        predict_dataset(place, model, run)
    assert read_run(place, run).image_processor_backend == "torchvision"


@pytest.mark.parametrize(
    ("processor", "goes_on"),
    [
        ("LlavaProcessor, CLIPImageProcessorPil, TokenizersBackend", True),
        (None, True),
        ("LlavaProcessor, CLIPImageProcessor, TokenizersBackend", False),
    ],
)
def test_a_run_of_an_earlier_version_keeps_its_recorded_classes(
    tmp_path: Path, processor: str | None, goes_on: bool
) -> None:
    place = workspace_of(tmp_path)
    model = load_model(str(bundled_folder(BUNDLED_MODEL)), device="cpu", image_processor="pil")
    run = score_dataset(place, model, limit=1).run_id
    path = place.run_dir(run) / "run.json"
    raw = json.loads(path.read_text())
    new = ("image_processor", "gray_colour", "adapter", "adapter_fingerprint", "quantization")
    raw = {name: value for name, value in raw.items() if name not in (*new, "device_map")}
    path.write_text(json.dumps({**raw, "processor": processor}))
    if goes_on:
        assert score_dataset(place, model).run_id == run
    else:
        with pytest.raises(RunConflictError, match="image_processor: 'CLIPImageProcessor "):
            score_dataset(place, model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_processor": "fast"}, "Unknown image processor 'fast'. Choose one of: auto, pil,"),
        ({"adapter": "nowhere"}, "The adapter folder nowhere does not exist"),
        ({"quantization": "int3"}, "--quantization takes bitsandbytes-4bit, .* got 'int3'"),
        ({"device_map": "cuda:0"}, "--device-map takes auto, .* or a JSON object, got 'cuda:0'"),
        ({"template": "nowhere.jinja"}, "Unknown template 'nowhere.jinja'"),
        ({"device": "cuda:99"}, "The device 'cuda:99' cannot be used by PyTorch .* here: "),
        ({"device": "nonsense"}, "The device 'nonsense' cannot be used by PyTorch .* here: "),
    ],
)
def test_an_invalid_option_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(str(bundled_folder(BUNDLED_MODEL)), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "mistake",
    [
        {"name": "./nowhere"},
        {"name": "data/tiny-vlm/nowhere"},
        {"name": "tiny-vlm", "adapter": "nowhere"},
        {"name": "tiny-vlm", "template": "nowhere.jinja"},
    ],
)
def test_a_mistyped_path_is_reported_before_torch_is_imported(mistake: dict[str, str]) -> None:
    code = (
        "import sys\nfrom scoring.errors import ModelError\nfrom scoring.models import load_model\n"
        f"try:\n    load_model(**{mistake})\n"
        "except ModelError as error:\n    print('torch' in sys.modules, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False ")
    assert "nowhere" in done.stdout
