"""Options for loading a model, checked before torch is imported.

Importing torch and transformers takes seconds, and a mistyped path should be reported at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from scoring.errors import ModelError
from scoring.option_descriptions import Option, parse_json_object

IMAGE_PROCESSORS = ("auto", "pil", "torchvision")
TEMPLATES = ("own", "llava_v1")
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
QUANTIZATIONS: dict[str, dict[str, Any]] = {
    "bitsandbytes-4bit": {
        "quant_method": "bitsandbytes_4bit",
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
    },
    "bitsandbytes-8bit": {"quant_method": "bitsandbytes_8bit", "load_in_8bit": True},
    "quanto-int8": {"quant_method": "quanto", "weights": "int8"},
}
"""Names for the common settings of transformers' quantization configurations."""

_LOADING, _PROMPTS = "Loading the model", "Prompts"

_WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_UNWANTED_FILES = ["consolidated*", "original/*"]  # the same weights in another form
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The arguments of ``load_model``, as a command and its workers pass them on."""

    name: Annotated[str, Option("Hugging Face id or folder of a vision-language model.", "--model")]
    template: Annotated[
        str | None,
        Option(
            "Chat template: own, llava_v1 or a Jinja file. Default: the model's own; llava_v1 for "
            "LLaVA models whose own template does not mark the end of an answer.",
            panel=_PROMPTS,
        ),
    ] = None
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None,
        Option(
            "Variables for the chat template as a JSON object, for example "
            "'{\"enable_thinking\": false}'. They are part of the run.",
            panel=_PROMPTS,
            parse=parse_json_object("--chat-template-kwargs"),
            metavar="JSON",
        ),
    ] = None
    score_eos: Annotated[
        bool,
        Option(
            "Count the end-of-turn token as an answer token.",
            "--score-eos/--no-score-eos",
            _PROMPTS,
        ),
    ] = True
    dtype: Annotated[
        str | None,
        Option(
            "float32, bfloat16 or float16. Default: float32 on a CPU, bfloat16 on a GPU.",
            panel=_LOADING,
        ),
    ] = None
    device: Annotated[
        str | None, Option("cpu, cuda, cuda:1, ... Default: a GPU if there is one.", panel=_LOADING)
    ] = None
    revision: Annotated[
        str | None, Option("Revision of the model on the Hugging Face Hub.", panel=_LOADING)
    ] = None
    image_processor: Annotated[
        str,
        Option(
            "What resizes and normalises images: pil, torchvision, or auto, which is torchvision "
            "if it is installed. Scores differ slightly, so a run keeps the one it started with.",
            panel=_LOADING,
        ),
    ] = "auto"
    adapter: Annotated[
        str | None,
        Option(
            "Folder of a LoRA or other PEFT adapter (needs the extra [adapters]).", panel=_LOADING
        ),
    ] = None
    quantization: Annotated[
        str | None,
        Option(
            "Quantize the weights: bitsandbytes-4bit, bitsandbytes-8bit, quanto-int8, or a "
            "transformers configuration as JSON. Needs that library (and the extra [device-map]).",
            panel=_LOADING,
        ),
    ] = None
    device_map: Annotated[
        str | None,
        Option(
            "Spread the model over devices (needs the extra [device-map]): auto, balanced, "
            'balanced_low_0, sequential, or JSON such as {"": 0, "lm_head": "cpu"}.',
            panel=_LOADING,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded, besides its dtype and device."""

    image_processor: str = "auto"  # pil, torchvision, or auto for the default of transformers
    adapter: Path | None = None  # folder of a PEFT adapter
    quantization: Mapping[str, Any] | None = None  # configuration of transformers
    device_map: str | Mapping[str, Any] | None = None  # strategy, or module name -> device
    with_weights: bool = True  # otherwise only the structure, which suffices to encode prompts

    @classmethod
    def from_model_options(cls, options: ModelOptions) -> LoadOptions:
        """Parse and check the options. Raises ModelError."""
        image_processor, device_map = options.image_processor, options.device_map
        if image_processor not in IMAGE_PROCESSORS:
            known = ", ".join(IMAGE_PROCESSORS)
            raise ModelError(f"Unknown image processor {image_processor!r}. Choose one of: {known}")
        if image_processor == "torchvision" and find_spec("torchvision") is None:
            raise ModelError(
                "--image-processor torchvision needs torchvision, which is not installed"
            )
        if options.quantization is not None or device_map is not None:
            option = "--quantization" if device_map is None else "--device-map"
            _require_package("accelerate", option, "device-map")
        adapter = None
        if options.adapter is not None:
            adapter = Path(options.adapter)
            if not adapter.is_dir():
                raise ModelError(f"The adapter folder {options.adapter} does not exist")
            if missing := [name for name in _ADAPTER_FILES if not (adapter / name).is_file()]:
                raise ModelError(
                    f"{options.adapter} is not a PEFT adapter in safetensors: "
                    f"missing {' and '.join(missing)}"
                )
            _require_package("peft", "--adapter", "adapters")
        is_strategy = isinstance(device_map, str) and device_map in DEVICE_MAPS
        return cls(
            image_processor,
            adapter,
            _parse_mapping("--quantization", options.quantization, QUANTIZATIONS),
            device_map if is_strategy else _parse_mapping("--device-map", device_map, {}),
        )


def _require_package(package: str, option: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ModelError(
            f"{option} needs {package}, which is not installed: "
            f"pip install 'visnec-studio[{extra}]'"
        )


def _parse_mapping(
    option: str, value: str | Mapping[str, Any] | None, named: Mapping[str, dict[str, Any]]
) -> Mapping[str, Any] | None:
    """Return a named mapping, or one written as JSON."""
    if value is None or isinstance(value, Mapping):
        return value
    if value in named:
        return named[value]
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        known = ", ".join(named or DEVICE_MAPS)
        raise ModelError(f"{option} takes {known} or a JSON object, got {value!r}")
    return parsed


def check_template(template: str | None) -> None:
    """Raise ModelError if ``template`` is neither a known name nor a file."""
    if template is not None and template not in TEMPLATES and not Path(template).is_file():
        known = ", ".join(TEMPLATES)
        raise ModelError(f"Unknown template {template!r}. Choose {known} or a Jinja file.")


def resolve_model_folder(name: str, revision: str | None) -> Path:
    """Return the folder of a model given by path or by Hugging Face id. Raises ModelError."""
    path = Path(name)
    if path.is_dir():
        if not any(path.glob("*.safetensors")):
            reason = "contains no *.safetensors; other weight formats are not loaded"
            raise ModelError(f"{path} {reason}")
        return path
    if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ModelError(f"The model folder {name} does not exist")
    from huggingface_hub import snapshot_download  # only needed where a hub may be asked

    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=_WANTED_FILES, ignore_patterns=_UNWANTED_FILES
        )
        return Path(folder)
    except Exception as error:
        raise ModelError(
            f"The model {name!r} is neither a folder nor in the local cache, and could not be "
            f"downloaded ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
