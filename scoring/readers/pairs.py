"""Flat records: a question and its answer in keys of their own, or an image and its caption.

Question/answer records come from trainers (query/response with a history, instruction/output), from
reasoning sets (problem/solution) and from benchmark tables (hint, options A to D).
"""

from __future__ import annotations

from collections.abc import Mapping

from scoring.readers.conversation import BadRecord, Message, Part, Slot, Understood, assemble, shown
from scoring.readers.options import ReadOptions
from scoring.readers.values import as_list, record_images

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
PAIR_LISTS = ("conversation", "conversations", "texts")
_LETTERS = "ABCDEFGHI"


def understand_qa(value: Mapping[str, object], options: ReadOptions) -> Understood:
    """The turns and images of a question/answer record. Raises BadRecord."""
    images, named = record_images(value)
    pairs = [*_history(value), *_last(value)]
    messages = [
        Message(role, (text,))
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    if messages and not messages[-1].text and _answer(value) is None:
        messages.pop()
    system = value.get("system")
    if isinstance(system, str) and system:
        messages.insert(0, Message("system", (system,)))
    return assemble(messages, images, named=named, roles=options.roles)


def understand_caption(value: Mapping[str, object], options: ReadOptions) -> Understood:
    """An empty question with the images, and the caption as its answer."""
    images, named = record_images(value)
    if named:
        images = list(named.values())
    key = next((key for key in CAPTIONS if isinstance(value.get(key), str)), None)
    if key is None:
        raise BadRecord(f"no text among the keys {', '.join(map(str, value))}")
    text = str(value[key])
    for token in ("<__dj__image>", "<|__dj__eoc|>", "<image>") if images else ():
        text = text.replace(token, "")
    slots: tuple[Part, ...] = tuple(Slot(image) for image in images)
    messages = [Message("user", slots), Message("assistant", (text.strip(),))]
    return assemble(messages, roles=options.roles)


def _history(value: Mapping[str, object]) -> list[tuple[str, str]]:
    history = as_list(value.get("history")) or []
    return [_pair(one) for one in [*history, *_listed(value)]]


def _listed(value: Mapping[str, object]) -> list[object]:
    """Pairs that stand in a list of their own."""
    return next((found for key in PAIR_LISTS if (found := as_list(value.get(key)))), [])


def _pair(turn: object) -> tuple[str, str]:
    if isinstance(turn, dict) and ("human" in turn or "user" in turn):
        turn = [turn.get("human", turn.get("user")), turn.get("assistant", "")]
    pair = as_list(turn)
    if pair is None or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise BadRecord(f"a turn of the history is {shown(turn)}, not a question and its answer")
    return str(pair[0]), str(pair[1])


def _last(value: Mapping[str, object]) -> list[tuple[str, str]]:
    question = _question(value)
    if question is None:
        if _listed(value):
            return []
        raise BadRecord(f"no question among the keys {', '.join(map(str, value))}")
    return [(question, _answer(value) or "")]


def _question(value: Mapping[str, object]) -> str | None:
    key = next((key for key in QUESTIONS if isinstance(value.get(key), str)), None)
    if key is None:
        return None
    question = str(value[key])
    extra = value.get("input")
    if key == "instruction" and isinstance(extra, str) and extra:
        question = f"{question}\n{extra}"
    options = _options(value)
    hint = value.get("hint")
    if options and isinstance(hint, str) and hint.strip():
        question = f"{hint.strip()}\n{question}"
    lines = [f"{letter}. {option}" for letter, option in zip(_LETTERS, options, strict=False)]
    return "\n".join([question, *lines])


def _options(value: Mapping[str, object]) -> list[str]:
    """What there is to choose from: columns A, B, ... or a list of choices."""
    listed = as_list(value.get("choices"))
    if listed is not None:
        return [str(option) for option in listed][: len(_LETTERS)]
    options = []
    for letter in _LETTERS:
        option = value.get(letter)
        if option is None or not str(option).strip() or option != option:  # NaN of a table
            break
        options.append(str(option))
    return options


def _answer(value: Mapping[str, object]) -> str | None:
    key = next((key for key in ANSWERS if value.get(key) is not None), None)
    if key is None:
        return None
    answer = value[key]
    choices = as_list(value.get("choices"))
    is_position = isinstance(answer, int) and not isinstance(answer, bool)
    if choices and is_position and 0 <= int(str(answer)) < min(len(choices), len(_LETTERS)):
        return _LETTERS[int(str(answer))]
    if key == "gt_answer" and "visual_input" in value and str(answer) in ("0", "1"):
        return ("No", "Yes")[int(str(answer))]
    if isinstance(answer, str | int | float):
        return str(answer)
    raise BadRecord(f"{key!r} is {shown(answer)}, not an answer in words")
