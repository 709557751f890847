"""Start, drain and stop, written out.

Start: services in the given order (sinks first); each must report ready before the next starts. A service that
fails to start stops those already started, last first.

Stop: services in reverse order (sources first). For each: `drain` with what is left of the deadline, then its
`run` is cancelled and awaited, then the next. So a sink lives until everything above it has handed on its work.

Crash: when a `run` raises, the body is cancelled, nothing is drained (what it would hand on to may be what died),
and the error comes out of `supervise`. A body cancelled from outside is the same. When the deadline cuts a drain,
`supervise` finishes the stop and raises `DrainCut`.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup, TaskStatus

from contracts.errors import BackendError
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
                cut = await _stop(running, drain_seconds=0.0 if crashed else drain_seconds)
            if cut and not crashed:
                raise DrainCut(cut)
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


async def _stop(running: list[_Running], *, drain_seconds: float) -> list[str]:
    """Stop in reverse order; the names of those that the deadline cut."""
    cut: list[str] = []
    deadline = anyio.current_time() + drain_seconds
    with anyio.CancelScope(shield=True):
        for one in reversed(running):
            if drain_seconds and not one.ended.is_set() and not await _drain(one.service, deadline):
                cut.append(one.service.name)
            one.scope.cancel()
            with anyio.move_on_after(STOP_SECONDS) as scope:
                await one.ended.wait()
            if scope.cancelled_caught:
                cut.append(one.service.name)
    return cut


async def _drain(service: Service, deadline: float) -> bool:
    with anyio.move_on_at(deadline) as scope:
        await service.drain()
    return not scope.cancelled_caught
