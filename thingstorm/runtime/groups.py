"""Exception groups: people are told the one error that counts."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that is not a mere cancellation, however deep groups are nested."""
    for error in group.exceptions:
        inner = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(inner, anyio.get_cancelled_exc_class()):
            return inner
    return group.exceptions[0]


@asynccontextmanager
async def beside(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Work that goes on beside the body and ends with it; an error of either comes out as it is."""
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise first_error(group) from None
