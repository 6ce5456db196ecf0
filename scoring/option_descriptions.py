"""Describe options, so that library and command line share one list.

A field of an options dataclass, or a parameter of a command, is declared once, as
``Annotated[type, Option("What it does.")] = default``. The library takes the dataclass;
``scoring.cli.commands`` turns every described field into an option.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scoring.errors import InputError

RUN_HELP = "The run to use. Default: the newest."
BASELINE_HELP = (
    "Blind baseline whose scores are used. Default: none, or the first baseline of a run without "
    "it."
)


@dataclass(frozen=True, slots=True)
class Option:
    """The description of a field or parameter; ``help`` and ``panel`` are those of ``--help``."""

    help: str
    flag: str | None = None  # names separated by spaces; default: --field-name
    panel: str | None = None
    parse: Callable[[Any], Any] | None = None  # from the text (or texts); default: by the type
    repeatable: bool = False  # for ``parse``; a tuple always is
    metavar: str | None = None
    min: int | None = None
    max: int | None = None
    envvar: str | None = None
    is_argument: bool = False  # given by its position, without a flag
    bare_value: str | None = None  # of the flag without a value; else it needs one


def parse_json_object(flag: str) -> Callable[[str], dict[str, Any]]:
    """Return a parser of JSON objects that names ``flag`` in its errors."""

    def parse(text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise InputError(f"{flag} is not valid JSON ({error}): {text}") from error
        if not isinstance(value, dict):
            raise InputError(f"{flag} takes a JSON object, got {text}")
        return value

    return parse


def split_keys(text: str) -> list[str]:
    """Return the keys of a list with commas."""
    return [key.strip() for key in text.split(",") if key.strip()]


def parse_pairs(flag: str, form: str, texts: Sequence[str]) -> dict[str, str]:
    """Parse ``KEY=VALUE`` texts; errors name ``flag`` and the expected ``form``."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (equals and key.strip() and value.strip()):
            raise InputError(f"{flag} {text!r} is not of the form {form}")
        pairs[key.strip()] = value.strip()
    return pairs
