"""Topics, policies, metrics and packets of the gateway."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import metrics, packets
from broker.limits import profile
from broker.metrics import MAX_DEVICES, ROWS_PER_MESSAGE, Metrics
from broker.packets import MalformedPacket, Parser
from broker.policy import DEVICE_DOCUMENT, Policy
from broker.topics import filter_fault, matches, name_fault
from contracts.messages import FLEET, SECOND, CloudMetric

AWS = profile("aws")


@pytest.mark.parametrize(
    ("topic_filter", "topic", "aws", "mqtt"),
    [
        ("a/b", "a/b", True, True),
        ("a/+", "a/b", True, True),
        ("a/+", "a/b/c", False, False),
        ("a/#", "a/b/c", True, True),
        ("a/#", "a", False, True),
        ("#", "a/b", True, True),
        ("#", "$aws/x", False, False),
        ("+/x", "$aws/x", False, False),
        ("$aws/#", "$aws/x", True, True),
        ("a/+/c", "a//c", True, True),
        ("+", "", True, True),
        ("A", "a", False, False),
    ],
)
def test_filters_select_topics(topic_filter: str, topic: str, *, aws: bool, mqtt: bool) -> None:
    assert matches(topic_filter, topic, parent=False) == aws
    assert matches(topic_filter, topic, parent=True) == mqtt


@pytest.mark.parametrize(
    "topic_filter", ["a/#/b", "a#", "a+/b", "", "a/\x00", "$aws/rules/x", "/" * 8, "x" * 257]
)
def test_filters_that_are_refused(topic_filter: str) -> None:
    assert filter_fault(topic_filter, AWS)


@pytest.mark.parametrize("topic_filter", ["a/#", "+/+/#", "#", "$aws/things/a/#", "/" * 7])
def test_filters_that_are_fine(topic_filter: str) -> None:
    assert filter_fault(topic_filter, AWS) == ""


def test_the_prefix_of_basic_ingest_does_not_count() -> None:
    assert name_fault("$aws/rules/" + "n" * 200 + "/" + "x" * 256, AWS) == ""
    assert "bytes" in name_fault("x" * 257, AWS)
    assert "bytes" in name_fault("ü" * 129, AWS)


def document(*statements: tuple[str, str, str]) -> Policy:
    arn = "arn:aws:iot:us-east-1:000000000000:"
    return Policy({"Statement": [{"Effect": e, "Action": a, "Resource": arn + r} for e, a, r in statements]})


def test_what_nothing_allows_is_denied_and_a_deny_wins() -> None:
    policy = document(("Allow", "iot:*", "topic/*"), ("Deny", "iot:Publish", "topic/secret/*"))
    assert policy.allows("iot:Publish", "topic/a", client_id="a")
    assert not policy.allows("iot:Publish", "topic/secret/x", client_id="a")
    assert policy.allows("iot:Receive", "topic/secret/x", client_id="a")
    assert not policy.allows("iot:Connect", "client/a", client_id="a")


def test_variables_stand_for_the_client_and_wildcards_in_its_id_stay_plain() -> None:
    policy = document(("Allow", "iot:Publish", "topic/own/${iot:ClientId}"))
    assert policy.allows("iot:Publish", "topic/own/a", client_id="a")
    assert not policy.allows("iot:Publish", "topic/own/b", client_id="a")
    assert not policy.allows("iot:Publish", "topic/own/b", client_id="*")


def test_mqtt_wildcards_are_plain_characters_in_a_policy() -> None:
    policy = document(("Allow", "iot:Subscribe", "topicfilter/a/#"), ("Allow", "iot:Publish", "topic/b/?"))
    assert policy.allows("iot:Subscribe", "topicfilter/a/#", client_id="x")
    assert not policy.allows("iot:Subscribe", "topicfilter/a/b", client_id="x")
    assert policy.allows("iot:Publish", "topic/b/1", client_id="x")
    assert not policy.allows("iot:Publish", "topic/b/12", client_id="x")


def test_the_default_policy_lets_a_device_use_its_own_reserved_topics_only() -> None:
    policy = Policy(DEVICE_DOCUMENT)
    assert policy.allows("iot:Publish", "topic/$aws/things/a/shadow/update", client_id="a")
    assert not policy.allows("iot:Publish", "topic/$aws/things/b/shadow/update", client_id="a")


def test_metrics_are_bounded_in_devices_and_topics_and_the_fleet_counts_all() -> None:
    counting = Metrics()
    for number in range(MAX_DEVICES + 5):
        counting.of(f"d{number}").num_connection_attempts += 1
    for number in range(40):
        counting.of("d0").received(f"dt/x/{number:02}", 10 + number)
    rows = counting.close(start=0, end=SECOND)
    assert len(rows) == MAX_DEVICES + 1
    assert (rows[-1].device_id, rows[-1].num_connection_attempts) == (FLEET, MAX_DEVICES + 5)
    assert (rows[0].num_topics, len(rows[0].topics)) == (40, CloudMetric.MAX_TOPICS)
    assert (rows[0].message_byte_size_max, rows[0].message_bytes_received) == (49, sum(range(10, 50)))
    bodies = [json.loads(body) for body in metrics.payloads(rows)]
    assert all(len(body["devices"]) <= ROWS_PER_MESSAGE for body in bodies)
    assert bodies[-1]["devices"][-1]["num_devices"] == MAX_DEVICES
    assert (bodies[0]["start"], bodies[0]["end"]) == (0, 1000)


def test_an_idle_second_still_has_its_fleet_row() -> None:
    (row,) = Metrics().close(start=0, end=SECOND)
    assert (row.device_id, row.num_devices) == (FLEET, 0)


def text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def framed(header: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes((header, len(body))) + body


CONNECT = framed(
    0x10,
    text("MQTT")
    + bytes((4, 0b11000110, 0, 60))
    + text("cid")
    + text("w/t")
    + text("bye")
    + text("u")
    + text("p"),
)
PUBLISH = framed(0x33, text("a/b") + b"\x00\x07" + b"payload")
SUBSCRIBE = framed(0x82, b"\x00\x01" + text("a/#") + b"\x01" + text("b") + b"\x00")
STREAM = (
    CONNECT
    + PUBLISH
    + SUBSCRIBE
    + b"\xc0\x00"
    + framed(0xA2, b"\x00\x02" + text("b"))
    + b"\x40\x02\x00\x09"
    + b"\xe0\x00"
)


def test_packets_are_read() -> None:
    parsed = Parser(max_bytes=1000).feed(STREAM)
    connect = parsed[0]
    assert isinstance(connect, packets.Connect)
    assert (connect.client_id, connect.keep_alive, connect.username, connect.password) == (
        "cid",
        60,
        "u",
        b"p",
    )
    assert connect.will == packets.Will("w/t", b"bye", 0, retain=False)
    assert parsed[1] == packets.Publish("a/b", b"payload", 1, True, False, 7)
    assert parsed[2] == packets.Subscribe(1, (("a/#", 1), ("b", 0)))
    assert parsed[3:] == [
        packets.PingReq(),
        packets.Unsubscribe(2, ("b",)),
        packets.PubAck(9),
        packets.Disconnect(),
    ]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_however_the_bytes_are_split_the_packets_are_the_same(cuts: list[int]) -> None:
    parser = Parser(max_bytes=1000)
    places = [0, *sorted(cuts), len(STREAM)]
    found = [packet for a, b in pairwise(places) for packet in parser.feed(STREAM[a:b])]
    assert found == Parser(max_bytes=1000).feed(STREAM)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_give_packets_or_malformed_packet(data: bytes) -> None:
    try:
        found = Parser(max_bytes=1000).feed(data)
    except MalformedPacket as error:
        assert str(error)
    else:
        assert len(found) <= len(data)


@given(
    st.text(min_size=1, max_size=40).filter(lambda t: "\x00" not in t),
    st.binary(max_size=400),
    st.integers(0, 1),
)
def test_a_publish_survives_the_round_trip(topic: str, payload: bytes, qos: int) -> None:
    data = packets.publish(topic, payload, qos=qos, retain=True, packet_id=5)
    assert Parser(max_bytes=10_000).feed(data) == [
        packets.Publish(topic, payload, qos, True, False, 5 if qos else 0)
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\x80\x80\x01",
        framed(0x36, text("a") + b"\x00\x01"),
        framed(0x32, text("a") + b"\x00\x00"),
        framed(0x80, b"\x00\x01" + text("a") + b"\x00"),
        framed(0x82, b"\x00\x01" + text("a") + b"\x03"),
        framed(0x82, b"\x00\x01"),
        framed(0x10, text("MQIsdp") + bytes((3, 2, 0, 60)) + text("x")),
        framed(0x10, text("MQTT") + bytes((4, 3, 0, 60)) + text("x")),
        framed(0x10, text("MQTT") + bytes((4, 2, 0, 60)) + b"\x00\x09x"),
        framed(0x30, b"\x00\x01\xff"),
        framed(0x20, b"\x00\x00"),
        framed(0xF0, b""),
        framed(0x00, b""),
    ],
)
def test_malformed_packets_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Parser(max_bytes=10_000).feed(data)
