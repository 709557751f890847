import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.streams import BatchStream, StreamClosed

pytestmark = pytest.mark.anyio


async def test_takes_everything_that_waits_up_to_the_batch_size() -> None:
    stream = BatchStream[int]("s", capacity=10, max_batch=3)
    assert [stream.offer(n) for n in range(5)] == [True] * 5
    assert await stream.get() == (0, 1, 2)
    assert await stream.get() == (3, 4)


async def test_is_bounded_and_shows_its_highest_level() -> None:
    stream = BatchStream[int]("s", capacity=2)
    assert stream.offer(1)
    assert stream.offer(2)
    assert not stream.offer(3)
    assert stream.full
    await stream.get()
    gauge = stream.gauge()
    assert (gauge.name, gauge.used, gauge.capacity, gauge.highest) == ("s", 0, 2, 2)


async def test_every_waiting_producer_gets_its_item_in() -> None:
    stream = BatchStream[int]("s", capacity=1)
    taken: list[int] = []
    async with anyio.create_task_group() as tasks:
        for n in range(5):
            tasks.start_soon(stream.put, n)
        while len(taken) < 5:
            batch = await stream.get()
            taken.extend(batch)
            stream.done(batch)
    assert sorted(taken) == [0, 1, 2, 3, 4]


async def test_join_waits_for_what_was_taken_but_not_done() -> None:
    stream = BatchStream[int]("s", capacity=5)
    stream.offer(1)
    joined = anyio.Event()

    async def join() -> None:
        await stream.join()
        joined.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join)
        await stream.get()
        await anyio.lowlevel.checkpoint()
        assert not joined.is_set()
        stream.done((1,))
        await joined.wait()
    assert stream.unfinished == 0


async def test_closed_stream_gives_what_it_holds_and_then_ends() -> None:
    stream = BatchStream[int]("s", capacity=5)
    stream.offer(1)
    stream.close()
    assert not stream.offer(2)
    assert await stream.get() == (1,)
    with pytest.raises(StreamClosed):
        await stream.get()
    with pytest.raises(StreamClosed):
        await stream.put(3)


async def test_close_wakes_a_waiting_consumer_and_producer() -> None:
    full, empty = BatchStream[int]("full", capacity=1), BatchStream[int]("empty", capacity=1)
    full.offer(1)
    ended: list[str] = []

    async def expect_end(stream: BatchStream[int], *, put: bool) -> None:
        with pytest.raises(StreamClosed):
            await (stream.put(2) if put else stream.get())
        ended.append(stream.name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: expect_end(full, put=True))
        tasks.start_soon(lambda: expect_end(empty, put=False))
        await anyio.wait_all_tasks_blocked()
        full.close()
        empty.close()
    assert sorted(ended) == ["empty", "full"]


def test_more_done_than_put_is_a_mistake_that_shows() -> None:
    with pytest.raises(ValueError, match="more items done"):
        BatchStream[int]("s", capacity=1).done((1,))


@given(st.lists(st.integers(1, 7), max_size=30), st.integers(1, 5))
def test_nothing_is_lost_doubled_or_reordered(bursts: list[int], max_batch: int) -> None:
    async def scenario() -> list[int]:
        stream = BatchStream[int]("s", capacity=4, max_batch=max_batch)
        seen: list[int] = []

        async def produce() -> None:
            number = 0
            for burst in bursts:
                for _ in range(burst):
                    await stream.put(number)
                    number += 1
            await stream.join()
            stream.close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(produce)
            try:
                while True:
                    batch = await stream.get()
                    seen.extend(batch)
                    stream.done(batch)
            except StreamClosed:
                return seen

    assert anyio.run(scenario) == list(range(sum(bursts)))
