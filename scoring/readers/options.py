"""How records are to be read, where the reader is not left to find out by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scoring.errors import InputError
from scoring.readers.encodings import check_encoding
from scoring.samples import Role

FAMILIES: Mapping[str, str] = {
    "llava": "'conversations' with 'from' and 'value'",
    "messages": "'messages' with 'role' and 'content' (a text or typed parts)",
    "qa": "one question and its answer in keys of their own (query/response, question/answer, "
    "instruction/output, problem/solution)",
    "caption": "an image and a text that goes with it",
}
"""Families of records, by the name that --format takes, and what they look like."""

COLUMN_ROLES = (
    "id",
    "source",
    "image",
    "conversations",
    "system",
    "question",
    "answer",
    "caption",
)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user said about the records.

    ``family`` None: found out for each record. ``columns``: what a column is -> its name, dots
    lead into objects. ``roles``: further names of roles. ``keep_going``: what can be read of a
    damaged file is taken, the rest counted with its place. ``allow_remote``: images behind http and
    https are the samples' images too, instead of being refused. ``turn_keys``: the keys of a turn
    that hold who speaks and what, where they are none of the usual ones. ``only_columns``: a record
    is what ``columns`` names and nothing else. ``encoding``: that of text files, "" for UTF-8.
    """

    family: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    keep_going: bool = False
    allow_remote: bool = False
    turn_keys: tuple[str, str] | None = None
    only_columns: bool = field(default=False, repr=False)
    encoding: str = field(default="", repr=False)

    def or_said(self, listed: ReadOptions | None) -> ReadOptions:
        """These, or where they say nothing of the records what a list of datasets says of them."""
        if listed is None or self.family or self.columns or self.roles:
            return self
        return replace(
            listed,
            keep_going=self.keep_going,
            allow_remote=self.allow_remote,
            encoding=self.encoding,
        )


def read_options(
    family: str = "auto",
    columns: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
    keep_going: bool = False,
    allow_remote: bool = False,
    encoding: str = "",
) -> ReadOptions:
    """Options from words. Raises InputError for a word that is none, naming those there are."""
    if family not in ("auto", *FAMILIES):
        raise InputError(f"no format {family!r}; there are: auto, {', '.join(FAMILIES)}")
    for role in columns or {}:
        if role not in COLUMN_ROLES:
            raise InputError(f"no column role {role!r}; there are: {', '.join(COLUMN_ROLES)}")
    sides = {side.value: side for side in Role}
    for name, side in (roles or {}).items():
        if side not in sides:
            raise InputError(f"role {name!r} is {side!r}; it can be: {', '.join(sides)}")
    understood = {name.lower(): sides[side] for name, side in (roles or {}).items()}
    named = None if family == "auto" else family
    return ReadOptions(
        named,
        columns or {},
        understood,
        keep_going,
        allow_remote,
        encoding=check_encoding(encoding) if encoding else "",
    )
