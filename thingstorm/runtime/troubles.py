"""Tells a person when a part has trouble, and when it is well again: once each, while the rest goes on."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from contracts.ports import Health
from thingstorm.runtime.groups import first_error

WATCH_SECONDS = 0.5


@asynccontextmanager
async def telling_troubles(
    health: Callable[[], Sequence[Health]], tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """While the body runs, `tell` gets a line for each change."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, health, tell)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_error(group) from None


async def _watch(health: Callable[[], Sequence[Health]], tell: Callable[[str], None]) -> None:
    told: dict[str, str] = {}
    while True:
        await anyio.sleep(WATCH_SECONDS)
        for one in health():
            trouble = one.detail if one.state == "failed" else ""
            if trouble != told.get(one.name, ""):
                tell(f"{one.name}: {trouble or 'ready again'}")
                told[one.name] = trouble
