"""A sample: one record of a dataset, understood, with its original bytes untouched.

Placeholders such as ``<image>`` are not part of the text: a turn keeps the positions at which
images stand. So a literal ``<image>`` in a text-only record stays text, and the text-only pass
removes images by leaving the positions out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Status(StrEnum):
    """Why a sample has a score, or why it has none. Closed list."""

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
    """Who speaks in a turn."""

    SYSTEM = "system"
    HUMAN = "human"
    ASSISTANT = "assistant"


class Segment(IntEnum):
    """Which part of an answer a token belongs to."""

    CONTENT = 0
    THOUGHT = 1  # reasoning before the content, where the chat template keeps it
    END = 2  # the end-of-turn token that the template writes, where it is scored


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    ``image_offsets`` are the character positions of ``text`` at which an image stands, ascending;
    images are taken from the sample in the order of their occurrence over all turns.
    """

    role: Role
    text: str
    image_offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sample:
    """One record of a dataset.

    ``row_idx`` is the 0-based position in the dataset and the identity of the sample; ``id`` may
    repeat or be absent. ``status`` is ``pending`` when the sample can be scored as far as its
    record tells, otherwise the reason why not, which ``reason`` puts into words. ``original``
    holds the exact bytes of the record where it came as JSON; else it is empty, and ``origin``
    tells the file and the place in it (``train.parquet#row=7``).
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
        """The first human turn, without placeholders and outer white space."""
        return next((turn.text.strip() for turn in self.turns if turn.role is Role.HUMAN), "")

    @property
    def answer(self) -> str:
        """The first assistant turn: the reference answer that predictions stand beside."""
        return next((turn.text.strip() for turn in self.turns if turn.role is Role.ASSISTANT), "")

    @property
    def n_turns(self) -> int:
        """How many answers the conversation holds."""
        return sum(turn.role is Role.ASSISTANT for turn in self.turns)
