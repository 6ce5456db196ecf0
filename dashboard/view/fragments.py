"""Page fragments that rerun on their own.

Moving the threshold changes counts and kept shares, but neither the loss plane nor the filter;
rendering those again would make the user wait. A widget reruns the innermost fragment around it. If
its change affects more than that, the callback requests it here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

import streamlit as st


class Fragment(StrEnum):
    """Keys of fragments: on the Overview THRESHOLD is inside SCORES, in Explore LISTED is inside
    SAMPLES."""

    SCORES = "scores"
    THRESHOLD = "cut"
    SAMPLES = "samples"
    LISTED = "listed"


def rerun_fragment(fragment: Fragment) -> NoReturn:
    """Rerun this fragment after the callback that requests it."""
    st.rerun(str(fragment))
