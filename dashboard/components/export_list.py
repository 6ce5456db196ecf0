"""The exports in the workspace: where they lie, whether they can be rebuilt, and their files."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard import actions, text
from dashboard.components import figures, notices
from dashboard.export_facts import ExportFact, read_exports
from dashboard.state import Key
from scoring.errors import VisnecError
from scoring.workspace import Workspace

MAX_DOWNLOAD = 64 * 2**20
_MIME = {".json": "application/json", ".jsonl": "application/x-ndjson", ".txt": "text/plain"}


def show(workspace: Workspace) -> None:
    """Draws every export with what can be done with it."""
    exports, problems = read_exports(workspace)
    st.subheader("Exports", anchor=False)
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


def _show_one(workspace: Workspace, export: ExportFact) -> None:
    name = export.folder.name
    with st.container(border=True, key=f"export-of-{name}"):
        said, does = st.columns([3, 2], vertical_alignment="center")
        with said:
            subset, n_bytes = export.manifest.subset, sum(size for _, size in export.files)
            figures.show_named(
                name,
                f"subset {subset.name} · {export.manifest.format} · "
                f"{text.plural(export.n_samples, 'sample')}, {text.size(n_bytes)}",
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


def _show_files(name: str, export: ExportFact) -> None:
    with st.popover("Files", icon=":material/folder_open:"):
        for path, size in export.files:
            if size > MAX_DOWNLOAD:
                st.text(f"{path.name}: {text.size(size)}, too large to send; it lies at")
                st.code(str(path), language=None, wrap_lines=True)
                continue
            st.download_button(
                f"{path.name} ({text.size(size)})",
                data=path.read_bytes,
                file_name=f"{name}-{path.name}",
                mime=_MIME.get(path.suffix, "application/octet-stream"),
                key=f"download-{name}-{path.name}",
                on_click="ignore",
                width="stretch",
            )


def _verify(workspace: Workspace, export: ExportFact) -> None:
    bar = st.progress(0.0, "Rebuilding …")

    def tell(what: str, done: int, total: int) -> None:
        bar.progress(min(done / total, 1.0) if total else 0.0, f"Rebuilding: {what}")

    try:
        report = actions.verify_export(workspace, export.folder, tell)
    except (VisnecError, OSError) as error:
        verdict = ("problem", "This export differs", str(error))
    else:
        verdict = (
            "done",
            f"Verified: {text.plural(report.n_samples, 'sample')} rebuilt, every byte the same",
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


def _show_verdict(export: ExportFact) -> None:
    version, verdict = _verdicts().get(export.folder, ("", None))
    if verdict is None or version != export.version:
        return
    kind, title, said = verdict
    if kind == "done":
        notices.show_done(title, said)
    else:
        notices.show_problem(VisnecError(said), title)
