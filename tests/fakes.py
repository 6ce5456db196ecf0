"""A hand-written model that returns the losses that a test types in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scoring.batching import TokenBudget, run_batched
from scoring.models.base import EncodedSample, ModelInfo, OutOfMemoryError
from scoring.samples import Role, Turn

IMAGE_TOKEN = 1


class FakeModel:
    """Words are tokens; an answer's losses are looked up by its text and by the pass.

    ``losses``: answer -> (text-only losses, multimodal losses), one per word. An answer that is
    not listed costs 1.0 a word without the image and 0.5 with it. ``fits``: how many padded
    tokens a batch may hold before the model says that it ran out of memory.
    """

    def __init__(
        self,
        losses: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
        *,
        fits: int = 1 << 30,
        max_length: int = 1 << 20,
        fingerprint: str = "fake",
    ) -> None:
        self._losses = losses or {}
        self._fits, self._budget = fits, TokenBudget(8192)
        self._vocabulary: dict[str, int] = {}
        self.batches: list[int] = []
        self.info = ModelInfo("fake", fingerprint, "fake", "own", "float32", "cpu", max_length)

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        ids, of_turn, losses = [0], [-1], [0.0]
        answer = 0
        for turn in turns:
            words = turn.text.split()
            if images and turn.image_offsets:
                ids += [IMAGE_TOKEN] * len(turn.image_offsets)
                of_turn += [-1] * len(turn.image_offsets)
                losses += [0.0] * len(turn.image_offsets)
            ids += [self._vocabulary.setdefault(word, len(self._vocabulary) + 2) for word in words]
            if turn.role is Role.ASSISTANT:
                of_turn += [answer] * len(words)
                losses += self._answer(turn.text, bool(images), len(words))
                answer += 1
            else:
                of_turn += [-1] * len(words)
                losses += [0.0] * len(words)
        return EncodedSample(tuple(ids), tuple(of_turn), {"losses": np.array([losses])})

    def _answer(self, text: str, with_image: bool, n_words: int) -> list[float]:
        if text in self._losses:
            return list(self._losses[text][with_image])
        return [0.5 if with_image else 1.0] * n_words

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        return self.encode(turns, ())

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

    def generate(
        self,
        prompts: Sequence[tuple[Sequence[Turn], Sequence[Image.Image]]],
        max_new_tokens: int,
    ) -> list[str | None]:
        return ["seen" if images else "blind" for _, images in prompts]
