"""The place of a record that is a member of a JSON object: its key, as it is written there.

It stands in the sample's ``origin``, so that an export can write the object again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scoring.readers.json_stream import RawRecord

_ORIGIN = re.compile(r'#(?:within=("(?:[^"\\]|\\.)*")&)?key=(".*")', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Member:
    """``key``, quoted and escaped as in the file; ``within``, so too, holds the records, if any."""

    key: bytes
    within: bytes | None = None


def add_origins(records: Iterable[RawRecord], within: str | None) -> Iterator[RawRecord]:
    """Records that came with a key, each with its place."""
    before = "" if within is None else f"within={json.dumps(within)}&"
    for record in records:
        if record.key_text:
            key = record.key_text.decode("utf-8", "backslashreplace")
            yield replace(record, origin=f"#{before}key={key}")
        else:
            yield record


def parse_member(origin: str | None) -> Member | None:
    """The place that an origin tells; None for a record that is no member of an object."""
    found = _ORIGIN.fullmatch(origin) if origin else None
    if found is None:
        return None
    within = found[1]
    return Member(found[2].encode(), None if within is None else within.encode())
