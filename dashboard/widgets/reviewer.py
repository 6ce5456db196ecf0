"""The reviewer: signed in, or asked for a name once. Every decision carries the name.

The browser remembers the name. It takes precedence over the name in a link, so following a
colleague's link never records decisions under the colleague's name.
"""

from __future__ import annotations

import unicodedata

import streamlit as st

from dashboard.frontend import assets
from dashboard.view.state import Key, change_view
from dashboard.widgets import notices

MAX_NAME = 80
_name_form = st.components.v2.component(
    "visnec_reviewer", html=assets.HTML, css=assets.style("reviewer"), js=assets.script("reviewer")
)


def ask_name(suggested: str | None) -> str | None:
    """Return the reviewer of this session, or None while the page asks for the name.

    With Streamlit's login the name is the signed-in user's and cannot be chosen.
    """
    if is_login_configured():
        name = read_login_name()
        if name is not None:
            st.session_state[Key.REVIEWER] = name
        elif st.user.is_logged_in:
            notices.show_note("Your login has neither an e-mail address nor a name")
        else:
            st.session_state.pop(Key.REVIEWER, None)
            st.button("Sign in to review", icon=":material/login:", on_click=st.login)
        return name
    confirmed: str | None = st.session_state.get(Key.REVIEWER)
    result = _name_form(
        key="reviewer_name",
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


def show_name_button(suggested: str | None, label: str) -> None:
    """Show a button that asks for the name; nothing once the name is known."""
    if st.session_state.get(Key.REVIEWER) is None:
        with st.popover(label, icon=":material/checklist:", width="content"):
            ask_name(suggested)


def is_login_configured() -> bool:
    """Return whether this server requires a login (``[auth]`` in Streamlit's secrets)."""
    try:
        return "auth" in st.secrets
    except FileNotFoundError:
        return False


def read_login_name() -> str | None:
    """Return the e-mail address of the signed-in user, else the name, else None."""
    if not st.user.is_logged_in:
        return None
    return read_name(st.user.get("email")) or read_name(st.user.get("name"))


def forget_name() -> None:
    """Make the page ask for the name again; for callbacks."""
    st.session_state.pop(Key.REVIEWER, None)
    st.session_state[Key.REVIEWER_FORGOTTEN] = True


def read_name(value: object) -> str | None:
    """Return a name as the decision log stores it, or None for an invalid one."""
    if not isinstance(value, str):
        return None
    printable = "".join(character for character in value if character.isprintable())
    return unicodedata.normalize("NFC", printable).strip()[:MAX_NAME].strip() or None
