"""Loads a model of Hugging Face transformers with its processor and chat template.

Weights are safetensors only and no code from a model repository is run. A model that cannot be
scored is refused here with a reason, before any work starts. What decides its numbers is identified
by digests of its files, one by one, so a change can be attributed to a file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.quantizers.auto import AutoQuantizationConfig
from transformers.utils import is_torchvision_available

from scoring.errors import ModelError
from scoring.models.options import LoadOptions
from scoring.models.processors import image_processor_backend, load_processor
from scoring.models.prompting import LLAVA_V1_TEMPLATE, Messages, emits_end_marker

SUPPORTED = {
    "llava": "LLaVA-1.5",
    "llava_next": "LLaVA-NeXT",
    "llava_onevision": "LLaVA-OneVision",
    "vipllava": "VipLLaVA",
    "qwen2_vl": "Qwen2-VL",
    "qwen2_5_vl": "Qwen2.5-VL",
    "qwen3_vl": "Qwen3-VL",
    "idefics3": "Idefics3",
    "smolvlm": "SmolVLM",
    "internvl": "InternVL",
    "gemma3": "Gemma-3",
    "aya_vision": "Aya-Vision",
    "glm4v": "GLM-4V",
    "mllama": "Llama-3.2-Vision",
    "qwen3_vl_moe": "Qwen3-VL-MoE",
    "qwen2_5_omni": "Qwen2.5-Omni",
    "qwen3_omni_moe": "Qwen3-Omni",
    "qwen3_5": "Qwen3.5",
    "qwen3_5_moe": "Qwen3.5-MoE",
    "gemma4": "Gemma-4",
    "llama4": "Llama-4",
    "mistral3": "Mistral-3",
    "cohere2_vision": "Cohere2-Vision",
    "lfm2_vl": "LFM2-VL",
    "ovis2": "Ovis2",
    "glm4v_moe": "GLM-4.5V",
    "glm46v": "GLM-4.6V",
    "kimi_k25": "Kimi-K2.5",
    "minicpmv4_6": "MiniCPM-V-4.6",
    "ernie4_5_vl_moe": "ERNIE-4.5-VL",
    "aria": "Aria",
    "deepseek_vl": "DeepSeek-VL",
    "janus": "Janus",
    "video_llama_3": "VideoLLaMA-3",
    "exaone4_5": "EXAONE-4.5",
    "paddleocr_vl": "PaddleOCR-VL",
    "lighton_ocr": "LightOnOCR",
    "perception_lm": "Perception-LM",
    "granite4_vision": "Granite-4-Vision",
    "llava_next_video": "LLaVA-NeXT-Video",
}
"""Families whose scores are tested to be exact: ``model_type`` -> the family's common name."""
_KNOWN_TO_WORK = f"known to work are {', '.join(SUPPORTED.values())}"

_TURN_ENDS = (
    "</s>",
    "<|im_end|>",
    "<end_of_turn>",
    "<|eot_id|>",
    "<end_of_utterance>",
    "<|end|>",
    "<|END_RESPONSE|>",
)
_IMAGE_ADAPTER = "vision-lora"  # its place in the folder of Phi-4-multimodal
_DATE_LETTERS, _NUMBERS = "aAbBcdfHIjmMpSuUVwWxXyYzZGFTDR", "dmHMSIj"  # of strftime
_FROZEN_DATE = (
    "{{% macro strftime_now(format) %}}{{% set found = namespace(text=format) %}}"
    "{{% for letters, value in {}.items() %}}"
    "{{% set found.text = found.text | replace(letters, value) %}}{{% endfor %}}"
    "{{{{ found.text }}}}{{% endmacro %}}\n"
)  # in Jinja, as transformers passes no other functions to templates
_NOT_VARIABLES = ("messages", "add_generation_prompt")
_LONGEST_REASON = 400  # characters of an error of transformers, which may list hundreds of classes
_LONGEST = 1 << 20  # tokenizers without a limit of their own report astronomical ones

_DECIDING_FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)
_SHORT = 12  # hex digits that distinguish versions of one file

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class TemplateRenderer:
    """Renders messages with one chat template (a ``prompting.Render``).

    ``variables`` are passed to the template. Templates that use the current date get a fixed one,
    so a run renders the same prompts on every day: see ``freeze_date``.
    """

    def __init__(
        self, processor: Any, template: str | None, variables: Mapping[str, Any] | None = None
    ) -> None:
        self._processor, self._template = processor, template
        self.variables = dict(variables or {})
        self._dated = template
        self.freeze_date(datetime.now(UTC))
        source = "\n".join(self.template_texts)
        for name in self.variables:
            if name in _NOT_VARIABLES:
                raise ModelError(f"The chat template's variable {name!r} cannot be set")
            if not re.search(rf"\b{re.escape(name)}\b", source):
                raise ModelError(f"The chat template uses no variable {name!r}")

    @property
    def template_texts(self) -> list[str]:
        """The Jinja text of the template, or of each if the model has several."""
        template = self.template
        return list(map(str, template.values() if isinstance(template, dict) else [template]))

    @property
    def template(self) -> object:
        """The template's text; texts by name if the model has several."""
        own = getattr(self._processor, "chat_template", None)
        return own if self._template is None else self._template

    def __call__(self, messages: Messages, *, prompt: bool = False) -> str:
        """Return the text of ``messages``; with ``prompt`` it asks for the next answer."""
        settings = {"chat_template": self._dated, "tokenize": False, **self.variables}
        return str(
            self._processor.apply_chat_template(messages, add_generation_prompt=prompt, **settings)
        )

    def freeze_date(self, moment: datetime) -> None:
        """Make ``moment`` the current date for templates that use it."""
        template = self.template
        source = str(template.get("default") if isinstance(template, dict) else template)
        if "strftime_now" in source:
            formats = {f"%{letter}": moment.strftime(f"%{letter}") for letter in _DATE_LETTERS}
            for letter in _NUMBERS:
                formats[f"%-{letter}"] = formats[f"%{letter}"].lstrip("0") or "0"
            self._dated = _FROZEN_DATE.format(json.dumps(formats)) + source


def end_markers(processor: Any, model: Any) -> tuple[str, ...]:
    """Return the tokens that may end an answer: the tokenizer's, the generation's, common ones."""
    tokenizer = processor.tokenizer
    ids = getattr(model.generation_config, "eos_token_id", None)
    listed = ids if isinstance(ids, list) else [] if ids is None else [ids]
    vocabulary = tokenizer.get_vocab()
    tokens = [tokenizer.eos_token, *tokenizer.convert_ids_to_tokens(listed)]
    tokens += [token for token in _TURN_ENDS if token in vocabulary]
    return tuple(dict.fromkeys(token for token in tokens if token))


def resolve_device(device: str | None) -> str:
    """Return the device to compute on: ``device``, or a GPU if there is one. Raises ModelError."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"The device {device!r} cannot be used by PyTorch {torch.__version__} here: {reason}"
        ) from error
    return device


def load_model_and_processor(
    folder: Path, name: str, dtype: torch.dtype, device: str, options: LoadOptions | None = None
) -> tuple[Any, Any]:
    """Load (model, processor) from ``folder``; ``name`` is for messages. Raises ModelError."""
    options = options or LoadOptions()
    if (folder / _IMAGE_ADAPTER).is_dir() and options.adapter is None:
        raise ModelError(
            f"The model {name!r} reads images with LoRA weights from {_IMAGE_ADAPTER}, which must "
            f"be requested: --adapter {folder / _IMAGE_ADAPTER}"
        )
    try:
        processor = load_processor(folder, options.image_processor)
    except Exception as error:
        raise _load_error(name, error) from error
    if not hasattr(processor, "tokenizer") or not hasattr(processor, "image_processor"):
        raise ModelError(
            f"The model {name!r} has no processor for images and text; {_KNOWN_TO_WORK}"
        )
    backend = image_processor_backend(processor)
    if options.image_processor not in ("auto", backend):
        raise ModelError(
            f"The model {name!r} has no image processor for --image-processor "
            f"{options.image_processor}: only {type(processor.image_processor).__name__} loads here"
        )
    if not processor.tokenizer.is_fast:
        raise ModelError(f"The tokenizer of {name!r} is not a fast one and returns no offsets")
    try:
        model = _load_weights(folder, dtype, device, options)
    except Exception as error:
        raise _load_error(name, error) from error
    if options.adapter is not None and options.with_weights:
        _add_adapter(model, options.adapter)
    return model.eval(), processor


def _load_weights(folder: Path, dtype: torch.dtype, device: str, options: LoadOptions) -> Any:
    placement: dict[str, Any] = {}
    if options.quantization is not None:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns at every layer
        quantization = AutoQuantizationConfig.from_dict({**options.quantization})
        placement = {"quantization_config": quantization, "device_map": {"": device}}
    if options.device_map is not None:
        placement["device_map"] = options.device_map
    config = transformers.AutoConfig.from_pretrained(folder)
    config = getattr(config, "thinker_config", config)  # the part of an Omni model that writes
    images_only = type(config) in transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    kind = "AutoModelForImageTextToText" if images_only else "AutoModelForMultimodalLM"
    if not options.with_weights:
        return _build_structure(getattr(transformers, kind), config, folder)
    model, report = getattr(transformers, kind).from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        use_safetensors=True,
        output_loading_info=True,
        **placement,
    )
    if missing := sorted(report["missing_keys"]):  # transformers fills these with random numbers
        shown = ", ".join(missing[:3])
        raise ValueError(f"its folder lacks {len(missing)} weights of the model: {shown}")
    return model if placement else model.to(device)


def _build_structure(kind: Any, config: Any, folder: Path) -> Any:
    """Return a model without memory for its weights, with the generation settings of ``folder``."""
    with torch.device("meta"):
        model = kind.from_config(config)
    if (folder / "generation_config.json").is_file():
        model.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    return model


def _add_adapter(model: Any, folder: Path) -> None:
    """Add the adapter to the layers of ``model``, next to their weights.

    Merging a small change into bfloat16 weights would round it away. Raises ModelError if the
    adapter's weights are not those that its layers here expect: they would count as zero.
    """
    try:
        report = model.load_adapter(str(folder), use_safetensors=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise ModelError(f"The adapter {folder} cannot be loaded: {reason}") from error
    keys = (*report.missing_keys, *report.unexpected_keys, *report.mismatched_keys)
    if unmatched := sorted(map(str, keys)):
        raise ModelError(
            f"The adapter {folder} does not fit this model: {len(unmatched)} of its weights do not "
            f"match, first {unmatched[0]}"
        )


def _load_error(name: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())
    if "torchvision" in reason.lower() and not is_torchvision_available():
        return ModelError(f"The model {name!r} needs torchvision: pip install torchvision")
    if len(reason) > _LONGEST_REASON:
        reason = reason[:_LONGEST_REASON] + " ..."
    return ModelError(f"The model {name!r} cannot be loaded: {reason}; {_KNOWN_TO_WORK}")


def unsupported_family(family: str, reason: str) -> ModelError:
    """Return the error for a family that cannot be scored."""
    return ModelError(
        f"Models of the family {family!r} cannot be scored: {reason}; {_KNOWN_TO_WORK}"
    )


def choose_template(
    processor: Any, model: Any, template: str | None, variables: Mapping[str, Any] | None = None
) -> tuple[str, TemplateRenderer]:
    """Return (name for the run record, renderer). Raises ModelError if there is no template."""
    if template not in (None, "own", "llava_v1"):
        try:
            text = Path(template).read_text("utf-8")
        except OSError as error:
            raise ModelError(
                f"Unknown template {template!r}. Choose own, llava_v1 or a Jinja file "
                f"({error.strerror})."
            ) from error
        return f"file:{text_digest(text)}", TemplateRenderer(processor, text, variables)
    llava = model.config.model_type == "llava"
    has_own = getattr(processor, "chat_template", None) is not None
    if not has_own and not llava and template != "llava_v1":
        raise ModelError("The model has no chat template. Provide one with --template FILE.")
    own = TemplateRenderer(processor, None)
    if (
        template == "llava_v1"
        or not has_own
        or (template is None and llava and not emits_end_marker(own, end_markers(processor, model)))
    ):
        return "llava_v1", TemplateRenderer(processor, LLAVA_V1_TEMPLATE, variables)
    return "own", TemplateRenderer(processor, None, variables)


def max_context_length(model: Any, processor: Any) -> int:
    """Return the number of tokens that the model's positions and its tokenizer allow."""
    config = model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    limits = (positions, processor.tokenizer.model_max_length)
    return int(min((limit for limit in limits if limit), default=_LONGEST))


def weights_fingerprint(folder: Path) -> str:
    """Return the sha256 over the sha256 of each weight file, in order of their names.

    In a Hugging Face cache the files are links named by their sha256, so they need not be read.
    """
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        name = path.resolve().name
        digest = name if re.fullmatch(r"[0-9a-f]{64}", name) else _file_sha256(path)
        whole.update(digest.encode())
    return whole.hexdigest()


def adapter_fingerprint(folder: Path) -> str:
    """Return the sha256 over the configuration and the weights of a PEFT adapter."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    digests = "".join(_file_sha256(folder / name) for name in names)
    return hashlib.sha256(digests.encode()).hexdigest()


def hash_deciding_files(folder: Path) -> dict[str, str]:
    """Return file name -> short sha256 of the files besides weights that decide ids and pixels."""
    paths = sorted({path for name in _DECIDING_FILES for path in folder.glob(name)})
    return {path.name: _file_sha256(path)[:_SHORT] for path in paths}


def template_digest(template: object, end_markers: Sequence[str]) -> str:
    """Return the short sha256 of a chat template's text and of the possible end-of-turn tokens.

    ``template`` is as in transformers: the Jinja text, or several by name.
    """
    text = json.dumps([template, list(end_markers)], sort_keys=True, default=str)
    return text_digest(text)


def text_digest(text: str) -> str:
    """Return the short sha256 of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_SHORT]


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
