"""The rules' session between two processes, in one: the real gateway, the real client, kills made of cancellation."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread
from fastapi import FastAPI
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from test_broker_embedded import until

from analytics.api_errors import tell_errors
from analytics.api_server import ApiServer
from broker.admin import add_control, require_token
from broker.admin_client import GatewayClient
from broker.embedded import BrokerSettings, EmbeddedBroker
from broker.lane import BATCH, WINDOW, Lane
from broker.remote import RemoteLane, RulesLink
from broker.rules_session import RulesSession
from broker.store import Store
from contracts.clock import SystemClock
from contracts.errors import ConfigError, NotReady
from contracts.journal import JournalFault
from contracts.messages import Message
from thingstorm import __version__
from thingstorm.runtime.health import add_health
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

TOKEN = "between us"


def message(number: int) -> Message:
    return Message(
        f"m{number:06d}", "d", "p", "dt/a/d/t", b"%d" % number, 1, retain=False, received_at=number
    )


class Gateway:
    """A gateway as a process would have it: lanes and state in a folder, an admin port."""

    def __init__(self, folder: Path, *, capacity: int = 100_000, version: str = __version__) -> None:
        self.lanes = [Lane(name, folder / name, capacity=capacity) for name in ("messages", "events")]
        self.rules = RulesSession(self.lanes, token=TOKEN)
        self.broker = EmbeddedBroker(
            settings=BrokerSettings(port=0),
            clock=SystemClock(),
            messages=self.lanes[0],
            events=self.lanes[1],
            store=Store(folder / "state"),
            rules=self.rules,
        )
        app = FastAPI()
        tell_errors(app)
        require_token(app, TOKEN)
        add_control(app, self.broker)
        add_health(app, lambda: [self.broker.health()], stage="broker")
        if version != __version__:
            app = FastAPI()
            app.get("/healthz")(lambda: {"version": version, "services": [], "ready": True})
        self.admin = ApiServer(app, host="127.0.0.1", port=0, name="broker stage")
        self.clients: list[GatewayClient] = []

    def client(self, token: str = TOKEN) -> GatewayClient:
        client = GatewayClient(url=f"http://127.0.0.1:{self.admin.port}", token=token, version=__version__)
        self.clients.append(client)
        return client


@asynccontextmanager
async def a_gateway(folder: Path, **options: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(folder, **options)
    try:
        async with supervise([gateway.admin, gateway.broker], drain_seconds=5):
            yield gateway
            for client in gateway.clients:
                await client.aclose()
    finally:
        for lane in gateway.lanes:
            lane.close()


class Rules:
    """The other side: a link, and a consumer that finishes what it takes."""

    def __init__(self, gateway: Gateway, *, token: str = TOKEN) -> None:
        self.lanes = (RemoteLane("messages"), RemoteLane("events"))
        self.link = RulesLink(
            host="127.0.0.1",
            port=gateway.broker.port,
            token=token,
            gateway=gateway.client(),
            lanes=self.lanes,
            clock=SystemClock(),
        )
        self.done: list[Message] = []
        self.taken = 0
        self.hold = False

    async def work(self) -> None:
        while True:
            batch = await self.lanes[0].get()
            self.taken += len(batch)
            await anyio.sleep(0)
            if not self.hold:
                self.done.extend(batch)
                self.lanes[0].done(batch)


@asynccontextmanager
async def some_rules(gateway: Gateway, **options: Any) -> AsyncIterator[Rules]:
    """Their end is a kill: nothing is drained."""
    rules = Rules(gateway, **options)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: rules.link.run(task_status=task_status))
        tasks.start_soon(rules.work)
        yield rules
        tasks.cancel_scope.cancel()


def used(gateway: Gateway) -> int:
    return gateway.lanes[0].gauge().used


async def test_messages_arrive_once_in_order_and_are_then_forgotten(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as gateway, some_rules(gateway) as rules:
        for number in range(3 * WINDOW * BATCH):
            assert gateway.lanes[0].offer(message(number))
        await until(lambda: not used(gateway), within=20)
        assert rules.done == [message(number) for number in range(3 * WINDOW * BATCH)]
        assert rules.link.health().counters["acknowledged"] >= 3 * WINDOW


async def test_nothing_is_acknowledged_before_it_is_done(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as gateway:
        for number in range(2 * WINDOW * BATCH):
            gateway.lanes[0].offer(message(number))
        async with some_rules(gateway) as rules:
            rules.hold = True
            await until(lambda: rules.taken == WINDOW * BATCH)
            await anyio.sleep(0.2)
            assert rules.taken == WINDOW * BATCH, "no more than the window"
        assert used(gateway) == 2 * WINDOW * BATCH
        async with some_rules(gateway) as rules:
            await until(lambda: not used(gateway), within=20)
            assert rules.done == [message(number) for number in range(2 * WINDOW * BATCH)]


async def test_random_kills_of_either_side_lose_nothing(tmp_path: Path) -> None:
    dice = random.Random(5)
    done: set[str] = set()
    offered = 0
    for _ in range(6):
        async with a_gateway(tmp_path) as gateway:
            for _ in range(dice.randint(1, 3)):
                async with some_rules(gateway) as rules:
                    for _ in range(dice.randint(0, 900)):
                        gateway.lanes[0].offer(message(offered))
                        offered += 1
                    await anyio.sleep(dice.uniform(0, 0.3))
                done |= {one.message_id for one in rules.done}
    async with a_gateway(tmp_path) as gateway, some_rules(gateway) as rules:
        await until(lambda: not used(gateway), within=20)
        done |= {one.message_id for one in rules.done}
    assert done == {f"m{number:06d}" for number in range(offered)}


async def test_a_message_that_comes_again_while_it_is_under_way_is_not_doubled() -> None:
    lane, acknowledged = RemoteLane("messages"), []
    first, second = (Client(CallbackAPIVersion.VERSION2) for _ in range(2))
    lane.acknowledge = lambda client, packet_id: acknowledged.append((client, packet_id))
    batch = [message(1), message(2)]
    assert lane.receive(first, 7, batch)
    taken = await lane.get()
    assert lane.receive(second, 9, batch), "the connection was made anew"
    assert lane.gauge().used == 0
    lane.done(taken[:1])
    assert acknowledged == []
    lane.done(taken[1:])
    assert acknowledged == [(second, 9)]


async def test_a_device_gets_no_acknowledgement_for_what_the_disk_refuses(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as gateway:
        journal = gateway.lanes[0]._journal
        journal._database.execute("PRAGMA max_page_count = 5")
        client = Client(CallbackAPIVersion.VERSION2, client_id="d1", reconnect_on_failure=False)
        published: list[int] = []
        client.on_publish = lambda _c, _u, mid, _r, _p: published.append(mid)
        await to_thread.run_sync(lambda: client.connect("127.0.0.1", gateway.broker.port))
        client.loop_start()
        for _ in range(80):
            client.publish("dt/a/d1/t", b"x" * 1000, qos=1)
        await until(lambda: gateway.broker.health().state == "failed")
        assert "full; fix: free space on its disk" in gateway.broker.health().detail
        await until(lambda: not client.is_connected())
        assert len(published) == used(gateway) < 80
        await to_thread.run_sync(client.loop_stop)


async def test_a_full_lane_makes_devices_wait(tmp_path: Path) -> None:
    async with a_gateway(tmp_path, capacity=3) as gateway:
        for number in range(3):
            assert gateway.lanes[0].offer(message(number))
        assert not gateway.lanes[0].offer(message(3))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.lanes[0].put, message(3))
            async with some_rules(gateway) as rules:
                await until(lambda: len(rules.done) == 4)


async def test_a_wrong_token_is_refused_at_both_doors(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as gateway:
        async with some_rules(gateway, token="wrong") as rules:
            await until(lambda: "refused the rules' session" in rules.link.health().detail)
            assert rules.link.health().state == "failed"
        with pytest.raises(ConfigError, match="token") as caught:
            await gateway.client("wrong").quarantine("d1", reason="odd")
        assert "stages.token" in caught.value.fix
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.admin.port}") as http:
            assert (await http.get("/quarantined")).status_code == 401
            assert (await http.get("/healthz")).status_code == 200


async def test_no_device_may_read_the_rules_session(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as gateway:
        client = Client(CallbackAPIVersion.VERSION2, client_id="d1")
        granted: list[int] = []
        client.on_subscribe = lambda _c, _u, _m, codes, _p: granted.extend(code.value for code in codes)
        await to_thread.run_sync(lambda: client.connect("127.0.0.1", gateway.broker.port))
        client.loop_start()
        client.subscribe([("$thingstorm/rules/messages", 1), ("#", 1), ("$thingstorm/#", 1)])
        await until(lambda: len(granted) == 3)
        assert granted == [128, 128, 128]
        await to_thread.run_sync(lambda: (client.disconnect(), client.loop_stop()))


async def test_another_version_is_told_and_nothing_is_taken(tmp_path: Path) -> None:
    async with a_gateway(tmp_path, version="9.9.9") as gateway, some_rules(gateway) as rules:
        gateway.lanes[0].offer(message(1))
        await until(lambda: "version 9.9.9" in rules.link.health().detail)
        assert not rules.done
        with pytest.raises(ConfigError, match=r"version 9\.9\.9, this stage is"):
            await gateway.client().check_version()


async def test_the_control_reaches_the_gateway_and_outlives_it(tmp_path: Path) -> None:
    own = {"Statement": [{"Effect": "Deny", "Action": "iot:*", "Resource": "*"}]}
    async with a_gateway(tmp_path) as gateway:
        control = gateway.client()
        async with supervise([control], drain_seconds=1):
            await control.quarantine("bad/one ü", reason="odd")
            await control.create("made", policy=own)
            assert control.quarantined() == gateway.broker.quarantined() == {"bad/one ü"}
            with pytest.raises(ConfigError, match="empty, reserved"):
                await control.create("$made")
            with pytest.raises(ConfigError, match="no policy document"):
                await control.create("made2", policy={"Statement": [{"Effect": "Perhaps"}]})
    async with a_gateway(tmp_path) as gateway:
        assert gateway.broker.quarantined() == {"bad/one ü"}
        refused: list[bool] = []
        client = Client(CallbackAPIVersion.VERSION2, client_id="made", reconnect_on_failure=False)
        client.on_connect = lambda _c, _u, _f, code, _p: refused.append(code.is_failure)
        await to_thread.run_sync(lambda: client.connect("127.0.0.1", gateway.broker.port))
        client.loop_start()
        await until(lambda: refused == [True])
        await to_thread.run_sync(client.loop_stop)
        await gateway.client().release("bad/one ü")
        assert gateway.broker.quarantined() == frozenset()


async def test_a_gateway_that_is_away_is_said(tmp_path: Path) -> None:
    control = GatewayClient(url="http://127.0.0.1:9", token="x", version=__version__)
    with pytest.raises(NotReady, match="does not answer") as caught:
        await control.quarantine("d", reason="odd")
    assert "stages.broker" in caught.value.fix
    async with supervise([control], drain_seconds=1):
        await until(lambda: control.health().state == "failed")


async def test_retained_messages_outlive_the_gateway(tmp_path: Path) -> None:
    async with a_gateway(tmp_path) as gateway:
        await gateway.broker.publish("cmd/d1/job", b"update", qos=1, retain=True)
    async with a_gateway(tmp_path) as gateway:
        got: list[bytes] = []
        client = Client(CallbackAPIVersion.VERSION2, client_id="d1")
        client.on_message = lambda _c, _u, one: got.append(one.payload)
        await to_thread.run_sync(lambda: client.connect("127.0.0.1", gateway.broker.port))
        client.loop_start()
        client.subscribe("cmd/d1/job", 1)
        await until(lambda: got == [b"update"])
        await to_thread.run_sync(lambda: (client.disconnect(), client.loop_stop()))
        assert got == [b"update"]


def test_a_lane_on_a_broken_disk_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    lane = Lane("messages", tmp_path / "j", capacity=10)
    lane._journal._database.execute("PRAGMA max_page_count = 4")
    assert lane.offer(message(1))
    with pytest.raises(JournalFault):
        lane.offer(Message("big", "d", "p", "t", b"x" * 100_000, 1, retain=False, received_at=1))
    assert "full" in lane.fault
    assert lane.offer(message(2))
    assert (lane.fault, lane.gauge().used) == ("", 2)
    lane.close()
