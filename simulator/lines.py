"""Connections that are no device's: what hostile clients and the operator do, as bytes on lines with names."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Open:
    """Open a connection under this name, and send these bytes. One that is open under the name is shut before."""

    line: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes, if the connection is still there."""

    line: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Shut:
    """Close the connection without a word."""

    line: str


LineAction: TypeAlias = Open | Send | Shut

MAX_LINES = 2_000
"""Open at once: what a slow-connect attack holds; beyond it the oldest is shut."""
