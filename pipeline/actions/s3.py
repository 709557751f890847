"""The `s3` action: each body is an object."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from .base import ActionContext, Item
from .calls import OneCallEach

MAX_KEY: Final = 1_024
"""Bytes of an object's key (Amazon S3 user guide, "Object keys")."""


class S3Action(OneCallEach):
    """Puts each body, binary ones too, under its key into one bucket."""

    kind: ClassVar[str] = "s3"
    per_message: ClassVar[frozenset[str]] = frozenset({"key", "cannedAcl"})

    @classmethod
    def build(cls, settings: Mapping[str, Any], context: ActionContext) -> "S3Action":
        """From `{bucketName, key, cannedAcl?}`. Raises ConfigError."""
        return cls(str(settings["bucketName"]), context.client_of("s3", cls.kind), context.limiter)

    def _send(self, item: Item) -> None:
        key = str(item.fields["key"])
        if not key or len(key.encode()) > MAX_KEY:
            raise ValueError(
                f"the key of the object has {len(key.encode())} bytes, 1 to {MAX_KEY} are allowed"
            )
        acl = {"ACL": item.fields["cannedAcl"]} if item.fields.get("cannedAcl") else {}
        self.client().put_object(Bucket=self.resource, Key=key, Body=item.body, **acl)
