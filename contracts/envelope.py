"""Messages as bytes, for the way between two processes and for the disk.

One message is two lengths (4 bytes each, big endian), a header (a JSON array of its fields, in the order of
`Message`; properties, if there are any, as an object at its end) and the payload as it is. Encoded messages can be joined: `decode` reads one after the other.
"""

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import asdict

from contracts.errors import ConfigError
from contracts.messages import Json, Message, PublishProperties

_LENGTHS = struct.Struct(">II")


def encode(message: Message) -> bytes:
    """One message as bytes."""
    fields: list[Json] = [
        message.message_id,
        message.client_id,
        message.principal,
        message.topic,
        message.qos,
        message.retain,
        message.received_at,
        message.source_ip,
    ]
    if message.properties is not None:
        fields.append(_told(message.properties))
    header = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return _LENGTHS.pack(len(header), len(message.payload)) + header + message.payload


def decode(data: bytes) -> Iterator[Message]:
    """The messages in these bytes. Raises ConfigError: both ends must speak the same version."""
    place = 0
    try:
        while place < len(data):
            header_length, payload_length = _LENGTHS.unpack_from(data, place)
            payload_at = place + _LENGTHS.size + header_length
            place = payload_at + payload_length
            header, payload = data[payload_at - header_length : payload_at], data[payload_at:place]
            yield _message(header, payload, length=payload_length)
    except (struct.error, ValueError, TypeError) as error:
        raise ConfigError(
            f"these bytes are no messages: {error}", fix="run the same version of thingstorm in every stage"
        ) from None


def _message(header: bytes, payload: bytes, *, length: int) -> Message:
    if len(payload) != length:
        raise ValueError("cut short")
    message_id, client_id, principal, topic, qos, retain, received_at, source_ip, *more = json.loads(
        header.decode("utf-8", "surrogatepass")
    )
    properties = _properties(more[0]) if more else None
    return Message(
        message_id, client_id, principal, topic, payload, qos, retain, received_at, source_ip, properties
    )


def _told(properties: PublishProperties) -> dict[str, Json]:
    told = {name: value for name, value in asdict(properties).items() if value is not None and value != ()}
    if properties.correlation_data is not None:
        told["correlation_data"] = base64.b64encode(properties.correlation_data).decode()
    return told


def _properties(told: dict[str, Json]) -> PublishProperties:
    if "correlation_data" in told:
        told["correlation_data"] = base64.b64decode(told["correlation_data"])
    user = tuple((name, value) for name, value in told.pop("user", ()))
    return PublishProperties(**told, user=user)
