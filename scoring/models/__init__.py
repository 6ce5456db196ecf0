"""Vision-language models: the interface (``base``) and its transformers implementation (``hf``)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.bundled import BUNDLED_MODEL, MODEL_NOTICE, bundled_folder
from scoring.models.options import LoadOptions, ModelOptions, check_template, resolve_model_folder

if TYPE_CHECKING:
    from scoring.models.hf import HfModel


def load_model(name: str, **settings: Any) -> HfModel:
    """Load a model by Hugging Face id or by path; ``tiny-vlm`` is the bundled demonstration model.

    ``settings`` are fields of ``ModelOptions`` by name, as in ``load_model(..., dtype="float16")``;
    ``quantization`` and ``device_map`` may be mappings. Raises ModelError if the model cannot be
    loaded or cannot be scored.
    """
    options = ModelOptions(name, **settings)
    load_options = LoadOptions.from_model_options(options)
    check_template(options.template)
    bundled = (
        name == BUNDLED_MODEL or Path(name).resolve() == bundled_folder(BUNDLED_MODEL).resolve()
    )
    folder = (
        bundled_folder(BUNDLED_MODEL) if bundled else resolve_model_folder(name, options.revision)
    )
    from scoring.models.hf import HfModel  # torch and transformers take seconds to import

    if bundled:
        options = replace(options, name=BUNDLED_MODEL)
    return HfModel.load(options, folder, load_options, MODEL_NOTICE if bundled else None)
