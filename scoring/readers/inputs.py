"""Which files are meant: files, folders, patterns, Hugging Face folders, lists of datasets.

Every file gets a name relative to what all of them share, so that it can be told apart and found
again wherever the dataset moves as a whole.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scoring.errors import InputError
from scoring.readers.options import ReadOptions
from scoring.readers.registry import read_registry

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
_SIDECARS = {
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "metadata.json",
    "manifest.json",
    "workspace.json",
}
_HUB = re.compile(r"hf:(?://)?(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file to read. ``source`` names its samples where neither record nor path does.

    ``said``: what the list that names the file says of its records; ``base``: the folder that the
    list's own paths are relative to; ``note``: what it says that an import does not do.
    """

    path: Path
    name: str
    source: str
    image_prefix: str = ""
    said: ReadOptions | None = None
    base: Path | None = None
    note: str = ""


def find_inputs(given: Sequence[Path | str]) -> list[InputFile]:
    """The files that are meant, in the given order; those of a folder sorted by their bytes.

    Raises InputError for what does not exist, and for a folder of several kinds of files.
    """
    if not given:
        raise InputError("no file to import; name a dataset file, a folder or a pattern")
    found: list[InputFile] = []
    for one in given:
        if listed := _of_registry(one):
            found.extend(listed)
            continue
        for path in _expanded(one):
            found.extend(_of_meta(path) or [InputFile(path, "", _stem(path))])
    folders = [str(file.path.absolute().parent) for file in found]
    base = Path(os.path.commonpath(folders))
    return [
        replace(file, name=PurePosixPath(os.path.relpath(file.path.absolute(), base)).as_posix())
        for file in found
    ]


def hub_dataset(name: str) -> tuple[str, str | None] | None:
    """(repository, revision) of ``hf:owner/name@revision``, or None for anything else."""
    match = _HUB.fullmatch(name)
    return (match[1], match[2]) if match else None


def fetch_hub_dataset(repository: str, revision: str | None) -> Path:
    """The folder with a dataset's files from the hub. Raises InputError without a way there."""
    from huggingface_hub import snapshot_download

    patterns = [f"*{suffix}{zipped}" for suffix in _SUFFIXES for zipped in ("", ".gz", ".zst")]
    images = [f"*.{suffix}" for suffix in ("jpg", "jpeg", "png", "webp", "gif", "bmp")]
    try:
        folder = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=patterns + images
        )
    except Exception as error:
        raise InputError(
            f"the dataset {repository!r} cannot be fetched from the hub: {error}; "
            "check its name and the network, or name a folder on this machine"
        ) from error
    return Path(folder)


def hub_home(path: Path) -> Path | None:
    """The folder of one repository in a cache of the hub, in which a snapshot's links end."""
    for folder in (path.absolute(), *path.absolute().parents):
        home = folder.parent.parent
        if folder.parent.name == "snapshots" and (home / "blobs").is_dir():
            return home.resolve()
    return None


def _expanded(one: Path | str) -> list[Path]:
    if hub := hub_dataset(str(one)):
        return _of_folder(fetch_hub_dataset(*hub))
    path = Path(one)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _of_folder(path)
    if any(mark in str(one) for mark in "*?["):
        matches = sorted(glob.glob(str(one), recursive=True), key=os.fsencode)  # noqa: PTH207
        files = [Path(match) for match in matches if Path(match).is_file()]
        if files:
            return files
        raise InputError(f"no file matches {str(one)!r}")
    hint = ""
    if len(path.parts) == 2 and not path.parent.exists():
        hint = f"; a dataset of the Hugging Face hub is named hf:{path}"
    raise InputError(f"{path} does not exist{hint}")


def _of_folder(folder: Path) -> list[Path]:
    """The dataset files below a folder: as its own list names them, else all of one kind."""
    if (folder / "dataset_dict.json").is_file():
        listed = _json(folder / "dataset_dict.json").get("splits")
        splits = listed if isinstance(listed, list) else []
        return [path for split in splits for path in _of_folder(folder / _plain(split))]
    if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        return _of_saved(folder)
    kinds: dict[str, list[Path]] = {}
    for path in _walk(folder):
        bare = path.name.lower().removesuffix(".gz").removesuffix(".zst")
        kind = _SUFFIXES.get(PurePosixPath(bare).suffix)
        if kind and path.name not in _SIDECARS:
            kinds.setdefault(kind, []).append(path)
    if not kinds:
        raise InputError(f"{folder} holds no dataset file ({', '.join(_SUFFIXES)})")
    if len(kinds) > 1:
        counted = ", ".join(f"{len(paths)} {kind}" for kind, paths in sorted(kinds.items()))
        raise InputError(
            f"{folder} holds several kinds of files ({counted}); name those that are meant, or a "
            f"pattern such as '{folder}/*.json'"
        )
    return next(iter(kinds.values()))


def _of_saved(folder: Path) -> list[Path]:
    """The Arrow files of a dataset that was saved to disk, in its own order."""
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise InputError(
            f"{folder} was saved with a selection of rows on top of its files; save it again after "
            "flatten_indices()"
        )
    files = state.get("_data_files")
    listed = files if isinstance(files, list) else []
    names = [one.get("filename") for one in listed if isinstance(one, dict)]
    paths = [folder / _plain(name) for name in names]
    if not paths or not all(path.is_file() for path in paths):
        raise InputError(f"{folder} lacks files that its state.json names")
    return paths


def _plain(name: object) -> str:
    """A file name that a sidecar gives. Raises InputError for one that leads elsewhere."""
    if not isinstance(name, str) or not name or "/" in name or "\\" in name or name in (".", ".."):
        raise InputError(f"{name!r} is no name of a file in the dataset's folder")
    return name


def _walk(folder: Path) -> Iterator[Path]:
    home = hub_home(folder) or folder.resolve()
    files = [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and path.resolve().is_relative_to(home)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return iter(sorted(files, key=os.fsencode))


def _of_registry(one: Path | str) -> list[InputFile]:
    """The datasets of a list, all of them or those named behind a '#': ``LIST.json#a,b``."""
    path, names = Path(one), ""
    if not path.exists():
        before, mark, names = str(one).rpartition("#")
        path = Path(before) if mark else path
    if not path.is_file():
        return []
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    return [
        InputFile(file, "", name, said=said)
        for name, place, said in read_registry(path, chosen) or ()
        for file in ([place] if place.is_file() else _of_folder(place))
    ]


def _of_meta(path: Path) -> list[InputFile]:
    """The datasets that a meta file lists: name -> root of the images, annotation file."""
    if path.suffix != ".json" or path.stat().st_size > 1 << 20:
        return []
    try:
        listed = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        return []
    if not isinstance(listed, dict) or not listed:
        return []
    if not all(isinstance(one, dict) and "annotation" in one for one in listed.values()):
        return []
    found = []
    for name, one in listed.items():
        beside = _beside(path, str(one["annotation"]))
        if beside is None:
            raise InputError(
                f"{path} names {one['annotation']!r} for {name!r}; no such file lies below the "
                "folder of the command, the meta file's or its parents': name the files themselves"
            )
        root = one.get("root")
        prefix = f"{root.rstrip('/')}/" if isinstance(root, str) and root.strip("/") else ""
        annotation, base = beside
        found.append(InputFile(annotation, "", str(name), prefix, base=base, note=_repeated(one)))
    return found


def _repeated(one: Mapping[str, object]) -> str:
    """What a meta file asks for beyond each record once, in words."""
    times = one.get("repeat_time", 1)
    if times in (1, None):
        return ""
    return f"its repeat_time {str(times)[:20]} is not followed, every record is imported once"


def _beside(path: Path, name: str) -> tuple[Path, Path] | None:
    """``name`` below where the command runs, or below the meta file's folder or its parents, and
    the folder it lies below.

    A meta file is data: what it names outside of these folders is not read.
    """
    for base in (Path.cwd(), *path.absolute().parents[:4]):
        found = (base / name).resolve()
        if found.is_file() and found.is_relative_to(base.resolve()):
            return found, base.resolve()
    return None


def _json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return value if isinstance(value, dict) else {}


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".zst"):
        name = name.removesuffix(suffix)
    return Path(name).stem
