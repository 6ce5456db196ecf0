"""The questions for trials on the demo are those that their script writes."""

from __future__ import annotations

from pathlib import Path

from data.build_held_out import PICTURES_PER_SOURCE, QUESTIONS_PER_PICTURE, TEXT_ONLY, build

DATA = Path(__file__).parents[2] / "data"


def test_the_script_writes_the_committed_questions(tmp_path: Path) -> None:
    pictured, texts = build(tmp_path, DATA / "demo")
    assert len(pictured) == 3 * PICTURES_PER_SOURCE * QUESTIONS_PER_PICTURE
    assert len(texts) == TEXT_ONLY
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(written) == 2 + 3 * PICTURES_PER_SOURCE
    for path in written:
        committed = (DATA / "held-out" / path).read_bytes()
        if path.suffix == ".json":  # the bytes of a PNG depend on the version of its library
            assert (tmp_path / path).read_bytes() == committed, path
        else:
            assert committed.startswith(b"\x89PNG")
