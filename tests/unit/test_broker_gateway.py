"""AWS IoT Core's rules of the gateway, each by its name. Limits and words: the `aws` profile."""

import json
from typing import Any

import pytest
from gateway_clients import Client, Desk, connect_bytes, publish_bytes

from broker.limits import profile
from broker.packets import V5
from broker.reporter import METRICS_TOPIC
from contracts.errors import ConfigError, Terminal, UnknownName
from contracts.messages import FLEET, SECOND


def refused_by(
    client: Client, topic: str, payload: bytes = b"{}", *, qos: int = 0, retain: bool = False
) -> str:
    """Publish what is not allowed; the disconnect reason."""
    client.desk.events()
    client.publish(topic, payload, qos=qos, retain=retain)
    assert client.closed
    (reason,) = client.desk.reasons()
    return reason


def test_an_accepted_publish_becomes_a_message_with_an_id_that_grows() -> None:
    desk = Desk("aws")
    client = desk.client("a")
    for number in range(3):
        assert [one.kind for one in client.publish("dt/x/a/t", b"%d" % number, qos=1)] == ["PUBACK"]
        desk.now += SECOND
    assert [(one.client_id, one.principal, one.payload) for one in desk.rules] == [
        ("a", "local", b"0"), ("a", "local", b"1"), ("a", "local", b"2"),
    ]  # fmt: skip
    ids = [one.message_id for one in desk.rules]
    assert ids == sorted(set(ids))
    assert desk.rules[1].received_at == 1_001 * SECOND


@pytest.mark.parametrize("client_id", ["", "$x", "x" * 129, "ü" * 65])
def test_client_ids_of_128_bytes_that_are_not_empty_nor_reserved(client_id: str) -> None:
    client = Desk("aws").client()
    assert client.connect(client_id).code == 2
    assert client.closed


def test_a_client_of_mqtt_5_may_leave_its_id_to_the_gateway() -> None:
    answer = Desk("aws").client().connect("", level=V5)
    assert answer.code == 0
    assert answer.told["assigned_client_id"]


def test_qos_2_is_refused() -> None:
    desk = Desk("aws")
    assert refused_by(desk.client("a"), "dt/x", qos=2) == "CLIENT_ERROR"
    assert desk.client("b").subscribe(("cmd/b", 2))[0].codes == (1,)
    assert desk.client("c", level=V5).publish("dt/x", qos=2)[-1].code == 0x9B


def test_payloads_of_128_kb_and_no_more() -> None:
    desk = Desk("aws")
    client = desk.client("a")
    assert client.publish("dt/x", b"x" * 128 * 1024, qos=1)[0].kind == "PUBACK"
    assert refused_by(client, "dt/x", b"x" * (128 * 1024 + 1)) == "CLIENT_ERROR"
    assert len(desk.rules) == 1


def test_a_packet_that_could_hold_no_allowed_payload_is_refused_by_its_length_alone() -> None:
    client = Desk("aws").client("a", level=V5)
    assert client.send(b"\x30\xff\xff\xff\x7f")[-1].code == 0x95
    assert client.closed


@pytest.mark.parametrize(
    "topic", ["dt/1/2/3/4/5/6/7/8", "dt/" + "x" * 254, "dt/+/t", "dt/#", "", "$SYS/broker", "$aws/events/x",
              "$aws/things/a/shadow/update/accepted", "$aws/things/a/nothing"]
)  # fmt: skip
def test_topics_of_7_slashes_and_256_bytes_without_wildcards_nor_reserved_names(topic: str) -> None:
    assert refused_by(Desk("aws").client("a"), topic) == "CLIENT_ERROR"


@pytest.mark.parametrize(
    "topic",
    [
        "dt/1/2/3/4/5/6/7",
        "dt/" + "x" * 253,
        "$aws/rules/name/" + "/".join("1234567") + "/8",
        "$aws/things/a/shadow/update",
        "$aws/things/a/shadow/name/n/get",
        "$aws/things/a/defender/metrics/json",
    ],
)
def test_topics_that_are_allowed(topic: str) -> None:
    desk = Desk("aws")
    assert desk.client("a").publish(topic, qos=1)[0].kind == "PUBACK"
    assert desk.rules[0].topic == topic


@pytest.mark.parametrize("topic", ["secret/x", "$aws/things/other/shadow/update"])
def test_a_forbidden_publish_ends_the_connection(topic: str) -> None:
    desk = Desk("aws")
    assert refused_by(desk.client("a"), topic, qos=1) == "FORBIDDEN_ACCESS"
    assert desk.rules == []
    assert desk.client("b", level=V5).publish("secret/x", qos=1)[-1].code == 0x87


def test_retaining_needs_an_action_of_its_own() -> None:
    allow = [{"Effect": "Allow", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*"}]
    desk = Desk("aws", policy={"Statement": allow})
    client = desk.client("a")
    assert client.publish("dt/x", qos=1)[0].kind == "PUBACK"
    assert refused_by(client, "dt/x", retain=True) == "FORBIDDEN_ACCESS"


def test_8_filters_in_a_subscribe_and_50_a_connection() -> None:
    desk = Desk("aws")
    client = desk.client("a", level=V5)
    for first in range(0, 48, 8):
        found = client.subscribe(*(f"cmd/{number}" for number in range(first, first + 8)))
        assert found[0].codes == (1,) * 8
    assert client.subscribe("cmd/48", "cmd/49", "cmd/50")[0].codes == (1, 1, 0x97)
    assert client.subscribe("cmd/0")[0].codes == (1,), "one it has already"
    assert client.subscribe(*(f"cmd/{number}" for number in range(9)))[-1].code == 0x97
    assert client.closed


@pytest.mark.parametrize(
    "name", ["a/#/b", "a#", "a+/b", "", "$aws/rules/x", "/" * 8, "x" * 257, "$share/a", "$share/+/a"]
)
def test_filters_that_are_refused(name: str) -> None:
    assert Desk("open").client("b").subscribe("a/b")[0].codes == (1,)
    client = Desk("aws", policy={"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
    assert client.client("a").subscribe(name)[0].codes == (0x80,)
    assert client.client("b", level=V5).subscribe(name)[0].codes == (0x8F,)


def test_a_forbidden_filter_is_refused_and_counted() -> None:
    desk = Desk("aws")
    client = desk.client("a")
    assert client.subscribe("secret/#", "cmd/a")[0].codes == (0x80, 1)
    desk.gateway.tick(desk.now)
    desk.pass_time(1)
    rows = [row for topic, body in desk.events() if topic == METRICS_TOPIC for row in body["devices"]]
    assert next(row for row in rows if row["device_id"] == "a")["num_authorization_failures"] == 1


def test_100_publishes_a_second_and_what_exceeds_them_is_discarded_and_counted() -> None:
    desk = Desk("aws")
    client = desk.client("a")
    answers = [one for number in range(150) for one in client.publish("dt/x", b"%d" % number, qos=1)]
    assert len(answers) == len(desk.rules) == 100, "no acknowledgement for what is discarded"
    assert (desk.gateway.counters["throttled"], client.closed) == (50, False)
    desk.pass_time(0.5)
    for _ in range(150):
        client.publish("dt/x", qos=1)
    assert len(desk.rules) == 150
    told = desk.client("b", level=V5)
    codes = [one.code for _ in range(101) for one in told.publish("cmd/x", qos=1)]
    assert codes == [0x10] * 100 + [0x97], "MQTT 5 has a word for it"


def test_publishes_to_the_client_count_towards_the_same_rate() -> None:
    desk = Desk("aws")
    listener = desk.client("l")
    listener.subscribe(("cmd/#", 1))
    senders = [desk.client(f"s{number}") for number in range(2)]
    for number in range(160):
        senders[number % 2].publish(f"cmd/{number}", qos=number % 2)
    seen = len(listener.messages())
    assert seen == 100
    desk.pass_time(3)
    assert len(listener.messages()) + seen == 100 + 30, "QoS 0 is lost, QoS 1 waits"


def test_512_kib_a_second_and_what_exceeds_them_is_read_later() -> None:
    desk = Desk("aws")
    client = desk.client("a")
    for _ in range(4):
        client.publish("dt/x", b"x" * 128 * 1024)
    assert len(desk.rules) == 4
    assert 0 < client.waits < 0.1
    client.publish("dt/x", b"x" * 128 * 1024)
    assert 0.25 < client.waits < 0.3
    assert desk.gateway.counters["delayed"] == 2


@pytest.mark.parametrize(
    ("asked", "kept"), [(0, 1200), (1, 30), (29, 30), (30, 30), (1200, 1200), (1201, 1200), (65_535, 1200)]
)
def test_the_keep_alive_is_held_between_30_and_1200_seconds(asked: int, kept: int) -> None:
    desk = Desk("aws")
    answer = desk.client().connect("a", level=V5, keep_alive=asked)
    assert answer.told.get("server_keep_alive", asked) == kept


def test_a_client_that_is_silent_for_one_and_a_half_keep_alives_is_disconnected() -> None:
    desk = Desk("aws")
    silent = desk.client("silent", keep_alive=30, will=("dt/w", b"gone", 0, False))
    alive = desk.client("alive", level=V5, keep_alive=30)
    desk.events()
    desk.pass_time(40)
    alive.send(b"\xc0\x00")
    desk.pass_time(5)
    assert not silent.closed
    desk.pass_time(1)
    assert silent.closed
    assert desk.reasons() == ["MQTT_KEEP_ALIVE_TIMEOUT"]
    assert [one.payload for one in desk.rules] == [b"gone"]
    alive.got()
    desk.pass_time(40)
    assert alive.got()[-1].code == 0x8D


def test_a_socket_that_does_not_send_its_connect_is_closed() -> None:
    desk = Desk("aws")
    slow = desk.client()
    for byte in connect_bytes("a")[:9]:
        slow.send(bytes((byte,)))
        desk.pass_time(1)
    assert not slow.closed
    desk.pass_time(2)
    assert slow.closed


def test_a_client_id_is_taken_over_and_the_older_connection_ends_once() -> None:
    desk = Desk("aws")
    older = desk.client("a", level=V5, will=("dt/w", b"taken", 0, False))
    desk.events()
    newer = desk.client("a")
    assert (older.closed, newer.closed) == (True, False)
    assert older.got()[-1].code == 0x8E
    older.lose()
    assert desk.reasons() == ["DUPLICATE_CLIENTID"]
    assert [one.payload for one in desk.rules] == [b"taken"]
    assert desk.gateway.connections == 1


def test_who_is_refused_does_not_disturb_the_live_client_of_the_same_id() -> None:
    desk = Desk("aws")
    live = desk.client("a")
    stranger = desk.client()
    stranger.conversation._identity = None
    assert stranger.connect("a").code == 5
    assert (stranger.closed, live.closed) == (True, False)
    assert live.publish("dt/x", qos=1)[0].kind == "PUBACK"


def test_a_session_outlives_its_connection_by_an_hour() -> None:
    desk = Desk("aws")
    first = desk.client("a", clean=False)
    first.subscribe("cmd/a")
    first.lose()
    sender = desk.client("s", keep_alive=1200)
    sender.publish("cmd/a", b"1", qos=1)
    sender.publish("cmd/a", b"lost", qos=0)
    desk.pass_time(1000)
    second = desk.client()
    assert second.connect("a", clean=False).session_present
    assert [one.payload for one in second.backlog] == [b"1"]
    second.lose()
    desk.pass_time(3601)
    assert desk.gateway.counters["sessions_expired"] == 1
    assert desk.gateway.tree.size == 0
    assert not desk.client().connect("a", clean=False).session_present


def test_retained_messages_do_not_go_to_filters_with_wildcards() -> None:
    desk = Desk("aws")
    desk.client("a").publish("cmd/x", b"kept", qos=1, retain=True)
    listener = desk.client("b")
    assert listener.subscribe("cmd/#", "cmd/+")[1:] == []
    (_, found) = listener.subscribe("cmd/x")
    assert (found.payload, found.retain) == (b"kept", True)
    desk.client("c").publish("cmd/x", b"", retain=True)
    assert desk.client("d").subscribe("cmd/x")[1:] == []


def test_a_multilevel_wildcard_does_not_match_its_parent() -> None:
    for limits, count in (("aws", 0), ("open", 1)):
        desk = Desk(limits)
        listener = desk.client("l")
        listener.subscribe("cmd/a/#")
        desk.client("s").publish("cmd/a")
        assert len(listener.messages()) == count


def test_the_will_is_not_published_when_the_client_says_goodbye() -> None:
    desk = Desk("aws")
    for number, end in enumerate(("lose", "disconnect")):
        client = desk.client(f"c{number}", will=("dt/w", end.encode(), 1, False))
        getattr(client, end)()
    assert [one.payload for one in desk.rules] == [b"lose"]
    assert desk.reasons() == ["CONNECTION_LOST", "CLIENT_INITIATED_DISCONNECT"]


def test_basic_ingest_goes_to_the_rule_alone() -> None:
    desk = Desk("aws", policy={"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
    listener = desk.client("l")
    listener.subscribe("#", "$aws/+/name/#", "dt/#")
    assert desk.client("a").publish("$aws/rules/name/dt/x", qos=1)[0].kind == "PUBACK"
    assert desk.rules[0].topic == "$aws/rules/name/dt/x"
    assert listener.messages() == []


def test_lifecycle_events_reach_subscribers_with_the_documented_fields() -> None:
    desk = Desk("aws", policy={"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]})
    watcher = desk.client("w")
    watcher.subscribe("$aws/events/#")
    client = desk.client("a")
    client.subscribe("cmd/a")
    client.unsubscribe("cmd/a")
    client.disconnect()
    told = {topic: json.loads(body) for topic, body in watcher.messages() if topic.endswith("/a")}
    assert [topic.split("/")[3] for topic in told] == [
        "connected",
        "subscribed",
        "unsubscribed",
        "disconnected",
    ]
    gone = told["$aws/events/presence/disconnected/a"]
    assert gone == {
        "clientId": "a",
        "timestamp": desk.now // 10**6,
        "eventType": "disconnected",
        "sessionIdentifier": told["$aws/events/presence/connected/a"]["sessionIdentifier"],
        "principalIdentifier": "local",
        "ipAddress": "10.0.0.1",
        "versionNumber": 0,
        "clientInitiatedDisconnect": True,
        "disconnectReason": "CLIENT_INITIATED_DISCONNECT",
    }


def test_the_api_disconnects_a_client_that_may_come_back() -> None:
    desk = Desk("aws")
    client = desk.client("a", level=V5, told={"session_expiry": 60}, will=("dt/w", b"w", 0, False))
    client.subscribe("cmd/a")
    desk.events()
    assert desk.gateway.close_connection("a", desk.now, prevent_will=True, clean_session=True)
    assert client.closed
    assert client.got()[-1].code == 0x98
    assert desk.reasons() == ["API_INITIATED_DISCONNECT"]
    assert desk.rules == []
    assert not desk.client().connect("a", clean=False).session_present
    assert not desk.gateway.close_connection("nobody", desk.now)


def test_quarantine_refuses_first_and_disconnects_then_until_release() -> None:
    desk = Desk("aws")
    client = desk.client("a", will=("dt/w", b"w", 0, False), clean=False)
    desk.events()
    desk.gateway.quarantine("a", "odd", desk.now)
    assert client.closed
    assert desk.client().connect("a").code == 5
    desk.gateway.quarantine("a", "again", desk.now)
    desk.turn()
    assert desk.rules == [], "no last word"
    kinds = [topic.rsplit("/", 2)[-2] for topic, _ in desk.events()]
    assert kinds == ["quarantined", "disconnected", "connect_failed"]
    desk.gateway.release("a", desk.now)
    assert desk.client("a").publish("dt/x", qos=1)[0].kind == "PUBACK"


def test_500_connects_a_second_for_the_whole_gateway() -> None:
    desk = Desk("aws")
    codes = [desk.client().connect(f"c{number}").code for number in range(502)]
    assert codes == [0] * 500 + [3, 3]
    desk.now += SECOND // 100
    assert [desk.client().connect(f"d{number}").code for number in range(6)] == [0] * 5 + [3]


def test_a_gateway_that_is_full_takes_nobody_but_who_takes_over() -> None:
    desk = Desk("aws", connections=2)
    desk.client("a"), desk.client("b")
    assert desk.client().connect("c").code == 3
    assert desk.client().connect("a").code == 0


def test_every_period_has_its_rows_and_the_fleet_s_adds_up() -> None:
    desk = Desk("aws")
    desk.gateway.tick(desk.now)
    clients = [desk.client(f"c{number}") for number in range(3)]
    for number, client in enumerate(clients):
        for _ in range(number):
            client.publish("dt/x", b"12345")
    desk.pass_time(2)
    bodies = [body for topic, body in desk.events() if topic == METRICS_TOPIC]
    rows = {row["device_id"]: row for row in bodies[0]["devices"]}
    assert [rows[f"c{number}"].get("num_messages_received", 0) for number in range(3)] == [0, 1, 2]
    assert (rows[FLEET]["num_messages_received"], rows[FLEET]["message_bytes_received"]) == (3, 15)
    assert (rows[FLEET]["num_connects"], rows[FLEET]["num_devices"]) == (3, 3)
    assert bodies[1]["devices"] == [{"device_id": FLEET}]
    for client in clients:
        client.publish("dt/x")
    desk.pass_time(1)
    (row,) = [b["devices"][-1] for topic, b in desk.events() if topic == METRICS_TOPIC]
    assert row["num_messages_received"] == 3, "a session counts in the period that is open"


def test_what_the_rules_have_no_room_for_waits_and_holds_its_connection() -> None:
    desk = Desk("aws")
    client, other = desk.client("a"), desk.client("b")
    desk.room = 2
    stream = b"".join(publish_bytes("dt/x", b"%d" % n, qos=1, packet_id=n) for n in range(1, 6))
    assert [one.packet_id for one in client.send(stream)] == [1, 2]
    assert client.paused
    assert client.send(publish_bytes("dt/x", b"6", qos=1, packet_id=6) + b"\xc0\x00") == []
    assert other.publish("dt/x", b"other", qos=1) == []
    assert other.paused
    desk.room = 100
    desk.turn()
    desk.turn()
    assert [one.packet_id for one in client.got()] == [3, 4, 5, 6, 0]
    assert (client.paused, other.paused) == (False, False)
    assert sorted(one.payload for one in desk.rules) == [b"1", b"2", b"3", b"4", b"5", b"6", b"other"]


def test_what_cannot_be_kept_is_not_acknowledged_and_ends_the_connection() -> None:
    desk = Desk("aws")
    client = desk.client("a", level=V5)
    desk.events()
    desk.fault = Terminal("disk full", fix="free some space")
    assert client.publish("dt/x", qos=1)[-1].kind == "DISCONNECT"
    assert client.closed
    assert desk.reasons() == ["SERVER_ERROR"]
    assert desk.gateway.fanout.fault == "disk full; fix: free some space"
    desk.fault = None
    assert desk.client("a").publish("dt/x", qos=1)[0].kind == "PUBACK"
    assert desk.gateway.fanout.fault == ""


def test_a_device_may_have_a_policy_of_its_own() -> None:
    from broker.policy import Policy

    desk = Desk("aws")
    deny = Policy({"Statement": [{"Effect": "Deny", "Action": "iot:*", "Resource": "*"}]})
    desk.gateway.create("a", deny)
    assert desk.client().connect("a").code == 5
    desk.gateway.create("a", None)
    assert desk.client().connect("a").code == 0
    with pytest.raises(ConfigError, match="empty, reserved"):
        desk.gateway.create("$a", None)


def test_limits_are_configuration_and_a_wrong_name_is_told() -> None:
    assert profile("aws", {"payload_bytes": 10}).payload_bytes == 10
    assert profile("aws", {"publishes_per_second": float("inf")}).publishes_per_second == float("inf")
    for name, overrides in (("aws2", {}), ("aws", {"payload": 1.0})):
        with pytest.raises(UnknownName):
            profile(name, overrides)
    for overrides in ({"payload_bytes": -1.0}, {"payload_bytes": float("inf")}, {"queued": float("nan")}):
        with pytest.raises(ConfigError):
            profile("aws", overrides)


def test_a_counted_client_id_that_is_invented_costs_no_memory_for_ever() -> None:
    desk = Desk("aws", connects_per_second=float("inf"))
    for number in range(200):
        stranger = desk.client()
        stranger.conversation._identity = None
        assert stranger.connect(f"x{number}").code == 5
        stranger.lose()
    gate: Any = desk.gateway
    assert (len(gate._sessions._sessions), len(gate._live), gate.tree.size) == (0, 0, 0)
