"""Start, drain and stop, written out.

Start: services in the given order (sinks first); each must report ready before the next starts. A service that
fails to start stops those already started, last first.

Stop: services in reverse order (sources first). For each: `drain` with what is left of the deadline, then its
`run` is cancelled and awaited, then the next. So a sink lives until everything above it has handed on its work.

Crash: when a `run` raises, the body is cancelled, nothing is drained (what it would hand on to may be what died),
and the error comes out of `supervise`. A body cancelled from outside is the same. When the deadline cuts a drain,
`supervise` finishes the stop and raises `DrainCut`; when a drain raises, it finishes the stop and raises that.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from contracts.errors import BackendError, ThingstormError
from contracts.ports import Service
from thingstorm.runtime.groups import first_error

START_SECONDS = 30.0
"""How long one service may take to report ready: the emulator needs 0.3 s, a cold disk some seconds."""

STOP_SECONDS = 5.0
"""How long a cancelled `run` may take to end: a thread in a one-second long poll ends within two."""


class DrainCut(BackendError):
    """Something accepted had not been handed on when the deadline for stopping came."""

    exit_code = 1

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"stopped before everything was handed on: {', '.join(names)}",
            fix="stop when less is under way, or raise drain_seconds in the configuration",
        )


@dataclass(slots=True)
class _Running:
    service: Service
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ended: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        try:
            with self.scope:
                await self.service.run(task_status=task_status)
        finally:
            self.ended.set()


@asynccontextmanager
async def supervise(services: Sequence[Service], *, drain_seconds: float) -> AsyncIterator[None]:
    """Run the services around the body. Raises the first error of any service, or DrainCut."""
    try:
        async with anyio.create_task_group() as tasks:
            running: list[_Running] = []
            crashed = True  # until all have started: before that nothing was accepted that could be drained
            try:
                for service in services:
                    running.append(await _start(tasks, service))  # noqa: PERF401 - those before a failure must be stopped
                crashed = False
                yield
            except anyio.get_cancelled_exc_class():
                crashed = True
                raise
            finally:
                stopped = await _stop(running, drain_seconds=0.0 if crashed else drain_seconds)
            if not crashed:
                stopped.complain()
    except BaseExceptionGroup as group:
        raise first_error(group) from None


async def _start(tasks: TaskGroup, service: Service) -> _Running:
    running = _Running(service)
    with anyio.move_on_after(START_SECONDS) as scope:
        await tasks.start(running.run, name=service.name)
    if scope.cancelled_caught:
        raise BackendError(
            f"{service.name} was not ready after {START_SECONDS:.0f} s",
            fix="look at `thingstorm doctor` and its log",
        )
    return running


@dataclass(slots=True)
class _Stopped:
    """What did not go as it should: services that the deadline cut, with why, and what their drains raised."""

    cut: list[str] = field(default_factory=list)
    errors: list[ThingstormError] = field(default_factory=list)

    def complain(self) -> None:
        """Raises the first error of a drain, else DrainCut if anything was cut."""
        if self.errors:
            raise self.errors[0]
        if self.cut:
            raise DrainCut(self.cut)


async def _stop(running: list[_Running], *, drain_seconds: float) -> _Stopped:
    """Stop in reverse order, whatever a drain comes to."""
    stopped = _Stopped()
    deadline = anyio.current_time() + drain_seconds
    with anyio.CancelScope(shield=True):
        for one in reversed(running):
            if drain_seconds and not one.ended.is_set():
                await _drain(one.service, deadline, stopped)
            one.scope.cancel()
            with anyio.move_on_after(STOP_SECONDS) as scope:
                await one.ended.wait()
            if scope.cancelled_caught:
                stopped.cut.append(one.service.name)
    return stopped


async def _drain(service: Service, deadline: float, stopped: _Stopped) -> None:
    try:
        with anyio.move_on_at(deadline) as scope:
            await service.drain()
    except ThingstormError as error:
        stopped.errors.append(error)
    if scope.cancelled_caught:
        detail = service.health().detail
        # only what somebody can mend: the rest says how it does otherwise
        stopped.cut.append(f"{service.name} ({detail})" if "fix:" in detail else service.name)
