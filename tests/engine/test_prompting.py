"""Finding the answers in a rendered chat."""

from __future__ import annotations

import re

import numpy as np
import pytest

from scoring.engine.prompting import (
    AnswerSpan,
    Messages,
    PromptProblem,
    emits_end_marker,
    neutralised,
    render_chat,
    to_messages,
    token_turns,
)
from scoring.samples import Role, Status, Turn

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


def test_images_stand_where_their_offsets_say() -> None:
    turn = Turn(Role.HUMAN, "ab\n", (1, 3))
    assert [shown(message) for message in to_messages([turn])] == ["a<image>b\n<image>"]


def test_answers_are_found_with_their_end_marker() -> None:
    chat = render_chat(plain, TALK, end_markers=("</s>",))
    assert chat.text == "[u]<image>\nWhat?</s>[a]A cat</s>[u]Sure?</s>[a] yes </s>"
    found = [chat.text[span.start : span.end] for span in chat.answers]
    assert found == ["A cat</s>", " yes </s>"]
    assert [span.turn for span in chat.answers] == [0, 1]


def test_the_end_marker_stays_out_when_asked() -> None:
    chat = render_chat(plain, TALK, ("</s>",), score_eos=False)
    assert [chat.text[span.start : span.end] for span in chat.answers] == ["A cat", " yes "]


def test_templates_that_trim_are_followed() -> None:
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


def test_a_template_that_raises_gives_its_reason() -> None:
    def refusing(messages: Messages) -> str:
        raise ValueError("roles must alternate")

    with pytest.raises(PromptProblem, match="roles must alternate"):
        render_chat(refusing, TALK, ())


def test_whether_a_template_marks_the_end_of_an_answer() -> None:
    assert emits_end_marker(plain, ("</s>",))
    assert not emits_end_marker(plain, ("<|im_end|>",))


def test_tokens_belong_to_the_answer_they_overlap() -> None:
    # characters:  0 1 2 3 4 5 6 7; the answer stands at 3..6
    offsets = np.array([(0, 0), (0, 2), (2, 4), (4, 6), (6, 8)])
    assert token_turns(offsets, [AnswerSpan(0, 3, 6)]).tolist() == [-1, -1, 0, 0, -1]


def test_the_first_token_is_never_an_answer_token() -> None:
    assert token_turns(np.array([(0, 2), (2, 4)]), [AnswerSpan(0, 0, 4)]).tolist() == [-1, 0]


def test_control_tokens_in_a_text_are_broken_and_images_stay_where_they_are() -> None:
    controls = re.compile(r"<image>|</s>")
    turn = Turn(Role.HUMAN, "a<image>b</s>c", (0, 1, 8, 14))
    read = neutralised(turn, controls)
    assert read == Turn(Role.HUMAN, "a< image>b< /s>c", (0, 1, 9, 16))
    untouched = Turn(Role.HUMAN, "a <im age> b", (3,))
    assert neutralised(untouched, controls) is untouched


def test_a_control_token_that_an_image_splits_is_broken_too() -> None:
    read = neutralised(Turn(Role.HUMAN, "<image>", (3,)), re.compile("<image>"))
    assert [shown(message) for message in to_messages([read])] == ["< im<image>age>"]


def test_lone_surrogates_become_question_marks() -> None:
    assert neutralised(Turn(Role.HUMAN, "a\ud800b\x00é"), None).text == "a?b\x00é"


def test_private_characters_of_a_text_do_not_pass_for_marks() -> None:
    turns = (Turn(Role.HUMAN, "\ue0000\ue000"), Turn(Role.ASSISTANT, "\ue0001\ue000"))
    chat = render_chat(plain, turns, ("</s>",))
    assert [chat.text[span.start : span.end] for span in chat.answers] == ["\ue0001\ue000</s>"]
