"""Losses of samples with several images without one of these images: how much each one matters.

As for the blind baseline ``none``, only the text that the chat template writes for the image is
removed, and both losses are over the same answer tokens. Both come from the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.engine.isolation import PROBE_CONVERSATION, PROBE_IMAGE, FaultIsolator
from scoring.engine.preparation import Encoded, ImageLoader, Problem, try_encode
from scoring.models.base import EncodedSample, VisionLanguageModel
from scoring.samples import Sample, Status

Losses = NDArray[np.float32] | Problem | None
"""(answer_tokens,) in nats, or why there are none; None: the sample does not fit the device."""


@dataclass(frozen=True, slots=True, eq=False)
class LeftOut:
    """A sample encoded with all of its images, and without each of them in turn."""

    row_idx: int
    complete: Encoded
    without: tuple[Encoded, ...]


class LeaveOneOutScorer:
    """Scores samples with several images without each of them; a task of a runner."""

    def __init__(self, model: VisionLanguageModel, image_roots: Sequence[Path]) -> None:
        self._model, self._roots = model, image_roots
        self._read_losses = FaultIsolator(
            model.answer_losses, partial(model.encode, PROBE_CONVERSATION, [PROBE_IMAGE])
        )

    def prepare(self, samples: Sequence[Sample]) -> list[LeftOut]:
        """Encode samples, in order; may run in threads. Shared images are decoded once."""
        loader = ImageLoader(self._roots)
        items = []
        for sample in samples:
            images = loader.load_images(sample.images)
            if isinstance(images, Problem):
                items.append(LeftOut(sample.row_idx, images, (images,) * len(sample.images)))
                continue
            turns, shown = sample.turns, images
            complete = try_encode(lambda: self._model.encode(turns, shown))  # noqa: B023
            without = tuple(
                self._encode_without(sample, shown, position, complete)
                for position in range(len(images))
            )
            items.append(LeftOut(sample.row_idx, complete, without))
        return items

    def _encode_without(
        self, sample: Sample, images: Sequence[Any], position: int, complete: Encoded
    ) -> Encoded:
        """Return the sample without an image, or why it cannot be compared with all of it."""
        if isinstance(complete, Problem):
            return complete
        encoded = try_encode(
            lambda: self._model.encode_without_image(sample.turns, images, position)
        )
        if isinstance(encoded, Problem):
            return encoded
        if encoded.answer_ids != complete.answer_ids:
            reason = "the answers are tokenised differently without this image"
            return Problem(Status.TOKEN_MISMATCH, reason)
        limit = self._model.info.max_length
        if len(complete.input_ids) > limit:
            reason = f"{len(complete.input_ids):,} tokens, but the model accepts {limit:,}"
            return Problem(Status.TOO_LONG, reason)
        return encoded

    def compute_rows(self, items: list[LeftOut]) -> list[dict[str, Any]]:
        """Return a row of ``schemas.IMAGE_LOSSES`` per image."""
        flat: list[Encoded] = []
        for item in items:
            needed = any(isinstance(each, EncodedSample) for each in item.without)
            unused = Problem(Status.BAD_RECORD, None)
            flat += [item.complete if needed else unused, *item.without]
        losses = iter(self._read_losses(flat))
        rows = []
        for item in items:
            complete = next(losses)
            for position, _ in enumerate(item.without):
                row = {"row_idx": item.row_idx, "image": position}
                rows.append(row | _compare_losses(complete, next(losses)))
        return rows

    def encoded_samples(self, item: LeftOut) -> Iterator[EncodedSample]:
        """Yield all encodings of a sample."""
        encodings = (item.complete, *item.without)
        return (each for each in encodings if isinstance(each, EncodedSample))


def _compare_losses(complete: Losses, without: Losses) -> dict[str, Any]:
    """Return the sums of both losses, or the reason why they cannot be compared."""
    sums = []
    for losses in (without, complete):
        if isinstance(losses, Problem):
            return {"reason": losses.reason or "this sample cannot be scored"}
        if losses is None:
            return {"reason": "the sample does not fit the device's memory, even alone"}
        sums.append(float(losses.sum(dtype=np.float64)))
        n_answer_tokens = len(losses)
    if not np.isfinite(sums).all():
        return {"reason": "a loss is not a finite number"}
    names = ("loss_without_sum", "loss_multimodal_sum")
    return {**dict(zip(names, sums, strict=True)), "n_answer_tokens": n_answer_tokens}
