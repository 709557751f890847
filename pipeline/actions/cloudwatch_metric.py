"""The `cloudwatchMetric` action: a value of a metric."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from .base import ActionContext, Item
from .calls import OneCallEach


class CloudwatchMetricAction(OneCallEach):
    """Puts values into the metrics that each message names."""

    kind: ClassVar[str] = "cloudwatchMetric"
    per_message: ClassVar[frozenset[str]] = frozenset(
        {"metricName", "metricNamespace", "metricUnit", "metricValue", "metricTimestamp"}
    )

    @classmethod
    def build(cls, _settings: Mapping[str, Any], context: ActionContext) -> "CloudwatchMetricAction":
        """From `{metricName, metricNamespace, metricUnit, metricValue, metricTimestamp?}`. Raises ConfigError."""
        return cls("metrics", context.client_of("cloudwatch", cls.kind), context.limiter)

    def _send(self, item: Item) -> None:
        fields = item.fields
        datum: dict[str, Any] = {
            "MetricName": fields["metricName"],
            "Unit": fields["metricUnit"],
            "Value": float(fields["metricValue"]),
        }
        if fields.get("metricTimestamp"):
            datum["Timestamp"] = _moment(fields["metricTimestamp"])
        self.client().put_metric_data(Namespace=fields["metricNamespace"], MetricData=[datum])


def _moment(seconds: str) -> datetime:
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, OSError):
        raise ValueError(f"the metricTimestamp '{seconds[:80]}' is beyond the calendar") from None
