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
ImageProcessorOption = Annotated[
    str,
    typer.Option(
        "--image-processor",
        help="What resizes and normalises images: pil, torchvision, or auto, which is torchvision "
        "where that is installed. Scores differ slightly, so a run keeps to one.",
    ),
]
AdapterOption = Annotated[
    str | None,
    typer.Option("--adapter", help="Folder of a LoRA or other PEFT adapter (extra [adapters])."),
]
QuantizationOption = Annotated[
    str | None,
    typer.Option(
        "--quantization",
        help="Quantise the weights: bitsandbytes-4bit, bitsandbytes-8bit, quanto-int8, or a "
        "configuration of transformers as JSON. Needs that library (and extra [device-map]).",
    ),
]
DeviceMapOption = Annotated[
    str | None,
    typer.Option(
        "--device-map",
        help="Spread a model over devices (extra [device-map]): auto, balanced, balanced_low_0, "
        'sequential, or JSON such as {"": 0, "lm_head": "cpu"}.',
    ),
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
