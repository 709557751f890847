"""What benches count, compare and write."""

import json
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from broker import packets
from contracts.errors import BackendError, UnknownName
from thingstorm.bench import gateway, pipeline, rules, simulator
from thingstorm.bench import loads as bench_loads
from thingstorm.bench.gateway_load import (
    HEAD,
    Publisher,
    Throughput,
    connect_packet,
    frame_parts,
    subscribe_packet,
)
from thingstorm.bench.result import BenchResult


@pytest.mark.parametrize("qos", [0, 1])
def test_frames_are_publishes_of_200_bytes_of_json(qos: int) -> None:
    start, rest = frame_parts(42, qos)
    stream = start + (b"\x00\x07" if qos else b"") + HEAD + b"%010d" % 9 + rest
    body = stream[3:]
    assert (stream[1] & 0x7F | stream[2] << 7) == len(body)
    packet = packets.parse(stream[0], body, level=4)
    assert isinstance(packet, packets.Publish)
    assert (packet.topic, packet.qos, len(packet.payload)) == ("dt/bench/dev00042/telemetry", qos, 200)
    assert json.loads(packet.payload)["seq"] == "0000000009"


def test_the_other_packets_are_what_they_say() -> None:
    connect = connect_packet("dev00001")
    parsed = packets.parse(connect[0], connect[2:], level=4)
    assert isinstance(parsed, packets.Connect)
    assert (parsed.client_id, parsed.clean_start) == ("dev00001", True)
    subscribe = subscribe_packet([b"cmd/a", b"cmd/b"], 1)
    parsed_subscribe = packets.parse(subscribe[0], subscribe[3:], level=4)
    assert isinstance(parsed_subscribe, packets.Subscribe)
    assert [one.name for one in parsed_subscribe.filters] == ["cmd/a", "cmd/b"]


def a_run(qos: int) -> tuple[Throughput, socket.socket]:
    """A run whose broker is the other end of a socket pair."""
    ours, theirs = socket.socketpair()
    run = Throughput.__new__(Throughput)
    publishers = [Publisher(number, theirs, *frame_parts(number, qos)) for number in range(2)]
    run._qos, run._subscriber, run._publishers = qos, ours, publishers
    run._half = run._acks = b""
    run.received = run.wrong = 0
    run._id_at = len(publishers[0].start)
    run._seq_at = run._id_at + 2 * bool(qos) + len(HEAD)
    run._device_at = 5 + len("dt/bench/dev")
    run._frame = len(publishers[0].start) + 2 * bool(qos) + len(HEAD) + 10 + len(publishers[0].rest)
    return run, theirs


@pytest.mark.parametrize("qos", [0, 1])
def test_messages_that_are_lost_doubled_or_passed_are_seen(qos: int) -> None:
    run, theirs = a_run(qos)
    frames = [
        b"".join((start, b"\x00\x05" if qos else b"", HEAD, b"%010d" % number, rest))
        for device, number in ((0, 0), (1, 0), (0, 1), (0, 1), (1, 2))
        for start, rest in [frame_parts(device, qos)]
    ]
    stream = b"".join(frames)
    for part in (stream[:300], stream[300:]):
        theirs.sendall(part)
        run._take_messages()
    assert (run.received, run.wrong) == (5, 2)
    assert [one.received for one in run._publishers] == [3, 2]
    assert run._acks == (b"\x40\x02\x00\x05" * 5 if qos else b"")
    theirs.close()
    with pytest.raises(ConnectionError):
        run._take_messages()
    run._subscriber.close()


def test_the_result_has_ratios_of_ours_to_each_peer_s() -> None:
    result = BenchResult("gateway", missing=["mosquitto"])
    result.add("qos0-1", "thingstorm", messages_per_s=(50.0, "1/s"), lost=(0.0, "messages"))
    result.add("qos0-1", "amqtt", messages_per_s=(10.0, "1/s"), lost=(1.0, "messages"))
    told = json.loads(json.dumps(result.as_json(["anyio"])))
    assert told["ratios"] == [
        {"case": "qos0-1", "metric": "messages_per_s", "of": "thingstorm", "to": "amqtt", "value": 5.0}
    ]
    assert told["rows"][0] == {
        "case": "qos0-1", "subject": "thingstorm", "metric": "messages_per_s", "value": 50.0, "unit": "1/s",
    }  # fmt: skip
    assert told["missing"] == ["mosquitto"]
    assert told["machine"]["versions"]["anyio"]
    columns, rows = result.table()
    assert columns == ("case", "metric", "thingstorm", "amqtt", "to amqtt")
    assert rows[0] == ("qos0-1", "messages_per_s", "50.00", "10.00", "5.00")


def test_an_unknown_case_is_told() -> None:
    for run in (gateway.run, pipeline.run, simulator.run):
        with pytest.raises(UnknownName):
            run(peers=False, quick=True, only=["qos0-2"], tell=lambda _: None)


def test_packages_that_are_not_installed_have_no_version() -> None:
    told = BenchResult("simulator").as_json(["anyio", "no-such-package-anywhere"])
    assert set(told["machine"]["versions"]) == {"anyio"}


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("json.nowhere", "No module named json.nowhere"),
        ("thingstorm.bench.simulator_load", "KeyError: .subject."),
    ],
)
def test_a_load_generator_that_fails_is_told_with_its_last_words(module: str, told: str) -> None:
    with pytest.raises(BackendError, match=f"flood with gmqtt: .*{told}") as caught:
        bench_loads.load(module, {"a": 1}, what="flood with gmqtt", limit_seconds=20)
    assert "--case" in caught.value.fix


def test_the_last_words_of_a_group_of_exceptions_are_found() -> None:
    assert bench_loads._last_words("  + Group\n    | E: no broker\n    +----------\n") == "E: no broker"
    assert bench_loads._last_words("\n") == "the load generator ended"


def test_quick_cases_are_the_same_cases_smaller() -> None:
    for case in simulator.CASES:
        assert set(case.quick) == set(case.settings)
        assert case.quick != case.settings
        assert all(
            case.quick[name] <= value
            for name, value in case.settings.items()
            if isinstance(value, int | float)
        )


def test_the_pipeline_is_told_as_a_share_of_the_ceiling_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bare loop runs before and after; half of what ours moved is played for the latency."""
    played: list[tuple[object, ...]] = []

    def load(_module: str, settings: Mapping[str, Any], **_: object) -> dict[str, float]:
        played.append((settings["subject"], settings["seconds"], settings.get("rate")))
        return {"messages_per_s": {1: 900.0, 2: 800.0, 3: 1100.0}.get(len(played), 400.0), "lost": 0.0}

    monkeypatch.setattr("thingstorm.bench.pipeline.load", load)
    result = pipeline.run(peers=False, quick=False, only=[], tell=lambda _: None)
    assert played == [
        ("ceiling", 15.0, None), ("thingstorm", 60.0, None), ("ceiling", 15.0, None), ("thingstorm", 30.0, 400.0),
    ]  # fmt: skip
    figures = {(row.case, row.subject): row.value for row in result.rows if row.metric == "messages_per_s"}
    assert figures["sustained", "ceiling"] == 1000.0
    assert result.notes == ["ours moves 0.80 of what the bare loop moves, and to the view"]


def test_the_bench_of_rules_counts_what_evaluates_two_of_three_messages() -> None:
    messages = rules._messages(6)
    assert {len(message.payload) for message in messages} == {200}
    ours, by_hand, ministack = rules._ours(3), rules._by_hand, rules._ministack(3)
    fired = [ours(message) for message in messages]
    assert [bool(one) for one in fired] == [False, True, True] * 2
    assert fired[1][0].result == by_hand(messages[1]) == ministack(messages[1])[0]
    assert rules._rate(lambda message: message, messages) > 0
    with pytest.raises(UnknownName, match="case of bench rules"):
        rules.run(peers=False, quick=True, only=["x"], tell=print)
