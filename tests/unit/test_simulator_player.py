import json
from collections import Counter
from pathlib import Path

import pytest
from simulator_files import BASE, scenario

from contracts.messages import SECOND
from simulator.player import Command, Connect, Disconnect, PhaseEnded, PhaseStarted, Player, Publish, trace
from simulator.scenario import Scenario

ALL = "targets: {group: meter}"
TWO = "targets: {group: meter, count: 2}"
ROLLOUT = f"id: p, at: 20s, for: 15s, kind: benign.firmware_rollout, {ALL}"
STORM = f"id: p, at: 20s, for: 15s, kind: benign.reconnect_storm, {ALL}"
FLOOD = f"id: p, at: 20s, for: 15s, kind: attack.publish_flood, {TWO}"
BOTNET = f"id: p, at: 20s, for: 15s, kind: attack.coordinated_botnet, {TWO}"


def played(scenario: Scenario) -> list[tuple[float, Command]]:
    return [(at / SECOND, command) for at, command in trace(scenario)]


def lines(scenario: Scenario) -> list[str]:
    return [
        f"{at} {command.device.device_id} {command.reading.topic} {command.reading.payload!r}"
        for at, command in played(scenario)
        if isinstance(command, Publish)
    ]


def counts(scenario: Scenario, start: float, end: float) -> Counter[str]:
    return Counter(
        command.device.device_id
        for at, command in played(scenario)
        if isinstance(command, Publish) and start <= at < end
    )


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first = lines(scenario(tmp_path, BOTNET))
    assert first == lines(scenario(tmp_path, BOTNET))
    assert first != lines(scenario(tmp_path, BOTNET, base=BASE.replace("seed: 3", "seed: 4")))
    assert len(first) > 200


def test_devices_publish_at_their_rate_with_growing_sequence_numbers(tmp_path: Path) -> None:
    quiet = scenario(tmp_path)
    per_device = counts(quiet, 0, 40)
    assert len(per_device) == 6
    assert all(30 <= count <= 50 for count in per_device.values())
    mine = [
        c.reading for _, c in played(quiet) if isinstance(c, Publish) and c.device.device_id == "meter-0003"
    ]
    bodies = [json.loads(reading.payload) for reading in mine]
    assert [body["seq"] for body in bodies] == list(range(1, len(bodies) + 1))
    assert set(bodies[0]) == {"ts", "seq", "power_w", "temp_c", "wave", "state", "fw"}
    assert mine[0].topic == "dt/meter/meter-0003/telemetry"
    assert all(-1 <= body["wave"] <= 1 and body["state"] in ("running", "idle") for body in bodies)


def test_the_timeline_is_announced(tmp_path: Path) -> None:
    seen = [
        (at, type(c))
        for at, c in played(scenario(tmp_path, FLOOD))
        if isinstance(c, PhaseStarted | PhaseEnded)
    ]
    assert seen == [(20.0, PhaseStarted), (35.0, PhaseEnded)]


@pytest.mark.parametrize("entry", [ROLLOUT, STORM, FLOOD, BOTNET])
def test_every_behaviour_proves_itself(tmp_path: Path, entry: str) -> None:
    """Its ground truth is not empty, and its traffic differs from the same scenario without it."""
    with_it = scenario(tmp_path, entry)
    player = Player(with_it)
    player.start(0)
    family = entry.partition("kind: ")[2].partition(".")[0]
    assert {label.label for label in player.labels} == {family}
    assert all(20 * SECOND <= label.start < label.end == 35 * SECOND for label in player.labels)
    behaved, quiet = lines(with_it), lines(scenario(tmp_path))
    assert behaved != quiet
    before = [line for line in behaved if float(line.split()[0]) < 20]
    assert before == [line for line in quiet if float(line.split()[0]) < 20]


def test_a_flood_is_loud_on_its_targets_only_and_ends(tmp_path: Path) -> None:
    flood = scenario(tmp_path, FLOOD + ", with: {rate_factor: 20}")
    player = Player(flood)
    player.start(0)
    hostile = {label.device_id for label in player.labels}
    during, after = counts(flood, 21, 35), counts(flood, 37, 40)
    assert len(hostile) == 2
    assert all(during[device] > 200 for device in hostile)
    assert all(count < 30 for device, count in during.items() if device not in hostile)
    assert all(count <= 8 for count in after.values())


def test_a_ramp_rises(tmp_path: Path) -> None:
    ramp = scenario(tmp_path, FLOOD + ", with: {rate_factor: 40, ramp: 10s}")
    early, late = (sum(counts(ramp, *span).values()) for span in ((20, 23), (31, 34)))
    assert late > 3 * early


def test_bots_talk_on_topics_of_their_own(tmp_path: Path) -> None:
    seen = played(scenario(tmp_path, BOTNET))
    odd = [(at, c) for at, c in seen if isinstance(c, Publish) and c.reading.topic.endswith("/c2")]
    assert {c.device.device_id for _, c in odd if isinstance(c, Publish)} == {
        c.device.device_id
        for _, c in odd
        if isinstance(c, Publish) and c.reading.topic.startswith("dt/meter/")
    }
    assert 20 <= len(odd) <= 40  # two bots, one a second, fifteen seconds
    assert all(20 <= at < 35 for at, _ in odd)


def test_a_rollout_reboots_updates_and_grows_the_payload_in_waves(tmp_path: Path) -> None:
    entry = (
        ROLLOUT.replace("group: meter", "group: meter, waves: 3")
        + ', with: {new_fw: "9.9", extra_bytes: 500}'
    )
    seen = played(scenario(tmp_path, entry))
    gone = sorted(at for at, c in seen if isinstance(c, Disconnect))
    assert len(gone) == 6
    assert gone[0] < 21.1
    assert 25 <= gone[-1] < 26.1  # the third wave starts after two thirds of half of 15 s
    last = [c.reading.payload for at, c in seen if isinstance(c, Publish) and 30 < at < 35]
    assert all(json.loads(payload)["fw"] == "9.9" and len(payload) > 600 for payload in last)
    after = [c.reading.payload for at, c in seen if isinstance(c, Publish) and at > 35.1]
    assert all(json.loads(payload)["fw"] == "9.9" and len(payload) < 300 for payload in after)


def test_a_storm_keeps_its_readings_and_sends_them_when_it_is_back(tmp_path: Path) -> None:
    seen = played(scenario(tmp_path, STORM + ", with: {outage: 5s, spread: 1s}"))
    silent = [at for at, c in seen if isinstance(c, Publish) and 20.3 < at < 24.9]
    assert silent == []
    back = [at for at, c in seen if isinstance(c, Connect)]
    assert len(back) == 6
    assert all(25 <= at <= 26.2 for at in back)
    sent = [
        (c.device.device_id, json.loads(c.reading.payload)["seq"]) for _, c in seen if isinstance(c, Publish)
    ]
    assert len(sent) == len(set(sent))
    for device_id in {name for name, _ in sent}:
        mine = sorted(number for name, number in sent if name == device_id)
        assert mine == list(range(1, len(mine) + 1))  # none is missing
    burst = sum(1 for at, c in seen if isinstance(c, Publish) and 25 <= at <= 26.3)
    assert burst >= 24  # some five seconds of six devices


def test_a_lost_device_tries_again_with_growing_pauses_and_keeps_its_readings(tmp_path: Path) -> None:
    player = Player(scenario(tmp_path))
    for device_id in player.devices:
        list(player.connected(device_id))
    player.start(0)
    now, tries = 0, []
    player.lost("meter-0001", now)
    while now < 60 * SECOND:
        now = player.next_due() or 0
        for command in player.advance(now):
            if isinstance(command, Connect):
                tries.append(now / SECOND)
                player.lost(command.device.device_id, now)
    pauses = [later - earlier for earlier, later in zip([0.0, *tries], tries, strict=False)]
    assert len(tries) >= 4
    assert all(0.5 * 2**n <= pause <= 1.5 * 2**n + 0.01 for n, pause in enumerate(pauses[:5]))
    kept = len(player.devices["meter-0001"].kept)
    assert kept > 30
    assert len(list(player.connected("meter-0001"))) == kept
