"""Asks the stack twice a second what every hop has done, and hands it to the display."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import anyio

from contracts.ports import Health
from thingstorm.runtime.groups import first_error

REFRESH_SECONDS = 0.5

Hop = tuple[str, int, str]
"""A hop of the path: its name, messages so far, a remark."""

AskHops = Callable[[], Sequence[Hop]]
Look = Callable[[], Awaitable[None]]
Refresh = Callable[[Sequence[Hop]], None]


class HasHealth(Protocol):
    """A part of the stack that says how it is."""

    def health(self) -> Health: ...


@asynccontextmanager
async def refreshing(
    ask: AskHops, look: Look, simulator: HasHealth | None, refresh: Refresh
) -> AsyncIterator[None]:
    """Refresh the display while the body runs; `look` is awaited before each `ask`."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_refresh, ask, look, simulator, refresh)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_error(group) from None


async def _refresh(ask: AskHops, look: Look, simulator: HasHealth | None, refresh: Refresh) -> None:
    while True:
        await look()
        published = simulator.health().counters.get("published", 0) if simulator else None
        first: list[Hop] = [("published", published, "by the devices")] if published is not None else []
        refresh([*first, *ask()])
        await anyio.sleep(REFRESH_SECONDS)
