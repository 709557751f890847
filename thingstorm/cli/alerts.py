"""`alerts`: who is told, whether that works, and what nobody could be told."""

from typing import Annotated

import typer

from contracts.errors import NotReady
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.tables import print_rows

alerts_app = typer.Typer(
    help="Test the alert channels, see what waits, try again what failed.", no_args_is_help=True
)

To = Annotated[
    list[str] | None, typer.Option("--to", help="A channel's name, may be repeated. Default: all.")
]

_CHANNELS = ("channel", "state", "waiting", "undelivered", "dropped", "trouble")
_UNDELIVERED = ("channel", "alert_id", "happened", "what", "why")


def register(app: typer.Typer) -> None:
    app.add_typer(alerts_app, name="alerts")


@alerts_app.command("test")
def alerts_test(to: To = None, api: Api = None, form: Form = "table") -> None:
    """Tell every channel of a test, now: what became of it on the running stack.

    Exit code 3 if a channel did not take it.

    Examples:
      thingstorm alerts test
      thingstorm alerts test --to email --to pager
    """
    outcomes = call("POST", "/alerts/test", url=api, body={"to": to or []})["outcomes"]
    print_rows(("channel", "outcome"), [(one["channel"], one["outcome"]) for one in outcomes], form)
    if failed := [one["channel"] for one in outcomes if one["outcome"] != "done"]:
        raise NotReady(
            f"not told: {', '.join(failed)}",
            fix="the outcome says why; correct the section `alerts`, start again",
        )


@alerts_app.command("list")
def alerts_list(api: Api = None, form: Form = "table") -> None:
    """The channels and how they do; and, for people, the alerts that none of them could be told.

    Example: thingstorm alerts list
    """
    told = call("GET", "/alerts", url=api)
    print_rows(_CHANNELS, [tuple(one[name] for name in _CHANNELS) for one in told["channels"]], form)
    if told["undelivered"] and form == "table":
        typer.echo("\nundelivered; try again: thingstorm alerts retry")
        rows = [tuple(one[name] for name in _UNDELIVERED) for one in told["undelivered"]]
        print_rows(_UNDELIVERED, rows, form)


@alerts_app.command("retry")
def alerts_retry(to: To = None, api: Api = None) -> None:
    """Try again what was given up, and at once what waits.

    Examples:
      thingstorm alerts retry
      thingstorm alerts retry --to email
    """
    count = call("POST", "/alerts/retry", url=api, body={"to": to or []})["tried_again"]
    typer.echo(f"{count} undelivered alert{'s are' if count != 1 else ' is'} tried again")
