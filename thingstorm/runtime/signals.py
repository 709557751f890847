"""Ctrl-C and SIGTERM: the first asks to stop, the second insists."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from contracts.errors import ThingstormError
from thingstorm.runtime.groups import first_error


class Interrupted(ThingstormError):
    """Somebody stopped it before it was over."""

    exit_code = 130

    def __init__(self) -> None:
        super().__init__("stopped before it was over", fix="run it again when there is time to let it finish")


@asynccontextmanager
async def stop_on_signal() -> AsyncIterator[anyio.Event]:
    """Gives an event that the first SIGINT or SIGTERM sets; a second one cancels the body."""
    stop = anyio.Event()
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(_watch, tasks, stop)
            yield stop
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_error(group) from None


async def _watch(
    tasks: TaskGroup,
    stop: anyio.Event,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if stop.is_set():
                tasks.cancel_scope.cancel()
            stop.set()
