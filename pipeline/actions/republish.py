"""The `republish` action: bodies back to devices, and to the rules, under another topic."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from contracts.errors import ConfigError, NotReady, Terminal, Transient
from contracts.messages import PublishProperties
from contracts.ports import Republisher

from .base import ActionContext, Item
from .calls import TRIES, Outcome

MAX_TOPIC: Final = 256
"""Bytes of a topic (AWS IoT Core quotas, "Message broker")."""

_MOST: Final = 0xFFFF
_LONGEST: Final = 0xFFFF_FFFF
"""Bytes of a text or of data, and seconds, that a property of MQTT 5 can carry (section 1.5)."""

_FORMATS: Final = {"UTF8_DATA": 1, "UNSPECIFIED_BYTES": 0}


@dataclass(frozen=True, slots=True)
class RepublishAction:
    """Publishes each body. Two dollars at the start of the topic stand for one, of a reserved topic."""

    republisher: Republisher
    kind: ClassVar[str] = "republish"
    tries: ClassVar[int] = TRIES
    per_message: ClassVar[frozenset[str]] = frozenset({"topic", "qos", "headers"})

    @classmethod
    def build(cls, _settings: Mapping[str, Any], context: ActionContext) -> "RepublishAction":
        """From `{topic, qos?, headers?}`. Raises ConfigError."""
        if context.republisher is None:
            raise ConfigError("a republish action, but no broker", fix="give the actions a broker")
        return cls(context.republisher)

    @property
    def name(self) -> str:
        return "republish"

    @property
    def resource(self) -> str:
        return "broker"

    async def deliver(self, items: Sequence[Item]) -> None:
        """One after the other, for the order. Raises Undelivered or Refused."""
        outcome = Outcome()
        for index, item in enumerate(items):
            try:
                await self._publish(item)
            except ValueError as error:
                outcome.refused[index] = str(error)
            except (Transient, NotReady) as error:
                outcome.retry[index] = error.what
            except (ConfigError, Terminal) as error:
                outcome.refused[index] = error.what
        outcome.close(self.name)

    async def _publish(self, item: Item) -> None:
        topic = str(item.fields["topic"])
        topic = topic[1:] if topic.startswith("$$") else topic
        if not topic or len(topic.encode()) > MAX_TOPIC or any(sign in topic for sign in "+#\0"):
            raise ValueError(f"'{topic[:80]}' is no topic to publish to")
        await self.republisher.republish(
            topic, item.body, qos=int(item.fields.get("qos") or 0), properties=properties(item.fields)
        )


def properties(fields: Mapping[str, Any]) -> PublishProperties | None:
    """What `headers` say, as MQTT 5 knows it. Raises ValueError for what it cannot carry."""
    headers = fields.get("headers")
    if not headers:
        return None
    told = headers.get("payloadFormatIndicator")
    if told and told not in _FORMATS:
        raise ValueError(f"payloadFormatIndicator '{told}' is none of {', '.join(_FORMATS)}")
    expiry = headers.get("messageExpiry")
    return PublishProperties(
        payload_format=_FORMATS[told] if told else None,
        content_type=_text("contentType", headers.get("contentType")) or None,
        response_topic=_text("responseTopic", headers.get("responseTopic")) or None,
        correlation_data=_decoded(headers["correlationData"]) if headers.get("correlationData") else None,
        message_expiry=_whole(expiry) if expiry not in (None, "") else None,
        user=tuple(
            (_text("userProperties", pair["key"]), _text("userProperties", pair["value"]))
            for pair in headers.get("userProperties", ())
        ),
    )


def _text(name: str, value: Any) -> str:
    text = "" if value is None else str(value)
    if len(text.encode()) > _MOST or "\0" in text:
        raise ValueError(f"{name} has more than {_MOST} bytes, or a null character")
    return text


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("correlationData is no base64") from None
    if len(data) > _MOST:
        raise ValueError(f"correlationData has more than {_MOST} bytes")
    return data


def _whole(value: Any) -> int:
    if not str(value).isdecimal() or int(value) > _LONGEST:
        raise ValueError(f"messageExpiry '{str(value)[:80]}' is no number of seconds up to {_LONGEST}")
    return int(value)
