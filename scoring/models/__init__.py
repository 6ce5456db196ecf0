"""Vision-language models: the interface (``base``) and its transformers implementation (``hf``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.bundled import BUNDLED_MODEL, MODEL_NOTICE, bundled_folder
from scoring.models.options import LoadOptions, ModelOptions, check_template, resolve_model_folder

if TYPE_CHECKING:
    from scoring.models.hf import HfModel, PromptEncoder


def load_model(name: str, **settings: Any) -> HfModel:
    """Load a model by Hugging Face id or by path; ``tiny-vlm`` is the bundled demonstration model.

    ``settings`` are fields of ``ModelOptions`` by name, as in ``load_model(..., dtype="float16")``;
    ``quantization`` and ``device_map`` may be mappings. Raises ModelError if the model cannot be
    loaded or cannot be scored.
    """
    located = find_model(ModelOptions(name, **settings))
    from scoring.models.hf import HfModel  # torch and transformers take seconds to import

    return HfModel.load(*located)


def load_prompt_encoder(name: str, **settings: Any) -> PromptEncoder:
    """Load what encodes prompts for a model, without memory for its weights; see ``load_model``."""
    options, folder, load_options, notice = find_model(ModelOptions(name, **settings))
    from scoring.models.hf import PromptEncoder, load_parts

    without_weights = replace(load_options, with_weights=False)
    return PromptEncoder(*load_parts(options, folder, without_weights, notice))


def find_model(options: ModelOptions) -> tuple[ModelOptions, Path, LoadOptions, str | None]:
    """Return checked options, the model's folder, how to load it and a notice to show."""
    load_options = LoadOptions.from_model_options(options)
    check_template(options.template)
    folder = bundled_folder(BUNDLED_MODEL)
    if options.name == BUNDLED_MODEL or Path(options.name).resolve() == folder.resolve():
        return replace(options, name=BUNDLED_MODEL), folder, load_options, MODEL_NOTICE
    return options, resolve_model_folder(options.name, options.revision), load_options, None
