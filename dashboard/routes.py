"""The dashboard's own routes: pictures of samples and cards fetched ahead.

Everything is addressed by row, never by path: which file a row names is resolved inside the
image roots by the library. Pictures leave here re-encoded from decoded pixels, so no byte of a
dataset file reaches the browser as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dashboard.guard import is_own_page
from dashboard.links import PREFIX
from dashboard.loaders import open_view_context, read_cards, read_record, read_workspace
from dashboard.state import read_view
from scoring.errors import VisnecError
from scoring.readers.images import ImageProblem, open_image, resolve_image
from scoring.samples import Status
from scoring.thumbnails import encode_image, thumbnail
from scoring.workspace import Workspace

THUMBNAIL_SIZE: Final = 288
IMAGE_SIZE: Final = 2048
MAX_CARDS: Final = 32
_KEEP = {"cache-control": "private, max-age=86400, immutable"}
_FORGET = {"cache-control": "no-store"}

Handler = Callable[[Request], Response]


def guarded(handler: Handler) -> Handler:
    """Answers only to our own pages, and in words where something is wrong."""

    def answer(request: Request) -> Response:
        if not is_own_page(request):
            return PlainTextResponse("Ask from a page of this dashboard.", 403, headers=_FORGET)
        try:
            return handler(request)
        except ImageProblem as problem:
            return PlainTextResponse(str(problem), 404, headers=_FORGET)
        except VisnecError as error:
            return PlainTextResponse(str(error), 404, headers=_FORGET)

    return answer


def _reference(workspace: Workspace, request: Request) -> str:
    """The image path that the asked row names at the asked position."""
    images = read_record(workspace, int(request.path_params["row_idx"])).images
    position = int(request.path_params.get("position", 0))
    if position >= len(images):
        raise ImageProblem(Status.TEXT_ONLY, "this sample names no such image")
    return images[position]


def small_picture(request: Request) -> Response:
    """A thumbnail of a sample's first image."""
    workspace = read_workspace()
    content = thumbnail(workspace, _reference(workspace, request), THUMBNAIL_SIZE)
    return Response(content, media_type="image/jpeg", headers=_KEEP)


def picture(request: Request) -> Response:
    """A sample's image in full, at most IMAGE_SIZE pixels wide or high."""
    workspace = read_workspace()
    path = resolve_image(_reference(workspace, request), workspace.image_roots)
    content = _encoded(path, path.stat().st_mtime_ns)
    media_type = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=media_type, headers=_KEEP)


@lru_cache(maxsize=64)
def _encoded(path: Path, modified: int) -> bytes:  # noqa: ARG001 - part of the cache's key
    return encode_image(open_image(path), IMAGE_SIZE)


def cards(request: Request) -> Response:
    """Samples in full for the review deck, at most MAX_CARDS at once."""
    scope = {name: request.query_params.get(name, "") for name in ("run", "baseline", "clustering")}
    view, _ = read_view(scope)
    context = open_view_context(view).context
    if context is None:
        return PlainTextResponse("nothing is scored here", 404, headers=_FORGET)
    try:
        rows = [int(row) for row in request.query_params.get("rows", "").split(",")]
    except ValueError:
        return PlainTextResponse("rows are whole numbers", 400, headers=_FORGET)
    return JSONResponse(read_cards(context, rows[:MAX_CARDS]), headers=_FORGET)


ROUTES: Final = [
    Route(f"{PREFIX}/thumbnail/{{row_idx:int}}", guarded(small_picture)),
    Route(f"{PREFIX}/image/{{row_idx:int}}/{{position:int}}", guarded(picture)),
    Route(f"{PREFIX}/cards", guarded(cards)),
]
