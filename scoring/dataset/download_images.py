"""Fetches the images of a dataset that lie on other machines into the workspace, before scoring.

Each is fetched once, decoded by the decoder that refuses what local images are refused for, and
kept as it came; what was not fetched is noted with its reason, which becomes the sample's status.
Whoever opens images later reads the cache and needs no network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from scoring.dataset.records import read_columns
from scoring.errors import InputError
from scoring.image_references import REMOTE_ROOT, is_fetchable
from scoring.images.decode import ImageProblem, open_image
from scoring.images.remote import Fetcher, RemoteProblem, cached_path, forget_refusal, keep_refusal
from scoring.samples import Status
from scoring.workspace import Workspace, open_atomic

_THREADS = 8
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class FetchReport:
    """Addresses by what became of them; ``present`` were in the cache before."""

    fetched: int
    present: int
    refused: int
    failed: int

    @property
    def total(self) -> int:
        """All addresses that the dataset names."""
        return self.fetched + self.present + self.refused + self.failed


def fetch_images(
    workspace: Workspace,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    fetcher: Fetcher | None = None,
) -> FetchReport:
    """Fetches what is missing; what failed before is tried again. Told: done, and known so far.

    Raises InputError for a workspace that was imported without leave to fetch.
    """
    folder, fetcher = workspace.remote_dir, fetcher or Fetcher()
    if not (folder / "remote.json").is_file() or REMOTE_ROOT not in workspace.settings.image_roots:
        raise InputError(
            f"{workspace.root} was imported without --allow-remote, so images on other machines "
            "are refused in it; import the dataset into a new workspace with --allow-remote"
        )
    counted = dict.fromkeys(("fetched", "present", "refused", "failed"), 0)

    def take(done: set[Future[str]], known: int) -> None:
        for one in done:
            counted[one.result()] += 1
        if progress:
            progress(sum(counted.values()), known)

    waiting: set[Future[str]] = set()
    known = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for known, url in enumerate(remote_references(workspace), start=1):
            if stop is not None and stop.is_set():
                break
            if cached_path(folder, url).is_file():
                counted["present"] += 1
                continue
            waiting.add(pool.submit(_fetch_one, folder, url, fetcher))
            if len(waiting) >= 4 * _THREADS:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                take(done, known)
        done, _ = wait(waiting)
        take(done, known)
    return FetchReport(**counted)


def remote_references(workspace: Workspace) -> Iterator[str]:
    """Every address that a sample which may be scored names, once, in the order of the dataset."""
    seen: set[str] = set()
    for table in read_columns(workspace, ["images", "status"]):
        for images, status in zip(*(column.to_pylist() for column in table.columns), strict=True):
            for image in images if status == Status.PENDING else ():
                if is_fetchable(image) and image not in seen:
                    seen.add(image)
                    yield image


def _fetch_one(folder: Path, url: str, fetcher: Fetcher) -> str:
    """Fetches, judges and keeps one image; what became of it."""
    try:
        _keep(cached_path(folder, url), fetcher.fetch(url))
    except RemoteProblem as problem:
        keep_refusal(folder, url, problem)
        return "refused" if problem.status is Status.REFUSED_PATH else "failed"
    except ImageProblem as problem:
        reason = f"what {url[:_SHOWN]!r} answered cannot be used: {problem.reason}"
        keep_refusal(folder, url, RemoteProblem(problem.status, reason))
        return "refused"
    forget_refusal(folder, url)
    return "fetched"


def _keep(path: Path, content: bytes) -> None:
    """Puts ``content`` in place if it is an image that may be opened. Raises ImageProblem."""
    with open_atomic(path) as file:
        file.write(content)
        file.flush()
        try:
            open_image(Path(file.name))
        except ImageProblem as problem:
            reason = problem.reason.removeprefix(Path(file.name).name).strip(": ")
            raise ImageProblem(problem.status, reason) from None
