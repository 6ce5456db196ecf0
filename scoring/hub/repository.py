"""A dataset repository on the hub at one commit, and the download of its files.

The list of its files is kept in the hub's cache, so a repository that was read before can be read
without a network, as far as its files are there.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from scoring.errors import InputError
from scoring.hub.choices import choose_data, compile_glob, list_choices
from scoring.hub.errors import explain_hub_errors, is_of_network
from scoring.workspace import write_json

_ADDRESS = re.compile(
    r"hf:(?://)?(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?:#(.+))?", re.ASCII
)
_FORM = "hf:OWNER/NAME[@REVISION][#CONFIG[/SPLIT]]"
_README = "README.md"
_TERMS = ("license", "language", "license_name", "license_link")
_MAX_TEXT_BYTES = 16 << 20
_BLOCK_BYTES = 2 << 20  # of a file to request at a time
_THREADS = 8
_CACHE = "visnec"
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A dataset as a user names it: ``hf:OWNER/NAME@REVISION#FRAGMENT``."""

    repository: str
    revision: str
    fragment: str  # CONFIG, CONFIG/SPLIT or a file; empty if not given


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository, and the config and split that it was chosen for."""

    repository: str
    revision: str  # as it was asked for
    commit: str  # that it was then
    path: str
    config: str = ""
    split: str = ""
    license: str = ""  # of the repository, as its README.md gives them; several with commas
    language: str = ""
    license_name: str = ""  # of one that the hub has no name for
    license_link: str = ""

    def describe(self) -> str:
        """Return the commit, config and split in words."""
        words = [("config", self.config), ("split", self.split)]
        chosen = "".join(f", {name} {value}" for name, value in words if value)
        return f"of {self.repository} at commit {self.commit}{chosen}"

    def to_dict(self) -> dict[str, str]:
        """Return what is stored of it with the dataset."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository at a commit, with the names of all its files, sorted by bytes.

    ``is_offline``: the hub could not be reached, so this is its commit when it was read last.
    """

    name: str
    revision: str
    commit: str
    files: tuple[str, ...]
    is_offline: bool = False

    @property
    def images(self) -> list[str]:
        """The names of its images that are files of their own."""
        return [name for name in self.files if name.lower().endswith(_IMAGES)]

    @property
    def snapshot(self) -> Path:
        """The folder of the hub's cache that its files are downloaded to."""
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        folder = repo_folder_name(repo_id=self.name, repo_type="dataset")
        return Path(constants.HF_HUB_CACHE, folder, "snapshots", self.commit)

    def read_metadata(self) -> dict[str, object]:
        """Return the YAML of its README.md, empty without any. Raises InputError if damaged."""
        from huggingface_hub.repocard import metadata_load

        path = self.download(_README) if _README in self.files else None
        if path is None or path.stat().st_size > _MAX_TEXT_BYTES:
            return {}
        try:
            return metadata_load(path) or {}
        except Exception as error:
            raise InputError(
                f"The YAML in the README.md of {self.name} cannot be read, so its configs are "
                f"unknown: {str(error).splitlines()[0]}. Name its files, as in hf:{self.name}#FILE"
            ) from error

    def read_terms(self) -> dict[str, str]:
        """Return what the README.md gives of the fields ``license`` to ``license_link``."""
        try:
            metadata = self.read_metadata()
        except InputError:
            return {}
        values = {key: metadata.get(key) for key in _TERMS}
        listed = {key: each if isinstance(each, list) else [each] for key, each in values.items()}
        return {
            key: ",".join(map(str, texts))
            for key, texts in listed.items()
            if texts and all(isinstance(text, str) and text for text in texts)
        }

    def read_json(self, name: str) -> dict[str, object]:
        """Return a small JSON object of the repository; an empty one if it is none."""
        path = self.download(name) if name in self.files else None
        if path is None or path.stat().st_size > _MAX_TEXT_BYTES:
            return {}
        try:
            value = json.loads(path.read_text("utf-8"))
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def describe(self, name: str, config: str = "", split: str = "") -> HubFile:
        """Return a file of the repository with what it was chosen for."""
        return HubFile(self.name, self.revision, self.commit, name, config, split)

    def explain(self, file: HubFile) -> str:
        """Return where a file of the repository comes from, in words."""
        cached = ", from the cache, because the hub cannot be reached" if self.is_offline else ""
        return file.describe() + cached

    def download(self, name: str) -> Path:
        """Return the path of a file in the hub's cache, after downloading it if need be."""
        return download_file(self.describe(name))

    def download_each(self, names: Sequence[str]) -> None:
        """Download files, several at a time, into the hub's cache."""
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(self.download, names):
                pass

    def download_alike(self, names: Sequence[str]) -> None:
        """Download all files with the suffixes of ``names`` into the hub's cache."""
        from huggingface_hub import snapshot_download

        suffixes = {PurePosixPath(name).suffix for name in names}
        patterns = [f"*{glob.escape(suffix)}" for suffix in sorted(suffixes)]
        with explain_hub_errors("download", self.name):
            snapshot_download(
                self.name, repo_type="dataset", revision=self.commit, allow_patterns=patterns
            )


def parse_address(given: Path | str) -> HubAddress | None:
    """Return the dataset that ``hf:...`` names; None if it is a name of something else."""
    text = str(given)
    if not text.startswith("hf:"):
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a dataset on the hub. Write it as {_FORM}.")
    return HubAddress(match[1], match[2] or "main", match[3] or "")


def open_repository(name: str, revision: str = "main") -> HubRepository:
    """Return the repository at the commit that ``revision`` is now.

    If the hub cannot be reached, it is that of the last time.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with explain_hub_errors("read", f"{name}@{revision}" if revision != "main" else name):
        api = HfApi()
        listing = _cache_folder(name, f"revision-{revision}") / "repository.json"
        try:
            commit = api.dataset_info(name, revision=revision).sha
            if not commit:
                raise InputError(f"The hub does not report the commit of {name}@{revision}.")
            tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
            files = sorted(
                (entry.path for entry in tree if isinstance(entry, RepoFile)), key=str.encode
            )
        except Exception as error:
            if not is_of_network(error) or not listing.is_file():
                raise
            value = json.loads(listing.read_text("utf-8"))
            return HubRepository(
                name, revision, value["commit"], tuple(value["files"]), is_offline=True
            )
        write_json(listing, {"commit": commit, "files": files})
    return HubRepository(name, revision, commit, tuple(files))


def find_files(
    repository: HubRepository,
    is_data_file: Callable[[str], bool],
    fragment: str = "",
    config: str = "",
    split: str = "",
) -> list[HubFile]:
    """Return the data files that an address and the options ask for.

    ``fragment`` is ``CONFIG``, ``CONFIG/SPLIT``, or a file or a pattern of files. Raises InputError
    if several configs or splits could be meant.
    """
    names = [name for name in repository.files if is_data_file(name)]
    if "." in fragment:  # a file, or a config with a dot in its name
        match = compile_glob(fragment)
        matches = [name for name in names if name == fragment or match(name)]
        if not matches and is_data_file(fragment):
            raise InputError(f"{repository.name} has no file {fragment!r}.")
        if matches:
            return [repository.describe(name) for name in matches]
    if fragment:
        first, _, second = fragment.partition("/")
        config, split = first or config, second or split
    saved = repository.read_json("dataset_dict.json").get("splits")
    saved_splits = list(map(str, saved)) if isinstance(saved, list) else []
    choices = list_choices(names, repository.read_metadata().get("configs"), saved_splits)
    chosen = choose_data(repository.name, choices, config, split)
    files = {
        name: repository.describe(name, choice.config, choice.split)
        for choice in reversed(chosen)  # of a file in several, the first counts
        for name in choice.files
    }
    return [files[name] for name in dict.fromkeys(n for each in chosen for n in each.files)]


def download_file(file: HubFile) -> Path:
    """Return the path of a file in the hub's cache, after downloading it if need be."""
    from huggingface_hub import hf_hub_download

    with explain_hub_errors("download", file.repository):
        return Path(
            hf_hub_download(file.repository, file.path, repo_type="dataset", revision=file.commit)
        )


@contextmanager
def open_file(file: HubFile) -> Iterator[tuple[IO[bytes], int]]:
    """Open a file to read parts of it, and give its size; no more than these is downloaded."""
    from huggingface_hub import HfFileSystem, try_to_load_from_cache

    with explain_hub_errors("download", file.repository):
        cached = try_to_load_from_cache(
            file.repository, file.path, revision=file.commit, repo_type="dataset"
        )
        if isinstance(cached, str):
            with Path(cached).open("rb") as local:
                yield local, Path(cached).stat().st_size
            return
        hub = HfFileSystem(skip_instance_cache=True)
        path = f"datasets/{file.repository}@{file.commit}/{file.path}"
        with hub.open(path, block_size=_BLOCK_BYTES, cache_type="blockcache") as remote:
            yield remote, remote.size


def path_of_first_records(file: HubFile, n_records: int) -> Path:
    """Return where a copy of the first records of a file is kept, in the hub's cache."""
    return _cache_folder(file.repository, f"{file.commit}-first-{n_records}") / file.path


def _cache_folder(repository: str, name: str) -> Path:
    """Return a folder for what this program keeps of a repository."""
    from huggingface_hub import cached_assets_path

    return cached_assets_path(_CACHE, repository, name)
