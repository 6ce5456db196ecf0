"""The commands demo, dashboard and status."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Annotated

from scoring.cli import console
from scoring.cli.commands import WORKSPACE_VARIABLE, JsonOption, WorkspaceOption
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.samples import Status
from scoring.workspace import Workspace, open_workspace
from visnec_studio import describe_conflict

_FIRST_PORT = 8501
_PORTS = 100  # that are tried from there

PortOption = Annotated[
    int | None,
    Option(
        f"Port; 0: any free one. Default: {_FIRST_PORT}, or the next one that is free.",
        min=0,
        max=65535,
    ),
]


def demo(
    workspace: Annotated[
        Path,
        Option("Folder of the demo workspace.", "--workspace -w", envvar=WORKSPACE_VARIABLE),
    ] = Path("demo"),
    serve: Annotated[
        bool, Option("Open the dashboard when it is built.", "--serve/--no-serve")
    ] = True,
    port: PortOption = None,
) -> None:
    """Build the demo workspace from the bundled data and model, and serve the dashboard."""
    from scoring.demo.build import build_demo

    with console.stop_on_interrupt() as stop, console.run_progress() as show:
        built = build_demo(workspace, on_message=console.show_message, on_progress=show, stop=stop)
    if stop.is_set():
        console.stop_command()
    if serve:
        _serve_workspace(built, port)
    else:
        console.show_message(
            "The demo workspace is ready. Open it with: "
            f"visnec dashboard -w {quote(str(workspace))}"
        )
        console.print_line(str(built.root))


def dashboard(workspace: WorkspaceOption, port: PortOption = None) -> None:
    """Serve the dashboard of a workspace on this machine (127.0.0.1)."""
    _serve_workspace(open_workspace(workspace), port)


def status(workspace: WorkspaceOption, json: JsonOption = False) -> None:
    """Show what is in a workspace: dataset, runs, progress, statuses, decisions, subsets."""
    from scoring.dataset.records import count_statuses
    from scoring.workspace_summary import read_status

    opened = open_workspace(workspace)
    contents = read_status(opened)
    if json:
        console.print_json(contents)
        return
    info = contents["dataset"]
    files = ", ".join(file["name"] for file in info["files"])
    console.print_text(f"{info['n_samples']:,} samples from {files}")
    runs = contents["runs"]
    if runs:
        columns = ["run", "model", "state", "done", "total", "samples/s", "left"]
        rows = [
            (
                *(run[name] for name in ("run_id", "model", "state", "done", "total")),
                f"{run['rate']:,.1f}" if run["rate"] else "",
                f"{run['seconds_left'] / 60:,.0f} min" if run["seconds_left"] else "",
            )
            for run in runs
        ]
        console.STDOUT.print(console.make_table("Runs", columns, rows))
    else:
        counts = [
            ("to score" if name == Status.PENDING else name, n)
            for name, n in sorted(count_statuses(opened)[0].items())
        ]
        table = console.make_table("Statuses", ["status", "samples"], counts)
        console.STDOUT.print(table)
        console.print_text(
            "Runs: none yet. Score the dataset with: "
            f"visnec score -w {quote(str(workspace))} --model MODEL --predict"
        )
    for run in runs:
        statuses = sorted(run["statuses"].items())
        console.STDOUT.print(
            console.make_table(f"Statuses of {run['run_id']}", ["status", "samples"], statuses)
        )
        if of_edits := run["edits"]:
            console.print_text(
                f"{run['run_id']} is a run of edits: {of_edits['samples']:,} edited samples, "
                f"{of_edits['stale']:,} of them with an edit that was replaced or undone since"
            )
        for scores in run["scores"]:
            console.print_text(f"Scores of {run['run_id']}, {scores['baseline']}: {scores['text']}")
            if scores["problem"]:
                console.print_text(scores["problem"])
        if run["image_use"] and run["image_use"]["problem"]:
            console.print_text(run["image_use"]["problem"])
    if reviewers := contents["reviewers"]:
        decisions = [tuple(reviewer.values()) for reviewer in reviewers]
        console.STDOUT.print(console.make_table("Decisions", list(reviewers[0]), decisions))
    n_edited, n_left = contents["edits"].values()
    if n_edited:
        remedy = f", {n_left:,} to score with visnec score --edited" if n_left else ", all scored"
        console.print_text(f"Edited samples: {n_edited:,}{remedy}")
    if columns := contents["columns"]:
        rows = [
            (item["name"], f"{item['type']} per {item['per']}", item["n_values"], item["file"])
            for item in columns
        ]
        titles = ["column", "type", "samples with a value", "file"]
        console.STDOUT.print(console.make_table("Columns", titles, rows))
    console.print_text(f"Subsets: {', '.join(contents['subsets']) or 'none yet'}")
    if trials := contents["trials"]:
        states = [
            f"{each['name']} ({each['done']} of {each['total']} trainings)" for each in trials
        ]
        console.print_text(f"Trials: {', '.join(states)}")


def _serve_workspace(workspace: Workspace, requested: int | None) -> None:
    if message := describe_conflict("dashboard"):
        raise InputError(message)
    from dashboard.server.serve import serve

    port = _choose_port(requested)
    if requested is None and port != _FIRST_PORT:
        console.show_message(f"Port {_FIRST_PORT} is in use; serving on {port}")
    console.show_message(f"Serving the dashboard of {workspace.root}; press Ctrl-C to stop")
    console.print_line(f"http://127.0.0.1:{port}")
    serve(workspace.root, port)


def _choose_port(requested: int | None) -> int:
    """Return a requested port, any for 0, or the first free one from 8501; raise InputError."""
    first = range(_FIRST_PORT, _FIRST_PORT + _PORTS)
    for port in first if requested is None else [requested]:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as probe:
            return int(probe.getsockname()[1])
    if requested is None:
        raise InputError(f"The ports {first[0]} to {first[-1]} are in use. Name one with --port.")
    raise InputError(
        f"Port {requested} cannot be used: another program, perhaps another dashboard, listens on "
        "it, or it is reserved. Stop that program, name another --port, or leave --port out for "
        "the next free one."
    )
