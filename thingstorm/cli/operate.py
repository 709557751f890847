"""`doctor`, `devices` and `incidents`: what is running, and what a security team does with it."""

from typing import Annotated, Any

import typer

from contracts.errors import NotReady
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.tables import print_rows

devices_app = typer.Typer(help="List devices, quarantine and release them.", no_args_is_help=True)
incidents_app = typer.Typer(help="List incidents.", no_args_is_help=True)

DeviceId = Annotated[str, typer.Argument(help="The device's id (its MQTT client id).")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]

_DEVICES = ("device_id", "device_type", "connected", "quarantined", "last_seen", "firmware")
_INCIDENTS = ("incident_id", "kind", "opened_at", "closed_at", "summary")


def register(app: typer.Typer) -> None:
    app.command()(doctor)
    app.add_typer(devices_app, name="devices")
    app.add_typer(incidents_app, name="incidents")


def doctor(api: Api = None, form: Form = "table") -> None:
    """One table: every service of the running stack, its state, last progress, buffers.

    Exit code 3 if one of them is not ready.
    """
    services = call("GET", "/healthz", url=api)["services"]
    rows = [(s["name"], s["state"], s["detail"], s["last_progress"] or "", _buffers(s)) for s in services]
    print_rows(("service", "state", "detail", "last progress", "buffers"), rows, form)
    if unready := [s["name"] for s in services if s["state"] != "ready"]:
        raise NotReady(
            f"not ready: {', '.join(unready)}", fix="the detail column says why; restart `thingstorm up`"
        )


def _buffers(service: dict[str, Any]) -> str:
    return ", ".join(
        f"{b['name']} {b['used']}/{b['capacity']} (most {b['highest']})" for b in service["buffers"]
    )


@devices_app.command("list")
def devices_list(api: Api = None, form: Form = "table") -> None:
    """All devices that the view knows."""
    _print(call("GET", "/devices", url=api)["devices"], _DEVICES, form)


@devices_app.command("show")
def devices_show(device_id: DeviceId, api: Api = None, form: Form = "table") -> None:
    """One device, whole."""
    device = call("GET", f"/devices/{device_id}", url=api)
    print_rows(("field", "value"), list(device.items()), form)


@devices_app.command("quarantine")
def devices_quarantine(device_id: DeviceId, reason: Reason = "by hand", api: Api = None) -> None:
    """Refuse the device from now on and close its connection."""
    call("POST", f"/devices/{device_id}/quarantine", url=api, body={"reason": reason})
    typer.echo(f"{device_id} is in quarantine; undo: thingstorm devices release {device_id}")


@devices_app.command("release")
def devices_release(device_id: DeviceId, reason: Reason = "by hand", api: Api = None) -> None:
    """Let the device come back."""
    call("POST", f"/devices/{device_id}/release", url=api, body={"reason": reason})
    typer.echo(f"{device_id} may come back")


@incidents_app.command("list")
def incidents_list(api: Api = None, form: Form = "table") -> None:
    """All incidents, newest first."""
    _print(call("GET", "/incidents", url=api)["incidents"], _INCIDENTS, form)


@incidents_app.command("show")
def incidents_show(
    incident_id: Annotated[str, typer.Argument(help="The incident's id.")],
    api: Api = None,
    form: Form = "table",
) -> None:
    """One incident, whole."""
    print_rows(("field", "value"), list(call("GET", f"/incidents/{incident_id}", url=api).items()), form)


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], form: Any) -> None:
    if form == "json":
        columns = tuple(rows[0]) if rows else columns
    print_rows(columns, [tuple(row.get(column) for column in columns) for row in rows], form)
