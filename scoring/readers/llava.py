"""The LLaVA family of records: ``conversations`` with ``from``/``value`` and an ``image`` key.

A record that is not understood becomes a ``bad_record`` sample with its reason: it keeps its
place, so that counts in equal counts out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from scoring.readers.json_stream import RawRecord
from scoring.samples import Role, Sample, Status, Turn

PLACEHOLDER = "<image>"
_ROLES = {
    "system": Role.SYSTEM,
    "human": Role.HUMAN,
    "user": Role.HUMAN,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
}


class _BadRecord(Exception):
    """What is wrong with a record, in words."""


def to_sample(row_idx: int, record: RawRecord, file_stem: str) -> Sample:
    """Understands one record.

    ``source`` is the record's own key, else the first folder of its image path, else the name of
    the file it came from (``file_stem``).
    """
    value: Mapping[str, object] = record.value if isinstance(record.value, dict) else {}
    images: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    try:
        if record.problem:
            raise _BadRecord(record.problem)
        if not isinstance(record.value, dict):
            raise _BadRecord(f"a record is an object, this is a {type(record.value).__name__}")
        images = _images(value)
        turns, status, reason = _place_images(_turns(value), images)
        if value.get("video"):
            status, reason = Status.VIDEO, "video records are not scored"
        elif status is Status.PENDING:
            status, reason = _answerable(turns, images)
    except _BadRecord as problem:
        status, reason = Status.BAD_RECORD, str(problem)
    return Sample(
        row_idx=row_idx,
        id=_identifier(value.get("id")),
        source=_source(value, images, file_stem),
        images=images,
        turns=turns,
        original=record.original,
        status=status,
        reason=reason,
    )


def clean_text(text: str) -> str:
    """Text that can be stored and tokenised: lone surrogates become the replacement character."""
    return text.encode("utf-8", "replace").decode("utf-8") if not text.isascii() else text


def _identifier(value: object) -> str | None:
    return clean_text(str(value)) if isinstance(value, str | int | float) else None


def _source(value: Mapping[str, object], images: tuple[str, ...], file_stem: str) -> str:
    named = value.get("source")
    if isinstance(named, str) and named.strip():
        return clean_text(named.strip())
    parts = PurePosixPath(images[0]).parts if images else ()
    folders = [part for part in parts[:-1] if part not in ("/", ".", "..")]
    return folders[0] if folders else clean_text(file_stem)


def _images(value: Mapping[str, object]) -> tuple[str, ...]:
    found = value.get("image")
    if not found:
        return ()
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(reference, str) and reference for reference in listed):
        raise _BadRecord(f"'image' is a path or a list of paths, this is {_shown(found)}")
    return tuple(clean_text(str(reference)) for reference in listed)


def _turns(value: Mapping[str, object]) -> list[Turn]:
    conversation = value.get("conversations")
    if not isinstance(conversation, list) or not conversation:
        raise _BadRecord(f"'conversations' is a list of turns, this is {_shown(conversation)}")
    turns = [_turn(position, message) for position, message in enumerate(conversation, start=1)]
    expected = Role.HUMAN
    for position, turn in enumerate(turns, start=1):
        if position == 1 and turn.role is Role.SYSTEM:
            continue
        if turn.role is not expected:
            raise _BadRecord(f"turn {position} is from {turn.role}, expected {expected}")
        expected = Role.ASSISTANT if expected is Role.HUMAN else Role.HUMAN
    return turns


def _turn(position: int, message: object) -> Turn:
    if not isinstance(message, dict):
        raise _BadRecord(f"turn {position} is {_shown(message)}, not an object")
    role, text = message.get("from"), message.get("value")
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise _BadRecord(f"turn {position} is from {_shown(role)}; known are {', '.join(_ROLES)}")
    if not isinstance(text, str):
        raise _BadRecord(f"the value of turn {position} is {_shown(text)}, not text")
    return Turn(_ROLES[role.lower()], clean_text(text))


def _place_images(
    turns: list[Turn], images: tuple[str, ...]
) -> tuple[tuple[Turn, ...], Status, str | None]:
    """Turns with image positions instead of placeholders; a status where the numbers differ.

    An image without any placeholder stands before the first human turn, on a line of its own, as
    trainers of this family put it.
    """
    if not images:
        return tuple(turns), Status.PENDING, None
    placed = [_split(turn) if turn.role is Role.HUMAN else turn for turn in turns]
    found = sum(len(turn.image_offsets) for turn in placed)
    if found == 0:
        first = next(index for index, turn in enumerate(placed) if turn.role is Role.HUMAN)
        placed[first] = Turn(Role.HUMAN, "\n" + placed[first].text, (0,) * len(images))
    elif found != len(images):
        reason = f"{found} placeholder(s) {PLACEHOLDER} for {len(images)} image(s)"
        return tuple(placed), Status.PLACEHOLDER_MISMATCH, reason
    return tuple(placed), Status.PENDING, None


def _split(turn: Turn) -> Turn:
    pieces = turn.text.split(PLACEHOLDER)
    offsets, length = [], 0
    for piece in pieces[:-1]:
        length += len(piece)
        offsets.append(length)
    return Turn(turn.role, "".join(pieces), tuple(offsets))


def _answerable(turns: tuple[Turn, ...], images: tuple[str, ...]) -> tuple[Status, str | None]:
    if not any(turn.role is Role.ASSISTANT and turn.text.strip() for turn in turns):
        return Status.NO_ANSWER, "no assistant turn holds any text"
    if not images:
        return Status.TEXT_ONLY, "the record has no image"
    return Status.PENDING, None


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
