"""`announce`: tell the model of a change before it happens."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from contracts.errors import ConfigError
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.durations import seconds_of
from thingstorm.cli.operate import USER, By
from thingstorm.cli.tables import print_rows

_COLUMNS = ("announcement_id", "what", "who", "starts_at", "ends_at", "device_types", "devices", "rate")


def register(app: typer.Typer) -> None:
    app.command()(announce)


def announce(
    what: Annotated[
        str, typer.Argument(help="What will change; leave it out to list what is announced.")
    ] = "",
    device: Annotated[
        list[str] | None, typer.Option("--device", help="A device's id, may be repeated.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="All devices of this type, may be repeated.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--devices", help="File with a device id a line, or a JSON list.")
    ] = None,
    last: Annotated[str, typer.Option("--for", help="How long it takes: 30s, 5m, 2h, 1d.")] = "1h",
    rate: Annotated[
        float | None, typer.Option("--rate", help="How many times the usual traffic at most. Default: 3.")
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", help="A topic that will be new, with {device} for the device's id."),
    ] = None,
    withdraw: Annotated[str, typer.Option("--withdraw", help="The id of an announcement that is over.")] = "",
    by: By = USER,
    api: Api = None,
    form: Form = "table",
) -> None:
    """Announce a change: its devices are compared among themselves while it lasts.

    It excuses no refused request, no foreign topic, and no device that stands out among those announced with it.

    Example: thingstorm announce "firmware 2.0" --group meter --for 30m --rate 2
    """
    if withdraw:
        ended = call("POST", f"/announcements/{withdraw}/withdraw", url=api, body={"by": by})
        typer.echo(f"{ended['announcement_id']} is over")
        return
    if not what:
        found = call("GET", "/announcements", url=api)["announcements"]
        print_rows(_COLUMNS, [tuple(one[name] for name in _COLUMNS) for one in found], form)
        return
    devices = [*(device or ()), *(_listed(file) if file else ())]
    body: dict[str, Any] = {"what": what, "by": by, "seconds": seconds_of(last), "devices": devices}
    body |= {"device_types": group or [], "topics": topic or []}
    if rate is not None:
        body["rate"] = rate
    made = call("POST", "/announcements", url=api, body=body)
    typer.echo(
        f"{made['announcement_id']}: undo with thingstorm announce --withdraw {made['announcement_id']}"
    )
    _warn_of_nobody(group or [], api)


def _warn_of_nobody(groups: list[str], api: str | None) -> None:
    """Devices may come later; a group with another name is more likely mistyped."""
    if not groups:
        return
    found = call(
        "POST",
        "/query",
        url=api,
        body={"sql": "SELECT DISTINCT device_type FROM devices WHERE device_type IS NOT NULL"},
    )
    known = {str(kind) for (kind,) in found["rows"]}
    for group in sorted(set(groups) - known):
        typer.echo(f"no device of type '{group}' is known yet; known: {', '.join(sorted(known))}", err=True)


def _listed(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if text.lstrip().startswith("[") else text.split()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}: {error}", fix="give a file with a device id a line") from None
    return [str(one) for one in found]
