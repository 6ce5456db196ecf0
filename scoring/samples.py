"""A sample: one parsed dataset record together with its unchanged original bytes.

Placeholders such as ``<image>`` are not part of the text: a turn stores the positions of its
images. A literal ``<image>`` in a text-only record therefore stays text, and the text-only pass
removes images by leaving out the positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """Whether a sample has a score, or why not. Closed list."""

    SCORED = "scored"
    PENDING = "pending"
    TEXT_ONLY = "text_only"
    VIDEO = "video"
    MISSING_IMAGE = "missing_image"
    BAD_IMAGE = "bad_image"
    REFUSED_PATH = "refused_path"
    BAD_RECORD = "bad_record"
    PLACEHOLDER_MISMATCH = "placeholder_mismatch"
    NO_ANSWER = "no_answer"
    TOO_LONG = "too_long"
    TOKEN_MISMATCH = "token_mismatch"  # noqa: S105 - a status, not a secret
    NON_FINITE = "non_finite"
    OUT_OF_MEMORY = "out_of_memory"


class Role(StrEnum):
    """The author of a turn."""

    SYSTEM = "system"
    HUMAN = "human"
    ASSISTANT = "assistant"


class Segment(IntEnum):
    """The segment of an answer that a token belongs to."""

    CONTENT = 0
    THOUGHT = 1  # reasoning before the content, if the chat template keeps it
    END = 2  # the end-of-turn token of the chat template, if it is scored


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    ``image_offsets`` are the character positions of the images in ``text``, ascending. The images
    themselves are ``Sample.images``, in the order in which they occur over all turns.
    """

    role: Role
    text: str
    image_offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a dataset.

    ``row_idx`` is the 0-based position in the dataset and identifies the sample; ``id`` may repeat
    or be absent. ``status`` is ``pending`` if nothing in the record prevents scoring, otherwise
    the status states why it cannot be scored, explained by ``reason``. ``original`` holds the exact
    bytes of a JSON record; for other files it is empty, and ``origin`` gives the file and the
    position in it (``train.parquet#row=7``).
    """

    row_idx: int
    id: str | None
    source: str
    images: tuple[str, ...]
    turns: tuple[Turn, ...]
    original: bytes
    status: Status = Status.PENDING
    reason: str | None = None
    origin: str | None = None

    @property
    def question(self) -> str:
        """The first human turn, without placeholders and surrounding whitespace."""
        return next((turn.text.strip() for turn in self.turns if turn.role is Role.HUMAN), "")

    @property
    def answer(self) -> str:
        """The first assistant turn: the reference answer that predictions are compared with."""
        return next((turn.text.strip() for turn in self.turns if turn.role is Role.ASSISTANT), "")

    @property
    def n_turns(self) -> int:
        """Number of answers in the conversation."""
        return sum(turn.role is Role.ASSISTANT for turn in self.turns)
