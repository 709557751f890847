"""How the help reads: a list's lines are whole, and examples are printed as they are written, for people to copy."""

import inspect
import re

import typer

_CLAUSE = re.compile(r"[.:;](?:\s|$)")
_EXAMPLES = re.compile(r"^(?=Examples?:)", re.MULTILINE)


def make_readable(app: typer.Typer) -> None:
    """In every command of `app` and of its groups. Call it once, after they are registered."""
    for command in app.registered_commands:
        if command.callback is not None:
            text = inspect.getdoc(command.callback) or ""
            command.help = _EXAMPLES.sub("\b\n", text)  # click's mark of a paragraph that keeps its lines
            command.short_help = _clause(text)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group.short_help = _clause(str(group.typer_instance.info.help))
            make_readable(group.typer_instance)


def _clause(text: str) -> str:
    """What a list of commands has room for: the first of what a help says."""
    return _CLAUSE.split(" ".join(text.split()), maxsplit=1)[0]
