"""Families of records: conversations, questions with answers, and captions.

LLaVA turns have ``from`` and ``value``; variants differ in role names and in how they name the
image (a path, a list, a dict by placeholder, inside the text). Role/content messages are a text or
a list of typed parts, which name their image in many ways (``image_url`` as text or object,
``source``, ``url``, ``path``, ``value``, bytes); a part that names none takes the next image of the
record's own list. Flat question/answer records come from trainers (query/response with a history,
instruction/output), reasoning datasets (problem/solution) and benchmark tables (hint, options).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from scoring.readers import values
from scoring.readers.conversation import (
    PLACEHOLDER,
    PLACEHOLDERS,
    BadRecord,
    ImageSlot,
    Message,
    ParsedRecord,
    Piece,
    quote_value,
    set_status,
)
from scoring.readers.values import Images, as_list, collect_images, find_reference, parse_list
from scoring.samples import Role, Turn
from scoring.unicode_text import replace_surrogates

_LLAVA_KEYS = ("conversations", "conversation")
_LLAVA_TEXT_KEYS = ("value", "response", "content", "text")
_KEYS = ("messages", "conversations", "conversation", "prompt")
_TEXT_TYPES = ("text", "input_text", "output_text")
_IMAGE_TYPES = ("image", "image_url", "input_image", "img")
_REFERENCE_KEYS = ("image_url", "image", "url", "path", "source", "value", *values.BYTES_KEYS)
_FIRST_NUMBERED = ("image_0", "image_1", "image0", "image1", "image_00", "image_01", "img_1")
_UNUSUAL_KEYS = values.USUAL_KEYS.union(_FIRST_NUMBERED) - {"image", "conversations"}
QUESTIONS = ("query", "question", "instruction", "problem", "prompt", "user", "human", "text")
ANSWERS = (
    "response",
    "answer",
    "output",
    "completion",
    "solution",
    "assistant",
    "gpt4_answer",
    "gt_answer",
    "ground_truth",
)
CAPTIONS = ("caption", "text", "txt", "description")
LABEL = "label"
"""The answer in yes/no benchmarks; elsewhere often a class number."""
_TRUTHS = ("yes", "no", "true", "false")
PAIR_LISTS = ("conversation", "conversations", "texts")
_LETTERS = "ABCDEFGHI"


def parse_plain_record(value: Mapping[str, object]) -> ParsedRecord | None:
    """Parse the shape of nearly all records, several times faster than the general way.

    The shape: turns of exactly ``from`` and ``value``, alternating human and gpt, and either no
    image or one image whose ``<image>`` occurs once in the human turns.

    Returns:
        The same result, or None for a record of any other shape.
    """
    turns_value, image = value.get("conversations"), value.get("image")
    if type(turns_value) is not list or not value.keys().isdisjoint(_UNUSUAL_KEYS):
        return None
    turns: list[Turn] = []
    n_placeholders, answered, expected = 0, False, "human"
    for message in turns_value:
        if type(message) is not dict or len(message) != 2 or message.get("from") != expected:
            return None
        text = message.get("value")
        if type(text) is not str:
            return None
        if not text.isascii():
            text = replace_surrogates(text)
        if expected == "gpt":
            turns.append(Turn(Role.ASSISTANT, text))
            answered, expected = answered or bool(text.strip()), "human"
            continue
        expected = "gpt"
        before, token, after = text.partition(PLACEHOLDER) if image else (text, "", "")
        if token:
            n_placeholders += 1 + after.count(PLACEHOLDER)
            turns.append(Turn(Role.HUMAN, before + after, (len(before),)))
        elif "<img>" in text:
            return None
        else:
            turns.append(Turn(Role.HUMAN, text))
    if not answered:
        return None
    if not image:
        return set_status(ParsedRecord(turns=tuple(turns)))
    if type(image) is not str or n_placeholders != 1 or image[0] == "[":
        return None
    return ParsedRecord((replace_surrogates(image),), tuple(turns))


def read_llava(value: Mapping[str, object]) -> tuple[list[Message], Images]:
    """Return the messages and images of a LLaVA record. Raises BadRecord."""
    images = collect_images(value)
    listed = next((value[key] for key in _LLAVA_KEYS if key in value), None)
    turns = as_list(listed)
    if not turns:
        raise BadRecord(f"'conversations' must be a list of turns, not {quote_value(listed)}")
    messages = []
    for position, turn in enumerate(turns, start=1):
        fields, role = _check_turn(position, turn, "from")
        text = next((fields[key] for key in _LLAVA_TEXT_KEYS if key in fields), None)
        if text is None and role.lower() == "system":
            text = ""  # no system prompt
        if not isinstance(text, str):
            raise BadRecord(f"the value of turn {position} is {quote_value(text)}, not text")
        messages.append(Message(role, (text,)))
    return messages, images


def _check_turn(position: int, turn: object, *keys: str) -> tuple[Mapping[str, object], str]:
    """Return a turn and its role: the value of the first of ``keys`` that has one."""
    if not isinstance(turn, dict):
        raise BadRecord(f"turn {position} is {quote_value(turn)}, not an object")
    roles = [turn.get(key) for key in keys]
    role = next(filter(None, roles), roles[-1])
    if not isinstance(role, str):
        raise BadRecord(f"the role of turn {position} is {quote_value(role)}, not text")
    return turn, role


def read_messages(value: Mapping[str, object]) -> tuple[list[Message], Images]:
    """Return the messages and images of a record; a ``completion`` follows its ``prompt``."""
    key = next((key for key in _KEYS if as_list(value.get(key))), None)
    if key is None:
        present = next((value[name] for name in _KEYS if name in value), None)
        raise BadRecord(f"'messages' must be a list of messages, not {quote_value(present)}")
    listed = list(as_list(value[key]) or ())
    if key == "prompt":
        listed += _read_completion(value)
    messages = [_parse_message(position, message) for position, message in enumerate(listed, 1)]
    if messages[0].role.lower() == "pretrain":
        messages[:1] = _split_pretraining(messages[0].parts)
    return messages, collect_images(value)


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
    fields, role = _check_turn(position, message, "role", "from")
    content = fields.get("content", fields.get("value"))
    listed = content if isinstance(content, list) else [content]
    parts = [_parse_part(position, part) for part in listed if part is not None]
    if own := fields.get("image"):
        images = own if isinstance(own, list) else [own]
        parts = [*(ImageSlot(find_reference(image)) for image in images), *parts]
    if not parts:
        calls = fields.get("tool_calls")
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
    if kind in values.OTHER_TYPES:
        return ""
    raise BadRecord(
        f"turn {position} contains a part of the unknown type {quote_value(kind)}; "
        "known types: text, image"
    )


def question_key(value: Mapping[str, object]) -> str | None:
    """Return the key of the question; a statement with a label counts as one."""
    key = text_key(value, QUESTIONS)
    return key or (text_key(value, CAPTIONS) if answer_key(value) == LABEL else None)


def answer_key(value: Mapping[str, object]) -> str | None:
    """Return the key of the answer.

    A label is an answer if it is yes or no, or if it is text and the record clearly has a question.
    """
    key = next((key for key in ANSWERS if value.get(key) is not None), None)
    label = value.get(LABEL)
    if key or not isinstance(label, str | bool):
        return key
    if isinstance(label, bool) or label.strip().lower() in _TRUTHS:
        return LABEL
    asked = text_key(value, QUESTIONS)
    clear = asked and ("question_id" in value or str(value[asked]).rstrip().endswith("?"))
    return LABEL if clear and label.strip() and not label.strip().isdigit() else None


def text_key(value: Mapping[str, object], keys: Sequence[str]) -> str | None:
    """Return the first of ``keys`` that has a text."""
    return next((key for key in keys if isinstance(value.get(key), str)), None)


def read_qa(value: Mapping[str, object]) -> tuple[list[Message], Images]:
    """Return the questions and answers of a record as messages, and its images."""
    images = collect_images(value)
    listed = _listed_pairs(value)
    pairs = [_parse_pair(turn) for turn in [*(as_list(value.get("history")) or []), *listed]]
    question = _full_question(value)
    if question is not None:
        pairs.append((question, _answer_text(value) or ""))
    elif not listed:
        raise BadRecord(f"no question among the keys {', '.join(map(str, value))}")
    messages = [
        Message(role, (text,))
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    if pairs and not pairs[-1][1] and _answer_text(value) is None:
        messages.pop()
    return messages, images


def read_caption(value: Mapping[str, object]) -> tuple[list[Message], Images]:
    """Return an empty question that contains the images, and the caption as its answer."""
    images, named = collect_images(value)
    images = list(named.values()) if named else images
    key = text_key(value, CAPTIONS)
    if key is None:
        raise BadRecord(f"no text among the keys {', '.join(map(str, value))}")
    text = str(value[key])
    for token in ("<__dj__image>", "<|__dj__eoc|>", "<image>") if images else ():
        text = text.replace(token, "")
    question = Message("user", tuple(map(ImageSlot, images)))
    return [question, Message("assistant", (text.strip(),))], ([], None)


def _listed_pairs(value: Mapping[str, object]) -> list[object]:
    """Return the question/answer pairs that a record has in a list of their own."""
    return next((listed for key in PAIR_LISTS if (listed := as_list(value.get(key)))), [])


def _parse_pair(turn: object) -> tuple[str, str]:
    if isinstance(turn, dict) and ("human" in turn or "user" in turn):
        turn = [turn.get("human", turn.get("user")), turn.get("assistant", "")]
    pair = as_list(turn)
    if pair is None or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise BadRecord(
            f"a turn of the history is {quote_value(turn)}, not a question and its answer"
        )
    return str(pair[0]), str(pair[1])


def _full_question(value: Mapping[str, object]) -> str | None:
    """Return the question with its input, hint and options."""
    key = question_key(value) or (None if _listed_pairs(value) else text_key(value, CAPTIONS))
    if key is None:
        return None
    question = str(value[key])
    extra = value.get("input")
    if key == "instruction" and isinstance(extra, str) and extra:
        question = f"{question}\n{extra}"
    options = _listed_choices(value)
    if options is None:  # in columns A, B, ...
        columns = (value.get(letter) for letter in _LETTERS)
        options = list(takewhile(_is_option, columns))
    hint = value.get("hint")
    if options and isinstance(hint, str) and hint.strip():
        question = f"{hint.strip()}\n{question}"
    lines = [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False)]
    return "\n".join([question, *lines])


def _is_option(value: object) -> bool:
    return value is not None and bool(str(value).strip()) and value == value  # NaN in a table


def _listed_choices(value: Mapping[str, object]) -> list[object] | None:
    """Return the list of choices, or None if there is none or the question repeats all of them."""
    listed = as_list(value.get("choices"))
    if listed is None and (options := value.get("options")):
        listed = options if isinstance(options, list) else parse_list(options)
        listed = None if listed == [options] else listed
        asked = str(value.get(text_key(value, QUESTIONS) or "", ""))
        if listed and all(str(option) in asked for option in listed):
            return None
    return None if listed is None else listed[: len(_LETTERS)]


def _answer_text(value: Mapping[str, object]) -> str | None:
    key = answer_key(value) or (LABEL if value.get(LABEL) is not None else None)
    if key is None:
        return None
    answer = value[key]
    choices = _listed_choices(value)
    is_position = isinstance(answer, int) and not isinstance(answer, bool)
    if choices and is_position and 0 <= int(str(answer)) < min(len(choices), len(_LETTERS)):
        return _LETTERS[int(str(answer))]
    if key == "gt_answer" and "visual_input" in value and str(answer) in ("0", "1"):
        return ("No", "Yes")[int(str(answer))]
    if isinstance(answer, str | int | float):
        return str(answer)
    raise BadRecord(f"{key!r} is {quote_value(answer)}, not text or a number")
