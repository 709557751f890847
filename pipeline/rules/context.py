"""What a statement can ask about the message it is evaluated on; the payload is decoded once for all rules."""

from typing import Final

from contracts.messages import Message

from .payload import decode
from .services import Services
from .values import Value

BASIC_INGEST: Final = "$aws/rules/"
"""`$aws/rules/NAME/a/b` calls rule NAME as if the topic were `a/b` (developer guide, "Basic Ingest")."""

LOCAL_ACCOUNT: Final = "000000000000"
"""What local emulators answer as the account id."""


def basic_ingest(topic: str) -> tuple[str, str] | None:
    """(rule name, the rest of the topic), or None for an ordinary topic."""
    if not topic.startswith(BASIC_INGEST):
        return None
    name, _, rest = topic[len(BASIC_INGEST) :].partition("/")
    return name, rest


class Context:
    """One message under evaluation. `variables` are those of the statement being evaluated."""

    __slots__ = ("_decoded", "_decoded_whole", "account_id", "message", "services", "topic", "variables")

    def __init__(
        self, message: Message, *, account_id: str = LOCAL_ACCOUNT, services: Services | None = None
    ) -> None:
        self.message = message
        self.services = services
        ingest = basic_ingest(message.topic)
        self.topic = message.topic if ingest is None else ingest[1]
        self.account_id = account_id
        self.variables: dict[str, Value] = {}
        self._decoded: Value = _NOT_YET
        self._decoded_whole: Value = _NOT_YET

    def document(self, *, whole: bool) -> Value:
        """The payload as JSON, UNDEFINED if it is none. Shared by all rules: never change it."""
        if whole:
            if self._decoded_whole is _NOT_YET:
                self._decoded_whole = decode(self.message.payload, whole=True)
            return self._decoded_whole
        if self._decoded is _NOT_YET:
            self._decoded = decode(self.message.payload, whole=False)
        return self._decoded


_NOT_YET: Final = object()
