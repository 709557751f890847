"""Messages of the protocol as bytes. Nothing here reads or writes a socket.

Source: the PostgreSQL manual, chapter "Frontend/Backend Protocol".
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .types import Encode, Kind

PROTOCOL = 196_608
CANCEL, SSL, GSS = 80_877_102, 80_877_103, 80_877_104
MAX_MESSAGE = 1_000_000
"""Bytes of one message from a client, as of a request to the HTTP API."""

MAX_STARTUP = 10_000


class WireError(Exception):
    """A message that is none: the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Told:
    """An error as the protocol tells it: SQLSTATE, what happened, how to mend it."""

    code: str
    what: str
    fix: str = ""


class Reading:
    """The parts of one message's body, in order. Raises WireError where it is too short."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def text(self) -> str:
        """A string that ends with a zero byte."""
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise WireError("a string without an end")
        found, self._at = self._body[self._at : end], end + 1
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise WireError("a string that is no UTF-8") from None

    def short(self) -> int:
        return int.from_bytes(self.take(2), "big", signed=True)

    def long(self) -> int:
        return int.from_bytes(self.take(4), "big", signed=True)

    def take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self._body):
            raise WireError("a message that ends early")
        found = self._body[self._at : self._at + count]
        self._at += count
        return found

    def shorts(self) -> list[int]:
        """A count and so many 16-bit integers."""
        return [self.short() for _ in range(self.short())]

    def longs(self) -> list[int]:
        return [self.long() for _ in range(self.short())]

    def values(self) -> list[bytes | None]:
        """A count and so many values, each with its length; -1 is NULL."""
        found: list[bytes | None] = []
        for _ in range(self.short()):
            length = self.long()
            found.append(None if length == -1 else self.take(length))
        return found

    @property
    def over(self) -> bool:
        return self._at >= len(self._body)


def message(kind: bytes, body: bytes = b"") -> bytes:
    """One message of the server."""
    return kind + struct.pack("!i", len(body) + 4) + body


AUTHENTICATED = message(b"R", struct.pack("!i", 0))
ASK_PASSWORD = message(b"R", struct.pack("!i", 3))
PARSED, BOUND, CLOSED, NOTHING = message(b"1"), message(b"2"), message(b"3"), message(b"n")
EMPTY, SUSPENDED = message(b"I"), message(b"s")


def parameter(name: str, value: str) -> bytes:
    """ParameterStatus: the value of one setting."""
    return message(b"S", _text(name) + _text(value))


def key(number: int, secret: int) -> bytes:
    """By these a client may cancel from another connection."""
    return message(b"K", struct.pack("!iI", number, secret))


def ready(state: str) -> bytes:
    """`I` idle, `T` in a transaction, `E` in one that failed."""
    return message(b"Z", state.encode())


def done(tag: str) -> bytes:
    """CommandComplete, with what was done and to how many rows."""
    return message(b"C", _text(tag))


def failed(told: Told, *, severity: str = "ERROR") -> bytes:
    """ErrorResponse: SQLSTATE, what happened, and the mend as its hint."""
    fields = {"S": severity, "V": severity, "C": told.code, "M": told.what, "H": told.fix}
    return message(b"E", b"".join(k.encode() + _text(v) for k, v in fields.items() if v) + b"\0")


def newest_version(unknown: Sequence[str]) -> bytes:
    """We speak 3.0 only; and not these options."""
    return message(b"v", struct.pack("!ii", 0, len(unknown)) + b"".join(map(_text, unknown)))


def parameters(oids: Sequence[int]) -> bytes:
    """ParameterDescription: the type of each parameter of a prepared statement, by its OID."""
    return message(b"t", struct.pack(f"!h{len(oids)}I", len(oids), *oids))


def columns(names: Sequence[str], kinds: Sequence[Kind], formats: Sequence[int]) -> bytes:
    """The description of an answer's columns."""
    parts = [struct.pack("!h", len(names))]
    for name, kind, form in zip(names, kinds, formats, strict=True):
        parts += [_text(name), struct.pack("!ihIhih", 0, 0, kind.oid, kind.size, -1, form)]
    return message(b"T", b"".join(parts))


def rows(some: Iterable[Sequence[object]], encoders: Sequence[Encode]) -> bytes:
    """Many rows; an encoder for each column."""
    return b"".join(_row(row, encoders) for row in some)


def _row(row: Sequence[object], encoders: Sequence[Encode]) -> bytes:
    parts = [struct.pack("!h", len(row))]
    for value, encode in zip(row, encoders, strict=True):
        if value is None:
            parts.append(b"\xff\xff\xff\xff")
        else:
            told = encode(value)
            parts += [struct.pack("!i", len(told)), told]
    return message(b"D", b"".join(parts))


def _text(text: str) -> bytes:
    return text.replace("\0", " ").encode() + b"\0"
