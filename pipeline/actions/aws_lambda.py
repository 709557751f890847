"""The `lambda` action: each body is the event of a function, invoked asynchronously."""

from collections.abc import Mapping
from typing import Any, ClassVar

from .base import ActionContext, Item
from .calls import OneCallEach, text_of


class LambdaAction(OneCallEach):
    """Invokes one function. AWS gives a function JSON only: binary payloads are refused."""

    kind: ClassVar[str] = "lambda"

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "LambdaAction":
        """From `{functionArn}`. Raises ConfigError."""
        return cls(str(settings["functionArn"]), context.client_of("lambda", cls.kind), context.limiter)

    def _send(self, item: Item) -> None:
        text_of(item, service="Lambda")
        self.client().invoke(FunctionName=self.resource, InvocationType="Event", Payload=item.body or b"{}")
