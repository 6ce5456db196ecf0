"""Properties of every sample that readers produce, and of the edits that exports make to it."""

from __future__ import annotations

import json
from collections.abc import Callable

from scoring.exports.json_edits import (
    EditError,
    add_key,
    mask_record_turns,
    remove_line_breaks,
    remove_record_turns,
)
from scoring.readers.turn_removal import remove_turns
from scoring.samples import Sample, Status

_KEY = "a key of ours"


def assert_writable(sample: Sample) -> None:
    """Check that the sample can be stored: texts are UTF-8, image positions are in their text."""
    texts = [sample.id, sample.source, sample.reason, sample.origin, *sample.images]
    texts += [turn.text for turn in sample.turns]
    for text in texts:
        if text is not None:
            text.encode("utf-8")
    for turn in sample.turns:
        assert list(turn.image_offsets) == sorted(turn.image_offsets)
        assert all(0 <= at <= len(turn.text) for at in turn.image_offsets)
    if sample.status is not Status.PENDING and sample.status is not Status.TEXT_ONLY:
        assert sample.reason, f"{sample.status} without a reason"


def assert_editable(sample: Sample, read: Callable[[bytes], Sample]) -> int:
    """Check that an export changes a JSON record as intended or leaves it unchanged.

    ``read`` reads a record as ``sample`` was read. Returns the number of changes.
    """
    record = sample.original
    line = remove_line_breaks(record)
    assert b"\n" not in line
    assert b"\r" not in line
    assert plain(json.loads(_text(line))) == plain(json.loads(_text(record)))
    _assert_key_added(record)
    if sample.status is not Status.PENDING:  # only what can be scored is ever cut
        return 0
    everyone = range(sample.n_turns)
    return sum(
        _assert_cut(sample, answers, read)
        for answers in {(0,), (sample.n_turns - 1,), tuple(everyone[1:]), tuple(everyone[:-1])}
        if 0 < len(answers) < sample.n_turns
    )


def _assert_key_added(record: bytes) -> None:
    try:
        added = json.loads(_text(add_key(record, _KEY, "1.5")))
    except (EditError, ValueError, RecursionError):
        return
    assert list(added)[-1] == _KEY
    assert added.pop(_KEY) == 1.5
    assert plain(added) == plain(json.loads(_text(record)))


def _assert_cut(sample: Sample, answers: tuple[int, ...], read: Callable[[bytes], Sample]) -> bool:
    try:
        cut = read(remove_record_turns(sample.original, sample.turns, answers))
        masked = read(mask_record_turns(sample.original, sample.turns, answers, _KEY))
    except (EditError, ValueError, IndexError, RecursionError):
        return False
    assert list(cut.turns) == remove_turns(sample.turns, answers)
    assert cut.images == sample.images
    assert (masked.turns, masked.images) == (sample.turns, sample.images)
    return True


def plain(value: object) -> str:
    """Return ``value`` as JSON with integers as text, as those of a hundred digits or more are."""
    return json.dumps(_plain(value))


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _text(record: bytes) -> str:
    return record.decode("utf-8", "surrogateescape")
