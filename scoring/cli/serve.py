"""Commands that show: demo, dashboard, status, doctor."""

from __future__ import annotations

import platform
import socket
from dataclasses import asdict
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
    stop_on_interrupt,
)
from scoring.cli.options import JsonOption, WorkspaceOption
from scoring.errors import InputError
from scoring.runs.record import RunRecord
from scoring.workspace import Workspace, open_workspace

PortOption = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0: any free.")]


def demo(
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Where the demo workspace lies.")
    ] = Path("demo"),
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Open the dashboard when it is built.")
    ] = True,
    port: PortOption = 8501,
) -> None:
    """Build the demo workspace with the bundled data and model, and serve the dashboard."""
    from scoring.demo.build import build_demo

    with stop_on_interrupt() as stop, run_progress("Demo") as show:
        place = build_demo(workspace, say=show_message, on_progress=show, stop=stop)
    if stop.is_set():
        show_message("Stopped; what was finished is kept. The same command goes on from there.")
        raise typer.Exit(130)
    if serve:
        _serve(place, port)
    else:
        show_message(f"The demo workspace is ready. Open it with: visnec dashboard -w {workspace}")
        print_line(str(place.root))


def dashboard(workspace: WorkspaceOption, port: PortOption = 8501) -> None:
    """Serve the dashboard of a workspace on this machine (127.0.0.1)."""
    _serve(open_workspace(workspace), port)


def status(workspace: WorkspaceOption, json: JsonOption = False) -> None:
    """What is in a workspace: dataset, runs, progress, statuses, decisions, subsets."""
    found = _status(open_workspace(workspace))
    if json:
        print_json(found)
        return
    info = found["dataset"]
    files = ", ".join(file["name"] for file in info["files"])
    print_text(f"{info['n_samples']:,} samples from {files}")
    runs = [
        (
            run["run_id"],
            run["model"],
            run["state"],
            run["done"],
            run["total"],
            f"{run['rate']:,.1f}" if run["rate"] else "",
            f"{run['seconds_left'] / 60:,.0f} min" if run["seconds_left"] else "",
        )
        for run in found["runs"]
    ]
    if runs:
        columns = ["run", "model", "state", "done", "total", "samples/s", "left"]
        STDOUT.print(make_table("Runs", columns, runs))
    for run in found["runs"]:
        rows = sorted(run["statuses"].items())
        STDOUT.print(make_table(f"Statuses of {run['run_id']}", ["status", "samples"], rows))
    if found["reviewers"]:
        rows = [tuple(item.values()) for item in found["reviewers"]]
        STDOUT.print(make_table("Decisions", list(found["reviewers"][0]), rows))
    print_text(f"Subsets: {', '.join(found['subsets']) or 'none yet'}")


def doctor(json: JsonOption = False) -> None:
    """What this machine can do: Python, torch, device, dtype, memory, model cache."""
    found = _machine()
    if json:
        print_json(found)
        return
    for name, value in found.items():
        print_text(f"{name:18} {value}")


def _serve(place: Workspace, port: int) -> None:
    from dashboard.server.serve import serve

    chosen = _free_port(port)
    if chosen != port and port:
        show_message(f"Port {port} is taken; serving on {chosen} instead")
    show_message(f"The dashboard of {place.root}; Ctrl-C stops it")
    print_line(f"http://127.0.0.1:{chosen}")
    serve(place.root, chosen)


def _free_port(wanted: int) -> int:
    """``wanted`` where it is free, else one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError("no free port on 127.0.0.1; name one with --port")


def _status(place: Workspace) -> dict[str, Any]:
    from scoring.dataset.records import read_dataset_info
    from scoring.reviews.decisions import read_events
    from scoring.reviews.resolution import latest_decisions, reviewer_progress
    from scoring.runs.progress import read_progress
    from scoring.runs.record import list_runs
    from scoring.subsets.definitions import list_subsets

    runs = []
    for run in list_runs(place):
        if run.imported_from:
            runs.append(_imported_status(place, run))
            continue
        progress = read_progress(place, run.run_id)
        runs.append(
            {
                "run_id": run.run_id,
                "model": run.model,
                "state": f"{progress.phase} {progress.state}" if progress else "not begun",
                "done": progress.done if progress else 0,
                "total": progress.total if progress else 0,
                "rate": progress.rate if progress else 0.0,
                "seconds_left": progress.seconds_left if progress else None,
                "processes": progress.n_processes if progress else 0,
                "sources": progress.sources if progress else {},
                "statuses": progress.statuses if progress else {},
            }
        )
    progress_by_reviewer = reviewer_progress(latest_decisions(read_events(place)))
    return {
        "dataset": asdict(read_dataset_info(place)),
        "runs": runs,
        "reviewers": [asdict(item) for item in progress_by_reviewer],
        "subsets": [subset.name for subset in list_subsets(place)],
    }


def _imported_status(place: Workspace, run: RunRecord) -> dict[str, Any]:
    from scoring.exchange.imported_scores import read_import_report

    report = read_import_report(place, run.run_id)
    return {
        "run_id": run.run_id,
        "model": run.model,
        "state": "imported",
        "done": report.n_samples,
        "total": report.n_samples,
        "rate": 0.0,
        "seconds_left": None,
        "processes": 0,
        "sources": {},
        "statuses": report.statuses,
    }


def _machine() -> dict[str, Any]:
    import os

    import torch
    import transformers
    from huggingface_hub.constants import HF_HUB_CACHE

    cuda = torch.cuda.is_available()
    found = {
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
        found["memory"] = f"{gib:.1f} GiB"
    return found
