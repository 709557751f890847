"""Keeps the stack up until somebody stops it."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from contracts.clock import SystemClock
from contracts.ports import Emit
from simulator.fleet import Simulator
from simulator.scenario import Scenario
from thingstorm.config import Config
from thingstorm.runtime.counting import hops
from thingstorm.runtime.refresh import Refresh, refreshing
from thingstorm.runtime.signals import stop_on_signal
from thingstorm.runtime.stack import running
from thingstorm.runtime.supervisor import supervise
from thingstorm.runtime.target import LocalTarget

Ready = Callable[[dict[str, str]], None]


async def serve(
    config: Config, scenario: Scenario | None, *, emit: Emit, refresh: Refresh, ready: Ready
) -> None:
    """Run until SIGINT or SIGTERM. `ready` gets the addresses by name. Raises the first failure of any part."""
    async with stop_on_signal() as stop, AsyncExitStack() as parts:
        emit("starting", {"what": "the stack"})
        stack = await parts.enter_async_context(running(config, emit=emit))
        target = LocalTarget(stack)
        if scenario is None:
            await parts.enter_async_context(refreshing(lambda: hops(target), target.look, None, refresh))
        else:
            first = SystemClock().now()
            simulator = Simulator(
                scenario,
                host=stack.broker.host,
                port=stack.broker.port,
                clock=SystemClock(),
                emit=emit,
                idle_after=True,
            )
            await parts.enter_async_context(refreshing(lambda: hops(target), target.look, simulator, refresh))
            await parts.enter_async_context(supervise([simulator], drain_seconds=config.drain_seconds))
            await target.learn(start=first, until=simulator.started_at + scenario.train_until)
        ready(stack.addresses())
        await stop.wait()
        emit("stopping", {})
