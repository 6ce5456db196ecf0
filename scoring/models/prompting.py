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
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.samples import Role, Segment, Status, Turn
from scoring.thoughts import AnswerParts, split_thought
from scoring.unicode_text import replace_surrogates

Messages = list[dict[str, Any]]
Render = Callable[[Messages], str]
"""Messages in the form of Hugging Face chat templates -> the rendered text."""

LLAVA_V1_TEMPLATE = (
    "{{ bos_token }}"
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    "{% for message in messages %}"
    "{% set images %}{% for part in message['content'] if part['type'] == 'image' %}"
    "{{ '<image>\n' }}{% endfor %}{% endset %}"
    "{% set text %}{% for part in message['content'] if part['type'] == 'text' %}"
    "{{ part['text'] }}{% endfor %}{% endset %}"
    "{% if message['role'] == 'user' %}"
    "{{ 'USER: ' + ((images + (text | trim)) | trim if images else text) + ' ' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'ASSISTANT: ' + text + eos_token }}{% endif %}"
    "{% endfor %}"
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


def neutralize_turn(turn: Turn, controls: re.Pattern[str] | None) -> Turn:
    """``turn`` with nothing in its text that the model would take for more than text.

    What ``controls`` finds (image placeholders, ends of turns) gets a space behind its first
    character, so that it is read letter by letter. Lone surrogates, which no tokenizer takes,
    become question marks.
    """
    text = replace_surrogates(turn.text)
    found = [match.start() for match in controls.finditer(text)] if controls else []
    if not found:
        return turn if text == turn.text else replace(turn, text=text)
    pieces = [text[start + 1 : end + 1] for start, end in pairwise([-1, *found, len(text)])]
    offsets = tuple(at + bisect_left(found, at) for at in turn.image_offsets)
    return replace(turn, text=" ".join(pieces), image_offsets=offsets)


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Where the answer of ``turn`` (0-based among the answers) stands, in characters.

    From ``start`` to ``thought_end`` it is reasoning (None: there is none), then content up to
    ``content_end`` (None: up to ``end``), then an end-of-turn token.
    """

    turn: int
    start: int
    end: int
    content_end: int | None = None
    thought_end: int | None = None


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """The text that the model reads, and its answers; an end-of-turn token belongs to them.

    ``thoughts_dropped``: answers whose thought the template leaves out.
    """

    text: str
    answers: tuple[AnswerSpan, ...]
    thoughts_dropped: int = 0


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
    no span. Of an answer with a thought, templates may keep all, rewrite the marks around the
    thought, or keep only the final answer. Raises PromptProblem when the template refuses the
    conversation, drops or repeats an answer, or rewrites it in another way.
    """
    messages = to_messages(turns)
    text = render_messages(render, messages)
    mark = _unused_character(text)
    markers = end_markers if score_eos else ()
    whole = [AnswerParts(final=turn.text) for turn in turns if turn.role is Role.ASSISTANT]
    apart = [split_thought(answer.final) or answer for answer in whole]
    for answers in [whole] if apart == whole else [whole, apart]:
        marked = render_messages(render, _with_sentinels(messages, answers, mark)).split(mark)
        for trim in (str, str.strip, str.lstrip, str.rstrip):
            trimmed = [replace(answer, final=trim(answer.final)) for answer in answers]
            chat = _assemble(trimmed, marked, markers, answer_lead)
            if chat is not None and chat.text == text:
                return chat
    raise PromptProblem(
        Status.BAD_RECORD, "the chat template rewrites, drops or reorders an answer"
    )


def render_messages(render: Render, messages: Messages) -> str:
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


def _with_sentinels(messages: Messages, answers: Sequence[AnswerParts], mark: str) -> Messages:
    marked: Messages = []
    numbered = enumerate(answers)
    for message in messages:
        if message["role"] == "assistant":
            turn, answer = next(numbered)
            thought = f"{mark}{turn}t{mark}" if answer.thought else ""
            text = f"{answer.opening}{thought}{answer.closing}{mark}{turn}{mark}"
            marked.append({**message, "content": [{"type": "text", "text": text}]})
        else:
            marked.append(message)
    return marked


def _assemble(
    answers: Sequence[AnswerParts], pieces: Sequence[str], end_markers: Sequence[str], lead: str
) -> RenderedChat | None:
    """Fills the marks between ``pieces`` in again; None where a mark of an answer is missing.

    ``pieces`` are text and marks by turns: ``0t`` for the thought of answer 0, ``0`` for the rest.
    """
    marks = pieces[1::2]
    thoughtful = [f"{turn}t" in marks for turn in range(len(answers))]
    expected = [[f"{turn}t"] * thought + [str(turn)] for turn, thought in enumerate(thoughtful)]
    if list(chain(*expected)) != list(marks) or len(pieces) != 2 * len(marks) + 1:
        return None
    text = pieces[0]
    spans: list[AnswerSpan] = []
    thought_start = 0
    for mark, following in zip(marks, pieces[2::2], strict=True):
        turn = int(mark.rstrip("t"))
        answer = answers[turn]
        if mark.endswith("t"):
            opening = answer.opening.strip()
            before = text.rstrip()
            whole = opening and before.endswith(opening)
            thought_start = len(before) - len(opening) if whole else len(text)
            text += answer.thought + following
            continue
        start = len(text) - (len(lead) if text.endswith(lead) else 0)
        thought_end = len(text) if thoughtful[turn] else None
        text += answer.final
        end = len(text) + next((len(one) for one in end_markers if following.startswith(one)), 0)
        if thought_end is not None:
            start = thought_start
        elif kept := split_thought(answer.final):
            thought_end = len(text) - len(kept.final)
        if thoughtful[turn] or answer.final.strip():
            spans.append(AnswerSpan(turn, start, end, len(text), thought_end))
        text += following
    dropped = sum(bool(one.thought) for one in answers) - sum(thoughtful)
    return RenderedChat(text, tuple(spans), dropped)


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


def token_segments(
    offsets: NDArray[np.integer[Any]], answers: Sequence[AnswerSpan]
) -> NDArray[np.int64]:
    """For each token, the Segment of its answer, or -1 outside the answers; as ``token_turns``.

    A token that overlaps the content belongs to it, whatever else it overlaps.
    """
    turns = token_turns(offsets, answers)  # (tokens,)
    segments = np.where(turns < 0, -1, Segment.CONTENT)  # (tokens,)
    for span in answers:
        inside = turns == span.turn
        if span.thought_end is not None:
            segments[inside & (offsets[:, 1] <= span.thought_end)] = Segment.THOUGHT
        if span.content_end is not None:
            segments[inside & (offsets[:, 0] >= span.content_end)] = Segment.END
    return segments
