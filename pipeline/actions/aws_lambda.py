"""The `lambda` action: each body is the event of a function, invoked asynchronously."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from anyio import CapacityLimiter

from .base import ActionContext, Item
from .calls import TRIES, deliver_each, text_of


@dataclass(frozen=True, slots=True)
class LambdaAction:
    """Invokes one function. AWS gives a function JSON only: binary payloads are refused."""

    function: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "lambda"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "LambdaAction":
        """From `{functionArn}`. Raises ConfigError."""
        return cls(str(settings["functionArn"]), context.client_of("lambda", cls.kind), context.limiter)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    @property
    def resource(self) -> str:
        return self.function

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call an item. Raises Undelivered or Refused."""
        await deliver_each(self.name, items, self._send, self.limiter)

    def _send(self, item: Item) -> None:
        text_of(item, service="Lambda")
        self.client().invoke(FunctionName=self.function, InvocationType="Event", Payload=item.body or b"{}")
