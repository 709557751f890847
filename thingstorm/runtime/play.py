"""Plays a scenario through the whole path and records what happened."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import anyio

from contracts.clock import SystemClock
from contracts.errors import ThingstormError
from contracts.messages import FLEET, SECOND, Nanoseconds
from contracts.ports import Emit
from simulator.fleet import Simulator
from simulator.scenario import Scenario, SqlExpect
from thingstorm.config import Config
from thingstorm.report.record import Latency, PhaseSpan, Record, SqlAnswer
from thingstorm.runtime.ledger import losses, settle
from thingstorm.runtime.stack import Stack, running
from thingstorm.runtime.supervisor import supervise

SETTLE_SECONDS = 30.0
"""After the last message: the path moves some 600 messages a second, so this clears a backlog of 18,000."""

REFRESH_SECONDS = 0.5

Hops = Sequence[tuple[str, int, str]]
Refresh = Callable[[Hops], None]


async def play(scenario: Scenario, config: Config, *, emit: Emit, refresh: Refresh) -> Record:
    """Run the stack, the fleet and the timeline; wait until the path is quiet; record; stop. Raises any failure."""
    began = time.monotonic()
    emit("starting", {"what": f"{scenario.name}: the stack, then {scenario.device_count} devices"})
    async with running(config, emit=emit) as stack:
        simulator = Simulator(
            scenario, host=stack.broker.host, port=stack.broker.port, clock=SystemClock(), emit=emit
        )
        async with refreshing(stack, simulator, refresh):
            async with supervise([simulator], drain_seconds=config.drain_seconds):
                stack.model.learn_until(simulator.started_at + scenario.train_until)
                what = f"{scenario.device_count} devices are connected"
                emit("ready", {"seconds": time.monotonic() - began, "what": what})
                await simulator.finished.wait()
            emit("settling", {})
            ended_at = SystemClock().now()
            await settle(stack.quiet(), within=SETTLE_SECONDS)
        record = await _record(stack, simulator, scenario, ended_at)
        emit("stopping", {})
    return _with_wall_time(record, time.monotonic() - began)
