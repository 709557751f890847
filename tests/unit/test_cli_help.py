"""The help of every command: it has an example, whole on its line, and what it shows is a command that is understood."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from thingstorm.cli import app

ROOT = Path(__file__).parents[2]


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not hasattr(command, "commands"):
        yield words
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*words, name))


COMMANDS = list(commands(typer.main.get_command(app)))


def examples(words: tuple[str, ...]) -> list[str]:
    told = CliRunner().invoke(app, [*words, "--help"])
    assert told.exit_code == 0, told.output
    found = re.search(r"^ *Examples?:(.*?)(?:\n\n|\Z)", told.output, re.MULTILINE | re.DOTALL)
    return [line.strip() for line in found[1].splitlines() if line.strip()] if found else []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_its_examples_are_understood(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shown = [shlex.split(re.sub(r"^THINGSTORM__\w+=\S+ ", "", line)) for line in examples(words)]
    assert any(tuple(line[1 : len(words) + 1]) == words for line in shown), shown
    for program, *arguments in shown:
        assert program == "thingstorm"
        _understood(typer.main.get_command(app), arguments)


def _understood(command: click.Command, arguments: list[str]) -> None:
    """The flags exist and their values fit; nothing is run."""
    with command.make_context("thingstorm", list(arguments)) as context:
        if hasattr(command, "resolve_command"):
            _, inner, rest = command.resolve_command(context, arguments)
            _understood(inner, rest)


def test_an_example_is_a_line() -> None:
    assert 'thingstorm devices quarantine meter-0007 --reason "odd topic" --for 2h' in examples(
        ("devices", "quarantine")
    )
    assert len(examples(("sql",))) == 3


@pytest.mark.parametrize("words", sorted({words[:-1] for words in COMMANDS}), ids=" ".join)
def test_no_line_of_a_list_is_cut(words: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, [*words, "--help"], terminal_width=80).output
    listed = told.partition("Commands:\n")[2].splitlines()
    assert listed
    assert [line for line in listed if "..." in line or not re.match(r"  \S+  +\S", line)] == []
