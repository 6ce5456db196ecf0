"""The facts in which the manifests of two exports differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from scoring.exports.manifest import Manifest

_NOT_COMPARED = ("manifest_sha256", "outputs", "selected_sha256")


def diff_manifests(a: Manifest, b: Manifest) -> list[tuple[str, Any, Any]]:
    """Return (fact, its value in a, in b) for every difference; None where a fact is absent.

    Facts of the same part of a manifest follow one another.
    """
    first, second = dict(_flatten("", a.to_dict())), dict(_flatten("", b.to_dict()))
    names = list(dict.fromkeys([*first, *second]))
    parts = list(dict.fromkeys(prefix for name in names for prefix in _list_prefixes(name)))
    order = {prefix: number for number, prefix in enumerate(parts)}
    names.sort(key=lambda name: [order[prefix] for prefix in _list_prefixes(name)])
    return [
        (name, first.get(name), second.get(name))
        for name in names
        if first.get(name) != second.get(name)
    ]


def _list_prefixes(name: str) -> list[str]:
    """Return a.b.c as a, a.b, a.b.c."""
    return list(accumulate(name.split("."), "{}.{}".format))


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if name or key not in _NOT_COMPARED:
                yield from _flatten(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for number, inner in enumerate(value):
            label = inner.get("name") or number
            if "reason" in inner:  # of counts by outcome and reason
                label = f"{'kept' if inner['kept'] else 'dropped'} {inner['reason']}"
                inner = inner["samples"]
            yield from _flatten(f"{name}.{label}", inner)
    else:
        yield name, list(value) if isinstance(value, tuple) else value
