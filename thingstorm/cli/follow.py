"""`trace` and `dlq`: where a message is, and what became of those that nobody could use."""

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from contracts.errors import UnknownName
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.tables import print_rows

dlq_app = typer.Typer(help="Messages that failed for good: list, show why, put back.", no_args_is_help=True)

MessageId = Annotated[str, typer.Argument(help="The message id, as the list has it.")]


def register(app: typer.Typer) -> None:
    app.command()(trace)
    app.add_typer(dlq_app, name="dlq")


def trace(
    message_id: Annotated[str, typer.Argument(help="The message id, as rows of `telemetry` have it.")],
    form: Form = "table",
    api: Api = None,
) -> None:
    """Follow one message: each hop with its time.

    Stages remember the last 10,000 messages; of older ones only the row tells.

    Example: thingstorm trace 0190f6c2a7be7c62b1c5
    """
    steps = call("GET", f"/trace/{quote(message_id, safe='')}", url=api)["steps"]
    began = steps[0]["at"]
    rows = [(s["hop"], _moment(s["at"]), f"{(s['at'] - began) / 1e6:.1f}", s["detail"]) for s in steps]
    print_rows(("hop", "at", "ms", "detail"), rows, form)


@dlq_app.command("list")
def dlq_list(form: Form = "table", api: Api = None) -> None:
    """Every dead letter with its reason, oldest first.

    Example: thingstorm dlq list
    """
    rows = [
        (one["message_id"], one["lane"], _moment(one["at"] * 1_000_000), one["receives"], one["reason"])
        for one in _letters(api)
    ]
    print_rows(("message_id", "lane", "at", "receives", "reason"), rows, form)


@dlq_app.command("show")
def dlq_show(message_id: MessageId, form: Form = "table", api: Api = None) -> None:
    """One dead letter, whole.

    Example: thingstorm dlq show 5fea7756-0ea4-451a-a703-a558b933e274
    """
    letters = _letters(api)
    found = next((one for one in letters if one["message_id"] == message_id), None)
    if found is None:
        raise UnknownName("dead letter", message_id, [one["message_id"] for one in letters][:5])
    print_rows(("field", "value"), list(found.items()), form)


@dlq_app.command("redrive")
def dlq_redrive(
    message_id: Annotated[str | None, typer.Argument(help="Which one; without it all.")] = None,
    api: Api = None,
) -> None:
    """Put it back into its queue, to be handled again: after the handler, or the table, was mended.

    Examples:
      thingstorm dlq redrive
      thingstorm dlq redrive 5fea7756-0ea4-451a-a703-a558b933e274
    """
    path = f"/dead-letters/{quote(message_id, safe='')}/redrive" if message_id else "/dead-letters/redrive"
    count = call("POST", path, url=api)["redriven"]
    typer.echo(f"{count} {'message is' if count == 1 else 'messages are'} back in the queue")


def _letters(api: str | None) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = call("GET", "/dead-letters", url=api)["dead_letters"]
    return letters


def _moment(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="milliseconds") + "Z"
