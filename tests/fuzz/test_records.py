"""The record parsers on inputs from fuzzing and on random ones from hypothesis."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.readers.options import FAMILIES
from tests.fuzz.records import JSON_READERS, READERS, check, tagged

CORPUS = sorted(Path(__file__).with_name("corpus").iterdir())

# Building blocks of records: keys, roles, and texts with a meaning for readers.
WORDS = st.sampled_from(
    [
        *(
            "from",
            "value",
            "role",
            "content",
            "type",
            "text",
            "image",
            "images",
            "image_url",
            "url",
        ),
        *("human", "gpt", "user", "assistant", "system", "conversations", "messages"),
        *(
            "conversation",
            "query",
            "response",
            "history",
            "question",
            "answer",
            "caption",
            "prompt",
        ),
        *("source", "base64", "data", "bytes", "path", "id", "<image>", "<image>\n", "<ImageHere>"),
        *("<img>a.png</img>", "data:image/png;base64,iVBORw0KGgo=", "a.png###[1,2,3,4]"),
        *('["a.png"]', "\ud800", "\0", "../a.png"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_earlier_fuzz_findings_stay_fixed(path: Path) -> None:
    check(path.read_bytes())


@given(
    st.sampled_from(sorted(READERS)),
    st.binary(max_size=300),
    st.booleans(),
    st.sampled_from([None, *FAMILIES]),
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(
    reader: str, content: bytes, keep_going: bool, family: str | None
) -> None:
    check(tagged(reader, content, keep_going=keep_going, family=family))


@given(st.lists(VALUES, max_size=4), st.booleans(), st.sampled_from([None, *FAMILIES]))
@settings(max_examples=300, deadline=None)
def test_any_json_becomes_one_sample_per_record(
    values: list[object], keep_going: bool, family: str | None
) -> None:
    texts = [json.dumps(value) for value in values]
    named = ",".join(f'"k{n}": {text}' for n, text in enumerate(texts))
    for reader, content in (
        ("array", f"[{','.join(texts)}]"),
        ("lines", "\n".join(texts)),
        ("values", "\n ".join(texts)),
        ("object", f"{{{named}}}"),
        ("within", f'{{"meta": 1, "data": {{{named}}}}}'),
    ):
        samples = check(tagged(reader, content.encode(), keep_going=keep_going, family=family))
        assert len(samples) == len(values), reader
    assert set(JSON_READERS) == {"array", "lines", "values", "object", "within"}


@given(
    st.lists(
        st.tuples(
            st.text(min_size=1, max_size=12)
            | st.sampled_from(["../a.json", "/a.png", "a/../b.txt"]),
            st.sampled_from([".json", ".jpg", ".txt", ".detail.json", ""]),
            st.one_of(VALUES.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40)),
        ),
        max_size=5,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_members_of_an_archive_are_read_or_refused(
    members: list[tuple[str, str, bytes]],
) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", errors="surrogateescape") as archive:
        for name, suffix, content in members:
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode() + suffix)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    check(tagged("tar", file.getvalue()))
