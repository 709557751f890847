"""Tells the security team through an SNS topic, whose queue (or e-mail, or webhook) is theirs."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter, to_thread

from contracts.messages import SECOND, Incident, Nanoseconds

from .session import translated


class SnsAlerts:
    """An AlertSink that publishes the incident as JSON."""

    name = "sns_topic alerts"

    def __init__(self, *, sns: Any, sns_topic_arn: str) -> None:
        self._sns = sns
        self._arn = sns_topic_arn
        self._limiter = CapacityLimiter(2)

    async def alert(self, incident: Incident) -> None:
        """Publish. Raises Transient, Terminal."""
        body = json.dumps(describe(incident))
        await to_thread.run_sync(lambda: self._publish(incident, body), limiter=self._limiter)

    @translated
    def _publish(self, incident: Incident, body: str) -> None:
        self._sns.publish(TopicArn=self._arn, Subject=f"thingstorm: {incident.kind}", Message=body)


def describe(incident: Incident) -> dict[str, Any]:
    """The incident as people and programs read it: times as ISO 8601."""
    return {
        "incident_id": incident.incident_id,
        "kind": incident.kind,
        "opened_at": _iso(incident.opened_at),
        "updated_at": _iso(incident.updated_at),
        "devices": list(incident.devices),
        "confidence": incident.verdict.confidence,
        "summary": incident.verdict.summary,
        "evidence": [asdict(evidence) for evidence in incident.verdict.evidence],
    }


def _iso(moment: Nanoseconds) -> str:
    return datetime.fromtimestamp(moment / SECOND, tz=UTC).isoformat(timespec="milliseconds")
