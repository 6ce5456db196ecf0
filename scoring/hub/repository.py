"""A dataset repository on the hub at one commit, and the download of its files."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from scoring.errors import InputError
from scoring.hub.choices import choose_data, compile_glob, list_choices
from scoring.hub.errors import explain_hub_errors

_ADDRESS = re.compile(
    r"hf:(?://)?(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?(?:#(.+))?", re.ASCII
)
_FORM = "hf:OWNER/NAME[@REVISION][#CONFIG[/SPLIT]]"
_README = "README.md"
_MAX_TEXT_BYTES = 16 << 20


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
    """A repository at a commit, with the names of all its files, sorted by bytes."""

    name: str
    revision: str
    commit: str
    files: tuple[str, ...]

    def read_configs(self) -> object:
        """Return ``configs`` in the YAML of its README.md, None without any."""
        from huggingface_hub.repocard import metadata_load

        if _README not in self.files:
            return None
        path = self.download(_README)
        try:
            value = metadata_load(path) if path.stat().st_size <= _MAX_TEXT_BYTES else None
        except Exception as error:
            raise InputError(
                f"The YAML in the README.md of {self.name} cannot be read, so its configs are "
                f"unknown: {str(error).splitlines()[0]}. Name its files, as in hf:{self.name}#FILE"
            ) from error
        return (value or {}).get("configs")

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

    def download(self, name: str) -> Path:
        """Return the path of a file in the hub's cache, after downloading it if need be."""
        return download_file(self.describe(name))

    def download_all(self, names: Sequence[str]) -> None:
        """Download many files at a time into the hub's cache."""
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
    """Return the repository at the commit that ``revision`` is now."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with explain_hub_errors("read", f"{name}@{revision}" if revision != "main" else name):
        api = HfApi()
        commit = api.dataset_info(name, revision=revision).sha
        if not commit:
            raise InputError(f"The hub does not report the commit of {name}@{revision}.")
        tree = api.list_repo_tree(name, recursive=True, revision=commit, repo_type="dataset")
        files = sorted(
            (entry.path for entry in tree if isinstance(entry, RepoFile)), key=str.encode
        )
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
    choices = list_choices(names, repository.read_configs(), saved_splits)
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
