"""Locating the answers in a rendered chat."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scoring.models.prompting import (
    AnswerSpan,
    Messages,
    PromptProblem,
    RenderedChat,
    emits_end_marker,
    neutralize_turn,
    render_chat,
    to_messages,
    token_turns,
)
from scoring.samples import Role, Segment, Status, Turn

TALK = (
    Turn(Role.HUMAN, "\nWhat?", (0,)),
    Turn(Role.ASSISTANT, "A cat"),
    Turn(Role.HUMAN, "Sure?"),
    Turn(Role.ASSISTANT, " yes "),
)


def shown(message: dict[str, object]) -> str:
    parts = message["content"]
    assert isinstance(parts, list)
    return "".join("<image>" if part["type"] == "image" else part["text"] for part in parts)


def plain(messages: Messages) -> str:
    return "".join(f"[{message['role'][0]}]{shown(message)}</s>" for message in messages)


def trimming(messages: Messages) -> str:
    return "".join(f"[{message['role'][0]}]{shown(message).strip()}</s>" for message in messages)


def test_images_are_placed_by_their_offsets() -> None:
    turn = Turn(Role.HUMAN, "ab\n", (1, 3))
    assert [shown(message) for message in to_messages([turn])] == ["a<image>b\n<image>"]


def test_answers_are_located_with_their_end_marker() -> None:
    chat = render_chat(plain, TALK, end_markers=("</s>",))
    assert chat.text == "[u]<image>\nWhat?</s>[a]A cat</s>[u]Sure?</s>[a] yes </s>"
    found = [chat.text[span.start : span.end] for span in chat.answers]
    assert found == ["A cat</s>", " yes </s>"]
    assert [span.turn for span in chat.answers] == [0, 1]


def test_the_end_marker_is_excluded_on_request() -> None:
    chat = render_chat(plain, TALK, ("</s>",), score_eos=False)
    assert [chat.text[span.start : span.end] for span in chat.answers] == ["A cat", " yes "]


def test_templates_may_trim_answers() -> None:
    chat = render_chat(trimming, TALK, ("</s>",))
    assert [chat.text[span.start : span.end] for span in chat.answers] == ["A cat</s>", "yes</s>"]


def test_a_blank_answer_has_no_span() -> None:
    turns = (*TALK[:3], Turn(Role.ASSISTANT, " "))
    chat = render_chat(plain, turns, ("</s>",))
    assert [span.turn for span in chat.answers] == [0]


def test_a_template_that_rewrites_or_drops_answers_is_refused() -> None:
    for render in (lambda messages: plain(messages).upper(), lambda messages: plain(messages[:2])):
        with pytest.raises(PromptProblem) as problem:
            render_chat(render, TALK, ())
        assert problem.value.status is Status.BAD_RECORD


def test_the_exception_of_a_template_becomes_the_reason() -> None:
    def refusing(messages: Messages) -> str:
        raise ValueError("roles must alternate")

    with pytest.raises(PromptProblem, match="roles must alternate"):
        render_chat(refusing, TALK, ())


def test_whether_a_template_marks_the_end_of_an_answer() -> None:
    assert emits_end_marker(plain, ("</s>",))
    assert not emits_end_marker(plain, ("<|im_end|>",))


def test_tokens_belong_to_the_answer_they_overlap() -> None:
    # characters:  0 1 2 3 4 5 6 7; the answer is at 3..6
    offsets = np.array([(0, 0), (0, 2), (2, 4), (4, 6), (6, 8)])
    assert token_turns(offsets, [AnswerSpan(0, 3, 6)])[0].tolist() == [-1, -1, 0, 0, -1]


def test_the_first_token_is_never_an_answer_token() -> None:
    assert token_turns(np.array([(0, 2), (2, 4)]), [AnswerSpan(0, 0, 4)])[0].tolist() == [-1, 0]


def test_answer_spans_contain_the_end_of_their_content() -> None:
    for score_eos, marker in ((True, "</s>"), (False, "")):
        chat = render_chat(plain, TALK, ("</s>",), score_eos=score_eos)
        for span in chat.answers:
            assert span.content_end is not None
            assert chat.text[span.content_end : span.end] == marker


def test_tokens_belong_to_the_thought_the_content_or_the_end_of_their_answer() -> None:
    # characters: 0-2 the question, 2-6 a thought, 6-10 the content, 10-12 the end marker
    offsets = np.array([(0, 2), (2, 4), (4, 6), (6, 10), (10, 12), (12, 13)])
    span = AnswerSpan(0, 2, 12, content_end=10, thought_end=6)
    assert token_turns(offsets, [span])[1].tolist() == [
        -1, Segment.THOUGHT, Segment.THOUGHT, Segment.CONTENT, Segment.END, -1,
    ]  # fmt: skip
    # A token that overlaps the content belongs to it.
    straddling = np.array([(0, 2), (2, 5), (5, 7), (7, 9), (9, 12)])
    assert token_turns(straddling, [span])[1].tolist() == [
        -1, Segment.THOUGHT, Segment.CONTENT, Segment.CONTENT, Segment.CONTENT,
    ]  # fmt: skip
    assert token_turns(offsets, [AnswerSpan(0, 2, 12)])[1].tolist() == [-1, 0, 0, 0, 0, -1]


def test_control_tokens_are_broken_up_and_images_keep_their_position() -> None:
    controls = re.compile(r"<image>|</s>")
    turn = Turn(Role.HUMAN, "a<image>b</s>c", (0, 1, 8, 14))
    read = neutralize_turn(turn, controls)
    assert read == Turn(Role.HUMAN, "a< image>b< /s>c", (0, 1, 9, 16))
    untouched = Turn(Role.HUMAN, "a <im age> b", (3,))
    assert neutralize_turn(untouched, controls) is untouched


def test_a_control_token_split_by_an_image_is_broken_up() -> None:
    read = neutralize_turn(Turn(Role.HUMAN, "<image>", (3,)), re.compile("<image>"))
    assert [shown(message) for message in to_messages([read])] == ["< im<image>age>"]


def test_lone_surrogates_become_question_marks() -> None:
    assert neutralize_turn(Turn(Role.HUMAN, "a\ud800b\x00é"), None).text == "a?b\x00é"


def test_private_use_characters_in_a_text_are_not_marks() -> None:
    turns = (Turn(Role.HUMAN, "\ue0000\ue000"), Turn(Role.ASSISTANT, "\ue0001\ue000"))
    chat = render_chat(plain, turns, ("</s>",))
    assert [chat.text[span.start : span.end] for span in chat.answers] == ["\ue0001\ue000</s>"]


def without_old_thoughts(messages: Messages) -> str:
    """As in Qwen3: the last answer keeps its thought or gets an empty one, others none."""
    text = ""
    for place, message in enumerate(messages):
        content = shown(message)
        if message["role"] == "assistant":
            thought, _, final = content.rpartition("</think>")
            content = final.lstrip("\n")
            if place == len(messages) - 1:
                thought = thought.rsplit("<think>")[-1].strip("\n")
                content = f"<think>\n{thought}\n</think>\n\n{content}"
        text += f"[{message['role'][0]}]{content}</s>"
    return text


THOUGHTFUL = "<think> one red\nthing </think>red"


def scored(chat: RenderedChat) -> list[tuple[str | None, str]]:
    """Each answer's thought and the rest of its scored text."""
    found: list[tuple[str | None, str]] = []
    for span in chat.answers:
        start = span.start if span.thought_end is None else span.thought_end
        thought = None if span.thought_end is None else chat.text[span.start : start]
        found.append((thought, chat.text[start : span.end]))
    return found


def test_an_answer_keeps_the_thought_that_its_template_keeps() -> None:
    talk = (TALK[0], Turn(Role.ASSISTANT, THOUGHTFUL))
    chat = render_chat(without_old_thoughts, talk, ("</s>",))
    thought = "<think>\n one red\nthing \n</think>\n\n"
    assert chat.text == f"[u]<image>\nWhat?</s>[a]{thought}red</s>"
    assert scored(chat) == [(thought, "red</s>")]
    assert chat.thoughts_dropped == 0


def test_the_kept_part_of_an_answer_is_scored_and_the_drop_is_counted() -> None:
    talk = (*TALK[:1], Turn(Role.ASSISTANT, THOUGHTFUL), *TALK[2:3], Turn(Role.ASSISTANT, "yes"))
    chat = render_chat(without_old_thoughts, talk, ("</s>",))
    empty = "<think>\n\n</think>\n\n"
    assert chat.text == f"[u]<image>\nWhat?</s>[a]red</s>[u]Sure?</s>[a]{empty}yes</s>"
    assert scored(chat) == [(None, "red</s>"), (None, "yes</s>")]
    assert chat.thoughts_dropped == 1


def test_an_empty_thought_does_not_count_as_dropped() -> None:
    talk = (TALK[0], Turn(Role.ASSISTANT, "<think>\n\n</think>\n\nred"))
    chat = render_chat(without_old_thoughts, talk, ("</s>",))
    assert scored(chat) == [(None, "red</s>")]
    assert chat.thoughts_dropped == 0


@pytest.mark.parametrize("answer", [THOUGHTFUL, "one red\nthing </think>red"])
def test_a_template_that_keeps_answers_unchanged_keeps_thoughts(answer: str) -> None:
    chat = render_chat(plain, (TALK[0], Turn(Role.ASSISTANT, answer)), ("</s>",))
    assert scored(chat) == [(answer.removesuffix("red"), "red</s>")]


def test_a_template_that_rewrites_the_thought_itself_is_refused() -> None:
    def shorter(messages: Messages) -> str:
        return plain(messages).replace("one red", "a")

    with pytest.raises(PromptProblem, match="rewrites"):
        render_chat(shorter, (TALK[0], Turn(Role.ASSISTANT, THOUGHTFUL)), ())
