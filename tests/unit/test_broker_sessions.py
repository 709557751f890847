"""What MQTT says of sessions, acknowledgements and MQTT 5, in the `open` profile."""

import pytest
from gateway_clients import Desk, Got, payloads, publish_bytes

from broker.packets import PUBACK, PUBCOMP, PUBREC, PUBREL, V3, V5

BOTH = pytest.mark.parametrize("level", [V3, V5])


def kinds(found: list[Got]) -> list[str]:
    return [one.kind for one in found]


@BOTH
def test_a_message_goes_out_at_the_lower_of_both_qos(level: int) -> None:
    desk = Desk()
    listener = desk.client("l", level=level)
    assert listener.subscribe(("a", 0), ("b", 1), ("c", 2))[0].codes == (0, 1, 2)
    sender = desk.client("s")
    for topic in "abc":
        for qos in range(2):
            sender.publish(topic, qos=qos)
    found = [(one.topic, one.qos) for one in listener.got()]
    assert found == [("a", 0), ("a", 0), ("b", 0), ("b", 1), ("c", 0), ("c", 1)]


def test_overlapping_filters_give_one_message_at_the_highest_qos_with_all_identifiers() -> None:
    desk = Desk()
    listener = desk.client("l", level=V5)
    listener.subscribe(("a/#", 0), told={"subscription_identifier": (3,)})
    listener.subscribe(("a/+", 1), told={"subscription_identifier": (5,)})
    desk.client("s").publish("a/b", qos=1)
    (found,) = listener.got()
    assert (found.qos, set(found.told["subscription_identifier"])) == (1, {3, 5})


@BOTH
def test_what_is_not_acknowledged_is_sent_again_on_the_next_connection_in_order(level: int) -> None:
    desk = Desk()
    told = {"session_expiry": 100} if level == V5 else None
    first = desk.client("l", level=level, clean=False, told=told)
    first.subscribe("a")
    sender = desk.client("s")
    for number in range(4):
        sender.publish("a", b"%d" % number, qos=1)
    found = first.got()
    first.acknowledge(found[1].packet_id)
    first.lose()
    sender.publish("a", b"4", qos=1)
    second = desk.client()
    assert second.connect("l", level=level, clean=False, told=told).session_present
    again = second.backlog
    assert payloads(again) == [b"0", b"2", b"3", b"4"]
    assert [one.duplicate for one in again] == [True, True, True, False]
    assert [one.packet_id for one in again[:3]] == [found[n].packet_id for n in (0, 2, 3)]


def test_at_most_so_many_are_out_as_the_client_asked_for_and_the_rest_waits() -> None:
    desk = Desk()
    listener = desk.client("l", level=V5, told={"receive_maximum": 2})
    listener.subscribe("a")
    sender = desk.client("s")
    for number in range(5):
        sender.publish("a", b"%d" % number, qos=1)
    found = listener.got()
    assert payloads(found) == [b"0", b"1"]
    assert payloads(listener.acknowledge(found[0].packet_id)) == [b"2"]
    sender.publish("a", b"QoS 0 needs no place")
    assert payloads(listener.got()) == [b"QoS 0 needs no place"]


def test_a_queue_that_is_full_drops_its_oldest_and_counts_it() -> None:
    desk = Desk("open", queued=3)
    desk.client("l", clean=False).subscribe("a")
    desk.clients[0].lose()
    sender = desk.client("s")
    for number in range(5):
        sender.publish("a", b"%d" % number, qos=1)
    listener = desk.client()
    listener.connect("l", clean=False)
    assert payloads(listener.backlog) == [b"2", b"3", b"4"]
    assert desk.gateway.counters["dropped"] == 2


def test_a_slow_reader_loses_qos_0_and_keeps_the_rest() -> None:
    desk = Desk()
    listener = desk.client("l")
    listener.subscribe("a")
    listener.conversation.congested = True
    sender = desk.client("s")
    for number in range(4):
        sender.publish("a", b"%d" % number, qos=number % 2)
    assert listener.got() == []
    assert desk.gateway.counters["dropped"] == 2
    listener.conversation.uncongested(desk.now)
    desk.turn()
    assert payloads(listener.got()) == [b"1", b"3"]


def test_a_clean_start_forgets_the_session() -> None:
    desk = Desk()
    desk.client("l", clean=False).subscribe("a")
    desk.clients[0].lose()
    assert not desk.client().connect("l", clean=True).session_present
    desk.client("s").publish("a", qos=1)
    assert desk.clients[1].got() == []
    assert desk.gateway.tree.size == 0


def test_a_session_ends_when_mqtt_5_said_so() -> None:
    desk = Desk()
    for seconds, present in ((0, False), (20, True), (60, False)):
        desk.client("l", level=V5, told={"session_expiry": 30}, clean=True).lose()
        desk.pass_time(seconds) if seconds else desk.client("l", level=V5).disconnect()
        answer = desk.client().connect("l", level=V5, clean=False, told={"session_expiry": 30})
        assert answer.session_present == present, seconds
        desk.clients[-1].disconnect(0, {"session_expiry": 0})


def test_a_session_that_has_no_expiry_cannot_get_one_at_the_end() -> None:
    client = Desk().client("l", level=V5)
    assert client.disconnect(0, {"session_expiry": 5})[-1].code == 0x82


def test_the_oldest_sessions_go_when_they_are_too_many() -> None:
    desk = Desk("open", sessions=3)
    for number in range(5):
        desk.client(f"c{number}", clean=False).lose()
    kept = [number for number in range(5) if desk.gateway.session(f"c{number}") is not None]
    assert kept == [2, 3, 4]


@BOTH
def test_qos_2_goes_through_its_four_packets_once(level: int) -> None:
    desk = Desk()
    listener, sender = desk.client("l", level=level), desk.client("s", level=level)
    listener.subscribe(("a", 2))
    assert kinds(sender.publish("a", b"x", qos=2, packet_id=7)) == ["PUBREC"]
    assert kinds(sender.publish("a", b"x", qos=2, packet_id=7, duplicate=True)) == ["PUBREC"]
    assert kinds(sender.acknowledge(7, PUBREL)) == ["PUBCOMP"]
    assert len(desk.rules) == 1
    (found,) = listener.got()
    assert (found.qos, found.payload) == (2, b"x")
    assert kinds(listener.acknowledge(found.packet_id, PUBREC)) == ["PUBREL"]
    assert listener.acknowledge(found.packet_id, PUBCOMP) == []
    session = desk.gateway.session("l")
    assert session is not None
    assert session.queued() == 0


def test_qos_2_goes_on_with_its_second_half_after_a_reconnect() -> None:
    desk = Desk()
    first = desk.client("l", clean=False)
    first.subscribe(("a", 2))
    desk.client("s").publish("a", b"x", qos=2)
    (found,) = first.got()
    first.acknowledge(found.packet_id, PUBREC)
    first.lose()
    second = desk.client()
    second.connect("l", clean=False)
    assert [(one.kind, one.packet_id) for one in second.backlog] == [("PUBREL", found.packet_id)]


def test_acknowledgements_of_nothing_are_told_in_mqtt_5() -> None:
    client = Desk().client("a", level=V5)
    assert [one.code for one in client.acknowledge(9, PUBREL)] == [0x92]
    assert [one.code for one in client.acknowledge(9, PUBREC)] == [0x92]
    assert client.acknowledge(9, PUBACK) == client.acknowledge(9, PUBCOMP) == []
    assert [one.code for one in client.publish("nobody", qos=1)] == [0x10]


def test_more_unacknowledged_publishes_than_allowed_end_an_mqtt_5_connection() -> None:
    desk = Desk("open", in_flight=3)
    client = desk.client("a", level=V5)
    desk.room = 0
    stream = b"".join(publish_bytes("a", qos=1, packet_id=n, level=V5) for n in range(1, 6))
    assert client.send(stream)[-1].code == 0x93


@BOTH
def test_a_retained_message_says_so_to_new_subscribers_only(level: int) -> None:
    desk = Desk()
    early = desk.client("e", level=level)
    early.subscribe("a/#")
    desk.client("s").publish("a/b", b"kept", retain=True)
    assert [(one.payload, one.retain) for one in early.got()] == [(b"kept", False)]
    late = desk.client("l", level=level)
    assert [one.retain for one in late.subscribe("a/#", "+/b")[1:]] == [True, True]
    assert late.subscribe("$share/g/a/#")[1:] == []


def test_the_subscription_options_of_mqtt_5() -> None:
    desk = Desk()
    client = desk.client("a", level=V5)
    no_local, as_published, only_new, never = 0x04 | 1, 0x08 | 1, 0x10 | 1, 0x20 | 1
    client.publish("kept", b"k", retain=True)
    assert len(client.subscribe(("kept", never))) == 1
    client.unsubscribe("kept")
    assert [len(client.subscribe(("kept", only_new))) for _ in range(2)] == [2, 1]
    client.subscribe(("own", no_local), ("flag", as_published))
    assert kinds(client.publish("own")) == []
    desk.client("s").publish("own", b"other")
    desk.clients[1].publish("flag", b"f", retain=True)
    assert [(one.payload, one.retain) for one in client.got()] == [(b"other", False), (b"f", True)]


def test_what_mqtt_5_says_of_a_payload_reaches_the_subscriber_and_the_rules() -> None:
    desk = Desk()
    listener, plain = desk.client("l", level=V5), desk.client("p")
    for one in (listener, plain):
        one.subscribe("a")
    told = {
        "payload_format": 1, "content_type": "text", "response_topic": "r", "correlation_data": b"c",
        "message_expiry": 60, "user": (("k", "1"), ("k", "2")),
    }  # fmt: skip
    desk.client("s", level=V5).publish("a", b"x", told=told)
    (found,) = listener.got()
    assert found.told == told
    assert plain.messages() == [("a", b"x")]
    properties = desk.rules[0].properties
    assert properties is not None
    assert properties.user == (("k", "1"), ("k", "2"))


def test_a_message_expires_while_it_waits_and_tells_what_is_left() -> None:
    desk = Desk()
    desk.client("l", level=V5, clean=False, told={"session_expiry": 1000}).subscribe("a")
    desk.clients[0].lose()
    sender = desk.client("s", level=V5)
    for seconds in (5, 50):
        sender.publish("a", b"%d" % seconds, qos=1, retain=True, told={"message_expiry": seconds})
    desk.pass_time(10)
    second = desk.client()
    second.connect("l", level=V5, clean=False, told={"session_expiry": 1000})
    assert [(one.payload, one.told["message_expiry"]) for one in second.backlog] == [(b"50", 40)]
    desk.pass_time(50)
    assert desk.client("n").subscribe("a")[1:] == [], "nor is it retained any more"


def test_topic_aliases_in_both_directions() -> None:
    desk = Desk("open", topic_aliases=2)
    listener = desk.client("l", level=V5, told={"topic_alias_maximum": 1})
    listener.subscribe("#")
    sender = desk.client("s", level=V5)
    sender.publish("first", b"1", told={"topic_alias": 2})
    sender.publish("", b"2", told={"topic_alias": 2})
    sender.publish("second", b"3", told={"topic_alias": 2})
    sender.publish("", b"4", told={"topic_alias": 2})
    found = [(one.topic, one.told.get("topic_alias")) for one in listener.got()]
    assert found == [("first", 1), ("", 1), ("second", None), ("second", None)]
    assert sender.publish("", told={"topic_alias": 1})[-1].code == 0x82
    assert desk.client("t", level=V5).publish("a", told={"topic_alias": 3})[-1].code == 0x94


def test_a_message_that_is_too_large_for_a_client_is_not_sent_to_it() -> None:
    desk = Desk()
    listener = desk.client("l", level=V5, told={"maximum_packet_size": 50})
    listener.subscribe("a")
    sender = desk.client("s")
    sender.publish("a", b"x" * 100, qos=1)
    sender.publish("a", b"small", qos=1)
    assert payloads(listener.got()) == [b"small"]


def test_a_shared_subscription_gives_each_message_to_one_member() -> None:
    desk = Desk()
    members = [desk.client(f"m{number}") for number in range(3)]
    for one in members:
        assert one.subscribe("$share/g/a/#")[0].codes == (1,)
    whole = desk.client("w")
    whole.subscribe("a/#")
    sender = desk.client("s")
    for number in range(9):
        sender.publish("a/b", b"%d" % number, qos=1)
    shares = [payloads(one.got()) for one in members]
    assert [len(one) for one in shares] == [3, 3, 3]
    assert sorted(one for share in shares for one in share) == payloads(whole.got())
    members[0].unsubscribe("$share/g/a/#")
    members[1].lose()
    sender.publish("a/b", b"left", qos=1)
    assert payloads(members[2].got()) == [b"left"]


def test_a_will_waits_for_its_delay_and_a_client_that_comes_back_takes_it_back() -> None:
    desk = Desk()
    will = {"will": ("w", b"gone", 1, False), "will_told": {"will_delay": 10, "content_type": "t"}}
    told = {"session_expiry": 100}
    desk.client("a", level=V5, told=told, **will).lose()
    desk.pass_time(9)
    assert desk.rules == []
    desk.client("a", level=V5, clean=False, told=told, **will).lose()
    desk.pass_time(9)
    assert desk.rules == []
    desk.pass_time(2)
    assert [(one.payload, one.properties.content_type) for one in desk.rules if one.properties] == [
        (b"gone", "t")
    ]
    desk.client("b", level=V5, told={"session_expiry": 3}, **will).lose()
    desk.pass_time(4)
    assert len(desk.rules) == 2, "a session's end does not wait"
    client = desk.client("c", level=V5, will=("w", b"with will", 0, False))
    client.disconnect(4)
    assert desk.rules[-1].payload == b"with will"


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (b"\xf0\x00", 0x82),
        (b"\x36\x05\x00\x01a\x00\x01", 0x82),
        (b"\x30\x03\x00\x09a", 0x81),
        (b"\x30\x04\x00\x01\xff\x00", 0x81),
        (b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00", 0x82),
        (b"\x82\x02\x00\x01", 0x81),
    ],
)
def test_what_is_malformed_ends_the_connection_and_mqtt_5_is_told_why(stream: bytes, code: int) -> None:
    desk = Desk()
    client = desk.client("a", level=V5)
    desk.events()
    assert client.send(stream)[-1].code == code
    assert client.closed
    assert desk.reasons() == ["CLIENT_ERROR"]


@pytest.mark.parametrize(
    "stream",
    [b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x3c\x00\x00", b"\x10\x10\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x02ab"],
)
def test_another_protocol_level_is_told_so(stream: bytes) -> None:
    client = Desk().client()
    assert [(one.kind, one.code) for one in client.send(stream)] == [("CONNACK", 1)]
    assert client.closed


def test_nothing_but_a_connect_may_come_first() -> None:
    for stream in (
        b"\xc0\x00",
        publish_bytes("a"),
        b"\xe0\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ):
        client = Desk().client()
        assert client.send(stream) == []
        assert client.closed
