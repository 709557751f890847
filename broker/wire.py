"""The data types of MQTT packets: reading the fields of a body, and writing them.

Source: OASIS MQTT Version 5.0, section 1.5 (those of 3.1.1 are the same but for the variable byte integer).
"""

import struct

MALFORMED, PROTOCOL_ERROR = 0x81, 0x82


class MalformedPacket(Exception):
    """The bytes are no MQTT packet, or one that a client may not send; `code` is the reason code of MQTT 5."""

    def __init__(self, what: str, *, code: int = MALFORMED) -> None:
        super().__init__(what)
        self.code = code


class FieldReader:
    """Reads the fields of one packet's body. Every method raises MalformedPacket."""

    __slots__ = ("_body", "_place")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._place = 0

    def byte(self) -> int:
        return self.take(1)[0]

    def two(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def four(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def variable(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7
            if shift > 21:
                raise MalformedPacket("variable byte integer of more than four bytes")

    def data(self) -> bytes:
        return self.take(self.two())

    def text(self) -> str:
        return text_of(self.data())

    def take(self, count: int) -> bytes:
        part = self._body[self._place : self._place + count]
        if len(part) != count:
            raise MalformedPacket("packet shorter than its fields")
        self._place += count
        return part

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._place)

    @property
    def done(self) -> bool:
        return self._place == len(self._body)

    def end(self) -> None:
        """Nothing may follow."""
        if not self.done:
            raise MalformedPacket("packet longer than its fields")


def text_of(data: bytes) -> str:
    """UTF-8 without the null character. Raises MalformedPacket."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket("text that is not UTF-8") from error
    if "\x00" in text:
        raise MalformedPacket("null character in a text")
    return text


def variable(number: int) -> bytes:
    """A variable byte integer."""
    if number < 128:
        return bytes((number,))
    encoded = bytearray()
    while True:
        number, part = divmod(number, 128)
        encoded.append(part | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def data(value: bytes) -> bytes:
    """Bytes with their length before them; cut at 65,535."""
    return struct.pack(">H", min(len(value), 65_535)) + value[:65_535]


def text(value: str) -> bytes:
    """A string of MQTT: two bytes of length, then UTF-8."""
    return data(value.encode("utf-8", "surrogatepass"))
