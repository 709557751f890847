"""One stage as a process of its own: its parts, its port, restart with backoff, drain on SIGTERM.

The port answers for the whole life of the process, so that `/healthz` can say why the parts are not there. What
another process or machine may mend (a service that does not answer) is waited for; what only a person can mend in
this process's own settings ends it with exit code 2.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from analytics.api import create_app
from analytics.api_alerts import add_alerts
from analytics.api_errors import tell_errors
from analytics.api_model import Feed, add_model
from analytics.api_server import ApiServer
from analytics.reachable import is_loopback
from broker.admin import add_control, add_republish, require_token
from broker.admin_client import GatewayClient
from broker.lane import Lane
from broker.remote import RemoteLane, RulesLink
from broker.rules_session import RulesSession
from broker.store import Store
from contracts.clock import SystemClock
from contracts.errors import BackendError, ConfigError, NotReady, ThingstormError
from contracts.ports import Health, Service
from contracts.trail import Trail
from pipeline.actions.base import RecordSink
from pipeline.aws.provision import LANES, provision
from pipeline.aws.session import ClientFactory
from pipeline.aws.shadows import IotDataShadows
from pipeline.rules.engine import DEFAULT_RULES, Rule, load_rules
from simulator.scenario import Scenario
from thingstorm import __version__
from thingstorm.config import Config
from thingstorm.runtime.access import access_of
from thingstorm.runtime.depths import QueueDepths
from thingstorm.runtime.everywhere import Everywhere
from thingstorm.runtime.following import (
    add_dead_letters,
    add_trace,
    add_trail,
    from_stage,
    from_trail,
    from_view,
)
from thingstorm.runtime.health import Depths, add_health
from thingstorm.runtime.heap import giving_back_memory
from thingstorm.runtime.logs import listening, traced
from thingstorm.runtime.pages import Backstage, MakePage
from thingstorm.runtime.parts import (
    Cloud,
    check_backends,
    dead_letter_queue,
    iot_apis,
    make_analytics,
    make_broker,
    make_delivery,
    make_feeds,
    make_postgres,
    make_routing,
    make_rules_door,
    make_workers,
)
from thingstorm.runtime.play import there
from thingstorm.runtime.remote_delivery import RemoteDelivery, add_records
from thingstorm.runtime.rules_api import add_capabilities, add_rules
from thingstorm.runtime.signals import stop_on_signal
from thingstorm.runtime.simulator_stage import SimulatorStage
from thingstorm.runtime.supervisor import DrainCut, supervise
from thingstorm.runtime.theatre import Theatre
from thingstorm.runtime.troubles import telling_troubles

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds before the parts are started again after a failure, doubled each time."""

STEADY_SECONDS = 30.0
"""Parts that lived so long were well: the next failure begins with the first pause again."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a stage is made of: its services in start order, and what its port serves besides the health."""

    services: list[Service]
    app: FastAPI
    depths: Depths | None = None


Open = Callable[[Config, Scenario | None, Tell, MakePage | None], AbstractAsyncContextManager[Parts]]


@dataclass(slots=True)
class _Front:
    """The stage's port: health always, everything else from the parts while they are there."""

    stage: str
    services: list[Service] = field(default_factory=list)
    fault: ThingstormError | None = None
    inner: FastAPI | None = None
    depths: Depths | None = None
    outer: FastAPI = field(default_factory=lambda: FastAPI(openapi_url=None))

    def __post_init__(self) -> None:
        add_health(self.outer, self.health, stage=self.stage, depths=lambda: self.depths)

        @self.outer.api_route("/{path:path}", methods=["GET", "POST"])
        async def not_ready() -> JSONResponse:
            why = self.fault.what if self.fault else "starting"
            return JSONResponse(
                {"error": f"the {self.stage} is not ready: {why}", "fix": "wait, or see /healthz"}, 503
            )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        own = self.inner is None or scope.get("path") in ("/healthz", "/metrics")
        await (self.outer if own else self.inner)(scope, receive, send)  # type: ignore[misc]  # not None unless own

    def health(self) -> list[Health]:
        if self.fault is not None:
            return [Health(self.stage, "failed", f"{self.fault.what}; fix: {self.fault.fix}")]
        return [service.health() for service in self.services] or [Health(self.stage, "starting")]


async def serve_stage(
    stage: str, config: Config, scenario: Scenario | None, *, tell: Tell, page: MakePage | None = None
) -> None:
    """Run until SIGINT or SIGTERM. `tell` gets a line for everything a person should know, `analytics` serves the page.

    Raises ConfigError (exit 2), BackendError (its own port is taken, exit 3), DrainCut (exit 1).
    """
    _check(stage, config)
    front = _Front(stage)
    url = urlsplit(getattr(config.stages, stage))
    served: ASGIApp = front
    if stage == "analytics":
        served = access_of(config, host=config.stages.host, platform=config.stages.token).guard(front)
    server = ApiServer(
        served, host=config.stages.host, port=url.port or 80, name=f"{stage} stage", setting=f"stages.{stage}"
    )
    watching = telling_troubles(lambda: [] if front.fault else front.health(), tell)
    async with (
        stop_on_signal() as stop,
        supervise([server], drain_seconds=1.0),
        watching,
        giving_back_memory(),
    ):
        await _serve_until(stop, front, lambda: _STAGES[stage](config, scenario, tell, page), config, tell)


async def _serve_until(
    stop: anyio.Event,
    front: _Front,
    open_parts: Callable[[], AbstractAsyncContextManager[Parts]],
    config: Config,
    tell: Tell,
) -> None:
    pause = FIRST_PAUSE
    while not stop.is_set():
        began = time.monotonic()
        try:
            async with (
                open_parts() as parts,
                supervise(parts.services, drain_seconds=config.drain_seconds),
            ):
                front.services, front.inner, front.fault = parts.services, parts.app, None
                front.depths = parts.depths
                tell(f"{front.stage} {__version__} is up")
                await stop.wait()
                tell(f"{front.stage} is draining")
        except DrainCut:
            raise
        except (BackendError, NotReady) as error:
            pause = FIRST_PAUSE if time.monotonic() - began > STEADY_SECONDS else pause
            front.fault, front.inner = error, None
            tell(f"error: {error.what}\nfix: {error.fix} (trying again in {pause:.1f} s)")
            with anyio.move_on_after(pause):
                await stop.wait()
            pause = min(2 * pause, LONGEST_PAUSE)


def _check(stage: str, config: Config) -> None:
    check_backends(config)
    if not config.stages.token:
        raise ConfigError(
            f"the {stage} has no token: stages know each other by it",
            fix="set THINGSTORM__STAGES__TOKEN (or stages.token) to the same value for every stage",
        )
    if config.aws.backend != "aws" and not config.aws.endpoint and stage != "broker":
        raise ConfigError(
            f"the {stage} does not know where the AWS services are",
            fix="set THINGSTORM__AWS__ENDPOINT (or aws.endpoint), for example http://127.0.0.1:4566",
        )


@asynccontextmanager
async def _broker(
    config: Config, _scenario: Scenario | None, tell: Tell, _page: MakePage | None
) -> AsyncIterator[Parts]:
    data, token = config.stages.data, config.stages.token
    lanes = [
        Lane(name, data / f"{name}.journal", capacity=config.stages.journal)
        for name in ("messages", "events")
    ]
    clock, rules = SystemClock(), RulesSession(lanes, token=token)
    try:
        broker = make_broker(
            _keeping_its_pki(config, data / "pki"),
            cloud=_iot_apis(config),
            clock=clock,
            messages=lanes[0],
            events=lanes[1],
            store=Store(data / "gateway.db"),
            rules=rules,
        )
        services: list[Service] = [broker]
        if broker.cannot:
            tell(f"note: {broker.cannot}")
            services.append(make_rules_door(config, clock=clock, rules=rules))
        app = _app("broker", token)
        add_control(app, broker)
        add_republish(app, broker)
        yield Parts(services, app)
    finally:
        for lane in lanes:
            lane.close()


@asynccontextmanager
async def _pipeline(
    config: Config, _scenario: Scenario | None, _tell: Tell, _page: MakePage | None
) -> AsyncIterator[Parts]:
    parts = config.pipeline.parts
    remote = _remote_delivery(config) if "router" in parts and "delivery" not in parts else None
    try:
        rules = load_rules(config.pipeline.rules or DEFAULT_RULES)
        cloud, trail = await _cloud(config), traced(Trail())
        app = _app("pipeline", config.stages.token)
        add_trail(app, trail)
        services: list[Service] = [*make_workers(cloud, trail)] if "worker" in parts else []
        archive: RecordSink | None = remote
        if "delivery" in parts:
            archive = delivery = make_delivery(cloud, trail, buffer=config.stages.data / "archive.journal")
            add_records(app, delivery)
            services += [delivery, *make_feeds(cloud, delivery)]
        if "router" in parts and archive is not None:
            services += _routing(config, cloud, rules, trail=trail, archive=archive, app=app)
        yield Parts(services, app, QueueDepths(cloud) if "worker" in parts else None)
    finally:
        if remote is not None:
            await remote.aclose()


def _remote_delivery(config: Config) -> RemoteDelivery:
    if not config.stages.delivery:
        raise ConfigError(
            "the router runs without a delivery stream beside it, and does not know where it is",
            fix="set THINGSTORM__STAGES__DELIVERY, or let pipeline.parts hold 'delivery'",
        )
    return RemoteDelivery(config.stages.delivery, config.stages.token)


def _routing(
    config: Config, cloud: Cloud, rules: tuple[Rule, ...], *, trail: Trail, archive: RecordSink, app: FastAPI
) -> list[Service]:
    """The rules on what the broker hands on, in start order; the app tells and tests them."""
    messages, events = RemoteLane("messages"), RemoteLane("events")
    gateway = _gateway(config)
    routing = make_routing(
        cloud, rules, trail, messages=messages, events=events, broker=gateway, archive=archive
    )
    link = RulesLink(
        host=config.broker.host,
        port=config.broker.port,
        token=config.stages.token,
        gateway=gateway,
        lanes=(messages, events),
        clock=cloud.clock,
    )
    add_rules(app, backend=config.aws.backend, destinations=routing.destinations)
    return [*routing.services, link]


@asynccontextmanager
async def _analytics(
    config: Config, _scenario: Scenario | None, _tell: Tell, page: MakePage | None
) -> AsyncIterator[Parts]:
    cloud = await _cloud(config)
    control, feed = _gateway(config), Feed()
    parts = make_analytics(
        cloud,
        control=control,
        emit=listening(feed.emit),
        base=lambda: config.stages.analytics,
        alerts_folder=config.stages.data,
    )
    token = _api_token(config)
    app = create_app(
        view=parts.view, devices=control, desk=parts.model.desk, book=parts.book, schedules=parts.schedules
    )
    add_model(app, model=parts.model, sync=parts.sync, feed=feed)
    add_alerts(app, parts.alerts)
    others = from_stage(config.stages.pipeline, config.stages.token)
    trace = [others, from_trail(parts.trail), from_view(parts.view, parts.model)]
    add_trace(app, trace)
    add_dead_letters(app, [dead_letter_queue(cloud, lane) for lane in LANES])
    add_capabilities(app, backend=config.aws.backend)
    postgres = make_postgres(config, parts.view, host=config.stages.host, token=token)
    doors = [postgres] if postgres is not None else []
    services: list[Service] = [*parts.followers, control, parts.alerts, parts.model, parts.schedules, *doors]
    if page is None:
        yield Parts(services, app)
        return
    everywhere = Everywhere(config.stages, lambda: [service.health() for service in services])
    theatre = Theatre(there(config), clock=cloud.clock, drain_seconds=config.drain_seconds)
    apis = iot_apis(config, cloud.factory)
    shown = page(
        app,
        Backstage(
            config=config,
            clock=cloud.clock,
            view=parts.view,
            model=parts.model,
            sync=parts.sync,
            health=everywhere.health,
            trace=trace,
            shadows=IotDataShadows(apis.client("iot-data")) if apis is not None else None,
            theatre=theatre,
        ),
    )
    services += [shown, theatre]
    try:
        yield Parts(services, app)
    finally:
        await everywhere.close()


def _api_token(config: Config) -> str:
    """What people give to analytics: `api.token`, or beyond loopback the stages' own; the stages give theirs."""
    return config.api.token or ("" if is_loopback(config.stages.host) else config.stages.token)


@asynccontextmanager
async def _simulator(
    config: Config, scenario: Scenario | None, tell: Tell, _page: MakePage | None
) -> AsyncIterator[Parts]:
    if scenario is None:
        raise ConfigError("the simulator has no scenario", fix="give one with --scenario")
    simulator = SimulatorStage(scenario, config, tell=tell)
    app = _app("simulator", config.stages.token)

    @app.post("/pause")
    async def pause(seconds: float = 30.0) -> dict[str, str]:
        simulator.pause(seconds)
        return {"outcome": "done"}

    @app.get("/result")
    async def result() -> JSONResponse:
        return JSONResponse(simulator.result)

    yield Parts([simulator], app)


_STAGES: Mapping[str, Open] = {
    "broker": _broker,
    "pipeline": _pipeline,
    "analytics": _analytics,
    "simulator": _simulator,
}


def _iot_apis(config: Config) -> ClientFactory | None:
    """The `iot` APIs, where the broker was told of AWS services that have them."""
    aws = config.aws
    if not aws.endpoint and aws.backend != "aws":
        return None
    return iot_apis(config, ClientFactory(backend=aws.backend, endpoint=aws.endpoint, region=aws.region))


def _keeping_its_pki(config: Config, folder: Path) -> Config:
    """Devices keep trusting the gateway over its restarts."""
    if config.broker.pki is not None:
        return config
    return config.model_copy(update={"broker": config.broker.model_copy(update={"pki": folder})})


def _app(stage: str, token: str) -> FastAPI:
    app = FastAPI(title=f"thingstorm {stage}", openapi_url=None)
    tell_errors(app)
    require_token(app, token)
    return app


def _gateway(config: Config) -> GatewayClient:
    return GatewayClient(url=config.stages.broker, token=config.stages.token, version=__version__)


async def _cloud(config: Config) -> Cloud:
    """The AWS services, provisioned. Raises Transient where they do not answer."""
    aws = config.aws
    factory = ClientFactory(backend=aws.backend, endpoint=aws.endpoint, region=aws.region)
    visible = config.pipeline.visibility_seconds
    resources = await to_thread.run_sync(
        lambda: provision(factory, prefix=aws.prefix, visibility_seconds=visible)
    )
    return Cloud(config, factory, resources, SystemClock())
