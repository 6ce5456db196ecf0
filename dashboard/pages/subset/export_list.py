"""The exports of the workspace: progress, files, verification and comparison."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.exports import (
    ExportJob,
    ExportSummary,
    dismiss_export_job,
    list_export_jobs,
    read_exports,
    zip_export,
)
from dashboard.data.subsets import read_export_diff
from dashboard.pages.subset import comparison
from dashboard.text import formatting
from dashboard.view.state import Key
from dashboard.widgets import figures, notices, poller
from dashboard.widgets.figures import Table
from scoring.errors import VisnecError
from scoring.exports.verify import verify_manifest
from scoring.workspace import Workspace

MAX_DOWNLOAD = 64 * 2**20
_MAX_VALUE = 60  # characters of a value in the comparison
_MIME = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".svg": "image/svg+xml",
}


def show_exports(context: Context) -> None:
    """Show every export with its actions."""
    workspace = context.workspace
    exports, problems = read_exports(workspace)
    st.subheader("Exports", anchor=False)
    jobs = list_export_jobs(workspace.root)
    if jobs:
        running = any(job.state == "running" for job in jobs)
        st.fragment(_show_jobs)(workspace, running)
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
            _compare_exports(context, exports)


# ---- exports in progress -------------------------------------------------------------------------


def _show_jobs(workspace: Workspace, was_running: bool) -> None:
    """Show the exports in progress; check again every second while one is running."""
    jobs = list_export_jobs(workspace.root)
    if was_running and not any(job.state == "running" for job in jobs):
        st.rerun()  # the list below has one more
    for position, job in enumerate(jobs):
        _show_job(workspace, position, job)
    if was_running:
        poller.rerun_every("exports", 1.0)


def _show_job(workspace: Workspace, position: int, job: ExportJob) -> None:
    about, button = st.columns([5, 1], vertical_alignment="center")
    with button:
        label = "Stop" if job.state == "running" else "Dismiss"
        if st.button(label, key=f"job-{position}", width="stretch"):
            if job.state == "running":
                job.request_stop()
                job.wait_for_end(1.0)
            else:
                dismiss_export_job(workspace.root, job)
            st.rerun()
    with about:
        if job.state == "running":
            share = job.done / job.total if job.total else 0.0
            figures.show_progress_bar(share, describe_progress(job))
        elif job.result is not None:
            n_samples = formatting.plural(job.result.n_samples, "sample")
            details = "\n".join([str(job.folder), *job.result.manifest.image_notes()])
            notices.show_done(f"Exported {n_samples} of {job.name}", details)
        elif job.state == "stopped":
            notices.show_note(f"The export of {job.name} was stopped", "No files were kept.")
        else:
            notices.show_problem(VisnecError(job.error), f"{job.name} was not exported")


def describe_progress(job: ExportJob) -> str:
    """Return the progress of an export in words."""
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
        n_samples = formatting.plural(export.n_samples, "sample")
        size = formatting.size(sum(n_bytes for _, n_bytes in export.files))
        details = [f"subset {manifest.subset.name}", manifest.format, f"{n_samples}, {size}"]
        if export.n_images:
            details.append(formatting.plural(export.n_images, "image"))
        if n := manifest.n_missing_images:
            details.append(f"{formatting.plural(n, 'image')} missing")
        if manifest.derived:
            details.append("derived: " + ", ".join(manifest.derived))
        figures.show_entry(name, " · ".join(details), str(export.folder))
    with buttons, st.container(horizontal=True, horizontal_alignment="right"):
        pressed = st.button(
            "Verify",
            key=f"verify-{name}",
            icon=":material/verified:",
            help="Rebuilds the export from the workspace and compares every byte",
        )
        with st.popover("Files", icon=":material/folder_open:"):
            _show_files(name, export)
    if pressed:
        _verify_export(workspace, export)
    version, outcome = st.session_state.get(Key.VERIFIED, {}).get(export.folder, ("", None))
    if outcome is None or version != export.version:
        return
    kind, title, text = outcome
    if kind == "done":
        notices.show_done(title, text)
    else:
        notices.show_problem(VisnecError(text), title)


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


def _verify_export(workspace: Workspace, export: ExportSummary) -> None:
    """Verify an export and remember the outcome for this session and this version of it."""
    bar = st.progress(0.0, "Rebuilding …")

    def show_progress(step: str, done: int, total: int) -> None:
        bar.progress(min(done / total, 1.0) if total else 0.0, f"Rebuilding: {step}")

    try:
        report = verify_manifest(export.folder, workspace, show_progress)
    except (VisnecError, OSError) as error:
        outcome = ("problem", "This export differs", str(error))
    else:
        n_samples = formatting.plural(report.n_samples, "sample")
        notes = "\n".join((*report.changed_inputs, *report.notes))
        outcome = ("done", f"Verified: {n_samples} rebuilt, all bytes identical", notes)
    bar.empty()
    verified = st.session_state.setdefault(Key.VERIFIED, {})
    verified[export.folder] = (export.version, outcome)


# ---- two exports side by side --------------------------------------------------------------------


def _compare_exports(context: Context, exports: list[ExportSummary]) -> None:
    """Show which facts of two manifests differ and how far their samples agree."""
    by_name = {export.folder.name: export for export in exports}
    left, right, button = st.columns([2, 2, 1], vertical_alignment="bottom")
    with left:
        a = by_name[st.selectbox("Export A", list(by_name), key="export_a")]
    with right:
        b = by_name[st.selectbox("Export B", list(by_name), index=1, key="export_b")]
    with button:
        pressed = st.button("Compare", key="compare_exports", width="stretch")
    about = (a.folder, a.version, b.folder, b.version)
    if pressed:
        st.session_state.pop("export_diff", None)
        with (
            notices.show_problem_on_failure("These exports cannot be compared"),
            st.spinner("Selecting the samples of both …"),
        ):
            diff = read_export_diff(context, a.manifest, b.manifest)
            st.session_state["export_diff"] = (about, diff)
    compared, diff = st.session_state.get("export_diff", (None, None))
    if diff is None or compared != about:
        return
    facts, samples = diff
    names = (a.folder.name, b.folder.name)
    comparison.show_figures(samples, names)
    if facts:
        rows = [(fact, _shorten(first), _shorten(second)) for fact, first, second in facts]
        figures.show_table(Table(("Difference", *names), rows))
    else:
        figures.show_caption("Apart from the files, both manifests are the same.")


def _shorten(value: object) -> str:
    text = formatting.ABSENT if value is None else str(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"
