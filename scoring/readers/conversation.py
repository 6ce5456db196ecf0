"""From what a record says to turns with image positions, the same for every family.

A family of formats turns its record into messages: text with slots where images stand. Here the
roles become turns, placeholders in the text become positions, and what does not fit together gets
its status. The one decision behind it: a placeholder counts only where the record has images for
it, so that a literal ``<image>`` in a text-only record stays text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scoring.samples import Role, Status, Turn
from scoring.unicode_text import replace_surrogates

PLACEHOLDER = "<image>"
_CONTEXT = "<IMG_CONTEXT>"
PLACEHOLDERS = (PLACEHOLDER, "<ImageHere>", _CONTEXT, "<__dj__image>", "<|image|>")
_TAG = re.compile(r"<img>([^<>\n]{1,4096})</img>")
_IMAGE_LIKE = re.compile(r"(?:https?|file)://|\.(?:jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_NUMBERED = re.compile(r"<image[ _]?([0-9]{1,3})>")
"""A placeholder that names its image by a number."""

ROLES: Mapping[str, Role] = {
    "system": Role.SYSTEM,
    "human": Role.HUMAN,
    "user": Role.HUMAN,
    "gpt": Role.ASSISTANT,
    "assistant": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "chatgpt": Role.ASSISTANT,
    "evaluator": Role.ASSISTANT,
    "pretrain": Role.ASSISTANT,
}
AUXILIARY_ROLES: Mapping[str, Role] = {
    "context": Role.HUMAN,
    "tool": Role.HUMAN,
    "tool_response": Role.HUMAN,
    "observation": Role.HUMAN,
    "function_response": Role.HUMAN,
    "tool_call": Role.ASSISTANT,
    "function_call": Role.ASSISTANT,
    "function": Role.HUMAN,
}
"""Roles that may stand beside a turn of the same side; both become one turn."""
_KNOWN: Mapping[str, Role] = {**ROLES, **AUXILIARY_ROLES}


class BadRecord(Exception):
    """What is wrong with a record, in words."""


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """A place where an image stands.

    ``reference`` is its own image, ``index`` one of the record's list; without both, the next of
    that list that no other slot took.
    """

    reference: str | None = None
    index: int | None = None


_OPEN = ImageSlot()
Piece = str | ImageSlot


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a record, before its role is understood."""

    role: str
    parts: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The text without slots."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """What a record was taken for."""

    images: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    status: Status = Status.PENDING
    reason: str | None = None


def assemble_turns(
    messages: Sequence[Message],
    images: Sequence[str] = (),
    *,
    named: Mapping[str, str] | None = None,
    roles: Mapping[str, Role] | None = None,
    system: str | None = None,
) -> ParsedRecord:
    """Turns and images of one record.

    ``images`` are those the record lists apart from its messages; ``named`` are images by the
    placeholder that stands for each (``<image_00>``). ``roles`` are further names of roles;
    ``system`` is the system prompt of messages that do not begin with one of their own.
    Raises BadRecord where the messages are no conversation.
    """
    known = {**_KNOWN, **roles} if roles else _KNOWN
    sided = [_sided(position, message, known) for position, message in enumerate(messages, 1)]
    if system and sided and sided[0][0] is not Role.SYSTEM:
        sided.insert(0, (Role.SYSTEM, (system,), False))
    joined = _join(sided)
    misnamed = None
    if images and not named and not _holds_placeholder(joined):
        named = _number(joined, images)
    if named:
        joined, misnamed = _place_named(joined, named)
        images = () if _slots(joined) else tuple(named.values())
    joined, references, problem = _settle(joined, list(images))
    problem = misnamed or problem
    turns = tuple(_turn(role, parts) for role, parts in joined)
    if any(turn.image_offsets for turn in turns if turn.role is Role.ASSISTANT):
        problem = problem or "an image stands inside an answer"
    if problem:
        return ParsedRecord(tuple(references), turns, Status.PLACEHOLDER_MISMATCH, problem)
    return set_status(ParsedRecord(tuple(references), turns))


def set_status(found: ParsedRecord) -> ParsedRecord:
    """``found`` with the status that its turns and images call for."""
    if not any(turn.role is Role.ASSISTANT and turn.text.strip() for turn in found.turns):
        return replace(found, status=Status.NO_ANSWER, reason="no assistant turn holds any text")
    if not found.images:
        return replace(found, status=Status.TEXT_ONLY, reason=_why_text_only(found.turns))
    return found


NO_IMAGE_REASON = "the record has no image"


def _why_text_only(turns: Sequence[Turn]) -> str:
    """With the placeholder that stands in a question all the same."""
    for text in (turn.text for turn in turns if turn.role is Role.HUMAN and "<" in turn.text):
        number = _NUMBERED.search(text)
        if token := number[0] if number else next((t for t in PLACEHOLDERS if t in text), None):
            return f"{NO_IMAGE_REASON}, but its text holds {token}"
    return NO_IMAGE_REASON


def quote_value(value: object) -> str:
    """``value`` as an error message quotes it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_Sided = tuple[Role, tuple[Piece, ...], bool]
_Joined = list[tuple[Role, tuple[Piece, ...]]]


def _sided(position: int, message: Message, known: Mapping[str, Role]) -> _Sided:
    role = message.role.lower()
    if role not in known:
        raise BadRecord(
            f"turn {position} is from {quote_value(message.role)}; known are {', '.join(known)}"
        )
    return known[role], message.parts, role in AUXILIARY_ROLES


def _join(sided: Sequence[_Sided]) -> _Joined:
    """Messages of tools and contexts joined with their neighbours; then sides must alternate."""
    joined: _Joined = []
    expected, beside_before = Role.HUMAN, False
    for position, (role, parts, beside) in enumerate(sided, start=1):
        if position == 1 and role is Role.SYSTEM:
            joined.append((role, parts))
            continue
        if joined and role is joined[-1][0] and (beside or beside_before):
            joined[-1] = (role, (*joined[-1][1], "\n", *parts))
        elif role is expected:
            joined.append((role, parts))
            expected = Role.ASSISTANT if expected is Role.HUMAN else Role.HUMAN
        else:
            raise BadRecord(f"turn {position} is from {role}, expected {expected}")
        beside_before = beside
    return joined


def _settle(joined: _Joined, images: list[str]) -> tuple[_Joined, list[str], str | None]:
    """Slots for all images, each with its reference, or what does not fit."""
    own = [slot for slot in _slots(joined) if slot.reference]
    if own and images and [slot.reference for slot in own] == images:
        images = []  # the list repeats what the messages say
    if not _slots(joined) and not images:
        joined = _split_tags(joined)
    elif own and len(own) == len(_slots(joined)) and not images:
        joined = _move_to_tokens(joined, own)
    elif images and not _slots(joined):
        placed, found, token = _split_tokens(joined, len(images))
        if found not in (0, len(images)):
            reason = f"{found} placeholder(s) {token} for {len(images)} image(s)"
            return placed, images, reason
        joined = placed if found else _before_first(joined, len(images))
    return _fill(joined, images)


def _fill(joined: _Joined, images: list[str]) -> tuple[_Joined, list[str], str | None]:
    """Every slot with the image it shows, in the order of occurrence."""
    slots = _slots(joined)
    if len(slots) == len(images) and all(one == _OPEN for one in slots):
        return joined, images, None
    open_slots = [slot for slot in slots if not slot.reference]
    indices = [slot.index for slot in open_slots]
    if open_slots and sorted(index for index in indices if index is not None) != list(
        range(len(images))
    ):
        indices = [None] * len(open_slots)
    waiting = iter(images)
    references: list[str] = []
    if len(open_slots) != len(images):
        reason = f"{len(slots)} place(s) for {len(images) + len(slots) - len(open_slots)} image(s)"
        own = [slot.reference for slot in slots if slot.reference]
        return joined, [*own, *images], reason
    numbered = iter(indices)
    for slot in slots:
        if slot.reference:
            references.append(slot.reference)
        else:
            index = next(numbered)
            references.append(next(waiting) if index is None else images[index])
    return joined, references, None


def _slots(joined: _Joined) -> list[ImageSlot]:
    return [part for _, parts in joined for part in parts if isinstance(part, ImageSlot)]


def _split_tokens(joined: _Joined, n_images: int) -> tuple[_Joined, int, str]:
    """Human turns cut at the placeholder that fits; the number found, and which it was."""
    texts = _human_texts(joined)
    counts = dict.fromkeys(PLACEHOLDERS, 0)
    for token in PLACEHOLDERS:
        for text in texts:
            counts[token] += text.count(token)
        if counts[token] == n_images:
            break
    fitting = [token for token, count in counts.items() if count == n_images]
    present = [token for token, count in counts.items() if count]
    token = (fitting or present or [PLACEHOLDER])[0]
    if counts[token] == 0:
        return joined, 0, token
    return _cut(joined, re.compile(re.escape(token))), counts[token], token


def _move_to_tokens(joined: _Joined, own: Sequence[ImageSlot]) -> _Joined:
    """``<IMG_CONTEXT>`` in the text is the true place of an image that a part names."""
    if sum(part.count(_CONTEXT) for part in _human_texts(joined)) != len(own):
        return joined
    bare: _Joined = [
        (role, tuple(part for part in parts if isinstance(part, str))) for role, parts in joined
    ]
    cut = _cut(bare, re.compile(re.escape(_CONTEXT)))
    waiting = iter(own)
    return [
        (role, tuple(next(waiting) if isinstance(part, ImageSlot) else part for part in parts))
        for role, parts in cut
    ]


def _split_tags(joined: _Joined) -> _Joined:
    """``<img>path</img>`` inside the text of a record that names no image elsewhere."""
    found = [tag for text in _human_texts(joined) for tag in _TAG.findall(text)]
    if not found or not all(_IMAGE_LIKE.search(tag.strip()) for tag in found):
        return joined
    return _cut(joined, _TAG)


def _holds_placeholder(joined: _Joined) -> bool:
    texts = _human_texts(joined)
    return bool(_slots(joined)) or any(token in text for text in texts for token in PLACEHOLDERS)


def _number(joined: _Joined, images: Sequence[str]) -> Mapping[str, str] | None:
    """Images of a list by the number that the text gives them, counted from 0 or from 1."""
    numbers = {int(number) for text in _human_texts(joined) for number in _NUMBERED.findall(text)}
    for first in (0, 1):
        if numbers == set(range(first, first + len(images))):
            return {f"<image {first + place}>": image for place, image in enumerate(images)}
    return None


def _place_named(joined: _Joined, named: Mapping[str, str]) -> tuple[_Joined, str | None]:
    """Human turns cut at the placeholders of ``named``, and why these do not fit, if so.

    A number stands for the same image however it is written: ``<image 1>``, ``<image_01>``.
    """
    by_number = {int(n[1]): name for name in named if (n := _NUMBERED.fullmatch(name))}
    spelled = "|".join(re.escape(name) for name in sorted(named, key=len, reverse=True))
    placeholder = re.compile(f"({spelled}|<image[ _]?[0-9]{{1,3}}>)")
    left, unknown = set(named), ""
    result: _Joined = []
    for role, parts in joined:
        pieces: list[Piece] = []
        for part in parts:
            if isinstance(part, ImageSlot) or role is not Role.HUMAN:
                pieces.append(part)
                continue
            for position, piece in enumerate(placeholder.split(part)):
                name = piece if piece in named else None
                if position % 2 and name is None and (number := _NUMBERED.fullmatch(piece)):
                    name = by_number.get(int(number[1]))
                    unknown = unknown or ("" if name else piece)
                left.discard(name or "")
                pieces.append(ImageSlot(named[name]) if name else piece)
        result.append((role, tuple(pieces)))
    if unknown:
        return result, f"the text names {unknown}, the record has no such image"
    if left and left != set(named):
        return result, f"the text does not name {min(left)}, one of {len(named)} images"
    return result, None


def _cut(joined: _Joined, pattern: re.Pattern[str]) -> _Joined:
    """Human texts cut at ``pattern``; its first group is the slot's own reference."""
    result: _Joined = []
    for role, parts in joined:
        if role is not Role.HUMAN:
            result.append((role, parts))
            continue
        pieces: list[Piece] = []
        for part in parts:
            if isinstance(part, ImageSlot):
                pieces.append(part)
                continue
            at = 0
            for match in pattern.finditer(part):
                pieces += [part[at : match.start()]]
                pieces += [
                    ImageSlot(replace_surrogates(match[1].strip()) if pattern.groups else None)
                ]
                at = match.end()
            pieces.append(part[at:])
        result.append((role, tuple(pieces)))
    return result


def _before_first(joined: _Joined, n_images: int) -> _Joined:
    """Images without a place stand before the first human turn, on a line of their own."""
    result = list(joined)
    slots: tuple[Piece, ...] = (ImageSlot(),) * n_images
    for index, (role, parts) in enumerate(joined):
        if role is Role.HUMAN:
            result[index] = (role, (*slots, "\n", *parts))
            break
    return result


def _human_texts(joined: _Joined) -> list[str]:
    return [
        part
        for role, parts in joined
        if role is Role.HUMAN
        for part in parts
        if isinstance(part, str)
    ]


def _turn(role: Role, parts: Sequence[Piece]) -> Turn:
    texts: list[str] = []
    offsets: list[int] = []
    length = 0
    for part in parts:
        if isinstance(part, ImageSlot):
            offsets.append(length)
        else:
            text = replace_surrogates(part)
            texts.append(text)
            length += len(text)
    return Turn(role, "".join(texts), tuple(offsets))
