"""What the platform does at the gateway's core: commands, republishing, answers, identities that change, counts."""

import json
from dataclasses import replace
from typing import Any

import pytest
from gateway_clients import Desk, connect_bytes

from broker.gateway import Gateway
from broker.identity import Identity, identity_of
from broker.limits import profile
from broker.packets import V5
from broker.policy import OPEN_DOCUMENT
from broker.reporter import GATEWAY, METRICS_TOPIC
from contracts.identity import Principal
from contracts.messages import FLEET, PublishProperties

CERTIFICATE = Principal("c1", documents=(OPEN_DOCUMENT,))


def identified(principal: Principal = CERTIFICATE) -> Identity:
    return identity_of(principal)


def rows(desk: Desk) -> dict[str, dict[str, Any]]:
    """The rows of the metrics periods that were closed since the last call, by device."""
    bodies = [body for topic, body in desk.events() if topic == METRICS_TOPIC]
    return {row["device_id"]: row for body in bodies for row in body["devices"]}


def test_a_command_reaches_who_subscribed_and_not_the_rules() -> None:
    desk = Desk("aws")
    listener = desk.client("a")
    listener.subscribe(("cmd/#", 1))
    desk.gateway.platform_publish("cmd/pump/a/do", b"go", desk.now, qos=1)
    desk.gateway.platform_publish("cmd/pump/a/do", b"again", desk.now)
    desk.turn()
    assert [(one.topic, one.payload, one.qos, one.retain) for one in listener.got()] == [
        ("cmd/pump/a/do", b"go", 1, False),
        ("cmd/pump/a/do", b"again", 0, False),
    ]
    assert desk.client("late").subscribe("cmd/pump/a/do")[1:] == [], "not retained unless asked for"
    assert desk.rules == []


def test_a_retained_job_is_kept_for_the_device_and_told() -> None:
    desk = Desk("aws")
    desk.events()
    desk.gateway.platform_publish("cmd/pump/a/job", b'{"firmware":"2"}', desk.now, retain=True)
    ((topic, body),) = desk.events()
    assert (topic, body["reason"]) == ("$thingstorm/devices/job/a", '{"firmware":"2"}')
    assert body["timestamp"] == desk.now // 10**6
    (_, found) = desk.client("a").subscribe("cmd/pump/a/job")
    assert (found.payload, found.retain) == (b'{"firmware":"2"}', True)


def test_a_retained_message_names_the_subscription_that_brought_it() -> None:
    desk = Desk("open")
    desk.gateway.platform_publish("cmd/a", b"kept", desk.now, retain=True)
    client = desk.client("a", level=V5)
    (_, found) = client.subscribe("cmd/a", told={"subscription_identifier": (7,)})
    assert found.told["subscription_identifier"] == (7,)
    (_, found) = client.subscribe("cmd/a")
    assert "subscription_identifier" not in found.told


def test_what_a_rule_republishes_goes_to_the_rules_and_to_devices() -> None:
    desk = Desk("aws")
    listener = desk.client("a")
    listener.subscribe(("dt/#", 1))
    told = PublishProperties(content_type="text/plain")
    assert desk.gateway.republish("dt/again", b"1", desk.now, qos=1, properties=told) is True
    desk.turn()
    (message,) = desk.rules
    assert (message.client_id, message.principal, message.topic, message.payload) == (
        "",
        GATEWAY,
        "dt/again",
        b"1",
    )
    assert (message.qos, message.retain, message.received_at, message.properties) == (
        1,
        False,
        desk.now,
        told,
    )
    assert [(one.payload, one.qos) for one in listener.got()] == [(b"1", 1)]
    assert desk.gateway.republish("dt/again", b"2", desk.now)
    desk.turn()
    assert (desk.rules[1].qos, desk.rules[1].properties) == (0, None)
    assert desk.rules[0].message_id < desk.rules[1].message_id


def test_nothing_is_republished_while_the_rules_have_no_room() -> None:
    desk = Desk("aws")
    client = desk.client("a")
    desk.room = 0
    client.publish("dt/x", b"waits")
    assert desk.gateway.republish("dt/again", b"", desk.now) is False
    desk.room = 10
    desk.turn()
    assert desk.gateway.republish("dt/again", b"", desk.now)
    assert [one.payload for one in desk.rules] == [b"waits"]


def test_a_republished_message_waits_for_its_turn_within_the_bound_of_the_inbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.gateway.MAX_INBOX", 2)
    gateway = Desk("aws").gateway
    assert [gateway.republish("dt/again", b"", 1) for _ in range(3)] == [True, True, False]


def test_an_answer_of_a_service_goes_to_rules_and_subscribers_at_qos_1() -> None:
    desk = Desk("aws")
    listener = desk.client("a")
    answer = "$aws/things/a/shadow/get/accepted"
    listener.subscribe((answer, 1))
    desk.gateway.service_publish(answer, b"{}", desk.now)
    desk.turn()
    (message,) = desk.rules
    assert (message.client_id, message.principal, message.qos, message.retain) == ("", GATEWAY, 1, False)
    assert message.received_at == desk.now
    assert [(one.topic, one.payload, one.qos) for one in listener.got()] == [(answer, b"{}", 1)]


@pytest.mark.parametrize(
    "publish",
    [
        lambda gateway: gateway.platform_publish("cmd/a", b"", 1),
        lambda gateway: gateway.republish("dt/a", b"", 1),
        lambda gateway: gateway.service_publish("dt/a", b"", 1),
    ],
)
def test_what_the_platform_publishes_wakes_the_gateway(publish: Any) -> None:
    woken = []
    gateway = Gateway(limits=profile("aws"), accept=len)
    gateway.wake = lambda: woken.append(1)
    publish(gateway)
    assert woken


def test_a_policy_that_changes_is_followed_at_once_by_its_own_connections() -> None:
    desk = Desk("aws")
    client, other = desk.client("a", identity=identified()), desk.client("b")
    assert desk.gateway.principals() == {"c1", "local"}
    client.publish("dt/x", b"1")
    deny = {
        "Statement": [
            *OPEN_DOCUMENT["Statement"],
            {"Effect": "Deny", "Action": "iot:Publish", "Resource": "*"},
        ]
    }
    desk.gateway.identify(identified(replace(CERTIFICATE, documents=(deny,))), desk.now)
    assert not client.closed
    desk.events()
    client.publish("dt/x", b"2")
    assert client.closed
    assert desk.reasons() == ["FORBIDDEN_ACCESS"]
    other.publish("dt/x", b"3")
    assert [one.payload for one in desk.rules] == [b"1", b"3"]


@pytest.mark.parametrize(
    "principal",
    [
        replace(CERTIFICATE, active=False),
        replace(
            CERTIFICATE,
            documents=({"Statement": {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}},),
        ),
    ],
)
def test_who_may_not_connect_any_more_is_disconnected(principal: Principal) -> None:
    desk = Desk("aws")
    client, other = desk.client("a", identity=identified()), desk.client("b")
    desk.events()
    desk.gateway.identify(identified(principal), desk.now)
    assert (client.closed, other.closed) == (True, False)
    assert desk.reasons() == ["AUTH_ERROR"]
    assert desk.gateway.principals() == {"local"}
    assert (desk.gateway.connection("a"), desk.gateway.connections) == (None, 1)


def test_connections_that_never_say_who_they_are_are_counted_after_3_seconds() -> None:
    desk = Desk("aws")
    desk.gateway.tick(desk.now)
    first = desk.client()
    desk.pass_time(2)
    assert rows(desk)[FLEET].get("num_half_open", 0) == 0
    desk.client()
    desk.pass_time(1)
    assert rows(desk)[FLEET]["num_half_open"] == 1
    first.lose()
    desk.pass_time(2)
    assert rows(desk)[FLEET]["num_half_open"] == 1, "the second one"


def test_a_takeover_is_counted_and_so_is_one_by_somebody_else() -> None:
    desk = Desk("aws")
    desk.gateway.tick(desk.now)
    desk.client("a"), desk.client("a")
    desk.pass_time(1)
    row = rows(desk)["a"]
    assert (row["num_takeovers"], row.get("num_foreign_takeovers", 0)) == (1, 0)
    assert (row["num_connects"], row["num_disconnects"], row["num_connection_attempts"]) == (2, 1, 2)
    desk.client("a", identity=identified())
    desk.pass_time(1)
    row = rows(desk)["a"]
    assert (row["num_takeovers"], row["num_foreign_takeovers"]) == (1, 1)
    elsewhere = desk.client(identity=identified())
    elsewhere.conversation._source_ip = "10.9.9.9"
    assert elsewhere.connect("a").code == 0
    desk.pass_time(1)
    assert rows(desk)["a"]["num_foreign_takeovers"] == 1, "the same principal at another address"


def test_a_refused_connect_counts_for_who_was_not_known_or_not_allowed() -> None:
    desk = Desk("aws")
    desk.gateway.tick(desk.now)
    nobody = desk.client()
    nobody.conversation._identity = None
    nobody.connect("a")
    (failed,) = [body for topic, body in desk.events() if topic.endswith("connect_failed/a")]
    assert failed["reason"] == "nobody authenticated"
    desk.gateway.quarantine("b", "odd", desk.now)
    desk.client().connect("b")
    (failed,) = [body for topic, body in desk.events() if topic.endswith("connect_failed/b")]
    assert (failed["reason"], failed["ipAddress"], failed["timestamp"]) == (
        "in quarantine", "10.0.0.1", desk.now // 10**6,
    )  # fmt: skip
    desk.pass_time(1)
    found = rows(desk)
    kinds = ("num_authentication_failures", "num_authorization_failures", "num_connection_attempts")
    assert [found["a"].get(kind, 0) for kind in kinds] == [1, 0, 1]
    assert [found["b"].get(kind, 0) for kind in kinds] == [0, 1, 1]
    assert desk.gateway.counters["connect_refused"] == 2
    assert desk.gateway.quarantined() == {"b"}


def test_a_connect_over_the_rate_is_nobodys_failure() -> None:
    desk = Desk("aws", connects_per_second=1)
    desk.gateway.tick(desk.now)
    desk.client("a")
    assert desk.client().send(connect_bytes("b"))[0].code == 3
    desk.pass_time(1)
    row = rows(desk)["b"]
    assert {name: value for name, value in row.items() if name.startswith("num_")} == {
        "num_connection_attempts": 1
    }


def test_a_client_error_counts_as_rejected() -> None:
    desk = Desk("aws")
    desk.gateway.tick(desk.now)
    desk.client("a").publish("dt/+")
    desk.client("b").disconnect()
    desk.pass_time(1)
    found = rows(desk)
    assert found["a"]["num_rejected"] == 1
    assert "num_rejected" not in found["b"]
    assert desk.gateway.counters["refused"] == 1
    assert desk.gateway.counters["disconnects"] == 2


def test_a_will_is_a_message_of_its_client() -> None:
    desk = Desk("aws")
    client = desk.client("a", will=("dt/w", b"gone", 1, True))
    woken: list[int] = []
    desk.gateway.wake = lambda: woken.append(1)
    client.lose()
    (message,) = desk.rules
    assert (message.client_id, message.principal, message.topic, message.payload) == (
        "a",
        "local",
        "dt/w",
        b"gone",
    )
    assert (message.qos, message.retain, message.received_at, message.source_ip) == (
        1,
        True,
        desk.now,
        "10.0.0.1",
    )
    assert woken
    assert desk.gateway.counters["accepted"] == 1
    (_, found) = desk.client("b").subscribe("dt/w")
    assert (found.payload, found.retain) == (b"gone", True)


def test_a_will_that_the_policy_forbids_is_refused() -> None:
    desk = Desk("aws")
    desk.client("a", will=("secret/w", b"gone", 0, False)).lose()
    assert desk.rules == []
    assert desk.gateway.counters["refused"] == 1


def test_an_event_of_the_gateway_that_is_not_awss_reaches_no_device() -> None:
    desk = Desk("open")
    listener = desk.client("l")
    listener.subscribe("$thingstorm/#", "$aws/events/#")
    listener.got()
    desk.gateway.quarantine("x", "odd", desk.now)
    desk.client("y")
    topics = [topic for topic, _ in listener.messages()]
    assert topics == ["$aws/events/presence/connected/y"]
    assert json.loads(desk.gateway.take_events()[-1].payload)["clientId"] == "y"
