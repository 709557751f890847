"""Holes of the heap go back to the system, and an error of the body comes out as it is."""

import anyio
import pytest

from thingstorm.runtime import heap
from thingstorm.runtime.heap import giving_back_memory

pytestmark = pytest.mark.anyio


def resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file of ours
        return int(file.read().split()[1]) * 4096


async def test_holes_of_the_heap_go_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "EVERY_SECONDS", 0.01)
    held = [bytes(3_000) for _ in range(20_000)]
    kept = held[::4]  # each hole is larger than a page, and lies between two pieces in use
    del held
    before = resident()
    async with giving_back_memory():
        with anyio.fail_after(5):
            while resident() > before - 15_000_000:
                await anyio.sleep(0.01)
    assert len(kept) == 5_000


async def test_an_error_of_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with giving_back_memory():
            raise ValueError("mine")
