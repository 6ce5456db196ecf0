"""Exports: start one, and the list with progress, files, verification and comparison."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.exports import (
    ExportJob,
    ExportSummary,
    default_export_folder,
    dismiss_export_job,
    list_export_jobs,
    read_exports,
    start_export,
    zip_export,
)
from dashboard.data.subsets import read_export_diff
from dashboard.pages.subset import panels
from dashboard.pages.subset.export_form import choose_options
from dashboard.pages.subset.push import show_push
from dashboard.text import formatting
from dashboard.view.state import Key, View
from dashboard.widgets import figures, notices, page_frame, poller
from dashboard.widgets.lazy_popover import close_popover, lazy_popover
from scoring.columns.parts import list_columns
from scoring.errors import VisnecError
from scoring.exports.options import MANIFEST, ExportOptions
from scoring.exports.push import PushResult
from scoring.exports.verify import verify_manifest
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace

MAX_DOWNLOAD = 64 * 2**20
_MAX_VALUE = 60  # characters of a value in the comparison
_WAIT_SECONDS = 1.5  # a small export finishes before the page is drawn again
_MIME = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".svg": "image/svg+xml",
    ".yaml": "text/plain",
}


# ---- the options of an export --------------------------------------------------------------------


def show_export_popover(workspace: Workspace, definition: SubsetDefinition, section: str) -> None:
    """Show a button that unfolds the options; ``section`` shows the outcome of a short export."""
    key = f"export-options-{definition.name}"
    with lazy_popover("Export", key, icon=":material/download:") as is_drawn:
        if is_drawn and _show_options(workspace, definition, section):
            close_popover(key)
            st.rerun()


def _show_options(workspace: Workspace, definition: SubsetDefinition, section: str) -> bool:
    """Show the options of an export; return whether one was started."""
    name, root = definition.name, workspace.root
    columns = [column.name for column in list_columns(workspace)]
    chosen = choose_options(definition, columns)
    allow_missing = chosen.pop("allow_missing_images", False)
    default = default_export_folder(workspace, name, chosen["format"])
    typed = st.text_input(
        "Folder on this machine",
        key=f"export-to-{name}",
        placeholder=str(default),
        help="A new or empty folder, or an earlier export to replace",
    )
    folder = Path(typed).expanduser() if typed else default
    st.code(str(folder), language=None, wrap_lines=True)
    exists = (folder / MANIFEST).exists()
    label = "Replace the existing export" if exists else "Export now"
    if not st.button(label, key=f"export-{name}", type="primary"):
        return False
    try:
        options = ExportOptions(**chosen)
        job = start_export(workspace, definition, options, folder, exists, allow_missing)
    except (VisnecError, OSError) as error:
        notices.show_problem(error, "The export was not started")
        return False
    if job.wait_for_end(_WAIT_SECONDS) and job.state == "failed":
        dismiss_export_job(root, job)
        notices.show_notice("problem", "The export failed", job.error)
        return False
    if job.state == "done":
        dismiss_export_job(root, job)
        notices.set_message("done", *describe_result(job), section)
    return True


# ---- all exports, and those in progress ----------------------------------------------------------


def show_exports(context: Context) -> None:
    """Show every export with its actions."""
    workspace = context.workspace
    exports, problems = read_exports(workspace)
    st.subheader("Exports", anchor=False)
    jobs = list_export_jobs(workspace.root)
    if jobs:
        _show_jobs(workspace, any(job.state == "running" for job in jobs))
    if not exports and not problems:
        notices.show_empty(
            "No exports yet",
            "An export contains the original records and a manifest that rebuilds it byte for "
            "byte.",
        )
    for export in exports:
        with st.container(border=True, key=f"export-of-{export.folder.name}"):
            _show_export(workspace, export)
    for problem in problems:
        notices.show_note("Unreadable export", problem)
    if len(exports) >= 2:
        with st.expander("Compare two exports"):
            _compare_exports(exports)


@st.fragment
def _show_jobs(workspace: Workspace, was_running: bool) -> None:
    """Show the exports in progress; check again every second while one is running."""
    jobs = list_export_jobs(workspace.root)
    if was_running and not any(job.state == "running" for job in jobs):
        poller.rerun_page()  # the list below has one more
    for job in jobs:
        about, button = st.columns([5, 1], vertical_alignment="center")
        with about:
            _show_job(job)
        act: Callable[[], None] = partial(dismiss_export_job, workspace.root, job)
        if is_running := job.state == "running":
            if job.repository:  # a push cannot be stopped
                continue
            act = job.request_stop
        # A callback runs first of all: a run that is aborted before this line has stopped the job.
        label = "Stop" if is_running else "Dismiss"
        if button.button(label, key=f"job-{job.number}", on_click=act, width="stretch"):
            job.wait_for_end(1.0)
            st.rerun()
    if was_running:
        poller.rerun_every("exports", 1.0)


def _show_job(job: ExportJob) -> None:
    if job.state == "running":
        figures.show_progress_bar(job.done, job.total, describe_progress(job))
    elif job.state == "done":
        notices.show_notice("done", *describe_result(job))
    elif job.state == "stopped":
        notices.show_note(f"The export of {job.name} was stopped", "No files were kept.")
    else:
        verb = "pushed" if job.repository else "exported"
        notices.show_notice("problem", f"{job.name} was not {verb}", job.error)


def describe_result(job: ExportJob) -> tuple[str, str]:
    """Return title and text about a finished export or push."""
    result = job.result
    if result is None:
        return f"Exported {job.name}", ""
    if isinstance(result, PushResult):
        return f"Pushed {job.name} to {job.repository}", result.pushed.url
    lines = [str(job.folder), *result.manifest.image_notes()]
    if not result.manifest.n_listed:
        lines.insert(0, "The export is empty.")
    if trainer := result.manifest.options.trains_with:
        lines.append(f"Train with {trainer.title}: {result.start_command}")
    lines += result.manifest.use_notes()
    return f"Exported {result.manifest.describe_content()} of {job.name}", "\n".join(lines)


def describe_progress(job: ExportJob) -> str:
    """Return the progress of an export in words."""
    if job.repository:
        duration = formatting.duration(job.seconds_so_far)
        return f"Pushing {job.name} to {job.repository} for {duration}"
    if job.waiting:
        return f"{job.name} is waiting for another export of this workspace"
    if not job.total:
        return f"Exporting {job.name}: selecting samples"
    left = f", {formatting.duration(job.seconds_left)} left" if job.seconds_left else ""
    return f"Exporting {job.name}: {job.done:,} of {job.total:,}{left}"


# ---- finished exports ----------------------------------------------------------------------------


def _show_export(workspace: Workspace, export: ExportSummary) -> None:
    name, manifest = export.folder.name, export.manifest
    about, buttons = st.columns([3, 2], vertical_alignment="center")
    with about:
        content = manifest.describe_content()
        size = formatting.size(sum(n_bytes for _, n_bytes in export.files))
        details = [f"subset {manifest.subset.name}", manifest.format, f"{content}, {size}"]
        if export.n_images:
            details.append(formatting.plural(export.n_images, "image"))
        if n := manifest.n_missing_images:
            details.append(f"{formatting.plural(n, 'image')} missing")
        if manifest.derived:
            details.append("derived: " + ", ".join(manifest.name_derived()))
        figures.show_entry(name, " · ".join(details), str(export.folder))
    with buttons:
        _show_actions(workspace, export)
    verified = st.session_state.setdefault(Key.VERIFIED, {})
    version, outcome = verified.get(export.folder, ("", None))
    if version == export.version:
        if outcome is None:
            outcome = _verify_export(workspace, export)
            verified[export.folder] = (version, outcome)
        notices.show_notice(*outcome)


@st.fragment
def _show_actions(workspace: Workspace, export: ExportSummary) -> None:
    name = export.folder.name
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button(
            "Verify",
            key=f"verify-{name}",
            icon=":material/verified:",
            help="Rebuilds the export from the workspace and compares every byte",
            on_click=_request_verification,
            args=(export,),
        ):
            st.rerun()
        with lazy_popover("Files", f"files-{name}", icon=":material/folder_open:") as is_drawn:
            if is_drawn:
                _show_files(name, export)
        with lazy_popover("Push", f"push-form-{name}", icon=":material/cloud_upload:") as is_drawn:
            if is_drawn:
                show_push(workspace, export)


def _request_verification(export: ExportSummary) -> None:
    """Note that an export is to be verified.

    The outcome belongs to this session and this version of the export. It is None until the
    verification ends: if another action aborts it, it starts again.
    """
    st.session_state.setdefault(Key.VERIFIED, {})[export.folder] = (export.version, None)


def _show_files(name: str, export: ExportSummary) -> None:
    if export.n_bytes <= MAX_DOWNLOAD:
        st.download_button(
            f"All files ({formatting.size(export.n_bytes)})",
            data=lambda: zip_export(export),
            file_name=f"{name}.zip",
            mime="application/zip",
            key=f"download-all-{name}",
            on_click="ignore",
            type="primary",
            width="stretch",
        )
    for path, size in export.files:
        if size > MAX_DOWNLOAD:
            st.text(f"{path.name}: {formatting.size(size)}, too large to download. Stored at")
            st.code(str(path), language=None, wrap_lines=True)
            continue
        st.download_button(
            f"{path.name} ({formatting.size(size)})",
            data=path.read_bytes,
            file_name=f"{name}-{path.name}",
            mime=_MIME.get(path.suffix, "application/octet-stream"),
            key=f"download-{name}-{path.name}",
            on_click="ignore",
            width="stretch",
        )


def _verify_export(workspace: Workspace, export: ExportSummary) -> tuple[str, str, str]:
    """Rebuild an export; return the arguments of the notice about the outcome."""
    bar = st.progress(0.0, "Rebuilding …")

    def show_progress(step: str, done: int, total: int) -> None:
        bar.progress(min(done / total, 1.0) if total else 0.0, f"Rebuilding: {step}")

    try:
        report = verify_manifest(export.folder, workspace, show_progress)
    except (VisnecError, OSError) as error:
        return "problem", "This export differs", str(error)
    finally:
        bar.empty()
    content = report.manifest.describe_content()
    notes = "\n".join((*report.changed_inputs, *report.notes))
    return "done", f"Verified: {content} rebuilt, all bytes identical", notes


@page_frame.view_fragment()
def _compare_exports(context: Context, _view: View, exports: list[ExportSummary]) -> None:
    """Show which facts of two manifests differ and how far their samples agree."""
    by_name = {export.folder.name: export for export in exports}
    left, right, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    a = by_name[left.selectbox("Export A", list(by_name), key="export_a")]
    b = by_name[right.selectbox("Export B", list(by_name), index=1, key="export_b")]
    about = (a.folder, a.version, b.folder, b.version)
    if button.button("Compare", key="compare_exports", width="stretch"):
        st.session_state["export_diff"] = (about, None)
    compared, diff = st.session_state.get("export_diff", (None, None))
    if compared != about:
        return
    if diff is None:
        with (
            notices.show_problem_on_failure("These exports cannot be compared"),
            st.spinner("Selecting the samples of both …"),
        ):
            diff = read_export_diff(context, a.manifest, b.manifest)
            st.session_state["export_diff"] = (about, diff)
    if diff is None:
        return
    names = (a.folder.name, b.folder.name)
    facts, samples = diff
    panels.show_overlap(samples, names)
    if facts:
        rows = [(fact, _shorten(first), _shorten(second)) for fact, first, second in facts]
        figures.show_table(("Difference", *names), rows)
    else:
        figures.show_caption("Apart from the files, both manifests are the same.")


def _shorten(value: object) -> str:
    text = formatting.ABSENT if value is None else str(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"
