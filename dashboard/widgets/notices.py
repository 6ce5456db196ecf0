"""Sentences to the reader: what is missing, what went wrong, what was done. Never a traceback.

Every text may hold data (names, paths, values), so it is escaped and never read as Markdown.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import streamlit as st

from dashboard.text import formatting
from dashboard.view.state import Key


def _notice(kind: str, title: str, said: str = "", command: str | None = None) -> None:
    body = f"<b>{escape(title)}</b>" if title else ""
    body += "".join(f"<p>{escape(part)}</p>" for part in said.split("\n") if part)
    body += f"<pre>{escape(command)}</pre>" if command else ""
    role = "alert" if kind == "problem" else "status"
    st.html(f'<div class="vn-notice {kind}" role="{role}">{body}</div>')


def show_problem(error: Exception, title: str = "This does not work yet") -> None:
    """An explained error: its own words say what to do."""
    _notice("problem", title, formatting.describe_error(error))


def show_fault(number: str) -> None:
    """A fault of the program itself; the terminal has the details under the number."""
    _notice(
        "problem",
        "Something went wrong on this page",
        "Nothing that was decided or saved is lost. Reload the page to go on; if it happens "
        f"again, the terminal of the dashboard tells more under failure {number}.",
    )


def show_note(title: str, text: str = "", command: str | None = None) -> None:
    """Something to know."""
    _notice("note", title, text, command)


def show_details(title: str, text: str, summary: str, command: str) -> None:
    """Something to know in one line, with commands that unfold."""
    st.html(
        f'<div class="vn-notice" role="status"><b>{escape(title)}</b> {escape(text)}'
        f"<details><summary>{escape(summary)}</summary><pre>{escape(command)}</pre></details></div>"
    )


def show_done(title: str, text: str = "") -> None:
    """Something that was done."""
    _notice("done", title, text)


def show_left_out(problems: Iterable[str]) -> None:
    """What a link asked for and could not get."""
    problems = list(problems)
    if problems:
        _notice("note", "Part of this link was left out", "\n".join(problems))


def show_empty(title: str, text: str, command: str | None = None) -> None:
    """An empty state: what is not there, and how it comes to be."""
    body = f"<b>{escape(title)}</b><p>{escape(text)}</p>"
    body += f"<pre>{escape(command)}</pre>" if command else ""
    st.html(f'<div class="vn-empty">{body}</div>')


def remember(kind: str, title: str, text: str = "", place: str = "") -> None:
    """Leaves a message for the next drawing of the page; for callbacks. ``place`` is the part of
    the page that shows it, by default the top."""
    st.session_state[Key.MESSAGE] = (place, (kind, title, text))


def show_remembered(place: str = "") -> None:
    """The message that a callback left for this part of the page, once."""
    wanted, message = st.session_state.get(Key.MESSAGE, (None, None))
    if message is not None and wanted == place:
        del st.session_state[Key.MESSAGE]
        _notice(*message)
