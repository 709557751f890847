"""Tells a person when a part has trouble, and when it is well again: once each, while the rest goes on."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import anyio

from contracts.ports import Health
from thingstorm.runtime.groups import beside

WATCH_SECONDS = 0.5


def telling_troubles(
    health: Callable[[], Sequence[Health]], tell: Callable[[str], None]
) -> AbstractAsyncContextManager[None]:
    """While the body runs, `tell` gets a line for each change."""
    return beside(lambda: _watch(health, tell))


async def _watch(health: Callable[[], Sequence[Health]], tell: Callable[[str], None]) -> None:
    told: dict[str, str] = {}
    while True:
        await anyio.sleep(WATCH_SECONDS)
        for one in health():
            trouble = one.detail if one.state == "failed" else ""
            if trouble != told.get(one.name, ""):
                tell(f"{one.name}: {trouble or 'ready again'}")
                told[one.name] = trouble
