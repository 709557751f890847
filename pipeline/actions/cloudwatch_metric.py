"""The `cloudwatchMetric` action: a value of a metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from anyio import CapacityLimiter

from .base import ActionContext, Item
from .calls import TRIES, deliver_each


@dataclass(frozen=True, slots=True)
class CloudwatchMetricAction:
    """Puts values into the metrics that each message names."""

    place: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "cloudwatchMetric"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset(
        {"metricName", "metricNamespace", "metricUnit", "metricValue", "metricTimestamp"}
    )

    @classmethod
    def build(cls, _settings: Mapping[str, Any], context: ActionContext) -> "CloudwatchMetricAction":
        """From `{metricName, metricNamespace, metricUnit, metricValue, metricTimestamp?}`. Raises ConfigError."""
        return cls("metrics", context.client_of("cloudwatch", cls.kind), context.limiter)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    @property
    def resource(self) -> str:
        return self.place

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call an item. Raises Undelivered or Refused."""
        await deliver_each(self.name, items, self._send, self.limiter)

    def _send(self, item: Item) -> None:
        fields = item.fields
        datum: dict[str, Any] = {
            "MetricName": fields["metricName"],
            "Unit": fields["metricUnit"],
            "Value": float(fields["metricValue"]),
        }
        if fields.get("metricTimestamp"):
            datum["Timestamp"] = datetime.fromtimestamp(float(fields["metricTimestamp"]), UTC)
        self.client().put_metric_data(Namespace=fields["metricNamespace"], MetricData=[datum])
