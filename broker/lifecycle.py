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
}


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
    if event.kind in ("quarantined", "released", "connect_failed"):
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
