"""Records of any shape: kept ones are exported unchanged, and an edit changes nothing else.

Records are made as text, token by token, so that key order, number forms, escapes, spaces and
repeated identifiers are such as no printer would choose.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import score_dataset
from scoring.exports.export import export_subset
from scoring.exports.json_edits import (
    add_key,
    mask_record_turns,
    remove_line_breaks,
    remove_record_turns,
)
from scoring.readers.json_stream import RawRecord
from scoring.readers.records import to_sample
from scoring.readers.turn_removal import remove_turns
from scoring.rules import Threshold
from scoring.samples import Role, Sample
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import create_workspace, open_workspace
from tests.fakes import FakeModel

NUMBERS = ("1e-7", "1.50", "-0", "1E+2", "0.10", "12345678901234567890123", "-1.0e-300")
GAPS = st.sampled_from(["", " ", "  ", "\t", "\n", " \r\n "])
IDS = st.sampled_from(['"same"', "7", '"\\u00e9"', '"é"', "7.0", "null"])
TEXTS = st.text(st.sampled_from("aäß図😀 \"\\/=+,:{}[]'\u2028\x7f"), min_size=1, max_size=12)


@st.composite
def strings(draw: st.DrawFn, text: st.SearchStrategy[str] = TEXTS) -> str:
    return json.dumps(draw(text), ensure_ascii=draw(st.booleans())).replace(
        "/", draw(st.sampled_from(["/", "\\/"]))
    )


def joined(draw: st.DrawFn, opening: str, members: list[str], closing: str) -> str:
    """The members with gaps of any kind around them."""
    parts = [f"{draw(GAPS)}{one}{draw(GAPS)}" for one in members]
    return opening + ",".join(parts) + closing


@st.composite
def objects(draw: st.DrawFn, members: list[tuple[str, str]]) -> str:
    """An object of these keys and values, in any order, with unknown keys."""
    more = draw(st.lists(st.tuples(TEXTS.map("?{}".format), VALUES), max_size=3))
    keyed = {json.dumps(key): value for key, value in more} | {
        json.dumps(key): value for key, value in members
    }
    order = draw(st.permutations(list(keyed.items())))
    return joined(draw, "{", [f"{key}{draw(GAPS)}:{draw(GAPS)}{v}" for key, v in order], "}")


@st.composite
def lists(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    return joined(draw, "[", draw(st.lists(inner, max_size=3)), "]")


VALUES: st.SearchStrategy[str] = st.recursive(
    st.sampled_from([*NUMBERS, "null", "true", "[]", "{}"]) | strings(), lists, max_leaves=6
)


@dataclass(frozen=True)
class Record:
    """A record as text, and the texts of its messages in their order."""

    text: str
    messages: tuple[str, ...]

    @property
    def sample(self) -> Sample:
        return sample_of(self.text.encode())


def sample_of(original: bytes) -> Sample:
    return to_sample(0, RawRecord(original, json.loads(original)), "file")


@st.composite
def records(draw: st.DrawFn, least: int = 1, most: int = 3) -> Record:
    """LLaVA records of some answers; the images stand in any of the questions, or nowhere."""
    n_pairs = draw(st.integers(least, most))
    placed = draw(st.lists(st.integers(0, n_pairs - 1), max_size=3))
    messages = []
    for pair in range(n_pairs):
        marks = "<image>" * placed.count(pair)
        question = strings(TEXTS.map(lambda text, marks=marks: marks + text))
        messages.append(draw(objects([("from", '"human"'), ("value", draw(question))])))
        messages.append(draw(objects([("from", '"gpt"'), ("value", draw(strings()))])))
    images = [f'"a/{n}.png"' for n in range(len(placed))]
    named = [("image", joined(draw, "[", images, "]"))] if images else []
    conversation = joined(draw, "[", messages, "]")
    members = [("id", draw(IDS)), *named, ("conversations", conversation)]
    return Record(draw(objects(members)), tuple(messages))


@given(st.lists(records(), min_size=1, max_size=12), GAPS)
@settings(max_examples=8, deadline=None)
def test_kept_records_come_out_byte_for_byte(found: list[Record], gap: str) -> None:
    originals = [record.text.encode() for record in found]
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data.json"
        data.write_bytes(b"[" + f",{gap}".encode().join(originals) + b"]")
        import_dataset(create_workspace(Path(place) / "ws"), [data])
        workspace = open_workspace(Path(place) / "ws")
        run = score_dataset(workspace, FakeModel()).run_id
        everything = {"text_only": "keep", "unscored": "keep"}
        subset = SubsetDefinition("all", Threshold(min=-9.0), run, **everything)  # type: ignore[arg-type]
        written = {}
        for kind in ("llava", "jsonl"):
            folder = Path(place) / kind
            assert export_subset(workspace, Store(workspace), subset, folder, kind).n_samples
            (file,) = folder.glob("samples.json*")
            written[kind] = file.read_bytes()
    assert written["llava"] == b"[\n" + b",\n".join(originals) + b"\n]\n"
    lines = written["jsonl"].removesuffix(b"\n").split(b"\n")
    assert len(lines) == len(originals)
    for line, original in zip(lines, originals, strict=True):
        assert json.loads(line) == json.loads(original)
        if b"\n" not in original and b"\r" not in original:
            assert line == original


@given(records(2, 5), st.data())
@settings(max_examples=120, deadline=None)
def test_a_dropped_turn_changes_no_other(record: Record, data: st.DataObject) -> None:
    sample = record.sample
    answers = data.draw(
        st.sets(st.integers(0, sample.n_turns - 1), min_size=1, max_size=sample.n_turns - 1)
    )
    cut = remove_record_turns(record.text.encode(), sample.turns, answers).decode()
    again = sample_of(cut.encode())
    assert list(again.turns) == remove_turns(sample.turns, answers)
    assert again.images == sample.images
    assert sum(len(turn.image_offsets) for turn in again.turns) == len(sample.images)
    before, after = json.loads(record.text), json.loads(cut)
    assert list(after) == list(before)
    assert after | {"conversations": 0} == before | {"conversations": 0}
    stay = [message for place, message in enumerate(record.messages) if place // 2 not in answers]
    assert len(after["conversations"]) == len(stay)
    at = 0
    for message, now in zip(stay, after["conversations"], strict=True):
        then = json.loads(message)
        assert bare(now) == bare(then)
        if now == then:  # no image came to it: letter by letter as it was
            at = cut.index(message, at) + len(message)


def bare(message: dict[str, str]) -> dict[str, str]:
    """A message without images and the lines on which they stand."""
    text = message["value"].replace("<image>", "").replace("\n", "")
    return {**message, "value": text}


@given(records(1, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_a_masked_turn_is_the_same_turn(record: Record, data: st.DataObject) -> None:
    sample = record.sample
    answers = data.draw(st.sets(st.integers(0, sample.n_turns - 1)))
    masked = mask_record_turns(record.text.encode(), sample.turns, answers, "loss")
    again = sample_of(masked)
    assert (again.turns, again.images) == (sample.turns, sample.images)
    turns = json.loads(masked)["conversations"]
    masks = [turn.pop("loss", True) for turn in turns if turn["from"] == "gpt"]
    assert masks == [place not in answers for place in range(sample.n_turns)]
    assert turns == json.loads(record.text)["conversations"]
    assert masked.replace(b', "loss": false', b"") == record.text.encode()


@given(records())
@settings(max_examples=60, deadline=None)
def test_added_keys_and_removed_line_breaks_leave_the_rest(record: Record) -> None:
    original = record.text.encode()
    assert add_key(original, "weight", "1e-7").replace(b', "weight": 1e-7', b"") == original
    line = remove_line_breaks(original)
    assert b"\n" not in line
    assert json.loads(line) == json.loads(original)
    assert [turn.role for turn in record.sample.turns[:2]] == [Role.HUMAN, Role.ASSISTANT]
