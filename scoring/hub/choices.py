"""Configs and splits of a dataset repository, and the choice of one of each.

They are read as ``datasets`` reads them: from ``configs`` in the YAML of README.md (``data_files``
as a path, patterns or a list by split, and ``data_dir``), else from file names:
``data/SPLIT-00000-of-00001.*``, then folders and then files named after a split, else all files are
the split ``train``. Configs and splits are never mixed without being asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TypeGuard

from fsspec.utils import glob_translate

from scoring.errors import InputError

DEFAULT = "default"
"""Name of the only config of a repository that names none."""
_MAX_LISTED = 40
_KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_WORDS = {word for words in _KEYWORDS.values() for word in words}
_SHARDED = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
_SHARD_NUMBER = re.compile(r"-\d+-of-\d+$")
_BORDER = r"[-._ 0-9]"


@dataclass(frozen=True, slots=True)
class DataChoice:
    """The data files of one split of one config."""

    config: str
    split: str
    files: tuple[str, ...]


def choose_data(
    repository: str,
    choices: Sequence[DataChoice],
    config: str = "",
    split: str = "",
) -> list[DataChoice]:
    """Return the data of a config and a split, each a name, a pattern, or empty if there is one.

    Raises InputError if nothing matches, or several do and none was named.
    """
    configs = _match_names(repository, "config", config, [each.config for each in choices])
    choices = [each for each in choices if each.config in configs]
    splits = _match_names(repository, "split", split, [each.split for each in choices])
    return [each for each in choices if each.split in splits]


def list_choices(
    names: Sequence[str], configs: object = None, saved_splits: Sequence[str] = ()
) -> list[DataChoice]:
    """Return the data of every config and split, in the order in which they are listed.

    Args:
        names: The data files of the repository.
        configs: ``configs`` in the YAML of its README.md.
        saved_splits: Splits that its ``dataset_dict.json`` lists, each a folder.
    """
    listed = [entry for entry in configs if isinstance(entry, Mapping)] if _is_list(configs) else []
    if not listed:
        if saved_splits:
            patterns = {split: [f"{split}/**"] for split in saved_splits}
            return _match_files(DEFAULT, names, patterns)
        return _list_by_names(DEFAULT, names)
    choices: list[DataChoice] = []
    for entry in listed:
        config, data_files = str(entry.get("config_name", DEFAULT)), entry.get("data_files")
        folder = str(entry.get("data_dir") or "").strip("/")
        prefix = f"{folder}/" if folder else ""
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if data_files is None:
            split_choices = _list_by_names(config, inside)
        else:
            split_choices = _match_files(config, inside, _patterns_by_split(data_files))
        for choice in split_choices:
            files = tuple(prefix + name for name in choice.files)
            choices.append(DataChoice(choice.config, choice.split, files))
    return choices


def name_source(path: PurePosixPath) -> str:
    """Return the default source of the samples in a file: its name.

    For a shard (``train-00000-of-00001``, ``0000``) this is the name without the number, or where
    that is a split or ``data``, the name of the innermost folder that is neither.
    """
    stem = PurePosixPath(path.name.removesuffix(".gz").removesuffix(".zst")).stem
    bare = _SHARD_NUMBER.sub("", stem)
    if bare == stem and not stem.isdigit():
        return stem
    names = (name for name in (bare, *reversed(path.parent.parts)) if not _is_generic(name))
    return next(names, stem)


def _is_generic(name: str) -> bool:
    return name.lower() in _SPLIT_WORDS | {"data", "", "/"} or name.isdigit()


def _match_names(repository: str, what: str, asked: str, present: Sequence[str]) -> set[str]:
    names = list(dict.fromkeys(present))
    if not asked and len(names) < 2:
        return set(names)
    matches = {name for name in names if name == asked} or {
        name for name in names if asked and fnmatchcase(name, asked)
    }
    if matches:
        return matches
    listed = ", ".join(names[:_MAX_LISTED])
    if len(names) > _MAX_LISTED:
        listed += f" and {len(names) - _MAX_LISTED:,} more"
    if asked:
        raise InputError(f"{repository} has no {what} {asked!r}. Choose one of: {listed}.")
    raise InputError(
        f"{repository} has several {what}s: {listed}. Name one with --{what}, or all of them with "
        f"--{what} '*'."
    )


def _list_by_names(config: str, names: Sequence[str]) -> list[DataChoice]:
    sharded = {name: match[1] for name in names if (match := _SHARDED.fullmatch(name))}
    if sharded:
        order = [*_KEYWORDS, *sorted(set(sharded.values()) - _KEYWORDS.keys())]
        return _group_files(config, order, lambda split, name: sharded.get(name) == split, names)
    for is_match in (_has_split_folder, _has_split_name):
        if choices := _group_files(config, list(_KEYWORDS), is_match, names):
            return choices
    return [DataChoice(config, "train", tuple(names))] if names else []


def _group_files(
    config: str,
    splits: Sequence[str],
    is_match: Callable[[str, str], bool],
    names: Sequence[str],
) -> list[DataChoice]:
    groups = {split: [name for name in names if is_match(split, name)] for split in splits}
    return [DataChoice(config, split, tuple(files)) for split, files in groups.items() if files]


def _has_split_folder(split: str, name: str) -> bool:
    return any(_mentions_split(split, folder) for folder in PurePosixPath(name).parent.parts)


def _has_split_name(split: str, name: str) -> bool:
    return _mentions_split(split, PurePosixPath(name).name)


def _mentions_split(split: str, text: str) -> bool:
    words = "|".join(_KEYWORDS[split])
    return re.fullmatch(rf"(?:.*{_BORDER})?(?:{words})(?:{_BORDER}.*)?", text) is not None


def _patterns_by_split(data_files: object) -> dict[str, list[str]]:
    if isinstance(data_files, Mapping):
        return {str(split): _as_texts(paths) for split, paths in data_files.items()}
    entries = data_files if _is_list(data_files) else [data_files]
    by_split: dict[str, list[str]] = {}
    for entry in entries:
        if isinstance(entry, Mapping):
            paths = _as_texts(entry.get("path"))
            by_split.setdefault(str(entry.get("split", "train")), []).extend(paths)
        else:
            by_split.setdefault("train", []).append(str(entry))
    return by_split


def _match_files(
    config: str, names: Sequence[str], patterns: Mapping[str, Sequence[str]]
) -> list[DataChoice]:
    """Return the files that match the patterns of each split, in the order of the patterns."""
    choices = []
    for split, globs in patterns.items():
        files: dict[str, None] = {}
        for glob in globs:
            matches = compile_glob(glob.removeprefix("./"))
            files |= dict.fromkeys(name for name in names if name == glob or matches(name))
        if files:
            choices.append(DataChoice(config, split, tuple(files)))
    return choices


def compile_glob(glob: str) -> Callable[[str], object]:
    """Return a function that matches paths: '*' stays in a folder, '**' is any folders."""
    try:
        return re.compile(glob_translate(glob)).fullmatch
    except ValueError:  # '**' as a part of a name, as in '**.csv', matches folders too
        return lambda name: fnmatchcase(name, glob)


def _as_texts(value: object) -> list[str]:
    return [str(each) for each in value] if _is_list(value) else [str(value)]


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)
