"""Renders a conversation through a chat template and finds the answers in the rendered text.

The chat is rendered twice: as it is, and with each answer replaced by a private-use sentinel.
What lies between the sentinels tells where every answer stands, in any template, single- or
multi-turn; the rebuilt text must equal the real one, so a template that rewrites answers is
refused instead of scored wrongly. Templates' own ``{% generation %}`` marks are not relied on:
most lack them, and some mark a token too many.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.samples import Role, Status, Turn

Messages = list[dict[str, Any]]
Render = Callable[[Messages], str]
"""Messages in the form of Hugging Face chat templates -> the rendered text."""

LLAVA_V1_TEMPLATE = (
    "{{ bos_token }}"
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "{% for message in messages %}"
    "{% set texts = message['content'] | selectattr('type', 'equalto', 'text')"
    " | map(attribute='text') | join %}"
    "{% set images = message['content'] | selectattr('type', 'equalto', 'image') | list %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' }}"
    "{% if images %}{{ ('<image>\n' * (images | length) + (texts | trim)) | trim }}"
    "{% else %}{{ texts }}{% endif %}{{ ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + texts + eos_token }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""The prompt that LLaVA-1.5 was trained with: system sentence, ``</s>`` after each answer, and
images first, before the trimmed text of their turn. Text without an image is left as it is.
Hugging Face's own LLaVA-1.5 template leaves the sentence and the end token out."""

_PRIVATE_USE = range(0xE000, 0xF900)
_ROLE_NAMES = {Role.SYSTEM: "system", Role.HUMAN: "user", Role.ASSISTANT: "assistant"}


class PromptProblem(Exception):
    """Why a sample cannot be put before the model: a status and its reason in words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def neutralised(turn: Turn, controls: re.Pattern[str] | None) -> Turn:
    """``turn`` with nothing in its text that the model would take for more than text.

    What ``controls`` finds (image placeholders, ends of turns) gets a space behind its first
    character, so that it is read letter by letter. Lone surrogates, which no tokenizer takes,
    become question marks.
    """
    text = turn.text
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("utf-8")
    found = [match.start() for match in controls.finditer(text)] if controls else []
    if not found:
        return turn if text == turn.text else replace(turn, text=text)
    pieces = [text[start + 1 : end + 1] for start, end in pairwise([-1, *found, len(text)])]
    offsets = tuple(at + bisect_left(found, at) for at in turn.image_offsets)
    return replace(turn, text=" ".join(pieces), image_offsets=offsets)


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Where the answer of ``turn`` (0-based among the answers) stands, in characters."""

    turn: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """The text that the model reads, and its answers; an end-of-turn token belongs to them."""

    text: str
    answers: tuple[AnswerSpan, ...]


def to_messages(turns: Iterable[Turn]) -> Messages:
    """Turns as chat-template messages, with a part for each image at its place."""
    return [{"role": _ROLE_NAMES[turn.role], "content": _parts(turn)} for turn in turns]


def _parts(turn: Turn) -> list[dict[str, str]]:
    if not turn.image_offsets:
        return [{"type": "text", "text": turn.text}]
    parts: list[dict[str, str]] = []
    at = 0
    for offset in turn.image_offsets:
        if offset > at:
            parts.append({"type": "text", "text": turn.text[at:offset]})
        parts.append({"type": "image"})
        at = offset
    if at < len(turn.text):
        parts.append({"type": "text", "text": turn.text[at:]})
    return parts


def render_chat(
    render: Render,
    turns: Sequence[Turn],
    end_markers: Sequence[str],
    score_eos: bool = True,
    answer_lead: str = "",
) -> RenderedChat:
    """Renders ``turns`` with their images and locates their answers.

    An end marker that follows an answer directly belongs to it when ``score_eos`` is on, as in
    the LLaVA training labels, and so does ``answer_lead`` directly before it. Blank answers have
    no span. Raises PromptProblem when the template refuses the conversation, drops or repeats an
    answer, or rewrites it.
    """
    answers = [turn.text for turn in turns if turn.role is Role.ASSISTANT]
    messages = to_messages(turns)
    text = rendered(render, messages)
    mark = _unused_character(text)
    marked = rendered(render, _with_sentinels(messages, mark))
    pieces = re.split(f"{mark}(\\d+){mark}", marked)
    if pieces[1::2] != [str(turn) for turn in range(len(answers))]:
        raise PromptProblem(Status.BAD_RECORD, "the chat template drops or reorders answers")
    between = pieces[0::2]
    for trim in (str, str.strip, str.lstrip, str.rstrip):
        trimmed = [trim(answer) for answer in answers]
        chat = _assemble(trimmed, between, end_markers if score_eos else (), answer_lead)
        if chat.text == text:
            return chat
    raise PromptProblem(Status.BAD_RECORD, "the chat template rewrites the answer")


def rendered(render: Render, messages: Messages) -> str:
    """The text of ``messages``. Raises PromptProblem when the template refuses them."""
    try:
        return render(messages)
    except Exception as error:
        raise PromptProblem(
            Status.BAD_RECORD, f"the chat template refuses the conversation: {error}"
        ) from error


def _unused_character(text: str) -> str:
    """A private-use character that ``text`` does not hold."""
    return next(chr(code) for code in _PRIVATE_USE if chr(code) not in text)


def _with_sentinels(messages: Messages, mark: str) -> Messages:
    marked: Messages = []
    turn = 0
    for message in messages:
        if message["role"] == "assistant":
            content = [{"type": "text", "text": f"{mark}{turn}{mark}"}]
            marked.append({**message, "content": content})
            turn += 1
        else:
            marked.append(message)
    return marked


def _assemble(
    answers: Sequence[str], between: Sequence[str], end_markers: Sequence[str], lead: str
) -> RenderedChat:
    text = between[0]
    spans = []
    for turn, (answer, following) in enumerate(zip(answers, between[1:], strict=True)):
        start = len(text) - (len(lead) if text.endswith(lead) else 0)
        text += answer
        end = len(text) + next((len(one) for one in end_markers if following.startswith(one)), 0)
        if answer.strip():
            spans.append(AnswerSpan(turn, start, end))
        text += following
    return RenderedChat(text, tuple(spans))


def emits_end_marker(render: Render, end_markers: Sequence[str]) -> bool:
    """Whether the template writes an end-of-turn token after an answer."""
    turns = (Turn(Role.HUMAN, "a"), Turn(Role.ASSISTANT, "b"))
    plain = render_chat(render, turns, end_markers=())
    marked = render_chat(render, turns, end_markers)
    return marked.answers[0].end > plain.answers[0].end


def token_turns(
    offsets: NDArray[np.integer[Any]], answers: Sequence[AnswerSpan]
) -> NDArray[np.int64]:
    """For each token, the turn whose answer it overlaps, or -1.

    ``offsets`` (tokens, 2) are the tokens' character spans in the text that ``answers`` refer to.
    The first token of a text is never an answer token: no logit stands before it.
    """
    turns = np.full(len(offsets), -1, dtype=np.int64)
    starts, ends = offsets[:, 0], offsets[:, 1]
    for span in answers:
        turns[(starts < ends) & (starts < span.end) & (ends > span.start)] = span.turn
    turns[:1] = -1
    return turns
