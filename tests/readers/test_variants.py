"""The samples of every record variant that projects publish.

``[i]`` in an expected text marks the i-th image of the sample.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from scoring.readers.json_stream import RawRecord
from scoring.readers.options import ReadOptions
from scoring.readers.records import guess_family, to_sample
from scoring.samples import Role, Sample

LONG_BASE64 = "iVBORw0KGgo" + "A" * 400


def understood(record: object, **options: Any) -> Sample:
    raw = RawRecord(json.dumps(record).encode(), record)
    return to_sample(0, raw, "file", ReadOptions(**options))


def told(sample: Sample) -> list[str]:
    """Turns as lines, the places of images marked."""
    lines, number = [], 0
    for turn in sample.turns:
        text, at = "", 0
        for offset in turn.image_offsets:
            text, at = f"{text}{turn.text[at:offset]}[{number}]", offset
            number += 1
        lines.append(f"{turn.role[0]}: {text}{turn.text[at:]}")
    return lines


def turns(*texts: str, names: tuple[str, str] = ("human", "gpt")) -> list[dict[str, str]]:
    return [{"from": names[i % 2], "value": text} for i, text in enumerate(texts)]


def chat(*texts: object) -> list[dict[str, object]]:
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(texts)]


URL = "https://example.org/demo.jpeg"
QA = ["h: [0]\nq", "a: a"]

LLAVA: list[tuple[str, dict[str, Any], str, str, list[str], list[str]]] = [
    ("placeholder last", {"id": "1", "image": "1.jpg", "conversations": turns("q\n<image>", "a")},
     "llava", "pending", ["1.jpg"], ["h: q\n[0]", "a: a"]),
    ("text-only without a key", {"id": "i6", "model": "", "conversations": turns("q", "a")},
     "llava", "text_only", [], ["h: q", "a: a"]),
    ("text-only with an empty image and a context turn",
     {"image": "", "conversations": [{"from": "context", "value": "c"}, *turns("<image> q", "a")]},
     "llava", "text_only", [], ["h: c\n<image> q", "a: a"]),
    ("image list",
     {"image": ["1.jpg", "2.jpg"], "conversations": turns("<image>\n<image>\nq", "a")},
     "llava", "pending", ["1.jpg", "2.jpg"], ["h: [0]\n[1]\nq", "a: a"]),
    ("images as a list", {"images": ["1.jpg"], "conversations": turns("<image>q", "a")},
     "llava", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("images as a text", {"images": "1.jpg", "conversations": turns("<image>q", "a")},
     "llava", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("video", {"video": "v.mp4", "conversations": turns("<video>\nq", "a")},
     "llava", "video", [], ["h: <video>\nq", "a: a"]),
    ("bot, no placeholder, id a number",
     {"id": 0, "conversations": turns("q", "a", names=("human", "bot")), "image": "d/p.jpeg"},
     "llava", "pending", ["d/p.jpeg"], QA),
    ("ImageHere", {"image": ["1.jpg", "2.jpg"],
                   "conversations": turns("Image1: <ImageHere>; Image2: <ImageHere>. q", "a")},
     "llava", "pending", ["1.jpg", "2.jpg"], ["h: Image1: [0]; Image2: [1]. q", "a: a"]),
    ("path inside the text",
     {"id": "identity_1", "conversations": turns("Picture 1: <img>a/1.jpeg</img>\nq", "a",
                                                 names=("user", "assistant"))},
     "llava", "pending", ["a/1.jpeg"], ["h: Picture 1: [0]\nq", "a: a"]),
    ("address inside the text",
     {"conversations": turns(f"Picture 1: <img>{URL}</img>\nq", "a", names=("user", "assistant"))},
     "llava", "refused_path", [URL], ["h: Picture 1: [0]\nq", "a: a"]),
    ("a tag that names no image stays text", {"conversations": turns("<img>yes</img> q", "a")},
     "llava", "text_only", [], ["h: <img>yes</img> q", "a: a"]),
    ("box as a suffix, placeholder in a later turn",
     {"image": ["c/1.jpg", "c/1.jpg###[86, 208, 840, 257]"], "split": "train",
      "conversations": turns("<image>\nq", "a", "<image>\nr", "b")},
     "llava", "pending", ["c/1.jpg", "c/1.jpg###[86, 208, 840, 257]"],
     ["h: [0]\nq", "a: a", "h: [1]\nr", "a: b"]),
    ("extra keys", {"image": "1.png", "attn_map": "1.npy", "bboxes": [[1, 2]],
                    "metadata": {"requires_vision": True},
                    "conversations": turns("<image>\nq", "a")},
     "llava", "pending", ["1.png"], QA),
    ("response instead of value",
     {"image": "1.png", "conversations": [{"from": "human", "value": "<image>\nq"},
                                          {"from": "gpt", "response": "a"}]},
     "llava", "pending", ["1.png"], QA),
    ("conversation in the singular", {"image": "1.png", "conversation": turns("<image>\nq", "a")},
     "llava", "pending", ["1.png"], QA),
    ("conversations as JSON text",
     {"image": "1.png", "conversations": json.dumps(turns("<image>\nq", "a"))},
     "llava", "pending", ["1.png"], QA),
    ("a system prompt next to the turns",
     {"system_prompt": "be brief", "image": "1.png", "conversations": turns("<image>\nq", "a")},
     "llava", "pending", ["1.png"], ["s: be brief", *QA]),
    ("a system message in its own key for turns without one",
     {"system": "be brief", "conversations": [{"from": "system", "value": None}, *turns("q", "a")]},
     "llava", "text_only", [], ["s: ", "h: q", "a: a"]),
    ("numbered images",
     {"image_1": "a.jpg", "image_2": "b.jpg", "image_3": None,
      "conversations": turns("<image 2> and <image_1>", "a")},
     "llava", "pending", ["b.jpg", "a.jpg"], ["h: [0] and [1]", "a: a"]),
    ("a list of images by the numbers in the text",
     {"images": ["a.jpg", "b.jpg"], "conversations": turns("<image 2> and <image 1>", "a")},
     "llava", "pending", ["b.jpg", "a.jpg"], ["h: [0] and [1]", "a: a"]),
    ("a number without an image",
     {"image_1": "a.jpg", "conversations": turns("<image 1> and <image 2>", "a")},
     "llava", "placeholder_mismatch", ["a.jpg"], ["h: [0] and <image 2>", "a: a"]),
    ("an image without its number",
     {"image_1": "a.jpg", "image_2": "b.jpg", "conversations": turns("<image 1> q", "a")},
     "llava", "placeholder_mismatch", ["a.jpg"], ["h: [0] q", "a: a"]),
    ("literal placeholder next to the real one",
     {"image": "1.png", "conversations": turns("<image>\nWhat does <ImageHere> mean?", "a")},
     "llava", "pending", ["1.png"], ["h: [0]\nWhat does <ImageHere> mean?", "a: a"]),
]  # fmt: skip

MESSAGES: list[tuple[str, dict[str, Any], str, str, list[str], list[str]]] = [
    ("images per turn, the same twice, content before role",
     {"messages": [{"content": "<image>q", "role": "user"}, {"content": "a", "role": "assistant"},
                   {"content": "r<image>", "role": "user"}, {"content": "b", "role": "assistant"}],
      "images": ["d/1.jpg", "d/1.jpg"]},
     "messages", "pending", ["d/1.jpg", "d/1.jpg"], ["h: [0]q", "a: a", "h: r[1]", "a: b"]),
    ("images and no placeholder at all", {"messages": chat("q", "a"), "images": ["1.jpg"]},
     "messages", "pending", ["1.jpg"], QA),
    ("parts with value",
     {"messages": chat([{"type": "image_url", "value": "1.jpg"}, {"type": "text", "value": "q"}],
                       [{"type": "text", "value": "a"}])},
     "messages", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("sister keys of sound", {"messages": chat("<audio>q", "a"), "audios": ["1.wav"]},
     "messages", "video", [], ["h: <audio>q", "a: a"]),
    ("conversation with role and content",
     {"id": "s_3", "images": ["1.jpg", "2.jpg"], "conversation": chat("<image><image>q", "a"),
      "source": "synthetic"},
     "messages", "pending", ["1.jpg", "2.jpg"], ["h: [0][1]q", "a: a"]),
    ("video without a token", {"id": "1", "video": "1.mp4", "conversation": chat("q", "a")},
     "messages", "video", [], ["h: q", "a: a"]),
    ("images by placeholder",
     {"id": "0", "image": {"<image_00>": "a.jpg", "<image_01>": "b.jpg"},
      "conversations": chat("<image_01> and <image_00>", "a")},
     "messages", "pending", ["b.jpg", "a.jpg"], ["h: [0] and [1]", "a: a"]),
    ("image inside the turn",
     {"messages": [{"role": "user", "content": "q", "image": "d/1.jpg"},
                   {"role": "assistant", "content": "a"}]},
     "messages", "pending", ["d/1.jpg"], ["h: [0]q", "a: a"]),
    ("object with url and size, IMG_CONTEXT in the text",
     {"messages": chat([{"type": "image_url", "image_url": {"url": "r/1.jpg",
                                                            "image_wh": [375, 500]}},
                        {"type": "text", "text": "<IMG_CONTEXT>\nq"}], "a")},
     "messages", "pending", ["r/1.jpg"], QA),
    ("image as an object, no token",
     {"messages": chat([{"type": "image", "image": {"url": "r/1.jpg", "image_wh": [4, 5]}},
                        {"type": "text", "text": "q"}], "a")},
     "messages", "pending", ["r/1.jpg"], ["h: [0]q", "a: a"]),
    ("role pretrain",
     {"messages": [{"role": "pretrain", "content": [{"type": "image", "path": "1.jpg"},
                                                    {"type": "text", "text": "a caption"}]}]},
     "messages", "pending", ["1.jpg"], ["h: [0]", "a: a caption"]),
    ("role pretrain with the place of the image in the text",
     {"messages": [{"role": "pretrain", "content": [
         {"type": "image_url", "image_url": {"url": "1.jpg", "image_wh": [4, 5]}},
         {"type": "text", "text": "<IMG_CONTEXT>\na caption"}]}]},
     "messages", "pending", ["1.jpg"], ["h: [0]", "a: a caption"]),
    ("image column of nulls",
     {"image": {"bytes": None, "path": None}, "messages": chat("q", "a")},
     "messages", "text_only", [], ["h: q", "a: a"]),
    ("video part",
     {"messages": chat([{"type": "video", "path": "tennis.mp4"}, {"type": "text", "text": "q"}],
                       "a")},
     "messages", "video", [], ["h: q", "a: a"]),
    ("data: URL and a web address in one message",
     {"messages": chat([{"type": "image_url",
                         "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
                        {"type": "image_url", "image_url": URL}, {"type": "text", "text": "q"}],
                       "a")},
     "messages", "refused_path", ["original#row=0&at=/messages/0/content/0/image_url/url", URL],
     ["h: [0][1]q", "a: a"]),
    ("source with base64",
     {"messages": chat([{"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                     "data": LONG_BASE64}},
                        {"type": "text", "text": "q"}], "a")},
     "messages", "pending", ["original#row=0&at=/messages/0/content/0/source/data"],
     ["h: [0]q", "a: a"]),
    ("part with url", {"messages": chat([{"type": "image", "url": "1.jpg"}, "q"], "a")},
     "messages", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("part with path", {"messages": chat([{"type": "image", "path": "1.jpg"}, "q"], "a")},
     "messages", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("part with base64", {"messages": chat([{"type": "image", "base64": LONG_BASE64}, "q"], "a")},
     "messages", "pending", ["original#row=0&at=/messages/0/content/0/base64"],
     ["h: [0]q", "a: a"]),
    ("parts without a type", {"messages": chat([{"image": "1.jpg"}, {"text": "q"}], "a")},
     "messages", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("bare image parts, an image list, prompt and completion",
     {"prompt": chat([{"type": "image"}, {"type": "text", "text": "q"}]),
      "completion": [{"role": "assistant", "content": [{"type": "text", "text": "a"}]}],
      "images": ["1.jpg"]},
     "messages", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("bare image parts, one image in its own key",
     {"messages": chat([{"type": "text", "text": "q"}, {"type": "image"}], "a"), "image": "1.jpg"},
     "messages", "pending", ["1.jpg"], ["h: q[0]", "a: a"]),
    ("text-only by an empty list", {"messages": chat("q", "a"), "images": []},
     "messages", "text_only", [], ["h: q", "a: a"]),
    ("nulls filled in, the image after the text",
     {"messages": chat([{"index": None, "text": "q", "type": "text"},
                        {"index": 0, "text": None, "type": "image"}],
                       [{"index": None, "text": "a", "type": "text"}]),
      "images": [{"bytes": None, "path": "d/1.jpg"}]},
     "messages", "pending", ["d/1.jpg"], ["h: q[0]", "a: a"]),
    ("numbered parts out of order",
     {"messages": chat([{"index": 1, "type": "image"}, {"index": 0, "type": "image"}, "q"], "a"),
      "images": ["0.jpg", "1.jpg"]},
     "messages", "pending", ["1.jpg", "0.jpg"], ["h: [0][1]q", "a: a"]),
    ("conversations with parts, an empty image part, an evaluator",
     {"image": "1.jpg",
      "conversations": [{"role": "user", "content": [{"type": "image", "image": ""},
                                                     {"type": "text", "text": "q"}]},
                        {"role": "evaluator", "content": [{"type": "text", "text": "a"}]}]},
     "messages", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("tools, an image in a tool's response",
     {"messages": [{"role": "user", "content": "q"}, {"role": "tool_call", "content": "f()"},
                   {"role": "tool_response", "content": "<image>"},
                   {"role": "assistant", "content": "a"}], "images": ["1.jpg"]},
     "messages", "pending", ["1.jpg"], ["h: q", "a: f()", "h: [0]", "a: a"]),
    ("tools by other names",
     {"messages": [{"role": "user", "content": "q"}, {"role": "function_call", "content": "f()"},
                   {"role": "observation", "content": "r"}, {"role": "observation", "content": "s"},
                   {"role": "assistant", "content": "a"}], "images": []},
     "messages", "text_only", [], ["h: q", "a: f()", "h: r\ns", "a: a"]),
    ("more images than placeholders",
     {"messages": chat("<image>q", "a"), "images": ["1.jpg", "2.jpg"]},
     "messages", "placeholder_mismatch", ["1.jpg", "2.jpg"], ["h: [0]q", "a: a"]),
    ("the assistant's turn swallowed by the user's",
     {"messages": [{"role": "user", "content": 'q", "role": "assistant'}], "images": ["1.jpg"]},
     "messages", "no_answer", ["1.jpg"], ['h: [0]\nq", "role": "assistant']),
    ("system without content",
     {"messages": [{"role": "system", "content": None}, *chat("<image>q", "a")], "image": "1.jpg"},
     "messages", "pending", ["1.jpg"], ["s: ", "h: [0]q", "a: a"]),
    ("system_prompt next to the messages",
     {"system_prompt": "be brief", "messages": chat("q", "a")},
     "messages", "text_only", [], ["s: be brief", "h: q", "a: a"]),
    ("system next to the messages", {"system": "be brief", "messages": chat("q", "a")},
     "messages", "text_only", [], ["s: be brief", "h: q", "a: a"]),
    ("an image inside an answer",
     {"messages": chat("draw", [{"type": "image", "path": "1.jpg"}, "so"])},
     "messages", "placeholder_mismatch", ["1.jpg"], ["h: draw", "a: [0]so"]),
]  # fmt: skip

FLAT: list[tuple[str, dict[str, Any], str, str, list[str], list[str]]] = [
    ("query, response, history, no placeholder",
     {"query": "q", "response": "a", "images": ["1.jpg"], "history": [["AA", "BB"]]},
     "qa", "pending", ["1.jpg"], ["h: [0]\nAA", "a: BB", "h: q", "a: a"]),
    ("three images, no placeholder",
     {"query": "q", "response": "a", "images": ["1.jpg", "2.jpg", "3.jpg"]},
     "qa", "pending", ["1.jpg", "2.jpg", "3.jpg"], ["h: [0][1][2]\nq", "a: a"]),
    ("image inside the query", {"query": "<img>1.jpg</img>q", "response": "a"},
     "qa", "pending", ["1.jpg"], ["h: [0]q", "a: a"]),
    ("an address", {"query": "q", "response": "a", "images": [URL]},
     "qa", "refused_path", [URL], QA),
    ("pairs of human and assistant", {"conversation": [{"human": "11", "assistant": "22"}]},
     "qa", "text_only", [], ["h: 11", "a: 22"]),
    ("pairs of user and assistant",
     {"images": ["1.jpg"], "texts": [{"user": "q", "assistant": "a", "source": "x"},
                                     {"user": "r", "assistant": "b"}]},
     "qa", "pending", ["1.jpg"], ["h: [0]\nq", "a: a", "h: r", "a: b"]),
    ("instruction, input, output", {"instruction": "do", "input": "this", "output": "done"},
     "qa", "text_only", [], ["h: do\nthis", "a: done"]),
    ("Data-Juicer", {"images": ["../../t/1.png"], "text": "<__dj__image> A comfortable bed."},
     "caption", "pending", ["../../t/1.png"], ["h: [0]", "a: A comfortable bed."]),
    ("caption with the bytes of a column",
     {"image": {"bytes": b"x", "path": None}, "text": "a bed"},
     "caption", "pending", ["p.parquet#row=0&at=/image/bytes"], ["h: [0]", "a: a bed"]),
    ("problem and solution, an absolute path that is not there",
     {"image": {"bytes": None, "path": "/lpai/x/12 (29).jpg"}, "problem": "几",
      "solution": "<think>"},
     "qa", "pending", ["/lpai/x/12 (29).jpg"], ["h: [0]\n几", "a: <think>"]),
    ("rows for rewards",
     {"data_source": "geo3k", "prompt": chat("<image>q"), "images": [{"bytes": b"x"}],
      "reward_model": {"style": "rule", "ground_truth": "3"}, "extra_info": {"split": "train"}},
     "messages", "pending", ["p.parquet#row=0&at=/images/0/bytes"], ["h: [0]q", "a: 3"]),
    ("benchmark table",
     {"index": "7", "image": LONG_BASE64, "question": "q", "hint": "look", "A": "red", "B": "blue",
      "C": "", "D": "", "answer": "A", "category": "colour"},
     "qa", "pending", ["p.parquet#row=0&at=/image"], ["h: [0]\nlook\nq\nA. red\nB. blue", "a: A"]),
    ("benchmark table with a path",
     {"index": "7", "image_path": "1.jpg", "question": "q", "A": "red", "answer": "A"},
     "qa", "pending", ["1.jpg"], ["h: [0]\nq\nA. red", "a: A"]),
    ("interleaved instructions by image ids",
     {"instruction": "q", "answer": "a", "image_ids": ["D3_IMG_0"], "rel_ins_ids": []},
     "qa", "pending", ["D3_IMG_0"], QA),
    ("texts everywhere, no file",
     {"category": "VD", "visual_input": "0", "question": "Is it?", "gt_answer": "0",
      "filename": None},
     "qa", "text_only", [], ["h: Is it?", "a: No"]),
    ("texts everywhere, a file",
     {"category": "VD", "visual_input": "1", "question": "Is it?", "gt_answer": "1",
      "filename": "./VD/0.png"},
     "qa", "pending", ["./VD/0.png"], ["h: [0]\nIs it?", "a: Yes"]),
    ("evaluation row",
     {"question_id": 0, "image": "1_F3.jpg", "pair_id": "p", "text": "q\n<image>",
      "gpt4_answer": "a", "fig_caption": "c", "domain": {"ct": False}, "type": "conversation"},
     "qa", "pending", ["1_F3.jpg"], ["h: q\n[0]", "a: a"]),
    ("question file of a benchmark that asks yes or no",
     {"question_id": 1, "image": "C_310196.jpg", "text": "Is there a snowboard?", "label": "yes"},
     "qa", "pending", ["C_310196.jpg"], ["h: [0]\nIs there a snowboard?", "a: yes"]),
    ("question file without answers",
     {"question_id": 0, "image": "001.jpg", "category": "conv", "text": "What is this?"},
     "qa", "no_answer", ["001.jpg"], ["h: [0]\nWhat is this?"]),
    ("statement with its truth",
     {"image": "1.jpg", "caption": "The cat is under the bench.", "label": True},
     "qa", "pending", ["1.jpg"], ["h: [0]\nThe cat is under the bench.", "a: True"]),
    ("exam with numbered images and options written as text",
     {"id": "validation_Art_1", "question": "Which of <image 1> and <image 2> is older?",
      "options": "['<image 1>', \"the artist's second\"]", "answer": "A",
      "image_1": {"bytes": b"x", "path": "1.png"}, "image_2": {"bytes": b"y", "path": "2.png"},
      "image_3": None},
     "qa", "pending",
     ["p.parquet#row=0&at=/image_1/bytes", "p.parquet#row=0&at=/image_2/bytes",
      "p.parquet#row=0&at=/image_1/bytes"],
     ["h: Which of [0] and [1] is older?\nA. [2]\nB. the artist's second", "a: A"]),
    ("options that the question repeats",
     {"question": "Red or blue?\nA. red\nB. blue", "options": ["red", "blue"], "answer": "A",
      "image": "1.jpg"},
     "qa", "pending", ["1.jpg"], ["h: [0]\nRed or blue?\nA. red\nB. blue", "a: A"]),
    ("choices by number",
     {"question": "q", "choices": ["red", "blue"], "answer": 1, "hint": "", "image": None},
     "qa", "text_only", [], ["h: q\nA. red\nB. blue", "a: B"]),
    ("frames to be judged",
     {"id": "1", "images": ["1.jpg", "2.jpg"], "prompt": "q", "labels": {"visual quality": 1.0}},
     "qa", "no_answer", ["1.jpg", "2.jpg"], ["h: [0][1]\nq"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "family", "status", "images", "lines"),
    [pytest.param(*row[1:], id=row[0]) for row in [*LLAVA, *MESSAGES, *FLAT]],
)
def test_a_variant_is_detected_and_parsed(
    record: dict[str, Any], family: str, status: str, images: list[str], lines: list[str]
) -> None:
    guesses = guess_family(record)
    assert [guess.family for guess in guesses] == [family]
    columns = any("p.parquet" in image for image in images)
    if columns:
        raw = RawRecord(b"", record, origin="p.parquet#row=0")
        sample = to_sample(0, raw, "file", container="p.parquet#row=0")
    else:
        sample = understood(record)
    assert (sample.status, list(sample.images), told(sample)) == (status, images, lines)
    named = understood(record, family=family) if not columns else sample
    assert named == sample


def test_a_bare_list_of_turns_is_a_record() -> None:
    record = turns("q", "a")
    sample = to_sample(0, RawRecord(json.dumps(record).encode(), record), "file")
    assert (sample.status, told(sample)) == ("text_only", ["h: q", "a: a"])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [{"role": "user", "content": 3}]},
         "turn 1 contains 3, which is neither text nor a typed part"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
         "turn 1 contains a part of the unknown type 'hologram'; known types: text, image"),
        ({"messages": [{"role": "user", "content": None}]},
         "the content of turn 1 is None, not text"),
        ({"messages": chat("q", "a", "r", "s")[1:]}, "turn 1 is from assistant, expected human"),
        ({"query": "q", "response": "a", "history": [["one"]]},
         "a turn of the history is ['one'], not a question and its answer"),
        ({"question": "q", "answer": {"x": 1}}, "'answer' is {'x': 1}, not text or a number"),
        ({"query": "q", "response": "a", "images": [{"path": None}]},
         "'images' must be a path or a list of paths, not {'path': None}"),
    ],
)  # fmt: skip
def test_a_bad_record_has_a_reason(record: dict[str, Any], reason: str) -> None:
    sample = understood(record)
    assert (sample.status, sample.reason) == ("bad_record", reason)


@pytest.mark.parametrize(
    ("record", "families"),
    [
        ({"problem": "q", "image": "1.png"}, ["qa", "llava"]),
        ({"a": 1}, []),
        ({"text": "alone"}, ["qa", "caption"]),
        (
            {"image": "1.jpg", "caption": "The cat is under the bench.", "label": 1},
            ["qa", "caption"],
        ),
        ({"img": "1.png", "text": "a meme", "label": 0}, ["qa", "caption"]),
        ({"image": "1.jpg", "text": "a cat", "label": "animal"}, ["qa", "caption"]),
        (7, []),
    ],
)
def test_an_ambiguous_record_lists_its_possible_families(
    record: object, families: list[str]
) -> None:
    assert [guess.family for guess in guess_family(record)] == families


def test_columns_and_roles_are_named_by_the_user() -> None:
    record = {"q": "what", "meta": {"pic": "1.png", "reply": "that"}, "n": 5}
    columns = {"question": "q", "answer": "meta.reply", "image": "meta.pic", "id": "n"}
    sample = understood(record, columns=columns)
    assert (sample.id, list(sample.images), told(sample)) == (
        "5", ["1.png"], ["h: [0]\nwhat", "a: that"],
    )  # fmt: skip
    talk = {"talk": [{"role": "customer", "content": "q"}, {"role": "clerk", "content": "a"}]}
    roles = {"customer": Role.HUMAN, "clerk": Role.ASSISTANT}
    sample = understood(talk, columns={"conversations": "talk"}, roles=roles)
    assert told(sample) == ["h: q", "a: a"]


def test_a_named_column_does_not_affect_other_columns() -> None:
    record = {"id": "7", "source": "vqa", "image": "a.png", "question": "q", "gold": "b",
              "answer": "a", "system_prompt": "s", "A": "red", "B": "blue"}  # fmt: skip
    sample = understood(record, columns={"answer": "gold"})
    assert (sample.id, sample.source, list(sample.images)) == ("7", "vqa", ["a.png"])
    assert told(sample) == ["s: s", "h: [0]\nq\nA. red\nB. blue", "a: b"]
    sample = understood({**record, "text": "gold"}, columns={"question": "gold"})
    assert told(sample)[1:] == ["h: [0]\nb\nA. red\nB. blue", "a: a"]
    other = {**record, "image": "thumbnail.png", "input_image": "b.png"}
    assert understood(other, columns={"image": "input_image"}).images == ("b.png",)
    plain = {"id": "1", "image": "a.png", "caption": "a cat", "label": 1}
    sample = understood(plain, columns={"question": "caption", "answer": "label"})
    assert (sample.id, told(sample)) == ("1", ["h: [0]\na cat", "a: 1"])
    talk = {"id": "1", "image": "a.png", "conversations": turns("<image>\nq", "a")}
    sample = understood({**talk, "key": "x"}, columns={"id": "key"})
    assert (sample.id, told(sample)) == ("x", QA)


def test_an_image_inside_a_column_that_the_user_named() -> None:
    record = {"input_image": LONG_BASE64, "question": "q", "answer": "a"}
    assert understood(record).status == "text_only"
    sample = understood(record, columns={"image": "input_image"})
    assert sample.images == ("original#row=0&at=/input_image",)


def test_a_placeholder_without_an_image_is_reported() -> None:
    assert understood({"conversations": turns("<image>\nq", "a")}).reason == (
        "the record has no image, but its text contains <image>"
    )
    assert understood({"question": "<image 1> q", "answer": "a"}).reason == (
        "the record has no image, but its text contains <image 1>"
    )
    assert understood({"conversations": turns("q", "a")}).reason == "the record has no image"
