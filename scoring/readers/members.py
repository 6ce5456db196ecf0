"""The ``origin`` of a record that is a member of a JSON object: its key, as written in the file.

An export needs it to write the object again.
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
    """Key of a record, and the key of the object that holds the records (``within``), if any.

    Both are quoted and escaped as in the file.
    """

    key: bytes
    within: bytes | None = None


def add_origins(records: Iterable[RawRecord], within: str | None) -> Iterator[RawRecord]:
    """Yield ``records``, adding an origin to those that have a key."""
    prefix = "" if within is None else f"within={json.dumps(within)}&"
    for record in records:
        if record.key_text:
            key = record.key_text.decode("utf-8", "backslashreplace")
            yield replace(record, origin=f"#{prefix}key={key}")
        else:
            yield record


def parse_member(origin: str | None) -> Member | None:
    """Return the member that an origin names; None for records that are not object members."""
    match = _ORIGIN.fullmatch(origin) if origin else None
    if match is None:
        return None
    within = match[1]
    return Member(match[2].encode(), None if within is None else within.encode())
