"""The `stepFunctions` action: each body is the input of a state machine."""

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from .base import ActionContext, Item
from .calls import OneCallEach, text_of


class StepFunctionsAction(OneCallEach):
    """Starts executions of one state machine; a prefix names them, followed by a UUID."""

    kind: ClassVar[str] = "stepFunctions"
    per_message: ClassVar[frozenset[str]] = frozenset({"executionNamePrefix"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "StepFunctionsAction":
        """From `{stateMachineName, executionNamePrefix?}`. Raises ConfigError."""
        return cls(
            str(settings["stateMachineName"]), context.client_of("stepfunctions", cls.kind), context.limiter
        )

    def _send(self, item: Item) -> None:
        client = self.client()
        prefix = item.fields.get("executionNamePrefix")
        named = {"name": f"{prefix}{uuid.uuid4()}"} if prefix else {}
        body = text_of(item, service="Step Functions") or "{}"
        client.start_execution(stateMachineArn=self._arn(client), input=body, **named)

    def _arn(self, client: Any) -> str:
        """The rule names the machine without its ARN; the service wants it whole."""
        if self.resource.startswith("arn:"):
            return self.resource
        for page in client.get_paginator("list_state_machines").paginate():
            for machine in page["stateMachines"]:
                if machine["name"] == self.resource:
                    return str(machine["stateMachineArn"])
        raise ValueError(f"there is no state machine '{self.resource}'")
