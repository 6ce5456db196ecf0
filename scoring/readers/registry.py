"""A trainer's list of datasets: ``dataset_info.json``, which names files and what is in them.

The one decision behind it: what the list says of a file's columns and tags is taken as if the user
had said it, so that nobody says it twice. Datasets that lie elsewhere are named, never fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from scoring.errors import InputError
from scoring.readers.options import ReadOptions
from scoring.samples import Role

_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_FILE = "file_name"
_MAX_BYTES = 16 << 20
_TURN_KEYS = {"sharegpt": ("from", "value"), "openai": ("role", "content")}
_TAGS: Mapping[str, Role] = {
    "user_tag": Role.HUMAN,
    "assistant_tag": Role.ASSISTANT,
    "system_tag": Role.SYSTEM,
    "observation_tag": Role.HUMAN,
    "function_tag": Role.ASSISTANT,
}
_FLAT = {"instruction": "prompt", "input": "query", "output": "response", "history": "history"}
_MEDIA = ("images", "videos", "audios", "system")
_KEPT = ("id", "source", "image")


def read_registry(
    path: Path, chosen: Sequence[str] = ()
) -> list[tuple[str, Path, ReadOptions]] | None:
    """(name, file, what is said of it) of each dataset listed, or of those ``chosen``.

    None where ``path`` is no such list. Raises InputError for a name that it lacks, and for a
    dataset that is no file in the list's own folder.
    """
    listed = _listed(path)
    if listed is None:
        if chosen:
            raise InputError(f"{path} lists no datasets, so none of it can be named with '#'")
        return None
    unknown = [name for name in chosen if name not in listed]
    if unknown:
        raise InputError(f"{path} lists no {unknown[0]!r}; there are: {', '.join(listed)}")
    names = chosen or list(listed)
    elsewhere = [name for name in names if not isinstance(listed[name].get(_FILE), str)]
    if elsewhere:
        here = [name for name in listed if isinstance(listed[name].get(_FILE), str)]
        raise InputError(
            f"{path}: {', '.join(elsewhere[:5])} lie(s) elsewhere, which a list does not decide; "
            f"name those that are files here, as in {path.name}#{','.join(here[:3]) or 'NAME'}, "
            "and the hub's as hf:OWNER/NAME"
        )
    return [(name, _beside(path, name, listed[name]), _said(listed[name])) for name in names]


def _listed(path: Path) -> dict[str, Mapping[str, object]] | None:
    if path.suffix != ".json" or path.stat().st_size > _MAX_BYTES:
        return None
    try:
        listed = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, dict) or not listed:
        return None
    known = {_FILE, *_ELSEWHERE}
    if not all(isinstance(one, dict) and known & one.keys() for one in listed.values()):
        return None
    records = ("conversations", "messages", "image", "images")  # a file name is no registry yet
    return None if any(key in one for one in listed.values() for key in records) else listed


def _beside(path: Path, name: str, one: Mapping[str, object]) -> Path:
    """The file, which lies in the list's folder or below; a list is data and leads nowhere else."""
    folder = path.absolute().parent
    found = (folder / str(one[_FILE])).resolve()
    if found.exists() and found.is_relative_to(folder.resolve()):
        return found
    raise InputError(f"{path} names {one[_FILE]!r} for {name!r}, which is no file beside it")


def _said(one: Mapping[str, object]) -> ReadOptions:
    columns, tags = _words(one.get("columns")), _words(one.get("tags"))
    kept = {key: columns.get(key, key) for key in (*_MEDIA, *_KEPT)}
    formatting = one.get("formatting", "alpaca")
    if formatting == "alpaca":
        return ReadOptions(columns={**kept, **_renamed(_FLAT, columns)}, only_columns=True)
    default = _TURN_KEYS.get(str(formatting), _TURN_KEYS["sharegpt"])
    keys = tags.get("role_tag", default[0]), tags.get("content_tag", default[1])
    roles = {tags[tag].lower(): side for tag, side in _TAGS.items() if tag in tags}
    messages = columns.get("messages", "messages" if formatting == "openai" else "conversations")
    turn_keys = None if keys in _TURN_KEYS.values() else keys
    return ReadOptions(
        columns={"conversations": messages, **kept},
        roles=roles,
        turn_keys=turn_keys,
        only_columns=True,
    )


def _renamed(roles: Mapping[str, str], columns: Mapping[str, str]) -> dict[str, str]:
    return {key: columns.get(named, key) for key, named in roles.items()}


def _words(value: object) -> dict[str, str]:
    """The names in a mapping; null means that there is none."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(key): name for key, name in pairs if isinstance(name, str) and name}
