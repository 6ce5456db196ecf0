"""A fake model that returns the losses that a test specifies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scoring.models.base import EncodedSample, ModelInfo, OutOfMemoryError
from scoring.models.batching import TokenBudget, run_batched
from scoring.samples import Role, Turn

IMAGE_TOKEN = 1


class FakeModel:
    """A model whose tokens are words; an answer's losses depend on its text and the pass.

    ``losses``: answer -> (text-only losses, multimodal losses), one per word. An answer that is
    not listed costs 1.0 per word without the image and 0.5 with it. ``fits``: number of padded
    tokens in a batch above which the model raises OutOfMemoryError. ``by_colour``: loss per word
    if the first image has this colour in its corner; ``masked``: loss per word with a masked
    placeholder.
    """

    def __init__(
        self,
        losses: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
        *,
        fits: int = 1 << 30,
        max_length: int = 1 << 20,
        fingerprint: str = "fake",
        by_colour: Mapping[tuple[int, ...], float] | None = None,
        masked: float = 1.0,
    ) -> None:
        self._losses = losses or {}
        self._by_colour, self._masked = by_colour or {}, masked
        self._fits, self._budget = fits, TokenBudget(8192)
        self._vocabulary: dict[str, int] = {}
        self.batches: list[int] = []
        self.info = ModelInfo("fake", fingerprint, "fake", "own", "float32", "cpu", max_length)

    def neutral_colour(self) -> tuple[int, int, int]:
        return (128, 128, 128)

    def freeze_date(self, moment: datetime) -> None:
        self.date = moment

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        cost = self._by_colour.get(images[0].getpixel((0, 0))) if images else None
        return self._encode(turns, bool(images), cost)

    def encode_without_image(
        self, turns: Sequence[Turn], images: Sequence[Image.Image], removed: int
    ) -> EncodedSample:
        return self.encode(turns, [image for at, image in enumerate(images) if at != removed])

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        return self._encode(turns, True, self._masked)

    def _encode(self, turns: Sequence[Turn], shown: bool, cost: float | None) -> EncodedSample:
        ids, of_turn, losses, pieces = [0], [-1], [0.0], []
        answer = 0
        for turn in turns:
            words = turn.text.split()
            marks = len(turn.image_offsets) if shown else 0
            ids += [IMAGE_TOKEN] * marks
            ids += [self._vocabulary.setdefault(word, len(self._vocabulary) + 2) for word in words]
            if turn.role is Role.ASSISTANT:
                of_turn += [-1] * marks + [answer] * len(words)
                losses += [0.0] * marks + self._answer(turn.text, shown, len(words), cost)
                pieces += words
                answer += 1
            else:
                of_turn += [-1] * (marks + len(words))
                losses += [0.0] * (marks + len(words))
        return EncodedSample(
            tuple(ids), tuple(of_turn), {"losses": np.array([losses])}, tuple(pieces)
        )

    def _answer(self, text: str, shown: bool, n_words: int, cost: float | None) -> list[float]:
        if cost is not None:
            return [cost] * n_words
        if text in self._losses:
            return list(self._losses[text][shown])
        return [0.5 if shown else 1.0] * n_words

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        lengths = [len(sample.input_ids) for sample in samples]
        return run_batched(samples, lengths, self._budget, self._batch_losses)

    def _batch_losses(self, batch: Sequence[EncodedSample]) -> list[NDArray[np.float32]]:
        if max(len(item.input_ids) for item in batch) * len(batch) > self._fits:
            raise OutOfMemoryError
        self.batches.append(len(batch))
        found = []
        for item in batch:
            losses = item.inputs["losses"][0]
            kept = [loss for loss, turn in zip(losses, item.turn_ids, strict=True) if turn >= 0]
            found.append(np.array(kept, dtype=np.float32))
        return found

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        return EncodedSample((0,), (-1,), {"seen": bool(images)})

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        return ["seen" if prompt.inputs["seen"] else "blind" for prompt in prompts]
