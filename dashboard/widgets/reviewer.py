"""Who reviews: signed in, or asked once and remembered by the browser; named in every decision.

The browser's own memory comes before the link's name, so that following a colleague's link never
makes anybody decide in that colleague's name.
"""

from __future__ import annotations

import unicodedata

import streamlit as st

from dashboard.frontend import assets
from dashboard.view.state import Key, change_view
from dashboard.widgets import notices

_KEY = "reviewer_name"
MAX_NAME = 80
_ask = st.components.v2.component(
    "visnec_reviewer",
    html=assets.HTML,
    css=assets.style("reviewer"),
    js=assets.script("reviewer"),
)


def show(suggested: str | None) -> str | None:
    """The reviewer of this session, or None while the name is being asked for.

    Where Streamlit's login is set up, the name is the signed-in user's and cannot be chosen.
    """
    if login_configured():
        return _show_signed_in()
    confirmed: str | None = st.session_state.get(Key.REVIEWER)
    result = _ask(
        key=_KEY,
        data={
            "name": confirmed,
            "suggested": suggested,
            "ask": bool(st.session_state.get(Key.REVIEWER_FORGOTTEN)),
        },
        on_name_change=lambda: None,
    )
    given = read_name(result.name)
    if confirmed is None and given is not None:
        st.session_state[Key.REVIEWER] = given
        st.session_state.pop(Key.REVIEWER_FORGOTTEN, None)
        change_view(reviewer=given)
        st.rerun()
    if confirmed is not None and suggested != confirmed:
        change_view(reviewer=confirmed)
    return confirmed


def offer(suggested: str | None, what: str) -> None:
    """Asks for the name behind a button that says ``what`` for; nothing where it is known."""
    if st.session_state.get(Key.REVIEWER) is None:
        with st.popover(what, icon=":material/checklist:", width="content"):
            show(suggested)


def login_configured() -> bool:
    """Whether this server asks people to sign in (an ``[auth]`` section in Streamlit's secrets)."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def signed_in() -> str | None:
    """The name of whoever is signed in: the e-mail address, else the name; None where neither is
    given or nobody is."""
    if not st.user.is_logged_in:
        return None
    return read_name(st.user.get("email")) or read_name(st.user.get("name"))


def _show_signed_in() -> str | None:
    given = signed_in()
    if given is not None:
        st.session_state[Key.REVIEWER] = given
    elif st.user.is_logged_in:
        notices.show_note("The sign-in gives neither an e-mail address nor a name")
    else:
        st.session_state.pop(Key.REVIEWER, None)
        st.button("Sign in to review", icon=":material/login:", on_click=st.login)
    return given


def ask_again() -> None:
    """Has the name asked for anew; for a callback."""
    st.session_state.pop(Key.REVIEWER, None)
    st.session_state[Key.REVIEWER_FORGOTTEN] = True


def read_name(value: object) -> str | None:
    """A name as the decision log writes it, or None where it is none."""
    if not isinstance(value, str):
        return None
    printable = "".join(one for one in value if one.isprintable())
    return unicodedata.normalize("NFC", printable).strip()[:MAX_NAME].strip() or None
