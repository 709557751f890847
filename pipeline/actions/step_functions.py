"""The `stepFunctions` action: each body is the input of a state machine."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from anyio import CapacityLimiter

from .base import ActionContext, Item
from .calls import TRIES, deliver_each, text_of


@dataclass(frozen=True, slots=True)
class StepFunctionsAction:
    """Starts executions of one state machine; a prefix names them, followed by a UUID."""

    machine: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "stepFunctions"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset({"executionNamePrefix"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "StepFunctionsAction":
        """From `{stateMachineName, executionNamePrefix?}`. Raises ConfigError."""
        return cls(
            str(settings["stateMachineName"]), context.client_of("stepfunctions", cls.kind), context.limiter
        )

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    @property
    def resource(self) -> str:
        return self.machine

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call an item. Raises Undelivered or Refused."""
        await deliver_each(self.name, items, self._send, self.limiter)

    def _send(self, item: Item) -> None:
        client = self.client()
        prefix = item.fields.get("executionNamePrefix")
        named = {"name": f"{prefix}{uuid.uuid4()}"} if prefix else {}
        body = text_of(item, service="Step Functions") or "{}"
        client.start_execution(stateMachineArn=self._arn(client), input=body, **named)

    def _arn(self, client: Any) -> str:
        """The rule names the machine without its ARN; the service wants it whole."""
        if self.machine.startswith("arn:"):
            return self.machine
        for page in client.get_paginator("list_state_machines").paginate():
            for machine in page["stateMachines"]:
                if machine["name"] == self.machine:
                    return str(machine["stateMachineArn"])
        raise ValueError(f"there is no state machine '{self.machine}'")
