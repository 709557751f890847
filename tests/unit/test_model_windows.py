"""When a second is complete, and that each is handed out once and in order."""

import anyio
import pytest
from model_fleet import START, MemoryView

from analytics.query_catalog import catalog
from analytics.schedule import ScheduledQuery
from analytics.windows import CHUNK_ROWS, COUNTS, GRACE, SECONDS_QUERY, DeviceRow, Second, SecondReader
from contracts.clock import ManualClock
from contracts.errors import Transient
from contracts.messages import SECOND
from contracts.ports import Rows

pytestmark = pytest.mark.anyio


def _second(t: int, *devices: str) -> Second:
    return Second(START + t, tuple(DeviceRow(d, (1,) * len(COUNTS), (f"dt/m/{d}/t",)) for d in devices))


class _Reader:
    """A reader beside its view: each poll is one run of the scheduled query."""

    def __init__(self, view: MemoryView, clock: ManualClock) -> None:
        self.seconds = SecondReader(clock, start=START * SECOND)
        self._found: list[Second] = []
        self._query = ScheduledQuery(
            SECONDS_QUERY,
            view,
            clock,
            every=SECOND,
            parameters=lambda: self.seconds.parameters,
            push=self._take,
        )

    async def _take(self, rows: Rows) -> int:
        self._found = self.seconds.take(rows)
        return len(self._found)

    async def poll(self) -> list[Second]:
        await self._query.once()
        return self._found


def _reader(view: MemoryView) -> tuple["_Reader", ManualClock]:
    clock = ManualClock(START * SECOND)
    return _Reader(view, clock), clock


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
    assert reader.seconds.incomplete == 1


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


def test_the_query_asks_for_everything_that_a_second_counts() -> None:
    query = catalog()[SECONDS_QUERY]
    selected = query.sql.split("SELECT", 1)[1].split("FROM", 1)[0]
    for name in ("device_id", "start_ms", "num_devices", "topics", *COUNTS):
        assert name in selected
    assert query.bind({"since_ms": 5, "rows": CHUNK_ROWS}) == {"since_ms": 5, "rows": CHUNK_ROWS}


async def test_a_scheduled_query_tells_its_pace_and_outlives_a_busy_view() -> None:
    view, clock, pushed = MemoryView(), ManualClock(START * SECOND), []

    async def push(rows: Rows) -> int:
        pushed.append(len(rows.rows))
        return 1

    query = ScheduledQuery(
        SECONDS_QUERY,
        view,
        clock,
        every=SECOND // 4,
        parameters=lambda: {"since_ms": START * 1000},
        push=push,
    )
    view.add(_second(0, "a"))
    view.failures.append(Transient("busy", fix="wait"))
    assert await query.once() == 0
    over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(query.run, over)
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            clock.advance(SECOND // 4)
        over.set()
        clock.advance(SECOND)
    assert pushed == [2, 2, 2]
    assert (query.pace.runs, query.pace.retries, query.pace.rows) == (3, 1, 2)
