"""`doctor`, `devices` and `incidents`: what is running, and what a security team does with it."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from contracts.errors import ConfigError, NotReady
from thingstorm.cli.ask import Api, Form
from thingstorm.cli.client import call
from thingstorm.cli.durations import seconds_of
from thingstorm.cli.tables import print_rows

devices_app = typer.Typer(
    help="Create devices, list, disconnect, quarantine and release them; decide what is held.",
    no_args_is_help=True,
)
incidents_app = typer.Typer(help="List, show and resolve incidents.", no_args_is_help=True)

DeviceId = Annotated[str, typer.Argument(help="The device's id (its MQTT client id).")]
IncidentId = Annotated[str, typer.Argument(help="The incident's id.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
USER = os.environ.get("USER") or "operator"
By = Annotated[str, typer.Option("--by", help="Who acts; it is recorded.", show_default=False)]
For = Annotated[str | None, typer.Option("--for", help="How long: 30s, 5m, 2h. Default: until released.")]


class Resolution(StrEnum):
    """What an incident was."""

    TRUE_POSITIVE = "true_positive"
    BENIGN_POSITIVE = "benign_positive"
    FALSE_POSITIVE = "false_positive"


_DEVICES = ("device_id", "device_type", "connected", "quarantined", "last_seen", "firmware")
_INCIDENTS = ("incident_id", "kind", "opened_at", "closed_at", "resolution", "summary")
_ACTIONS = ("acted_at", "who", "action", "target", "outcome", "incident_id", "why")


def register(app: typer.Typer) -> None:
    app.command()(doctor)
    app.add_typer(devices_app, name="devices")
    app.add_typer(incidents_app, name="incidents")


def doctor(api: Api = None, form: Form = "table") -> None:
    """Every service of the running stack: its state, last progress and buffers; and what rules can do with its backend.

    The second table is for people only: machines read /capabilities of the API. Exit code 3 if a service is not ready.

    Examples:
      thingstorm doctor
      thingstorm doctor --api http://127.0.0.1:8080 --format json
    """
    services = call("GET", "/healthz", url=api)["services"]
    rows = [(s["name"], s["state"], s["detail"], s["last_progress"] or "", _buffers(s)) for s in services]
    print_rows(("service", "state", "detail", "last progress", "buffers"), rows, form)
    if form == "table":
        _capabilities(api)
    if unready := [s["name"] for s in services if s["state"] != "ready"]:
        raise NotReady(
            f"not ready: {', '.join(unready)}", fix="the detail column says why; restart `thingstorm up`"
        )


def _capabilities(api: str | None) -> None:
    told = call("GET", "/capabilities", url=api)
    rows = [(one["what"], "yes" if one["can"] else "no", one["why"]) for one in told["capabilities"]]
    typer.echo(f"\nrules on backend {told['backend']}")
    print_rows(("rules", "can", "why not"), rows, "table")


def _buffers(service: dict[str, Any]) -> str:
    return ", ".join(
        f"{b['name']} {b['used']}/{b['capacity']} (most {b['highest']})" for b in service["buffers"]
    )


@devices_app.command("list")
def devices_list(api: Api = None, form: Form = "table") -> None:
    """All devices that the view knows.

    Example: thingstorm devices list --format csv
    """
    _print(call("GET", "/devices", url=api)["devices"], _DEVICES, form)


@devices_app.command("show")
def devices_show(device_id: DeviceId, api: Api = None, form: Form = "table") -> None:
    """One device, whole.

    Example: thingstorm devices show meter-0007
    """
    device = call("GET", f"/devices/{quote(device_id, safe='')}", url=api)
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
    """Close the device's connection; it may come back at once. As AWS's DeleteConnection does it.

    Example: thingstorm devices disconnect meter-0007
    """
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
def devices_quarantine(
    device_id: DeviceId, reason: Reason = "by hand", by: By = USER, hold: For = None, api: Api = None
) -> None:
    """Refuse the device from now on and close its connection.

    Example: thingstorm devices quarantine meter-0007 --reason "odd topic" --for 2h
    """
    body: dict[str, Any] = {"reason": reason, "by": by}
    if hold is not None:
        body["seconds"] = seconds_of(hold)
    call("POST", f"/devices/{quote(device_id, safe='')}/quarantine", url=api, body=body)
    typer.echo(f"{device_id} is in quarantine; undo: thingstorm devices release {device_id}")


@devices_app.command("release")
def devices_release(device_id: DeviceId, reason: Reason = "by hand", by: By = USER, api: Api = None) -> None:
    """Let the device come back.

    Example: thingstorm devices release meter-0007 --reason "load test"
    """
    body = {"reason": reason, "by": by}
    call("POST", f"/devices/{quote(device_id, safe='')}/release", url=api, body=body)
    typer.echo(f"{device_id} may come back")


@devices_app.command("held")
def devices_held(api: Api = None, form: Form = "table") -> None:
    """Quarantines that wait for a person: beyond a cap, or on a doubt.

    Example: thingstorm devices held
    """
    _print(call("GET", "/held", url=api)["held"], ("device_id", "incident_id", "why", "evidence"), form)


@devices_app.command("approve")
def devices_approve(device_id: DeviceId, reason: Reason = "by hand", by: By = USER, api: Api = None) -> None:
    """Shut out a device that is held.

    Example: thingstorm devices approve meter-0007 --reason "seen on site"
    """
    call("POST", f"/held/{quote(device_id, safe='')}/approve", url=api, body={"reason": reason, "by": by})
    typer.echo(f"{device_id} is in quarantine; undo: thingstorm devices release {device_id}")


@devices_app.command("dismiss")
def devices_dismiss(device_id: DeviceId, reason: Reason = "by hand", by: By = USER, api: Api = None) -> None:
    """Do not shut out a device that is held.

    Example: thingstorm devices dismiss meter-0007 --reason "load test"
    """
    call("POST", f"/held/{quote(device_id, safe='')}/dismiss", url=api, body={"reason": reason, "by": by})
    typer.echo(f"{device_id} is left alone")


@devices_app.command("actions")
def devices_actions(
    device_id: Annotated[str, typer.Argument(help="The device; leave it out for all.")] = "",
    api: Api = None,
    form: Form = "table",
) -> None:
    """What was done about a device, or about all: by whom, why, with what outcome, newest first.

    Examples:
      thingstorm devices actions
      thingstorm devices actions meter-0007 --format json
    """
    found = call("GET", "/actions", url=api, query={"target": device_id} if device_id else None)
    _print(found["actions"], _ACTIONS, form)


@incidents_app.command("list")
def incidents_list(api: Api = None, form: Form = "table") -> None:
    """All incidents, newest first.

    Example: thingstorm incidents list
    """
    _print(call("GET", "/incidents", url=api)["incidents"], _INCIDENTS, form)


@incidents_app.command("show")
def incidents_show(incident_id: IncidentId, api: Api = None, form: Form = "table") -> None:
    """One incident, whole: its devices, what was done, what it was resolved as and what followed.

    Example: thingstorm incidents show security-1767600035000
    """
    print_rows(
        ("field", "value"),
        list(call("GET", f"/incidents/{quote(incident_id, safe='')}", url=api).items()),
        form,
    )


@incidents_app.command("resolve")
def incidents_resolve(
    incident_id: IncidentId,
    resolution: Annotated[
        Resolution,
        typer.Option(
            "--as", help="An attack; something permitted that looks like one; a mistake of the model."
        ),
    ],
    reason: Reason = "by hand",
    by: By = USER,
    api: Api = None,
) -> None:
    """Say what an incident was; the model takes the lesson.

    Benign and false positives release its devices and raise what the same signs take on them for a week. A true
    positive keeps them in quarantine and out of all learning.

    Example: thingstorm incidents resolve security-1767600035000 --as false_positive --reason "load test"
    """
    body = {"as": resolution.value, "reason": reason, "by": by}
    told = call("POST", f"/incidents/{quote(incident_id, safe='')}/resolve", url=api, body=body)
    typer.echo(f"{incident_id} is resolved as {resolution.value}")
    for feature, limit in ((told["lesson"] or {}).get("limits") or {}).items():
        typer.echo(f"  {feature} counts on these devices from z {limit:.1f} on")


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], form: Any) -> None:
    if form == "json":
        columns = tuple(rows[0]) if rows else columns
    print_rows(columns, [tuple(row.get(column) for column in columns) for row in rows], form)
