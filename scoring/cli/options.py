"""Options that several commands share and that belong to no options dataclass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scoring.options import BASELINE_HELP, RUN_HELP

WORKSPACE_VARIABLE = "VISNEC_WORKSPACE"

WorkspaceOption = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        help="The workspace folder.",
        envvar=WORKSPACE_VARIABLE,
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON to stdout.", rich_help_panel="Output"),
]
RunOption = Annotated[str | None, typer.Option("--run", help=RUN_HELP)]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help=BASELINE_HELP,
    ),
]
AllowRemoteOption = Annotated[
    bool,
    typer.Option(
        "--allow-remote",
        help="Download the images of http and https URLs into the workspace, from public "
        "addresses only.",
    ),
]
MaxNewTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens",
        min=1,
        help="Longest prediction, in tokens. Default: the limit of the run's earlier predictions, "
        "else 64.",
        rich_help_panel="Predictions",
    ),
]
