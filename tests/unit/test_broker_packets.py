"""Packets of MQTT 3.1.1 and 5: bytes in, values out, and back."""

from typing import Any

import pytest
from gateway_clients import connect_bytes, frames, packet, publish_bytes
from hypothesis import given
from hypothesis import strategies as st

from broker import packets, properties
from broker.packets import V3, V5, Filter
from broker.wire import FieldReader, MalformedPacket, data, text, variable
from contracts.messages import PublishProperties


def parsed(stream: bytes, level: int = V3) -> packets.Packet:
    ((header, body),) = frames(stream)
    return packets.parse(header, body, level=level)


def test_a_connect_is_read_with_all_it_says() -> None:
    stream = connect_bytes(
        "cid",
        keep_alive=60,
        will=("w/t", b"bye", 1, True),
        username="u",
        password=b"p",
    )
    assert parsed(stream) == packets.Connect(
        V3, "cid", True, 60, packets.Will("w/t", b"bye", 1, retain=True), "u", b"p", {}
    )


def test_a_connect_of_mqtt_5_is_read_with_its_properties_and_those_of_its_will() -> None:
    told = {"session_expiry": 30, "receive_maximum": 5, "user": (("a", "1"), ("a", "2"))}
    will = {"will_delay": 3, "message_expiry": 9, "user": (("x", "y"),)}
    found = parsed(connect_bytes("c", level=V5, told=told, will=("w", b"b", 0, False), will_told=will))
    assert isinstance(found, packets.Connect)
    assert found.properties == told
    assert found.will == packets.Will(
        "w", b"b", 0, False, 3, PublishProperties(message_expiry=9, user=(("x", "y"),))
    )


def test_the_other_packets_are_read() -> None:
    assert parsed(publish_bytes("a/b", b"p", qos=1, retain=True, packet_id=7, duplicate=True)) == (
        packets.Publish("a/b", b"p", 1, True, True, 7, {})
    )
    subscribe = packet(packets.SUBSCRIBE, b"\x00\x01" + text("a/#") + b"\x01" + text("b") + b"\x00", 2)
    assert parsed(subscribe) == packets.Subscribe(1, (Filter("a/#", 1), Filter("b", 0)))
    options = packet(packets.SUBSCRIBE, b"\x00\x01\x02\x0b\x07" + text("a") + b"\x2d", 2)
    assert parsed(options, V5) == packets.Subscribe(
        1, (Filter("a", 1, no_local=True, retain_as_published=True, retain_handling=2),), 7
    )
    assert parsed(packet(packets.UNSUBSCRIBE, b"\x00\x02" + text("b"), 2)) == packets.Unsubscribe(2, ("b",))
    assert parsed(b"\xc0\x00") == packets.PingReq()
    assert parsed(b"\xe0\x00") == packets.Disconnect()
    assert parsed(packet(packets.DISCONNECT, b"\x04\x05\x11\x00\x00\x00\x09"), V5) == packets.Disconnect(4, 9)
    for kind in (packets.PUBACK, packets.PUBREC, packets.PUBREL, packets.PUBCOMP):
        for level in (V3, V5):
            stream = packets.acknowledgement(kind, 9, level=level, code=0x92 if level == V5 else 0)
            assert parsed(stream, level) == packets.Acknowledgement(kind, 9, 0x92 if level == V5 else 0)


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "payload_format": st.integers(0, 1),
    "message_expiry": st.integers(0, 2**32 - 1),
    "content_type": st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20),
    "response_topic": st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20),
    "correlation_data": st.binary(max_size=20),
    "user": st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("cd")), min_size=1, max_size=4).map(tuple),
    "topic_alias": st.integers(1, 65_535),
}  # fmt: skip


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_properties_survive_the_round_trip(told: dict[str, Any]) -> None:
    assert properties.read(FieldReader(properties.write(told.items())), "PUBLISH") == told


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\x02\x01\x02", 0x82),  # payload format 2
        (b"\x03\x23\x00\x00", 0x82),  # topic alias 0
        (b"\x04\x01\x00\x01\x01", 0x82),  # the same twice
        (b"\x05\x11\x00\x00\x00\x01", 0x82),  # session expiry in a PUBLISH
        (b"\x02\x7f\x00", 0x81),  # unknown
        (b"\x05\x01", 0x81),  # too short
        (b"\xff\xff\xff\xff\x01", 0x81),
    ],
)
def test_properties_that_are_refused(body: bytes, code: int) -> None:
    with pytest.raises(MalformedPacket) as caught:
        properties.read(FieldReader(body), "PUBLISH")
    assert caught.value.code == code


@given(st.integers(0, 268_435_455))
def test_variable_numbers_survive_the_round_trip(number: int) -> None:
    assert FieldReader(variable(number)).variable() == number


@given(
    st.text(min_size=1, max_size=40).filter(lambda t: "\x00" not in t and t.isprintable()),
    st.binary(max_size=400),
    st.integers(0, 2),
)
def test_a_publish_survives_the_round_trip(topic: str, payload: bytes, qos: int) -> None:
    stream = packets.publish(topic, payload, qos=qos, retain=True, packet_id=5)
    assert parsed(stream) == packets.Publish(topic, payload, qos, True, False, 5 if qos else 0, {})


@given(st.integers(0, 255), st.binary(max_size=60), st.sampled_from((V3, V5)))
def test_arbitrary_bytes_are_a_packet_or_malformed(header: int, body: bytes, level: int) -> None:
    try:
        packets.parse(header, body, level=level)
    except MalformedPacket as error:
        assert error.code in (0x81, 0x82, 0x84)


CONNECT_HEAD = text("MQTT") + bytes((4,))


@pytest.mark.parametrize(
    "stream",
    [
        packet(packets.PUBLISH, text("a") + b"\x00\x01", 6),
        packet(packets.PUBLISH, text("a") + b"\x00\x00", 2),
        packet(packets.PUBLISH, text("a"), 8),
        packet(packets.PUBLISH, b"\x00\x01\xff"),
        packet(packets.PUBLISH, b"\x00\x01\x00"),
        packet(packets.SUBSCRIBE, b"\x00\x01" + text("a") + b"\x00"),
        packet(packets.SUBSCRIBE, b"\x00\x01" + text("a") + b"\x03", 2),
        packet(packets.SUBSCRIBE, b"\x00\x01" + text("a") + b"\x04", 2),
        packet(packets.SUBSCRIBE, b"\x00\x00" + text("a") + b"\x00", 2),
        packet(packets.SUBSCRIBE, b"\x00\x01", 2),
        packet(packets.UNSUBSCRIBE, b"\x00\x01", 2),
        packet(packets.PINGREQ, b"x"),
        packet(packets.DISCONNECT, b"\x00"),
        packet(packets.PUBACK, b"\x00\x01\x00"),
        packet(packets.CONNECT, text("MQIsdp") + bytes((3, 2, 0, 60)) + text("x")),
        packet(packets.CONNECT, CONNECT_HEAD + bytes((3, 0, 60)) + text("x")),
        packet(packets.CONNECT, CONNECT_HEAD + bytes((2, 0, 60)) + b"\x00\x09x"),
        packet(packets.CONNECT, CONNECT_HEAD + bytes((2, 0, 60)) + text("x") + b"more"),
        packet(packets.CONNECT, CONNECT_HEAD + bytes((0x2A, 0, 60)) + text("x")),
        packet(packets.CONNECT, CONNECT_HEAD + bytes((0x42, 0, 60)) + text("x") + data(b"p")),
        packet(packets.CONNECT, CONNECT_HEAD + bytes((0x1E, 0, 60)) + text("x") + text("t") + data(b"")),
        packet(packets.CONNACK, b"\x00\x00"),
        packet(packets.AUTH, b""),
        packet(0, b""),
    ],
)
def test_malformed_packets_are_refused(stream: bytes) -> None:
    with pytest.raises(MalformedPacket):
        parsed(stream)
