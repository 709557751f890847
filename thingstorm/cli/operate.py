"""`doctor`, `devices` and `incidents`: what is running, and what a security team does with it."""

import json
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from contracts.errors import ConfigError, NotReady
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.tables import print_rows

devices_app = typer.Typer(
    help="Create devices, list, disconnect, quarantine and release them.", no_args_is_help=True
)
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


@devices_app.command("create")
def devices_create(
    device_id: DeviceId,
    out: Annotated[Path, typer.Option("--out", help="Folder for certificate, key and CA.")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="File with a policy document; default: its own topics only."),
    ] = None,
    api: Api = None,
) -> None:
    """Make a thing with an active certificate and a policy; write what the device needs to connect with mutual TLS.

    Example: thingstorm devices create meter-0042 --out meter-0042
    """
    body = {"policy": _document(policy) if policy else None}
    made = call("POST", f"/devices/{quote(device_id, safe='')}/credentials", url=api, body=body)
    files = {"certificate.pem.crt": "certificate", "private.pem.key": "private_key", "root-ca.pem": "root_ca"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, part in files.items():
            _write_private(out / name, made[part])
    except OSError as error:
        raise ConfigError(
            f"cannot write to {out}: {error}", fix="give a folder that can be written to"
        ) from None
    typer.echo(f"{device_id}: certificate {made['certificate_id']}")
    typer.echo("\n".join(f"  {out / name}" for name in files))


@devices_app.command("disconnect")
def devices_disconnect(device_id: DeviceId, api: Api = None) -> None:
    """Close the device's connection, as AWS's DeleteConnection does; it may come back at once."""
    closed = call("DELETE", f"/connections/{quote(device_id, safe='')}", url=api)["connected"]
    typer.echo(f"{device_id} {'is disconnected' if closed else 'was not connected'}")


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is no policy document: {error}", fix="give a file with one JSON object"
        ) from None


def _write_private(path: Path, body: str) -> None:
    """For nobody else to read."""
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(body)


@devices_app.command("quarantine")
def devices_quarantine(device_id: DeviceId, reason: Reason = "by hand", api: Api = None) -> None:
    """Refuse the device from now on and close its connection."""
    call("POST", f"/devices/{quote(device_id, safe='')}/quarantine", url=api, body={"reason": reason})
    typer.echo(f"{device_id} is in quarantine; undo: thingstorm devices release {device_id}")


@devices_app.command("release")
def devices_release(device_id: DeviceId, reason: Reason = "by hand", api: Api = None) -> None:
    """Let the device come back."""
    call("POST", f"/devices/{quote(device_id, safe='')}/release", url=api, body={"reason": reason})
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
