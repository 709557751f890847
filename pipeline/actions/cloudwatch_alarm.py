"""The `cloudwatchAlarm` action: sets the state of an alarm."""

from collections.abc import Mapping
from typing import Any, ClassVar

from .base import ActionContext, Item
from .calls import OneCallEach


class CloudwatchAlarmAction(OneCallEach):
    """Sets the state of one alarm."""

    kind: ClassVar[str] = "cloudwatchAlarm"
    per_message: ClassVar[frozenset[str]] = frozenset({"stateReason", "stateValue"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "CloudwatchAlarmAction":
        """From `{alarmName, stateReason, stateValue}`. Raises ConfigError."""
        return cls(str(settings["alarmName"]), context.client_of("cloudwatch", cls.kind), context.limiter)

    def _send(self, item: Item) -> None:
        state = str(item.fields["stateValue"])
        if state not in ("OK", "ALARM", "INSUFFICIENT_DATA"):
            raise ValueError(f"the state '{state}' is none of OK, ALARM, INSUFFICIENT_DATA")
        reason = str(item.fields["stateReason"])
        self.client().set_alarm_state(AlarmName=self.resource, StateValue=state, StateReason=reason)
