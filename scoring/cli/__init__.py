"""The ``visnec`` command: thin calls into the library, and the only place that prints.

stdout is data, stderr is talk. Exit code 0 only when all was done, 2 for wrong usage or input
that the message explains, 130 for Ctrl-C.
"""

from __future__ import annotations

import errno
import sys

import typer

from scoring.cli import compare, evaluate, exchange, export, import_dataset, score, select, serve
from scoring.cli.console import say_error
from scoring.errors import VisnecError

app = typer.Typer(
    name="visnec",
    help="Find out which samples of a multimodal instruction dataset really need their image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    serve.demo,
    import_dataset.import_data,
    import_dataset.relocate,
    score.score,
    score.predict,
    exchange.import_scores,
    exchange.export_scores,
    select.cluster,
    select.select,
    compare.stability,
    compare.diff,
    evaluate.evaluate,
    export.export,
    export.verify,
    serve.dashboard,
    score.build,
    serve.status,
    serve.doctor,
):
    name = "import" if command is import_dataset.import_data else command.__name__.replace("_", "-")
    app.command(name)(command)


_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    errno.EIO,
)


def main() -> None:
    """Entry point of the ``visnec`` command."""
    try:
        app()
    except VisnecError as error:
        say_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            raise
        say_error(
            f"{error.filename or 'a file'} cannot be written or read: {error.strerror}; make room, "
            "or see to who may write there, and repeat the command: what was finished is kept"
        )
        sys.exit(VisnecError.exit_code)
