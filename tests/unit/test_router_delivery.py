"""The router: nothing is done before its actions took it, what fails is tried again or told, never silent."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from contracts.clock import ManualClock
from contracts.errors import ConfigError, Terminal, Transient, UnknownName
from contracts.messages import Message
from contracts.streams import BatchStream
from pipeline.actions import ActionContext, Actions, Refused, Undelivered
from pipeline.actions.sns import MAX_BYTES, _batches
from pipeline.router import Router
from pipeline.rules.engine import Engine, Rule

pytestmark = pytest.mark.anyio


class Sink:
    """A delivery stream that keeps what it takes, after failing as `failures` say, while `gate` is open."""

    def __init__(self, *failures: Exception) -> None:
        self.records: list[bytes] = []
        self.calls = 0
        self.failures = list(failures)
        self.gate = anyio.Event()
        self.gate.set()
        self.entered = anyio.Event()

    async def put(self, records: Sequence[bytes]) -> None:
        self.calls += 1
        self.entered.set()
        await self.gate.wait()
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Undelivered | Refused):
                self.records += [body for index, body in enumerate(records) if index not in _kept(failure)]
            raise failure
        self.records += records


def _kept(failure: Undelivered | Refused) -> set[int]:
    return {*getattr(failure, "retry", ()), *failure.refused}


def rule(name: str, sql: str, stream: str = "archive", **options: Any) -> Rule:
    return Rule(name=name, sql=sql, actions=({"firehose": {"deliveryStreamName": stream}},), **options)


def message(number: int, topic: str = "a/b") -> Message:
    return Message(
        f"id-{number}",
        "device-1",
        "cert-1",
        topic,
        b'{"n": %d}' % number,
        1,
        False,
        1_700_000_000_000_000_000,
    )


@asynccontextmanager
async def routing(
    rules: Sequence[Rule], sinks: dict[str, Sink], *, capacity: int = 100, **options: Any
) -> AsyncIterator[tuple[Router, BatchStream[Message], Engine]]:
    stream: BatchStream[Message] = BatchStream("messages", capacity=capacity, max_batch=10)
    engine = Engine(rules)
    actions = Actions(ActionContext(streams=sinks))
    router = Router("router", stream, engine, actions, **{"linger": 0, "clock": ManualClock(7), **options})
    async with anyio.create_task_group() as group:
        await group.start(lambda task_status: router.run(task_status=task_status))
        yield router, stream, engine
        group.cancel_scope.cancel()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_bodies_reach_their_actions_and_everything_is_counted() -> None:
    archive, other = Sink(), Sink()
    rules = [rule("all", "SELECT * FROM 'a/#'"), rule("few", "SELECT n AS x FROM 'a/#' WHERE n > 2", "other")]
    async with routing(rules, {"archive": archive, "other": other}) as (router, stream, _):
        for number in range(5):
            stream.offer(message(number))
        stream.offer(message(9, "elsewhere"))
        await router.drain()
        assert archive.records == [b'{"n":%d}' % number for number in range(5)]
        assert other.records == [b'{"x":3}', b'{"x":4}']
        health = router.health()
        assert health.state == "draining"
        assert health.last_progress == 7
        assert health.detail == ""
        counters = health.counters
        assert [counters[name] for name in ("received", "routed", "unmatched", "matches", "firehose")] == [
            6,
            5,
            1,
            7,
            7,
        ]
        assert (counters["firehose archive"], counters["firehose other"]) == (5, 2)
        assert [counters[name] for name in ("failed", "retries", "rule_errors")] == [0, 0, 0]
        assert router.matches_by_rule == {"all": 5, "few": 2}


async def test_a_message_is_unfinished_until_its_action_took_it() -> None:
    sink = Sink()
    sink.gate = anyio.Event()
    async with routing([rule("all", "SELECT * FROM '#'")], {"archive": sink}) as (router, stream, _):
        stream.offer(message(1))
        await sink.entered.wait()
        assert stream.unfinished == 1
        sink.gate.set()
        await router.drain()
        assert stream.unfinished == 0


async def test_a_message_is_seen_in_one_of_the_gauges_also_while_the_router_waits_for_more() -> None:
    sink = Sink()
    async with routing([rule("all", "SELECT * FROM '#'")], {"archive": sink}, linger=0.05) as (
        router,
        stream,
        _,
    ):
        stream.offer(message(1))
        while not sink.records:
            assert sum(gauge.used for gauge in router.health().buffers) == 1
            await anyio.sleep(0.001)
        await router.drain()
        assert sum(gauge.used for gauge in router.health().buffers) == 0


async def test_targets_counted_one_by_one_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.router._MAX_TARGETS", 0)
    sink = Sink()
    async with routing([rule("all", "SELECT * FROM '#'")], {"archive": sink}) as (router, stream, _):
        stream.offer(message(1))
        await router.drain()
        assert router.health().counters["firehose"] == 1
        assert "firehose archive" not in router.health().counters


async def test_batches_in_flight_are_bounded_and_then_the_stream_fills() -> None:
    sink = Sink()
    sink.gate = anyio.Event()
    rules = [rule("all", "SELECT * FROM '#'")]
    async with routing(rules, {"archive": sink}, capacity=5, max_in_flight=2) as (router, stream, _):
        for number in range(2):  # one batch each
            stream.offer(message(number))
            await until(lambda: stream.gauge().used == 0)
        await until(lambda: sink.calls == 2)
        assert [stream.offer(message(number)) for number in range(6)] == [True] * 5 + [False]
        await anyio.wait_all_tasks_blocked()
        assert sink.calls == 2
        assert router.health().buffers[1].used == 2
        sink.gate.set()
        await router.drain()
        assert len(sink.records) == 7


async def test_what_fails_for_a_moment_is_tried_again_until_it_is_taken() -> None:
    sink = Sink(
        Transient("busy", fix="wait"),
        Undelivered("one left", fix="wait", retry=[1], refused={2: "too long"}),
    )
    async with routing([rule("all", "SELECT n FROM '#'")], {"archive": sink}) as (router, stream, _):
        for number in range(3):
            stream.offer(message(number))
        await router.drain()
        assert sink.records == [b'{"n":0}', b'{"n":1}']
        counters = router.health().counters
        assert (counters["retries"], counters["failed"], counters["firehose"]) == (2, 1, 2)
        assert "too long" in router.health().detail


async def test_trouble_is_shown_while_it_lasts() -> None:
    sink = Sink(*[Transient("busy", fix="wait")] * 2)
    async with routing([rule("all", "SELECT n FROM '#'")], {"archive": sink}) as (router, stream, _):
        stream.offer(message(1))
        await until(lambda: sink.calls == 1)
        await until(lambda: "busy" in router.health().detail)
        await router.drain()
        assert router.health().detail == ""


async def test_an_error_action_gets_one_message_for_each_rule_and_message() -> None:
    actions = tuple({"firehose": {"deliveryStreamName": name}} for name in ("bad", "worse", "good"))
    failing = Rule(
        name="failing",
        sql="SELECT n FROM '#'",
        actions=actions,
        error_action={"firehose": {"deliveryStreamName": "errors"}},
    )
    sinks = {
        "bad": Sink(Refused("no", fix="", refused={0: "not this one"})),
        "worse": Sink(Terminal("gone for ever", fix="")),
        "good": Sink(),
        "errors": Sink(),
    }
    async with routing([failing], sinks) as (router, stream, _):
        stream.offer(message(1))
        await router.drain()
    assert sinks["good"].records == [b'{"n":1}']
    [body] = sinks["errors"].records
    told = json.loads(body)
    assert sorted(told.pop("failures"), key=lambda failure: failure["failedResource"]) == [
        {"failedAction": "FirehoseAction", "failedResource": "bad", "errorMessage": "not this one"},
        {"failedAction": "FirehoseAction", "failedResource": "worse", "errorMessage": "gone for ever"},
    ]
    assert told == {
        "ruleName": "failing",
        "topic": "a/b",
        "cloudwatchTraceId": "id-1",
        "clientId": "device-1",
        "base64OriginalPayload": "eyJuIjogMX0=",
    }
    counters = router.health().counters
    assert (counters["failed"], counters["error_actions"], counters["error_actions_failed"]) == (2, 1, 0)


async def test_a_failing_error_action_is_counted_and_ends() -> None:
    sinks = {"archive": Sink(Terminal("a", fix="")), "errors": Sink(Terminal("b", fix=""))}
    failing = rule("r", "SELECT n FROM '#'", error_action={"firehose": {"deliveryStreamName": "errors"}})
    async with routing([failing], sinks) as (router, stream, _):
        stream.offer(message(1))
        await router.drain()
        assert router.health().counters["error_actions_failed"] == 1


async def test_rules_with_one_target_share_a_delivery_and_arrays_may_be_split() -> None:
    sink = Sink()
    split = {"firehose": {"deliveryStreamName": "archive", "batchMode": True, "separator": "\n"}}
    rules = [
        rule("one", "SELECT n AS a FROM '#'"),
        rule("two", "SELECT n AS b FROM '#'"),
        Rule(name="three", sql="SELECT VALUE [n, n] FROM '#'", actions=(split,)),
    ]
    async with routing(rules, {"archive": sink}) as (router, stream, _):
        stream.offer(message(1))
        await router.drain()
    assert sorted(sink.records) == [b"1\n", b"1\n", b'{"a":1}', b'{"b":1}']
    assert sink.calls == 2


async def test_a_template_chooses_the_target_for_each_message() -> None:
    sinks = {"x": Sink(), "y": Sink()}
    rules = [rule("by_level", "SELECT n FROM '#'", "${topic(1)}")]
    async with routing(rules, sinks) as (router, stream, _):
        for number, topic in enumerate(("x/1", "y/1", "x/2", "none/1")):
            stream.offer(message(number, topic))
        await router.drain()
        assert sinks["x"].records == [b'{"n":0}', b'{"n":2}']
        assert sinks["y"].records == [b'{"n":1}']
        assert router.health().counters["failed"] == 1
        assert "'none'" in router.health().detail


async def test_a_rule_that_aims_at_nothing_stops_the_start() -> None:
    stream: BatchStream[Message] = BatchStream("messages", capacity=1)
    router = Router(
        "router",
        stream,
        Engine([rule("r", "SELECT * FROM '#'", "archiv")]),
        Actions(ActionContext(streams={"archive": Sink()})),
    )
    with pytest.raises(UnknownName, match="archiv") as caught:
        await router.run(task_status=anyio.TASK_STATUS_IGNORED)
    assert "did you mean 'archive'" in caught.value.fix


async def test_an_sns_action_needs_a_client_and_a_known_name() -> None:
    sns = Rule(name="r", sql="SELECT * FROM '#'", actions=({"sns": {"targetArn": "telemetry"}},))
    with pytest.raises(ConfigError, match="no SNS client"):
        Actions(ActionContext()).prepare(sns)


async def test_lingering_fills_a_call() -> None:
    sink = Sink()
    async with routing([rule("all", "SELECT n FROM '#'")], {"archive": sink}, linger=0.02) as (
        router,
        stream,
        _,
    ):
        stream.offer(message(1))
        await anyio.wait_all_tasks_blocked()
        stream.offer(message(2))
        await router.drain()
        assert sink.calls == 1
        assert len(sink.records) == 2


async def test_a_closed_stream_ends_the_router() -> None:
    sink = Sink()
    stream: BatchStream[Message] = BatchStream("messages", capacity=5)
    router = Router(
        "router",
        stream,
        Engine([rule("r", "SELECT * FROM '#'")]),
        Actions(ActionContext(streams={"archive": sink})),
    )
    stream.offer(message(1))
    stream.close()
    with anyio.fail_after(5):
        await router.run(task_status=anyio.TASK_STATUS_IGNORED)
    assert router.health().state == "stopped"
    assert len(sink.records) == 1


def test_sns_calls_hold_ten_messages_and_256_kib() -> None:
    small = [(index, "x") for index in range(25)]
    assert [len(batch) for batch in _batches(small)] == [10, 10, 5]
    big = [(index, "é" * (MAX_BYTES // 5)) for index in range(5)]  # two bytes each: 0.4 of a call
    assert [len(batch) for batch in _batches(big)] == [2, 2, 1]
    assert [entry for batch in _batches(big) for entry in batch] == big
