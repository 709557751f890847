"""What functions such as get_thing_shadow() ask: a port, as rules know no client."""

from collections.abc import Mapping
from typing import Protocol

from .values import Value


class Unanswered(Protocol):
    """How many questions no service could answer, and which was the last, with the mend; empty if none."""

    failures: int
    last_failure: str


class Services(Protocol):
    """Each method blocks until the service has answered, and gives UNDEFINED for what it cannot answer."""

    def thing_shadow(self, thing: str, name: str) -> Value:
        """The document of a shadow; the classic one has the empty name."""
        ...

    def item(self, table: str, key: Mapping[str, Value]) -> Value:
        """The item of a DynamoDB table, as plain values."""
        ...

    def invoke(self, function: str, document: Value) -> Value:
        """What a Lambda function returns."""
        ...

    def registry(self, api: str, thing: str) -> Value:
        """The answer of DescribeThing or ListThingGroupsForThing."""
        ...

    def secret(self, secret: str) -> Value:
        """The current version of a secret: text or bytes."""
        ...
