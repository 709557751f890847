"""Blocking work against a service, again until it works: who holds something waits with it, and says what for.

Nothing that a service refuses for now or until it is mended ends the stack: that would drop what the stack has taken
and not yet handed on. It is told by the health instead, with the mend.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread

from contracts.errors import BackendError, Misconfigured, Terminal
from contracts.ports import State

T = TypeVar("T")

PAUSE: Final = 0.5
LONG_PAUSE: Final = 5.0
"""Seconds between tries: at first, and once it is clear that nothing works."""

FAULTS_IN_A_ROW: Final = 20
"""After 10 s in which nothing worked the failure is real; one that a person must mend is at once."""


class Patience:
    """Runs work in threads of the limiter. `retries` counts; `detail` says what is waited for, empty while all is well.

    `mend` is called (in a thread) where something is missing: an emulator that was restarted has forgotten what was made.
    """

    def __init__(self, limiter: CapacityLimiter, *, mend: Callable[[], object] | None = None) -> None:
        self.retries = 0
        self._limiter = limiter
        self._mend = mend
        self._troubles: dict[object, tuple[bool, str]] = {}

    @property
    def detail(self) -> str:
        return next((what for _, what in self._troubles.values()), "")

    def state(self, own: State) -> State:
        """The service's own state, or `failed` where it is ready and what it needs is not."""
        failed = any(real for real, _ in self._troubles.values())
        return "failed" if failed and own == "ready" else own

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Return when the work is done. Raises nothing of a service's."""
        me, faults = object(), 0
        try:
            while True:
                try:
                    return await to_thread.run_sync(work, *arguments, limiter=self._limiter)
                except BackendError as error:
                    faults += 1
                    real = isinstance(error, Terminal) or faults >= FAULTS_IN_A_ROW
                    self._troubles[me] = (real, f"trying again: {error.told}")
                    self.retries += 1
                    if isinstance(error, Misconfigured):
                        await self._try_to_mend()
                await anyio.sleep(LONG_PAUSE if faults >= FAULTS_IN_A_ROW else PAUSE)
        finally:
            self._troubles.pop(me, None)

    async def _try_to_mend(self) -> None:
        if self._mend is not None:
            with suppress(BackendError):
                await to_thread.run_sync(self._mend, limiter=self._limiter)
