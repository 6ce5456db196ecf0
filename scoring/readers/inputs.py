"""Resolution of inputs to dataset files: files, folders, patterns, Hugging Face folders, lists.

Every file gets a name relative to the common folder of all files, so it can be identified wherever
the dataset is moved as a whole. Lists of datasets are untrusted: files outside the list's folder
(the current folder and a few parents for a meta file) are not read, and nothing is downloaded.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from scoring.errors import InputError
from scoring.hub.choices import DEFAULT, name_source
from scoring.hub.repository import (
    HubAddress,
    HubFile,
    HubRepository,
    find_files,
    open_repository,
    parse_address,
)
from scoring.readers.options import ReadOptions
from scoring.samples import Role

_SUFFIXES = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".tar": "tar",
    ".tsv": "table",
    ".csv": "table",
}
_SIDECARS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SIDECARS |= {"config.json", "metadata.json", "manifest.json", "workspace.json"}
EXPORTED_DATA = re.compile(
    r"samples(-\d{3})?\.(json|jsonl|parquet)|(samples|text)-\d{6}\.tar|(train/)?data-\d{5}-of-\d{5}\.arrow"
)
"""Names of the files with records in an export of this program."""
_REMOTE_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_FILE = "file_name"
_RECORD_KEYS = ("conversations", "messages", "image", "images")
_MAX_LIST_BYTES, _MAX_META_BYTES = 16 << 20, 1 << 20
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
_DEFAULTS = ReadOptions()


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read, with the settings of the list that names it."""

    path: Path
    name: str  # relative to the common folder of all files
    source: str  # of its samples if neither record nor image path gives one
    image_prefix: str = ""  # folder to prepend to its image paths
    listed_options: ReadOptions | None = None
    base: Path | None = None  # folder that the paths in the list are relative to
    note: str = ""  # a setting in the list that imports do not follow
    hub: HubFile | None = None  # where it comes from; it may not be downloaded yet
    repository: HubRepository | None = None  # that of ``hub``
    first_records: Path | None = None  # a copy of these, if not the whole file is downloaded

    @property
    def data_path(self) -> Path:
        """The file to read. Its image paths are relative to the folder of ``path``."""
        return self.first_records or self.path


def find_inputs(inputs: Sequence[Path | str], options: ReadOptions = _DEFAULTS) -> list[InputFile]:
    """Return the files of ``inputs`` in the given order; those of a folder are sorted by bytes.

    Raises InputError if an input does not exist or a folder contains several kinds of files.
    """
    if not inputs:
        raise InputError("Nothing to import. Name a dataset file, a folder or a pattern.")
    addresses = [parse_address(given) for given in inputs]
    if (options.config or options.split) and not any(addresses):
        raise InputError(
            "--config and --split choose from a dataset on the hub. Name one: hf:OWNER/NAME"
        )
    files: list[InputFile] = []
    for given, address in zip(inputs, addresses, strict=True):
        if address:
            files.extend(_find_on_hub(address, options))
            continue
        if listed := _find_in_registry(given):
            files.extend(listed)
            continue
        for path in _expand(given):
            source = name_source(PurePosixPath(path.absolute()))
            files.extend(_read_meta_file(path) or [InputFile(path, "", source)])
    common = Path(os.path.commonpath([str(file.path.absolute().parent) for file in files]))
    return [
        replace(file, name=PurePosixPath(os.path.relpath(file.path.absolute(), common)).as_posix())
        for file in files
    ]


def _find_on_hub(address: HubAddress, options: ReadOptions) -> list[InputFile]:
    """Return the data files of a dataset on the hub, which are not downloaded yet."""
    repository = open_repository(address.repository, address.revision)
    exported = _list_exported_names(repository.read_json("manifest.json"), repository.name)
    if exported and not (address.fragment or options.config or options.split):
        files = [repository.describe(name) for name in exported]
    else:
        choice = address.fragment, options.config, options.split
        files = find_files(repository, _is_data_file, *choice)
    if not files:
        raise InputError(
            f"The dataset {repository.name!r} on the hub contains no data file "
            f"({', '.join(_SUFFIXES)})."
        )
    terms = repository.read_terms()
    files = [replace(file, **terms) for file in files]
    kinds = {kind for file in files if (kind := kind_of(file.path))}
    if len(kinds) > 1:
        raise InputError(
            f"{repository.name} contains several kinds of files ({', '.join(sorted(kinds))}). Name "
            f"the files to import, as in hf:{repository.name}#{files[0].path}"
        )
    for folder in dict.fromkeys(PurePosixPath(file.path).parent for file in files):
        _refuse_indices(repository.read_json(str(folder / "state.json")), repository.name)
    return [
        InputFile(path, "", _hub_source(file), note=note, hub=file, repository=repository)
        for file in files
        for path, note in [(repository.snapshot / file.path, repository.explain(file))]
    ]


def _hub_source(file: HubFile) -> str:
    """Return the default source of its samples: its config, or a name from its path."""
    if file.config not in ("", DEFAULT):
        return file.config
    return name_source(PurePosixPath(file.repository, file.path))


def kind_of(name: str) -> str | None:
    """Return the kind of data file by its suffix, None of other files."""
    bare = name.lower().removesuffix(".gz").removesuffix(".zst")
    return _SUFFIXES.get(PurePosixPath(bare).suffix)


def _is_data_file(name: str) -> bool:
    path = PurePosixPath(name)
    is_hidden = any(part.startswith(".") for part in path.parts)
    return bool(kind_of(name)) and not is_hidden and path.name not in _SIDECARS


def find_hub_cache(path: Path) -> Path | None:
    """Return the folder of a repository in a hub cache, which the snapshot's links lead to."""
    for folder in (path.absolute(), *path.absolute().parents):
        home = folder.parent.parent
        if folder.parent.name == "snapshots" and (home / "blobs").is_dir():
            return home.resolve()
    return None


def _expand(given: Path | str) -> list[Path]:
    path = Path(given)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _list_folder(path)
    if any(mark in str(given) for mark in "*?["):
        matches = sorted(glob.glob(str(given), recursive=True), key=os.fsencode)  # noqa: PTH207
        files = [Path(match) for match in matches if Path(match).is_file()]
        if files:
            return files
        raise InputError(f"No file matches {str(given)!r}.")
    hint = ""
    if len(path.parts) == 2 and not path.parent.exists():
        hint = f" For a dataset on the Hugging Face hub, write hf:{path}"
    raise InputError(f"{path} does not exist.{hint}")


def _list_folder(folder: Path) -> list[Path]:
    """Return the dataset files in a folder: as its own list names them, else all of one kind."""
    if exported := _list_export(folder):
        return exported
    if (folder / "dataset_dict.json").is_file():
        splits = _read_object(folder / "dataset_dict.json").get("splits")
        names = splits if isinstance(splits, list) else []
        return [path for name in names for path in _list_folder(folder / _check_file_name(name))]
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return _list_saved_dataset(folder)
    kinds: dict[str, list[Path]] = {}
    home = find_hub_cache(folder) or folder.resolve()
    for path in sorted(folder.rglob("*"), key=os.fsencode):
        kind = kind_of(path.name)
        if not kind or not _is_data_file(path.relative_to(folder).as_posix()):
            continue
        if path.is_file() and path.resolve().is_relative_to(home):
            kinds.setdefault(kind, []).append(path)
    if not kinds:
        raise InputError(f"{folder} contains no dataset file ({', '.join(_SUFFIXES)}).")
    if len(kinds) > 1:
        counts = ", ".join(f"{len(paths)} {kind}" for kind, paths in sorted(kinds.items()))
        raise InputError(
            f"{folder} contains several kinds of files ({counts}). Name the files to import, or "
            f"use a pattern such as '{folder}/*.json'"
        )
    return next(iter(kinds.values()))


def _list_export(folder: Path) -> list[Path]:
    """Return the files with records of an export of this program; none of any other folder."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    paths = [folder / name for name in _list_exported_names(manifest, str(folder))]
    home = find_hub_cache(folder) or folder.resolve()
    missing = [
        path for path in paths if not path.resolve().is_relative_to(home) or not path.is_file()
    ]
    if missing:
        raise InputError(
            f"{folder} is incomplete: {missing[0].name}, which its manifest.json lists, is missing."
        )
    return paths


def _list_exported_names(manifest: Any, title: str) -> list[str]:
    """Return the names of the files with records in an export; none for another manifest."""
    try:
        is_own = bool(manifest["manifest_version"] and manifest["selected_sha256"])
        names = [str(output["name"]) for output in manifest["outputs"]] if is_own else []
    except (TypeError, KeyError):
        return []
    exported = [name for name in names if EXPORTED_DATA.fullmatch(name)]
    if names and not exported:
        raise InputError(
            f"{title} is an export without records ({', '.join(names)}). Import the dataset that "
            "it was exported from, or an export in another format."
        )
    return exported


def _list_saved_dataset(folder: Path) -> list[Path]:
    """Return the Arrow files of a dataset saved with ``save_to_disk``, in its own order."""
    state = _read_object(folder / "state.json")
    _refuse_indices(state, str(folder))
    listed = state.get("_data_files")
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    paths = [folder / _check_file_name(name) for name in names]
    if not paths or not all(path.is_file() for path in paths):
        raise InputError(f"{folder} is incomplete: files listed in its state.json are missing.")
    return paths


def _refuse_indices(state: Mapping[str, object], name: str) -> None:
    """Raise InputError if the ``state.json`` of a saved dataset selects rows of its files."""
    if state.get("_indices_data_files"):
        raise InputError(
            f"{name} was saved with a selection of rows on top of its files. "
            "Call flatten_indices() and save it again."
        )


def _check_file_name(name: object) -> str:
    """Return a file name that a sidecar gives. Raises InputError if it leads elsewhere."""
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or name in (".", ".."):
        raise InputError(f"{name!r} is not a valid file name for the dataset folder.")
    return name


def _find_in_registry(given: Path | str) -> list[InputFile]:
    """Return the datasets of a trainer's list, all or those named after a '#': ``LIST.json#a,b``.

    Columns and tags in the list are treated like options from the user.
    """
    path, chosen = Path(given), list[str]()
    if not path.exists():
        list_path, mark, names = str(given).rpartition("#")
        path = Path(list_path) if mark else path
        chosen = [name.strip() for name in names.split(",") if name.strip()]
    if not path.is_file():
        return []
    listed, known = _read_list(path, _MAX_LIST_BYTES), {_FILE, *_REMOTE_KEYS}
    if not all(known & entry.keys() for entry in listed.values()):
        listed = {}
    if not listed or any(key in entry for entry in listed.values() for key in _RECORD_KEYS):
        if chosen:
            raise InputError(f"{path} is not a list of datasets, so '#' cannot select from it.")
        return []
    unknown = [name for name in chosen if name not in listed]
    if unknown:
        raise InputError(f"{path} has no dataset {unknown[0]!r}. Choose from: {', '.join(listed)}")
    local = [name for name in listed if isinstance(listed[name].get(_FILE), str)]
    remote = [name for name in chosen or listed if name not in local]
    if remote:
        raise InputError(
            f"{path} lists datasets without a local file ({', '.join(remote[:5])}), which are "
            "never downloaded. Select the local ones, as in "
            f"{path.name}#{','.join(local[:3]) or 'NAME'}, and name datasets on the hub as "
            "hf:OWNER/NAME"
        )
    files = []
    for name in chosen or listed:
        entry, folder = listed[name], path.absolute().parent
        target = (folder / str(entry[_FILE])).resolve()
        if not (target.exists() and target.is_relative_to(folder.resolve())):
            raise InputError(
                f"{path} gives {entry[_FILE]!r} as the file of {name!r}, but its folder has no "
                "such file."
            )
        options = _listed_options(entry)
        paths = [target] if target.is_file() else _list_folder(target)
        files += [InputFile(file, "", name, listed_options=options) for file in paths]
    return files


def _listed_options(entry: Mapping[str, object]) -> ReadOptions:
    """Return the options that a list gives for one of its datasets."""
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
    columns = {"conversations": messages, **kept}
    return ReadOptions(columns=columns, roles=roles, turn_keys=turn_keys, only_columns=True)


def _non_empty_names(value: object) -> dict[str, str]:
    """Return the entries of a mapping that are names; null means none."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {str(key): name for key, name in pairs if isinstance(name, str) and name}


def _read_list(path: Path, max_bytes: int) -> dict[str, dict[str, object]]:
    """Return the entries of a JSON file that lists datasets by name; none of any other file."""
    if path.suffix != ".json" or path.stat().st_size > max_bytes:
        return {}
    try:
        listed = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return {}
    entries = listed if isinstance(listed, dict) else {}
    return entries if all(isinstance(entry, dict) for entry in entries.values()) else {}


def _read_meta_file(path: Path) -> list[InputFile]:
    """Return the datasets in a meta file: name -> image root, annotation file."""
    listed = _read_list(path, _MAX_META_BYTES)
    if not all("annotation" in entry for entry in listed.values()):
        return []
    files = []
    for name, entry in listed.items():
        for base in (Path.cwd(), *path.absolute().parents[:4]):
            file = (base / str(entry["annotation"])).resolve()
            if file.is_file() and file.is_relative_to(base.resolve()):
                break
        else:
            raise InputError(
                f"{path} gives {entry['annotation']!r} as the file of {name!r}, but there is no "
                "such file below the current folder, the meta file's folder or its parents. "
                "Name the annotation files themselves."
            )
        root = entry.get("root")
        prefix = f"{root.rstrip('/')}/" if isinstance(root, str) and root.strip("/") else ""
        times, note = entry.get("repeat_time", 1), ""
        if times not in (1, None):
            note = f"repeat_time {str(times)[:20]} is ignored, every record is imported once"
        files.append(InputFile(file, "", name, prefix, base=base.resolve(), note=note))
    return files


def _read_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {path}: {error}") from error
    return value if isinstance(value, dict) else {}
