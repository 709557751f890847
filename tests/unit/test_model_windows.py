"""When a second is complete, and that each is handed out once and in order."""

import pytest
from model_fleet import START, MemoryView

from analytics.windows import COUNTS, GRACE, DeviceRow, Second, SecondReader
from contracts.clock import ManualClock
from contracts.messages import SECOND

pytestmark = pytest.mark.anyio


def _second(t: int, *devices: str) -> Second:
    return Second(START + t, tuple(DeviceRow(d, (1,) * len(COUNTS), (f"dt/m/{d}/t",)) for d in devices))


def _reader(view: MemoryView) -> tuple[SecondReader, ManualClock]:
    clock = ManualClock(START * SECOND)
    return SecondReader(view, clock, start=START * SECOND), clock


async def test_a_second_waits_for_all_its_announced_devices() -> None:
    view = MemoryView()
    reader, _ = _reader(view)
    view.add(_second(0, "a"), announced=2)
    assert await reader.poll() == []
    view.add(_second(0, "a", "b"))
    assert await reader.poll() == [_second(0, "a", "b")]
    assert await reader.poll() == []


async def test_device_rows_without_the_fleet_row_are_not_complete() -> None:
    view = MemoryView()
    reader, _ = _reader(view)
    view.add(_second(0, "a"), fleet_row=False)
    assert await reader.poll() == []


async def test_an_idle_second_is_complete_and_empty() -> None:
    view = MemoryView()
    reader, _ = _reader(view)
    view.add(_second(0))
    assert await reader.poll() == [Second(START)]


async def test_an_overtaken_second_is_given_up_after_the_grace_only() -> None:
    view = MemoryView()
    reader, clock = _reader(view)
    view.add(_second(0, "a"), announced=2)
    view.add(_second(1, "a", "b"))
    assert await reader.poll() == []
    clock.advance(GRACE - 1)
    assert await reader.poll() == []
    clock.advance(1)
    closed = await reader.poll()
    assert [second.complete for second in closed] == [False, True]
    assert closed[0].rows == _second(0, "a").rows
    assert reader.incomplete == 1


async def test_silence_of_the_pipeline_is_not_silence_of_the_devices() -> None:
    view = MemoryView()
    reader, clock = _reader(view)
    view.add(_second(0, "a"))
    await reader.poll()
    clock.advance(60 * SECOND)
    assert await reader.poll() == []
    view.add(_second(1, "a"))
    assert await reader.poll() == [_second(1, "a")]


async def test_a_missing_second_between_visible_ones_is_empty_after_the_grace() -> None:
    view = MemoryView()
    reader, clock = _reader(view)
    view.add(_second(0, "a"))
    view.add(_second(2, "a"))
    assert await reader.poll() == [_second(0, "a")]
    clock.advance(GRACE)
    assert await reader.poll() == [Second(START + 1, complete=False), _second(2, "a")]


async def test_a_long_hole_is_jumped_over() -> None:
    view = MemoryView()
    reader, _ = _reader(view)
    view.add(_second(0, "a"))
    await reader.poll()
    view.add(_second(5000, "a"))
    assert await reader.poll() == [_second(5000, "a")]


async def test_rows_before_the_start_are_not_read() -> None:
    view = MemoryView()
    reader, _ = _reader(view)
    view.add(_second(-10, "old"))
    assert await reader.poll() == []
