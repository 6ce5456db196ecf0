"""Addresses of the dashboard's own routes, and the key that they ask for.

The key is drawn anew by each server process and handed only to pages that this server drew, so a
page of another site cannot address a picture even where it guesses everything else.
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
    """The small picture of a sample's first image; ``edition`` changes with the dataset."""
    return f"{PREFIX}/thumbnail/{row_idx}?{urlencode({'key': KEY, 'of': edition[:12]})}"


def image_url(row_idx: int, position: int, edition: str) -> str:
    """A sample's image at ``position``, re-encoded from its decoded pixels."""
    return f"{PREFIX}/image/{row_idx}/{position}?{urlencode({'key': KEY, 'of': edition[:12]})}"


def state_url() -> str:
    """Tells by one word whether there is something new to show."""
    return f"{PREFIX}/state?{urlencode({'key': KEY})}"


def cards_url(scope: Scope, bands: Bands, generation: str) -> str:
    """Where the review deck fetches samples ahead; it appends ``&rows=1,2,3``.

    The address changes with everything that the cards depend on, ``generation`` being the
    database's: what was fetched from another one is out of date.
    """
    limits = {"low": repr(bands.low), "high": repr(bands.high)}
    return f"{PREFIX}/cards?{urlencode(_about(scope, generation) | limits)}"


def threshold_url(scope: Scope, which: Filter, generation: str) -> str:
    """Where the threshold editor asks what a cut keeps; it appends ``&low=..&high=..`` and how the
    cut is wished."""
    return f"{PREFIX}/cut?{urlencode(_about(scope, generation) | {'filter': str(which)})}"


def _about(scope: Scope, generation: str) -> dict[str, str]:
    return {
        "key": KEY,
        "run": scope.run_id,
        "baseline": scope.baseline,
        "clustering": scope.clustering_id or "",
        "of": generation,
    }
