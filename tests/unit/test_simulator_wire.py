"""The client's side of MQTT as bytes, held against the gateway's own parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import packets
from simulator import wire
from simulator.wire import Acknowledged, Answered, Arrived, Reader


def parsed(data: bytes) -> packets.Packet:
    """What the gateway makes of one whole packet."""
    length, place, shift = 0, 1, 0
    while True:
        length |= (data[place] & 0x7F) << shift
        shift += 7
        place += 1
        if data[place - 1] < 0x80:
            break
    assert len(data) == place + length
    return packets.parse(data[0], data[place:], level=4)


def test_a_connect_says_who_and_how() -> None:
    packet = parsed(wire.connect("meter-1", username="u", password=b"\x00p", clean=False))
    assert isinstance(packet, packets.Connect)
    assert (packet.client_id, packet.username, packet.password) == ("meter-1", "u", b"\x00p")
    assert (packet.clean_start, packet.keep_alive) == (False, wire.KEEP_ALIVE_SECONDS)


@given(topic=st.text(min_size=1, max_size=60).filter(lambda t: not set(t) & set("+#\0")), payload=st.binary(max_size=40_000),
       packet_id=st.integers(0, 65_535), retain=st.booleans())  # fmt: skip
def test_a_publish_is_read_as_it_was_written(
    topic: str,
    payload: bytes,
    packet_id: int,
    retain: bool,  # noqa: FBT001 - hypothesis passes it
) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in topic):
        return
    packet = parsed(wire.publish(topic, payload, packet_id=packet_id, retain=retain))
    assert isinstance(packet, packets.Publish)
    assert (packet.topic, packet.payload, packet.retain) == (topic, payload, retain)
    assert (packet.qos, packet.packet_id) == (int(packet_id > 0), packet_id)


def test_a_subscribe_names_its_filters() -> None:
    packet = parsed(wire.subscribe(["cmd/a/#", "x"], packet_id=7))
    assert isinstance(packet, packets.Subscribe)
    assert [(one.name, one.qos) for one in packet.filters] == [("cmd/a/#", 1), ("x", 1)]
    assert packet.packet_id == 7


@given(st.data())
def test_what_comes_in_pieces_is_read_all_the_same(data: st.DataObject) -> None:
    stream = b"".join(
        (
            packets.connack(0),
            wire.publish("cmd/m/job", b"{}", packet_id=9),
            b"\xd0\x00",
            wire.acknowledge(300),
            wire.publish("a", b"x" * 200),
            b"\x90\x03\x00\x01\x01",
        )
    )
    reader, events = Reader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        events += reader.feed(stream[:size])
        stream = stream[size:]
    assert events == [
        Answered(0), Arrived("cmd/m/job", b"{}", 9), Acknowledged(300), Arrived("a", b"x" * 200, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("size", [0, 127, 128, 16_383, 16_384, 2_097_151])
def test_lengths_take_as_many_bytes_as_they_need(size: int) -> None:
    head = wire.packet(3, b"x" * size)[: -size or None]
    assert len(head) == 1 + (1 if size < 128 else 2 if size < 16_384 else 3)
