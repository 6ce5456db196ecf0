"""An edit of a sample: operations on its conversation, a reason and a note. Pure.

An edit never changes a record. It is stored as an event, and applied where a record is shown or
exported. Its operations are all changes to the record as it was imported, so the newest edit is the
whole edit. It is pinned to the conversation that it was made for by a digest, and applies to
nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any, ClassVar

from scoring.errors import InputError
from scoring.image_references import image_path
from scoring.readers.conversation import ParsedRecord, set_status
from scoring.readers.turn_removal import EditError, remaining_turns
from scoring.samples import Role, Sample, Status, Turn
from scoring.unicode_text import replace_surrogates

_BY_CONVERSATION = (
    Status.PENDING,
    Status.TEXT_ONLY,
    Status.NO_ANSWER,
    Status.PLACEHOLDER_MISMATCH,
)
"""Statuses that follow from the turns and the number of images."""


@dataclass(frozen=True, slots=True)
class EditedConversation:
    """A conversation under edit: turns by their position in the record, and the images left.

    ``images`` are the numbers of the record's images, from 0, in the order of the placeholders.
    """

    turns: Mapping[int, Turn]
    images: tuple[int, ...]

    def find(self, position: int, role: Role | None = None) -> Turn:
        """Return the turn at a position of the record. Raise EditError where it is not there."""
        turn = self.turns.get(position)
        if turn is None or (role is not None and turn.role is not role):
            what = {Role.ASSISTANT: "answer", Role.HUMAN: "question"}.get(role or Role.SYSTEM)
            raise EditError(f"it has no {what or 'turn'} at position {position}")
        return turn

    def with_turn(self, position: int, turn: Turn) -> EditedConversation:
        """Return the conversation with another turn at a position."""
        return EditedConversation({**self.turns, position: turn}, self.images)

    def locate_image(self, image: int) -> tuple[int, int]:
        """Return (position, number within the turn) of a placeholder, counted from 0."""
        places = [
            (position, number)
            for position, turn in sorted(self.turns.items())
            for number in range(len(turn.image_offsets))
        ]
        if not 0 <= image < len(places):
            raise EditError(f"it has {len(places)} image placeholder(s), and no number {image + 1}")
        return places[image]


@dataclass(frozen=True, slots=True)
class SetText:
    """Replace the text of a turn, without placeholders; ``image_offsets`` are their positions."""

    op: ClassVar[str] = "set_text"
    position: int
    text: str
    image_offsets: tuple[int, ...] = ()

    def apply(self, before: EditedConversation) -> EditedConversation:
        """Return the conversation with the text. Raise EditError."""
        turn = before.find(self.position)
        n_before, n_after = len(turn.image_offsets), len(self.image_offsets)
        if n_before != n_after:
            raise EditError(f"the turn has {n_before} image placeholder(s), and its text {n_after}")
        if list(self.image_offsets) != sorted(self.image_offsets) or not all(
            0 <= offset <= len(self.text) for offset in self.image_offsets
        ):
            raise EditError("the positions of the placeholders are not inside the text")
        if turn.role is Role.ASSISTANT and not self.text.strip():
            raise EditError("an answer cannot be empty; drop the turn instead")
        return before.with_turn(self.position, Turn(turn.role, self.text, self.image_offsets))


@dataclass(frozen=True, slots=True)
class SwapAnswers:
    """Exchange the texts of two answers."""

    op: ClassVar[str] = "swap_answers"
    position: int
    other: int

    def apply(self, before: EditedConversation) -> EditedConversation:
        """Return the conversation with the two answers exchanged. Raise EditError."""
        first = before.find(self.position, Role.ASSISTANT)
        second = before.find(self.other, Role.ASSISTANT)
        return before.with_turn(self.position, second).with_turn(self.other, first)


@dataclass(frozen=True, slots=True)
class DropTurn:
    """Drop an answer with its question; images of the question move to the next one."""

    op: ClassVar[str] = "drop_turn"
    position: int

    def apply(self, before: EditedConversation) -> EditedConversation:
        """Return the conversation without the pair. Raise EditError where none would be left."""
        before.find(self.position, Role.ASSISTANT)
        positions = sorted(before.turns)
        index = positions.index(self.position)
        removed = {index}
        if index and before.turns[positions[index - 1]].role is Role.HUMAN:
            removed.add(index - 1)
        turns = [before.turns[position] for position in positions]
        if not any(t.role is Role.ASSISTANT for i, t in enumerate(turns) if i not in removed):
            raise EditError("no answer would remain; drop the sample instead")
        remaining = remaining_turns(turns, removed)
        return EditedConversation({positions[i]: t for i, t in remaining.items()}, before.images)


@dataclass(frozen=True, slots=True)
class MoveImage:
    """Move an image placeholder (numbered from 0) to an offset in the text of a question.

    The images keep their order: the first placeholder shows the first image.
    """

    op: ClassVar[str] = "move_image"
    image: int
    position: int
    offset: int = 0

    def apply(self, before: EditedConversation) -> EditedConversation:
        """Return the conversation with the placeholder there. Raise EditError."""
        moved = _take_placeholder(before, self.image)
        turn = moved.find(self.position, Role.HUMAN)
        if not 0 <= self.offset <= len(turn.text):
            raise EditError(f"offset {self.offset} is outside of the question's text")
        offsets = tuple(sorted((*turn.image_offsets, self.offset)))
        return moved.with_turn(self.position, Turn(turn.role, turn.text, offsets))


@dataclass(frozen=True, slots=True)
class RemoveImage:
    """Remove an image placeholder (numbered from 0), and its image if there is one for each."""

    op: ClassVar[str] = "remove_image"
    image: int

    def apply(self, before: EditedConversation) -> EditedConversation:
        """Return the conversation without the placeholder. Raise EditError."""
        n_placeholders = sum(len(turn.image_offsets) for turn in before.turns.values())
        after = _take_placeholder(before, self.image)
        if n_placeholders < len(before.images):
            raise EditError("it has fewer placeholders than images")
        if n_placeholders > len(before.images):  # the placeholder had no image
            return after
        images = tuple(n for i, n in enumerate(before.images) if i != self.image)
        return EditedConversation(after.turns, images)


Operation = SetText | SwapAnswers | DropTurn | MoveImage | RemoveImage
OPERATIONS: Mapping[str, type[Operation]] = {
    kind.op: kind for kind in (SetText, SwapAnswers, DropTurn, MoveImage, RemoveImage)
}


@dataclass(frozen=True, slots=True)
class Edit:
    """All changes to a record, why, and the digest of the conversation that they apply to.

    An edit without operations restores the record as it was imported.
    """

    operations: tuple[Operation, ...]
    reason: str
    digest: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the edit as JSON values."""
        operations = [{"op": each.op, **asdict(each)} for each in self.operations]
        values = {"operations": operations, "reason": self.reason, "digest": self.digest}
        return values | ({"note": self.note} if self.note else {})

    def __str__(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, sort_keys=True)


@lru_cache(maxsize=1024)
def parse_edit(text: str) -> Edit:
    """Parse the written form of an edit. Raises InputError, also for operations it does not know.

    An edit of a newer version is therefore refused where it would be applied, never half applied.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        unknown = sorted(raw.keys() - {"operations", "reason", "digest", "note"})
        if unknown:
            raise InputError(f"Unknown key {unknown[0]!r} of an edit")
        return Edit(
            operations=tuple(parse_operation(each) for each in raw["operations"]),
            reason=_read_text(raw, "reason"),
            digest=_read_text(raw, "digest"),
            note=_read_text({"note": "", **raw}, "note"),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(f"Invalid edit: {text[:80]!r}") from None


def parse_operation(raw: Mapping[str, Any]) -> Operation:
    """Return an operation from its JSON values. Raises InputError naming what is wrong."""
    if not isinstance(raw, Mapping) or raw.get("op") not in OPERATIONS:
        name = raw.get("op") if isinstance(raw, Mapping) else raw
        raise InputError(f"Unknown operation {name!r}. Choose one of: {', '.join(OPERATIONS)}.")
    kind = OPERATIONS[raw["op"]]
    known = {field.name: field.type for field in fields(kind)}
    if extra := sorted(raw.keys() - known.keys() - {"op"}):
        raise InputError(f"The operation {kind.op} has no {extra[0]!r}; it has {', '.join(known)}.")
    values = {name: _read_value(kind.op, name, raw[name]) for name in known if name in raw}
    try:
        return kind(**values)
    except TypeError:
        raise InputError(f"The operation {kind.op} needs {', '.join(known)}.") from None


def _read_value(op: str, name: str, value: object) -> Any:
    if name == "text" and isinstance(value, str):
        return replace_surrogates(value)
    if name == "image_offsets" and isinstance(value, list | tuple) and all(map(_is_count, value)):
        return tuple(value)
    if name not in ("text", "image_offsets") and _is_count(value):
        return value
    raise InputError(f"Invalid {name} of the operation {op}: {value!r}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_text(raw: Mapping[str, Any], name: str) -> str:
    if not isinstance(raw[name], str):
        raise InputError(f"The {name} of an edit must be a text, not {raw[name]!r}")
    return replace_surrogates(raw[name])


def digest_conversation(sample: Sample) -> str:
    """Return the digest of what an edit is made for: roles, texts, placeholders and images."""
    turns = [[turn.role.value, turn.text, list(turn.image_offsets)] for turn in sample.turns]
    value = [turns, [image_path(image) for image in sample.images]]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def apply_edit(sample: Sample, edit: Edit) -> EditedConversation:
    """Return the conversation of a sample after an edit.

    Raises EditError where the edit was made for another text, or an operation does not fit.
    """
    if digest_conversation(sample) != edit.digest:
        raise EditError("it was made for another text than the record has")
    return apply_operations(sample, edit.operations)


def apply_operations(sample: Sample, operations: Sequence[Operation]) -> EditedConversation:
    """Return the conversation of a sample after these operations. Raises EditError."""
    if not sample.turns:
        raise EditError("it has no conversation")
    edited = EditedConversation(dict(enumerate(sample.turns)), tuple(range(len(sample.images))))
    for operation in operations:
        edited = operation.apply(edited)
    return edited


def replace_conversation(sample: Sample, edited: EditedConversation) -> Sample:
    """Return the sample with an edited conversation, its images and the status that they give.

    The bytes of its record are left as they were.
    """
    turns = tuple(edited.turns[position] for position in sorted(edited.turns))
    images = tuple(sample.images[number] for number in edited.images)
    changed = replace(sample, turns=turns, images=images)
    if sample.status not in _BY_CONVERSATION:
        return changed
    n_placeholders = sum(len(turn.image_offsets) for turn in turns)
    if n_placeholders != len(images):
        reason = f"{n_placeholders} image position(s) for {len(images)} image(s)"
        return replace(changed, status=Status.PLACEHOLDER_MISMATCH, reason=reason)
    parsed = set_status(ParsedRecord(images, turns))
    return replace(changed, status=parsed.status, reason=parsed.reason)


def map_answers(sample: Sample, operations: Sequence[Operation]) -> list[int | None]:
    """Return for each remaining answer its number before the edit; None for a new text."""
    numbers = [i for i, turn in enumerate(sample.turns) if turn.role is Role.ASSISTANT]
    origin: dict[int, int | None] = {position: n for n, position in enumerate(numbers)}
    for operation in operations:
        match operation:
            case SetText(position) if position in origin:
                origin[position] = None
            case SwapAnswers(first, second):
                origin[first], origin[second] = origin[second], origin[first]
            case DropTurn(position):
                origin.pop(position, None)
    return [origin[position] for position in sorted(origin)]


def _take_placeholder(before: EditedConversation, image: int) -> EditedConversation:
    """Return the conversation without a placeholder, with the same images."""
    position, number = before.locate_image(image)
    turn = before.turns[position]
    offsets = tuple(offset for i, offset in enumerate(turn.image_offsets) if i != number)
    return before.with_turn(position, Turn(turn.role, turn.text, offsets))
