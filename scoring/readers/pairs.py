"""Flat records: a question and its answer in keys of their own, or an image and its caption.

Question/answer records come from trainers (query/response with a history, instruction/output),
reasoning datasets (problem/solution) and benchmark tables (hint, options A to D).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

from scoring.readers.conversation import BadRecord, ImageSlot, Message, quote_value
from scoring.readers.values import Images, as_list, collect_images, parse_list

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


def question_key(value: Mapping[str, object]) -> str | None:
    """Return the key of the question; a statement with a label counts as one."""
    key = _text_key(value, QUESTIONS)
    return key or (_text_key(value, CAPTIONS) if answer_key(value) == LABEL else None)


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
    asked = _text_key(value, QUESTIONS)
    clear = asked and ("question_id" in value or str(value[asked]).rstrip().endswith("?"))
    return LABEL if clear and label.strip() and not label.strip().isdigit() else None


def caption_key(value: Mapping[str, object]) -> str | None:
    """Return the key of the caption."""
    return _text_key(value, CAPTIONS)


def _text_key(value: Mapping[str, object], keys: Sequence[str]) -> str | None:
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
    key = caption_key(value)
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
    key = question_key(value) or (None if _listed_pairs(value) else caption_key(value))
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
        asked = str(value.get(_text_key(value, QUESTIONS) or "", ""))
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
