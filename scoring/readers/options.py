"""Options for reading records, in place of automatic detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scoring.errors import InputError
from scoring.readers.encodings import check_encoding
from scoring.samples import Role

FAMILIES: Mapping[str, str] = {
    "llava": "'conversations' with 'from' and 'value'",
    "messages": "'messages' with 'role' and 'content' (a text or typed parts)",
    "qa": "a question and its answer in keys of their own (query/response, question/answer, "
    "instruction/output, problem/solution)",
    "caption": "an image and its text",
}
"""Record families by their ``--format`` name, with a description."""

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
    """How to read records, as given by the user or by a list of datasets.

    Class name, field names and order are part of dataset fingerprints (by ``repr``); do not change
    them.

    Attributes:
        family: None: detected per record.
        columns: column role -> column name; dots lead into objects.
        roles: additional role names.
        keep_going: import the readable part of a damaged file and count the rest with its position.
        allow_remote: treat http and https images as images instead of refusing them.
        turn_keys: the keys of a turn for author and text, if they are not the usual ones.
        only_columns: a record consists of ``columns`` and nothing else.
        encoding: encoding of text files, "" for UTF-8.
    """

    family: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    keep_going: bool = False
    allow_remote: bool = False
    turn_keys: tuple[str, str] | None = None
    only_columns: bool = field(default=False, repr=False)
    encoding: str = field(default="", repr=False)

    def with_defaults(self, listed: ReadOptions | None) -> ReadOptions:
        """Return the options that a list of datasets gives, unless the user described the records.

        What does not describe records (``keep_going``, ...) is always the user's choice.
        """
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
    """Return options from command-line words. Raises InputError for an unknown word."""
    if family not in ("auto", *FAMILIES):
        raise InputError(f"Unknown format {family!r}. Choose one of: auto, {', '.join(FAMILIES)}")
    for role in columns or {}:
        if role not in COLUMN_ROLES:
            raise InputError(f"Unknown column {role!r}. Choose one of: {', '.join(COLUMN_ROLES)}")
    sides = {side.value: side for side in Role}
    for name, side in (roles or {}).items():
        if side not in sides:
            raise InputError(
                f"Role {name!r} is mapped to {side!r}. Choose one of: {', '.join(sides)}"
            )
    return ReadOptions(
        None if family == "auto" else family,
        columns or {},
        {name.lower(): sides[side] for name, side in (roles or {}).items()},
        keep_going,
        allow_remote,
        encoding=check_encoding(encoding) if encoding else "",
    )
