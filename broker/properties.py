"""Properties of MQTT 5 packets, by their names.

Source: OASIS MQTT Version 5.0, section 2.2.2: identifiers, types, and the packets that may carry them.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from contracts.messages import PublishProperties

from .wire import PROTOCOL_ERROR, FieldReader, MalformedPacket, data, text, variable

Properties: TypeAlias = dict[str, Any]
"""Values by name; `user` is a tuple of pairs, `subscription_identifier` a tuple of numbers."""

_Read: TypeAlias = Callable[[FieldReader], Any]
_Write: TypeAlias = Callable[[Any], bytes]

_BYTE: tuple[_Read, _Write] = (FieldReader.byte, lambda value: bytes((value,)))
_TWO: tuple[_Read, _Write] = (FieldReader.two, struct.Struct(">H").pack)
_FOUR: tuple[_Read, _Write] = (FieldReader.four, struct.Struct(">I").pack)
_VARIABLE: tuple[_Read, _Write] = (FieldReader.variable, variable)
_TEXT: tuple[_Read, _Write] = (FieldReader.text, text)
_DATA: tuple[_Read, _Write] = (FieldReader.data, data)
_PAIR: tuple[_Read, _Write] = (
    lambda reader: (reader.text(), reader.text()),
    lambda pair: text(pair[0]) + text(pair[1]),
)

_KNOWN: dict[int, tuple[str, tuple[_Read, _Write]]] = {
    0x01: ("payload_format", _BYTE),
    0x02: ("message_expiry", _FOUR),
    0x03: ("content_type", _TEXT),
    0x08: ("response_topic", _TEXT),
    0x09: ("correlation_data", _DATA),
    0x0B: ("subscription_identifier", _VARIABLE),
    0x11: ("session_expiry", _FOUR),
    0x12: ("assigned_client_id", _TEXT),
    0x13: ("server_keep_alive", _TWO),
    0x15: ("authentication_method", _TEXT),
    0x16: ("authentication_data", _DATA),
    0x17: ("request_problem_information", _BYTE),
    0x18: ("will_delay", _FOUR),
    0x19: ("request_response_information", _BYTE),
    0x1A: ("response_information", _TEXT),
    0x1C: ("server_reference", _TEXT),
    0x1F: ("reason", _TEXT),
    0x21: ("receive_maximum", _TWO),
    0x22: ("topic_alias_maximum", _TWO),
    0x23: ("topic_alias", _TWO),
    0x24: ("maximum_qos", _BYTE),
    0x25: ("retain_available", _BYTE),
    0x26: ("user", _PAIR),
    0x27: ("maximum_packet_size", _FOUR),
    0x28: ("wildcard_available", _BYTE),
    0x29: ("subscription_identifiers_available", _BYTE),
    0x2A: ("shared_available", _BYTE),
}
_BY_NAME = {name: (identifier, codec[1]) for identifier, (name, codec) in _KNOWN.items()}
_REPEATED = {"user", "subscription_identifier"}

_OF_PUBLISH = frozenset(
    {"payload_format", "message_expiry", "content_type", "response_topic", "correlation_data", "user"}
)
ALLOWED: Mapping[str, frozenset[str]] = {
    "CONNECT": frozenset(
        {
            "session_expiry",
            "authentication_method",
            "authentication_data",
            "request_problem_information",
            "request_response_information",
            "receive_maximum",
            "topic_alias_maximum",
            "user",
            "maximum_packet_size",
        }
    ),
    "will": _OF_PUBLISH | {"will_delay"},
    "PUBLISH": _OF_PUBLISH | {"topic_alias"},
    "SUBSCRIBE": frozenset({"subscription_identifier", "user"}),
    "UNSUBSCRIBE": frozenset({"user"}),
    "acknowledgement": frozenset({"reason", "user"}),
    "DISCONNECT": frozenset({"session_expiry", "reason", "user", "server_reference"}),
}
"""What a client may send, by the packet."""

_NEVER_ZERO = ("receive_maximum", "topic_alias", "maximum_packet_size", "subscription_identifier")
_ZERO_OR_ONE = ("payload_format", "request_problem_information", "request_response_information")


def read(reader: FieldReader, where: str) -> Properties:
    """The properties at this place of a packet. Raises MalformedPacket."""
    fields = FieldReader(reader.take(reader.variable()))
    found: Properties = {}
    while not fields.done:
        identifier = fields.variable()
        if identifier not in _KNOWN:
            raise MalformedPacket(f"property {identifier}")
        name, (read_one, _) = _KNOWN[identifier]
        if name not in ALLOWED[where]:
            raise MalformedPacket(f"property {name} in {where}", code=PROTOCOL_ERROR)
        _keep(found, name, read_one(fields))
    return found


def read_optional(reader: FieldReader, where: str) -> Properties:
    """The same where a packet may end before them."""
    return {} if reader.done else read(reader, where)


def _keep(found: Properties, name: str, value: Any) -> None:
    zero = name in _NEVER_ZERO and value == 0
    if zero or (name in _ZERO_OR_ONE and value not in (0, 1)):
        raise MalformedPacket(f"property {name} is {value}", code=PROTOCOL_ERROR)
    if name in _REPEATED:
        found[name] = (*found.get(name, ()), value)
    elif name in found:
        raise MalformedPacket(f"property {name} twice", code=PROTOCOL_ERROR)
    else:
        found[name] = value


def write(values: Iterable[tuple[str, Any]]) -> bytes:
    """Properties with their length before them; a value of None is left out."""
    parts: list[bytes] = []
    for name, value in values:
        identifier, write_one = _BY_NAME[name]
        if value is not None:
            given = value if name in _REPEATED else (value,)
            parts.extend(bytes((identifier,)) + write_one(one) for one in given)
    body = b"".join(parts)
    return variable(len(body)) + body


def of_message(found: Properties) -> PublishProperties | None:
    """What a PUBLISH or a will carries to its subscribers; None if that is nothing."""
    own = {name: found[name] for name in _OF_PUBLISH if name in found}
    return PublishProperties(**own) if own else None


def told(properties: PublishProperties | None, *, expiry: int | None) -> list[tuple[str, Any]]:
    """The same, to be written: with the seconds that are left of the message's life."""
    if properties is None:
        return []
    return [
        ("payload_format", properties.payload_format),
        ("message_expiry", expiry),
        ("content_type", properties.content_type),
        ("response_topic", properties.response_topic),
        ("correlation_data", properties.correlation_data),
        ("user", properties.user or None),
    ]
