"""Imports under fault and load: broken off and gone on with, hostile records, bounded memory."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.dataset import importing
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import dataset_table, read_samples
from scoring.errors import RecordError, WorkspaceError
from scoring.readers import json_stream
from scoring.readers.json_stream import RawRecord, read_json_array, read_json_lines
from scoring.readers.options import ReadOptions
from scoring.readers.records import to_sample
from scoring.samples import Role, Sample, Status
from scoring.workspace import create_workspace


def record(name: str) -> dict[str, object]:
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": name}]
    return {"id": name, "image": f"{name}.png", "conversations": turns}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Three files of two records each; every file is kept when it is read."""
    monkeypatch.setattr(importing, "_CHECKPOINT_ROWS", 1)
    made = []
    for name in "abc":
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(record(name + n)) + "\n" for n in "01"))
        made.append(path)
    return made


def interrupted_after(n_samples: int, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Interrupt imports like Ctrl-C after ``n`` samples; returns the list of opened files."""
    opened: list[Path] = []
    reading = importing.SourceReader

    class Interrupted(reading):  # type: ignore[valid-type,misc]
        def samples(self, first_row: int) -> Iterator[Sample]:
            opened.append(self._source.file.path)
            for sample in super().samples(first_row):
                if sample.row_idx == n_samples:
                    raise KeyboardInterrupt
                yield sample

    monkeypatch.setattr(importing, "SourceReader", Interrupted)
    return opened


def test_an_interrupted_import_resumes_with_the_unfinished_file(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    with monkeypatch.context() as patch:
        opened = interrupted_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(workspace, files)
        assert opened == files
    assert not workspace.dataset_dir.exists()
    with monkeypatch.context() as patch:
        opened = interrupted_after(99, patch)
        info = import_dataset(workspace, files)
        assert opened == files[2:]
    answers = [sample.answer for sample in read_samples(workspace)]
    assert answers == ["a0", "a1", "b0", "b1", "c0", "c1"]
    assert [sample.row_idx for sample in read_samples(workspace)] == list(range(6))
    whole = create_workspace(tmp_path / "whole")
    assert import_dataset(whole, files).fingerprint == info.fingerprint
    assert sorted(path.name for path in workspace.root.iterdir()) == ["dataset", "workspace.json"]


def test_an_import_of_changed_files_starts_from_scratch(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    with monkeypatch.context() as patch:
        interrupted_after(5, patch)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(workspace, files)
    assert len(list(workspace.root.glob(".dataset.*.partial"))) == 1
    files[0].write_text(json.dumps(record("new")) + "\n")
    import_dataset(workspace, files)
    assert [sample.answer for sample in read_samples(workspace)][:2] == ["new", "b0"]
    assert list(workspace.root.glob(".dataset.*.partial")) == []


def test_an_import_without_finished_files_leaves_nothing(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    interrupted_after(1, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        import_dataset(workspace, files)
    assert [path.name for path in workspace.root.iterdir()] == ["workspace.json"]


def test_concurrent_imports_of_the_same_files_are_refused(
    files: list[Path], tmp_path: Path
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    options = ReadOptions()
    sources = importing.open_sources(files, options)
    first = importing.StagingArea(workspace, sources, options)
    with pytest.raises(WorkspaceError, match="Another process is importing the same files"):
        import_dataset(workspace, files)
    first.discard()
    import_dataset(workspace, files)


def test_other_column_options_make_another_dataset(files: list[Path], tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, files)
    said = ReadOptions(columns={"conversations": "conversations", "image": "image"})
    with pytest.raises(WorkspaceError, match="already contains another dataset"):
        import_dataset(workspace, files, options=said)


# ---- hostile records ---------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["id", "image", "images", "conversations", "messages", "from", "value", "role", "content",
     "type", "text", "url", "image_url", "path", "bytes", "source", "data", "query", "response",
     "history", "prompt", "completion", "question", "answer", "choices", "video", "index", "x"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["human", "gpt", "user", "assistant", "system", "tool", "<image>", "<image>\nq", "1.png",
         "image", "text", "video", "[]", "[1", "data:image/png;base64,x", "http://x/y", "\ud800",
         "a###[1, 2, 3, 4]", "<img>a.png</img>", "\0", "../x"]
    ),
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=400, deadline=None)
@given(VALUES, st.sampled_from([None, "llava", "messages", "qa", "caption"]), st.booleans())
def test_any_record_becomes_a_sample_that_can_be_stored(
    value: object, family: str | None, in_columns: bool
) -> None:
    raw = RawRecord(b"" if in_columns else repr(value).encode("utf-8", "replace"), value)
    place = "x.parquet#row=0" if in_columns else None
    sample = to_sample(0, raw, "file", ReadOptions(family), container=place)
    assert sample.status in Status
    assert (sample.reason is None) == (sample.status is Status.PENDING)
    for turn in sample.turns:
        assert list(turn.image_offsets) == sorted(turn.image_offsets)
        assert all(0 <= offset <= len(turn.text) for offset in turn.image_offsets)
    places = sum(len(turn.image_offsets) for turn in sample.turns)
    if sample.status is Status.PENDING:
        assert places == len(sample.images) > 0
        assert any(turn.role is Role.ASSISTANT and turn.text.strip() for turn in sample.turns)
    assert dataset_table([sample]).num_rows == 1


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), min_size=1, max_size=5),
    st.integers(0, 400),
    st.integers(0, 400),
    st.sampled_from([b"", b'"', b"}", b"[", b"\xff", b"\\", b"{" * 30]),
)
def test_a_damaged_file_is_refused_or_read_with_its_damage_counted(
    values: list[dict[str, object]], start: int, length: int, inserted: bytes
) -> None:
    text = json.dumps(values, default=repr)
    data = text.encode("utf-8", "surrogatepass")
    damaged = data[:start] + inserted + data[start + length % 7 :]
    try:
        strict = list(read_json_array(io.BytesIO(damaged), "d"))
    except RecordError as error:
        assert str(error).startswith("d: line ")
        strict = None
    kept = None
    try:
        kept = list(read_json_array(io.BytesIO(damaged), "d", keep_going=True))
    except RecordError:
        assert not damaged.lstrip().startswith(b"[")
    if strict is not None:
        assert kept == strict
    elif kept is not None:
        assert any(one.problem for one in kept) or damaged.rstrip() != data
    for one in read_json_lines(io.BytesIO(damaged), "d", keep_going=True):
        assert one.original


def test_overlong_lines_are_refused_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_RECORD_BYTES", 50)
    data = b'{"a": 1}\n{"a": "' + b"x" * 500 + b'"}\n{"a": 2}\n'
    with pytest.raises(RecordError, match="line 2 is longer than"):
        list(read_json_lines(io.BytesIO(data), "d"))
    found = list(read_json_lines(io.BytesIO(data), "d", keep_going=True))
    assert [one.value for one in found] == [{"a": 1}, None, {"a": 2}]


MEMORY = """
import resource, sys
from pathlib import Path
from scoring.dataset.importing import import_dataset
from scoring.workspace import create_workspace
import_dataset(create_workspace(Path(sys.argv[2])), [Path(sys.argv[1])])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.long
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    line = json.dumps(record("x") | {"padding": "y" * 800}) + "\n"
    peaks = []
    for n_lines in (20_000, 200_000):
        path = tmp_path / f"{n_lines}.jsonl"
        with path.open("w") as file:  # piece by piece: a child's peak begins at its parent's
            for _ in range(n_lines):
                file.write(line)
        command = [sys.executable, "-c", MEMORY, str(path), str(tmp_path / f"ws{n_lines}")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, env=environment)
        peaks.append(int(done.stdout))
    assert peaks[1] < peaks[0] * 1.3


def test_only_json_records_have_original_bytes(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("question,answer\nq,a\n")
    workspace = create_workspace(tmp_path / "ws")
    import_dataset(workspace, [tmp_path / "x.csv"])
    assert [one.original for one in read_samples(workspace, [0])] == [b""]
    (sample,) = read_samples(workspace)
    assert sample.origin == "x.csv#offset=16"
