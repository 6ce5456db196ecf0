"""The form that plans a trial of a saved subset."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from dashboard.data.trial_processes import plan_trial
from dashboard.view.navigation import PageName, go_to
from dashboard.widgets import figures, notices
from dashboard.widgets.lazy_popover import close_popover, lazy_popover
from scoring.errors import VisnecError
from scoring.subsets.definitions import SubsetDefinition
from scoring.trials.plan import ControlKind, Measure
from scoring.workspace import Workspace

_DEFAULT_CONTROLS = ("random", "all")
_CONTROL_NAMES = {
    "random": "random samples of all scored",
    "band": "random samples inside its limits",
    "cluster": "random samples of the same clusters",
    "tokens": "random samples with the same number of answer tokens",
    "all": "the whole dataset",
}


def show_trial_form(workspace: Workspace, definition: SubsetDefinition) -> None:
    """Show a button that unfolds the form; a planned trial opens on the Trials page."""
    key = f"trial-form-{definition.name}"
    tooltip = "Plan a trial of this subset"
    with lazy_popover("Try", key, icon=":material/science:", tooltip=tooltip) as is_drawn:
        trial = _plan_trial(workspace, definition.name) if is_drawn else None
    if trial is not None:
        close_popover(key)
        go_to(PageName.TRIALS, trial=trial)


def _plan_trial(workspace: Workspace, name: str) -> str | None:
    """Show the form; return the name of the trial once one was planned."""
    st.text("Train a model on this subset and on controls, and compare them on questions.")
    with st.form(f"try-{name}", border=False):
        typed = st.text_input("Name of the trial", value=name, key=f"trial-name-{name}")
        options = _choose_options(name)
        pressed = st.form_submit_button("Plan this trial", type="primary")
    figures.show_caption("Nothing is trained before you start it on the Trials page.")
    if not pressed:
        return None
    try:
        with st.spinner("Comparing the dataset with the evaluation sets …"):
            plan_trial(workspace, typed.strip(), ["--subset", name, *options])
    except (VisnecError, OSError) as error:
        notices.show_problem(error, "The trial was not planned")
        return None
    return typed.strip()


def _choose_options(name: str) -> list[str]:
    """Show the fields; return the options of the command."""
    model = st.text_input(
        "Model",
        key=f"trial-model-{name}",
        placeholder="Hugging Face id or folder",
        help="Leave it empty to record results of trainings done elsewhere",
    )
    sets = st.text_area(
        "Evaluation sets",
        key=f"trial-sets-{name}",
        placeholder="/data/held-out.json:image\n/data/chat.json:text",
        help="One per line: a file of records or a workspace, and after a colon its name",
        height=80,
    )
    left, right = st.columns(2)
    primary = left.text_input(
        "Primary set", key=f"trial-primary-{name}", help="The set that conclusions are about"
    )
    measure = right.selectbox("Measure", get_args(Measure), key=f"trial-measure-{name}")
    controls = st.multiselect(
        "Compared with",
        get_args(ControlKind),
        _DEFAULT_CONTROLS,
        format_func=_CONTROL_NAMES.__getitem__,
        key=f"trial-controls-{name}",
    )
    values: dict[str, Any] = {"--model": model.strip(), "--primary": primary.strip()}
    values |= {"--measure": measure, "--controls": ",".join(controls)}
    left, middle, right = st.columns(3)
    values["--seeds"] = left.number_input("Seeds", 1, 100, 5, key=f"trial-seeds-{name}")
    epochs = middle.number_input("Epochs", 0.1, 100.0, 1.0, 0.5, key=f"trial-epochs-{name}")
    values["--budget"] = f"epochs={epochs:g}"
    values["--learning-rate"] = right.text_input(
        "Learning rate", "1e-4", key=f"trial-rate-{name}"
    ).strip()
    if st.checkbox("Train a LoRA adapter only", key=f"trial-lora-{name}"):
        values["--adapter"] = "lora"
    options = [f"{flag}={value}" for flag, value in values.items() if value != ""]
    return options + [f"--eval={line.strip()}" for line in sets.splitlines() if line.strip()]
