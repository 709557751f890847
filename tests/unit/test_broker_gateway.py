import json
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.gateway import (
    METRICS_TOPIC,
    Accepted,
    Close,
    Connected,
    ConnectRequest,
    Discarded,
    Gateway,
    Refused,
    Session,
)
from broker.limits import profile
from broker.policy import DEVICE_DOCUMENT, OPEN_DOCUMENT, Policy
from contracts.errors import UnknownName
from contracts.messages import FLEET, SECOND, Message


def gateway(limits: str = "aws") -> Gateway:
    return Gateway(
        limits=profile(limits), policy=Policy(DEVICE_DOCUMENT if limits == "aws" else OPEN_DOCUMENT)
    )


def connect(
    gate: Gateway, client_id: str = "a", *, now: int = 0, principal: str = "local", keep_alive: int = 60
) -> Session:
    decision = gate.connect(ConnectRequest(client_id, principal, "127.0.0.1", keep_alive), now)
    assert isinstance(decision, Connected)
    return decision.session


def publish(
    gate: Gateway,
    session: Session,
    topic: str = "dt/x/a/t",
    payload: bytes = b"{}",
    *,
    qos: int = 1,
    now: int = 0,
) -> Accepted | Discarded | Close:
    return gate.publish(session, topic=topic, payload=payload, qos=qos, retain=False, now=now)


def events(gate: Gateway) -> list[tuple[str, dict[str, object]]]:
    return [(event.topic, json.loads(event.payload)) for event in gate.take_events()]


def test_an_accepted_publish_becomes_a_message_with_an_id_that_grows() -> None:
    gate = gateway()
    session = connect(gate)
    decisions = [publish(gate, session, now=n * SECOND) for n in range(3)]
    messages = [decision.message for decision in decisions if isinstance(decision, Accepted)]
    assert [message.client_id for message in messages] == ["a"] * 3
    ids = [message.message_id for message in messages]
    assert ids == sorted(set(ids))
    assert messages[1].received_at == SECOND


@pytest.mark.parametrize(
    ("client_id", "principal", "code"),
    [("", "local", 2), ("$x", "local", 2), ("x" * 129, "local", 2), ("a", "", 5)],
)
def test_connects_that_are_refused(client_id: str, principal: str, code: int) -> None:
    decision = gateway().connect(ConnectRequest(client_id, principal, "", 60), 0)
    assert isinstance(decision, Refused)
    assert decision.code == code


def test_a_refused_connect_does_not_disturb_the_live_session_of_the_same_id() -> None:
    gate = gateway()
    session = connect(gate)
    assert isinstance(gate.connect(ConnectRequest("a", "", "", 60), 1), Refused)
    assert gate.session("a") is session


def test_the_same_client_id_takes_over_and_the_older_session_ends_once() -> None:
    gate = gateway()
    older = connect(gate)
    decision = gate.connect(ConnectRequest("a", "local", "", 60), 1)
    assert isinstance(decision, Connected)
    assert decision.taken_over is older
    gate.disconnect(older, "CONNECTION_LOST", 2)
    told = [body for topic, body in events(gate) if "disconnected" in topic]
    assert [body["disconnectReason"] for body in told] == ["DUPLICATE_CLIENTID"]
    assert gate.session("a") is decision.session


@pytest.mark.parametrize(
    ("topic", "payload", "qos", "reason"),
    [
        ("dt/x/a/t", b"{}", 2, "CLIENT_ERROR"),
        ("dt/x/a/t", b"x" * (128 * 1024 + 1), 1, "CLIENT_ERROR"),
        ("dt/1/2/3/4/5/6/7/8", b"{}", 1, "CLIENT_ERROR"),
        ("dt/" + "x" * 254, b"{}", 1, "CLIENT_ERROR"),
        ("dt/+/t", b"{}", 1, "CLIENT_ERROR"),
        ("dt/#", b"{}", 1, "CLIENT_ERROR"),
        ("", b"{}", 1, "CLIENT_ERROR"),
        ("$SYS/broker", b"{}", 1, "CLIENT_ERROR"),
        ("secret/x", b"{}", 1, "FORBIDDEN_ACCESS"),
        ("$aws/things/other/shadow/update", b"{}", 1, "FORBIDDEN_ACCESS"),
    ],
)
def test_publishes_that_end_the_connection(topic: str, payload: bytes, qos: int, reason: str) -> None:
    gate = gateway()
    decision = publish(gate, connect(gate), topic, payload, qos=qos)
    assert isinstance(decision, Close)
    assert decision.reason == reason
    assert gate.counters["refused"] == 1


@pytest.mark.parametrize(
    "topic",
    ["dt/1/2/3/4/5/6/7", "$aws/things/a/shadow/update", "$aws/rules/name/1/2/3/4/5/6/7/8", "dt/x/other/t"],
)
def test_publishes_that_are_accepted(topic: str) -> None:
    gate = gateway()
    assert isinstance(publish(gate, connect(gate), topic), Accepted)


def test_what_exceeds_a_hundred_publishes_a_second_is_discarded_and_counted() -> None:
    gate = gateway()
    session = connect(gate)
    decisions = Counter(type(publish(gate, session, now=SECOND // 2)) for _ in range(150))
    assert decisions == {Accepted: 100, Discarded: 50}
    assert isinstance(publish(gate, session, now=SECOND), Accepted)
    assert gate.counters["throttled"] == 50


@pytest.mark.parametrize(("asked", "kept"), [(0, 1200), (5, 30), (60, 60), (1200, 1200), (5000, 1200)])
def test_the_keep_alive_is_held_between_30_and_1200_seconds(asked: int, kept: int) -> None:
    assert connect(gateway(), keep_alive=asked).keep_alive == kept


def test_subscriptions_are_limited_in_number_and_checked() -> None:
    gate = gateway()
    session = connect(gate)
    assert gate.subscribe(session, [("cmd/a/#", 1), ("secret/#", 1), ("cmd/#/a", 1), ("cmd/x", 2)], 0) == (
        1,
        0x80,
        0x80,
        1,
    )
    too_many = gate.subscribe(session, [(f"cmd/{n}", 0) for n in range(9)], 0)
    assert isinstance(too_many, Close)
    for start in range(0, 48, 8):
        gate.subscribe(session, [(f"cmd/b/{start + n}", 0) for n in range(8)], 0)
    assert len(session.subscriptions) == 50
    assert gate.subscribe(session, [("cmd/b/60", 0), ("cmd/x", 0)], 0) == (0x80, 0)
    gate.unsubscribe(session, ["cmd/x", "never"], 0)
    assert len(session.subscriptions) == 49


def test_quarantine_ends_the_session_and_refuses_until_release() -> None:
    gate = gateway()
    session = connect(gate)
    assert gate.quarantine("a", "odd", 1) is session
    assert gate.quarantine("a", "odd", 1) is None
    refused = gate.connect(ConnectRequest("a", "local", "", 60), 2)
    assert isinstance(refused, Refused)
    gate.release("a", 3)
    connect(gate, now=4)
    topics = [topic for topic, _ in events(gate)]
    assert topics == [
        "$aws/events/presence/connected/a",
        "$thingstorm/devices/quarantined/a",
        "$aws/events/presence/disconnected/a",
        "$aws/events/presence/connect_failed/a",
        "$thingstorm/devices/released/a",
        "$aws/events/presence/connected/a",
    ]


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName) as caught:
        profile("azure")
    assert "aws, open" in caught.value.fix


IDS = st.sampled_from(["a", "b", "c"])


class GatewayMachine(RuleBasedStateMachine):
    """Any sequence of what clients and operators do."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = gateway()
        self.now = SECOND
        self.live: dict[str, Session] = {}
        self.gone: list[Session] = []
        self.shut: set[str] = set()
        self.counted: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.period: Counter[str] = Counter()
        self.gate.tick(0)

    @rule(client_id=IDS, principal=st.sampled_from(["local", "local", ""]))
    def connects(self, client_id: str, principal: str) -> None:
        decision = self.gate.connect(ConnectRequest(client_id, principal, "1.2.3.4", 60), self.now)
        self.period["num_connection_attempts"] += 1
        allowed = bool(principal) and client_id not in self.shut
        assert isinstance(decision, Connected) == allowed
        if isinstance(decision, Connected):
            older = self.live.get(client_id)
            assert decision.taken_over is older
            self.counted["connected"] += 1
            if older is not None:
                self._ended(older)
            self.live[client_id] = decision.session

    @precondition(lambda self: self.live)
    @rule(
        data=st.data(),
        topic=st.sampled_from(["dt/x/t", "dt/y", "secret", "$aws/x", "a/+"]),
        size=st.integers(0, 50),
    )
    def publishes(self, data: st.DataObject, topic: str, size: int) -> None:
        session = data.draw(st.sampled_from(list(self.live.values())))
        decision = publish(self.gate, session, topic, b"x" * size, now=self.now)
        assert isinstance(decision, Accepted) == topic.startswith("dt/") or isinstance(decision, Discarded)
        if isinstance(decision, Accepted):
            self.period["num_messages_received"] += 1
            self.period["message_bytes_received"] += size
        elif isinstance(decision, Close):
            self.gate.disconnect(session, decision.reason, self.now)
            self._ended(session)
            del self.live[session.client_id]

    @precondition(lambda self: self.live or self.gone)
    @rule(data=st.data())
    def disconnects(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from([*self.live.values(), *self.gone]))
        self.gate.disconnect(session, "CONNECTION_LOST", self.now)
        if self.live.get(session.client_id) is session:
            self._ended(session)
            del self.live[session.client_id]

    @rule(client_id=IDS)
    def quarantines(self, client_id: str) -> None:
        session = self.gate.quarantine(client_id, "r", self.now)
        assert session is self.live.get(client_id)
        self.shut.add(client_id)
        if session is not None:
            self._ended(session)
            del self.live[client_id]

    @rule(client_id=IDS)
    def releases(self, client_id: str) -> None:
        self.gate.release(client_id, self.now)
        self.shut.discard(client_id)

    @rule()
    def ticks(self) -> None:
        self.now += SECOND
        self.gate.tick(self.now)
        self._read_events()

    def _ended(self, session: Session) -> None:
        self.counted["disconnected"] += 1
        self.period["num_disconnects"] += 1
        self.gone.append(session)

    def _read_events(self) -> None:
        for event in self.gate.take_events():
            if event.topic == METRICS_TOPIC:
                self._check_metrics(event)
            else:
                self.told[event.topic.split("/")[-2]] += 1

    def _check_metrics(self, event: Message) -> None:
        rows = json.loads(event.payload)["devices"]
        fleet, devices = rows[-1], rows[:-1]
        assert fleet["device_id"] == FLEET
        assert fleet.get("num_devices", 0) == len(devices)
        for name, value in self.period.items():
            assert fleet.get(name, 0) == value == sum(row.get(name, 0) for row in devices)
        self.period.clear()

    @invariant()
    def live_sessions_are_what_was_decided(self) -> None:
        assert {client_id: self.gate.session(client_id) for client_id in self.live} == self.live
        assert all(self.gate.session(client_id) is None for client_id in self.shut)
        assert self.gate.quarantined() == self.shut

    def teardown(self) -> None:
        self._read_events()
        assert self.told["connected"] == self.counted["connected"]
        assert self.told["disconnected"] == self.counted["disconnected"]
        assert self.counted["connected"] - self.counted["disconnected"] == len(self.live)


TestGatewayMachine = GatewayMachine.TestCase
TestGatewayMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
