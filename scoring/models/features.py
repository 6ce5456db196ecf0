"""Image features from the vision tower, computed once per distinct image.

transformers accepts precomputed features as ``mm_encoder_outputs``. Their wrapping differs by
family, so the wrapping of the model's own output is reproduced. Features belong to the whole image
tuple of a sample, since some families treat an image differently when it is not alone.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from scoring.models.base import EncodedSample
from scoring.models.rows import Row, concatenate_inputs, input_device, to_device


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Features of one image tuple: (image_tokens, width), and the same per deepstack layer."""

    pooled: torch.Tensor
    layers: tuple[torch.Tensor, ...]


class VisionTower:
    """The image half of a transformers model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.image_token = image_token_id(model)
        encode = getattr(model.base_model, "get_image_features", None)
        parameters = set(inspect.signature(encode).parameters) if encode else set()
        self._accepted = parameters - {"kwargs", "return_dict"}
        self._output: Callable[..., Any] = dict
        self._as_tensor = self._layers_as_tensor = False  # all three as in the model's own output

    def replaced_inputs(self, keys: Sequence[str]) -> list[str]:
        """Return which of the inputs ``keys`` the features replace; grids also give positions."""
        return [key for key in keys if key in self._accepted and not key.endswith("grid_thw")]

    def encode_images(self, samples: Sequence[EncodedSample]) -> list[ImageFeatures]:
        """Return the features of each sample's images. Raises ValueError if their number is off."""
        padded = pad_lone_token(samples, self.image_token)
        inputs = [sample.inputs for sample in padded]
        keys = dict.fromkeys(key for mapping in inputs for key in mapping if key in self._accepted)
        device, dtype = input_device(self._model), self._model.dtype
        model_inputs = {
            key: to_device(concatenate_inputs(inputs, key), device, dtype) for key in keys
        }
        output = self._model.base_model.get_image_features(**model_inputs, return_dict=True)
        self._output, self._as_tensor = type(output), isinstance(output.pooler_output, torch.Tensor)
        layers = getattr(output, "deepstack_features", None) or ()
        self._layers_as_tensor = any(isinstance(layer, torch.Tensor) for layer in layers)
        counts = [sample.input_ids.count(self.image_token) for sample in padded]
        pooled = _flatten_images(output.pooler_output)  # (image_tokens, width)
        if len(pooled) != sum(counts):
            raise ValueError(f"{len(pooled)} image features for {sum(counts)} image tokens")
        split_layers = [torch.split(_flatten_images(layer), counts) for layer in layers]
        return [
            ImageFeatures(sample_pooled, tuple(layer[index] for layer in split_layers))
            for index, sample_pooled in enumerate(torch.split(pooled, counts)[: len(samples)])
        ]

    def pack_features(self, features: Sequence[ImageFeatures]) -> dict[str, Any]:
        """Return ``mm_encoder_outputs`` for a batch whose rows have these features, in order."""
        pooled = [image.pooled for image in features]
        wrapped: dict[str, Any] = {"pooler_output": _wrap_features(pooled, self._as_tensor)}
        layers = list(zip(*(image.layers for image in features), strict=True))
        if layers:
            wrapped["deepstack_features"] = [
                _wrap_features(layer, self._layers_as_tensor) for layer in layers
            ]
        return {"image": self._output(**wrapped)}


class FeatureCache:
    """Image features of one call, each kept until the last of its rows was computed."""

    def __init__(
        self, tower: VisionTower, samples: Sequence[EncodedSample], rows: Sequence[Row]
    ) -> None:
        self._tower, self._samples = tower, samples
        self._n_pending = Counter(
            id(samples[member].image_key) for row in rows for member in row.members
        )
        self._features: dict[int, ImageFeatures] = {}

    def get_features(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return ``mm_encoder_outputs`` for ``rows``; missing features are computed in one call."""
        firsts = [self._samples[row.members[0]] for row in rows]
        keyed = {id(sample.image_key): sample for sample in firsts}
        missing = [key for key in keyed if key not in self._features]
        if missing:
            computed = self._tower.encode_images([keyed[key] for key in missing])
            self._features.update(zip(missing, computed, strict=True))
        return self._tower.pack_features([self._features[id(s.image_key)] for s in firsts])

    def release_rows(self, rows: Sequence[Row]) -> None:
        """Drop the features that only these rows needed."""
        for row in rows:
            key = id(self._samples[row.members[0]].image_key)
            self._n_pending[key] -= len(row.members)
            if self._n_pending[key] <= 0:
                self._features.pop(key, None)


def pad_lone_token(
    samples: Sequence[EncodedSample], image_token: int | None
) -> list[EncodedSample]:
    """Return ``samples``, or each twice if together they have only one image token."""
    # Mistral-3 drops the dimension of a lone token and fails; with two it reads the same image.
    counts = [sample.input_ids.count(image_token) for sample in samples]
    return [*samples, *samples] if sum(counts) == 1 else list(samples)


def image_token_id(model: Any) -> int | None:
    """Return the id of the token that image features replace."""
    names = ("image_token_id", "image_token_index")
    numbers = (getattr(model.config, name, None) for name in names)
    return next((int(number) for number in numbers if number is not None), None)


def _flatten_images(features: Any) -> torch.Tensor:
    """Return (image_tokens, width) from a list with a tensor per image, or from a tensor."""
    return torch.cat([image.reshape(-1, image.shape[-1]) for image in features])


def _wrap_features(features: Sequence[torch.Tensor], as_tensor: bool) -> Any:
    joined = torch.cat(list(features))  # (image_tokens, width)
    return joined.unsqueeze(0) if as_tensor else [joined]
