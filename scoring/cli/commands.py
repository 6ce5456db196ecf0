"""Build commands from functions whose parameters ``scoring.option_descriptions`` describes."""

from __future__ import annotations

import functools
import inspect
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from rich.markup import escape
from typer.core import TyperCommand

from scoring import __version__
from scoring.cli.console import LOG, configure_output
from scoring.option_descriptions import BASELINE_HELP, RUN_HELP, Option

WORKSPACE_VARIABLE = "VISNEC_WORKSPACE"

WorkspaceOption = Annotated[
    Path, Option("The workspace folder.", "--workspace -w", envvar=WORKSPACE_VARIABLE)
]
SubsetArgument = Annotated[str, Option("A saved subset.", metavar="NAME", is_argument=True)]
JsonOption = Annotated[bool, Option("Print the result as JSON to stdout.", panel="Output")]
RunOption = Annotated[str | None, Option(RUN_HELP, "--run")]
BaselineOption = Annotated[str | None, Option(BASELINE_HELP)]


class Command(TyperCommand):
    """A command whose usage line names arguments as its help does: NAME, not {NAME}.

    ``bare_values`` are the values of options that may be given without one.
    """

    bare_values: Mapping[str, str] = {}

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the command line, in which an option with a bare value may have none."""
        following = [*args[1:], "--"]
        complete = [
            f"{name}={self.bare_values[name]}"
            if name in self.bare_values and after.startswith("-")
            else name
            for name, after in zip(args, following, strict=False)  # without arguments there is none
        ]
        return super().parse_args(ctx, complete)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line."""
        pieces = super().collect_usage_pieces(ctx)
        plain = (piece.replace("{", "").replace("}", "") for piece in pieces)
        return [re.sub(r"\.\.\.(\]?)\.\.\.$", r"...\1", piece) for piece in plain]


WorkersOption = Annotated[
    int,
    Option(
        "Processes of this machine that share the work, one per GPU where there are any.",
        panel="Several processes",
        min=1,
    ),
]
EngineOption = Annotated[
    Literal["local", "ray"],
    Option(
        "Where workers run: processes of this machine, or actors of a Ray cluster (needs the extra "
        "[ray]).",
        panel="Several processes",
    ),
]


def add_command(
    app: typer.Typer, name: str, function: Callable[..., None], *examples: str, panel: str
) -> None:
    """Add ``function`` to ``app`` as the command ``name``.

    A parameter with an ``Option`` becomes an option, one annotated with an options dataclass one
    option per described field, and ``--verbose`` and ``--quiet`` are added. ``examples`` are shown
    at the end of the help.
    """

    @functools.wraps(function)
    def run_command(**values: Any) -> None:
        _call_with_options(configure_output, values)
        LOG.debug("visnec %s, Python %s: %s", __version__, platform.python_version(), name)
        start = time.perf_counter()
        try:
            _call_with_options(function, values)
        finally:
            LOG.debug("%s took %.1f s", name, time.perf_counter() - start)

    parameters = [*_make_parameters(function), *_make_parameters(configure_output)]
    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_command.__annotations__ = {each.name: each.annotation for each in parameters}
    epilog = "\n\n".join(["Examples:", *(f"$ {example}" for example in examples)])
    of_command = type("Command", (Command,), {"bare_values": _bare_values(function)})
    app.command(name, cls=of_command, epilog=escape(epilog), rich_help_panel=panel)(run_command)


def _bare_values(function: Callable[..., Any]) -> dict[str, str]:
    """Return the values of options without a value, by flag."""
    options = ((parameter.name, option) for parameter, _, option in _described_parameters(function))
    return {
        option.flag or f"--{name}": option.bare_value
        for name, option in options
        if option is not None and option.bare_value is not None
    }


def _described_parameters(
    target: Callable[..., Any],
) -> Iterator[tuple[inspect.Parameter, Any, Option | None]]:
    """Yield (parameter, type, description) of those of a function or dataclass that are options.

    The description of a nested dataclass is None.
    """
    for parameter in inspect.signature(target, eval_str=True).parameters.values():
        hint = parameter.annotation
        option = next((each for each in get_args(hint)[1:] if isinstance(each, Option)), None)
        if is_dataclass(hint):
            yield parameter, hint, None
        elif option is not None:
            yield parameter, get_args(hint)[0], option


def _make_parameters(target: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield the parameters that typer reads, including those of nested dataclasses."""
    for parameter, kind, option in _described_parameters(target):
        if option is None:
            yield from _make_parameters(kind)
            continue
        default = parameter.default
        if option.parse is not None:
            kind, default = list[str] if option.repeatable else str, None
            kind = kind | None
        elif get_origin(kind) is tuple:  # of any length: a repeatable option
            kind, default = list[get_args(kind)[0]], list(default)  # type: ignore[misc]
        declare: Any = typer.Argument if option.is_argument else typer.Option
        flags = option.flag or f"--{parameter.name.replace('_', '-')}"
        declared = declare(
            *(() if option.is_argument else flags.split()),
            help=escape(option.help),
            rich_help_panel=option.panel,
            metavar=option.metavar,
            min=option.min,
            max=option.max,
            envvar=option.envvar,
        )
        yield parameter.replace(
            kind=inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, declared],
        )


def _call_with_options(target: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Call a function, or make a dataclass, with the values of the command line."""
    arguments: dict[str, Any] = {}
    for parameter, kind, option in _described_parameters(target):
        if option is None:
            arguments[parameter.name] = _call_with_options(kind, values)
            continue
        value = values[parameter.name]
        if option.parse is None:
            arguments[parameter.name] = tuple(value) if get_origin(kind) is tuple else value
        elif value not in (None, []):  # else the default of the field
            arguments[parameter.name] = option.parse(value)
    return target(**arguments)
