"""`users`: who may log in to the page and the API where they are not on loopback."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from thingstorm.cli.outputs import check_output

users_app = typer.Typer(help="Who may log in to the page and the API.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(users_app, name="users")


@users_app.command("add")
def users_add(
    name: Annotated[str, typer.Argument(help="Who.")],
    file: Annotated[
        Path, typer.Option("--file", callback=check_output, help="The user file; made if it is not there.")
    ] = Path("users.txt"),
) -> None:
    """Add a person to the user file, or give a new password. It is asked for, or read from standard input.

    Examples:
      thingstorm users add ana --file users.txt
      thingstorm up --set api.users=users.txt --set api.host=0.0.0.0
    """
    from thingstorm.runtime.users import add_user

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    add_user(file, name, password)
    typer.echo(f"{name} may log in; use it: --set api.users={file}")
