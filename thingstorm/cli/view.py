"""`view`: the stored view's file as a whole, and the collections of a running stack."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import ConfigError, ExpectationFailed
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.tables import print_rows

view_app = typer.Typer(
    help="Compact, export, import and verify a stored view; make, fill and describe collections.",
    no_args_is_help=True,
)

File = Annotated[Path, typer.Argument(help="The stored view's file (view.path).")]
Folder = Annotated[Path, typer.Argument(help="Folder of the Parquet files.")]
Name = Annotated[str, typer.Argument(help="The collection's name.")]


def register(app: typer.Typer) -> None:
    app.add_typer(view_app, name="view")


@view_app.command("compact")
def view_compact(file: File) -> None:
    """Write all rows anew in the order of event time; gives back the space of deleted ones.

    No stack may have the file open.

    Example: thingstorm view compact view.db
    """
    from analytics.view.files import compact

    done = compact(file)
    typer.echo(f"{file}: {_megabytes(done.before)} before, {_megabytes(done.after)} after")


@view_app.command("export")
def view_export(file: File, folder: Folder) -> None:
    """Every collection as Parquet, with all that it takes to go on.

    Example: thingstorm view export view.db backup
    """
    from analytics.view.files import export

    print_rows(("table", "rows"), list(export(file, folder).items()), "table")


@view_app.command("import")
def view_import(folder: Folder, file: File) -> None:
    """A new file of an export. A stack started with it goes on from the export's checkpoints.

    Example: thingstorm view import backup restored.db
    """
    from analytics.view.files import restore

    print_rows(("table", "rows"), list(restore(folder, file).items()), "table")


@view_app.command("verify")
def view_verify(file: File, form: Form = "table") -> None:
    """No id twice, no row of a removed key, rollups equal to a recount. Exit code 1 if not so.

    Example: thingstorm view verify view.db
    """
    from analytics.view.files import verify

    found = verify(file)
    columns = ("collection", "rows", "doubled", "removed keys", "wrong buckets")
    print_rows(columns, [(v.collection, v.rows, v.doubled, v.buried, v.wrong_buckets) for v in found], form)
    if wrong := [one.collection for one in found if not one.right]:
        raise ExpectationFailed(
            f"wrong: {', '.join(wrong)}",
            fix="`thingstorm view compact` counts rollups anew; else import an export",
        )


@view_app.command("list")
def view_list(api: Api = None, form: Form = "table") -> None:
    """The collections of a running stack.

    Example: thingstorm view list
    """
    names = call("GET", "/collections", url=api)["collections"]
    print_rows(("collection",), [(name,) for name in names], form)


@view_app.command("describe")
def view_describe(name: Name, api: Api = None, form: Form = "table") -> None:
    """What a collection has: columns, indexes, rows, fields without a column, and what was decided about them.

    Example: thingstorm view describe telemetry
    """
    told = call("GET", f"/collections/{name}", url=api)
    print_rows(("what", "value"), [(key, _shown(value)) for key, value in told.items()], form)


@view_app.command("create")
def view_create(
    definition: Annotated[Path, typer.Argument(help="A JSON file: name, columns, indexes, rollup ...")],
    api: Api = None,
) -> None:
    """Make a collection of documents in a running stack.

    Example: thingstorm view create assets.json
    """
    told = _document(definition)
    call("POST", "/collections", url=api, body=told)
    typer.echo(f"{told['name']} is made")


@view_app.command("write")
def view_write(
    name: Name,
    documents: Annotated[Path, typer.Argument(help="NDJSON: a document a line; `_id` is optional.")],
    patch: Annotated[bool, typer.Option("--patch", help="Merge into what is there.")] = False,
    api: Api = None,
) -> None:
    """Insert, replace or merge documents.

    Examples:
      thingstorm view write assets assets.ndjson
      thingstorm view write assets moved.ndjson --patch
    """
    told = list(_lines(documents))  # all of them are read before the first is written
    for start in range(0, len(told), 500):
        part = {"documents": told[start : start + 500], "patch": patch}
        call("POST", f"/collections/{name}/documents", url=api, body=part)
    typer.echo("1 document" if len(told) == 1 else f"{len(told)} documents")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read {path}: {error}", fix="give a file with a JSON object a line"
        ) from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: {error}", fix="write a JSON object on each line") from None
        if not isinstance(told, dict):
            raise ConfigError(
                f"{path}:{number}: {type(told).__name__} is no document",
                fix="write a JSON object on each line",
            )
        yield told


def _document(path: Path) -> Any:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        _ = told["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: {error!r}", fix="give a JSON object with a name; see docs/view.md"
        ) from None
    return told


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
