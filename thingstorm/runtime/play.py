"""Plays a scenario against a running stack and records what happened."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio

from contracts.clock import Clock
from contracts.errors import ConfigError
from contracts.messages import FLEET, MILLISECOND, Nanoseconds, Verdict
from contracts.ports import Emit
from pipeline.aws.provision import MAX_RECEIVES, VISIBILITY_SECONDS
from simulator.fleet import Simulator
from simulator.scenario import Scenario, SqlExpect
from simulator.story import Story, story_of
from thingstorm.config import Config
from thingstorm.report.record import Latency, PhaseSpan, Record, SqlAnswer
from thingstorm.runtime.counting import Counts, alerts_received, count, hops, quiet
from thingstorm.runtime.exporting import hop_latencies, messages_since
from thingstorm.runtime.ledger import losses, settle
from thingstorm.runtime.refresh import Refresh, refreshing
from thingstorm.runtime.remote_target import RemoteTarget
from thingstorm.runtime.signals import Interrupted
from thingstorm.runtime.stack import running
from thingstorm.runtime.supervisor import supervise
from thingstorm.runtime.target import LocalTarget, Target, Told

SETTLE_SECONDS = 60.0
"""After the last message, for a hop that stands still: a handler's longest retry on the way is half of it."""

LONGEST_SETTLE_SECONDS = 300.0
"""For a backlog that is worked off: at some 500 messages a second on two cores it clears 150,000."""

JUDGE_SECONDS = 5.0
"""The last window closes a second after the last message and is judged some 0.5 s later."""

PAUSE_SECONDS = 30.0
"""How long the simulator stage stands aside at a time; asked for again while the scenario goes on."""

MAX_ORDERS = 20_000
"""Jobs of one wave: two for each device of the largest fleet."""

Ask = Callable[[str], Awaitable[list[dict[str, Any]]]]

Watch = Callable[[Simulator, Target], None]
"""Gets the fleet and what it plays against, before it connects."""

Open = Callable[[Emit], AbstractAsyncContextManager[Target]]
"""Gives the target to play against; the model's events go to the given display."""


async def play(
    scenario: Scenario | Story,
    target: Open,
    *,
    emit: Emit,
    refresh: Refresh,
    stop: anyio.Event,
    drain_seconds: float,
    visibility_seconds: float = VISIBILITY_SECONDS,
    with_messages: bool = False,
    watch: Watch | None = None,
) -> Record:
    """Play the fleet and the timeline; wait until the path is quiet; record; stop.

    Raises the first failure of any part, Interrupted when `stop` is set before it is over, NotReady if the path does not become quiet.
    """
    began = time.monotonic()
    story = story_of(scenario)
    emit("starting", {"what": f"the stack, then {len(story.player.devices)} devices"})
    over = False

    def tell(event: str, facts: Mapping[str, Any]) -> None:
        """What the model says of the fleet's leaving is no part of the story."""
        if not (over and event == "verdict"):
            emit(event, facts)

    async with target(tell) as stack, ordering(stack) as orders:
        clock = stack.clock
        host, port = stack.mqtt
        simulator = Simulator(
            story, host=host, port=port, clock=clock, emit=emit, faults=stack.fault, orders=orders
        )
        if watch is not None:
            watch(simulator, stack)
        await stack.prepare(simulator.device_ids)
        before = await count(stack)
        await alerts_received(stack)
        first = clock.now()
        async with refreshing(lambda: hops(stack), stack.look, simulator, refresh):
            async with supervise([simulator], drain_seconds=drain_seconds):
                await stack.learn(start=first, until=simulator.started_at + story.train_until)
                what = f"{story.player.online} devices are connected"
                emit("ready", {"seconds": time.monotonic() - began, "what": what})
                await _first(simulator.finished, stop)
            if not simulator.finished.is_set():
                raise Interrupted
            over = True
            emit("settling", {})
            ended_at = clock.now()
            await _judged(stack, ended_at)
            await stack.flush()
            await settle(
                quiet(stack, before),
                within=_settle_seconds(story, visibility_seconds),
                longest=LONGEST_SETTLE_SECONDS,
            )
            await stack.flush()
        record = await _record(stack, simulator, story, before, ended_at)
        if with_messages:
            record = replace(record, messages=await messages_since(stack.query, simulator.started_at))
        emit("stopping", {})
    return replace(record, wall_seconds=round(time.monotonic() - began, 1))


@asynccontextmanager
async def ordering(stack: Target) -> AsyncIterator[Callable[[str, bytes], None]]:
    """Jobs in the order given, sent one by one beside what else goes on."""
    send, receive = anyio.create_memory_object_stream[tuple[str, bytes]](MAX_ORDERS)

    async def carry() -> None:
        async for topic, payload in receive:
            await stack.order(topic, payload)

    async with anyio.create_task_group() as tasks, send, receive:
        tasks.start_soon(carry)
        yield lambda topic, payload: send.send_nowait((topic, payload))
        tasks.cancel_scope.cancel()


def _settle_seconds(story: Story, visibility_seconds: float) -> float:
    """What a handler leaves comes back after the queue's visibility timeout, at most five times."""
    return SETTLE_SECONDS + (MAX_RECEIVES * visibility_seconds if story.retried else 0)


def here(config: Config, *, clock: Clock | None = None) -> Open:
    """A stack of our own, in this process, on this clock."""

    @asynccontextmanager
    async def open_target(emit: Emit) -> AsyncIterator[Target]:
        async with running(config, emit=emit, clock=clock) as stack:
            yield LocalTarget(stack)

    return open_target


def there(config: Config, *, alone: bool = True) -> Open:
    """The stack whose stages run at the configured addresses; with `alone` its simulator stands aside meanwhile."""

    @asynccontextmanager
    async def open_target(emit: Emit) -> AsyncIterator[Target]:
        target = RemoteTarget(config, emit=emit)
        try:
            await target.connect()
            async with anyio.create_task_group() as tasks:
                if alone:
                    await tasks.start(_keep_aside, target)
                yield target
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                if alone:
                    await target.pause_simulator(0)
                await target.close()

    return open_target


async def _keep_aside(
    target: RemoteTarget, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    await target.pause_simulator(PAUSE_SECONDS)
    task_status.started()
    while True:
        await anyio.sleep(PAUSE_SECONDS / 3)
        await target.pause_simulator(PAUSE_SECONDS)


async def _first(*events: anyio.Event) -> None:
    """Return when one of them is set."""
    async with anyio.create_task_group() as tasks:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)


async def _judged(stack: Target, until: Nanoseconds) -> None:
    """Wait until the model has judged the window of the last message, or will not any more."""
    with anyio.move_on_after(JUDGE_SECONDS):
        while await stack.judged_until() < until:  # noqa: ASYNC110 - once, at the end
            await anyio.sleep(0.1)


async def _record(
    stack: Target, simulator: Simulator, story: Story, before: Counts, ended_at: Nanoseconds
) -> Record:
    now = await count(stack)
    ledger = now.ledger(before, published=simulator.health().counters["published"])
    began = simulator.started_at
    told = await stack.told(began)
    return Record(
        started_at=began,
        ended_at=ended_at,
        wall_seconds=0.0,
        phases=tuple(PhaseSpan(span.id, span.kind, span.start, span.end) for span in simulator.phases),
        labels=simulator.labels,
        verdicts=told.verdicts,
        actions=told.actions,
        ledger=ledger,
        losses=losses(
            ledger,
            distinct=now.distinct - before.distinct,
            dead_letters=now.dead_letters - before.dead_letters,
        ),
        latency=_latency(told),
        answers=tuple([await answer(stack.query, query) for query in story.expect.sql]),
        traffic=await _traffic(stack, began),
        alerts_received=await alerts_received(stack),
        hops=await hop_latencies(stack.query, began),
    )


def _latency(told: Told) -> Latency:
    def took(verdict: Verdict) -> float:
        return (verdict.decided_at - verdict.at) / MILLISECOND

    verdicts = sorted(map(took, told.verdicts))
    p95 = verdicts[min(len(verdicts) - 1, int(0.95 * len(verdicts)))] if verdicts else 0.0
    return Latency(
        data_p50_ms=round(told.data_p50_ms, 1),
        data_p95_ms=round(told.data_p95_ms, 1),
        verdict_p95_ms=round(p95, 1),
    )


async def answer(ask: Ask, query: SqlExpect) -> SqlAnswer:
    """What an expected query returned, or why it could not be answered."""
    try:
        return SqlAnswer(query.name, await ask(query.query))
    except ConfigError as error:
        return SqlAnswer(query.name, error=f"{error.what} ({error.fix})")


async def _traffic(stack: Target, since: Nanoseconds) -> tuple[tuple[Nanoseconds, int], ...]:
    rows = await stack.query(
        "SELECT epoch_ms(period_start) AS start, num_messages_received AS messages FROM device_metrics "
        "WHERE device_id = $fleet AND period_start >= epoch_ms(CAST($since AS BIGINT)) ORDER BY 1",
        {"fleet": FLEET, "since": since // MILLISECOND - 1000},
    )
    return tuple((int(row["start"]) * MILLISECOND, int(row["messages"])) for row in rows)
