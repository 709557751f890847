"""Shares of a fleet: together they do what the whole does, each device in one of them, nothing twice."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import SECOND
from simulator.behaviours.base import FaultStep, LineStep, Step
from simulator.commands import Connect, Line, Order, PhaseEnded, PhaseStarted
from simulator.lines import Shut
from simulator.player import Player
from simulator.scenario import Scenario, load
from simulator.share import EVERYBODY, Share

ZERO = 1_000 * SECOND

TEXT = """\
scenario: v1
name: shared
duration: 60s
seed: 11
fleet:
  - {group: meter, count: 7, topic: "dt/meter/{device}/t", every: {dist: lognormal, mean: 2s, jitter: 20%}}
  - {group: valve, count: 4, topic: "dt/valve/{device}/t", every: 5s}
timeline:
  - {id: rollout, at: 5s, for: 20s, kind: benign.firmware_rollout, targets: {group: meter, count: 4, waves: 2}}
  - {id: storm, at: 30s, for: 10s, kind: benign.reconnect_storm, targets: {group: valve}, with: {outage: 3s}}
  - {id: bots, at: 42s, for: 10s, kind: attack.coordinated_botnet, targets: {group: meter, count: 3}}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    (tmp_path / "shared.yaml").write_text(TEXT)
    return load(tmp_path / "shared.yaml")


def played(player: Player, scenario: Scenario) -> Iterator[tuple[Any, ...]]:
    """All commands with their times, every connect succeeding at once, every job obeyed."""
    for device in player.expected:
        list(player.connected(device.device_id))
    player.start(ZERO)
    while (due := player.next_due()) is not None and due <= ZERO + scenario.duration:
        for command in player.advance(due):
            if isinstance(command, PhaseStarted | PhaseEnded):
                continue
            yield due, command
            device = getattr(command, "device", None)
            if isinstance(command, Connect) and device is not None:
                list(player.connected(device.device_id))
            if isinstance(command, Order) and device is not None:
                list(player.message(device.device_id, command.topic, command.payload, due))


def told(commands: Iterator[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    return Counter(
        (due, type(one).__name__, one.device.device_id, getattr(one, "reading", None))
        for due, one in commands
    )


@pytest.mark.parametrize("of", [2, 3, 20])
def test_all_shares_together_do_what_the_whole_fleet_does(scenario: Scenario, of: int) -> None:
    whole = told(played(Player(scenario), scenario))
    parts = [told(played(Player(scenario, Share(index, of)), scenario)) for index in range(of)]
    assert sum(parts, Counter()) == whole
    devices = [{key[2] for key in part} for part in parts]
    assert sum(map(len, devices)) == 11, "no device is in two shares"
    assert {key[1] for key in whole} >= {"Publish", "Connect", "Disconnect", "Order"}


def test_every_share_knows_the_whole_truth(scenario: Scenario) -> None:
    players = [Player(scenario, Share(index, 3)) for index in range(3)]
    for player in players:
        player.start(ZERO)
    first, *others = players
    assert len(first.labels) >= 3
    assert all((one.labels, one.phases) == (first.labels, first.phases) for one in others)
    assert [len(one.devices) for one in players] == [4, 4, 3]
    assert [one.kept_capacity for one in players] == [4_000, 4_000, 3_000]


def test_what_is_no_device_s_belongs_to_the_first_share() -> None:
    places = {"meter-0001": 0, "meter-0002": 1}
    line, fault = LineStep(0, Shut("x")), FaultStep(0, "broker_down", "p", {}, on=True)
    step = Step(0, "off", "meter-0002", "p")
    for index, shares in ((0, [True, True, False]), (1, [False, False, True])):
        share = Share(index, 2)
        assert [share.does(one, places) for one in (line, fault, step)] == shares
    assert all(EVERYBODY.does(one, places) for one in (line, fault, step))
    assert Line(line.action) == Line(Shut("x"))
