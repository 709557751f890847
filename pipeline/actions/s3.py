"""The `s3` action: each body is an object."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from anyio import CapacityLimiter

from .base import ActionContext, Item
from .calls import TRIES, deliver_each

MAX_KEY: Final = 1_024
"""Bytes of an object's key (Amazon S3 user guide, "Object keys")."""


@dataclass(frozen=True, slots=True)
class S3Action:
    """Puts each body, binary ones too, under its key into one bucket."""

    bucket: str
    client: Callable[[], Any]
    limiter: CapacityLimiter
    kind: ClassVar[str] = "s3"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset({"key", "cannedAcl"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "S3Action":
        """From `{bucketName, key, cannedAcl?}`. Raises ConfigError."""
        return cls(str(settings["bucketName"]), context.client_of("s3", cls.kind), context.limiter)

    @property
    def name(self) -> str:
        return f"{self.kind} {self.resource}"

    @property
    def resource(self) -> str:
        return self.bucket

    async def deliver(self, items: Sequence[Item]) -> None:
        """One call an item. Raises Undelivered or Refused."""
        await deliver_each(self.name, items, self._send, self.limiter)

    def _send(self, item: Item) -> None:
        key = str(item.fields["key"])
        if not key or len(key.encode()) > MAX_KEY:
            raise ValueError(
                f"the key of the object has {len(key.encode())} bytes, 1 to {MAX_KEY} are allowed"
            )
        acl = {"ACL": item.fields["cannedAcl"]} if item.fields.get("cannedAcl") else {}
        self.client().put_object(Bucket=self.bucket, Key=key, Body=item.body, **acl)
