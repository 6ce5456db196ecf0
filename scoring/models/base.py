"""The seam to a vision-language model: what the scorer needs of one, without importing torch.

Tests put a hand-written model behind it that returns the losses they type in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scoring.samples import Turn


class OutOfMemoryError(Exception):
    """A batch did not fit the device; the same samples in smaller batches may."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What identifies a model and decides its numbers; goes into the run record."""

    name: str
    fingerprint: str  # digest of the weights
    family: str  # model_type of its configuration
    template: str  # own | llava_v1 | file:<digest>
    dtype: str
    device: str
    max_length: int  # tokens that fit its context
    score_eos: bool = True
    mean_colour: tuple[int, int, int] = (128, 128, 128)  # what its pixels are centred on, 0 to 255
    template_digest: str | None = None  # of the template's text
    files: Mapping[str, str] | None = None  # digests of what else decides ids and pixels, by name
    revision: str | None = None  # of the hub, where one was asked for
    processor: str | None = None  # classes that make ids and pixels
    device_name: str | None = None  # of the device's maker
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    shortcuts: tuple[str, ...] = ()  # of the engine, measured to leave the numbers as they are
    notice: str | None = None  # e.g. that this is the bundled demonstration model


@dataclass(frozen=True, slots=True, eq=False)
class EncodedSample:
    """One sample tokenised for one pass.

    ``turn_ids`` says for each of the ``input_ids`` (length L) which answer it belongs to, or -1.
    ``inputs`` holds what else the model is fed, as the processor gave it for this one sample.
    ``pieces`` are the answer tokens as text and ``segments`` the Segment of each, empty where the
    model does not know them. Samples with the very same images share their ``image_key`` (compared
    by identity), so that these need to be looked at only once; it is None without an image.
    ``text_altered``: control tokens in its text were broken up, so that they are read as text;
    ``thoughts_dropped``: answers whose thought the chat template leaves out.
    """

    input_ids: tuple[int, ...]
    turn_ids: tuple[int, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    pieces: tuple[str, ...] = ()
    image_key: object | None = None
    segments: tuple[int, ...] = ()
    text_altered: bool = False
    thoughts_dropped: int = 0

    @property
    def answer_ids(self) -> tuple[int, ...]:
        """Token ids of the answers, in order."""
        pairs = zip(self.input_ids, self.turn_ids, strict=True)
        return tuple(token for token, turn in pairs if turn >= 0)

    @property
    def answer_turns(self) -> tuple[int, ...]:
        """The turn of each answer token, in the same order."""
        return tuple(turn for turn in self.turn_ids if turn >= 0)


class VisionLanguageModel(Protocol):
    """A model that reads conversations with images."""

    @property
    def info(self) -> ModelInfo:
        """Identity and settings."""
        ...

    def freeze_date(self, moment: datetime) -> None:
        """Makes ``moment`` the current date of chat templates that write one."""
        ...

    def encode(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation; without images, for the text-only pass.

        The same image objects in calls one after the other are prepared once. May be called from
        several threads. Raises PromptProblem where the sample cannot be put before the model.
        """
        ...

    def encode_masked(self, turns: Sequence[Turn]) -> EncodedSample:
        """Tokenises a conversation for the ``reference`` baseline, as the paper's code does it:

        each image placeholder stays one token, which is masked but keeps its position. Raises
        PromptProblem, also where the model's positions follow its mask.
        """
        ...

    def encode_prompt(self, turns: Sequence[Turn], images: Sequence[Image.Image]) -> EncodedSample:
        """Tokenises a conversation that ends with a human turn, for ``generate``; as ``encode``."""
        ...

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        """-log P of each answer token, in nats, one array per sample, in order of the tokens.

        Takes any number of samples and makes the batches that fit; None stands for a sample that
        does not fit even alone.
        """
        ...

    def generate(self, prompts: Sequence[EncodedSample], max_new_tokens: int) -> list[str | None]:
        """Greedy answers to what ``encode_prompt`` gave; None as above."""
        ...
