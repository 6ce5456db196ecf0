"""Addresses of the dashboard's own routes, and the key that they require.

Each server process draws a new key and gives it only to pages that it sent, so a page of another
site cannot address an image even if it guesses everything else.
"""

from __future__ import annotations

import secrets
from typing import Final
from urllib.parse import urlencode

from scoring.database.filters import Filter
from scoring.database.values import Scope
from scoring.necessity import Bands

PREFIX: Final = "/visnec"
KEY: Final = secrets.token_urlsafe(18)


def thumbnail_url(row_idx: int, edition: str) -> str:
    """Return the address of a thumbnail; ``edition`` changes with the dataset."""
    return f"{PREFIX}/thumbnail/{row_idx}?{urlencode({'key': KEY, 'of': edition[:12]})}"


def image_url(row_idx: int, position: int, edition: str) -> str:
    """Return the address of a sample's image at ``position``."""
    return f"{PREFIX}/image/{row_idx}/{position}?{urlencode({'key': KEY, 'of': edition[:12]})}"


def state_url() -> str:
    """Return the address that answers whether there is something new to show."""
    return f"{PREFIX}/state?{urlencode({'key': KEY})}"


def cards_url(scope: Scope, bands: Bands, generation: str) -> str:
    """Return where the review deck prefetches samples; it appends ``&rows=1,2,3``.

    The address changes with everything that the cards depend on, including the database's
    ``generation``, so cards fetched from another one are out of date.
    """
    limits = {"low": repr(bands.low), "high": repr(bands.high)}
    return f"{PREFIX}/cards?{urlencode(_scope_parameters(scope, generation) | limits)}"


def threshold_url(scope: Scope, where: Filter, generation: str) -> str:
    """Return where the threshold editor requests counts; it appends ``&low=..&high=..`` and the
    threshold as a score, a share or a number."""
    parameters = _scope_parameters(scope, generation) | {"filter": str(where)}
    return f"{PREFIX}/cut?{urlencode(parameters)}"


def column_threshold_url(
    scope: Scope, where: Filter, bands: Bands, generation: str, column: str
) -> str:
    """As :func:`threshold_url`, for a threshold on an imported column."""
    limits = {"low": repr(bands.low), "high": repr(bands.high), "column": column}
    return f"{threshold_url(scope, where, generation)}&{urlencode(limits)}"


def map_url(scope: Scope, where: Filter, bands: Bands, generation: str, **look: str) -> str:
    """Return the address of the map's picture; ``&x0=..&x1=..&y0=..&y1=..&width=..&height=..``
    are appended. ``look`` are the map, its colour and the theme."""
    limits = {"filter": str(where), "low": repr(bands.low), "high": repr(bands.high)}
    return f"{PREFIX}/map?{urlencode(_scope_parameters(scope, generation) | limits | look)}"


def _scope_parameters(scope: Scope, generation: str) -> dict[str, str]:
    return {
        "key": KEY,
        "run": scope.run_id,
        "baseline": scope.baseline,
        "clustering": scope.clustering_id or "",
        "of": generation,
    }
