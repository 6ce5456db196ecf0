"""The dashboard's own routes: pictures of samples, cards fetched ahead, counts for a moved cut,
whether there is news.

Everything is addressed by row, never by path: which file a row names is resolved inside the
image roots by the library. Pictures leave here re-encoded from decoded pixels, so no byte of a
dataset file reaches the browser as it came.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dashboard.data.activity import state_digest
from dashboard.data.context import Context, open_view_context, read_workspace
from dashboard.data.samples import read_cards, read_image, read_thumbnail
from dashboard.data.threshold_stats import InvalidThreshold, read_cut_facts, resolve_threshold
from dashboard.server.guard import is_own_page
from dashboard.view.links import PREFIX
from dashboard.view.parameters import MAX_ROW
from dashboard.view.state import View, read_view
from scoring.errors import VisnecError, WorkspaceError
from scoring.images.decode import ImageProblem
from scoring.workspace import Workspace

MAX_AT_ONCE: Final = 32
_KEEP = {"cache-control": "private, max-age=86400, immutable"}
_FORGET = {"cache-control": "no-store"}

Handler = Callable[[Request], Response]


class NoRows(ValueError):
    """What a request names are no rows."""


def guarded(handler: Handler) -> Handler:
    """Answers only to our own pages, and in words where something is wrong."""

    def answer(request: Request) -> Response:
        if not is_own_page(request):
            return PlainTextResponse("Ask from a page of this dashboard.", 403, headers=_FORGET)
        try:
            return handler(request)
        except (NoRows, InvalidThreshold) as problem:
            return PlainTextResponse(str(problem), 400, headers=_FORGET)
        except ImageProblem as problem:
            return PlainTextResponse(str(problem), 404, headers=_FORGET)
        except VisnecError as error:
            return PlainTextResponse(str(error), 404, headers=_FORGET)
        except OverflowError:
            return PlainTextResponse("there is no such row", 404, headers=_FORGET)

    return answer


def small_picture(request: Request) -> Response:
    """A thumbnail of a sample's first image."""
    content = read_thumbnail(read_workspace(), int(request.path_params["row_idx"]))
    return Response(content, media_type="image/jpeg", headers=_KEEP)


def small_pictures(request: Request) -> Response:
    """Thumbnails of several samples as data URLs, null where there is none: one answer spares a
    browser as many requests."""
    workspace = read_workspace()
    found = [_data_url(workspace, row) for row in _rows(request)]
    return JSONResponse(found, headers=_FORGET if None in found else _KEEP)


def _data_url(workspace: Workspace, row_idx: int) -> str | None:
    try:
        content = read_thumbnail(workspace, row_idx)
    except (ImageProblem, VisnecError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _rows(request: Request) -> list[int]:
    """The first MAX_AT_ONCE rows that are asked for. Raises NoRows, or OverflowError for one that
    cannot be."""
    try:
        rows = [int(row) for row in request.query_params.get("rows", "").split(",")]
    except ValueError:
        raise NoRows("rows are whole numbers") from None
    if max(rows) >= MAX_ROW:
        raise OverflowError(rows)
    return rows[:MAX_AT_ONCE]


def picture(request: Request) -> Response:
    """A sample's image in full."""
    places = request.path_params
    content = read_image(read_workspace(), int(places["row_idx"]), int(places["position"]))
    media_type = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=media_type, headers=_KEEP)


def cards(request: Request) -> Response:
    """Samples in full for the review deck, at most MAX_AT_ONCE."""
    context = _context(request)
    return JSONResponse(read_cards(context, _rows(request)), headers=_FORGET)


def cut(request: Request) -> Response:
    """What a cut keeps and drops: one that is wished by score, share, samples or tokens."""
    context = _context(request)
    found = resolve_threshold(context, request.query_params)
    return JSONResponse(read_cut_facts(context, found), headers=_FORGET)


def _context(request: Request) -> Context:
    """The scores that an address names. Raises WorkspaceError where there are none."""
    names = ("run", "baseline", "clustering", "filter", "low", "high")
    view, _ = read_view({name: request.query_params.get(name, "") for name in names})
    context = open_view_context(view).context
    if context is None:
        raise WorkspaceError("nothing is scored here")
    return context


def state(_: Request) -> Response:
    """One word that changes with everything that pages take in by themselves."""
    return JSONResponse({"state": state_digest(open_view_context(View()))}, headers=_FORGET)


ROUTES: Final = [
    Route(f"{PREFIX}/thumbnail/{{row_idx:int}}", guarded(small_picture)),
    Route(f"{PREFIX}/thumbnails", guarded(small_pictures)),
    Route(f"{PREFIX}/image/{{row_idx:int}}/{{position:int}}", guarded(picture)),
    Route(f"{PREFIX}/cards", guarded(cards)),
    Route(f"{PREFIX}/cut", guarded(cut)),
    Route(f"{PREFIX}/state", guarded(state)),
]
