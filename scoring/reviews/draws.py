"""A random draw as a decision records it: from what was drawn, and in which strata.

The one decision behind it: a draw names everything that its population depends on (filter, scores,
band limits), so that whoever reads a decision later knows for which samples it may stand. Logs
that are older than this record name only their queue: such a draw counts as one of all samples.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from scoring.errors import InputError

STRATIFIED = "stratified"


@dataclass(frozen=True, slots=True)
class Draw:
    """What a random queue drew from: the samples under ``filter``, in its written form.

    ``stratified`` draws take strata of source and category apart, by the scores of ``run_id`` and
    ``baseline`` and the limits ``low`` and ``high`` in nats per answer token. Without a
    ``run_id`` it is not known by which scores, and those in view are meant.
    """

    stratified: bool = False
    filter: str = ""
    run_id: str | None = None
    baseline: str | None = None
    clustering_id: str | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        given = {name: one for name, one in asdict(self).items() if one not in (None, False, "")}
        return json.dumps(given | self._limits(), ensure_ascii=False, allow_nan=False)

    def _limits(self) -> dict[str, float]:
        limits = {"low": self.low, "high": self.high}
        return {name: one for name, one in limits.items() if one is not None}


@lru_cache(maxsize=1024)  # a log repeats the few draws that its decisions came from
def parse_draw(text: str) -> Draw:
    """The draw that ``text`` writes down; names of a newer version are passed over.

    Raises InputError where it is none.
    """
    try:
        raw: dict[str, Any] = dict(json.loads(text))
        known: dict[str, Any] = {name: raw[name] for name in asdict(Draw()) if name in raw}
        known |= {name: float(known[name]) for name in ("low", "high") if name in known}
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"{text[:80]!r} is no record of a random draw") from None
    names = [known.get(name) for name in ("filter", "run_id", "baseline", "clustering_id")]
    if not all(one is None or isinstance(one, str) for one in names):
        raise InputError(f"{text[:80]!r} is no record of a random draw")
    known["stratified"] = bool(known.get("stratified"))
    return Draw(**known)


def unrecorded_draw(queue: str | None) -> str:
    """The draw, in its written form, of a decision that has a probability but no record of it."""
    return _UNRECORDED[(queue or "").startswith(STRATIFIED)]


_UNRECORDED = {stratified: str(Draw(stratified)) for stratified in (False, True)}
