"""Push a folder to the hub as one dataset repository."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from scoring.errors import InputError
from scoring.hub.errors import LOGIN, explain_hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CREATED = ".gitattributes"  # the hub adds it to every repository


@dataclass(frozen=True, slots=True)
class PushTarget:
    """The repository and branch to push to; ``private`` if no one else may read it.

    Raises InputError for a name that is not OWNER/NAME.
    """

    repository: str
    private: bool = False
    revision: str = "main"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.repository):
            raise InputError(f"{self.repository!r} is not a repository. Name it as OWNER/NAME.")


@dataclass(frozen=True, slots=True)
class PushedFolder:
    """What is on the hub now."""

    repository: str
    revision: str
    commit: str
    url: str
    is_update: bool  # of a folder that was pushed before


def push_folder(
    folder: Path,
    patterns: Sequence[str],
    target: PushTarget,
    message: str,
    may_replace: Callable[[Path], bool],
    marker: str,
) -> PushedFolder:
    """Push the files of a folder; files of an earlier push that are not in it are deleted.

    A large folder is pushed in several commits, after the marker in one of its own, so that pushing
    again after an interruption resumes.

    Args:
        folder: The folder.
        patterns: Its files and folders to push; a pattern matches across folders.
        target: Where to push to. A new repository is created.
        message: Subject of the commit.
        may_replace: Whether the ``marker`` of the repository is that of an earlier push.
        marker: Name of the file that describes the contents.

    Raises:
        InputError: There is no login, it has no right to write, the hub cannot be reached, or the
            repository contains something else.
    """
    api = _open_hub()
    with explain_hub_errors("push to", target.repository):
        present = _prepare_repository(api, target)
        others = sorted(name for name in present if name != _CREATED)
        if others and not (marker in others and may_replace(_download(api, target, marker))):
            raise InputError(
                f"{target.repository}@{target.revision} contains other files "
                f"({', '.join(others[:3])}) than an earlier push of this subset. Name a new "
                "repository, or delete those files on the hub."
            )
        paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
        pushed = {path for path in paths if any(fnmatchcase(path, text) for text in patterns)}
        if not others:
            api.upload_file(
                path_or_fileobj=folder / marker,
                path_in_repo=marker,
                repo_id=target.repository,
                repo_type="dataset",
                revision=target.revision,
                commit_message=message,
            )
        stale = [glob.escape(name) for name in others if name not in pushed]
        commit = api.upload_folder(
            repo_id=target.repository,
            folder_path=folder,
            repo_type="dataset",
            revision=target.revision,
            commit_message=message,
            allow_patterns=list(patterns),
            delete_patterns=stale or None,
        )
    url = f"{api.endpoint}/datasets/{target.repository}"
    if target.revision != "main":
        url += f"/tree/{target.revision}"
    return PushedFolder(target.repository, target.revision, commit.oid, url, bool(others))


def check_target(target: PushTarget) -> None:
    """Raise InputError without a login, without an answer of the hub, or if the target is public.

    Whether the login may write is known only when something is pushed.
    """
    api = _open_hub()
    with explain_hub_errors("push to", target.repository):
        _repository_exists(api, target)


def _open_hub() -> HfApi:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise InputError(f"You are not logged in to the hub. Log in with {LOGIN}.")
    return HfApi()


def _repository_exists(api: HfApi, target: PushTarget) -> bool:
    """Raise InputError if the repository is public and should be private."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(target.repository)
    except RepositoryNotFoundError:
        return False
    if target.private and not info.private:
        raise InputError(
            f"{target.repository} exists and is public. Make it private on the hub first, or "
            "name a new repository."
        )
    return True


def _prepare_repository(api: HfApi, target: PushTarget) -> list[str]:
    """Create the repository and the branch if need be, and return the files that are there."""
    from huggingface_hub.errors import RevisionNotFoundError

    if not _repository_exists(api, target):
        api.create_repo(target.repository, repo_type="dataset", private=target.private or None)
    revision = target.revision
    try:
        return api.list_repo_files(target.repository, revision=revision, repo_type="dataset")
    except RevisionNotFoundError:
        api.create_branch(target.repository, branch=revision, repo_type="dataset")
        return api.list_repo_files(target.repository, revision=revision, repo_type="dataset")


def _download(api: HfApi, target: PushTarget, name: str) -> Path:
    path = api.hf_hub_download(
        target.repository, name, repo_type="dataset", revision=target.revision
    )
    return Path(path)
