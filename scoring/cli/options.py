"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", help="The workspace folder.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON on stdout.")]
RunOption = Annotated[str | None, typer.Option("--run", help="Which run; the newest unless named.")]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        help="Blind baseline whose scores are meant. Default: none, or a run's first without it.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", help="Hugging Face id or folder of a vision-language model."),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        "--template",
        help="Chat template: own, llava_v1 or a Jinja file. Default: the model's own; llava_v1 "
        "for LLaVA models whose own marks no end of an answer.",
    ),
]
ChatTemplateKwargsOption = Annotated[
    str | None,
    typer.Option(
        "--chat-template-kwargs",
        metavar="JSON",
        help="Variables for the chat template as a JSON object, for example "
        "'{\"enable_thinking\": false}'. They belong to the run.",
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="float32, bfloat16 or float16. Default: float32 on a CPU, bfloat16 on a GPU.",
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="cpu, cuda, cuda:1, ... Default: a GPU if there.")
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Revision of the model on the hub.")
]
AllowRemoteOption = Annotated[
    bool,
    typer.Option(
        "--allow-remote",
        help="Fetch images behind http and https into the workspace, from public addresses only.",
    ),
]
MaxNewTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens",
        min=1,
        help="Length limit of a prediction, in tokens. Default: what the run's predictions began "
        "with, else 64.",
    ),
]
