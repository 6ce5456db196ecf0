"""How a random draw is recorded with a decision: what was drawn from, and in which strata.

A draw records everything that its population depends on (filter, scores, band limits), so later
readers of a decision know which samples it represents. Older logs record only the queue; such a
draw counts as one from all samples.
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

    ``stratified`` draws sample each stratum of source and category separately, by the scores of
    ``run_id`` and ``baseline`` and the limits ``low`` and ``high`` in nats per answer token.
    Without a ``run_id`` the scores are unknown, and those in view are used.
    """

    stratified: bool = False
    filter: str = ""
    run_id: str | None = None
    baseline: str | None = None
    clustering_id: str | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        given = {
            name: value for name, value in asdict(self).items() if value not in (None, False, "")
        }
        limits = {"low": self.low, "high": self.high}  # a limit of 0 is recorded too
        given |= {name: limit for name, limit in limits.items() if limit is not None}
        return json.dumps(given, ensure_ascii=False, allow_nan=False)


@lru_cache(maxsize=1024)  # a log repeats the few draws that its decisions came from
def parse_draw(text: str) -> Draw:
    """Parse the written form of a draw; names of a newer version are ignored.

    Raises InputError for any other text.
    """
    try:
        raw: dict[str, Any] = dict(json.loads(text))
        known: dict[str, Any] = {name: raw[name] for name in asdict(Draw()) if name in raw}
        known |= {name: float(known[name]) for name in ("low", "high") if name in known}
        names = [known.get(name) for name in ("filter", "run_id", "baseline", "clustering_id")]
        if not all(name is None or isinstance(name, str) for name in names):
            raise TypeError
    except (ValueError, TypeError, RecursionError):
        raise InputError(f"Invalid record of a random draw: {text[:80]!r}") from None
    known["stratified"] = bool(known.get("stratified"))
    return Draw(**known)


def unrecorded_draw(queue: str | None) -> str:
    """Return the written draw of a decision that has a probability but no record of its draw."""
    return _UNRECORDED[(queue or "").startswith(STRATIFIED)]


_UNRECORDED = {stratified: str(Draw(stratified)) for stratified in (False, True)}
