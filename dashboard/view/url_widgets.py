"""Widgets bound to fields of the view: set from it before they are drawn, written back on change.

So the URL stays the one truth: the browser's back button, a link and a typed value all arrive the
same way. The one decision behind it: a widget whose value comes from elsewhere is another widget,
with another key. Whoever changes something while a page is still being drawn breaks that drawing
off, and the browser may never have got the values set by it; under the same key, its old value
would then count as the reader's wish and undo what was just done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import streamlit as st

from dashboard.view.state import change_view

T = TypeVar("T")


_SHOWN: Final = ".shown"
_OWN: Final = "the widget's own"
_GONE: Final = "no longer on the page"


def widget_key(name: str, value: object) -> str:
    """The key under which a widget shows ``value``; ``name`` stays, the key tells its changes."""
    serial, shown = st.session_state.get(_record(name), (0, value))
    # What was put into the widget itself stays there, so that it keeps the focus.
    if shown is not _OWN and shown != value:
        serial += 1
    st.session_state[_record(name)] = (serial, value)
    key = _key(name)
    # Setting a value that is there already would wipe out what is being typed right now.
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return key


def on_user_change(name: str, take: Callable[..., None], *args: Any) -> None:
    """Calls ``take`` where the reader gave the widget something; for ``on_change``.

    A browser also tells, as if it were new, what a drawing has set that was broken off before the
    server noted it. That is no wish, and following it would undo what broke the drawing off.
    """
    _, shown = st.session_state.get(_record(name), (0, _OWN))
    if shown is not _GONE and (shown is _OWN or current_value(name) != shown):
        take(*args)


def consume_value(name: str) -> Any:
    """What the reader gave the widget; for what ``heed`` calls."""
    serial, _ = st.session_state[_record(name)]
    st.session_state[_record(name)] = (serial, _OWN)
    return current_value(name)


def current_value(name: str) -> Any:
    """What the widget holds now; None where it is not drawn."""
    return st.session_state.get(_key(name))


def forget_widgets(*names: str) -> None:
    """For a drawing without widgets whose names begin so: drawn again, they are other ones.

    A browser forgets what a widget held that left the page. The server does not where the widget
    stands in a fragment that was not drawn, and what it thinks to be there is not set again.
    """
    for record in [str(key) for key in st.session_state if str(key).endswith(_SHOWN)]:
        if record.startswith(names):
            serial, _ = st.session_state[record]
            st.session_state[record] = (serial, _GONE)


def _record(name: str) -> str:
    return f"{name}{_SHOWN}"


def _key(name: str) -> str:
    serial, _ = st.session_state.get(_record(name), (0, None))
    return f"{name}.{serial}" if serial else name


def _name(field: str) -> str:
    return f"view.{field}"


def _set(field: str, value: object) -> str:
    return widget_key(_name(field), value)


def _write(field: str, convert: Callable[[Any], Any] | None) -> None:
    value = consume_value(_name(field))
    change_view(**{field: value if convert is None else convert(value)})


def choose_option(
    field: str,
    label: str,
    options: Sequence[T],
    value: T,
    name: Callable[[T], str] = str,
    help: str | None = None,  # noqa: A002 - Streamlit's word
) -> T:
    """A select box; its options are shown as plain text."""
    if value not in options:
        return value
    chosen: T = st.selectbox(
        label,
        options,
        key=_set(field, value),
        format_func=name,
        on_change=on_user_change,
        args=(_name(field), _write, field, None),
        help=help,
    )
    return chosen


def choose_number(
    field: str,
    label: str,
    value: float | None,
    *,
    step: float = 0.01,
    lowest: float | None = None,
    highest: float | None = None,
    digits: str = "%.3f",
    help: str | None = None,  # noqa: A002
    convert: Callable[[Any], Any] | None = None,
    placeholder: str | None = None,
    optional: bool = False,
) -> float | None:
    """A number with steppers; None where it is ``optional`` and was left empty."""
    start: Any = None if optional else "min"
    number: float | None = st.number_input(
        label,
        value=start,
        min_value=lowest,
        max_value=highest,
        step=step,
        format=digits,
        key=_set(field, value),
        on_change=on_user_change,
        args=(_name(field), _write, field, convert),
        help=help,
        placeholder=placeholder,
    )
    return number


def choose_count(
    field: str,
    label: str,
    value: int,
    *,
    lowest: int = 0,
    highest: int | None = None,
    help: str | None = None,  # noqa: A002
) -> int:
    """A whole number with steppers."""
    number: int = st.number_input(
        label,
        min_value=lowest,
        max_value=highest,
        step=1,
        key=_set(field, value),
        on_change=on_user_change,
        args=(_name(field), _write, field, None),
        help=help,
    )
    return number


def choose_optional_count(field: str, label: str, value: int | None, *, highest: int) -> None:
    """A whole number of at least 1 that may be left empty."""
    st.number_input(
        label,
        value=None,
        min_value=1,
        max_value=highest,
        step=1,
        key=_set(field, value),
        on_change=on_user_change,
        args=(_name(field), _write, field, None),
        placeholder="no limit",
    )


def choose_flag(field: str, label: str, value: bool, help: str | None = None) -> bool:  # noqa: A002
    """An on/off switch."""
    return st.toggle(
        label,
        key=_set(field, value),
        on_change=on_user_change,
        args=(_name(field), _write, field, None),
        help=help,
    )


def choose_segment(
    field: str,
    label: str,
    options: Sequence[T],
    value: T,
    name: Callable[[T], str] = str,
) -> T:
    """A row of buttons of which one is on; for a few options that should all be seen."""
    st.segmented_control(
        label,
        options,
        key=_set(field, value),
        format_func=name,
        on_change=on_user_change,
        args=(_name(field), _write_picked, field, value),
        label_visibility="collapsed",
    )
    return value


def _write_picked(field: str, before: object) -> None:
    """A second click on the button that is on turns nothing off."""
    picked = consume_value(_name(field))
    change_view(**{field: before if picked is None else picked})
