"""Plays a scenario through the whole path and records what happened."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio

from contracts.clock import SystemClock
from contracts.errors import ConfigError
from contracts.messages import FLEET, MILLISECOND, Nanoseconds
from contracts.ports import Emit
from simulator.fleet import Simulator
from simulator.scenario import Scenario, SqlExpect
from thingstorm.config import Config
from thingstorm.report.record import Latency, PhaseSpan, Record, SqlAnswer
from thingstorm.runtime.counting import alerts_received, count, hops, quiet
from thingstorm.runtime.ledger import losses, settle
from thingstorm.runtime.refresh import Refresh, refreshing
from thingstorm.runtime.signals import Interrupted, stop_on_signal
from thingstorm.runtime.stack import Stack, running
from thingstorm.runtime.supervisor import supervise

SETTLE_SECONDS = 60.0
"""After the last message: the path moves some 500 messages a second on two cores, so this clears 30,000."""

JUDGE_SECONDS = 5.0
"""The last window closes a second after the last message and is judged some 0.5 s later."""


async def play(scenario: Scenario, config: Config, *, emit: Emit, refresh: Refresh) -> Record:
    """Run the stack, the fleet and the timeline; wait until the path is quiet; record; stop.

    Raises the first failure of any part, Interrupted after Ctrl-C, NotReady if the path does not become quiet.
    """
    began = time.monotonic()
    emit("starting", {"what": f"the stack, then {scenario.device_count} devices"})
    over = False

    def tell(event: str, facts: Mapping[str, Any]) -> None:
        """What the model says of the fleet's leaving is no part of the story."""
        if not (over and event == "verdict"):
            emit(event, facts)

    async with stop_on_signal() as stop, running(config, emit=tell) as stack:
        clock = SystemClock()
        simulator = Simulator(
            scenario, host=stack.broker.host, port=stack.broker.port, clock=clock, emit=emit
        )
        async with refreshing(lambda: hops(stack), simulator, refresh):
            async with supervise([simulator], drain_seconds=config.drain_seconds):
                stack.model.learn_until(simulator.started_at + scenario.train_until)
                what = f"{scenario.device_count} devices are connected"
                emit("ready", {"seconds": time.monotonic() - began, "what": what})
                await _first(simulator.finished, stop)
            if not simulator.finished.is_set():
                raise Interrupted
            over = True
            emit("settling", {})
            ended_at = clock.now()
            await _judged(stack, ended_at)
            await stack.delivery.flush()
            await settle(quiet(stack), within=SETTLE_SECONDS)
            await stack.delivery.flush()
        record = await _record(stack, simulator, scenario, ended_at)
        emit("stopping", {})
    return replace(record, wall_seconds=round(time.monotonic() - began, 1))


async def _first(*events: anyio.Event) -> None:
    """Return when one of them is set."""
    async with anyio.create_task_group() as tasks:

        async def wait(event: anyio.Event) -> None:
            await event.wait()
            tasks.cancel_scope.cancel()

        for event in events:
            tasks.start_soon(wait, event)


async def _judged(stack: Stack, until: Nanoseconds) -> None:
    """Wait until the model has judged the window of the last message, or will not any more."""
    with anyio.move_on_after(JUDGE_SECONDS):
        while not stack.model.verdicts or stack.model.verdicts[-1].at < until:  # noqa: ASYNC110 - once, at the end
            await anyio.sleep(0.1)


async def _record(stack: Stack, simulator: Simulator, scenario: Scenario, ended_at: Nanoseconds) -> Record:
    ledger, distinct, dead = await count(stack, published=simulator.health().counters["published"])
    began = simulator.started_at
    return Record(
        started_at=began,
        ended_at=ended_at,
        wall_seconds=0.0,
        phases=tuple(PhaseSpan(span.id, span.kind, span.start, span.end) for span in simulator.phases),
        labels=simulator.labels,
        verdicts=tuple(verdict for verdict in stack.model.verdicts if verdict.at > began),
        actions=tuple(stack.model.actions),
        ledger=ledger,
        losses=losses(ledger, distinct=distinct, dead_letters=dead),
        latency=_latency(stack),
        answers=tuple([await _answer(stack, query) for query in scenario.expect.sql]),
        traffic=await _traffic(stack),
        alerts_received=await alerts_received(stack),
    )


def _latency(stack: Stack) -> Latency:
    verdicts = sorted(stack.model.latencies_ms)
    p95 = verdicts[min(len(verdicts) - 1, int(0.95 * len(verdicts)))] if verdicts else 0.0
    return Latency(
        data_p50_ms=round(stack.sync.latency_ms(0.5), 1),
        data_p95_ms=round(stack.sync.latency_ms(0.95), 1),
        verdict_p95_ms=round(p95, 1),
    )


async def _answer(stack: Stack, query: SqlExpect) -> SqlAnswer:
    try:
        return SqlAnswer(query.name, (await stack.view.query(query.query)).dicts())
    except ConfigError as error:
        return SqlAnswer(query.name, error=f"{error.what} ({error.fix})")


async def _traffic(stack: Stack) -> tuple[tuple[Nanoseconds, int], ...]:
    rows = await stack.view.query(
        "SELECT epoch_ms(period_start), num_messages_received FROM device_metrics WHERE device_id = $fleet ORDER BY 1",
        {"fleet": FLEET},
    )
    return tuple((int(start) * MILLISECOND, int(messages)) for start, messages in rows.rows)
