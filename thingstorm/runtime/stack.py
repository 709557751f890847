"""The whole house in one process: the only place that knows which concrete class stands behind each port.

Start order is the order of `_services` (sinks first); the emulator starts before, the simulator after it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from analytics.api import create_app
from analytics.api_server import ApiServer
from analytics.sync import Sync
from analytics.verdict_loop import VerdictLoop
from analytics.view.duckdb import DuckDBView
from broker.embedded import BrokerSettings, EmbeddedBroker
from contracts.clock import SystemClock
from contracts.messages import Change, Message
from contracts.ports import Emit, Health, Service
from contracts.registry import Backend, Registry
from contracts.streams import BatchStream
from pipeline.actions import ActionContext, Actions
from pipeline.aws.alerts import SnsAlerts
from pipeline.aws.emulator import Emulator
from pipeline.aws.provision import LANES, Resources, provision
from pipeline.aws.session import AWS_BACKENDS, ClientFactory
from pipeline.changes import ChangeReader
from pipeline.delivery import DeliveryStream
from pipeline.ingest import make_handler
from pipeline.router import Router
from pipeline.rules.engine import DEFAULT_RULES, Engine, Rule, load_rules
from pipeline.rules.sources import RuleSource
from pipeline.worker import Worker
from thingstorm.config import Config
from thingstorm.runtime.supervisor import supervise

EVENTS_CAPACITY = 5_000
"""Events wait here for the rules. A reconnect storm of 2,000 devices makes 4,000 events at once."""

CHANGES_CAPACITY = 10_000
"""Stream records wait here for the view: ten full reads of a shard."""

SNS_THREADS = 4

BROKERS = Registry("broker backend", {"amqtt": Backend("broker.embedded:EmbeddedBroker")})
VIEWS = Registry("view backend", {"duckdb": Backend("analytics.view.duckdb:DuckDBView")})


@dataclass(frozen=True, slots=True)
class Stack:
    """The running parts, for those who count, ask and show."""

    config: Config
    factory: ClientFactory
    resources: Resources
    broker: EmbeddedBroker
    routers: tuple[Router, Router]
    workers: tuple[Worker, ...]
    delivery: DeliveryStream
    changes: ChangeReader
    sync: Sync
    view: DuckDBView
    model: VerdictLoop
    api: ApiServer
    health: Callable[[], list[Health]]
    endpoint: str

    def addresses(self) -> dict[str, str]:
        """Where the parts can be reached."""
        page = f"http://{self.api.host}:{self.api.port}"
        return {
            "mqtt": f"{self.broker.host}:{self.broker.port}",
            "aws": self.endpoint,
            "api": page,
            "page": f"{page}/docs",
        }


@asynccontextmanager
async def running(config: Config, *, emit: Emit) -> AsyncIterator[Stack]:
    """The stack, ready. Raises ConfigError before anything starts, BackendError when a part fails."""
    _check_names(config)
    rules = load_rules(config.pipeline.rules or DEFAULT_RULES)
    emulator = Emulator(port=config.aws.port) if config.aws.backend == "embedded" else None
    async with supervise([emulator] if emulator else [], drain_seconds=config.drain_seconds):
        endpoint = emulator.endpoint if emulator else config.aws.endpoint
        factory = ClientFactory(backend=config.aws.backend, endpoint=endpoint, region=config.aws.region)
        resources = await to_thread.run_sync(lambda: provision(factory, prefix=config.aws.prefix))
        building = _Building(config, factory, resources, rules, emit, emulator)
        stack, services = building.build(endpoint)
        async with supervise(services, drain_seconds=config.drain_seconds):
            yield stack


def _check_names(config: Config) -> None:
    """Wrong names are told before a port is opened."""
    AWS_BACKENDS.get(config.aws.backend)
    BROKERS.get(config.broker.backend)
    VIEWS.get(config.view.backend)
    VerdictLoop.check(config.model.detector)


@dataclass(frozen=True, slots=True)
class _Building:
    config: Config
    factory: ClientFactory
    resources: Resources
    rules: tuple[Rule, ...]
    emit: Emit
    emulator: Emulator | None

    def build(self, endpoint: str) -> tuple[Stack, list[Service]]:
        """The parts, and the services in start order."""
        config, clock = self.config, SystemClock()
        messages = BatchStream[Message]("messages", capacity=config.broker.buffer)
        events = BatchStream[Message]("events", capacity=EVENTS_CAPACITY)
        changed = BatchStream[Change]("changes", capacity=CHANGES_CAPACITY, max_batch=2_000)
        make_view: type[DuckDBView] = VIEWS.load(config.view.backend)
        view = make_view(config.view.path, memory_limit=config.view.memory_limit)
        sync = Sync(changed, view, clock=clock)
        delivery = self._delivery(clock)
        engine = Engine(self.rules)
        actions = self._actions(delivery)
        routers = (
            Router("router-messages", messages, engine, actions, clock=clock),
            Router("router-events", events, engine, actions, clock=clock, linger=0.01),
        )
        source = RuleSource(
            engine, file_rules=self.rules, iot=self.factory.client("iot"), check=actions.prepare, clock=clock
        )
        settings = BrokerSettings(
            host=config.broker.host, port=config.broker.port, limits=config.broker.limits
        )
        make_broker: type[EmbeddedBroker] = BROKERS.load(config.broker.backend)
        broker = make_broker(settings=settings, clock=clock, messages=messages, events=events)
        model = self._model(view, broker, clock)
        services: list[Service] = []

        def health() -> list[Health]:
            everything = [*([self.emulator] if self.emulator else []), *services]
            return [service.health() for service in everything]

        api = ApiServer(
            create_app(view=view, health=health, devices=broker), host=config.api.host, port=config.api.port
        )
        changes = self._changes(view, changed, clock)
        workers = tuple(self._worker(lane, clock) for lane in LANES)
        services += [view, sync, changes, *workers, delivery, source, *routers, model, api, broker]
        stack = Stack(
            config, self.factory, self.resources, broker, routers, workers, delivery, changes, sync, view, model, api,
            health, endpoint,
        )  # fmt: skip
        return stack, services

    def _delivery(self, clock: SystemClock) -> DeliveryStream:
        return DeliveryStream(
            "archive",
            s3=self.factory.client("s3"),
            bucket=self.resources.bucket,
            clock=clock,
            buffer_bytes=self.config.pipeline.archive_bytes,
            buffer_seconds=self.config.pipeline.archive_seconds,
        )

    def _actions(self, delivery: DeliveryStream) -> Actions:
        return Actions(
            ActionContext(
                sns=self.factory.client("sns"),
                topics=self.resources.sns_topics,
                streams={"archive": delivery},
                limiter=CapacityLimiter(SNS_THREADS),
            )
        )

    def _model(self, view: DuckDBView, broker: EmbeddedBroker, clock: SystemClock) -> VerdictLoop:
        alerts = SnsAlerts(sns=self.factory.client("sns"), sns_topic_arn=self.resources.sns_topics["alerts"])
        model = self.config.model
        return VerdictLoop(
            view=view,
            clock=clock,
            control=broker,
            alerts=[alerts],
            detector=model.detector,
            train_seconds=model.train_seconds,
            max_quarantine_share=model.max_quarantine_share if model.quarantine else 0.0,
            emit=self.emit,
        )

    def _changes(self, view: DuckDBView, out: BatchStream[Change], clock: SystemClock) -> ChangeReader:
        return ChangeReader(
            dynamodb=self.factory.client("dynamodb"),
            streams=self.factory.client("dynamodbstreams"),
            tables=self.resources.tables,
            out=out,
            checkpoints=view.checkpoints,
            clock=clock,
        )

    def _worker(self, lane: str, clock: SystemClock) -> Worker:
        pollers = self.config.pipeline.pollers if lane == "telemetry" else 1
        return Worker(
            lane,
            sqs=self.factory.client("sqs"),
            queue_url=self.resources.queues[lane],
            queue_arn=self.resources.queue_arns[lane],
            handler=make_handler(self.factory.client("dynamodb"), self.resources.tables),
            clock=clock,
            pollers=pollers,
        )
