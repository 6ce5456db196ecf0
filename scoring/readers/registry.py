"""Reader of a trainer's dataset list: ``dataset_info.json``, with files and their columns.

Columns and tags in the list are treated like options from the user. Datasets that are not files in
the list's folder are reported and never downloaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from scoring.errors import InputError
from scoring.readers.options import ReadOptions
from scoring.samples import Role

_REMOTE_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
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
    """Return (name, file, read options) of each listed dataset, or of those in ``chosen``.

    Returns None if ``path`` is not a list of datasets.

    Raises:
        InputError: a chosen name is not listed, or a dataset is not a file in the list's folder.
    """
    listed = _read_list(path)
    if listed is None:
        if chosen:
            raise InputError(f"{path} is not a list of datasets, so '#' cannot select from it.")
        return None
    unknown = [name for name in chosen if name not in listed]
    if unknown:
        raise InputError(f"{path} has no dataset {unknown[0]!r}. Choose from: {', '.join(listed)}")
    names = chosen or list(listed)
    remote = [name for name in names if not isinstance(listed[name].get(_FILE), str)]
    if remote:
        local = [name for name in listed if isinstance(listed[name].get(_FILE), str)]
        raise InputError(
            f"{path} lists datasets without a local file ({', '.join(remote[:5])}), which are "
            "never downloaded. Select the local ones, as in "
            f"{path.name}#{','.join(local[:3]) or 'NAME'}, and name datasets on the hub as "
            "hf:OWNER/NAME"
        )
    return [(name, _find_file(path, name, listed[name]), _options(listed[name])) for name in names]


def _read_list(path: Path) -> dict[str, Mapping[str, object]] | None:
    if path.suffix != ".json" or path.stat().st_size > _MAX_BYTES:
        return None
    try:
        listed = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, dict) or not listed:
        return None
    known = {_FILE, *_REMOTE_KEYS}
    if not all(isinstance(entry, dict) and known & entry.keys() for entry in listed.values()):
        return None
    # Records may have a file name too.
    record_keys = ("conversations", "messages", "image", "images")
    return None if any(key in entry for entry in listed.values() for key in record_keys) else listed


def _find_file(path: Path, name: str, entry: Mapping[str, object]) -> Path:
    """Return the file of an entry. A list is untrusted: the file must be in or below its folder."""
    folder = path.absolute().parent
    file = (folder / str(entry[_FILE])).resolve()
    if file.exists() and file.is_relative_to(folder.resolve()):
        return file
    raise InputError(
        f"{path} gives {entry[_FILE]!r} as the file of {name!r}, but its folder has no such file."
    )


def _options(entry: Mapping[str, object]) -> ReadOptions:
    columns, tags = _non_empty_names(entry.get("columns")), _non_empty_names(entry.get("tags"))
    kept = {key: columns.get(key, key) for key in (*_MEDIA, *_KEPT)}
    formatting = entry.get("formatting", "alpaca")
    if formatting == "alpaca":
        flat = {key: columns.get(listed, key) for key, listed in _FLAT.items()}
        return ReadOptions(columns={**kept, **flat}, only_columns=True)
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


def _non_empty_names(value: object) -> dict[str, str]:
    """Return the entries of a mapping that are names; null means none."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(key): name for key, name in pairs if isinstance(name, str) and name}
