"""What the error for a device or an incident that is not there names: the ids most like the one that was asked for."""

from collections.abc import Mapping
from typing import Literal

from contracts.errors import UnknownName
from contracts.ports import View

_NEAREST_SQL: Mapping[str, str] = {
    "device": (
        "SELECT device_id FROM devices ORDER BY jaro_winkler_similarity(device_id, $name) DESC, device_id LIMIT 5"
    ),
    "incident": (
        "SELECT incident_id FROM incidents"
        " ORDER BY jaro_winkler_similarity(incident_id, $name) DESC, incident_id DESC LIMIT 5"
    ),
}


async def unknown(view: View, kind: Literal["device", "incident"], name: str) -> UnknownName:
    """To be raised by the caller."""
    rows = await view.query(_NEAREST_SQL[kind], {"name": name})
    return UnknownName(kind, name, [str(row[0]) for row in rows.rows])
