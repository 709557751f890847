"""Keeps the stack up until somebody stops it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from contracts.clock import SystemClock
from contracts.ports import Emit, Health, Service
from simulator.scenario import Scenario
from thingstorm.config import Config
from thingstorm.runtime.counting import hops
from thingstorm.runtime.pages import Backstage, MakePage
from thingstorm.runtime.refresh import Refresh, refreshing
from thingstorm.runtime.signals import stop_on_signal
from thingstorm.runtime.stack import Extend, Inside, Stack, running
from thingstorm.runtime.supervisor import supervise
from thingstorm.runtime.target import LocalTarget, Target
from thingstorm.runtime.theatre import Theatre

Ready = Callable[[dict[str, str]], None]


async def serve(
    config: Config,
    scenario: Scenario | None,
    *,
    emit: Emit,
    refresh: Refresh,
    ready: Ready,
    page: MakePage | None = None,
) -> None:
    """Run until SIGINT or SIGTERM. `ready` gets the addresses by name. Raises the first failure of any part."""
    stacks: list[Stack] = []

    @asynccontextmanager
    async def open_target(_emit: Emit) -> AsyncIterator[Target]:
        yield LocalTarget(stacks[0])

    async with stop_on_signal() as stop, AsyncExitStack() as parts:
        emit("starting", {"what": "the stack"})
        theatre = Theatre(open_target, clock=SystemClock(), drain_seconds=config.drain_seconds)
        extend = _with(page, theatre) if page is not None else None
        stack = await parts.enter_async_context(running(config, emit=emit, extend=extend))
        stacks.append(stack)
        theatre.settle(scenario, mqtt=(stack.broker.host, stack.broker.port), emit=emit)
        target = LocalTarget(stack)
        shown = theatre if scenario is not None else None
        await parts.enter_async_context(refreshing(lambda: hops(target), target.look, shown, refresh))
        await parts.enter_async_context(supervise([theatre], drain_seconds=config.drain_seconds))
        ready(stack.addresses())
        await stop.wait()
        emit("stopping", {})


def _with(page: MakePage, theatre: Theatre) -> Extend:
    """The page over the parts of the stack, and over the theatre that is played in."""

    def extend(app: FastAPI, inside: Inside) -> list[Service]:
        async def health() -> list[Health]:
            return [*inside.health(), theatre.health()]

        shown = page(
            app,
            Backstage(
                config=inside.cloud.config,
                clock=inside.cloud.clock,
                view=inside.analytics.view,
                model=inside.analytics.model,
                sync=inside.analytics.sync,
                health=health,
                trace=inside.trace,
                shadows=inside.shadows,
                theatre=theatre,
            ),
        )
        return [shown]

    return extend
