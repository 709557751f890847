"""The `cloudwatchAlarm` action: sets the state of an alarm."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from anyio import CapacityLimiter

from .base import ActionContext, Item
from .calls import TRIES, deliver_each


@dataclass(frozen=True, slots=True)
class CloudwatchAlarmAction:
    """Sets the state of one alarm."""

    alarm: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "cloudwatchAlarm"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset({"stateReason", "stateValue"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "CloudwatchAlarmAction":
        """From `{alarmName, stateReason, stateValue}`. Raises ConfigError."""
        return cls(str(settings["alarmName"]), context.client_of("cloudwatch", cls.kind), context.limiter)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    @property
    def resource(self) -> str:
        return self.alarm

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call an item. Raises Undelivered or Refused."""
        await deliver_each(self.name, items, self._send, self.limiter)

    def _send(self, item: Item) -> None:
        state = str(item.fields["stateValue"])
        if state not in ("OK", "ALARM", "INSUFFICIENT_DATA"):
            raise ValueError(f"the state '{state}' is none of OK, ALARM, INSUFFICIENT_DATA")
        reason = str(item.fields["stateReason"])
        self.client().set_alarm_state(AlarmName=self.alarm, StateValue=state, StateReason=reason)
