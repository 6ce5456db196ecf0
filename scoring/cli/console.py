"""Print messages, tables and progress bars to stderr, and data to stdout.

Messages go through ``logging``. They may quote a dataset, a file name or a person, so they are
never read as markup, and characters that would move the cursor, colour the terminal or change the
direction of reading are escaped.
"""

from __future__ import annotations

import json
import logging
import math
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import pandas as pd
import typer
from rich.console import Console, Group
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from scoring.option_descriptions import Option
from scoring.runs.progress import RunProgress

if TYPE_CHECKING:
    from scoring.engine.runner import RunSummary
    from scoring.workspace import Workspace

STDERR = Console(stderr=True, highlight=False, emoji=False)
STDOUT = Console(highlight=False, soft_wrap=True, emoji=False)
LOG = logging.getLogger("scoring")

# C0 and C1 except tab and line feed, direction marks and overrides, line separators, surrogates.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

_UNITS = ((86_400, "days"), (3600, "h"), (60, "min"))


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two."""
    for unit, name in _UNITS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.0f} s"


def escape_controls(text: str) -> str:
    """Return ``text`` with control characters escaped, as in \\x1b."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def escape_text(text: str) -> str:
    """Return ``text`` so that a console with markup shows it literally."""
    return escape(escape_controls(text))


class ConsoleHandler(logging.Handler):
    """Writes log records to stderr; the terminal wraps them, so paths can be copied whole."""

    _PREFIXES: Mapping[int, str] = {
        logging.DEBUG: "[dim]debug:[/] ",
        logging.WARNING: "[bold yellow]warning:[/] ",
        logging.ERROR: "[bold red]error:[/] ",
    }

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record, with its traceback if it has one."""
        prefix = self._PREFIXES.get(record.levelno, "")
        STDERR.print(prefix + escape_text(self.format(record)), soft_wrap=True)


LOG.addHandler(ConsoleHandler())
LOG.setLevel(logging.INFO)


def configure_output(
    verbose: Annotated[
        bool,
        Option(
            "Also print debug messages, and the traceback of an error.", "--verbose -v", "Output"
        ),
    ] = False,
    quiet: Annotated[
        bool,
        Option(
            "Print only warnings and errors to stderr, without progress bars.",
            "--quiet -q",
            "Output",
        ),
    ] = False,
) -> None:
    """Set which messages reach stderr; with ``quiet`` there are no tables and progress bars."""
    LOG.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


def show_message(text: str) -> None:
    """Print a message to stderr; other log handlers get it escaped as well."""
    LOG.info("%s", escape_controls(text))


def show_warning(text: str) -> None:
    """Print a warning to stderr."""
    LOG.warning("%s", escape_controls(text))


def show_error(text: str) -> None:
    """Print an error to stderr, with its traceback under ``--verbose``."""
    with_traceback = LOG.isEnabledFor(logging.DEBUG) and sys.exc_info()[0] is not None
    LOG.error("%s", escape_controls(text), exc_info=with_traceback)


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table to stderr, unless messages are off."""
    if LOG.isEnabledFor(logging.INFO):
        STDERR.print(make_table(title, columns, rows))


def print_text(text: str) -> None:
    """Print text for people to stdout."""
    STDOUT.print(escape_text(text))


def print_line(text: str) -> None:
    """Print one line of data to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """Print data to stdout as JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    print_line(_CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def stop_command(result: str = "Progress is saved; run the same command to resume.") -> NoReturn:
    """Report that the command was stopped and exit with code 130."""
    show_message(f"Stopped. {result}")
    raise typer.Exit(130)


@contextmanager
def exit_on_interrupt(result: Callable[[], str]) -> Iterator[None]:
    """Turn Ctrl-C into exit code 130; ``result`` returns what was kept."""
    try:
        yield
    except KeyboardInterrupt:
        stop_command(result())


def make_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Group:
    """Return a title, which may be wider than its table, and a table.

    Numbers are right-aligned and have thousands separators.
    """

    def format_cell(value: object) -> str:
        if isinstance(value, float):
            return "-" if math.isnan(value) else f"{value:,.4f}"
        return f"{value:,}" if isinstance(value, int) else str(value)

    table = Table(box=None)
    for index, column in enumerate(columns):
        is_number = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(
            escape_text(column),
            justify="right" if is_number else "left",
            overflow="fold",  # rich would cut what is too long for the terminal
        )
    for row in rows:
        table.add_row(*(escape_text(format_cell(value)) for value in row))
    return Group(Text(escape_controls(title), "bold"), table)


def show_frame(title: str, frame: pd.DataFrame) -> None:
    """Print a frame to stderr as a table, index first."""
    values = frame.reset_index().to_dict("split")
    show_table(title, [str(column) for column in values["columns"]], values["data"])


def show_statuses(title: str, by_baseline: Mapping[str, Mapping[str, int]]) -> None:
    """Print samples by status under each blind baseline of a run; each column adds up."""
    totals = Counter[str]()
    for statuses in by_baseline.values():
        totals.update(statuses)
    rows: list[list[Any]] = [
        [status, *(statuses.get(status, 0) for statuses in by_baseline.values())]
        for status in sorted(totals, key=lambda status: (-totals[status], status))
    ]
    rows.append(["all", *(sum(statuses.values()) for statuses in by_baseline.values())])
    several = len(by_baseline) > 1
    columns = ["samples by status", *by_baseline] if several else ["status", "samples"]
    show_table(title, columns, rows)


def show_issues(title: str, issues: Sequence[Mapping[str, Any]]) -> None:
    """Print the problems of an import, if any, with two examples of each."""
    if issues:
        rows = [(each["what"], each["n"], "; ".join(each["examples"][:2])) for each in issues]
        show_table(title, ["problem", "number", "such as"], rows)


def frame_records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return the rows of a frame as JSON values, index first, with null for NaN."""
    flat = frame.reset_index().astype(object)
    return flat.where(flat.notna(), None).to_dict("records")


def describe_progress(summary: RunSummary, result: str) -> str:
    """Return how many samples of a run are done, and how many of these have ``result``."""
    done = f"{summary.done:,} of {summary.total:,} samples are done"
    if not summary.done:
        return done
    have = "has" if summary.n_succeeded < 2 else "have"
    return (
        f"{done}, {f'{summary.n_succeeded:,}' if summary.n_succeeded else 'none'} {have} {result}"
    )


def describe_predictions(summary: RunSummary) -> str:
    """Return how many samples have predictions, of their first answers and of later ones."""
    text = describe_progress(summary, "both predictions")
    if summary.later_turns is None:
        return text
    return f"{text}; after the first answer: {describe_progress(summary.later_turns, 'all')}"


def show_run_outcome(summary: RunSummary) -> None:
    """Print the statuses of a run and how many samples were not scored exactly as recorded."""
    show_statuses(f"Run {summary.run_id}", summary.by_baseline)
    if summary.n_text_altered:
        show_message(
            f"{summary.n_text_altered:,} samples contain control tokens of the model in their "
            "text; these were read as text"
        )
    if summary.n_thoughts_dropped:
        show_message(
            f"{summary.n_thoughts_dropped:,} samples contain thoughts that the chat template "
            "drops; only the rest of these answers was scored"
        )


def warn_unfinished_thoughts(workspace: Workspace, run_id: str) -> None:
    """Warn about predictions of a run that end inside a thought."""
    from scoring.engine.pipeline import count_unfinished_thoughts

    if n_samples := count_unfinished_thoughts(workspace, run_id):
        show_warning(
            f"{n_samples:,} samples have a prediction that ends inside a thought and therefore "
            "contains no answer. Raise --max-new-tokens, or switch thoughts off where the chat "
            "template allows it, for example --chat-template-kwargs "
            "'{\"enable_thinking\": false}', under another --run"
        )


@contextmanager
def run_progress() -> Iterator[Callable[[RunProgress], None]]:
    """Show a progress bar with done/total, rate and time left, fed by the reports of a run."""
    names = {
        "score": "Scoring",
        "predict": "Predicting",
        "predict_turns": "Predicting later answers",
        "leave_one_out": "Leaving out images",
    }
    with progress_bar("samples/s") as bar:
        tasks: dict[str, Any] = {}

        def update_task(progress: RunProgress) -> None:
            phase, total = progress.phase, progress.total
            if phase not in tasks:
                tasks[phase] = bar.add_task(names[phase], total=total, rate="")
            rate = f"{progress.rate:,.1f}" if progress.rate else ""
            bar.update(tasks[phase], completed=progress.done, total=total, rate=rate)

        yield update_task


@contextmanager
def rate_progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the rate in ``unit`` per second and the time left, fed with (done, total)."""
    started = time.monotonic()
    with progress_bar(f"{unit}/s") as bar:
        task = bar.add_task(f"Reading {unit}", total=None, rate="")

        def show(done: int, total: int) -> None:
            rate = done / max(time.monotonic() - started, 1e-9)
            bar.update(task, completed=done, total=total, rate=f"{rate:,.1f}")

        yield show


@contextmanager
def count_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar fed with (done, total)."""
    with phase_progress(label) as (show, _):
        yield show


@contextmanager
def phase_progress(
    label: str,
) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Show a bar fed with (done, total), and below it bars of unknown length, one per phase."""
    with progress_bar("") as bar:
        tasks = [bar.add_task(label, total=None, rate="")]

        def finish_phase() -> None:
            if len(tasks) > 1:
                bar.update(tasks[-1], completed=1, total=1)

        def start_phase(phase: str) -> None:
            finish_phase()
            tasks.append(bar.add_task(phase, total=None, rate=""))

        yield lambda done, total: bar.update(tasks[0], completed=done, total=total), start_phase
        finish_phase()


def progress_bar(unit: str) -> Progress:
    """Return bars with done/total, a rate in ``unit`` and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} " + unit),
        TimeRemainingColumn(),
        console=STDERR,
        disable=not (STDERR.is_terminal and LOG.isEnabledFor(logging.INFO)),
    )


@contextmanager
def stop_on_interrupt(unit: str = "samples") -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets; a second one interrupts as usual.

    ``unit`` is what is finished before the work stops.
    SIGTERM is handled the same way: schedulers send it some time before they kill.
    """
    stop = threading.Event()

    def request_stop(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(signum, frame)
        stop.set()
        show_message(f"Stopping after the {unit} in flight; press Ctrl-C again to stop at once")

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, request_stop) for number in signals}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
