"""The sans-I/O fleet: determinism, generators, schedules, connections that break."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.messages import MILLISECOND, SECOND, Nanoseconds
from simulator import device as device_module
from simulator.commands import Connect, Disconnect, Publish
from simulator.device import MAX_KEPT, Device, Reading
from simulator.fleet import trace
from simulator.payloads import Field
from simulator.player import Player
from simulator.roster import MAX_BACKOFF
from simulator.scenario import Scenario, load
from simulator.schedule import Every

FILES = Path(__file__).parent / "simulator_scenarios"
SMALL = load(FILES / "small.yaml")
QUIET = SMALL.model_copy(update={"timeline": ()})


def sent(scenario: Scenario, start: Nanoseconds | None = None) -> list[tuple[Nanoseconds, str, bytes]]:
    return [
        (at, command.reading.topic, command.reading.payload)
        for at, command in trace(scenario, start=start)
        if isinstance(command, Publish)
    ]


def online(player: Player) -> Player:
    for device_id in player.devices:
        list(player.connected(device_id))
    player.start(0)
    return player


@settings(max_examples=10, deadline=None)
@given(st.integers())
def test_the_same_file_and_seed_give_the_same_bytes(seed: int) -> None:
    scenario = SMALL.model_copy(
        update={"seed": seed, "duration": 30 * SECOND, "timeline": SMALL.timeline[:1]}
    )
    assert sent(scenario) == sent(scenario)


def test_another_seed_gives_other_bytes() -> None:
    assert sent(SMALL) != sent(SMALL.model_copy(update={"seed": 8}))


def test_times_never_go_back_and_sequences_have_no_gap() -> None:
    messages = sent(SMALL)
    assert all(a[0] <= b[0] for a, b in itertools.pairwise(messages))
    numbers: dict[str, list[int]] = {}
    for _, topic, payload in messages:
        numbers.setdefault(topic.split("/")[2], []).append(json.loads(payload)["seq"])
    assert len(numbers) == 16
    for seen in numbers.values():
        assert seen == list(range(1, len(seen) + 1))


def test_the_payload_carries_the_device_clock_and_the_fields_of_the_file() -> None:
    at, topic, payload = next(m for m in sent(QUIET) if "meter" in m[1])
    body = json.loads(payload)
    assert topic.startswith("dt/meter/meter-00")
    assert list(body) == ["ts", "seq", "power_w", "temp_c", "fw"]
    assert body["ts"] == at // MILLISECOND
    assert at >= SMALL.clock.start_at


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 50))
def test_waking_up_late_loses_and_doubles_nothing(steps: int) -> None:
    """Stepping through time coarsely publishes as many readings as stepping exactly."""
    rng = random.Random(steps)
    player = online(Player(QUIET))
    exact = Counter(topic for at, topic, _ in sent(QUIET, 0) if at <= 60 * SECOND)
    seen: Counter[str] = Counter()
    now = 0
    while now < 60 * SECOND:
        now = min(60 * SECOND, now + int(rng.uniform(0.001, 0.9) * SECOND))
        seen.update(c.reading.topic for c in player.advance(now) if isinstance(c, Publish))
    assert seen == exact


def test_a_fleet_that_overslept_does_not_make_up_for_it() -> None:
    player = online(Player(QUIET))
    caught_up = [c for c in player.advance(3600 * SECOND) if isinstance(c, Publish)]
    assert len(caught_up) < 5 * len(player.devices)


@pytest.mark.parametrize(
    ("dist", "jitter"),
    [("constant", 0.0), ("constant", 0.5), ("lognormal", 0.2), ("lognormal", 1.0), ("poisson", 0.0)],
)
def test_gaps_have_the_mean_of_the_file(dist: str, jitter: float) -> None:
    every = Every.model_validate({"dist": dist, "mean": "1s", "jitter": jitter})
    rng = random.Random(5)
    gaps = [every.gap(rng, 1.0) for _ in range(20_000)]
    assert sum(gaps) / len(gaps) == pytest.approx(SECOND, rel=0.03)
    assert min(gaps) > 0
    assert (len(set(gaps)) == 1) == (dist == "constant" and jitter == 0)
    faster = [every.gap(rng, 4.0) for _ in range(20_000)]
    assert sum(faster) / len(faster) == pytest.approx(SECOND / 4, rel=0.03)


@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 1e5),
    st.floats(0, 1e6),
    st.integers(0, 10**18),
)
def test_a_walk_stays_between_its_bounds(start: float, step: float, width: float, seed: int) -> None:
    spec = {"start": start, "step": step, "min": start - width, "max": start + width}
    generate = Field.model_validate({"walk": spec}).generator(random.Random(seed))
    values = [generate(0) for _ in range(50)]
    assert all(start - width - 0.001 <= value <= start + width + 0.001 for value in values)
    again = Field.model_validate({"walk": spec}).generator(random.Random(seed))
    assert values == [again(0) for _ in range(50)]


def test_daily_peaks_at_its_peak_and_sine_swings() -> None:
    daily = Field.model_validate({"daily": {"mean": 20, "amplitude": 5, "peak": "15:00"}}).generator(
        random.Random(1)
    )
    hours = [sum(daily(hour * 3600 * SECOND) for _ in range(50)) / 50 for hour in range(24)]
    assert (hours.index(max(hours)), hours.index(min(hours))) == (15, 3)
    assert max(hours) == pytest.approx(25, abs=0.5)
    sine = Field.model_validate({"sine": {"mean": 6, "amplitude": 1, "period": "40s"}}).generator(
        random.Random(1)
    )
    assert (sine(0), sine(10 * SECOND), sine(30 * SECOND)) == (6, 7, 5)


def test_const_and_choice() -> None:
    assert Field.model_validate({"const": None}).generator(random.Random(1))(0) is None
    choose = Field.model_validate({"choice": ["a", 2, None]}).generator(random.Random(1))
    assert {choose(0) for _ in range(100)} == {"a", 2, None}


def test_a_device_that_lost_its_connection_keeps_its_readings_and_sends_them_first() -> None:
    player = online(Player(QUIET))
    list(steps(player, 2 * SECOND))
    player.lost("meter-0001", 2 * SECOND)
    before = player.devices["meter-0001"].sequence
    offline = [
        command
        for _, command in steps(player, 7 * SECOND)
        if isinstance(command, Publish) and command.device.device_id == "meter-0001"
    ]
    assert offline == []
    kept = [
        json.loads(c.reading.payload)["seq"] for c in player.connected("meter-0001") if isinstance(c, Publish)
    ]
    assert kept == list(range(before + 1, before + 1 + len(kept)))
    assert len(kept) >= 3
    assert (player.kept, player.dropped_unsent) == (0, 0)
    assert player.kept_highest == len(kept)


def test_a_full_memory_loses_the_oldest_and_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "MAX_KEPT", 3)
    player = online(Player(QUIET))
    player.lost("meter-0001", 0)
    list(steps(player, 10 * SECOND))
    device = player.devices["meter-0001"]
    assert [json.loads(r.payload)["seq"] for r in device.kept] == [device.sequence - n for n in (2, 1, 0)]
    assert player.dropped_unsent == device.sequence - 3
    player.unsent("meter-0001", Reading("t", b"older than all", 1))
    assert len(device.kept) == 3
    assert player.dropped_unsent == device.sequence - 2
    assert MAX_KEPT > 3


def test_what_could_not_be_sent_goes_out_later_in_order() -> None:
    player = online(Player(QUIET))
    device_id = "meter-0001"
    for number in (3, 2, 1):
        player.unsent(device_id, Reading("t", str(number).encode(), 1))
    first = player.writable(device_id)
    command = next(first)
    assert isinstance(command, Publish)
    player.unsent(device_id, command.reading)  # full again
    assert list(first) == []
    order = [c.reading.payload for c in player.writable(device_id) if isinstance(c, Publish)]
    assert order == [b"1", b"2", b"3"]


def test_a_refused_device_tries_again_ever_more_slowly() -> None:
    player = online(Player(QUIET))
    now, waits = 0, []
    for _ in range(9):
        player.lost("meter-0001", now)
        attempt = next(at for at, c in steps(player, now + 100 * SECOND) if isinstance(c, Connect))
        waits.append((attempt - now) / SECOND)
        now = attempt
    limits = [1, 2, 4, 8, 16, 30, 30, 30, 30]
    assert all(0.5 * limit <= wait <= 1.5 * limit + 0.001 for wait, limit in zip(waits, limits, strict=True))
    assert len(set(waits)) == len(waits)
    assert max(waits) <= 1.5 * MAX_BACKOFF / SECOND


def steps(player: Player, until: Nanoseconds) -> Iterator[tuple[Nanoseconds, object]]:
    """Commands with their times, due by due."""
    while (due := player.next_due()) is not None and due <= until:
        yield from ((due, command) for command in player.advance(due))


def test_two_phases_that_keep_a_device_offline_must_both_let_go() -> None:
    rollout, storm = SMALL.timeline[:2]
    early = storm.model_copy(update={"at": rollout.at})
    both = SMALL.model_copy(update={"timeline": (rollout, early)})
    state: dict[str, bool] = {}
    for at, command in trace(both, start=0):
        if isinstance(command, Disconnect):
            assert state.get(command.device.device_id, True), "disconnected twice"
            state[command.device.device_id] = False
        elif isinstance(command, Connect):
            assert not state[command.device.device_id], "connected twice"
            state[command.device.device_id] = True
        elif isinstance(command, Publish):
            assert state.get(command.device.device_id, True), f"published offline at {at}"
    assert len(state) == 12
    assert all(state.values())


def test_nothing_is_left_of_a_phase_that_is_over() -> None:
    player = Player(SMALL)
    for device_id in player.devices:
        list(player.connected(device_id))
    player.start(0)
    for command in player.advance(SMALL.duration):
        if isinstance(command, Connect):
            list(player.connected(command.device.device_id))
    for device in player.devices.values():
        assert isinstance(device, Device)
        assert (device.effects, device.cut, device.off, device.online) == ({}, set(), set(), True)
        assert device.rate_factor == 1.0
