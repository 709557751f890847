"""The gateway's core driven at random: whatever clients do, its promises hold."""

from collections import Counter, defaultdict
from typing import Any

from gateway_clients import Client, Desk, Got, publish_bytes
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sizes import size

from broker.packets import V3, V5
from broker.reporter import METRICS_TOPIC
from contracts.messages import FLEET

IDS = st.sampled_from(["a", "b", "c"])
FILTERS = ("t/a", "t/+", "t/#", "$share/g/t/a")
TOPICS = st.sampled_from(["t/a", "t/b", "t/a/b"])


class GatewayMachine(RuleBasedStateMachine):
    """Three client ids that come, take over, break and return; quarantine; rules that are full at times."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk("open", in_flight=3, queued=1000)
        self.desk.gateway.tick(self.desk.now)
        self.live: dict[str, Client] = {}
        self.leaving: list[Client] = []
        self.number = 0
        self.acknowledged: list[bytes] = []
        self.sent: dict[tuple[str, int], bytes] = {}
        self.seen: defaultdict[str, list[bytes]] = defaultdict(list)
        self.events: Counter[str] = Counter()
        self.metrics: Counter[str] = Counter()

    def on(self, client_id: str, answers: list[Got]) -> None:
        """What a well-behaved client does with what it gets."""
        client = self.live.get(client_id)
        for one in answers:
            if one.kind == "PUBLISH":
                if not one.duplicate:
                    self.seen[client_id].append(one.payload)
                if one.qos and client is not None and not client.closed:
                    self.on(client_id, client.acknowledge(one.packet_id))
            elif one.kind == "PUBACK":
                self.acknowledged.append(self.sent.pop((client_id, one.packet_id)))

    def drain(self) -> None:
        self.desk.turn()
        for client_id, client in list(self.live.items()):
            self.on(client_id, client.got())
            if client.closed:
                del self.live[client_id]
        self.leaving = [client for client in self.leaving if not client.closed]
        for topic, body in self.desk.events():
            if topic == METRICS_TOPIC:
                self._count(body)
            elif topic.startswith("$aws/events/presence/"):
                self.events[topic.split("/")[3]] += 1

    def _count(self, body: dict[str, Any]) -> None:
        for row in body["devices"]:
            if row["device_id"] == FLEET:
                self.metrics.update({k: v for k, v in row.items() if k.startswith("num_")})

    @rule(client_id=IDS, level=st.sampled_from([V3, V5]), clean=st.booleans())
    def connect(self, client_id: str, level: int, clean: bool) -> None:  # noqa: FBT001 - hypothesis passes it
        told = {"session_expiry": 50} if level == V5 and not clean else None
        client = self.desk.client()
        answer = client.connect(client_id, level=level, clean=clean, told=told)
        refused = client_id in self.desk.gateway.quarantined()
        assert (answer.code != 0) == refused
        assert client.closed == refused
        if not refused:
            self.sent = {key: body for key, body in self.sent.items() if key[0] != client_id}
            self.live[client_id] = client
            self.on(client_id, client.backlog)
        self.drain()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), topic=TOPICS, qos=st.integers(0, 1))
    def publish(self, data: st.DataObject, topic: str, qos: int) -> None:
        client_id = data.draw(st.sampled_from(sorted(self.live)))
        client = self.live[client_id]
        self.number += 1
        body = b"%d" % self.number
        if qos:
            self.sent[client_id, self.number] = body
        client.conversation.receive(
            publish_bytes(topic, body, qos=qos, packet_id=self.number, level=client.level), self.desk.now
        )
        self.drain()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), name=st.sampled_from(FILTERS), on=st.booleans())
    def subscribe(self, data: st.DataObject, name: str, on: bool) -> None:  # noqa: FBT001 - likewise
        client_id = data.draw(st.sampled_from(sorted(self.live)))
        client = self.live[client_id]
        self.on(client_id, client.subscribe(name) if on else client.unsubscribe(name))
        self.drain()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), lose=st.booleans())
    def leave(self, data: st.DataObject, lose: bool) -> None:  # noqa: FBT001 - likewise
        client = self.live.pop(data.draw(st.sampled_from(sorted(self.live))))
        if lose:
            client.lose()
        else:
            client.disconnect()
            self.leaving.append(client)
        self.drain()

    @rule(client_id=IDS, shut=st.booleans())
    def quarantine(self, client_id: str, shut: bool) -> None:  # noqa: FBT001 - likewise
        gateway = self.desk.gateway
        if shut:
            gateway.quarantine(client_id, "test", self.desk.now)
        else:
            gateway.release(client_id, self.desk.now)
        self.drain()

    @rule(room=st.sampled_from([0, 1, 10**9]))
    def fill(self, room: int) -> None:
        self.desk.room = room
        self.drain()

    @rule(seconds=st.sampled_from([1, 20]))
    def wait(self, seconds: int) -> None:
        self.desk.pass_time(seconds)
        self.drain()

    @invariant()
    def an_acknowledged_publish_is_with_the_rules(self) -> None:
        assert set(self.acknowledged) <= {one.payload for one in self.desk.rules}

    @invariant()
    def nothing_reaches_the_rules_twice_and_the_order_of_a_client_is_kept(self) -> None:
        numbers = [int(one.payload) for one in self.desk.rules]
        assert len(numbers) == len(set(numbers))
        for client_id in "abc":
            own = [int(one.payload) for one in self.desk.rules if one.client_id == client_id]
            assert own == sorted(own)

    @invariant()
    def nobody_in_quarantine_is_connected(self) -> None:
        gateway = self.desk.gateway
        assert not {one for one in "abc" if gateway.connection(one)} & gateway.quarantined()

    @invariant()
    def the_tree_holds_the_subscriptions_of_the_sessions_and_no_others(self) -> None:
        sessions = [one for client_id in "abc" if (one := self.desk.gateway.session(client_id))]
        assert self.desk.gateway.tree.size == sum(len(one.subscriptions) for one in sessions)
        assert all(len(one.in_flight) <= one.in_flight_most for one in sessions)

    @invariant()
    def every_connect_has_at_most_one_disconnect_and_the_live_ones_none(self) -> None:
        there = len(self.live) + len(
            self.leaving
        )  # a DISCONNECT behind a publish that the rules have no room for
        assert self.events["connected"] - self.events["disconnected"] == there
        assert self.desk.gateway.connections == there

    def teardown(self) -> None:
        self.desk.room = 10**9
        self.desk.turn()
        self.desk.pass_time(1)
        self.drain()
        counters = self.desk.gateway.counters
        assert self.metrics["num_messages_received"] == counters["accepted"] == len(self.desk.rules)
        assert self.metrics["num_connects"] == counters["connects"] == self.events["connected"]
        for client_id, received in self.seen.items():
            assert set(received) <= {one.payload for one in self.desk.rules}, client_id


GatewayMachine.TestCase.settings = settings(
    max_examples=size(150, full=1_000), stateful_step_count=40, deadline=None
)
TestGateway = GatewayMachine.TestCase
