"""The client's side of MQTT 3.1.1 as bytes: what floods, hostile lines and the direct path speak without a library.

Source: MQTT Version 3.1.1, OASIS Standard, sections 2 and 3.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

KEEP_ALIVE_SECONDS: Final = 60

PINGREQ: Final = b"\xc0\x00"
DISCONNECT: Final = b"\xe0\x00"


@dataclass(frozen=True, slots=True)
class Answered:
    """CONNACK: 0 is accepted, 1 to 5 say why not."""

    code: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """PUBACK of a publish at QoS 1."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A PUBLISH for this client; `packet_id` (0 at QoS 0) wants a PUBACK."""

    topic: str
    payload: bytes
    packet_id: int


Event: TypeAlias = Answered | Acknowledged | Arrived


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A control packet with its remaining length."""
    length, head = len(body), bytearray((kind << 4 | flags,))
    while True:
        head.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes(head) + body


def text(value: str) -> bytes:
    """A string with its length, as MQTT writes it."""
    data = value.encode("utf-8", "surrogatepass")
    return struct.pack(">H", len(data)) + data


def connect(
    client_id: str, *, username: str | None = None, password: bytes | None = None, clean: bool = True
) -> bytes:
    """CONNECT."""
    flags = 2 * clean | 0x80 * (username is not None) | 0x40 * (password is not None)
    body = text("MQTT") + bytes((4, flags)) + struct.pack(">H", KEEP_ALIVE_SECONDS) + text(client_id)
    if username is not None:
        body += text(username)
    if password is not None:
        body += struct.pack(">H", len(password)) + password
    return packet(1, body)


def refused_connect(client_id: str) -> bytes:
    """CONNECT of MQTT 5 with an authentication method that no broker here knows: refused, whoever it says it is."""
    method = b"\x15" + text("recorded")
    fixed = text("MQTT") + bytes((5, 2)) + struct.pack(">H", KEEP_ALIVE_SECONDS)
    return packet(1, fixed + bytes((len(method),)) + method + text(client_id))


def publish(topic: str, payload: bytes, *, packet_id: int = 0, retain: bool = False) -> bytes:
    """PUBLISH: at QoS 1 with a packet id, at QoS 0 without."""
    flags = 2 * bool(packet_id) | retain
    middle = struct.pack(">H", packet_id) if packet_id else b""
    return packet(3, text(topic) + middle + payload, flags)


def subscribe(filters: Sequence[str], *, packet_id: int, qos: int = 1) -> bytes:
    """SUBSCRIBE."""
    body = struct.pack(">H", packet_id) + b"".join(text(one) + bytes((qos,)) for one in filters)
    return packet(8, body, 2)


def acknowledge(packet_id: int) -> bytes:
    """PUBACK."""
    return b"\x40\x02" + struct.pack(">H", packet_id)


class Reader:
    """Cuts what a broker sends into events; half packets wait for the rest."""

    __slots__ = ("_half",)

    def __init__(self) -> None:
        self._half = b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events of these bytes, in order. What a client need not know of (SUBACK, PINGRESP) is left out."""
        data = self._half + data if self._half else data
        place = 0
        while (found := _frame(data, place)) is not None:
            start, end = found
            event = _event(data[place], data[start:end])
            place = end
            if event is not None:
                self._half = data[place:]
                yield event
        self._half = data[place:]


def _frame(data: bytes, place: int) -> tuple[int, int] | None:
    """Where the body of the packet at `place` starts and ends; None while it is not whole."""
    length = shift = 0
    for start in range(place + 1, min(place + 5, len(data))):
        length |= (data[start] & 0x7F) << shift
        shift += 7
        if data[start] < 0x80:
            end = start + 1 + length
            return (start + 1, end) if end <= len(data) else None
    return None


def _event(header: int, body: bytes) -> Event | None:
    kind = header >> 4
    if kind == 2 and len(body) >= 2:
        return Answered(body[1])
    if kind == 4 and len(body) >= 2:
        return Acknowledged(body[0] << 8 | body[1])
    if kind != 3:
        return None
    size = body[0] << 8 | body[1]
    topic, rest = body[2 : 2 + size].decode("utf-8", "replace"), body[2 + size :]
    if header & 6:
        return Arrived(topic, rest[2:], rest[0] << 8 | rest[1])
    return Arrived(topic, rest, 0)
