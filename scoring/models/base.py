"""The interface to a vision-language model that the scorer needs, without importing torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scoring.samples import Turn

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


class OutOfMemoryError(Exception):
    """A batch did not fit the device; the same samples in smaller batches may."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Identity of a model and the settings that decide its numbers; goes into the run record."""

    name: str
    fingerprint: str  # digest of the weights
    family: str  # model_type of its configuration
    template: str  # own | llava_v1 | file:<digest>
    dtype: str
    device: str
    max_length: int  # tokens that fit its context
    score_eos: bool = True
    template_digest: str | None = None  # of the template's text
    files: Mapping[str, str] | None = None  # digests of other files that decide ids and pixels
    revision: str | None = None  # on the hub, if one was requested
    processor: str | None = None  # classes that produce ids and pixels
    device_name: str | None = None  # as the vendor calls it
    image_processor: str | None = None  # class and backend that produce pixels
    adapter: str | None = None  # folder of a PEFT adapter
    adapter_fingerprint: str | None = None  # digest of its weights and configuration
    quantization: Mapping[str, Any] | None = None  # configuration of transformers
    device_map: str | Mapping[str, Any] | None = None  # as requested
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    shortcuts: tuple[str, ...] = ()  # of the engine, measured to leave the numbers unchanged
    notice: str | None = None  # e.g. that this is the bundled demonstration model
    image_token_id: int | None = None  # of the tokens that image features replace


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSample:
    """One sample tokenised for one pass.

    ``inputs`` are the model's other inputs, as the processor returned them for this one sample.
    ``image_key`` is shared by samples with the very same images (compared by identity), so their
    image features are computed only once; None without an image. ``pieces`` and ``segments`` are
    empty if the model does not know them.
    """

    input_ids: tuple[int, ...]  # (length,) token ids
    turn_ids: tuple[int, ...]  # (length,) the answer that each token belongs to, or -1
    inputs: Mapping[str, Any] = field(default_factory=dict)
    pieces: tuple[str, ...] = ()  # (answer_tokens,) answer tokens as text
    image_key: object | None = None
    segments: tuple[int, ...] = ()  # (answer_tokens,) the Segment of each
    text_altered: bool = False  # control tokens in its text were broken up, to be read as text
    thoughts_dropped: int = 0  # answers whose thought the chat template leaves out
    truncated: bool = False  # some of its answers were cut to fit the model
    text: str = ""  # the rendered prompt before image placeholders are expanded

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """Token ids of the answers, in order."""
        pairs = zip(self.input_ids, self.turn_ids, strict=True)
        return tuple(token for token, turn in pairs if turn >= 0)

    @property
    def answer_turns(self) -> tuple[int, ...]:
        """The turn of each answer token, in the same order."""
        return tuple(turn for turn in self.turn_ids if turn >= 0)


class PromptReader(Protocol):
    """The encoding half of a model."""

    @property
    def info(self) -> ModelInfo:
        """Identity and settings."""
        ...

    def neutral_colour(self) -> Colour | None:
        """Return the colour that the model maps to zero, or None if there is none."""
        ...

    def freeze_date(self, moment: datetime) -> None:
        """Make ``moment`` the current date for chat templates that write the date."""
        ...

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenise a conversation; without images, for the text-only pass.

        The same image objects in consecutive calls are processed once. May be called from several
        threads. Raises PromptProblem if the model cannot read the sample.
        """
        ...

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenise a conversation for the ``reference`` baseline, as the paper's code does.

        Each image placeholder stays one token, which is masked but keeps its position. Raises
        PromptProblem, also if the model's positions follow its mask.
        """
        ...


class VisionLanguageModel(PromptReader, Protocol):
    """A model that reads conversations with images."""

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenise a conversation that ends with a human turn, for ``generate``; see ``encode``."""
        ...

    def encode_without_image(
        self, turns: Sequence[Turn], images: Sequence[Image.Image], removed: int
    ) -> EncodedSample:
        """Tokenise a conversation without the image at position ``removed``; see ``encode``.

        Only what the prompt contains for this image is removed. Raises PromptProblem, also if that
        cannot be separated from other images.
        """
        ...

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        """Return -log P of each answer token in nats: per sample an (answer_tokens,) array.

        Accepts any number of samples and splits them into batches that fit. A sample that does not
        fit even alone gives None.
        """
        ...

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        """Return greedy answers to prompts from ``encode_prompt``; None as in ``answer_losses``."""
        ...
