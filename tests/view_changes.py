"""Changes and a plain dict model for the tests of the view."""

from collections.abc import Iterable
from typing import Any

from contracts.messages import Change, ChangeKind, Json


def device(
    name: str, sequence: int, *, kind: ChangeKind = "INSERT", shard: str = "s", **values: Json
) -> Change:
    new = None if kind == "REMOVE" else {"device_id": name, **values}
    return Change(kind, "devices", {"device_id": name}, new, None, sequence, shard)


def telemetry(
    number: int, *, device_id: str = "d1", received_at: int = 1_700_000_000_000, **values: Json
) -> Change:
    event_id = f"{received_at:013d}-m{number}"
    item = {
        "device_id": device_id,
        "event_id": event_id,
        "message_id": f"m{number}",
        "received_at": received_at,
        **values,
    }
    return Change(
        "INSERT", "telemetry", {"device_id": device_id, "event_id": event_id}, item, None, 1000 + number, "s"
    )


def model(changes: Iterable[Change]) -> dict[str, dict[str, Any]]:
    """What the view must hold: per key the change with the highest sequence, unless it removes."""
    last: dict[str, Change] = {}
    for change in changes:
        key = str(change.key["device_id"])
        if key not in last or change.sequence > last[key].sequence:
            last[key] = change
    return {key: dict(change.new) for key, change in last.items() if change.new is not None}
