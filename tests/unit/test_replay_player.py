"""The recording's player: what every client does and when, and what happens when connections fail."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from contracts.messages import SECOND, Nanoseconds
from simulator import wire
from simulator.commands import (
    Command,
    Connect,
    Disconnect,
    Line,
    PhaseEnded,
    PhaseStarted,
    Publish,
    Subscribe,
)
from simulator.device import MAX_KEPT, Reading
from simulator.lines import Open
from simulator.recorded_labels import ANYBODY, RecordedLabel
from simulator.recording import Recording, Row
from simulator.replaying import ReplayPlayer, default_training

START = 1000 * SECOND


def row(second: float, client_id: str = "a", event: Any = "publish", **more: Any) -> Row:
    topic = more.get("topic", f"plant/press/{client_id}/data" if event == "publish" else "")
    at = START + int(second * SECOND)
    return Row(
        at, event, client_id, topic, more.get("payload", b"1"), more.get("qos", 1), more.get("code", 0)
    )


def recording(*rows: Row) -> Recording:
    return Recording(Path("r.csv"), tuple(sorted(rows, key=lambda one: one.at)), 0)


def playing(*rows: Row, labels: Sequence[RecordedLabel] = (), train: int = 100) -> ReplayPlayer:
    """Started at its own time, with those of the beginning connected."""
    player = ReplayPlayer(recording(*rows), labels=labels, train_until=train * SECOND)
    for device in player.expected:
        list(player.connected(device.device_id))
    player.start(recording(*rows).start)
    return player


def names(commands: Iterable[Command]) -> list[str]:
    return [type(command).__name__ for command in commands]


def done(player: ReplayPlayer, second: float) -> list[Command]:
    """What is due by then; every connect succeeds at once."""
    told: list[Command] = []
    for command in player.advance(START + int(second * SECOND)):
        told.append(command)
        if isinstance(command, Connect):
            told += player.connected(command.device.device_id)
    return told


def test_messages_come_at_their_times_with_their_bytes() -> None:
    player = playing(row(2, payload=b"two", qos=2), row(1, payload=b"one", qos=0))
    assert player.next_due() == START + SECOND
    (first,) = done(player, 1)
    assert isinstance(first, Publish)
    assert first.reading == Reading("plant/press/a/data", b"one", 0)
    (second,) = done(player, 2)
    assert isinstance(second, Publish)
    assert (second.reading.payload, second.reading.qos) == (b"two", 1)  # our clients speak QoS 0 and 1
    assert player.next_due() is None
    assert (player.played, player.rows) == (2, 2)


def test_another_clock_moves_everything_by_the_same() -> None:
    player = ReplayPlayer(recording(row(0.5), row(3)), train_until=SECOND)
    later: Nanoseconds = 5_000 * SECOND
    player.start(later)
    assert player.next_due() == later + SECOND // 2


def test_nothing_happens_before_the_start() -> None:
    player = ReplayPlayer(recording(row(1)), train_until=SECOND)
    assert player.next_due() is None
    assert list(player.advance(START + 5 * SECOND)) == []


def test_who_was_there_is_expected_and_who_comes_later_is_not() -> None:
    player = playing(row(1, "old"), row(2, "comes", "connect"), row(3, "comes"), row(60, "new"), train=50)
    assert [device.device_id for device in player.expected] == ["old"]
    assert (player.online, sorted(player.devices)) == (1, ["comes", "new", "old"])
    assert player.devices["old"].device_type == "press"
    assert names(done(player, 5)) == ["Publish", "Connect", "Publish"]
    assert names(done(player, 60)) == ["Connect", "Publish"]  # a device that nobody knew, and no error
    assert player.online == 3


def test_a_refused_connect_is_a_line_that_every_broker_refuses() -> None:
    player = playing(row(1), row(2, "thief", "connect", code=5), row(3, "a", "connect", code=4))
    told = [command for command in done(player, 5) if isinstance(command, Line)]
    assert [command.action for command in told] == [
        Open("refused/0", wire.refused_connect("thief")),
        Open("refused/1", wire.refused_connect("a")),
    ]
    assert set(player.devices) == {"a"}
    assert player.devices["a"].online  # it was not the device that was refused


def test_coming_sending_and_leaving_may_have_one_time() -> None:
    player = playing(row(1), row(5, "b", "connect"), row(5, "b"), row(5, "b", "disconnect"))
    done(player, 4)
    assert names(player.advance(START + 5 * SECOND)) == ["Connect"]  # no answer yet
    assert player.kept == 1
    assert names(player.connected("b")) == ["Publish", "Disconnect"]
    assert (player.kept, player.online, player.devices["b"].wanted) == (0, 1, False)


def test_a_client_that_left_comes_back_with_its_next_row() -> None:
    player = playing(row(1), row(2, "a", "disconnect"), row(3))
    told = done(player, 2)
    assert names(told) == ["Publish", "Disconnect"]
    assert told[1] == Disconnect(player.devices["a"], abrupt=False)
    assert names(done(player, 3)) == ["Connect", "Publish"]


def test_a_connect_of_a_connected_client_replaces_its_connection() -> None:
    player = playing(row(1), row(2, "a", "connect"), row(3))
    assert names(done(player, 3)) == ["Publish", "Disconnect", "Connect", "Publish"]


def test_filters_are_asked_for_once_and_again_after_a_reconnect() -> None:
    player = playing(row(1), row(2, "a", "subscribe", topic="cmd/#"), row(3, "b", "subscribe", topic="x/+"))
    told = done(player, 3)
    assert told[1] == Subscribe(player.devices["a"], ("cmd/#",))
    assert player.devices["a"].listens == ("cmd/#",)
    assert told[-1] == Subscribe(player.devices["b"], ("x/+",))


def test_a_filter_asked_for_while_connecting_is_asked_for_afterwards() -> None:
    player = playing(row(1), row(5, "b", "connect"), row(5, "b", "subscribe", topic="cmd/b"))
    assert names(player.advance(START + 5 * SECOND)) == ["Publish", "Connect"]
    assert list(player.connected("b")) == [Subscribe(player.devices["b"], ("cmd/b",))]


def test_a_lost_client_keeps_its_messages_and_tries_again_ever_later() -> None:
    player = playing(row(1), *(row(10 + second) for second in range(30)), train=5)
    done(player, 1)
    waits = []
    for _ in range(3):
        now = START + 2 * SECOND
        player.lost("a", now)
        retry = player._heap[0][0]
        waits.append((retry - now) / SECOND)
        assert names(player.advance(retry)) == ["Connect"]
    assert 0.5 <= waits[0] <= 1.5
    assert 2 <= waits[2] <= 6
    list(player.advance(START + 50 * SECOND))
    assert player.kept == 30
    assert len([one for one in player.connected("a") if isinstance(one, Publish)]) == 30
    assert player.kept == 0


def test_what_is_kept_is_bounded() -> None:
    player = playing(row(1), *(row(2 + number / 1000) for number in range(MAX_KEPT + 20)))
    done(player, 1)
    player.lost("a", START + SECOND)
    for command in player.advance(START + 9 * SECOND):
        assert isinstance(command, Connect)
    assert (player.kept, player.dropped_unsent, player.kept_capacity) == (MAX_KEPT, 20, MAX_KEPT)


def test_a_full_connection_gets_the_rest_when_it_can_take_some() -> None:
    player = playing(row(1, payload=b"one"), row(2, payload=b"two"))
    (refused,) = done(player, 1)
    assert isinstance(refused, Publish)
    player.unsent("a", refused.reading)
    (again,) = [one for one in player.advance(START + 2 * SECOND) if isinstance(one, Publish)][:1]
    assert again.reading.payload == b"one"  # in the order of the recording


def test_labels_become_phases_with_their_devices() -> None:
    labels = (
        RecordedLabel("flood", "attack", START + 3 * SECOND, START + 5 * SECOND, ("a", "b")),
        RecordedLabel("move", "benign", START + 4 * SECOND, START + 6 * SECOND, ()),
    )
    player = playing(row(1), row(9), labels=labels)
    assert [(phase.id, phase.kind, phase.devices) for phase in player.phases] == [
        ("flood", "attack.recorded", 2),
        ("move", "benign.recorded", 0),
    ]
    assert [label.device_id for label in player.labels] == ["a", "b", ANYBODY]
    told = [one for one in done(player, 9) if isinstance(one, PhaseStarted | PhaseEnded)]
    assert [(type(one).__name__, one.phase.id) for one in told] == [
        ("PhaseStarted", "flood"),
        ("PhaseStarted", "move"),
        ("PhaseEnded", "flood"),
        ("PhaseEnded", "move"),
    ]


def test_the_same_recording_gives_the_same_commands() -> None:
    def told() -> list[str]:
        player = playing(row(1), *(row(2 + second) for second in range(20)))
        player.lost("a", START + SECOND)
        return [f"{player.next_due()} {name}" for name in names(player.advance(START + 60 * SECOND))]

    assert told() == told()


def test_the_default_training_is_a_third_of_the_time_before_the_first_label() -> None:
    whole = recording(row(0), row(89.5))
    label = RecordedLabel("x", "benign", START + 40 * SECOND, START + 50 * SECOND, ())
    assert default_training(whole, ()) == 30 * SECOND
    assert default_training(whole, [label]) == 13 * SECOND
