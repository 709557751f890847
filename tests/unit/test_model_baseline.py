"""What is learnt from clean seconds."""

import pytest
from model_fleet import START, Fleet

from analytics.baseline import MIN_RATE, device_type_of, learn_baseline, topic_pattern
from analytics.windows import COUNTS, DeviceRow, Second
from contracts.errors import NotReady


def _row(device: str, messages: int = 1, *, size: int = 100, topic: str = "", connects: int = 0) -> DeviceRow:
    values = dict.fromkeys(COUNTS, 0) | {
        "num_messages_received": messages,
        "message_bytes_received": messages * size,
        "num_connects": connects,
    }
    topics = (topic or f"dt/meter/{device}/telemetry",) if messages else ()
    return DeviceRow(device, tuple(values.values()), topics)


def _seconds(*rows: DeviceRow, count: int = 20) -> list[Second]:
    return [Second(START + t, rows) for t in range(count)]


@pytest.mark.parametrize(
    ("topic", "pattern"),
    [
        ("dt/meter/m1/telemetry", "dt/meter/{device}/telemetry"),
        ("dt/meter/m2/telemetry", "dt/meter/m2/telemetry"),
        ("jobs/17/get", "jobs/{n}/get"),
        ("req/0123abcd9", "req/{n}"),
        ("m1x/y", "m1x/y"),
    ],
)
def test_topic_patterns(topic: str, pattern: str) -> None:
    assert topic_pattern(topic, "m1") == pattern


def test_the_type_is_the_second_level_of_a_data_topic() -> None:
    assert device_type_of(["cmd/x/y", "dt/pump/p1/t"]) == "pump"
    assert device_type_of(["dt/pump", "other"]) == ""


def test_rates_and_sizes_are_learnt_per_device() -> None:
    baseline = learn_baseline(_seconds(_row("slow", 1), _row("fast", 9, size=300)))
    assert baseline.profile("fast", "meter").rate == pytest.approx(9.0, rel=0.1)
    assert baseline.profile("slow", "meter").rate == pytest.approx(1.0, rel=0.2)
    assert baseline.profile("fast", "meter").size == pytest.approx(300, rel=0.05)
    assert baseline.profile("new", "meter").rate == pytest.approx(5.0)


def test_a_device_that_was_unlucky_in_a_short_training_is_taken_for_a_peer() -> None:
    fleet = Fleet(100, seed=5, every=10.0)
    baseline = learn_baseline(fleet.seconds(20))
    rates = baseline.profiles(fleet.ids, fleet.types)[:, 0]
    assert rates.min() > 0.03
    assert rates.max() < 0.3
    assert rates.mean() == pytest.approx(0.1, rel=0.25)


def test_devices_that_differ_keep_their_own_rates() -> None:
    fleet = Fleet(60, seed=6, spread=1.0)
    learnt = learn_baseline(fleet.seconds(60)).profiles(fleet.ids, fleet.types)[:, 0]
    assert abs(learnt / fleet.rates - 1).mean() < 0.2


def test_time_before_a_connect_is_not_counted_as_silence() -> None:
    late = [
        Second(START + t, (_row("early"),) if t < 10 else (_row("early"), _row("late", connects=t == 10)))
        for t in range(20)
    ]
    assert learn_baseline(late).profile("late", "meter").rate == pytest.approx(1.0, rel=0.05)


def test_flagged_devices_are_not_learnt_from() -> None:
    seconds = _seconds(_row("a"), _row("evil", 50, topic="dt/meter/evil/c2"))
    baseline = learn_baseline(seconds, without=frozenset({"evil"}))
    assert "evil" not in baseline.devices
    assert baseline.types["meter"].rate == pytest.approx(1.0)
    assert baseline.novel("meter", ["dt/meter/{device}/c2"]) == ("dt/meter/{device}/c2",)


def test_novelty_counts_patterns_of_the_type() -> None:
    baseline = learn_baseline(_seconds(_row("a"), _row("p", topic="dt/pump/p/pressure")))
    used = [topic_pattern(topic, "b") for topic in ("dt/pump/b/pressure", "x", "x", "y/1", "y/2")]
    assert baseline.novel("meter", ["dt/meter/{device}/telemetry"]) == ()
    assert baseline.novel("meter", used) == ("dt/pump/{device}/pressure", "x", "y/{n}")
    assert baseline.novel("never-seen", ["whatever"]) == ()
    assert set(baseline.branches()["pump"]) == {"dt/pump/{device}/"}


def test_too_little_training_is_refused() -> None:
    with pytest.raises(NotReady):
        learn_baseline(_seconds(_row("a"), count=3))
    with pytest.raises(NotReady):
        learn_baseline(_seconds())


def test_no_rate_is_zero() -> None:
    seconds = [Second(START + t, (_row("a", 1 if t == 0 else 0),)) for t in range(1000)]
    assert learn_baseline(seconds).profile("a", "meter").rate == MIN_RATE
