"""The commands demo, dashboard, status and doctor."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from scoring import __version__
from scoring.cli.console import (
    STDOUT,
    make_table,
    print_json,
    print_line,
    print_text,
    run_progress,
    show_message,
    stop_command,
    stop_on_interrupt,
)
from scoring.cli.options import WORKSPACE_VARIABLE, JsonOption, WorkspaceOption
from scoring.errors import InputError
from scoring.workspace import Workspace, open_workspace

PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any free one.")]


def demo(
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace", "-w", help="Folder of the demo workspace.", envvar=WORKSPACE_VARIABLE
        ),
    ] = Path("demo"),
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Open the dashboard when it is built.")
    ] = True,
    port: PortOption = 8501,
) -> None:
    """Build the demo workspace from the bundled data and model, and serve the dashboard."""
    from scoring.demo.build import build_demo

    with stop_on_interrupt() as stop, run_progress("Demo") as show:
        built = build_demo(workspace, on_message=show_message, on_progress=show, stop=stop)
    if stop.is_set():
        stop_command()
    if serve:
        _serve_workspace(built, port)
    else:
        show_message(f"The demo workspace is ready. Open it with: visnec dashboard -w {workspace}")
        print_line(str(built.root))


def dashboard(workspace: WorkspaceOption, port: PortOption = 8501) -> None:
    """Serve the dashboard of a workspace on this machine (127.0.0.1)."""
    _serve_workspace(open_workspace(workspace), port)


def status(workspace: WorkspaceOption, json: JsonOption = False) -> None:
    """Show what is in a workspace: dataset, runs, progress, statuses, decisions, subsets."""
    from scoring.status import read_status

    contents = read_status(open_workspace(workspace))
    if json:
        print_json(contents)
        return
    info = contents["dataset"]
    files = ", ".join(file["name"] for file in info["files"])
    print_text(f"{info['n_samples']:,} samples from {files}")
    rows: list[tuple[Any, ...]] = [
        (
            run["run_id"],
            run["model"],
            run["state"],
            run["done"],
            run["total"],
            f"{run['rate']:,.1f}" if run["rate"] else "",
            f"{run['seconds_left'] / 60:,.0f} min" if run["seconds_left"] else "",
        )
        for run in contents["runs"]
    ]
    if rows:
        columns = ["run", "model", "state", "done", "total", "samples/s", "left"]
        STDOUT.print(make_table("Runs", columns, rows))
    for run in contents["runs"]:
        rows = sorted(run["statuses"].items())
        STDOUT.print(make_table(f"Statuses of {run['run_id']}", ["status", "samples"], rows))
    if reviewers := contents["reviewers"]:
        rows = [tuple(reviewer.values()) for reviewer in reviewers]
        STDOUT.print(make_table("Decisions", list(reviewers[0]), rows))
    print_text(f"Subsets: {', '.join(contents['subsets']) or 'none yet'}")


def doctor(json: JsonOption = False) -> None:
    """Show what this machine offers: Python, torch, device, dtype, memory, model cache."""
    facts = _describe_machine()
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        print_text(f"{name:18} {value}")


def _serve_workspace(workspace: Workspace, port: int) -> None:
    from dashboard.server.serve import serve

    free_port = _find_free_port(port)
    if free_port != port and port:
        show_message(f"Port {port} is in use; serving on {free_port} instead")
    show_message(f"Serving the dashboard of {workspace.root}; press Ctrl-C to stop")
    print_line(f"http://127.0.0.1:{free_port}")
    serve(workspace.root, free_port)


def _find_free_port(preferred: int) -> int:
    """Return ``preferred`` if it is free, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError("There is no free port on 127.0.0.1. Name one with --port.")


def _describe_machine() -> dict[str, Any]:
    import torch
    import transformers
    from huggingface_hub.constants import HF_HUB_CACHE

    cuda = torch.cuda.is_available()
    facts = {
        "visnec-studio": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name(0) if cuda else "cpu",
        "devices": torch.cuda.device_count() if cuda else 0,
        "default dtype": "bfloat16" if cuda else "float32",
        "cpu threads": torch.get_num_threads(),
        "model cache": HF_HUB_CACHE,
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        facts["memory"] = f"{gib:.1f} GiB"
    return facts
