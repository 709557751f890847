"""Lifecycle events as AWS IoT Core publishes them.

Source: AWS IoT Core lifecycle events page: `$aws/events/presence/connected/CID`, `.../disconnected/CID`,
`$aws/events/subscriptions/subscribed/CID`. Quarantine is ours and has topics of its own.
"""

import json
from typing import Any

from contracts.messages import MILLISECOND, LifecycleEvent

_TOPICS = {
    "connected": "$aws/events/presence/connected/",
    "disconnected": "$aws/events/presence/disconnected/",
    "connect_failed": "$aws/events/presence/connect_failed/",
    "subscribed": "$aws/events/subscriptions/subscribed/",
    "unsubscribed": "$aws/events/subscriptions/unsubscribed/",
    "quarantined": "$thingstorm/devices/quarantined/",
    "released": "$thingstorm/devices/released/",
    "job": "$thingstorm/devices/job/",
}

MAX_JOB = 2_000
"""Characters of a job's text that travel with the event: its name and figures, not its firmware."""


def topic_of(event: LifecycleEvent) -> str:
    """Where the event is published."""
    return _TOPICS[event.kind] + event.client_id


def payload_of(event: LifecycleEvent) -> bytes:
    """The event as JSON; `timestamp` in milliseconds."""
    told: dict[str, Any] = {
        "clientId": event.client_id,
        "timestamp": event.at // MILLISECOND,
        "eventType": event.kind,
    }
    if event.kind in ("quarantined", "released", "connect_failed", "job"):
        told["reason"] = event.reason
    if event.kind in ("connected", "disconnected", "subscribed", "unsubscribed"):
        told |= {"sessionIdentifier": event.session_id, "principalIdentifier": event.principal}
    if event.kind in ("connected", "disconnected", "connect_failed"):
        told |= {"ipAddress": event.source_ip, "versionNumber": event.version}
    if event.kind == "disconnected":
        told |= {"clientInitiatedDisconnect": event.client_initiated, "disconnectReason": event.reason}
    if event.topics:
        told["topics"] = list(event.topics)
    return json.dumps(told, separators=(",", ":")).encode()


def job_of(topic: str, payload: bytes, *, retain: bool) -> tuple[str, str] | None:
    """The device and the text if this is a job as the platform sends it: retained on `cmd/TYPE/DEVICE/job`.

    A text that is not JSON, or too long, is told without its contents.
    """
    levels = topic.split("/")
    if not retain or len(levels) != 4 or levels[0] != "cmd" or levels[3] != "job":
        return None
    try:
        text = payload.decode()
        if text:
            json.loads(text)
    except ValueError:
        text = "{}"
    return levels[2], text if len(text) <= MAX_JOB else "{}"
