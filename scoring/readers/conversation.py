"""Turns with image positions, assembled from the messages of a record of any family.

A family parses its record into messages: text with slots where images belong. This module turns
roles into turns and placeholders into positions, and gives a status to records that do not fit
together. A placeholder counts only if the record has images for it, so a literal ``<image>`` in a
text-only record stays text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from scoring.samples import Role, Status, Turn
from scoring.unicode_text import replace_surrogates

PLACEHOLDER = "<image>"
_CONTEXT = "<IMG_CONTEXT>"
PLACEHOLDERS = (PLACEHOLDER, "<ImageHere>", _CONTEXT, "<__dj__image>", "<|image|>")
_TAG = re.compile(r"<img>([^<>\n]{1,4096})</img>")
_IMAGE_LIKE = re.compile(r"(?:https?|file)://|\.(?:jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_NUMBERED = re.compile(r"<image[ _]?([0-9]{1,3})>")
"""A placeholder that refers to its image by number."""

ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    **dict.fromkeys(("human", "user"), Role.HUMAN),
    **dict.fromkeys(
        ("gpt", "assistant", "bot", "model", "chatgpt", "evaluator", "pretrain"), Role.ASSISTANT
    ),
}
AUXILIARY_ROLES: Mapping[str, Role] = {
    **dict.fromkeys(
        ("context", "tool", "tool_response", "observation", "function_response"), Role.HUMAN
    ),
    **dict.fromkeys(("tool_call", "function_call"), Role.ASSISTANT),
    "function": Role.HUMAN,
}
"""Roles whose message may precede or follow a turn of the same side; both become one turn."""
_ALL_ROLES: Mapping[str, Role] = {**ROLES, **AUXILIARY_ROLES}

NO_IMAGE_REASON = "the record has no image"


class BadRecord(Exception):
    """A record that cannot be parsed; the message explains why."""


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """The position of an image in a message.

    ``reference`` is the slot's own image, ``index`` selects one of the record's image list. A slot
    with neither takes the next image of that list that no other slot uses.
    """

    reference: str | None = None
    index: int | None = None


_OPEN = ImageSlot()
Piece = str | ImageSlot


class Message(NamedTuple):
    """One message of a record, before its role is interpreted."""

    role: str
    parts: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """Images, turns and status of one record."""

    images: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    status: Status = Status.PENDING
    reason: str | None = None


_Joined = list[tuple[Role, tuple[Piece, ...]]]


def assemble_turns(
    messages: Sequence[Message],
    images: Sequence[str] = (),
    *,
    named: Mapping[str, str] | None = None,
    roles: Mapping[str, Role] | None = None,
    system: str | None = None,
) -> ParsedRecord:
    """Assemble the turns and images of one record. Raises BadRecord for no conversation.

    ``images`` are those that the record lists outside its messages, ``named`` those by placeholder
    (``<image_00>``). ``roles`` are additional role names. The ``system`` prompt is used if the
    messages do not start with one.
    """
    joined = _merge_messages(messages, {**_ALL_ROLES, **roles} if roles else _ALL_ROLES, system)
    texts = _human_texts(joined)
    has_placeholder = _slots(joined) or any(
        token in text for text in texts for token in PLACEHOLDERS
    )
    if images and not named and not has_placeholder:
        named = _name_by_number(texts, images)
    mismatch = None
    if named:
        joined, mismatch = _place_named(joined, named)
        images = () if _slots(joined) else tuple(named.values())
    joined, references, problem = _place_images(joined, list(images))
    problem = mismatch or problem
    turns = tuple(_build_turn(role, parts) for role, parts in joined)
    if any(turn.image_offsets for turn in turns if turn.role is Role.ASSISTANT):
        problem = problem or "an answer contains an image"
    if problem:
        return ParsedRecord(tuple(references), turns, Status.PLACEHOLDER_MISMATCH, problem)
    return set_status(ParsedRecord(tuple(references), turns))


def set_status(parsed: ParsedRecord) -> ParsedRecord:
    """Return ``parsed`` with the status that follows from its turns and images."""
    if not any(turn.role is Role.ASSISTANT and turn.text.strip() for turn in parsed.turns):
        return replace(parsed, status=Status.NO_ANSWER, reason="no assistant turn contains text")
    if parsed.images:
        return parsed
    reason = NO_IMAGE_REASON
    for text in (turn.text for turn in parsed.turns if turn.role is Role.HUMAN):
        number = _NUMBERED.search(text) if "<" in text else None
        if token := number[0] if number else next((t for t in PLACEHOLDERS if t in text), None):
            reason = f"{NO_IMAGE_REASON}, but its text contains {token}"
            break
    return replace(parsed, status=Status.TEXT_ONLY, reason=reason)


def quote_value(value: object) -> str:
    """Return ``value`` as an error message quotes it, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def insert_placeholders(turn: Turn, token: str = PLACEHOLDER) -> str:
    """Return the text of a turn with a placeholder for each of its images."""
    start, pieces = 0, []
    for offset in turn.image_offsets:
        pieces += [turn.text[start:offset], token]
        start = offset
    return "".join([*pieces, turn.text[start:]])


def _merge_messages(
    messages: Sequence[Message], known: Mapping[str, Role], system: str | None
) -> _Joined:
    """Merge tool and context messages into their neighbours; the sides must then alternate."""
    sided: list[tuple[Role, tuple[Piece, ...], bool]] = []
    for position, message in enumerate(messages, start=1):
        role_name = message.role.lower()
        if role_name not in known:
            raise BadRecord(
                f"turn {position} has the unknown role {quote_value(message.role)}; "
                f"known roles: {', '.join(known)}"
            )
        sided.append((known[role_name], message.parts, role_name in AUXILIARY_ROLES))
    if system and sided and sided[0][0] is not Role.SYSTEM:
        sided.insert(0, (Role.SYSTEM, (system,), False))
    joined: _Joined = []
    expected, after_auxiliary = Role.HUMAN, False
    for position, (role, parts, auxiliary) in enumerate(sided, start=1):
        if position == 1 and role is Role.SYSTEM:
            joined.append((role, parts))
            continue
        if joined and role is joined[-1][0] and (auxiliary or after_auxiliary):
            joined[-1] = (role, (*joined[-1][1], "\n", *parts))
        elif role is expected:
            joined.append((role, parts))
            expected = Role.ASSISTANT if expected is Role.HUMAN else Role.HUMAN
        else:
            raise BadRecord(f"turn {position} is from {role}, expected {expected}")
        after_auxiliary = auxiliary
    return joined


def _place_images(joined: _Joined, images: list[str]) -> tuple[_Joined, list[str], str | None]:
    """Return the turns with a slot per image, the images by slot, and what does not fit."""
    slots, texts = _slots(joined), _human_texts(joined)
    own = [slot for slot in slots if slot.reference]
    if own and images and [slot.reference for slot in own] == images:
        images = []  # the list repeats the references in the messages
    if not slots and not images:
        tags = [tag for text in texts for tag in _TAG.findall(text)]
        if tags and all(_IMAGE_LIKE.search(tag.strip()) for tag in tags):
            joined = _split_texts(
                joined, _TAG, lambda path: ImageSlot(replace_surrogates(path.strip()))
            )
    elif own and len(own) == len(slots) and not images:
        joined = _move_to_context_tokens(joined, own)
    elif images and not slots:
        fitting = (token for token in PLACEHOLDERS if _count(token, texts) == len(images))
        present = (token for token in PLACEHOLDERS if _count(token, texts))
        token = next(fitting, None) or next(present, PLACEHOLDER)
        n_placeholders = _count(token, texts)
        if n_placeholders:
            joined = _split_texts(joined, re.compile(f"({re.escape(token)})"), lambda _: _OPEN)
        else:
            _prepend_slots(joined, len(images))
        if n_placeholders not in (0, len(images)):
            reason = f"{n_placeholders} placeholder(s) {token} for {len(images)} image(s)"
            return joined, images, reason
    return _fill_slots(joined, images)


def _fill_slots(joined: _Joined, images: list[str]) -> tuple[_Joined, list[str], str | None]:
    """Assign an image to every slot, in order of occurrence."""
    slots = _slots(joined)
    if len(slots) == len(images) and all(slot == _OPEN for slot in slots):
        return joined, images, None
    own = [slot.reference for slot in slots if slot.reference]
    indices = [slot.index for slot in slots if not slot.reference]
    if len(indices) != len(images):
        reason = f"{len(slots)} image position(s) for {len(images) + len(own)} image(s)"
        return joined, [*own, *images], reason
    if sorted(index for index in indices if index is not None) != list(range(len(images))):
        indices = [None] * len(indices)
    unused, next_index = iter(images), iter(indices)
    references: list[str] = []
    for slot in slots:
        if slot.reference:
            references.append(slot.reference)
        else:
            index = next(next_index)
            references.append(next(unused) if index is None else images[index])
    return joined, references, None


def _slots(joined: _Joined) -> list[ImageSlot]:
    return [part for _, parts in joined for part in parts if isinstance(part, ImageSlot)]


def _human_texts(joined: _Joined) -> list[str]:
    human = (parts for role, parts in joined if role is Role.HUMAN)
    return [part for parts in human for part in parts if isinstance(part, str)]


def _count(token: str, texts: Sequence[str]) -> int:
    return sum(text.count(token) for text in texts)


def _split_texts(
    joined: _Joined, pattern: re.Pattern[str], to_piece: Callable[[str], Piece]
) -> _Joined:
    """Split human texts at ``pattern``, and replace what its only group matched by a piece."""
    result: _Joined = []
    for role, parts in joined:
        pieces: list[Piece] = []
        for part in parts:
            if isinstance(part, ImageSlot) or role is not Role.HUMAN:
                pieces.append(part)
                continue
            split = enumerate(pattern.split(part))
            pieces += [to_piece(text) if position % 2 else text for position, text in split]
        result.append((role, tuple(pieces)))
    return result


def _move_to_context_tokens(joined: _Joined, own: Sequence[ImageSlot]) -> _Joined:
    """Move images named by typed parts to the ``<IMG_CONTEXT>`` tokens, their true positions."""
    if _count(_CONTEXT, _human_texts(joined)) != len(own):
        return joined
    bare: _Joined = [
        (role, tuple(part for part in parts if isinstance(part, str))) for role, parts in joined
    ]
    unused = iter(own)
    return _split_texts(bare, re.compile(f"({re.escape(_CONTEXT)})"), lambda _: next(unused))


def _name_by_number(texts: Sequence[str], images: Sequence[str]) -> Mapping[str, str] | None:
    """Return listed images by the placeholder number in the text, counted from 0 or from 1."""
    numbers = {int(number) for text in texts for number in _NUMBERED.findall(text)}
    for first in (0, 1):
        if numbers == set(range(first, first + len(images))):
            return {f"<image {number}>": image for number, image in enumerate(images, first)}
    return None


def _place_named(joined: _Joined, named: Mapping[str, str]) -> tuple[_Joined, str | None]:
    """Split human turns at the placeholders of ``named``; also return why they do not fit.

    A number refers to the same image in any spelling: ``<image 1>``, ``<image_01>``.
    """
    by_number = {int(n[1]): name for name in named if (n := _NUMBERED.fullmatch(name))}
    spelled = "|".join(re.escape(name) for name in sorted(named, key=len, reverse=True))
    placeholder = re.compile(f"({spelled}|<image[ _]?[0-9]{{1,3}}>)")
    unused, unknown = set(named), []

    def to_piece(token: str) -> Piece:
        name = token if token in named else by_number.get(int(_NUMBERED.findall(token)[0]))
        if name is None:
            unknown.append(token)
            return token
        unused.discard(name)
        return ImageSlot(named[name])

    result = _split_texts(joined, placeholder, to_piece)
    if unknown:
        return result, f"the text refers to {unknown[0]}, but the record has no such image"
    if unused and unused != set(named):
        return result, f"the text does not refer to {min(unused)}, one of {len(named)} images"
    return result, None


def _prepend_slots(joined: _Joined, n_images: int) -> None:
    """Put images without a position before the first human turn, on a line of their own."""
    for index, (role, parts) in enumerate(joined):
        if role is Role.HUMAN:
            joined[index] = (role, (*[_OPEN] * n_images, "\n", *parts))
            break


def _build_turn(role: Role, parts: Sequence[Piece]) -> Turn:
    texts: list[str] = []
    offsets: list[int] = []
    length = 0
    for part in parts:
        if isinstance(part, ImageSlot):
            offsets.append(length)
        else:
            texts.append(replace_surrogates(part))
            length += len(texts[-1])
    return Turn(role, "".join(texts), tuple(offsets))
