"""Widgets bound to the view: a value set from elsewhere gives a new widget."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

SCRIPT = """
import streamlit as st
from dashboard.view import url_widgets

value = st.session_state.setdefault("value", 1.0)
st.number_input("Cut", key=url_widgets.widget_key("cut", value), on_change=lambda: take_change())
st.button("Report again", on_click=lambda: take_change())
st.button("Elsewhere", on_click=lambda: st.session_state.update(value=5.0))

def take_change():
    url_widgets.on_user_change("cut", take)

def take():
    st.session_state["taken"] = st.session_state.get("taken", 0) + 1
    # Like the view, which rounds an input to a valid value.
    st.session_state["value"] = round(url_widgets.consume_value("cut"))
"""


def test_a_widget_gets_a_new_key_only_for_values_set_from_elsewhere() -> None:
    app = AppTest.from_string(SCRIPT).run()
    (cut,) = app.number_input
    assert (cut.key, cut.value) == ("cut", 1.0)

    (cut,) = cut.set_value(2.4).run().number_input
    assert (cut.key, cut.value) == ("cut", 2.0)

    (cut,) = app.button[1].click().run().number_input
    assert (cut.key, cut.value) == ("cut.1", 5.0)

    (cut,) = cut.set_value(7.0).run().number_input
    assert (cut.key, cut.value) == ("cut.1", 7.0)
    assert not app.exception


def test_the_value_of_a_replaced_widget_changes_nothing() -> None:
    """A browser that never received the new widget sends the old one's value."""
    app = AppTest.from_string(SCRIPT).run()
    app.button[1].click().run()
    app.session_state["cut"] = 1.0
    (cut,) = app.run().number_input
    assert (cut.key, cut.value) == ("cut.1", 5.0)


def test_a_rerun_without_changes_keeps_what_is_being_typed() -> None:
    """Only a value that is set is sent, and replaces the input."""
    app = AppTest.from_string(SCRIPT).run()
    assert app.run().number_input[0].proto.set_value is False
    app.number_input[0].set_value(2.4).run()
    assert app.number_input[0].proto.set_value is True  # rounded to 2.0
    assert app.run().number_input[0].proto.set_value is False


def test_a_value_set_by_an_aborted_rerun_is_not_a_user_input() -> None:
    """The browser reports it as new if the server never recorded it."""
    app = AppTest.from_string(SCRIPT).run()
    app.button[1].click().run()
    app.button[0].click().run()
    assert "taken" not in app.session_state

    app.number_input[0].set_value(7.0).run()
    assert app.session_state["taken"] == 1


def test_a_widget_that_was_removed_comes_back_as_a_new_one() -> None:
    app = AppTest.from_string(
        """
import streamlit as st
from dashboard.view import url_widgets

@st.fragment
def inner():
    url_widgets.choose_number("cut", "Cut", 0.5)

url_widgets.choose_number("low", "Low", 0.0)
if st.checkbox("away"):
    url_widgets.forget_widgets("view.cut")
else:
    inner()
"""
    ).run()
    low, cut = (one.proto.id for one in app.number_input)
    app.checkbox[0].check().run()
    app.number_input[0].set_value(-1.0).run()  # the other one still works
    assert dict(app.query_params)["low"] == "-1.0"
    app.checkbox[0].uncheck().run()
    assert app.number_input[0].proto.id == low
    assert app.number_input[1].proto.id != cut
    assert app.number_input[1].proto.set_value is True
    assert app.number_input[1].value == 0.5
