"""The whole house in one process.

Start order is the order of the services in `_build` (sinks first); the emulator starts before, the simulator
after it.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import to_thread
from fastapi import FastAPI

from analytics.api import create_app
from analytics.api_alerts import add_alerts
from analytics.api_model import add_model_state
from analytics.api_server import ApiServer
from analytics.postgres.server import PostgresServer
from analytics.reachable import check_open
from broker.embedded import EmbeddedBroker
from broker.external import ExternalBroker
from contracts.clock import Clock, SystemClock
from contracts.ports import Emit, Health, Service
from contracts.shadows import ShadowStore
from pipeline.aws.emulator import Emulator
from pipeline.aws.provision import LANES, Resources, provision
from pipeline.aws.session import ClientFactory
from pipeline.aws.shadows import IotDataShadows
from pipeline.rules.engine import DEFAULT_RULES, Rule, load_rules
from thingstorm.config import Config
from thingstorm.runtime.access import Access, access_of
from thingstorm.runtime.depths import QueueDepths
from thingstorm.runtime.following import Steps, add_dead_letters, add_trace, from_trail, from_view
from thingstorm.runtime.health import add_health
from thingstorm.runtime.heap import giving_back_memory
from thingstorm.runtime.parts import (
    AnalyticsParts,
    Cloud,
    PipelineParts,
    check_backends,
    dead_letter_queue,
    iot_apis,
    make_analytics,
    make_broker,
    make_pipeline,
    make_postgres,
    streams,
)
from thingstorm.runtime.ports import check_ports
from thingstorm.runtime.rules_api import CONFIRM, add_rules
from thingstorm.runtime.supervisor import supervise
from thingstorm.runtime.troubles import telling_troubles


@dataclass(frozen=True, slots=True)
class Inside:
    """What somebody who serves more beside the API gets of a stack that is being built."""

    cloud: Cloud
    analytics: AnalyticsParts
    trace: Sequence[Steps]
    shadows: ShadowStore | None
    health: Callable[[], list[Health]]


Extend = Callable[[FastAPI, Inside], list[Service]]
"""Adds routes to the API; gives the services that they need."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The running parts, for those who count, ask and show."""

    cloud: Cloud
    broker: EmbeddedBroker | ExternalBroker
    pipeline: PipelineParts
    analytics: AnalyticsParts
    api: ApiServer
    postgres: PostgresServer | None
    health: Callable[[], list[Health]]
    endpoint: str
    emulator: Emulator | None = None
    paged: bool = False

    @property
    def resources(self) -> Resources:
        return self.cloud.resources

    def addresses(self) -> dict[str, str]:
        """Where the parts can be reached."""
        page = f"http://{self.api.host}:{self.api.port}"
        broker = self.broker
        told = {"mqtt": f"{broker.host}:{broker.port}"}
        if broker.tls_port is not None:
            told["mqtts"] = f"{broker.host}:{broker.tls_port}"
        if broker.websocket_port is not None:
            told["websocket"] = f"ws://{broker.host}:{broker.websocket_port}/mqtt"
        if self.postgres is not None:
            told["postgres"] = f"{self.postgres.host}:{self.postgres.port}"
        shown = f"{page}/" if self.paged else f"{page}/docs"
        return {**told, "aws": self.endpoint, "api": page, "page": shown}


@asynccontextmanager
async def running(
    config: Config,
    *,
    emit: Emit,
    clock: Clock | None = None,
    extend: Extend | None = None,
) -> AsyncIterator[Stack]:
    """The stack, ready; `extend` serves a page beside the API.

    Raises ConfigError before anything starts, BackendError when a part fails.
    """
    check_backends(config)
    check_ports(config)
    access = access_of(config, host=config.api.host)
    if config.api.postgres_port is not None:
        check_open(config.api.host, config.api.token, setting="api.token")
    rules = load_rules(config.pipeline.rules or DEFAULT_RULES)
    emulators = [Emulator(port=config.aws.port)] if config.aws.backend == "embedded" else []
    async with supervise(emulators, drain_seconds=config.drain_seconds):
        endpoint = emulators[0].endpoint if emulators else config.aws.endpoint
        factory = ClientFactory(backend=config.aws.backend, endpoint=endpoint, region=config.aws.region)
        visible = config.pipeline.visibility_seconds
        resources = await to_thread.run_sync(
            lambda: provision(factory, prefix=config.aws.prefix, visibility_seconds=visible)
        )
        cloud = Cloud(config, factory, resources, clock or SystemClock())
        stack, services = _build(
            cloud, rules, emit, emulators, endpoint=endpoint, extend=extend, access=access
        )
        async with (
            supervise(services, drain_seconds=config.drain_seconds),
            telling_troubles(stack.health, lambda line: emit("note", {"what": line})),
            giving_back_memory(),
        ):
            if stack.broker.cannot:
                emit("note", {"what": stack.broker.cannot})
            yield stack


def _build(
    cloud: Cloud,
    rules: tuple[Rule, ...],
    emit: Emit,
    emulators: list[Emulator],
    *,
    endpoint: str,
    extend: Extend | None,
    access: Access,
) -> tuple[Stack, list[Service]]:
    """The parts, and the services in start order."""
    config = cloud.config
    messages, events = streams(config)
    apis = iot_apis(config, cloud.factory)
    broker = make_broker(config, clock=cloud.clock, messages=messages, events=events, cloud=apis)
    api: ApiServer
    pipeline = make_pipeline(
        cloud,
        rules,
        messages=messages,
        events=events,
        broker=broker,
        enable_url=lambda: f"http://{api.host}:{api.port}{CONFIRM}",
    )
    analytics = make_analytics(
        cloud,
        control=broker,
        emit=emit,
        base=lambda: f"http://{api.host}:{api.port}",
    )
    services: list[Service] = []

    def health() -> list[Health]:
        return [service.health() for service in (*emulators, *services)]

    app = create_app(
        view=analytics.view,
        devices=broker,
        desk=analytics.model.desk,
        book=analytics.book,
        schedules=analytics.schedules,
    )
    add_model_state(app, analytics.model)
    add_alerts(app, analytics.alerts)
    depths = QueueDepths(cloud)
    add_health(app, health, stage="stack", depths=lambda: depths)
    add_rules(app, backend=config.aws.backend, destinations=pipeline.routing.destinations)
    trails = [from_trail(pipeline.trail), from_trail(analytics.trail)]
    trace = [*trails, from_view(analytics.view, analytics.model)]
    add_trace(app, trace)
    add_dead_letters(app, [dead_letter_queue(cloud, lane) for lane in LANES])
    beside: list[Service] = []
    if extend is not None:
        shadows = IotDataShadows(apis.client("iot-data")) if apis is not None else None
        beside = extend(app, Inside(cloud, analytics, trace, shadows, health))
    api = ApiServer(access.guard(app), host=config.api.host, port=config.api.port)
    postgres = make_postgres(config, analytics.view, host=config.api.host, token=config.api.token)
    doors = [postgres] if postgres is not None else []
    services += [
        *analytics.followers,
        *pipeline.services,
        analytics.alerts,
        analytics.model,
        analytics.schedules,
        *beside,
        api,
        *doors,
        broker,
    ]
    emulator = emulators[0] if emulators else None
    stack = Stack(
        cloud, broker, pipeline, analytics, api, postgres, health, endpoint, emulator, extend is not None
    )
    return stack, services
