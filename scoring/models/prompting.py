"""Renders a conversation with a chat template and locates the answers in the rendered text.

The chat is rendered twice: unchanged, and with each answer replaced by a private-use sentinel.
The text between the sentinels shows where every answer is, in any template, single- or multi-turn.
The rebuilt text must equal the real one, so a template that rewrites answers is refused rather
than scored wrongly. Templates' own ``{% generation %}`` marks are not used: most templates lack
them, and some mark a token too many.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.samples import Role, Segment, Status, Turn
from scoring.thoughts import THOUGHT_MARKS, AnswerParts, split_thought
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
images first, before the trimmed text of their turn. Text without an image is unchanged.
Hugging Face's own LLaVA-1.5 template omits the sentence and the end token."""

_MARKERS = ("\U000f0000", "\U000f0001")  # transformers marks text and control tokens with these
_NOT_CONTROLLING = ("unk_token", "sep_token", "cls_token", "mask_token")
_MEDIA = re.compile(r"image|img|im_|vision|video|vid_|audio|frame|tile|row_\d|col_\d", re.I)
"""Matches names of tokens that represent images, sounds and their parts."""
_PRIVATE_USE = range(0xE000, 0xF900)
_ROLE_NAMES = {Role.SYSTEM: "system", Role.HUMAN: "user", Role.ASSISTANT: "assistant"}


class PromptProblem(Exception):
    """A sample that the model cannot take: a status and the reason in words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


def control_pattern(processor: Any, render: Any, end_markers: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds the tokens that control the structure of a model's prompt.

    In a sample's text such a token would be read as an image, an end of text or a turn of its own.
    These are BOS, EOS and padding, the placeholders of images, videos and sounds, the
    ``end_markers``, and every special token that the chat template writes. Other special tokens are
    content: grounding markup such as ``<box>`` belongs to answers, and models are trained on it.
    """
    tokenizer = processor.tokenizer
    added = tokenizer.added_tokens_decoder.values()
    special = {str(token.content) for token in added if token.special}
    special.difference_update(*THOUGHT_MARKS)
    written = "\n".join(_template_outputs(render))
    controls = {token for token in special if token in written or _MEDIA.search(token)}
    # tokens that the tokenizer or processor names, such as bos_token and image_token
    named = {**vars(processor), **tokenizer.special_tokens_map}
    for name in ("image_token", "video_token"):  # properties in some processors
        named[name] = getattr(processor, name, None)
    for name, token in named.items():
        if name.endswith("_token") and name not in _NOT_CONTROLLING and token is not None:
            controls.add(str(token))
    ids = [number for number in getattr(processor, "image_token_ids", []) if number is not None]
    controls |= {*tokenizer.convert_ids_to_tokens(ids), *end_markers, *_MARKERS}
    longest_first = sorted((token for token in controls if token.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def _template_outputs(render: Any) -> Iterator[str]:
    """Yield the template's text and rendered conversations: it may build tokens from parts."""
    yield from render.template_texts
    text = {"type": "text", "text": "a"}
    for has_system, has_image in product((True, False), (True, False)):
        messages: Messages = [{"role": "system", "content": [text]}] if has_system else []
        messages += [
            {"role": "user", "content": [*([{"type": "image"}] if has_image else []), text]},
            {"role": "assistant", "content": [text]},
            {"role": "user", "content": [text]},
        ]
        try:
            yield render_messages(lambda chat: render(chat, prompt=True), messages)
        except PromptProblem:  # templates may refuse a system prompt or a missing image
            continue


def neutralize_turn(turn: Turn, controls: re.Pattern[str] | None) -> Turn:
    """Return ``turn`` without anything in its text that the model would not read as text.

    Matches of ``controls`` (image placeholders, ends of turns) get a space after their first
    character, so they are read letter by letter. Lone surrogates, which tokenizers reject, become
    question marks.
    """
    text = replace_surrogates(turn.text)
    starts = [match.start() for match in controls.finditer(text)] if controls else []
    if not starts:
        return turn if text == turn.text else replace(turn, text=text)
    pieces = [text[start + 1 : end + 1] for start, end in pairwise([-1, *starts, len(text)])]
    offsets = tuple(offset + bisect_left(starts, offset) for offset in turn.image_offsets)
    return replace(turn, text=" ".join(pieces), image_offsets=offsets)


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """The characters of an answer: reasoning, then content, then an end-of-turn token."""

    turn: int  # 0-based among the answers
    start: int
    end: int
    content_end: int | None = None  # None: the content reaches to the end
    thought_end: int | None = None  # None: no reasoning


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """The text that the model reads and its answers, which include end-of-turn tokens."""

    text: str
    answers: tuple[AnswerSpan, ...]
    thoughts_dropped: int = 0  # answers whose thought the template omits


def to_messages(turns: Iterable[Turn]) -> Messages:
    """Convert turns to chat-template messages, with a part for each image at its position."""
    messages: Messages = []
    for turn in turns:
        parts: list[dict[str, str]] = []
        start = 0
        for offset in turn.image_offsets:
            if offset > start:
                parts.append({"type": "text", "text": turn.text[start:offset]})
            parts.append({"type": "image"})
            start = offset
        if start < len(turn.text) or not parts:
            parts.append({"type": "text", "text": turn.text[start:]})
        messages.append({"role": _ROLE_NAMES[turn.role], "content": parts})
    return messages


def render_chat(
    render: Render,
    turns: Sequence[Turn],
    end_markers: Sequence[str],
    score_eos: bool = True,
    answer_lead: str = "",
) -> RenderedChat:
    """Render ``turns`` with their images and locate their answers.

    With ``score_eos``, an end marker directly after an answer belongs to it, as in the LLaVA
    training labels, and so does ``answer_lead`` directly before it. Blank answers have no span.
    For an answer with a thought, templates may keep everything, rewrite the marks around the
    thought, or keep only the final answer. Raises PromptProblem if the template refuses the
    conversation, drops or repeats an answer, or rewrites it in another way.
    """
    messages = to_messages(turns)
    text = render_messages(render, messages)
    mark = next(chr(code) for code in _PRIVATE_USE if chr(code) not in text)
    markers = end_markers if score_eos else ()
    whole = [AnswerParts(final=turn.text) for turn in turns if turn.role is Role.ASSISTANT]
    split = [split_thought(answer.final) or answer for answer in whole]
    for answers in [whole] if split == whole else [whole, split]:
        marked = render_messages(render, _with_sentinels(messages, answers, mark)).split(mark)
        for trim in (str, str.strip, str.lstrip, str.rstrip):
            trimmed = [replace(answer, final=trim(answer.final)) for answer in answers]
            chat = _rebuild_chat(trimmed, marked, markers, answer_lead)
            if chat is not None and chat.text == text:
                return chat
    reason = "the chat template rewrites, drops or reorders an answer"
    raise PromptProblem(Status.BAD_RECORD, reason)


def render_messages(render: Render, messages: Messages) -> str:
    """Return the text of ``messages``. Raises PromptProblem if the template refuses them."""
    try:
        return render(messages)
    except Exception as error:
        reason = f"the chat template refuses the conversation: {error}"
        raise PromptProblem(Status.BAD_RECORD, reason) from error


def _with_sentinels(messages: Messages, answers: Sequence[AnswerParts], mark: str) -> Messages:
    marked = list(messages)
    positions = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    for turn, (position, answer) in enumerate(zip(positions, answers, strict=True)):
        thought = f"{mark}{turn}t{mark}" if answer.thought else ""
        text = f"{answer.opening}{thought}{answer.closing}{mark}{turn}{mark}"
        marked[position] = {"role": "assistant", "content": [{"type": "text", "text": text}]}
    return marked


def _rebuild_chat(
    answers: Sequence[AnswerParts], pieces: Sequence[str], end_markers: Sequence[str], lead: str
) -> RenderedChat | None:
    """Put the answers back in place of the marks; None if the mark of an answer is missing."""
    # pieces alternate between text and marks: 0t for the thought of answer 0, 0 for the rest
    marks = pieces[1::2]
    has_thought = [f"{turn}t" in marks for turn in range(len(answers))]
    expected = [[f"{turn}t"] * thought + [str(turn)] for turn, thought in enumerate(has_thought)]
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
            is_opened = opening and before.endswith(opening)
            thought_start = len(before) - len(opening) if is_opened else len(text)
            text += answer.thought + following
            continue
        start = len(text) - (len(lead) if text.endswith(lead) else 0)
        thought_end = len(text) if has_thought[turn] else None
        text += answer.final
        markers = (len(marker) for marker in end_markers if following.startswith(marker))
        end = len(text) + next(markers, 0)
        if thought_end is not None:
            start = thought_start
        elif kept := split_thought(answer.final):
            thought_end = len(text) - len(kept.final)
        if has_thought[turn] or answer.final.strip():
            spans.append(AnswerSpan(turn, start, end, len(text), thought_end))
        text += following
    dropped = sum(bool(answer.thought) for answer in answers) - sum(has_thought)
    return RenderedChat(text, tuple(spans), dropped)


def emits_end_marker(render: Render, end_markers: Sequence[str]) -> bool:
    """Return whether the template writes an end-of-turn token after an answer."""
    turns = (Turn(Role.HUMAN, "a"), Turn(Role.ASSISTANT, "b"))
    plain, marked = (render_chat(render, turns, ends) for ends in ((), end_markers))
    return marked.answers[0].end > plain.answers[0].end


def token_turns(
    offsets: NDArray[np.integer[Any]], answers: Sequence[AnswerSpan]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (tokens,) the turn whose answer each token overlaps, and (tokens,) its Segment, or -1.

    ``offsets`` (tokens, 2) are the tokens' character spans in the text that ``answers`` refer to.
    The first token of a text is never an answer token: no logit predicts it. A token that overlaps
    the content of an answer belongs to it, no matter what else it overlaps.
    """
    turns = np.full(len(offsets), -1, dtype=np.int64)  # (tokens,)
    starts, ends = offsets[:, 0], offsets[:, 1]  # (tokens,) each
    for span in answers:
        turns[(starts < ends) & (starts < span.end) & (ends > span.start)] = span.turn
    turns[:1] = -1
    segments = np.where(turns < 0, -1, Segment.CONTENT)  # (tokens,)
    for span in answers:
        inside = turns == span.turn  # (tokens,)
        if span.thought_end is not None:
            segments[inside & (ends <= span.thought_end)] = Segment.THOUGHT
        if span.content_end is not None:
            segments[inside & (starts >= span.content_end)] = Segment.END
    return turns, segments
