"""The dashboard's own routes: images, the map, prefetched cards, counts for a threshold, changes.

Everything is addressed by row, never by path; the library resolves which file a row refers to
inside the image roots. Images are re-encoded from decoded pixels, so a browser never receives bytes
of a dataset file.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dashboard.data.activity import state_digest
from dashboard.data.column_stats import column_stats
from dashboard.data.context import open_view_context, read_workspace, single_snapshot
from dashboard.data.sample_map import draw_picture
from dashboard.data.samples import read_cards, read_image, read_thumbnail
from dashboard.data.threshold_stats import InvalidRequest, threshold_stats
from dashboard.server.guard import is_own_page
from dashboard.view.links import PREFIX
from dashboard.view.parameters import MAX_ROW
from dashboard.view.state import View, read_view
from scoring.errors import VisnecError, WorkspaceError
from scoring.images.decode import ImageProblem

MAX_ROWS: Final = 32
_CACHED = {"cache-control": "private, max-age=86400, immutable"}
_NOT_CACHED = {"cache-control": "no-store"}
_SCOPE_PARAMETERS = (
    "run",
    "baseline",
    "clustering",
    "filter",
    "low",
    "high",
    "column",
    "map",
    "colour",
)

Handler = Callable[[Request], Response]


def guard_route(handler: Handler) -> Handler:
    """Let only our own pages call a handler, and turn its errors into messages."""

    def respond(request: Request) -> Response:
        if not is_own_page(request):
            return _refuse("Only pages of this dashboard can request this.", 403)
        try:
            with single_snapshot():
                return handler(request)
        except InvalidRequest as error:
            return _refuse(str(error), 400)
        except (ImageProblem, VisnecError) as error:
            return _refuse(str(error), 404)
        except OverflowError:
            return _refuse("there is no such row", 404)

    return respond


def _refuse(message: str, status: int) -> Response:
    return PlainTextResponse(message, status, headers=_NOT_CACHED)


def send_thumbnail(request: Request) -> Response:
    """Send the thumbnail of a sample's first image."""
    content = read_thumbnail(read_workspace(), int(request.path_params["row_idx"]))
    return Response(content, media_type="image/jpeg", headers=_CACHED)


def send_thumbnails(request: Request) -> Response:
    """Send several thumbnails in one response: data URLs, null for each missing one."""
    workspace = read_workspace()
    thumbnails: list[str | None] = []
    for row in _read_rows(request):
        try:
            content = base64.b64encode(read_thumbnail(workspace, row)).decode()
            thumbnails.append(f"data:image/jpeg;base64,{content}")
        except (ImageProblem, VisnecError):
            thumbnails.append(None)
    return JSONResponse(thumbnails, headers=_NOT_CACHED if None in thumbnails else _CACHED)


def _read_rows(request: Request) -> list[int]:
    """Return the first MAX_ROWS requested rows.

    Raises:
        InvalidRequest: If they are not integers.
        OverflowError: If one is too large for any dataset.
    """
    try:
        rows = [int(row) for row in request.query_params.get("rows", "").split(",")]
    except ValueError:
        raise InvalidRequest("rows must be integers") from None
    if max(rows) >= MAX_ROW:
        raise OverflowError(rows)
    return rows[:MAX_ROWS]


def send_image(request: Request) -> Response:
    """Send a sample's image in full size."""
    parameters = request.path_params
    content = read_image(read_workspace(), int(parameters["row_idx"]), int(parameters["position"]))
    media_type = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
    return Response(content, media_type=media_type, headers=_CACHED)


def send_cards(request: Request) -> Response:
    """Send samples in full for the review deck, at most MAX_ROWS."""
    context = open_view_context(_read_view(request)).context
    if context is None:
        raise WorkspaceError("nothing is scored here")
    return JSONResponse(read_cards(context, _read_rows(request)), headers=_NOT_CACHED)


def send_threshold_stats(request: Request) -> Response:
    """Send what a threshold keeps and drops; it is given by score, share, samples or tokens.

    With a ``column`` it is a threshold on the values of that column.
    """
    view = _read_view(request)
    compute = column_stats if view.column else threshold_stats
    stats = compute(view, request.query_params)
    return JSONResponse(stats, headers=_NOT_CACHED)


def _read_view(request: Request) -> View:
    """Return the view with the scores, filter, band limits, column and map of an address."""
    return read_view({name: request.query_params.get(name, "") for name in _SCOPE_PARAMETERS})[0]


def send_map(request: Request) -> Response:
    """Send the part of the map that the request describes, as a picture."""
    view = _read_view(request)
    content = draw_picture(open_view_context(view).context, view, request.query_params)
    return Response(content, media_type="image/png", headers=_NOT_CACHED)


def send_state(_: Request) -> Response:
    """Send a digest that changes whenever an open page would load something new."""
    return JSONResponse({"state": state_digest(open_view_context(View()))}, headers=_NOT_CACHED)


ROUTES: Final = [
    Route(f"{PREFIX}/thumbnail/{{row_idx:int}}", guard_route(send_thumbnail)),
    Route(f"{PREFIX}/thumbnails", guard_route(send_thumbnails)),
    Route(f"{PREFIX}/image/{{row_idx:int}}/{{position:int}}", guard_route(send_image)),
    Route(f"{PREFIX}/cards", guard_route(send_cards)),
    Route(f"{PREFIX}/cut", guard_route(send_threshold_stats)),
    Route(f"{PREFIX}/map", guard_route(send_map)),
    Route(f"{PREFIX}/state", guard_route(send_state)),
]
