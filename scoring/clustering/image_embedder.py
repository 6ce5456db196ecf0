"""Vectors of images by an embedding model: CLIP, SigLIP, DINOv2 and others that transformers has.

A model gives the vector of an image with ``get_image_features``, or else as the pooled output. It
is loaded from safetensors only and without remote code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scoring.clustering.embedders import digest_folder
from scoring.errors import InputError, ModelError
from scoring.models.options import resolve_model_folder

DEFAULT_SIMILARITY = 0.95
BATCH = 32

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageModel:
    """An image embedding model by Hugging Face id or folder, and how similar near-duplicates are.

    ``similarity`` is the least cosine of the angle between the vectors of near-duplicates. Raises
    InputError unless it is from 0.5 to 1.
    """

    name: str
    revision: str | None = None
    similarity: float = DEFAULT_SIMILARITY
    device: str | None = None

    def __post_init__(self) -> None:
        if not 0.5 <= self.similarity <= 1:
            raise InputError(
                f"--similarity is a cosine similarity from 0.5 to 1, got {self.similarity}"
            )


class ImageEmbedder:
    """Turns pictures into unit vectors; ``weights`` is the digest of all that determines one.

    The model is loaded with the first picture. Raises ModelError without its files.
    """

    def __init__(self, model: ImageModel) -> None:
        self.model = model
        self._folder: Path = resolve_model_folder(model.name, model.revision)
        self.weights = digest_folder(self._folder)

    def describe(self) -> dict[str, object]:
        """Return what determines near-duplicates by this model, for the record of a column."""
        return {
            "model": self.model.name,
            "revision": self.model.revision,
            "weights": self.weights,
            "library": f"transformers {metadata.version('transformers')}",
            "similarity": self.model.similarity,
        }

    @cached_property
    def device(self) -> str:
        """Where the model runs: a GPU if there is one. Raises ModelError for an unusable one."""
        from scoring.models.loading import resolve_device

        return resolve_device(self.model.device)

    def load(self) -> None:
        """Load the model and its image processor now. Raises ModelError."""
        _ = self._processor, self._network

    def prepare(self, picture: Image.Image) -> Vectors:
        """Return the pixels that the model gets, shape (channels, height, width)."""
        pixels = self._processor(images=picture.convert("RGB"), return_tensors="np")
        return np.asarray(pixels["pixel_values"][0], np.float32)

    def embed(self, pixels: Sequence[Vectors]) -> Vectors:
        """Return vectors of prepared pictures, shape (pictures, dimensions)."""
        import torch

        if len({each.shape for each in pixels}) > 1:
            raise ModelError(f"{self.model.name} takes pictures of different shapes. Use another.")
        batch = torch.from_numpy(np.stack(pixels)).to(self.device)
        with torch.inference_mode():
            if hasattr(self._network, "get_image_features"):
                output = self._network.get_image_features(pixel_values=batch)
            else:
                output = self._network(pixel_values=batch)
            vectors = getattr(output, "pooler_output", output)  # (pictures, dimensions)
            if not isinstance(vectors, torch.Tensor) or vectors.ndim != 2:
                raise ModelError(f"{self.model.name} gives no vector of an image. Use another.")
            unit = torch.nn.functional.normalize(vectors.float(), dim=1).cpu().numpy()
        if not np.isfinite(unit).all():
            raise ModelError(f"{self.model.name} gives vectors that are not finite. Use another.")
        return np.asarray(unit, np.float32)

    @cached_property
    def _processor(self) -> Any:
        import transformers

        try:
            return transformers.AutoImageProcessor.from_pretrained(
                self._folder, backend="pil", local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise self._explain(error) from error

    @cached_property
    def _network(self) -> Any:
        import torch
        import transformers

        transformers.utils.logging.disable_progress_bar()
        try:
            network = transformers.AutoModel.from_pretrained(
                self._folder,
                use_safetensors=True,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
            )
            return network.eval().to(self.device)
        except ModelError:
            raise
        except Exception as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> ModelError:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return ModelError(f"Cannot load {self.model.name!r} as an image model ({reason}).")
