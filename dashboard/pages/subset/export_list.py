"""The exports in the workspace: where they lie, whether they can be rebuilt, and their files."""

from __future__ import annotations

from pathlib import Path

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
from dashboard.pages.subset import export_diff
from dashboard.text import formatting
from dashboard.view.state import Key
from dashboard.widgets import figures, notices, poller
from scoring.errors import VisnecError
from scoring.exports.verify import verify_manifest
from scoring.workspace import Workspace

MAX_DOWNLOAD = 64 * 2**20
_MIME = {
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".txt": "text/plain",
    ".md": "text/plain",
    ".svg": "image/svg+xml",
}


def show(context: Context) -> None:
    """Draws every export with what can be done with it."""
    workspace = context.workspace
    exports, problems = read_exports(workspace)
    st.subheader("Exports", anchor=False)
    _show_jobs(workspace)
    if not exports and not problems:
        notices.show_empty(
            "Nothing is exported yet",
            "An export holds the records exactly as they came, and a manifest that rebuilds it "
            "byte for byte.",
        )
    for export in exports:
        _show_one(workspace, export)
    for problem in problems:
        notices.show_note("An export cannot be read", problem)
    export_diff.show(context, exports)


def _show_jobs(workspace: Workspace) -> None:
    """Exports at work, looked at again each second while there are any."""
    found = list_export_jobs(workspace.root)
    if not found:
        return
    running = any(job.state == "running" for job in found)
    st.fragment(_draw_jobs)(workspace, running)


def _draw_jobs(workspace: Workspace, was_running: bool) -> None:
    found = list_export_jobs(workspace.root)
    if was_running and not any(job.state == "running" for job in found):
        st.rerun()  # the list below has one more
    for place, job in enumerate(found):
        _draw_job(workspace, place, job)
    if was_running:
        poller.show("exports", 1.0)


def _draw_job(workspace: Workspace, place: int, job: ExportJob) -> None:
    said, does = st.columns([5, 1], vertical_alignment="center")
    with does:
        label = "Stop" if job.state == "running" else "Dismiss"
        if st.button(label, key=f"job-{place}", width="stretch"):
            if job.state == "running":
                job.request_stop()
                job.wait_for_end(1.0)
            else:
                dismiss_export_job(workspace.root, job)
            st.rerun()
    with said:
        if job.state == "running":
            figures.show_progress_bar(job.done / job.total if job.total else 0.0, _told(job))
        elif job.result is not None:
            n = formatting.plural(job.result.n_samples, "sample")
            facts = "\n".join([str(job.folder), *job.result.manifest.image_notes()])
            notices.show_done(f"Exported {n} of {job.name}", facts)
        elif job.state == "stopped":
            notices.show_note(f"The export of {job.name} was stopped", "Nothing of it was left.")
        else:
            notices.show_problem(VisnecError(job.error), f"{job.name} was not exported")


def _told(job: ExportJob) -> str:
    """Where an export at work stands."""
    if job.waiting:
        return f"{job.name} waits for another export of this workspace to end"
    if not job.total:
        return f"Exporting {job.name}: choosing the samples"
    left = f", {formatting.duration(job.seconds_left)} left" if job.seconds_left else ""
    return f"Exporting {job.name}: {job.done:,} of {job.total:,}{left}"


def _show_one(workspace: Workspace, export: ExportSummary) -> None:
    name = export.folder.name
    with st.container(border=True, key=f"export-of-{name}"):
        said, does = st.columns([3, 2], vertical_alignment="center")
        with said:
            subset, n_bytes = export.manifest.subset, sum(size for _, size in export.files)
            figures.show_named(
                name,
                f"subset {subset.name} · {export.manifest.format} · "
                f"{formatting.plural(export.n_samples, 'sample')}, {formatting.size(n_bytes)}"
                + _extras(export),
                str(export.folder),
            )
        with does, st.container(horizontal=True, horizontal_alignment="right"):
            pressed = st.button(
                "Verify",
                key=f"verify-{name}",
                icon=":material/verified:",
                help="Rebuilds the export from the workspace and compares every byte",
            )
            _show_files(name, export)
        if pressed:
            _verify(workspace, export)
        _show_verdict(export)


def _extras(export: ExportSummary) -> str:
    """What an export holds or changed beyond plain records."""
    manifest = export.manifest
    parts = [f"{formatting.plural(export.n_images, 'image')}"] if export.n_images else []
    if n := manifest.n_missing_images:
        parts.append(f"{formatting.plural(n, 'image')} missing")
    if manifest.derived:
        parts.append("derived: " + ", ".join(manifest.derived))
    return "".join(f" · {part}" for part in parts)


def _show_files(name: str, export: ExportSummary) -> None:
    with st.popover("Files", icon=":material/folder_open:"):
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
                st.text(f"{path.name}: {formatting.size(size)}, too large to send; it lies at")
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


def _verify(workspace: Workspace, export: ExportSummary) -> None:
    bar = st.progress(0.0, "Rebuilding …")

    def tell(what: str, done: int, total: int) -> None:
        bar.progress(min(done / total, 1.0) if total else 0.0, f"Rebuilding: {what}")

    try:
        report = verify_manifest(export.folder, workspace, tell)
    except (VisnecError, OSError) as error:
        verdict = ("problem", "This export differs", str(error))
    else:
        verdict = (
            "done",
            f"Verified: {formatting.plural(report.n_samples, 'sample')} rebuilt, "
            f"every byte the same",
            "\n".join((*report.changed_inputs, *report.notes)),
        )
    bar.empty()
    _verdicts()[export.folder] = (export.version, verdict)


def _verdicts() -> dict[Path, tuple[str, tuple[str, str, str]]]:
    """What verifying said in this session, with the version it was said of."""
    found: dict[Path, tuple[str, tuple[str, str, str]]] = st.session_state.setdefault(
        Key.VERIFIED, {}
    )
    return found


def _show_verdict(export: ExportSummary) -> None:
    version, verdict = _verdicts().get(export.folder, ("", None))
    if verdict is None or version != export.version:
        return
    kind, title, said = verdict
    if kind == "done":
        notices.show_done(title, said)
    else:
        notices.show_problem(VisnecError(said), title)
