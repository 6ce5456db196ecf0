"""Options that several commands share and that belong to no options dataclass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
RunOption = Annotated[
    str | None, typer.Option("--run", help="The run to use. Default: the newest.")
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="Blind baseline whose scores are used. Default: none, or the first baseline of a run "
        "without it.",
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
