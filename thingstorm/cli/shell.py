"""The shell of `thingstorm sql`: statements over several lines, commands with a dot, history and completion.

Without a terminal it reads standard input, prints plain text, and ends at the first error.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, get_args

import typer

from analytics.postgres.statements import cut
from contracts.errors import ConfigError, ThingstormError, UnknownName
from thingstorm.cli.client import call
from thingstorm.cli.tables import Format, print_rows

if TYPE_CHECKING:  # imported when a person sits at a terminal
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import CompleteEvent, Completion
    from prompt_toolkit.document import Document

PROMPT, MORE = "thingstorm> ", "       ...> "

KEYWORDS = [
    "SELECT", "FROM", "WHERE", "GROUP", "BY", "ORDER", "HAVING", "LIMIT", "OFFSET", "JOIN", "LEFT", "INNER",
    "USING", "ON", "AS", "AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ILIKE", "BETWEEN", "CASE", "WHEN",
    "THEN", "ELSE", "END", "DISTINCT", "WITH", "UNION", "ALL", "EXCEPT", "INTERVAL", "SECOND", "MINUTE", "HOUR",
    "DAY", "DESC", "ASC", "OVER", "PARTITION", "QUALIFY", "FILTER", "DESCRIBE", "SUMMARIZE", "EXPLAIN", "SHOW",
    "TABLES", "count(", "sum(", "avg(", "min(", "max(", "median(", "quantile_cont(", "approx_count_distinct(",
    "now(", "date_trunc(", "time_bucket(", "epoch_ms(", "coalesce(", "lower(", "upper(", "round(",
    "json_extract_string(",
]  # fmt: skip
"""What analysts write: DuckDB knows 500 keywords, and most would stand in the way of these."""

_COLLECTION_NEXT = re.compile(r"(?:\b(?:from|join)\s+|^\.(?:describe|d)\s+)(\w*)$", re.IGNORECASE)
_WORD = re.compile(r"\.?\w*$")

Answer = Mapping[str, Any]


class Answers(Protocol):
    """Who answers the shell."""

    def query(self, sql: str) -> Answer: ...

    def explain(self, sql: str) -> list[Mapping[str, Any]]: ...

    def collections(self) -> list[str]: ...

    def describe(self, name: str) -> Answer: ...

    def queries(self) -> list[Mapping[str, Any]]: ...

    def run(self, name: str, parameters: Mapping[str, str]) -> Answer: ...


class ApiAnswers:
    """A running stack."""

    def __init__(self, url: str | None) -> None:
        self._url = url

    def query(self, sql: str) -> Answer:
        return dict(call("POST", "/query", url=self._url, body={"sql": sql}))

    def explain(self, sql: str) -> list[Mapping[str, Any]]:
        return list(call("POST", "/explain", url=self._url, body={"sql": sql})["reads"])

    def collections(self) -> list[str]:
        return list(call("GET", "/collections", url=self._url)["collections"])

    def describe(self, name: str) -> Answer:
        return dict(call("GET", f"/collections/{name}", url=self._url))

    def queries(self) -> list[Mapping[str, Any]]:
        return list(call("GET", "/queries", url=self._url)["queries"])

    def run(self, name: str, parameters: Mapping[str, str]) -> Answer:
        return dict(call("GET", f"/queries/{name}", url=self._url, query=parameters))


class StoredAnswers:
    """A stored view's file; it is opened for each question, so that a stack may have it between them."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def query(self, sql: str) -> Answer:
        from thingstorm.runtime.stored import query_stored

        return query_stored(self._path, sql)

    def explain(self, sql: str) -> list[Mapping[str, Any]]:
        _ = sql
        raise ConfigError(".explain asks a running stack", fix="start one, and leave out --db")

    def collections(self) -> list[str]:
        rows = self.query(
            "SELECT table_name FROM duckdb_tables() WHERE NOT starts_with(table_name, '_') ORDER BY 1"
        )
        return [str(row[0]) for row in rows["rows"]]

    def describe(self, name: str) -> Answer:
        if name not in (known := self.collections()):
            raise UnknownName("collection", name, known)
        rows = self.query(f'DESCRIBE "{name}"')["rows"]
        return {"columns": {row[0]: row[1] for row in rows}}

    def queries(self) -> list[Mapping[str, Any]]:
        from analytics.query_catalog import catalog

        return [{"name": one.name, "description": one.description} for one in catalog().values()]

    def run(self, name: str, parameters: Mapping[str, str]) -> Answer:
        _ = name, parameters
        raise ConfigError(".run asks a running stack", fix="start one, and leave out --db")


class Shell:
    """Takes lines; asks and prints."""

    def __init__(self, answers: Answers, *, form: Format = "table") -> None:
        self.answers = answers
        self.form: Format = form
        self.over = False
        self._pending = ""
        self._commands: Mapping[str, tuple[Callable[[str], None], str]] = {
            ".tables": (self._tables, "collections"),
            ".describe": (self._describe, "NAME: columns, indexes and rows of a collection"),
            ".queries": (self._queries, "named queries"),
            ".run": (self._run, "NAME parameter=value ...: run a named query"),
            ".explain": (self._explain, "SELECT ...: run it, and show by which index it read"),
            ".format": (self._format, f"{'|'.join(get_args(Format))}: how to print"),
            ".help": (self._help, "this"),
            ".quit": (self._quit, "leave (also Ctrl-D)"),
        }

    @property
    def pending(self) -> bool:
        """Whether a statement has begun and not ended."""
        return bool(self._pending.strip())

    @property
    def commands(self) -> Iterable[str]:
        return self._commands

    def take(self, line: str) -> None:
        """Add a line; run what it ends. Raises ThingstormError."""
        if not self.pending and line.strip().startswith("."):
            self._command(line.strip().rstrip(";"))
            return
        statements, self._pending = cut(f"{self._pending}{line}\n")
        for statement in statements:
            if statement.strip():
                self._show(self.answers.query(statement.strip()))

    def finish(self) -> None:
        """The input is over: what has no semicolon runs too."""
        rest, self._pending = self._pending.strip(), ""
        if rest:
            self._show(self.answers.query(rest))

    def drop(self) -> None:
        """Forget the statement that has begun."""
        self._pending = ""

    def _command(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        if name not in self._commands:
            raise UnknownName("command", name, self._commands)
        self._commands[name][0](rest.strip())

    def _show(self, answer: Answer) -> None:
        print_rows(answer["columns"], answer["rows"], self.form)

    def _tables(self, _: str) -> None:
        print_rows(("collection",), [(name,) for name in self.answers.collections()], self.form)

    def _describe(self, name: str) -> None:
        if not name:
            raise ConfigError(".describe: of which collection?", fix=".tables lists them")
        told = self.answers.describe(name)
        indexed = set(told.get("indexes", ()))
        columns = {"_id": "VARCHAR", **told["columns"]}
        rows = [(column, kind, "yes" if column in indexed else "") for column, kind in columns.items()]
        print_rows(("column", "type", "indexed"), rows, self.form)
        if self.form == "table" and "rows" in told:
            typer.echo(f"{told['rows']} rows; event time {told['event_time']['column']}")

    def _queries(self, _: str) -> None:
        rows = [(one["name"], one["description"]) for one in self.answers.queries()]
        print_rows(("name", "description"), rows, self.form)

    def _run(self, text: str) -> None:
        name, *given = text.split()
        self._show(self.answers.run(name, dict(pair.partition("=")[::2] for pair in given)))

    def _explain(self, sql: str) -> None:
        columns = ("table", "used", "rows_scanned", "row_groups", "filters")
        reads = self.answers.explain(sql)
        print_rows(columns, [[one[column] for column in columns] for one in reads], self.form)

    def _format(self, name: str) -> None:
        for known in get_args(Format):
            if name == known:
                self.form = known
                return
        raise UnknownName("format", name, get_args(Format))

    def _help(self, _: str) -> None:
        for name, (_run, told) in self._commands.items():
            typer.echo(f"{name:<10} {told}")
        typer.echo("A statement ends with a semicolon and may go over several lines.")

    def _quit(self, _: str) -> None:
        self.over = True


def read_from(lines: TextIO, shell: Shell) -> None:
    """What stands in a file or comes through a pipe. Raises the first error."""
    for line in lines:
        shell.take(line.rstrip("\n"))
        if shell.over:
            return
    shell.finish()


def converse(shell: Shell, session: "PromptSession[str] | None" = None) -> None:
    """With a person, until `.quit` or Ctrl-D; an error is told, and it goes on."""
    session = session or _session(shell)
    while not shell.over:
        try:
            line = session.prompt(MORE if shell.pending else PROMPT)
            shell.take(line)
        except KeyboardInterrupt:  # clears what has begun, and cancels what runs: its connection closes
            shell.drop()
        except EOFError:
            return
        except ThingstormError as error:
            typer.echo(f"error: {error.what}\nfix: {error.fix}", err=True)


def _session(shell: Shell) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    path = _history_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return PromptSession(
        history=FileHistory(str(path)), completer=completer(shell), complete_while_typing=False
    )


def _history_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "thingstorm" / "sql_history"


class Words:
    """What may be completed: asked for when Tab is pressed first, and kept."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    @cached_property
    def collections(self) -> list[str]:
        return self._shell.answers.collections()

    @cached_property
    def columns(self) -> list[str]:
        described = (self._shell.answers.describe(name) for name in self.collections)
        return sorted({column for one in described for column in one["columns"]})

    def after(self, before: str) -> Iterator[tuple[str, int]]:
        """What may stand at the end of a text, and how many characters of it are there already."""
        found = _COLLECTION_NEXT.search(before)
        word = found[1] if found else (_WORD.search(before) or [""])[0]
        if found:
            known = self.collections
        elif before.strip().startswith(".") and " " not in before.strip():
            known = list(self._shell.commands)
        else:
            known = [*self.columns, *self.collections, *KEYWORDS] if word else []
        for one in known:
            if one.lower().startswith(word.lower()):
                yield one, len(word)


def completer(shell: Shell) -> Any:
    """For prompt_toolkit; a stack that does not answer completes nothing."""
    from prompt_toolkit.completion import Completer, Completion

    words = Words(shell)

    class SqlCompleter(Completer):
        def get_completions(
            self, document: "Document", complete_event: "CompleteEvent"
        ) -> "Iterator[Completion]":
            _ = complete_event
            try:
                for word, there in words.after(document.current_line_before_cursor):
                    yield Completion(word, start_position=-there)
            except ThingstormError:
                return

    return SqlCompleter()
