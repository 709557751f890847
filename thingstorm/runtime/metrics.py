"""`/metrics`: what the parts of this process count and measure, as Prometheus wants it written.

The parts speak in words (`contracts/ports.py`: `Health`); here they get names by Prometheus's conventions: the prefix
`thingstorm_`, the unit at the end, `_total` for counters, one family for what is the same thing in several places.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from contracts.measures import Spread
from contracts.messages import SECOND
from contracts.ports import Health
from thingstorm import __version__

PREFIX = "thingstorm_"

_INSTANCES = {"router": "lane", "worker": "queue", "delivery": "stream", "gate": "queue"}
"""Services of which there are several, `STEM-INSTANCE`, and the label that tells them apart."""

_HOPS: tuple[tuple[str, str, str], ...] = (
    ("accepted", "broker", "accepted"),
    ("routed", "router-messages", "routed"),
    ("queued", "router-messages", "sns"),
    ("handled", "worker-telemetry", "deleted"),
    ("viewed", "sync", "telemetry_changes"),
    ("archived", "delivery-archive", "records"),
)
"""The path of the messages: the hop, the service that counts it, its counter."""

_KINDS = frozenset({"sns", "firehose"})
"""Actions that a router counts before anything was delivered."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")

Families = dict[str, Metric]


class Metrics:
    """One process's registry. `depths` are the queues' depths, as somebody last saw them."""

    def __init__(
        self,
        health: Callable[[], Sequence[Health]],
        *,
        stage: str,
        depths: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Parts(health, stage, depths))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text, and its content type: what of Prometheus's forms the asker prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Parts(Collector):
    def __init__(
        self,
        health: Callable[[], Sequence[Health]],
        stage: str,
        depths: Callable[[], Mapping[str, int]],
    ) -> None:
        self._health = health
        self._stage = stage
        self._depths = depths

    def collect(self) -> Iterator[Metric]:
        families: Families = {}
        services = self._health()
        for one in services:
            _service(families, one)
            _counters(families, one)
            _measures(families, one)
        _hops(families, services)
        for queue, depth in self._depths().items():
            about = "Messages of a queue, waiting or in flight, as SQS counts them."
            _gauge(families, "queue_messages", about, {"queue": queue}, depth)
        yield InfoMetricFamily(
            f"{PREFIX}build", "What runs here.", {"version": __version__, "stage": self._stage}
        )
        yield from families.values()


def _service(families: Families, one: Health) -> None:
    labels = {"service": one.name}
    _gauge(families, "service_ready", "1 while the service is ready.", labels, one.state == "ready")
    _gauge(
        families,
        "service_last_progress_timestamp_seconds",
        "When the service last did something useful; 0 is never.",
        labels,
        one.last_progress / SECOND,
    )
    for buffer in one.buffers:
        where = {**labels, "buffer": buffer.name}
        _gauge(families, "buffer_items", "Items in a bounded buffer.", where, buffer.used)
        _gauge(families, "buffer_capacity_items", "The bound of a buffer.", where, buffer.capacity)
        _gauge(families, "buffer_highest_items", "The most that a buffer ever held.", where, buffer.highest)


def _counters(families: Families, one: Health) -> None:
    stem, _, instance = one.name.partition("-")
    label = _INSTANCES.get(stem, "")
    if not label:
        stem, instance = one.name.replace("-", "_"), ""
    kinds = _KINDS | {measure.labels.get("action", "") for measure in one.measures}
    for name, value in one.counters.items():
        if name in kinds or not _NAME.fullmatch(name):
            continue  # deliveries by action: told as a measure, with its target
        about = f"{name.replace('_', ' ').capitalize()}, counted by the {stem.replace('_', ' ')}."
        _counter(families, f"{stem}_{name}", about, {label: instance} if label else {}, value)


def _measures(families: Families, one: Health) -> None:
    for measure in one.measures:
        add = _counter if measure.kind == "counter" else _gauge
        add(families, measure.name, measure.about, measure.labels, measure.value)
    for spread in one.spreads:
        _histogram(families, spread)


def _hops(families: Families, services: Sequence[Health]) -> None:
    counters = {one.name: one.counters for one in services}
    for hop, service, counter in _HOPS:
        if service in counters:
            about = (
                "Messages that passed a hop of the path: accepted, routed, queued, handled, viewed, archived."
            )
            _counter(families, "hop_messages", about, {"hop": hop}, counters[service].get(counter, 0))


def _gauge(families: Families, name: str, about: str, labels: Mapping[str, str], value: float) -> None:
    family = families.setdefault(name, GaugeMetricFamily(PREFIX + name, about, labels=list(labels)))
    assert isinstance(family, GaugeMetricFamily)  # noqa: S101 - a name is of one kind
    family.add_metric(list(labels.values()), float(value))


def _counter(families: Families, name: str, about: str, labels: Mapping[str, str], value: float) -> None:
    family = families.setdefault(name, CounterMetricFamily(PREFIX + name, about, labels=list(labels)))
    assert isinstance(family, CounterMetricFamily)  # noqa: S101 - likewise
    family.add_metric(list(labels.values()), float(value))


def _histogram(families: Families, spread: Spread) -> None:
    family = families.setdefault(
        spread.name, HistogramMetricFamily(PREFIX + spread.name, spread.about, labels=list(spread.labels))
    )
    assert isinstance(family, HistogramMetricFamily)  # noqa: S101 - likewise
    family.add_metric(list(spread.labels.values()), list(_cumulative(spread)), spread.total)


def _cumulative(spread: Spread) -> Iterable[tuple[str, float]]:
    seen = 0
    for bound, count in zip((*map(str, spread.bounds), "+Inf"), spread.counts, strict=True):
        seen += count
        yield bound, seen
