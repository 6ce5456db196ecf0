"""What the kept and the dropped samples are made of, by source: two bars that follow the cut.

The one decision behind it: shares are of each bar's own whole, so that a source that the cut
favours shows as a stretch that is longer above than below. Counts come with the cut; nothing is
asked anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import streamlit as st

from dashboard import text
from dashboard.theme import SOURCE_COLOURS
from scoring.store.values import CutCounts


@dataclass(frozen=True, slots=True)
class Part:
    """One source, or all that are too small for a colour of their own."""

    name: str
    kept: int
    dropped: int


def show(kept: CutCounts) -> None:
    """Draws both bars with their legend; nothing where all samples are of one source."""
    parts = read_parts(kept)
    if len(parts) < 2:
        return
    whole = {"kept": kept.n_kept, "dropped": kept.n_dropped}
    bars = "".join(_bar(side, parts, n) for side, n in whole.items())
    legend = "".join(_entry(place, part, whole) for place, part in enumerate(parts))
    st.html(
        f'<div class="vn-mix">{bars}<ul aria-label="Sources">'
        f'<li class="vn-quiet">share of the kept · of the dropped:</li>{legend}</ul></div>'
    )


def read_parts(kept: CutCounts) -> list[Part]:
    """The largest sources with a scored sample, as many as there are colours; the rest as one."""
    parts = [Part(row["source"], row["kept"], row["dropped"]) for row in kept.by_source]
    parts = [part for part in parts if part.kept + part.dropped]
    if len(parts) <= len(SOURCE_COLOURS):
        return parts
    own, rest = parts[: len(SOURCE_COLOURS) - 1], parts[len(SOURCE_COLOURS) - 1 :]
    others = Part(
        f"{len(rest)} others", sum(one.kept for one in rest), sum(one.dropped for one in rest)
    )
    return [*own, others]


def _bar(side: str, parts: list[Part], whole: int) -> str:
    stretches = "".join(
        f'<span class="s{place}" style="width:{100 * getattr(part, side) / whole:.3f}%" '
        f'title="{escape(part.name, quote=True)}: {_said(part, side, whole)}"></span>'
        for place, part in enumerate(parts)
        if getattr(part, side)
    )
    said = ", ".join(f"{part.name} {text.share(getattr(part, side), whole)}" for part in parts)
    return (
        f'<span class="vn-quiet">{side}</span><div class="vn-bar" role="img" '
        f'aria-label="{side}: {escape(said, quote=True)}">{stretches}</div>'
    )


def _said(part: Part, side: str, whole: int) -> str:
    n = getattr(part, side)
    return f"{text.count(n)} {side}, {text.share(n, whole)}"


def _entry(place: int, part: Part, whole: dict[str, int]) -> str:
    shares = " · ".join(text.share(getattr(part, side), n) for side, n in whole.items())
    return (
        f'<li><span class="vn-swatch s{place}" aria-hidden="true"></span>{escape(part.name)} '
        f'<span class="vn-where">{shares}</span></li>'
    )
