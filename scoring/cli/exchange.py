"""The commands export-prompts and import-losses, for losses that another engine computes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.engine.baselines import REFERENCE, BaselineSettings
from scoring.errors import InputError
from scoring.models.options import ModelOptions
from scoring.option_descriptions import Option
from scoring.workspace import open_workspace

if TYPE_CHECKING:
    from scoring.models.hf import HfModel
    from scoring.runs.record import RunRecord

_PROBE = "Comparison with our own losses"


@dataclass(frozen=True, slots=True)
class LossOptions:
    """Which prompts losses are for, what is recorded of them and how they are checked."""

    prompts: Annotated[Path, Option("The folder that export-prompts wrote.")]
    run_id: Annotated[
        str | None, Option("Name of the run. Default: a digest of the files.", "--run")
    ] = None
    engine: Annotated[
        str, Option("What computed the losses, such as vllm-0.33; only recorded.")
    ] = "another engine"
    computed_in: Annotated[
        str, Option("The number format it computed in, such as bfloat16; only recorded.")
    ] = ""
    tokens: Annotated[bool, Option("Also keep the loss of every answer token.")] = False
    probe: Annotated[
        int,
        Option(
            "Score this many samples with the model here and refuse the files if a loss differs.",
            panel=_PROBE,
            min=0,
        ),
    ] = 0
    tolerance: Annotated[
        float,
        Option(
            "The largest difference of a sample's mean loss, in nats per answer token.",
            panel=_PROBE,
        ),
    ] = 0.05
    template: Annotated[
        str | None,
        Option("The Jinja file that the prompts were exported with, if any.", panel=_PROBE),
    ] = None
    dtype: Annotated[str | None, Option("As in score, for the model here.", panel=_PROBE)] = None
    device: Annotated[str | None, Option("As in score, for the model here.", panel=_PROBE)] = None


def export_prompts(
    workspace: WorkspaceOption,
    model: ModelOptions,
    baselines: BaselineSettings,
    to: Annotated[Path, Option("Folder to write.")],
    limit: Annotated[
        int | None,
        Option(
            "Export the first samples only, in the order of score --limit: that of the dataset, "
            "but with the samples of an image together.",
            min=1,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the prompts of both passes for another engine; run the command again to resume."""
    from scoring.exchange import prompt_export
    from scoring.models import load_prompt_encoder

    opened = open_workspace(workspace)
    console.show_message(f"Loading {model.name} without its weights")
    encoder = load_prompt_encoder(**asdict(model))
    kept = "Complete parts are kept; run the same command to resume."
    interrupted = console.exit_on_interrupt(lambda: kept)
    with interrupted, console.count_progress("Writing prompts (samples)") as show:
        export = prompt_export.export_prompts(
            opened, encoder, to, baselines=baselines, limit=limit, on_progress=show
        )
    console.show_statuses(
        "Samples; those that are pending have prompts", {"samples": export.statuses}
    )
    if baselines.primary == REFERENCE:
        console.show_warning(
            "In the pass text, no token may attend to those at masked_positions. vLLM and other "
            "engines that take no attention mask cannot compute these losses."
        )
    console.show_message(f"Next: compute the losses of {to / 'prompts'}, then")
    console.show_message(
        f"visnec import-losses LOSSES -w {quote(str(workspace))} --prompts {quote(str(to))} "
        "--probe 32"
    )
    if json:
        console.print_json(asdict(export))


def import_losses(
    files: Annotated[
        list[Path],
        Option(
            "Parquet or JSON lines, or folders of these, with row_idx, pass, and losses, logprobs "
            "or loss; CSV for means.",
            metavar="FILE...",
            is_argument=True,
        ),
    ],
    workspace: WorkspaceOption,
    options: LossOptions,
    json: JsonOption = False,
) -> None:
    """Import the losses that another engine computed for exported prompts, as a run."""
    from scoring.exchange import loss_import, prompt_export

    opened, model = open_workspace(workspace), None
    if options.probe:
        model = _load_probe(prompt_export.read_prompt_export(options.prompts).record, options)
    report = loss_import.import_losses(
        opened,
        files,
        options.prompts,
        run_id=options.run_id,
        engine=options.engine,
        dtype=options.computed_in,
        tokens=options.tokens,
        model=model,
        probe=options.probe,
        tolerance=options.tolerance,
    )
    if report.already:
        console.show_message("These files are already imported; nothing was changed.")
    console.show_statuses(f"Run {report.run_id}", {"samples": report.statuses})
    console.show_issues("Not imported", report.findings)
    if report.probe is None:
        console.show_warning(
            "The losses were not compared with those of the model. --probe 32 scores 32 samples "
            "here and refuses losses that differ."
        )
    else:
        console.show_message(
            f"{report.probe['n']:,} samples were scored here: their losses differ by at most "
            f"{report.probe['largest_difference']:.6f} nats"
        )
    if json:
        console.print_json(asdict(report))


def _load_probe(record: RunRecord, options: LossOptions) -> HfModel:
    """Load the model that the prompts are for."""
    from scoring.models import load_model

    if options.template is None and record.template.startswith("file:"):
        raise InputError(
            f"The prompts use a template file ({record.template}). Pass that file with --template."
        )
    console.show_message(f"Loading {record.model}")
    return load_model(
        record.model,
        template=options.template or record.template,
        chat_template_kwargs=record.chat_template_kwargs,
        score_eos=record.score_eos is not False,
        dtype=options.dtype,
        device=options.device,
        revision=record.revision,
        image_processor=record.image_processor_backend,
        adapter=record.adapter,
        quantization=record.quantization,
        device_map=record.device_map,
    )
