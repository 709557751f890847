"""What a measured transport tells a load tool, against our real gateway."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from ports import free_port
from test_broker_embedded import a_house, until
from test_simulator_raw import OPEN_LIMITS, Log

from simulator.device import Reading
from simulator.transports.measured import LINKS, MeasuredTransport, Outcome

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def measured(port: int, link: str) -> AsyncIterator[tuple[MeasuredTransport, Log, list[Outcome]]]:
    log = Log()
    told: list[Outcome] = []
    transport = MeasuredTransport(
        host="127.0.0.1", port=port, callbacks=log.callbacks(), make_link=LINKS[link], tell=told.append
    )
    await transport.open()
    try:
        yield transport, log, told
    finally:
        await transport.close()


@pytest.mark.parametrize("link", sorted(LINKS))
async def test_connects_and_publishes_are_told_with_their_time_and_size(link: str) -> None:
    async with (
        a_house(overrides=OPEN_LIMITS) as house,
        measured(house.broker.port, link) as (transport, log, told),
    ):
        transport.connect("a", ())
        await until(lambda: log.told == [("connected", "a")])
        for number in range(30):
            assert transport.publish("a", Reading("dt/a", b"x" * (number + 1), 1))
        await until(lambda: len(told) == 31)
        assert transport.publish("a", Reading("dt/a", b"xx", 0))
        assert not transport.publish("nobody", Reading("dt/a", b"x", 1))
        assert len(log.acknowledged) == 30, "the fleet hears of it all the same"
    connect, *publishes, last = told
    assert (connect.what, connect.device_id, connect.error) == ("connect", "a", None)
    assert [one.size for one in publishes] == list(range(1, 31))
    assert {one.what for one in publishes} == {"publish qos1"}
    assert all(0 < one.milliseconds < 2_000 for one in (connect, *publishes))
    assert last == Outcome("publish qos0", "a", 0.0, 2)


@pytest.mark.parametrize("link", sorted(LINKS))
async def test_failures_are_told_and_a_new_connection_starts_afresh(link: str) -> None:
    async with a_house() as house, measured(house.broker.port, link) as (transport, log, told):
        transport.connect("a", ())
        await until(lambda: len(told) == 1)
        await house.broker.quarantine("a", reason="test")
        await until(lambda: log.told[-1] == ("lost", "a", "lost"))
        transport.connect("a", ())
        await until(lambda: log.told[-1] == ("lost", "a", "refused"))
        await house.broker.release("a")
        transport.connect("a", ())
        await until(lambda: log.told[-1] == ("connected", "a"))
        assert transport.publish("a", Reading("dt/a", b"1", 1))
        await until(lambda: len(told) == 5)
    assert [(one.what, one.error) for one in told] == [
        ("connect", None),
        ("connection", "the connection broke"),
        ("connect", "the broker refused the device"),
        ("connect", None),
        ("publish qos1", None),
    ]


async def test_what_was_given_up_is_not_waited_for() -> None:
    async with a_house() as house, measured(house.broker.port, "raw") as (transport, log, told):
        for round_number in (1, 2):
            transport.connect("a", ())
            await until(lambda n=round_number: log.told.count(("connected", "a")) == n)  # type: ignore[misc] - now
            assert transport.publish("a", Reading("dt/a", b"1", 1))
            if round_number == 1:
                assert len(transport.drop("a")) == 1
        await until(lambda: [one.what for one in told] == ["connect", "connect", "publish qos1"])
        transport.disconnect("a")


async def test_a_broker_that_is_not_there_is_told() -> None:
    async with measured(free_port(), "paho") as (transport, log, told):
        transport.connect("a", ())
        await until(lambda: bool(log.told))
    assert [(one.what, one.error) for one in told] == [("connect", "no broker answered")]
