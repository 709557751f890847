"""Alerts through AWS: an SNS topic, whose queue (or e-mail, or webhook) is the security team's, and objects in S3."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from anyio import CapacityLimiter, to_thread

from contracts.messages import SECOND, Alert, Nanoseconds

from .session import translated

SUBJECT_LENGTH = 100
"""What SNS takes at most, as ASCII."""

FINDINGS_PREFIX = "findings/"


class SnsAlerts:
    """An AlertChannel that publishes to an SNS topic. `happened` and `kind` are attributes, for filter policies."""

    def __init__(
        self, *, sns: Any, sns_topic_arn: str, render: Callable[[Alert], bytes], name: str = "sns"
    ) -> None:
        self.name = name
        self._sns = sns
        self._arn = sns_topic_arn
        self._render = render
        self._limiter = CapacityLimiter(2)

    def render(self, alert: Alert) -> bytes:
        """The message, with what SNS wants beside it."""
        kind = "test" if alert.test else alert.incident.kind
        told = {
            "subject": f"thingstorm: {kind} {alert.happened}"[:SUBJECT_LENGTH],
            "message": self._render(alert).decode(),
            "attributes": {"happened": alert.happened, "kind": kind},
        }
        return json.dumps(told).encode()

    async def deliver(self, alert_id: str, body: bytes) -> None:
        """Publish. Raises Transient, Terminal."""
        _ = alert_id
        await to_thread.run_sync(self._publish, json.loads(body), limiter=self._limiter)

    @translated
    def _publish(self, told: dict[str, Any]) -> None:
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in told["attributes"].items()
        }
        self._sns.publish(
            TopicArn=self._arn,
            Subject=told["subject"],
            Message=told["message"],
            MessageAttributes=attributes,
        )


class FindingObjects:
    """An AlertChannel that puts each finding into the archive's bucket: `findings/YYYY/MM/DD/ALERT.json`."""

    def __init__(
        self, *, s3: Any, bucket: str, render: Callable[[Alert], bytes], name: str = "findings"
    ) -> None:
        self.name = name
        self._s3 = s3
        self._bucket = bucket
        self._render = render
        self._limiter = CapacityLimiter(1)

    def render(self, alert: Alert) -> bytes:
        """One line of JSON, behind the key of its object."""
        key = f"{FINDINGS_PREFIX}{_day(alert.at)}/{alert.alert_id}.json"
        return key.encode() + b"\n" + self._render(alert) + b"\n"

    async def deliver(self, alert_id: str, body: bytes) -> None:
        """Put the object; twice makes it no other one. Raises Transient, Terminal."""
        _ = alert_id
        key, _, line = body.partition(b"\n")
        await to_thread.run_sync(self._put, key.decode(), line, limiter=self._limiter)

    @translated
    def _put(self, key: str, line: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=line, ContentType="application/x-ndjson")


def _day(moment: Nanoseconds) -> str:
    return datetime.fromtimestamp(moment / SECOND, tz=UTC).strftime("%Y/%m/%d")
