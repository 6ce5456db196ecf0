"""How the command talks: progress bars, closing tables and errors on stderr, JSON on stdout.

What is told may quote a dataset, a file name or a person, so it is never read as markup, and
characters that would move the cursor, colour the terminal or turn the direction of reading are
written out instead of sent.
"""

from __future__ import annotations

import json
import math
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from scoring.runs.progress import RunProgress

if TYPE_CHECKING:
    from scoring.engine.runner import RunSummary

talk = Console(stderr=True, highlight=False, emoji=False)
data = Console(highlight=False, soft_wrap=True, emoji=False)


# C0 and C1 but tab and line feed, marks and overrides of direction, line separators, surrogates.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def visible(text: str) -> str:
    """``text`` with control characters written out, as in \\x1b."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def plain(text: str) -> str:
    """``text`` as a console with markup shows it letter by letter."""
    return escape(visible(text))


def say(text: str) -> None:
    """One line on stderr, wrapped by the terminal only: paths and commands can be copied."""
    talk.print(plain(text), soft_wrap=True)


def tell(text: str) -> None:
    """One line on stdout, for people."""
    data.print(plain(text))


def say_error(text: str) -> None:
    """An error on stderr, as text: paths and values may hold square brackets."""
    talk.print(f"[bold red]error:[/] {plain(text)}", soft_wrap=True)


def print_line(text: str) -> None:
    """One line of data on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """Data on stdout as JSON."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    print_line(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table whose numbers are aligned and carry thousands separators."""
    shown = Table(title=plain(title), title_justify="left", title_style="bold", box=None)
    for index, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        shown.add_column(plain(column), justify="right" if numbers else "left")
    for row in rows:
        shown.add_row(*(plain(_cell(value)) for value in row))
    return shown


def status_table(title: str, statuses: Mapping[str, int]) -> Table:
    """Counts by status with their total: the closing table adds up."""
    rows = sorted(statuses.items(), key=lambda item: (-item[1], item[0]))
    return table(title, ["status", "samples"], [*rows, ("all", sum(statuses.values()))])


def baselines_table(title: str, by_baseline: Mapping[str, Mapping[str, int]]) -> Table:
    """Samples by status under each blind baseline of a run; each column adds up."""
    if len(by_baseline) == 1:
        return status_table(title, next(iter(by_baseline.values())))
    statuses = Counter[str]()
    for counted in by_baseline.values():
        statuses.update(counted)
    rows: list[list[Any]] = [
        [status, *(counted.get(status, 0) for counted in by_baseline.values())]
        for status in sorted(statuses, key=lambda status: (-statuses[status], status))
    ]
    rows.append(["all", *(sum(counted.values()) for counted in by_baseline.values())])
    return table(title, ["samples by status", *by_baseline], rows)


def done_words(summary: RunSummary, result: str) -> str:
    """How many samples of a run are done, and how many of these have ``result``."""
    n_succeeded = f"{summary.n_succeeded:,}" if summary.n_succeeded else "none"
    have = "has" if summary.n_succeeded < 2 else "have"
    done = f"{summary.done:,} of {summary.total:,} samples are done"
    return f"{done}, {n_succeeded} {have} {result}" if summary.done else done


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:,.4f}"
    return str(value)


def say_alterations(summary: RunSummary) -> None:
    """Says how many samples were not scored as their record has them."""
    if summary.n_text_altered:
        say(
            f"{summary.n_text_altered:,} samples have control tokens of the model in their text; "
            "these were read as text"
        )
    if summary.n_thoughts_dropped:
        say(
            f"{summary.n_thoughts_dropped:,} samples have thoughts that the chat template drops; "
            "only the rest of these answers was scored"
        )


def say_unfinished_thoughts(n_samples: int) -> None:
    """Warns of predictions that end inside a thought."""
    if n_samples:
        say(
            f"Warning: {n_samples:,} samples have a prediction that ends inside a thought, so that "
            "it answers nothing. Raise --max-new-tokens, or switch thoughts off where the chat "
            "template allows it, for example --chat-template-kwargs "
            "'{\"enable_thinking\": false}', under another --run"
        )


@contextmanager
def run_progress(label: str) -> Iterator[Callable[[RunProgress], None]]:
    """A progress bar with done/total, rate and time left, fed by a run's own reports."""
    with _bar("samples/s") as bar:
        tasks: dict[str, Any] = {}

        def show(progress: RunProgress) -> None:
            phase = progress.phase
            if phase not in tasks:
                names = {"score": "Scoring", "predict": "Predicting"}
                tasks[phase] = bar.add_task(names.get(phase, label), total=progress.total, rate="")
            rate = f"{progress.rate:,.1f}" if progress.rate else ""
            bar.update(tasks[phase], completed=progress.done, total=progress.total, rate=rate)

        yield show


@contextmanager
def count_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar fed with (done, total)."""
    with _bar("") as bar:
        task = bar.add_task(label, total=None, rate="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def phase_progress(
    label: str,
) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """A bar fed with (done, total), and a way to begin another one of unknown length below it."""
    with _bar("") as bar:
        tasks = [bar.add_task(label, total=None, rate="")]

        def begin(phase: str) -> None:
            _finish(bar, tasks)
            tasks.append(bar.add_task(phase, total=None, rate=""))

        yield lambda done, total: bar.update(tasks[0], completed=done, total=total), begin
        _finish(bar, tasks)


def _finish(bar: Progress, tasks: list[TaskID]) -> None:
    """Fills the last bar, where its length was not known."""
    if len(tasks) > 1:
        bar.update(tasks[-1], completed=1, total=1)


def _bar(unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} " + unit),
        TimeRemainingColumn(),
        console=talk,
        disable=not talk.is_terminal,
    )


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; a second one interrupts as usual.

    SIGTERM is taken the same way: schedulers send it some time before they kill.
    """
    stop = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(signum, frame)
        stop.set()
        say("Stopping after the samples in flight; Ctrl-C again to stop at once")

    before = {one: signal.signal(one, ask) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
