"""What the vision tower makes of each distinct image, computed once and handed to the model.

transformers takes ready features as ``mm_encoder_outputs``; how they are wrapped differs by
family, so the wrapping of what the model itself returns is imitated. Features belong to the whole
image tuple of a sample, since some families see an image otherwise when it does not come alone.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from scoring.models.base import EncodedSample
from scoring.models.collate import input_device, join_inputs, to_device
from scoring.models.rows import Row


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Of one image tuple: (image tokens, width), and the same for each deepstack layer."""

    pooled: torch.Tensor
    layers: tuple[torch.Tensor, ...]

    def with_last_changed(self) -> ImageFeatures:
        """These features, but other ones for the last token: for looking who sees it."""
        pooled = self.pooled.clone()
        pooled[-1] = 1 - pooled[-1]
        return ImageFeatures(pooled, self.layers)


class VisionTower:
    """The image half of a transformers model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.image_token = image_token_id(model)
        encode = getattr(model.base_model, "get_image_features", None)
        names = set(inspect.signature(encode).parameters) if encode else set()
        self._takes = names - {"kwargs", "return_dict"}
        self._output: Callable[..., Any] = dict
        self._as_tensor = self._layers_as_tensor = False  # all three as the model's own output

    def replaced_inputs(self, keys: Sequence[str]) -> list[str]:
        """Which of the inputs ``keys`` the features stand for; grids also give the positions."""
        return [key for key in keys if key in self._takes and not key.endswith("grid_thw")]

    def encode(self, samples: Sequence[EncodedSample]) -> list[ImageFeatures]:
        """Features of each sample's images, in one call. Raises ValueError where they do not

        match the image tokens of the samples.
        """
        fed_samples = pad_lone_token(samples, self.image_token)
        inputs = [sample.inputs for sample in fed_samples]
        wanted = dict.fromkeys(key for one in inputs for key in one if key in self._takes)
        device, dtype = input_device(self._model), self._model.dtype
        fed = {key: to_device(join_inputs(inputs, key), device, dtype) for key in wanted}
        found = self._model.base_model.get_image_features(**fed, return_dict=True)
        self._output, self._as_tensor = type(found), isinstance(found.pooler_output, torch.Tensor)
        layers = getattr(found, "deepstack_features", None) or ()
        self._layers_as_tensor = any(isinstance(layer, torch.Tensor) for layer in layers)
        counts = [sample.input_ids.count(self.image_token) for sample in fed_samples]
        pooled = _flat(found.pooler_output)
        if len(pooled) != sum(counts):
            raise ValueError(f"{len(pooled)} image features for {sum(counts)} image tokens")
        split = [torch.split(_flat(layer), counts) for layer in layers]
        return [
            ImageFeatures(own, tuple(layer[place] for layer in split))
            for place, own in enumerate(torch.split(pooled, counts)[: len(samples)])
        ]

    def packed(self, features: Sequence[ImageFeatures]) -> dict[str, Any]:
        """``mm_encoder_outputs`` for a batch whose rows have these features, in their order."""
        wrapped: dict[str, Any] = {
            "pooler_output": _wrapped([one.pooled for one in features], self._as_tensor)
        }
        layers = list(zip(*(one.layers for one in features), strict=True))
        if layers:
            wrapped["deepstack_features"] = [
                _wrapped(layer, self._layers_as_tensor) for layer in layers
            ]
        return {"image": self._output(**wrapped)}


class FeatureCache:
    """Features of the images of one call, each kept until the last of its rows was computed."""

    def __init__(
        self, tower: VisionTower, samples: Sequence[EncodedSample], rows: Sequence[Row]
    ) -> None:
        self._tower, self._samples = tower, samples
        self._waiting = Counter(
            id(samples[member].image_key) for row in rows for member in row.members
        )
        self._kept: dict[int, ImageFeatures] = {}

    def of(self, rows: Sequence[Row]) -> dict[str, Any]:
        """``mm_encoder_outputs`` for ``rows``; what is not there yet is computed in one call."""
        keyed = {id(sample.image_key): sample for sample in map(self._first, rows)}
        missing = [key for key in keyed if key not in self._kept]
        if missing:
            found = self._tower.encode([keyed[key] for key in missing])
            self._kept.update(zip(missing, found, strict=True))
        return self._tower.packed([self._kept[id(self._first(row).image_key)] for row in rows])

    def release(self, rows: Sequence[Row]) -> None:
        """Lets go of what only these rows needed."""
        for row in rows:
            key = id(self._first(row).image_key)
            self._waiting[key] -= len(row.members)
            if self._waiting[key] <= 0:
                self._kept.pop(key, None)

    def _first(self, row: Row) -> EncodedSample:
        return self._samples[row.members[0]]


def pad_lone_token(
    samples: Sequence[EncodedSample], image_token: int | None
) -> list[EncodedSample]:
    """``samples``, or each twice where a single image token is all they have together.

    Mistral-3 drops the dimension of a lone token and fails; in company it reads the same image.
    """
    counts = [sample.input_ids.count(image_token) for sample in samples]
    return [*samples, *samples] if sum(counts) == 1 else list(samples)


def image_token_id(model: Any) -> int | None:
    """Id of the token that image features take the place of."""
    for name in ("image_token_id", "image_token_index"):
        found = getattr(model.config, name, None)
        if found is not None:
            return int(found)
    return None


def _flat(features: Any) -> torch.Tensor:
    """(image tokens, width) from a list per image or a tensor."""
    return torch.cat([one.reshape(-1, one.shape[-1]) for one in features])


def _wrapped(features: Sequence[torch.Tensor], as_tensor: bool) -> Any:
    joined = torch.cat(list(features))
    return joined.unsqueeze(0) if as_tensor else [joined]
