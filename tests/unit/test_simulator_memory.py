"""The transport in memory says what the ones on sockets say, and says it once."""

from typing import Any

from simulator.device import Reading
from simulator.transports.base import Callbacks
from simulator.transports.memory import MemoryTransport


class Told:
    """What was called back, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def callbacks(self) -> Callbacks:
        def note(name: str) -> Any:
            return lambda *facts: self.calls.append((name, *facts))

        return Callbacks(
            connected=note("connected"),
            writable=note("writable"),
            lost=note("lost"),
            message=note("message"),
            acknowledged=note("acknowledged"),
        )


def test_a_connection_begins_once_and_is_lost_once() -> None:
    told = Told()
    made = MemoryTransport(callbacks=told.callbacks(), deliver=lambda _device, _reading: True)
    made.cut("a")
    made.hand("a", "cmd/a", b"1")
    for _ in range(2):
        made.connect("a", ())
    made.hand("a", "cmd/a", b"2")
    for _ in range(2):
        made.cut("a")
    made.hand("a", "cmd/a", b"3")
    assert told.calls == [("connected", "a"), ("message", "a", "cmd/a", b"2"), ("lost", "a", "lost", ())]
    assert made.connected() == frozenset()


def test_who_is_refused_or_gone_publishes_nothing() -> None:
    told, taken = Told(), []
    made = MemoryTransport(
        callbacks=told.callbacks(),
        deliver=lambda device, _reading: taken.append(device) is None,
        admit=lambda device: device != "bad",
    )
    reading = Reading(topic="dt/a", payload=b"1", qos=1)
    made.connect("bad", ())
    made.connect("good", ())
    assert told.calls == [("lost", "bad", "refused", ()), ("connected", "good")]
    assert (made.publish("bad", reading), made.publish("good", reading)) == (False, True)
    made.disconnect("good")
    made.disconnect("good")
    assert not made.publish("good", reading)
    made.connect("good", ())
    assert list(made.drop("good")) == []
    assert not made.publish("good", reading)
    assert taken == ["good"]
