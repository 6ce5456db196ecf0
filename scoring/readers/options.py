"""Options for reading records, in place of automatic detection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from scoring.errors import InputError
from scoring.option_descriptions import Option, parse_pairs
from scoring.readers.encodings import check_encoding
from scoring.samples import Role

_RECORDS, _HUB = "Reading records", "Datasets on the hub"

FAMILIES: Mapping[str, str] = {
    "llava": "'conversations' with 'from' and 'value'",
    "messages": "'messages' with 'role' and 'content' (a text or typed parts)",
    "qa": "a question and its answer in keys of their own (query/response, question/answer, "
    "instruction/output, problem/solution)",
    "caption": "an image and its text",
}
"""Record families by their ``--format`` name, with a description."""

COLUMN_ROLES = ("id", "source", "image", "conversations", "system", "question", "answer", "caption")


def _parse_family(name: str) -> str | None:
    """Return the family, None for ``auto``."""
    return None if name == "auto" else _check_choice("Unknown format", name, ("auto", *FAMILIES))


def _parse_columns(texts: Sequence[str]) -> Mapping[str, str]:
    columns = parse_pairs("--column", "WHAT=NAME, as in --column question=caption", texts)
    for role in columns:
        _check_choice("Unknown column", role, COLUMN_ROLES)
    return columns


def _parse_roles(texts: Sequence[str]) -> Mapping[str, Role]:
    """Return the sides by lower-case role name."""
    pairs = parse_pairs("--role", "NAME=WHO, as in --role customer=human", texts)
    return {
        name.lower(): Role(_check_choice(f"Role {name!r} is mapped to", side, list(Role)))
        for name, side in pairs.items()
    }


def _check_choice(what: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise InputError(f"{what} {text!r}. Choose one of: {', '.join(choices)}")
    return text


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read records, as given by the user or by a list of datasets.

    Class name, field names and order are part of dataset fingerprints (by ``repr``); do not change
    them.

    ``family`` None: detected per record. ``turn_keys``: the keys of a turn for author and text, if
    they are not the usual ones. ``only_columns``: a record consists of ``columns`` and nothing
    else.
    """

    family: Annotated[
        str | None,
        Option(
            "Format of the records: auto (detected and printed), llava, messages, qa or caption. "
            "Default: auto.",
            "--format",
            _RECORDS,
            _parse_family,
        ),
    ] = None
    columns: Annotated[
        Mapping[str, str],
        Option(
            "What each column contains, as WHAT=NAME (repeatable): id, source, image, "
            "conversations, system, question, answer, caption. Use dots for nested fields, as in "
            "meta.image.",
            "--column",
            _RECORDS,
            _parse_columns,
            repeatable=True,
            metavar="WHAT=NAME",
        ),
    ] = field(default_factory=dict)
    roles: Annotated[
        Mapping[str, Role],
        Option(
            "Maps a speaker name to human, assistant or system, as NAME=WHO (repeatable).",
            "--role",
            _RECORDS,
            _parse_roles,
            repeatable=True,
            metavar="NAME=WHO",
        ),
    ] = field(default_factory=dict)
    keep_going: Annotated[
        bool,
        Option(
            "Import the readable part of a damaged file; the rest is counted with its position.",
            panel=_RECORDS,
        ),
    ] = False
    allow_remote: Annotated[
        bool,
        Option(
            "Accept http and https image URLs and download the images into the workspace, from "
            "public addresses only."
        ),
    ] = False
    turn_keys: tuple[str, str] | None = None
    only_columns: bool = field(default=False, repr=False)
    encoding: Annotated[
        str,
        Option(
            "Encoding of text files that are not UTF-8, such as gb18030, cp932 or cp1252: their "
            "records are stored and exported in UTF-8.",
            "--encoding",
            _RECORDS,
            check_encoding,
        ),
    ] = field(default="", repr=False)

    config: Annotated[
        str,
        Option(
            "For hf:OWNER/NAME: the config, or a pattern such as '*' for several. Default: the "
            "only one.",
            panel=_HUB,
        ),
    ] = field(default="", repr=False, compare=False)
    split: Annotated[
        str,
        Option(
            "For hf:OWNER/NAME: the split, or a pattern such as '*' for several. Default: the only "
            "one.",
            panel=_HUB,
        ),
    ] = field(default="", repr=False, compare=False)
    limit: Annotated[
        int | None,
        Option(
            "Import only the first N records; from the hub, only the parts of files that contain "
            "them are downloaded.",
            min=1,
            metavar="N",
        ),
    ] = field(default=None, repr=False, compare=False)

    def describe_records(self) -> dict[str, Any]:
        """Return what describes the records and is not detected, as JSON values."""
        values = {
            "family": self.family,
            "columns": dict(self.columns),
            "roles": {name: role.value for name, role in self.roles.items()},
            "turn_keys": list(self.turn_keys or ()),
            "only_columns": self.only_columns,
        }
        return {name: value for name, value in values.items() if value}

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


def described_options(values: Mapping[str, Any]) -> ReadOptions:
    """Return the options that ``describe_records`` wrote."""
    return ReadOptions(
        family=values.get("family"),
        columns=values.get("columns", {}),
        roles={name: Role(role) for name, role in values.get("roles", {}).items()},
        turn_keys=tuple(values["turn_keys"]) if "turn_keys" in values else None,
        only_columns=values.get("only_columns", False),
    )
