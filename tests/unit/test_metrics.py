"""What the parts measure, as Prometheus reads it."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from contracts.measures import LATENCY_BOUNDS, Measure, Spreading
from contracts.ports import Gauge, Health
from thingstorm.runtime.metrics import Metrics

SPREADING = Spreading("wait_seconds", "How long.", labels={"queue": 'a "quoted" \\ name'})
for seconds in (-1.0, 0.004, 0.2, 9999.0):
    SPREADING.add(seconds)
SERVICES = [
    Health("broker", "ready", "", 5_000_000_000, (Gauge("messages", 3, 10, 7),), {"accepted": 12}),
    Health("worker-telemetry", "failed", counters={"deleted": 9}, spreads=(SPREADING.spread(),)),
    Health("worker-device-metrics", "ready", counters={"deleted": 4}),
    Health(
        "router-messages",
        "ready",
        counters={"routed": 11, "sns": 10, "sns arn:x": 10},
        measures=(Measure("deliveries", "Taken.", 10, "counter", {"action": "sns", "target": "arn:x"}),),
    ),
]


def _scraped(accept: str = "text/plain", services: list[Health] = SERVICES) -> str:
    return Metrics(lambda: services, stage="test", depths=lambda: {"telemetry": 8}).render(accept)[0].decode()


def _samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in parse(text)
        for one in family.samples
    }


def test_what_several_parts_count_is_one_family_told_apart_by_a_label() -> None:
    samples = _samples(_scraped())
    assert samples["thingstorm_worker_deleted_total", (("queue", "telemetry"),)] == 9
    assert samples["thingstorm_worker_deleted_total", (("queue", "device-metrics"),)] == 4
    assert samples["thingstorm_broker_accepted_total", ()] == 12
    assert samples["thingstorm_service_ready", (("service", "worker-telemetry"),)] == 0
    assert samples["thingstorm_service_last_progress_timestamp_seconds", (("service", "broker"),)] == 5
    assert samples["thingstorm_buffer_items", (("buffer", "messages"), ("service", "broker"))] == 3
    assert samples["thingstorm_queue_messages", (("queue", "telemetry"),)] == 8


def test_the_path_is_one_family_of_hops_that_this_process_has() -> None:
    hops = {
        labels[0][1]: value
        for (name, labels), value in _samples(_scraped()).items()
        if name == "thingstorm_hop_messages_total"
    }
    assert hops == {"accepted": 12, "routed": 11, "queued": 10, "handled": 9}


def test_a_delivery_is_told_once_by_action_and_target() -> None:
    samples = _samples(_scraped())
    assert samples["thingstorm_deliveries_total", (("action", "sns"), ("target", "arn:x"))] == 10
    assert not any(name.startswith("thingstorm_router_sns") for name, _ in samples)


def test_a_spread_is_a_cumulative_histogram() -> None:
    samples = _samples(_scraped())
    label = ("queue", 'a "quoted" \\ name')
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in samples.items()
        if name == "thingstorm_wait_seconds_bucket"
    }
    assert (buckets["0.005"], buckets["0.1"], buckets["0.25"], buckets["300.0"], buckets["+Inf"]) == (
        2,
        2,
        3,
        3,
        4,
    )
    assert samples["thingstorm_wait_seconds_count", (label,)] == 4
    assert samples["thingstorm_wait_seconds_sum", (label,)] == pytest.approx(9999.204)


@given(st.lists(st.floats(-10, 1e6), max_size=50))
def test_no_value_of_a_spread_is_lost(values: list[float]) -> None:
    spreading = Spreading("x_seconds", "X.")
    spreading.add_all(values)
    spread = spreading.spread()
    assert sum(spread.counts) == len(values)
    for place, bound in enumerate(LATENCY_BOUNDS):
        assert sum(spread.counts[: place + 1]) == sum(value <= bound for value in values)


def test_names_keep_to_the_conventions_and_both_forms_can_be_read() -> None:
    families = list(parse(_scraped()))
    for family in families:
        assert re.fullmatch(r"(thingstorm|process)_[a-z0-9_]+", family.name), family.name
        assert family.documentation, family.name
        assert family.type in ("gauge", "counter", "histogram"), family.name
        assert not family.name.endswith(("_ms", "_milliseconds", "_kb")), family.name
    text, content_type = Metrics(lambda: SERVICES, stage="t").render(
        "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in parse_open(text.decode())} >= {
        "thingstorm_hop_messages",
        "thingstorm_wait_seconds",
    }


def test_every_scrape_is_fresh_and_a_process_that_is_starting_has_an_answer() -> None:
    told = list(SERVICES)
    metrics = Metrics(lambda: told, stage="test")
    before = metrics.render("")[0]
    told[0] = replace(told[0], counters={"accepted": 13})
    assert b"thingstorm_broker_accepted_total 12.0" in before
    assert b"thingstorm_broker_accepted_total 13.0" in metrics.render("")[0]
    assert "thingstorm_build_info" in _scraped(services=[])
