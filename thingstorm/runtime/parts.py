"""The stages' parts, made from the configuration: the only place that knows which concrete class stands where.

The whole stack in one process and every stage as a process of its own are made of the same parts.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter

from analytics.alerting.service import Alerts
from analytics.lambdas import QueryBook
from analytics.postgres.server import PostgresServer
from analytics.pushing import Webhooks
from analytics.response import ResponseRule
from analytics.schedules import Schedules
from analytics.sync import Sync
from analytics.verdict_loop import VerdictLoop
from analytics.view.duckdb import DuckDBView
from analytics.view.kept import PostgresCatalogue
from broker.embedded import BrokerSettings, EmbeddedBroker
from broker.external import ExternalBroker, ExternalSettings
from broker.rules_session import RulesSession
from broker.store import Store
from contracts.clock import Clock
from contracts.errors import ConfigError
from contracts.journal import Journal
from contracts.messages import Change, Message
from contracts.ports import DeviceControl, Emit, Outlet, Republisher, Service
from contracts.registry import Backend, Registry
from contracts.streams import BatchStream
from contracts.trail import Trail
from pipeline.actions import ActionContext, Actions
from pipeline.actions.base import RecordSink
from pipeline.actions.capabilities import ACTIONS_LACKING, SERVICES_LACKING
from pipeline.actions.destinations import Destinations
from pipeline.aws.archive import ObjectArchive
from pipeline.aws.provision import LANES, MAX_RECEIVES, Resources, provision
from pipeline.aws.publisher import SnsPublisher
from pipeline.aws.registry import IotRegistry
from pipeline.aws.rule_services import AwsServices
from pipeline.aws.session import AWS_BACKENDS, ClientFactory
from pipeline.aws.shadows import IotDataShadows
from pipeline.changes import ChangeReader
from pipeline.dead_letters import DeadLetterQueue
from pipeline.delivering.settings import settings_from
from pipeline.delivering.subscription import handler_into, subscribe
from pipeline.delivering.transform import transform_of
from pipeline.delivery import DeliveryStream
from pipeline.gate import QueueGate
from pipeline.ingest import make_handler, why_failed
from pipeline.mapping import EventSourceMapping
from pipeline.router import Router
from pipeline.rules.engine import Engine, Rule
from pipeline.rules.sources import RuleSource
from pipeline.worker import Worker, queue_depth
from thingstorm.config import BrokerConfig, Config, ModelConfig
from thingstorm.runtime.alerting import Base, make_alerts
from thingstorm.runtime.logs import logged, traced

EVENTS_CAPACITY = 5_000
"""Events wait here for the rules. A reconnect storm of 2,000 devices makes 4,000 events at once."""

CHANGES_CAPACITY = 10_000
"""Stream records wait here for the view: ten full reads of a shard."""

SNS_THREADS = 4

DAY = 86_400
"""Seconds."""

BROKERS = Registry(
    "broker backend",
    {
        "amqtt": Backend("broker.embedded:EmbeddedBroker"),
        "external": Backend("broker.external:ExternalBroker"),
        "aws": Backend("broker.external:ExternalBroker"),
    },
)
VIEWS = Registry("view backend", {"duckdb": Backend("analytics.view.duckdb:DuckDBView")})


def check_backends(config: Config) -> None:
    """Wrong names, and a pair that does not go together, are told before a port is opened. Raises ConfigError."""
    AWS_BACKENDS.get(config.aws.backend)
    BROKERS.get(config.broker.backend)
    VIEWS.get(config.view.backend)
    VerdictLoop.check(config.model.detector)
    if config.broker.backend == config.aws.backend == "aws":
        raise ConfigError(
            "broker.backend and aws.backend are both 'aws': IoT Core's rules and ours would each store every message",
            fix="leave out one of them; docs/going-to-aws.md, step 5, tells what each is for",
        )


@dataclass(frozen=True, slots=True)
class Cloud:
    """The AWS services, provisioned, and what every part needs besides."""

    config: Config
    factory: ClientFactory
    resources: Resources
    clock: Clock

    @property
    def mend(self) -> Callable[[], object] | None:
        """Makes again what is missing; on AWS that is for a person and CloudFormation."""
        if "emulator" not in self.factory.capabilities:
            return None
        visible = self.config.pipeline.visibility_seconds
        return lambda: provision(self.factory, prefix=self.config.aws.prefix, visibility_seconds=visible)

    def archive(self) -> ObjectArchive:
        """The objects that the delivery stream wrote."""
        return ObjectArchive(self.factory.client("s3"), self.resources.bucket, self.resources.delivery)


@dataclass(frozen=True, slots=True)
class RoutingParts:
    """The rules on both lanes."""

    routers: tuple[Router, Router]
    gates: tuple[QueueGate, ...]
    source: RuleSource
    destinations: Destinations

    @property
    def services(self) -> list[Service]:
        """In start order."""
        return [*self.gates, self.source, *self.routers]


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """From the messages to the tables and the objects."""

    routing: RoutingParts
    workers: tuple[Worker, ...]
    delivery: DeliveryStream
    trail: Trail
    feeds: tuple[Worker, ...] = ()

    @property
    def services(self) -> list[Service]:
        """In start order: sinks first."""
        return [*self.workers, self.delivery, *self.feeds, *self.routing.services]


@dataclass(frozen=True, slots=True)
class AnalyticsParts:
    """From the tables' streams to the verdict."""

    view: DuckDBView
    sync: Sync
    changes: ChangeReader
    model: VerdictLoop
    alerts: Alerts
    trail: Trail
    book: QueryBook
    schedules: Schedules

    @property
    def followers(self) -> list[Service]:
        """What keeps the view fresh, in start order."""
        return [self.view, self.sync, self.changes]


def iot_apis(config: Config, factory: ClientFactory) -> ClientFactory | None:
    """The AWS services if they have the `iot` APIs (LocalStack's are not free)."""
    return factory if "iot-rules" in AWS_BACKENDS.get(config.aws.backend).capabilities else None


def make_broker(
    config: Config,
    *,
    clock: Clock,
    messages: Outlet,
    events: Outlet,
    store: Store | None = None,
    rules: RulesSession | None = None,
    cloud: ClientFactory | None = None,
) -> EmbeddedBroker | ExternalBroker:
    """The gateway; with AWS services that have the `iot` APIs it knows certificates and shares shadows.

    Raises ConfigError.
    """
    broker, messages = config.broker, logged(messages, clock)
    if broker.backend != "amqtt":
        external: type[ExternalBroker] = BROKERS.load(broker.backend)
        return external(
            settings=_external(broker), clock=clock, messages=messages, events=events, store=store
        )
    settings = BrokerSettings(
        host=broker.host,
        port=broker.port,
        tls_port=broker.tls_port,
        websocket_port=broker.websocket_port,
        pki=broker.pki,
        tls_names=broker.tls_names,
        limits=broker.limits,
        overrides=broker.overrides,
        principal=broker.principal,
        policy=_policy(broker.policy),
        plugins=broker.plugins,
    )
    backend: type[EmbeddedBroker] = BROKERS.load(broker.backend)
    return backend(
        settings=settings,
        clock=clock,
        messages=messages,
        events=events,
        store=store,
        rules=rules,
        registry=IotRegistry(cloud.client("iot")) if cloud is not None else None,
        shadows=IotDataShadows(cloud.client("iot-data")) if cloud is not None else None,
    )


def make_rules_door(config: Config, *, clock: Clock, rules: RulesSession) -> EmbeddedBroker:
    """Where the rules of another process get the messages of an external broker; no device may connect here."""
    broker = config.broker
    return EmbeddedBroker(
        name="rules-door",
        settings=BrokerSettings(
            host=broker.host, port=broker.port, policy={"Version": "2012-10-17", "Statement": []}
        ),
        clock=clock,
        messages=BatchStream[Message]("nothing", capacity=1),
        events=BatchStream[Message]("nothing", capacity=1),
        rules=rules,
    )


def _external(broker: BrokerConfig) -> ExternalSettings:
    """Raises ConfigError where a setting that the backend needs is missing."""
    if not broker.url:
        raise ConfigError(
            f"broker.backend '{broker.backend}' needs an address",
            fix="set broker.url, for example mqtt://127.0.0.1:1884",
        )
    if broker.backend == "aws" and not (
        broker.url.startswith("mqtts://") and broker.certfile and broker.keyfile
    ):
        raise ConfigError(
            "AWS IoT Core asks for a certificate",
            fix="set broker.url to mqtts://ENDPOINT-ats.iot.REGION.amazonaws.com:8883, broker.certfile and broker.keyfile",
        )
    return ExternalSettings(
        url=broker.url,
        cafile=broker.cafile,
        certfile=broker.certfile,
        keyfile=broker.keyfile,
        filters=broker.filters,
        client_id_pattern=broker.client_id_pattern,
    )


def _policy(path: Path | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"broker.policy {path} is no policy document: {error}", fix="give a file with one JSON object"
        ) from None


def make_pipeline(
    cloud: Cloud,
    rules: tuple[Rule, ...],
    *,
    messages: BatchStream[Message],
    events: BatchStream[Message],
    broker: Republisher,
    enable_url: Callable[[], str] = str,
    buffer: Path | None = None,
) -> PipelineParts:
    """Rules, workers and the delivery stream; with a path the delivery stream's buffer survives the process.

    `broker` gets what rules republish; `enable_url` is where a web service confirms that it wants messages.
    """
    trail = traced(Trail())
    delivery = make_delivery(cloud, trail, buffer=buffer)
    routing = make_routing(
        cloud,
        rules,
        trail,
        messages=messages,
        events=events,
        broker=broker,
        archive=delivery,
        enable_url=enable_url,
    )
    workers, feeds = make_workers(cloud, trail), make_feeds(cloud, delivery)
    return PipelineParts(routing, workers, delivery, trail, feeds)


def make_routing(
    cloud: Cloud,
    rules: tuple[Rule, ...],
    trail: Trail,
    *,
    messages: BatchStream[Message],
    events: BatchStream[Message],
    broker: Republisher,
    archive: RecordSink,
    enable_url: Callable[[], str] = str,
) -> RoutingParts:
    """A router for each lane, and what keeps its rules up to date."""
    destinations = Destinations(enable_url=enable_url)
    services = AwsServices(cloud.factory.client)
    engine = Engine(rules, services=services)
    actions = _actions(cloud, archive, broker, destinations)
    iot = iot_apis(cloud.config, cloud.factory)
    source = RuleSource(
        engine,
        file_rules=rules,
        iot=iot.client("iot") if iot else None,
        check=actions.prepare,
        services=services,
        prefix=cloud.config.aws.prefix,
        clock=cloud.clock,
    )
    gates = _gates(cloud)
    gate = gates[0].passed if gates else None
    routers = (
        Router("router-messages", messages, engine, actions, clock=cloud.clock, trail=trail, gate=gate),
        Router("router-events", events, engine, actions, clock=cloud.clock, linger=0.01),
    )
    return RoutingParts(routers, gates, source, destinations)


def _gates(cloud: Cloud) -> tuple[QueueGate, ...]:
    """What holds messages back from a queue that its emulator cannot bear; on AWS nothing does."""
    if "emulator" not in AWS_BACKENDS.get(cloud.config.aws.backend).capabilities:
        return ()
    sqs, url = cloud.factory.client("sqs"), cloud.resources.queues["telemetry"]
    return (QueueGate("telemetry", lambda: queue_depth(sqs, url), clock=cloud.clock),)


def make_workers(cloud: Cloud, trail: Trail) -> tuple[Worker, ...]:
    """An event source mapping for each queue."""
    return tuple(_worker(cloud, lane, trail if lane == "telemetry" else None) for lane in LANES)


def make_feeds(cloud: Cloud, delivery: DeliveryStream) -> tuple[Worker, ...]:
    """What brings SNS topics into the delivery stream."""
    return tuple(_feed(cloud, topic, delivery) for topic in cloud.config.pipeline.archive_topics)


def _feed(cloud: Cloud, topic: str, delivery: DeliveryStream) -> Worker:
    """From an SNS topic into the delivery stream."""
    url, arn = subscribe(cloud.factory, cloud.resources, topic, prefix=cloud.config.aws.prefix)
    return Worker(
        f"archive-{topic}",
        sqs=cloud.factory.client("sqs"),
        queue_url=url,
        queue_arn=arn,
        handler=handler_into(delivery),
        clock=cloud.clock,
    )


def make_analytics(
    cloud: Cloud,
    *,
    control: DeviceControl,
    emit: Emit,
    base: Base = str,
    alerts_folder: Path | None = None,
) -> AnalyticsParts:
    """The view, what keeps it fresh, the model, and who is told by it.

    `base` is the address of the API, for links; what waits for an alert channel is kept in `alerts_folder`.
    """
    config, clock = cloud.config, cloud.clock
    changed = BatchStream[Change]("changes", capacity=CHANGES_CAPACITY, max_batch=2_000)
    make_view: type[DuckDBView] = VIEWS.load(config.view.backend)
    view = make_view(
        config.view.path,
        memory_limit=config.view.memory_limit,
        archive=cloud.archive(),
        hot_seconds=config.view.hot_seconds,
        keep_seconds=config.pipeline.keep_days * DAY or None,
    )
    trail = traced(Trail())
    sync = Sync(changed, view, clock=clock, trail=trail)
    changes = ChangeReader(
        dynamodb=cloud.factory.client("dynamodb"),
        streams=cloud.factory.client("dynamodbstreams"),
        tables=cloud.resources.tables,
        out=changed,
        checkpoints=view.checkpoints,
        keys=view.keys,
        clock=clock,
        trail=trail,
        mend=cloud.mend,
    )
    alerts = make_alerts(
        config.alerts,
        factory=cloud.factory,
        resources=cloud.resources,
        clock=clock,
        emit=emit,
        base=base,
        folder=config.alerts.folder or alerts_folder,
    )
    model = _model(cloud, view, control, emit, alerts=alerts)
    book = QueryBook(view)
    webhooks = Webhooks(secret=config.api.webhook_secret, hosts=config.api.webhook_hosts)
    publish = SnsPublisher(sns=cloud.factory.client("sns"), prefix=config.aws.prefix).publish
    schedules = Schedules(book, clock=clock, publish=publish, webhooks=webhooks)
    return AnalyticsParts(view, sync, changes, model, alerts, trail, book=book, schedules=schedules)


def make_postgres(config: Config, view: DuckDBView, *, host: str, token: str) -> PostgresServer | None:
    """The port for clients of PostgreSQL, if there is to be one."""
    port = config.api.postgres_port
    if port is None:
        return None
    return PostgresServer(view=view, catalogue=PostgresCatalogue(view), host=host, port=port, token=token)


def make_delivery(cloud: Cloud, trail: Trail, *, buffer: Path | None) -> DeliveryStream:
    """The template's delivery stream, with the buffering of the configuration."""
    pipeline, resources = cloud.config.pipeline, cloud.resources
    settings = replace(
        settings_from(resources.delivery),
        buffer_bytes=pipeline.archive_bytes,
        buffer_seconds=pipeline.archive_seconds,
    )
    return DeliveryStream(
        "archive",
        s3=cloud.factory.client("s3"),
        bucket=resources.bucket,
        clock=cloud.clock,
        settings=settings,
        transform=transform_of(settings, lambda: cloud.factory.client("lambda")),
        journal=Journal(buffer) if buffer else None,
        trail=trail,
    )


def _actions(cloud: Cloud, archive: RecordSink, broker: Republisher, destinations: Destinations) -> Actions:
    backend = cloud.config.aws.backend
    return Actions(
        ActionContext(
            sns=cloud.factory.client("sns"),
            topics=cloud.resources.sns_topics,
            streams={"archive": archive},
            limiter=CapacityLimiter(SNS_THREADS),
            clients=cloud.factory.client,
            republisher=broker,
            destinations=destinations,
            lacks=ACTIONS_LACKING.get(backend, {}),
            silent=SERVICES_LACKING.get(backend, {}),
        )
    )


def _worker(cloud: Cloud, lane: str, trail: Trail | None) -> Worker:
    pipeline = cloud.config.pipeline
    mapping = EventSourceMapping(
        batch_size=pipeline.batch_size,
        batching_window=pipeline.batch_window,
        maximum_concurrency=pipeline.pollers if lane == "telemetry" else 1,
        visibility_timeout=pipeline.visibility_seconds,
        max_receives=MAX_RECEIVES,
    )
    reasons: dict[str, str] = {}
    return Worker(
        lane,
        sqs=cloud.factory.client("sqs"),
        queue_url=cloud.resources.queues[lane],
        queue_arn=cloud.resources.queue_arns[lane],
        handler=make_handler(
            cloud.factory.client("dynamodb"),
            cloud.resources.tables,
            tell=reasons.__setitem__,
            keep_seconds=pipeline.keep_days * DAY,
        ),
        clock=cloud.clock,
        mapping=mapping,
        dead_letters=dead_letter_queue(cloud, lane),
        reasons=reasons,
        trail=trail,
        mend=cloud.mend,
    )


def dead_letter_queue(cloud: Cloud, lane: str) -> DeadLetterQueue:
    """The dead-letter queue of a lane."""
    queues = cloud.resources.queues
    return DeadLetterQueue(
        lane,
        sqs=cloud.factory.client("sqs"),
        url=queues[f"{lane}-dlq"],
        source_url=queues[lane],
        explain=why_failed,
    )


def _model(
    cloud: Cloud, view: DuckDBView, control: DeviceControl, emit: Emit, *, alerts: Alerts
) -> VerdictLoop:
    model = cloud.config.model
    return VerdictLoop(
        view=view,
        clock=cloud.clock,
        control=control,
        alerts=[alerts],
        detector=model.detector,
        train_seconds=model.train_seconds,
        response=response_rule(model),
        baseline=model.baseline,
        emit=emit,
    )


def response_rule(model: ModelConfig) -> ResponseRule:
    """What the model may do without asking."""
    return ResponseRule(
        quarantine=model.quarantine,
        dry_run=model.dry_run,
        max_share=model.max_quarantine_share,
        window_share=model.window_quarantine_share,
        release_after=model.release_after_seconds,
        limit=model.quarantine_limit_seconds,
    )


def streams(config: Config) -> tuple[BatchStream[Message], BatchStream[Message]]:
    """Messages and events between the gateway and the rules of one process."""
    return (
        BatchStream[Message]("messages", capacity=config.broker.buffer),
        BatchStream[Message]("events", capacity=EVENTS_CAPACITY),
    )


__all__: Sequence[str] = (
    "AnalyticsParts",
    "Cloud",
    "PipelineParts",
    "check_backends",
    "iot_apis",
    "make_analytics",
    "make_broker",
    "make_delivery",
    "make_feeds",
    "make_pipeline",
    "make_postgres",
    "make_routing",
    "make_rules_door",
    "make_workers",
    "response_rule",
    "streams",
)
