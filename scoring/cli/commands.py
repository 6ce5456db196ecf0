"""Build commands: turn options dataclasses into options, add examples and output options."""

from __future__ import annotations

import functools
import inspect
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer
from rich.markup import escape

from scoring import __version__
from scoring.cli.console import LOG, configure_output
from scoring.options import Option

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_OUTPUT = "Output"

VerboseOption = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        help="Also print debug messages, and the traceback of an error.",
        rich_help_panel=_OUTPUT,
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Print only warnings and errors to stderr, without progress bars.",
        rich_help_panel=_OUTPUT,
    ),
]


def add_command(
    app: typer.Typer, name: str, function: Callable[..., None], *examples: str, panel: str
) -> None:
    """Add ``function`` to ``app`` as the command ``name``.

    Each parameter annotated with an options dataclass becomes one option per described field, and
    ``--verbose`` and ``--quiet`` are added. ``examples`` are shown at the end of the help.
    """
    epilog = "\n\n".join(["Examples:", *(f"$ {example}" for example in examples)])
    decorate = app.command(name, epilog=escape(epilog), rich_help_panel=panel)
    decorate(_add_output_options(name, expand_options(function)))


def expand_options(function: Callable[..., None]) -> Callable[..., None]:
    """Return ``function`` with one keyword parameter per field of its options dataclasses."""
    signature = inspect.signature(function, eval_str=True)
    parameters: list[inspect.Parameter] = []
    dataclasses: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        kind: Any = parameter.annotation
        if is_dataclass(parameter.annotation):
            dataclasses[name] = kind
            parameters += _field_parameters(kind)
        else:
            parameters.append(parameter.replace(kind=_KEYWORD))

    @functools.wraps(function)
    def run_command(**values: Any) -> None:
        filled = {name: _fill_dataclass(kind, values) for name, kind in dataclasses.items()}
        function(**filled, **{key: values[key] for key in signature.parameters if key in values})

    return _set_parameters(run_command, parameters)


def _add_output_options(name: str, function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def run_command(verbose: bool, quiet: bool, **values: Any) -> None:
        configure_output(verbose=verbose, quiet=quiet)
        LOG.debug("visnec %s, Python %s: %s", __version__, platform.python_version(), name)
        start = time.perf_counter()
        try:
            function(**values)
        finally:
            LOG.debug("%s took %.1f s", name, time.perf_counter() - start)

    return _set_parameters(
        run_command,
        [
            *inspect.signature(function).parameters.values(),
            inspect.Parameter("verbose", _KEYWORD, default=False, annotation=VerboseOption),
            inspect.Parameter("quiet", _KEYWORD, default=False, annotation=QuietOption),
        ],
    )


def _set_parameters(
    function: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    """Give ``function`` the signature and the annotations that typer reads."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return function


def _described_fields(options: type) -> list[tuple[Field[Any], Any, Option | None]]:
    """Return (field, type, description) of the fields that become options.

    The description of a nested dataclass is None.
    """
    hints = get_type_hints(options, include_extras=True)
    described: list[tuple[Field[Any], Any, Option | None]] = []
    for field in fields(options):
        hint = hints[field.name]
        option = next((each for each in get_args(hint)[1:] if isinstance(each, Option)), None)
        if is_dataclass(hint):
            described.append((field, hint, None))
        elif option is not None:
            described.append((field, get_args(hint)[0], option))
    return described


def _field_parameters(options: type) -> list[inspect.Parameter]:
    """Return one parameter per described field, including those of nested dataclasses."""
    parameters = []
    for field, kind, option in _described_fields(options):
        if option is None:
            parameters += _field_parameters(kind)
        else:
            parameters.append(_option_parameter(field, kind, option))
    return parameters


def _option_parameter(field: Field[Any], kind: Any, option: Option) -> inspect.Parameter:
    default: Any = inspect.Parameter.empty if field.default is MISSING else field.default
    if option.parse is not None:
        kind = list[str] | None if option.repeatable else str | None
        default = None
    elif get_origin(kind) is tuple:  # of any length: a repeatable option
        kind, default = list[get_args(kind)[0]], list(default)  # type: ignore[misc]
    declared = typer.Option(
        option.flag or f"--{field.name.replace('_', '-')}",
        help=escape(option.help),
        rich_help_panel=option.panel,
        metavar=option.metavar,
        min=option.min,
    )
    annotation = Annotated[kind, declared]
    return inspect.Parameter(field.name, _KEYWORD, default=default, annotation=annotation)


def _fill_dataclass(options: type, values: Mapping[str, Any]) -> Any:
    """Return an instance of ``options`` with the values of the command line."""
    filled: dict[str, Any] = {}
    for field, kind, option in _described_fields(options):
        if option is None:
            filled[field.name] = _fill_dataclass(kind, values)
            continue
        value = values[field.name]
        if option.parse is None:
            filled[field.name] = tuple(value) if get_origin(kind) is tuple else value
        elif value not in (None, []):  # else the default of the field
            filled[field.name] = option.parse(value)
    return options(**filled)
