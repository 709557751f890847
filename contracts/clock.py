"""Time as a port: the wall clock, and one that moves only when told (virtual time, tests)."""

import time
from typing import Protocol

import anyio

from contracts.messages import SECOND, Nanoseconds


class Clock(Protocol):
    """Where time comes from. `now` is nanoseconds since the Unix epoch, UTC."""

    def now(self) -> Nanoseconds: ...

    async def sleep_until(self, moment: Nanoseconds) -> None:
        """Return when `now() >= moment`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> Nanoseconds:
        return time.time_ns()

    async def sleep_until(self, moment: Nanoseconds) -> None:
        await anyio.sleep(max(0, moment - self.now()) / SECOND)


class ScaledClock:
    """The machine's clock from now on `speed` times as fast: a stack on it lives through a minute in 60 / speed s."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._zero = time.time_ns()
        self._began = time.monotonic_ns()

    def now(self) -> Nanoseconds:
        return self._zero + int((time.monotonic_ns() - self._began) * self._speed)

    async def sleep_until(self, moment: Nanoseconds) -> None:
        await anyio.sleep(max(0, moment - self.now()) / SECOND / self._speed)


class ManualClock:
    """A clock that stands still until `advance` or `set`; sleepers wake in the order of their moments."""

    def __init__(self, start: Nanoseconds = 0) -> None:
        self._now = start
        self._moved = anyio.Event()

    def now(self) -> Nanoseconds:
        return self._now

    def advance(self, nanoseconds: Nanoseconds) -> None:
        self.set(self._now + nanoseconds)

    def set(self, moment: Nanoseconds) -> None:
        if moment < self._now:
            raise ValueError(f"time does not run backwards: {moment} < {self._now}")
        self._now = moment
        self._moved.set()
        self._moved = anyio.Event()

    async def sleep_until(self, moment: Nanoseconds) -> None:
        while self._now < moment:
            await self._moved.wait()
