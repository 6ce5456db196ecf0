"""Widgets bound to fields of the view: set from it before rendering, written back on change.

So the URL stays the only source: the browser's back button, a link and an input all arrive the same
way. Streamlit's ``bind="query-params"`` does not serve here, because a bound parameter can be set
by its widget alone, while ours are also set by charts, links and callbacks.

If a value changes without the widget's doing, the widget gets a new key and is thus a new widget. A
user action during a rerun aborts that rerun, and the browser may never have received the values set
by it; under the same key, the widget's old value would then count as an input of the user and undo
what was just done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import streamlit as st

from dashboard.view.state import change_view

T = TypeVar("T")

_RECORD_SUFFIX: Final = ".shown"
UNLABELLED: Final[dict[str, Any]] = {"label_visibility": "collapsed"}


@dataclass(frozen=True, slots=True)
class _Record:
    """What the server knows about a widget between reruns; ``serial`` is part of its key."""

    serial: int
    value: object  # as last rendered
    from_user: bool = False  # the user has entered another value since then
    is_removed: bool = False  # the page was rendered without the widget


def widget_key(name: str, value: object) -> str:
    """Return the key for a widget that shows ``value``; ``name`` identifies it on the page."""
    record = _record_of(name) or _Record(0, value)
    # A value that the user entered stays in the same widget, so that it keeps the focus.
    if record.is_removed or (not record.from_user and record.value != value):
        record = replace(record, serial=record.serial + 1)
    st.session_state[name + _RECORD_SUFFIX] = _Record(record.serial, value)
    key = _current_key(name)
    # Setting a value that is already there would erase what is being typed right now.
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return key


def on_user_change(name: str, callback: Callable[..., None], *args: Any) -> None:
    """Call ``callback`` if the user has changed the widget; for ``on_change``.

    The browser also reports values that an aborted rerun has set, as if they were new. Those are
    ignored: applying them would undo the action that aborted the rerun.
    """
    record = _record_of(name)
    if record is not None and record.is_removed:
        return
    if record is None or record.from_user or current_value(name) != record.value:
        callback(*args)


def consume_value(name: str) -> Any:
    """Return what the user entered; for callbacks of :func:`on_user_change`."""
    record = _record_of(name)
    if record is not None:
        st.session_state[name + _RECORD_SUFFIX] = _Record(record.serial, None, from_user=True)
    return current_value(name)


def current_value(name: str) -> Any:
    """Return the widget's value; None if it is not on the page."""
    return st.session_state.get(_current_key(name))


def forget_widgets(*prefixes: str) -> None:
    """Make widgets whose names start with these new ones next time; for a page without them.

    A browser forgets the value of a widget that leaves the page. The server does not if the widget
    is in a fragment that did not rerun, and would not set again what it believes to be there.
    """
    for key in [str(key) for key in st.session_state if str(key).endswith(_RECORD_SUFFIX)]:
        if key.startswith(prefixes):
            serial = st.session_state[key].serial
            st.session_state[key] = _Record(serial, None, is_removed=True)


def _record_of(name: str) -> _Record | None:
    record: _Record | None = st.session_state.get(name + _RECORD_SUFFIX)
    return record


def _current_key(name: str) -> str:
    record = _record_of(name)
    return f"{name}.{record.serial}" if record and record.serial else name


def bind_widget(
    name: str, value: object, callback: Callable[..., None], *args: object
) -> dict[str, Any]:
    """Return the arguments of a widget that shows ``value`` and calls ``callback`` on a change."""
    key = widget_key(name, value)
    return {"key": key, "on_change": on_user_change, "args": (name, callback, *args)}


# ---- widgets for fields of the view --------------------------------------------------------------


def _bind_field(
    field: str, value: object, convert: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """Return the arguments that bind a widget to a field of the view."""
    name = f"view.{field}"

    def write() -> None:
        entered = consume_value(name)
        change_view(**{field: entered if convert is None else convert(entered)})

    return bind_widget(name, value, write)


def choose_option(
    field: str,
    label: str,
    options: Sequence[T],
    value: T,
    name: Callable[[T], str] = str,
    help: str | None = None,  # noqa: A002 - Streamlit's word
    *,
    width: int | None = None,
) -> T:
    """Show a select box; its options are plain text.

    With a ``width`` in pixels only screen readers get the label.
    """
    if value not in options:
        return value
    look: dict[str, Any] = {} if width is None else {"width": width, **UNLABELLED}
    chosen: T = st.selectbox(
        label, options, format_func=name, help=help, **look, **_bind_field(field, value)
    )
    return chosen


def choose_options(
    field: str,
    label: str,
    options: Sequence[T],
    values: Sequence[T],
    name: Callable[[T], str] = str,
    placeholder: str | None = None,
    help: str | None = None,  # noqa: A002 - Streamlit's word
) -> tuple[T, ...]:
    """Show a list to choose several options from, in the order in which they are chosen."""
    chosen = st.multiselect(
        label,
        options,
        format_func=name,
        placeholder=placeholder,
        help=help,
        **_bind_field(field, list(values), tuple),
    )
    return tuple(chosen)


def choose_number(
    field: str,
    label: str,
    value: T,
    *,
    convert: Callable[[Any], Any] | None = None,
    optional: bool = False,
    **options: Any,
) -> T:
    """Show an input for a number, with the ``options`` of :func:`streamlit.number_input`.

    It is None if it is ``optional`` and left empty.
    """
    start: Any = None if optional else "min"
    options = {"step": 0.01, "format": "%.3f", "value": start} | options
    number: T = st.number_input(label, **options, **_bind_field(field, value, convert))
    return number


def choose_share(field: str, label: str, value: float, step: float) -> None:
    """Show an input in per cent for a share of 1; ``step`` is in per cent too."""
    choose_number(
        field,
        f"{label}, %",
        round(100 * value, 6),
        convert=lambda percent: min(max(round(percent / 100, 8), 1e-6), 1.0),
        step=step,
        min_value=0.01,
        max_value=100.0,
        format="%.2f",
    )


def choose_count(field: str, label: str, value: T, **options: Any) -> T:
    """Show an input for an integer of at least 0; see :func:`choose_number`."""
    options = {"min_value": 0} | options
    return choose_number(field, label, value, step=1, format=None, **options)


def choose_flag(field: str, label: str, value: bool, help: str | None = None) -> bool:  # noqa: A002
    """Show an on/off switch."""
    return st.toggle(label, help=help, **_bind_field(field, value))


def choose_segment(
    field: str,
    label: str,
    options: Sequence[T],
    value: T,
    name: Callable[[T], str] = str,
) -> T:
    """Show a row of buttons, one of which is on; for a few options that should all be visible."""
    st.segmented_control(
        label,
        options,
        format_func=name,
        label_visibility="collapsed",
        # A second click on the selected button must not turn it off.
        **_bind_field(field, value, lambda picked: value if picked is None else picked),
    )
    return value
