"""Every behaviour proves itself: its ground truth is not empty, and its traffic differs from that without it."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from contracts.messages import SECOND, Label, Nanoseconds
from simulator.behaviours import BEHAVIOURS, WITHOUT_TARGETS
from simulator.commands import (
    Command,
    Connect,
    Disconnect,
    Fault,
    Line,
    PhaseEnded,
    PhaseStarted,
    Publish,
    Subscribe,
)
from simulator.fleet import trace
from simulator.lines import Open, Shut
from simulator.player import Player
from simulator.scenario import Phase, Scenario, load

FILES = Path(__file__).parent / "simulator_scenarios"
SMALL = load(FILES / "small.yaml")
QUIET = SMALL.model_copy(update={"timeline": ()})
START, END = 30 * SECOND, 50 * SECOND


def with_phase(kind: str, **parts: object) -> Scenario:
    """The small fleet with one phase from 30 s to 50 s."""
    given = {"targets": {"group": "meter"}, "with": {}, **parts}
    phase = Phase.model_validate({"id": "p", "at": "30s", "for": "20s", "kind": kind, **given})
    return SMALL.model_copy(update={"timeline": (phase,)})


def labels(scenario: Scenario) -> tuple[Label, ...]:
    player = Player(scenario)
    player.start(0)
    return player.labels


@cache
def quiet() -> tuple[tuple[Nanoseconds, Command], ...]:
    """What every behaviour is compared with, played once."""
    return tuple(trace(QUIET, start=0))


def happens(
    scenario: Scenario, begin: Nanoseconds, end: Nanoseconds
) -> Iterator[tuple[Nanoseconds, Command]]:
    """What happens from `begin` to before `end`; what comes later is not even played."""
    everything = quiet() if scenario is QUIET else trace(scenario, start=0)
    return ((at, c) for at, c in takewhile(lambda pair: pair[0] < end, everything) if begin <= at)


def publishes(
    scenario: Scenario, begin: Nanoseconds = START, end: Nanoseconds = END
) -> list[tuple[Nanoseconds, Publish]]:
    return [(at, c) for at, c in happens(scenario, begin, end) if isinstance(c, Publish)]


def counts(scenario: Scenario, begin: Nanoseconds = START, end: Nanoseconds = END) -> Counter[str]:
    return Counter(c.device.device_id for _, c in publishes(scenario, begin, end))


def moments(scenario: Scenario, kind: type) -> list[tuple[Nanoseconds, str]]:
    return [
        (at, c.device.device_id)
        for at, c in trace(scenario, start=0)
        if isinstance(c, kind) and isinstance(c, Connect | Disconnect)
    ]


def played(scenario: Scenario, begin: Nanoseconds = START, end: Nanoseconds = END) -> list[tuple[int, str]]:
    """Everything that happens, devices by their ids."""
    told = []
    for at, command in happens(scenario, begin, end):
        if not isinstance(command, PhaseStarted | PhaseEnded):
            device = getattr(command, "device", None)
            rest = [str(getattr(command, name)) for name in command.__slots__ if name != "device"]
            told.append((at, f"{type(command).__name__} {device.device_id if device else ''} {rest}"))
    return told


@pytest.mark.parametrize("kind", sorted(BEHAVIOURS))
@pytest.mark.parametrize(
    "targets", [{"group": "meter"}, {"group": "meter", "count": 3}, {"group": "pump", "pick": "first"}]
)
def test_a_behaviour_has_its_truth_and_differs_from_the_scenario_without_it(
    kind: str, targets: dict[str, object]
) -> None:
    scenario = with_phase(kind, targets=targets)
    truth = labels(scenario)
    assert truth
    assert len({label.device_id for label in truth}) == len(truth)
    if kind not in WITHOUT_TARGETS:
        assert scenario.timeline[0].targets is not None
        assert len(truth) == scenario.timeline[0].targets.how_many(12 if targets["group"] == "meter" else 4)
        assert all(label.device_id.startswith(str(targets["group"])) for label in truth)
    for label in truth:
        assert (label.phase, label.kind, label.end) == ("p", kind, END)
        assert (label.label == "attack") == kind.startswith("attack.")
        assert START <= label.start < label.end
    assert played(scenario) != played(QUIET)


@pytest.mark.parametrize("kind", sorted(set(BEHAVIOURS) - {"benign.onboarding"}))
def test_nothing_differs_before_a_phase_and_the_same_seed_gives_the_same_bytes(kind: str) -> None:
    scenario = with_phase(kind)
    assert played(scenario, 0, START) == played(QUIET, 0, START)
    assert played(scenario) == played(scenario)
    assert played(scenario) != played(scenario.model_copy(update={"seed": 99}))


@pytest.mark.parametrize("kind", sorted(BEHAVIOURS))
def test_devices_that_take_no_part_behave_as_without_it(kind: str) -> None:
    scenario = with_phase(kind, targets={"group": "meter", "count": 3})
    taking_part = {label.device_id for label in labels(scenario)}

    def others(played: Scenario) -> list[tuple[Nanoseconds, bytes]]:
        found = publishes(played, 0, SMALL.duration)
        return [(at, c.reading.payload) for at, c in found if c.device.device_id not in taking_part]

    assert others(scenario) == others(QUIET)


@pytest.mark.parametrize("kind", sorted(BEHAVIOURS))
@pytest.mark.parametrize("length", ["1ms", "100ms", "2s"])
def test_a_phase_too_short_for_its_behaviour_ends_in_time(kind: str, length: str) -> None:
    scenario = with_phase(kind, **{"for": length})
    until = scenario.timeline[0].until
    for label in labels(scenario):
        assert START <= label.start <= label.end == until
    after = [
        json.loads(c.reading.payload) for _, c in publishes(scenario, until + 6 * SECOND, SMALL.duration)
    ]
    assert {len(body.get("diag", "")) for body in after} == {0}
    assert (
        counts(scenario, until + 5 * SECOND, until + 45 * SECOND).keys()
        == counts(QUIET, 0, SMALL.duration).keys()
    )
    faults = [c.step.on for _, c in trace(scenario, start=0) if isinstance(c, Fault)]
    assert faults in ([], [True, False]), "a fault undoes itself"


@pytest.mark.parametrize("kind", sorted(BEHAVIOURS))
def test_a_behaviour_is_documented(kind: str) -> None:
    behaviour = BEHAVIOURS[kind]
    assert behaviour.__doc__
    assert re.fullmatch(r"(benign|attack|fault)\.[a-z0-9_]+", kind)
    behaviour()  # every parameter has a default


def test_the_format_has_the_behaviours_that_its_description_names() -> None:
    named = {
        "benign": "diurnal flash_crowd firmware_rollout reconnect_storm backfill_burst onboarding sampling_change "
        "alarm_cascade maintenance_silence clock_skew qos_duplicates battery_saver",
        "attack": "publish_flood low_and_slow coordinated_botnet connect_flood slow_connect credential_bruteforce "
        "client_id_takeover topic_enumeration unauthorised_publish oversize_payload malformed_payload exfiltration "
        "sensor_spoof replay c2_beacon bill_abuse mimic",
        "fault": "broker_restart network_drop latency throttle service_error handler_crash stream_lag "
        "service_latency emulator_restart duplicate_delivery reorder poison_message clock_jump",
    }
    assert set(BEHAVIOURS) == {
        f"{family}.{name}" for family, names in named.items() for name in names.split()
    }


def test_targets_are_picked_by_the_seed() -> None:
    def picked(seed: int) -> set[str]:
        scenario = with_phase("attack.publish_flood", targets={"group": "meter", "count": 3})
        return {label.device_id for label in labels(scenario.model_copy(update={"seed": seed}))}

    assert picked(1) == picked(1)
    assert len({frozenset(picked(seed)) for seed in range(10)}) > 5
    first = with_phase("attack.publish_flood", targets={"group": "meter", "fraction": 0.25, "pick": "first"})
    assert [label.device_id for label in labels(first)] == ["meter-0001", "meter-0002", "meter-0003"]


def test_phases_are_announced() -> None:
    told = [
        (at, c.phase.id)
        for at, c in trace(with_phase("attack.publish_flood"), start=0)
        if isinstance(c, PhaseStarted | PhaseEnded)
    ]
    assert told == [(START, "p"), (END, "p")]


def test_a_rollout_reboots_in_waves_and_comes_back_with_new_firmware() -> None:
    scenario = with_phase(
        "benign.firmware_rollout",
        targets={"group": "meter", "waves": 3},
        **{"with": {"rate_factor": 3.0, "extra_bytes": 100, "new_fw": "9.9"}},
    )
    gone = {device: at for at, device in moments(scenario, Disconnect)}
    back = {device: at for at, device in moments(scenario, Connect)}
    assert gone.keys() == back.keys()
    assert len(gone) == 12
    assert all(SECOND <= back[device] - gone[device] <= 3 * SECOND for device in gone)
    assert all(not c.abrupt for _, c in trace(scenario) if isinstance(c, Disconnect))
    waves = Counter(round((at - START) / SECOND) // 3 for at in gone.values())  # at 0, 3.3 and 6.7 s
    assert waves == {0: 4, 1: 4, 2: 4}
    for at, command in publishes(scenario, 0, SMALL.duration):
        body = json.loads(command.reading.payload)
        device = command.device.device_id
        if device not in gone:
            continue
        assert not gone[device] <= at < back[device], "a rebooting device measures nothing"
        assert body["fw"] == ("9.9" if at >= back[device] else "1.4.2")
        assert len(body.get("diag", "")) == (100 if back[device] <= at < END else 0)
    quick = counts(scenario, END - 8 * SECOND, END)
    usual = counts(QUIET, END - 8 * SECOND, END)
    assert sum(quick[d] for d in gone) == pytest.approx(3 * sum(usual[d] for d in gone), rel=0.15)
    for label in labels(scenario):
        assert label.start == gone[label.device_id]


def test_a_storm_drops_all_together_and_sends_what_was_kept() -> None:
    scenario = with_phase("benign.reconnect_storm", **{"with": {"outage": "6s"}})
    gone, back = moments(scenario, Disconnect), moments(scenario, Connect)
    assert len(gone) == len(back) == 12
    assert max(at for at, _ in gone) - min(at for at, _ in gone) < SECOND // 5
    assert min(at for at, _ in back) >= START + 6 * SECOND
    assert max(at for at, _ in back) < END
    assert len({at for at, _ in back}) == 12, "jitter spreads them"
    assert all(c.abrupt for _, c in trace(scenario) if isinstance(c, Disconnect))
    total, usual = counts(scenario, 0, SMALL.duration), counts(QUIET, 0, SMALL.duration)
    assert total == usual, "nothing is lost"
    bursts = Counter((at, c.device.device_id) for at, c in publishes(scenario))
    assert all(bursts[at, device] >= 3 for at, device in back)


def test_a_flood_is_as_loud_as_its_factor_and_rises_over_its_ramp() -> None:
    parameters = {"rate_factor": 20, "ramp": "10s"}
    scenario = with_phase(
        "attack.publish_flood", targets={"group": "meter", "count": 2}, **{"with": parameters}
    )
    bots = {label.device_id for label in labels(scenario)}

    def rate(begin: int, end: int) -> float:
        seen = counts(scenario, begin * SECOND, end * SECOND)
        return sum(seen[bot] for bot in bots) / (end - begin) / len(bots)

    assert rate(42, 50) == pytest.approx(20, rel=0.1)
    assert rate(30, 32) < rate(33, 36) < rate(37, 40) < 19
    assert rate(55, 75) == pytest.approx(1, rel=0.2)


def test_a_botnet_starts_together_a_little_louder_on_topics_of_its_own() -> None:
    parameters = {"odd_rate": 2, "topics": ["dt/{type}/{device}/c2/beacon", "x/{device}"], "rate_factor": 4}
    scenario = with_phase(
        "attack.coordinated_botnet", targets={"group": "meter", "count": 3}, **{"with": parameters}
    )
    truth = labels(scenario)
    assert {label.start for label in truth} == {START}
    known = {c.reading.topic for _, c in publishes(QUIET, 0, SMALL.duration)}
    odd = [(at, c) for at, c in publishes(scenario, 0, SMALL.duration) if c.reading.topic not in known]
    assert {c.device.device_id for _, c in odd} == {label.device_id for label in truth}
    assert {c.reading.topic for _, c in odd} == {
        topic
        for label in truth
        for topic in (f"dt/meter/{label.device_id}/c2/beacon", f"x/{label.device_id}")
    }
    assert all(START <= at < END for at, _ in odd)
    assert len(odd) == pytest.approx(3 * 2 * 20, rel=0.1)
    first = {c.device.device_id: at for at, c in reversed(odd)}
    assert max(first.values()) < START + SECOND // 2
    own = Counter(c.device.device_id for _, c in publishes(scenario) if c.reading.topic in known)
    assert sum(own[label.device_id] for label in truth) == pytest.approx(3 * 4 * 20, rel=0.1)


def test_a_plan_of_a_long_phase_stays_small() -> None:
    parameters = {"odd_rate": 1000}
    phase = with_phase("attack.coordinated_botnet", **{"with": parameters}).timeline[0]
    long = phase.model_copy(update={"length": 7200 * SECOND})
    player = Player(SMALL.model_copy(update={"timeline": (long,), "duration": 10_000 * SECOND}))
    player.start(0)
    assert len(player._heap) < 100


def bodies(
    scenario: Scenario, device: str, begin: Nanoseconds = START, end: Nanoseconds = END
) -> list[bytes]:
    return [c.reading.payload for _, c in publishes(scenario, begin, end) if c.device.device_id == device]


def first_target(scenario: Scenario) -> str:
    return labels(scenario)[0].device_id


def test_spoofed_values_are_false_and_nothing_else_is() -> None:
    one = {"group": "meter", "count": 1}
    for mode, by in (("scale", 3.0), ("offset", 50.0), ("fixed", 7.0), ("drift", 20.0), ("freeze", 0.0)):
        parameters = {"fields": ["power_w"], "mode": mode, "by": by}
        scenario = with_phase("attack.sensor_spoof", targets=one, **{"with": parameters})
        device = first_target(scenario)
        false = [json.loads(body)["power_w"] for body in bodies(scenario, device)]
        true = [json.loads(body)["power_w"] for body in bodies(QUIET, device)]
        mean = sum(false) / len(false)
        usual = sum(true) / len(true)
        assert len(false) == pytest.approx(len(true), abs=2), "the rhythm is an honest one"
        if mode == "freeze":
            assert len(set(false)) == 1
        elif mode == "fixed":
            assert set(false) == {7.0}
        elif mode == "drift":
            assert mean - usual == pytest.approx(200, abs=80)
        else:
            assert mean == pytest.approx(usual * 3 if mode == "scale" else usual + 50, rel=0.1)


@pytest.mark.parametrize("breakage", ["truncated", "binary", "schema"])
def test_malformed_payloads_cannot_be_read_as_before(breakage: str) -> None:
    scenario = with_phase("attack.malformed_payload", **{"with": {"breakage": breakage}})
    for body in bodies(scenario, first_target(scenario)):
        if breakage == "schema":
            assert set(json.loads(body)) == {"v", "unit"}
        else:
            with pytest.raises(ValueError, match=r"."):
                json.loads(body)


def test_a_replay_repeats_earlier_payloads_byte_for_byte() -> None:
    scenario = with_phase("attack.replay", targets={"group": "meter", "count": 1}, **{"with": {"rate": 2}})
    device = first_target(scenario)
    before, sent = set(bodies(scenario, device, 0, START)), bodies(scenario, device)
    again = [body for body in sent if body in before or sent.count(body) > 1]
    assert len(again) == pytest.approx(40, abs=6)


def test_sizes_are_what_the_parameters_say() -> None:
    for kind, least in (("attack.oversize_payload", 100_000), ("attack.bill_abuse", 5_200)):
        scenario = with_phase(kind)
        assert {len(body) for body in bodies(scenario, first_target(scenario))} == {least}
    scenario = with_phase("attack.exfiltration", **{"with": {"bytes": 3000, "rate": 5}})
    blobs = [body for body in bodies(scenario, first_target(scenario)) if b"blob" in body]
    assert all(len(body) == pytest.approx(3000, abs=20) for body in blobs)
    assert len(blobs) == pytest.approx(100, abs=10)


def test_a_beacon_hardly_jitters() -> None:
    scenario = with_phase("attack.c2_beacon", **{"with": {"every": "2s"}})
    device = first_target(scenario)
    at = [
        at
        for at, c in publishes(scenario)
        if c.device.device_id == device and c.reading.topic.endswith("/hb")
    ]
    assert len(at) == pytest.approx(10, abs=1)
    assert all(b - a == pytest.approx(2 * SECOND, rel=0.03) for a, b in itertools.pairwise(at))


def test_enumeration_guesses_topics_and_asks_for_filters() -> None:
    scenario = with_phase("attack.topic_enumeration", targets={"group": "meter", "count": 1})
    device = first_target(scenario)
    topics = {c.reading.topic for _, c in publishes(scenario) if c.device.device_id == device}
    asked = [c.filters for _, c in trace(scenario, start=0) if isinstance(c, Subscribe)]
    assert len(topics) > 15
    assert len(asked) == 10
    assert all(len(filters) == 4 for filters in asked)


def test_outsiders_keep_their_rate_and_take_turns() -> None:
    scenario = with_phase("attack.connect_flood", **{"with": {"rate": 10, "clients": 7}})
    opened = [
        c.action for _, c in trace(scenario, start=0) if isinstance(c, Line) and isinstance(c.action, Open)
    ]
    assert len(opened) == pytest.approx(200, rel=0.05)
    assert len({action.line for action in opened}) == 7
    held = with_phase("attack.slow_connect", **{"with": {"rate": 5, "hold": "3s"}})
    actions = [(at, c.action) for at, c in trace(held, start=0) if isinstance(c, Line)]
    shut = {action.line: at for at, action in actions if isinstance(action, Shut)}
    first = {action.line: at for at, action in actions if isinstance(action, Open)}
    assert shut.keys() == first.keys()
    assert all(0 < shut[line] - first[line] <= 3 * SECOND for line in first)


def test_latency_delays_and_keeps_the_order() -> None:
    parameters = {"delay": "2s", "jitter": "90%"}
    scenario = with_phase("fault.latency", targets={"group": "meter", "count": 1}, **{"with": parameters})
    device = first_target(scenario)
    found = [
        (at, json.loads(c.reading.payload)) for at, c in publishes(scenario) if c.device.device_id == device
    ]
    assert [body["seq"] for _, body in found] == sorted(body["seq"] for _, body in found)
    late = [at / 1e9 - body["ts"] / 1e3 for at, body in found]
    assert max(late) > 1.5
    usual = counts(QUIET, 0, SMALL.duration)[device]
    assert counts(scenario, 0, SMALL.duration)[device] == pytest.approx(usual, abs=2)


def test_duplicates_are_sent_twice_and_new_devices_come_late() -> None:
    scenario = with_phase("benign.qos_duplicates", **{"with": {"share": "50%"}})
    sent = Counter(bodies(scenario, first_target(scenario)))
    assert set(sent.values()) == {1, 2}
    arriving = with_phase("benign.onboarding", targets={"group": "meter", "count": 4})
    joined = {device: at for at, device in moments(arriving, Connect)}
    assert len(joined) == 4
    assert all(START <= at <= START + 10 * SECOND for at in joined.values())
    assert not counts(arriving, 0, START).keys() & joined.keys()


def test_a_device_obeys_commands_and_its_shadow() -> None:
    fleet = tuple(group.model_copy(update={"shadow": group.group == "pump"}) for group in QUIET.fleet)
    player = Player(QUIET.model_copy(update={"fleet": fleet}))
    told = [c for device in player.devices for c in player.connected(device)]
    assert [c.reading.topic for c in told if isinstance(c, Publish)] == [
        f"$aws/things/pump-{number:04d}/shadow/update" for number in range(1, 5)
    ]
    player.start(0)
    pump = player.devices["pump-0001"]
    delta = json.dumps({"version": 2, "state": {"rate_factor": 4}}).encode()
    (report,) = player.message("pump-0001", "$aws/things/pump-0001/shadow/update/delta", delta, SECOND)
    assert isinstance(report, Publish)
    assert json.loads(report.reading.payload)["state"]["reported"]["rate_factor"] == 4
    assert pump.rate_factor == 4
    (gone,) = player.message("meter-0001", "cmd/meter/meter-0001/do", b'{"reboot": 3}', SECOND)
    assert isinstance(gone, Disconnect)
    back = [c for c in player.advance(5 * SECOND) if isinstance(c, Connect)]
    assert [c.device.device_id for c in back] == ["meter-0001"]
    for odd in (b"", b"[]", b'{"reboot": -1}', b'{"rate_factor": 1e9}', b'{"rate_factor": "x"}'):
        assert list(player.message("meter-0001", "cmd/meter/meter-0001/do", odd, SECOND)) == []
