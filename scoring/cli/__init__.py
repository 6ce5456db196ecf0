"""The ``visnec`` command: thin calls into the library, and the only code that prints.

Data goes to stdout, messages to stderr. The exit code is 0 only when everything was done, 2 for
wrong usage or input that the message explains, 130 for Ctrl-C.
"""

from __future__ import annotations

import errno
import sys
from typing import Annotated, Any

import typer
from typer.main import get_command

from scoring import __version__
from scoring.cli import (
    columns,
    compare,
    doctor,
    duplicates,
    edits,
    evaluate,
    exchange,
    export,
    import_dataset,
    maps,
    predict,
    push,
    score,
    serve,
    subsets,
    trial_plan,
    trial_report,
    trial_run,
)
from scoring.cli.commands import add_command
from scoring.cli.console import print_line, show_error
from scoring.errors import InputError, VisnecError

app = typer.Typer(
    name="visnec",
    help="Find the samples of a multimodal instruction dataset that really need their image.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print_line(f"visnec {__version__}")
        raise typer.Exit


@app.callback()
def show_version(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Find the samples of a multimodal instruction dataset that really need their image."""


_COMMANDS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "Start": (
        ("demo", serve.demo, "visnec demo", "visnec demo --no-serve -w demo"),
        ("dashboard", serve.dashboard,
         "visnec dashboard -w work", "visnec dashboard -w work --port 0"),
        ("status", serve.status, "visnec status -w work", "visnec status -w work --json"),
        ("doctor", doctor.doctor, "visnec doctor", "visnec doctor --json"),
    ),
    "Data": (
        ("import", import_dataset.import_data,
         "visnec import llava_v1_5_mix665k.json -w work --images /data/llava",
         "visnec import finevision.parquet -w work --columns '*_ratings,*_min,source' --dry-run"),
        ("relocate", import_dataset.relocate,
         "visnec relocate -w work --images /old/images=/new/images",
         "visnec relocate -w work --images /data/coco"),
        ("index-images", import_dataset.index_images,
         "visnec index-images -w work", "visnec index-images -w work --json"),
        ("import-columns", columns.import_columns,
         "visnec import-columns clip.parquet -w work --on id --prefix clip_",
         "visnec import-columns -w work --remove clip_score"),
        ("disagreements", columns.disagreements,
         "visnec disagreements clip -w work --high column",
         "visnec disagreements rating.mean -w work --only source:charts --limit 200 --json"),
        ("suspects", columns.suspects,
         "visnec suspects -w work", "visnec suspects -w work --column clip --limit 200 --json"),
        ("find-duplicates", duplicates.find_duplicates,
         "visnec find-duplicates -w work --questions",
         "visnec find-duplicates -w work --samples --threshold 0.6 --json"),
        ("check-leakage", duplicates.check_leakage,
         "visnec check-leakage -w work --benchmark mmmu.parquet --benchmark vqa=v.json --max 0.01",
         "visnec check-leakage -w work --benchmark ./benchmark-workspace --questions-only --json"),
        ("map", maps.make_map,
         "visnec map -w work",
         "visnec map -w work --images-by facebook/dinov2-small --method umap"),
        ("build", score.build, "visnec build -w work", "visnec build -w work --json"),
    ),
    "Scores": (
        ("score", score.score,
         "visnec score -w work --model llava-hf/llava-1.5-7b-hf --predict",
         "visnec score -w work --model Qwen/Qwen2.5-VL-3B-Instruct --run qwen --limit 1000"),
        ("predict", predict.predict,
         "visnec predict -w work --run qwen --turns all",
         'visnec predict -w work --only "category:misaligned source:charts"'),
        ("import-scores", import_dataset.import_scores,
         "visnec import-scores visnec.csv -w work --baseline reference --model llava-1.5-7b",
         "visnec import-scores scores.csv.gz -w work --run elsewhere --no-check"),
        ("export-scores", export.export_scores,
         "visnec export-scores -w work --to scores.csv",
         "visnec export-scores -w work --run qwen --format parquet --per turn --to turns.parquet"),
        ("export-prompts", exchange.export_prompts,
         "visnec export-prompts -w work --model Qwen/Qwen2.5-VL-72B-Instruct --to prompts",
         "visnec export-prompts -w work --model tiny-vlm --to prompts --limit 1000"),
        ("import-losses", exchange.import_losses,
         "visnec import-losses losses.parquet -w work --prompts prompts --engine vllm-0.33",
         "visnec import-losses losses.parquet -w work --prompts prompts --probe 32"),
        ("evaluate", evaluate.evaluate,
         "visnec evaluate -w work",
         "visnec evaluate big=seen.jsonl --blind blind.jsonl -w work --measure letter"),
        ("compare", compare.compare,
         "visnec compare step-1000 step-2000 step-3000 -w work",
         "visnec compare base/none tuned/none -w work --only source:charts --to changes.csv"),
    ),
    "Subsets and exports": (
        ("cluster", subsets.cluster,
         "visnec cluster -w work --k 20",
         "visnec cluster -w work --sweep 10,20,20:7,30 --share 0.15"),
        ("select", subsets.select,
         "visnec select -w work --name aligned --rule drop-misaligned --text-only keep",
         "visnec select -w work --name drawn --rule band --min 0.25 --share 0.15 --per cluster"),
        ("stability", subsets.stability,
         "visnec stability keep15 -w work",
         "visnec stability keep15 -w work --draws 200 --to inclusion.csv"),
        ("diff", subsets.diff,
         "visnec diff keep15 random15 -w work",
         "visnec diff a/manifest.json b/manifest.json -w work --json --rows"),
        ("edit", edits.edit,
         'visnec edit 17 -w work --answer "Two dogs" --reason wrong_answer --reviewer ada',
         "visnec edit 17 -w work --drop 2 --reviewer ada"),
        ("edits", edits.edits,
         "visnec edits -w work", "visnec edits -w work --conflicts --json"),
        ("export", export.export,
         "visnec export keep15 -w work --images copy --card --to keep15",
         "visnec export weighted -w work --format parquet --weights column"),
        ("verify", export.verify,
         "visnec verify work/exports/keep15/manifest.json",
         "visnec verify keep15/manifest.json -w work"),
        ("push", push.push,
         "visnec push keep15 -w work --to me/keep15 --private",
         "visnec push keep15 -w work --to me/keep15-ids --ids-only"),
    ),
    "Trials": (
        ("trial plan", trial_plan.plan,
         "visnec trial plan first -w work --subset keep15 --model ./small-vlm --eval held-out.json",
         "visnec trial plan t2 -w work --subset keep15 --controls random,all --eval qa.json:image "
         "--eval chat.json:text --primary image"),
        ("trial run", trial_run.run,
         "visnec trial run first -w work",
         "visnec trial run first -w work --workers 2 --keep-models"),
        ("trial report", trial_report.report,
         "visnec trial report first -w work",
         "visnec trial report first -w work --markdown first.md --plot first.svg"),
        ("trial record", trial_report.record,
         "visnec trial record first -w work results.csv",
         "visnec trial record first -w work 20260101_results.json --arm keep15 --seed 1 "
         "--export keep15"),
    ),
}  # fmt: skip
"""Name, function and two examples of each command, by the panel of ``visnec --help``."""
_GROUPS = {"trial": ("Trials", "Train on subsets and on controls, and report what that shows.")}
"""Panel and help of commands that consist of several, such as ``visnec trial plan``."""

_apps = {"": app}
for _group, (_panel, _help) in _GROUPS.items():
    _apps[_group] = typer.Typer(
        help=_help, no_args_is_help=True, context_settings=app.info.context_settings
    )
    app.add_typer(_apps[_group], name=_group, rich_help_panel=_panel)
for _panel, _commands in _COMMANDS.items():
    for _name, _function, *_examples in _commands:
        _group, _, _verb = _name.rpartition(" ")
        add_command(_apps[_group], _verb, _function, *_examples, panel=_panel)


def list_commands() -> dict[str, Any]:
    """Return all commands by name, such as ``trial plan``, in the order of ``visnec --help``."""
    commands: dict[str, Any] = {}
    group: Any = get_command(app)
    for name, command in group.commands.items():
        parts: dict[str, Any] = getattr(command, "commands", {})
        commands |= {f"{name} {part}": each for part, each in parts.items()} or {name: command}
    return commands


_PERMISSION_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Run the ``visnec`` command."""
    try:
        app(prog_name="visnec")
    except VisnecError as error:
        show_error(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if not (message := doctor.explain_missing_module(error)):
            raise
        show_error(message)
        sys.exit(InputError.exit_code)
    except OSError as error:
        if error.errno not in (*_PERMISSION_ERRORS, *_DISK_ERRORS):
            raise
        is_denied = error.errno in _PERMISSION_ERRORS
        remedy = "Check its permissions" if is_denied else "Free some space or check the disk"
        show_error(
            f"Cannot write or read {error.filename or 'a file'}: {error.strerror}. {remedy}, then "
            "run the command again; finished work is kept."
        )
        sys.exit(InputError.exit_code if is_denied else VisnecError.exit_code)
