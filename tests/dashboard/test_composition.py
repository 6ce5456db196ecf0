"""What the kept and the dropped are made of: counts that come with the cut, in two bars."""

from __future__ import annotations

from dashboard.components.composition import Part, read_parts
from dashboard.theme import SOURCE_COLOURS
from scoring.store.values import CutCounts


def cut(rows: list[tuple[str, int, int]]) -> CutCounts:
    by_source = [dict(zip(("source", "kept", "dropped"), row, strict=True)) for row in rows]
    kept, dropped = (sum(row[name] for row in by_source) for name in ("kept", "dropped"))
    return CutCounts(kept, dropped, 0, None, None, by_source)


def test_sources_without_a_score_are_no_part_of_either_side() -> None:
    counts = cut([("scenes", 3, 1), ("digits", 0, 2), ("chat", 0, 0)])
    assert read_parts(counts) == [Part("scenes", 3, 1), Part("digits", 0, 2)]


def test_more_sources_than_colours_end_in_one_part_that_adds_up() -> None:
    n = len(SOURCE_COLOURS) + 2
    counts = cut([(f"s{place}", 100 - place, 1) for place in range(n)])
    parts = read_parts(counts)
    assert len(parts) == len(SOURCE_COLOURS)
    assert parts[-1].name == "3 others"
    assert sum(part.kept for part in parts) == counts.n_kept
    assert sum(part.dropped for part in parts) == counts.n_dropped
