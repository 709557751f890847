"""`sql` and `query`: ask the view of a running stack, or a stored one."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import ConfigError
from thingstorm.cli.client import call
from thingstorm.cli.tables import Format, print_rows

Api = Annotated[str | None, typer.Option("--api", help="Address of the running stack's API.")]
Form = Annotated[Format, typer.Option("--format", help="How to print.")]


def register(app: typer.Typer) -> None:
    app.command()(sql)
    app.command()(query)


def sql(
    statement: Annotated[
        str | None, typer.Argument(help="One SELECT; without one a shell, or what comes from standard input.")
    ] = None,
    form: Form = "table",
    api: Api = None,
    db: Annotated[
        Path | None, typer.Option("--db", help="A stored view's file instead of a running stack.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Run it, and show by which index it read each table.")
    ] = False,
) -> None:
    """Ask the view in SQL.

    Without a statement it is a shell: statements end with a semicolon, .help lists its commands, Ctrl-D leaves.

    Examples:
      thingstorm sql "SELECT device_id, count(*) n FROM telemetry GROUP BY 1 ORDER BY n DESC LIMIT 5"
      thingstorm sql "SELECT * FROM telemetry WHERE received_at > now() - INTERVAL 60 SECOND LIMIT 5"
      thingstorm sql --explain "SELECT * FROM telemetry WHERE _id = 'meter-1/x'"
    """
    if statement is None:
        if explain:
            raise ConfigError("--explain without a statement", fix="give one, or use .explain in the shell")
        _shell(api, db, form)
        return
    if explain:
        if db is not None:
            raise ConfigError("--explain asks a running stack", fix="leave out --db")
        _show_reads(call("POST", "/explain", url=api, body={"sql": statement})["reads"], form)
        return
    answer = _stored(db, statement) if db else call("POST", "/query", url=api, body={"sql": statement})
    _show(answer, form)


def _shell(api: str | None, db: Path | None, form: Format) -> None:
    from thingstorm.cli.shell import ApiAnswers, Shell, StoredAnswers, converse, read_from

    shell = Shell(StoredAnswers(db) if db else ApiAnswers(api), form=form)
    if sys.stdin.isatty() and sys.stdout.isatty():
        converse(shell)
    else:
        read_from(sys.stdin, shell)


def query(
    name: Annotated[str | None, typer.Argument(help="Its name; leave it out to list them all.")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value, may be repeated.")] = None,
    form: Form = "table",
    api: Api = None,
) -> None:
    """Run a named query.

    Examples:
      thingstorm query
      thingstorm query top_talkers -p seconds=60
    """
    if name is None:
        known = call("GET", "/queries", url=api)["queries"]
        print_rows(("name", "description"), [(one["name"], one["description"]) for one in known], form)
        return
    _show(call("GET", f"/queries/{name}", url=api, query=dict(map(_pair, parameter or []))), form)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"-p {text}: no '='", fix="write -p name=value")
    return key, value


def _show(answer: dict[str, Any], form: Format) -> None:
    print_rows(answer["columns"], answer["rows"], form)
    if form == "table" and sys.stdout.isatty():
        typer.echo(f"{len(answer['rows'])} rows in {answer['milliseconds']:.1f} ms", err=True)


def _show_reads(reads: list[dict[str, Any]], form: Format) -> None:
    columns = ("table", "used", "rows_scanned", "row_groups", "filters")
    rows = [(*(one[name] for name in columns[:4]), " AND ".join(one["filters"])) for one in reads]
    print_rows(columns, rows, form)


def _stored(path: Path, statement: str) -> dict[str, Any]:
    from thingstorm.runtime.stored import query_stored

    return query_stored(path, statement)
