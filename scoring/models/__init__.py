"""Vision-language models: the seam (``base``) and the one behind it (``hf``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scoring.bundled import BUNDLED_MODEL, MODEL_NOTICE, bundled_model
from scoring.models.base import VisionLanguageModel
from scoring.models.options import LoadOptions, check_template, resolve_model_folder

if TYPE_CHECKING:
    from scoring.models.hf import HfModel

__all__ = ["VisionLanguageModel", "load_model"]


def load_model(
    name: str,
    *,
    template: str | None = None,
    dtype: str | None = None,
    device: str | None = None,
    score_eos: bool = True,
    revision: str | None = None,
    image_processor: str = "auto",
    adapter: str | None = None,
    quantization: str | Mapping[str, Any] | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> HfModel:
    """Loads a model by Hugging Face id or by path; see ``scoring.models.hf`` for the options.

    ``tiny-vlm`` is the bundled demonstration model, wherever the package is installed.
    ``image_processor``, ``adapter``, ``quantization`` and ``device_map`` are described in
    ``scoring.models.options``. Raises ModelError in words for anything that cannot be loaded.
    """
    options = LoadOptions.checked(image_processor, adapter, quantization, device_map)
    check_template(template)
    bundled = name == BUNDLED_MODEL or Path(name).resolve() == bundled_model().resolve()
    folder = bundled_model() if bundled else resolve_model_folder(name, revision)
    from scoring.models.hf import HfModel  # torch and transformers take seconds to import

    return HfModel.load(
        BUNDLED_MODEL if bundled else name,
        folder=folder,
        template=template,
        dtype=dtype,
        device=device,
        score_eos=score_eos,
        revision=revision,
        chat_template_kwargs=chat_template_kwargs,
        notice=MODEL_NOTICE if bundled else None,
        options=options,
    )
