"""The examples of a command's help are printed as they are written, for people to copy: never wrapped."""

import inspect
import re

import typer

_EXAMPLES = re.compile(r"^(?=Examples?:)", re.MULTILINE)


def keep_examples(app: typer.Typer) -> None:
    """In every command of `app` and of its groups. Call it once, after they are registered."""
    for command in app.registered_commands:
        if command.callback is not None:
            text = inspect.getdoc(command.callback) or ""
            command.help = _EXAMPLES.sub("\b\n", text)  # click's mark of a paragraph that keeps its lines
    for group in app.registered_groups:
        if group.typer_instance is not None:
            keep_examples(group.typer_instance)
