"""What a webhook's body looks like: our own JSON, or what Slack and PagerDuty take.

Sources: Slack, "Block Kit" reference (a header has at most 150 characters, the text of a section 3,000, one field
2,000); PagerDuty, Events API v2 (`dedup_key` at most 255 characters, `summary` 1,024).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from contracts.messages import Alert

from .describing import describe, headline, iso
from .ocsf import finding

Render: TypeAlias = Callable[[Alert], bytes]

_SHOWN = 20
_SEVERITY = {"attack": "critical", "undecided": "warning"}


def template(name: str, *, product_version: str, routing_key: str = "") -> Render:
    """The renderer of that name: thingstorm, slack, pagerduty or ocsf."""
    makers: Mapping[str, Callable[[Alert], dict[str, Any]]] = {
        "thingstorm": describe,
        "slack": slack,
        "pagerduty": lambda alert: pagerduty(alert, routing_key=routing_key),
        "ocsf": lambda alert: finding(alert, product_version=product_version),
    }
    make = makers[name]
    return lambda alert: json.dumps(make(alert), separators=(",", ":"), allow_nan=False, default=str).encode()


def slack(alert: Alert) -> dict[str, Any]:
    """For an incoming webhook: a headline, the summary, the devices, and a link to the incident."""
    incident = alert.incident
    sign = {
        "opened": ":rotating_light:",
        "worsened": ":chart_with_upwards_trend:",
        "closed": ":white_check_mark:",
    }
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": headline(alert)[:150]}},
        {"type": "section", "fields": [_mrkdwn(text) for text in _fields(alert)]},
    ]
    if incident.verdict.summary:
        blocks.insert(1, {"type": "section", "text": _mrkdwn(_escaped(incident.verdict.summary)[:2900])})
    if alert.link:
        blocks.append({"type": "section", "text": _mrkdwn(f"<{alert.link}|Look at the incident>")})
    return {"text": f"{sign[alert.happened]} {_escaped(headline(alert))}", "blocks": blocks}


def pagerduty(alert: Alert, *, routing_key: str) -> dict[str, Any]:
    """An event of Events API v2: `trigger` while it lasts, `resolve` when it is over, the same key for one incident."""
    incident = alert.incident
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if alert.happened == "closed" else "trigger",
        "dedup_key": f"thingstorm/{incident.incident_id}"[:255],
        "client": "thingstorm",
        "payload": {
            "summary": headline(alert)[:1024],
            "source": "thingstorm",
            "severity": "info" if alert.test else _SEVERITY.get(incident.kind, "info"),
            "timestamp": iso(incident.opened_at),
            "component": "device fleet",
            "class": incident.kind,
            "custom_details": describe(alert),
        },
    }
    if alert.link:
        event |= {"client_url": alert.link, "links": [{"href": alert.link, "text": "Look at the incident"}]}
    return event


def _fields(alert: Alert) -> list[str]:
    incident = alert.incident
    shown = ", ".join(incident.devices[:_SHOWN])
    more = f" and {len(incident.devices) - _SHOWN} more" if len(incident.devices) > _SHOWN else ""
    return [
        f"*Incident*\n{_escaped(incident.incident_id)}",
        f"*Confidence*\n{incident.verdict.confidence:.2f}",
        f"*Since*\n{iso(incident.opened_at)}",
        f"*Devices*\n{_escaped(shown)[:1900] + more if shown else 'none named'}",
    ]


def _mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}


def _escaped(text: str) -> str:
    """The three characters that Slack's text gives a meaning."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
