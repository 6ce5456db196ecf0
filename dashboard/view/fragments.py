"""The parts of a page that are drawn anew by themselves.

A moved cut changes counts and kept shares, but neither the loss plane nor the filter; drawing those
again would make the reader wait for what stands there already. A widget draws the innermost part
around it anew; what it changes beyond that part is asked for here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NoReturn

import streamlit as st


class Fragment(StrEnum):
    """Keys of fragments: on the Overview the cut's within the scores', in Explore the list's
    within the samples'."""

    SCORES = "scores"
    CUT = "cut"
    SAMPLES = "samples"
    LISTED = "listed"


def rerun_fragment(part: Fragment) -> NoReturn:
    """Draws this part, once the callback that asks for it has ended."""
    st.rerun(str(part))
