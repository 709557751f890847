"""The command line: one file per command group, each thin. Errors are printed once, here, with their fix.

No command does work of its own: it reads flags, calls the runtime or a running stack's API, and prints.
"""

import sys
from typing import Annotated

import typer

import thingstorm
from contracts.errors import ThingstormError
from thingstorm.cli import (
    alerts,
    announce,
    ask,
    bench,
    deploy,
    evaluate,
    follow,
    operate,
    play,
    record,
    replay,
    rules,
    score,
    serve,
    shrink,
    up,
    users,
    view,
)
from thingstorm.cli.helping import make_readable

app = typer.Typer(
    name="thingstorm",
    help="Is the traffic a benign uptick or an attack? Which devices? What now?\n\nStart with: thingstorm demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
for module in (
    play,
    replay,
    record,
    shrink,
    evaluate,
    score,
    up,
    serve,
    deploy,
    ask,
    view,
    operate,
    follow,
    announce,
    alerts,
    rules,
    users,
    bench,
):
    module.register(app)
make_readable(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"thingstorm {thingstorm.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    _ = debug, version  # read from sys.argv by `main`, and by the callback


def main() -> None:
    """The console script. Exit codes: 0 passed, 1 an expectation failed, 2 bad input, 3 a backend is not ready."""
    try:
        app()
    except ThingstormError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"error: {error.what}\nfix: {error.fix}", err=True)
        sys.exit(error.exit_code)
