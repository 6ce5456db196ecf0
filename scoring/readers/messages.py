"""The role/content family: ``messages`` whose content is a text or a list of typed parts.

Typed parts name their image in many ways (``image_url`` as text or object, ``source``, ``url``,
``path``, ``value``, bytes). A part that names none takes the next image of the record's own list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from scoring.readers.conversation import (
    PLACEHOLDERS,
    BadRecord,
    ImageSlot,
    Message,
    ParsedRecord,
    Piece,
    assemble_turns,
    quote_value,
)
from scoring.readers.options import ReadOptions
from scoring.readers.values import (
    BYTES_KEYS,
    OTHER_TYPES,
    as_list,
    collect_images,
    find_reference,
    find_system_prompt,
)

KEYS = ("messages", "conversations", "conversation", "prompt")
_TEXT_TYPES = ("text", "input_text", "output_text")
_IMAGE_TYPES = ("image", "image_url", "input_image", "img")
_REFERENCE_KEYS = ("image_url", "image", "url", "path", "source", "value", *BYTES_KEYS)


def parse_record(value: Mapping[str, object], options: ReadOptions) -> ParsedRecord:
    """Return the turns and images of one record. Raises BadRecord."""
    messages = read_messages(value)
    images, named = collect_images(value)
    system = find_system_prompt(value)
    return assemble_turns(messages, images, named=named, roles=options.roles, system=system)


def read_messages(value: Mapping[str, object]) -> list[Message]:
    """Return the messages of a record; a ``completion`` follows its ``prompt``."""
    key = next((key for key in KEYS if as_list(value.get(key))), None)
    if key is None:
        present = next((value[name] for name in KEYS if name in value), None)
        raise BadRecord(f"'messages' must be a list of messages, not {quote_value(present)}")
    listed = list(as_list(value[key]) or ())
    if key == "prompt":
        listed += _read_completion(value)
    messages = [_parse_message(position, message) for position, message in enumerate(listed, 1)]
    if messages[0].role.lower() == "pretrain":
        messages[:1] = _split_pretraining(messages[0].parts)
    return messages


def _split_pretraining(parts: tuple[Piece, ...]) -> list[Message]:
    """Put the images of a pretraining text before it and drop their placeholders in it."""
    images = tuple(part for part in parts if isinstance(part, ImageSlot))
    texts = [part for part in parts if isinstance(part, str)]
    for token in PLACEHOLDERS if images else ():
        if sum(text.count(token) for text in texts) == len(images):
            texts = [re.sub(rf"{re.escape(token)}\n?", "", text) for text in texts]
            break
    return [Message("user", images), Message("pretrain", tuple(texts))]


def _read_completion(value: Mapping[str, object]) -> list[object]:
    """Return the answer to a prompt: ``completion``, or the ground truth of a reward model."""
    completion = value.get("completion")
    if isinstance(completion, str):
        return [{"role": "assistant", "content": completion}]
    if listed := as_list(completion):
        return listed
    reward = value.get("reward_model")
    truth = reward.get("ground_truth") if isinstance(reward, dict) else None
    truth = value.get("answer") if truth is None else truth
    return [] if truth is None else [{"role": "assistant", "content": str(truth)}]


def _parse_message(position: int, message: object) -> Message:
    if not isinstance(message, dict):
        raise BadRecord(f"turn {position} is {quote_value(message)}, not an object")
    role = message.get("role") or message.get("from")
    if not isinstance(role, str):
        raise BadRecord(f"the role of turn {position} is {quote_value(role)}, not text")
    content = message.get("content", message.get("value"))
    listed = content if isinstance(content, list) else [content]
    parts = [_parse_part(position, part) for part in listed if part is not None]
    if own := message.get("image"):
        images = own if isinstance(own, list) else [own]
        parts = [*(ImageSlot(find_reference(image)) for image in images), *parts]
    if not parts:
        calls = message.get("tool_calls")
        if content is None and not calls and role.lower() != "system":
            raise BadRecord(f"the content of turn {position} is {quote_value(content)}, not text")
        parts = [str(calls)] if calls else [""]
    return Message(role, tuple(parts))


def _parse_part(position: int, part: object) -> Piece:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        what = quote_value(part)
        raise BadRecord(f"turn {position} contains {what}, which is neither text nor a typed part")
    kind = part.get("type") or next((key for key in ("text", "image", "video") if key in part), "")
    if kind in _TEXT_TYPES:
        text = next((part[key] for key in ("text", "value", "content") if part.get(key)), "")
        if not isinstance(text, str):
            raise BadRecord(f"a text part of turn {position} contains {quote_value(text)}")
        return text
    if kind in _IMAGE_TYPES:
        for key in _REFERENCE_KEYS:
            if reference := find_reference(part.get(key)):
                return ImageSlot(reference)
        index = part.get("index")
        return ImageSlot(index=index if isinstance(index, int) else None)
    if kind in OTHER_TYPES:
        return ""
    raise BadRecord(
        f"turn {position} contains a part of the unknown type {quote_value(kind)}; "
        "known types: text, image"
    )
