"""Download of a dataset's remote images into the workspace, before scoring.

Each image is downloaded once, checked by the decoder that checks local images, and stored
unchanged. For an image that could not be used the reason is stored and becomes the status of its
samples. Opening images later only reads this cache and needs no network.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from scoring.dataset.records import pending_images
from scoring.errors import InputError
from scoring.image_references import REMOTE_ROOT, is_fetchable
from scoring.images.decode import ImageProblem, open_image
from scoring.images.remote import Fetcher, RemoteProblem, cached_path, delete_refusal, write_refusal
from scoring.samples import Status
from scoring.workspace import Workspace, open_atomic

_THREADS = 8
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class FetchReport:
    """Number of URLs by outcome; ``present`` were in the cache before."""

    fetched: int
    present: int
    refused: int
    failed: int

    @property
    def total(self) -> int:
        """All URLs in the dataset."""
        return self.fetched + self.present + self.refused + self.failed


def fetch_images(
    workspace: Workspace,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    fetcher: Fetcher | None = None,
) -> FetchReport:
    """Download missing images; failed ones are tried again.

    ``progress`` is called with the number of URLs done and the number known so far. Raises
    InputError if the dataset was imported without ``allow_remote``.
    """
    folder, fetcher = workspace.remote_dir, fetcher or Fetcher()
    if not (folder / "remote.json").is_file() or REMOTE_ROOT not in workspace.settings.image_roots:
        raise InputError(
            f"{workspace.root} was imported without --allow-remote, so its remote images are "
            "refused. Import the dataset into a new workspace with --allow-remote."
        )
    counts = dict.fromkeys(("fetched", "present", "refused", "failed"), 0)

    def collect(done: set[Future[str]]) -> None:
        for download in done:
            counts[download.result()] += 1
        if progress:
            progress(sum(counts.values()), len(seen))

    per_sample = pending_images(workspace)
    urls = (image for images in per_sample for image in images if is_fetchable(image))
    seen: set[str] = set()
    waiting: set[Future[str]] = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        for url in urls:
            if url in seen:
                continue
            seen.add(url)
            if stop is not None and stop.is_set():
                break
            if cached_path(folder, url).is_file():
                counts["present"] += 1
                continue
            waiting.add(pool.submit(_fetch_image, folder, url, fetcher))
            if len(waiting) >= 4 * _THREADS:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                collect(done)
        done, _ = wait(waiting)
        collect(done)
    return FetchReport(**counts)


def _fetch_image(folder: Path, url: str, fetcher: Fetcher) -> str:
    """Download, check and store one image; return its outcome."""
    try:
        content = fetcher.fetch(url)
        with open_atomic(cached_path(folder, url)) as file:
            file.write(content)
            file.flush()
            open_image(Path(file.name))
    except RemoteProblem as problem:
        write_refusal(folder, url, problem)
        return "refused" if problem.status is Status.REFUSED_PATH else "failed"
    except ImageProblem as problem:
        reason = problem.reason.removeprefix(Path(file.name).name).strip(": ")
        reason = f"the response of {url[:_SHOWN_CHARACTERS]!r} cannot be used: {reason}"
        write_refusal(folder, url, RemoteProblem(problem.status, reason))
        return "refused"
    delete_refusal(folder, url)
    return "fetched"
