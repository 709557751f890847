"""What a phase does to a device's readings while it lasts. Data only: `device.py` applies it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from contracts.messages import Nanoseconds

Body: TypeAlias = Literal["reading", "blob", "replay", "alarm"]
"""A reading as usual; random-looking text of a size; an earlier payload once more; a short alarm."""

Breakage: TypeAlias = Literal["", "truncated", "binary", "schema"]
"""Nothing; JSON cut off in its middle; bytes that are no text; JSON whose fields have other names and types."""


@dataclass(frozen=True, slots=True)
class Extra:
    """What a device publishes beside its own readings: `rate` times a second, each on one of the `topics`.

    Times between two vary by `jitter` (a share). `size` is the payload's bytes where `body` is a blob.
    """

    topics: tuple[str, ...]
    rate: float
    body: Body = "reading"
    size: int = 0
    jitter: float = 0.2


@dataclass(frozen=True, slots=True)
class Spoof:
    """False values: of these fields, or of every number.

    `value` replaces them; else they are multiplied by `scale`, moved by `offset`, and by `drift` for every second
    since `since`. `freeze` repeats the first value seen.
    """

    fields: tuple[str, ...] = ()
    value: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    drift: float = 0.0
    freeze: bool = False
    since: Nanoseconds = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What one phase does to a device.

    `share` is how many of the readings are broken. `padded_to` makes every payload at least so many bytes.
    `duplicates` is the share of readings sent twice, as after a lost acknowledgement. `delay` lies between reading and
    sending, `delay_jitter` is its half width. A `hasty` device that is thrown out comes back at once.
    """

    rate_factor: float = 1.0
    extra_bytes: int = 0
    extra: Extra | None = None
    spoof: Spoof | None = None
    breakage: Breakage = ""
    share: float = 1.0
    padded_to: int = 0
    clock_offset: Nanoseconds = 0
    duplicates: float = 0.0
    delay: Nanoseconds = 0
    delay_jitter: Nanoseconds = 0
    hasty: bool = False
