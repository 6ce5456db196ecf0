"""Messages to the reader: what is missing, what failed, what was done. Never a traceback.

Every text may contain data (names, paths, values), so it is escaped and never read as Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import streamlit as st

from dashboard.frontend import assets
from dashboard.text import formatting
from dashboard.view.state import Key
from scoring.errors import VisnecError

_notice = st.components.v2.component(
    "visnec_notice", html=assets.HTML, css=assets.style("notice"), js=assets.script("notice")
)


def show_notice(kind: str, title: str, text: str = "", command: str | None = None) -> None:
    """Show a message; ``kind`` is problem, note (worth knowing) or done."""
    body = f"<b>{escape(title)}</b>" if title else ""
    body += "".join(f"<p>{escape(part)}</p>" for part in text.split("\n") if part)
    body += f"<pre>{escape(command)}</pre>" if command else ""
    role = "alert" if kind == "problem" else "status"
    st.html(f'<div class="vn-notice {kind}" role="{role}">{body}</div>')


def show_problem(error: Exception, title: str = "Not available yet") -> None:
    """Show an expected error; its message explains what to do."""
    show_notice("problem", title, formatting.describe_error(error))


@contextmanager
def show_problem_on_failure(title: str) -> Iterator[None]:
    """Show an expected error of the enclosed lines, and carry on after them."""
    try:
        yield
    except (VisnecError, OSError) as error:
        show_problem(error, title)


def show_fault(number: str) -> None:
    """Show that the program failed; the terminal has the details under ``number``."""
    show_notice(
        "problem",
        "Something went wrong on this page",
        "Your decisions and saved subsets are safe. Reload the page. If it happens again, look for "
        f"failure {number} in the dashboard's terminal.",
    )


def show_note(title: str, text: str = "", command: str | None = None) -> None:
    """Show something worth knowing."""
    show_notice("note", title, text, command)


def show_dismissible(key: str, text: str, details: tuple[str, str] | None = None) -> None:
    """Show one line until the reader dismisses it; the browser remembers that.

    ``details`` are the name of a command and the command, which unfolds.
    """
    summary, command = details or ("", "")
    _notice(key=key, data={"text": text, "summary": summary, "command": command})


def show_empty(title: str, text: str, command: str | None = None) -> None:
    """Show an empty state: what is missing and how to get it."""
    body = f"<b>{escape(title)}</b><p>{escape(text)}</p>"
    body += f"<pre>{escape(command)}</pre>" if command else ""
    st.html(f'<div class="vn-empty">{body}</div>')


def set_message(kind: str, title: str, text: str = "", section: str = "") -> None:
    """Leave a message for the next rerun of the page; for callbacks.

    ``section`` is the part of the page that shows it, by default the top.
    """
    st.session_state[Key.MESSAGE] = (section, (kind, title, text))


@contextmanager
def set_message_on_failure(title: str, section: str = "") -> Iterator[None]:
    """Leave a message about an expected error of the enclosed lines; for callbacks."""
    try:
        yield
    except (VisnecError, OSError) as error:
        set_message("problem", title, formatting.describe_error(error), section)


def show_message(section: str = "") -> None:
    """Show the message that a callback left for this part of the page, once."""
    wanted, message = st.session_state.get(Key.MESSAGE, (None, None))
    if message is not None and wanted == section:
        del st.session_state[Key.MESSAGE]
        show_notice(*message)
