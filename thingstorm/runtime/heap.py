"""Gives the system back what the C library keeps: pieces that are free and lie between others that are not.

Answers of services and rows on their way come in all sizes and from many threads, so the heap gets holes, and grows by
them for hours. Where there is no `malloc_trim` (other libraries than glibc) nothing is done.
"""

import ctypes
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import anyio
from anyio import CapacityLimiter, to_thread

from thingstorm.runtime.groups import beside

EVERY_SECONDS = 20.0
"""A round takes some milliseconds of a thread for 100 MB, so this costs nothing that could be measured."""


def giving_back_memory() -> AbstractAsyncContextManager[None]:
    """While the body runs, holes of the heap go back to the system."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return nullcontext() if trim is None else beside(lambda: _trim_for_ever(trim))


async def _trim_for_ever(trim: Callable[[int], int]) -> None:
    limiter = CapacityLimiter(1)
    while True:
        await anyio.sleep(EVERY_SECONDS)
        await to_thread.run_sync(trim, 0, limiter=limiter)
