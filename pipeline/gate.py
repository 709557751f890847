"""Keeps an emulator's queue short: what it has no room for waits before SNS, where waiting costs nothing.

The emulator walks its whole queue at each receive and delete. Measured: 1,000 to 1,400 messages a second with an empty
queue, 750 with 1,000 in it, below 180 with 20,000; so a backlog would make the path slower, and grow by that. On AWS queues have
no such limit, and there is no gate.
"""

from collections.abc import Callable
from typing import Final

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus

from contracts.clock import Clock
from contracts.errors import BackendError
from contracts.messages import Nanoseconds
from contracts.ports import Gauge, Health, State

DEEP: Final = 1_000
"""Messages, waiting or in flight: a second of traffic, and the emulator at three quarters of its best."""

LOOK_SECONDS: Final = 0.25
"""At 1,000 messages a second what comes between two looks is a quarter of the limit; eight calls a second on top of 350."""


class QueueGate:
    """The service "gate-LANE": `passed` waits while the queue is deep. `depth` blocks, and may raise BackendError."""

    def __init__(self, lane: str, depth: Callable[[], int], *, clock: Clock, deep: int = DEEP) -> None:
        self.name = f"gate-{lane}"
        self._depth = depth
        self._clock = clock
        self._deep = deep
        self._limiter = CapacityLimiter(1)
        self._open = anyio.Event()
        self._open.set()
        self._state: State = "starting"
        self._last_progress: Nanoseconds = 0
        self._seen = self._highest = self._closed = 0

    async def passed(self) -> None:
        """Return when the queue has room."""
        await self._open.wait()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        self._state = "ready"
        task_status.started()
        try:
            while True:
                await self._look()
                await anyio.sleep(LOOK_SECONDS)
        finally:
            self._open.set()

    async def drain(self) -> None:
        self._state = "draining"

    def health(self) -> Health:
        detail = "" if self._open.is_set() else "closed: the emulator's queue is deep"
        gauge = Gauge(self.name, self._seen, self._deep, self._highest)
        return Health(self.name, self._state, detail, self._last_progress, (gauge,), {"closed": self._closed})

    async def _look(self) -> None:
        try:
            self._seen = await to_thread.run_sync(self._depth, limiter=self._limiter)
        except BackendError:
            return  # whoever works on the queue says so
        self._last_progress = self._clock.now()
        self._highest = max(self._highest, self._seen)
        if self._seen < self._deep:
            self._open.set()
        elif self._open.is_set():
            self._open = anyio.Event()
            self._closed += 1
