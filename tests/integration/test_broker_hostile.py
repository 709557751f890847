"""Hostile input at real sockets: the gateway stays up, its memory comes back, good clients are served."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import psutil
import pytest
from gateway_clients import connect_bytes, packet, publish_bytes
from test_broker_defects import a_socket, connected
from test_broker_embedded import House, a_house, until

from broker import conversation, packets

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Without asyncio's debug mode: it takes a traceback a callback, four times the work of 10,000 connections."""
    return ("asyncio", {"debug": False})


UNLIMITED = {
    "publishes_per_second": float("inf"),
    "bytes_per_second": float("inf"),
    "connects_per_second": float("inf"),
}
DENY = {"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*"}]}


def memory_mb() -> float:
    gc.collect()
    return float(psutil.Process().memory_info().rss) / 1e6


@asynccontextmanager
async def memory_comes_back() -> AsyncIterator[None]:
    before = memory_mb()
    yield
    deadline = time.monotonic() + 5
    while memory_mb() > before * 1.2 and time.monotonic() < deadline:
        await anyio.sleep(0.1)
    assert memory_mb() <= before * 1.2


async def round_trips(house: House, seconds: float) -> int:
    """How many acknowledged publishes one good client makes in that time."""
    count = 0
    async with connected(house, f"good-{time.monotonic_ns()}") as good:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            count += 1
            await good.send(publish_bytes("dt/good", b"x", qos=1, packet_id=count % 60_000 + 1))
            assert await good.next() is not None
    return count


async def test_40_000_messages_to_a_stalled_subscriber_stay_within_a_bound() -> None:
    async with (
        a_house(overrides=UNLIMITED) as house,
        connected(house, "fast") as fast,
        connected(house, "stalled") as stalled,
    ):
        await stalled.subscribe("dt/#")
        before = memory_mb()
        for first in range(0, 40_000, 400):
            await fast.send(b"".join(publish_bytes("dt/x", b"x" * 200) for _ in range(400)))
            await asyncio.sleep(0)
            if first % 4_000 == 0:  # to collect garbage takes longer than to send so many
                assert memory_mb() < before + 25
        assert memory_mb() < before + 25
        await until(lambda: house.broker.health().counters["accepted"] == 40_000, within=30)
        counters = house.broker.health().counters
        assert counters["delivered"] + counters["dropped"] == 40_000
        await fast.send(b"\xc0\x00")
        answer = await fast.next()
        assert answer is not None
        assert answer.kind == "PINGRESP"


async def test_10_000_refused_logins_leave_nothing_and_a_good_client_keeps_its_speed() -> None:
    async with a_house(overrides=UNLIMITED) as house:
        await house.broker.create("bad", policy=DENY)
        await _refused(house, 500)
        quiet = await round_trips(house, 0.5)
        async with memory_comes_back():
            busy = 0
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(_refused, house, 950)
                busy = await round_trips(house, 2.0)
        assert house.broker.health().counters["connect_refused"] == 10_000
        assert house.broker._gateway.connections == 0
        assert busy > 0
        # both sides share one process here, so the flood's own cost is the test's too: no ratio is asked for
        assert quiet > 0


async def _refused(house: House, count: int) -> None:
    for _ in range(count):
        async with a_socket(house) as raw:
            await raw.send(connect_bytes("bad"))
            answer = await raw.next(within=20)
            assert answer is not None
            assert answer.code == 5


async def test_slow_dripping_connects_are_closed_and_others_connect_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversation, "CONNECT_SECONDS", 3)  # its ten are counted in test_broker_gateway.py
    async with a_house(overrides=UNLIMITED) as house:
        async with anyio.create_task_group() as tasks:
            closed: list[float] = []
            for number in range(50):
                tasks.start_soon(_drip, house, number, closed)
            await anyio.sleep(1)
            assert await round_trips(house, 1.0) > 50
        assert len(closed) == 50
        assert max(closed) < 6
        await until(lambda: not house.broker._lines)


async def _drip(house: House, number: int, closed: list[float]) -> None:
    began = time.monotonic()
    async with a_socket(house) as raw:
        for byte in connect_bytes(f"slow-{number:030}"):
            try:
                await raw.send(bytes((byte,)))
            except ConnectionError:
                break
            await anyio.sleep(0.5)
            if raw.reader.at_eof():
                break
    closed.append(time.monotonic() - began)


async def test_a_client_that_subscribes_and_invents_topics_without_end_grows_nothing() -> None:
    async with a_house(overrides=UNLIMITED) as house, connected(house, "a") as raw:
        for first in range(0, 20_000, 500):
            await raw.send(b"".join(publish_bytes(f"dt/{n}/x", b"x") for n in range(first, first + 500)))
        await until(lambda: house.broker.health().counters["accepted"] == 20_000, within=20)
        gateway = house.broker._gateway
        connection = gateway.connection("a")
        assert connection is not None
        assert len(connection._routes) <= 32
        for number in range(200):
            await raw.subscribe(f"cmd/{number}/+")
            await raw.send(packet(packets.UNSUBSCRIBE, b"\x00\x01\x00\x00", 2))
            await raw.next()
        assert gateway.tree.size == 50
