"""What the gateway notices in payloads: shapes, numbers, old messages once more; bounded in time and memory."""

import json
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import inspection
from broker.inspection import Inspector, Notes
from broker.metrics import Metrics
from contracts.messages import SECOND, CloudMetric

TOPIC = "dt/meter/m1/telemetry"


def _play(payloads: list[bytes], *, topic: str = TOPIC) -> tuple[list[int], Notes, Inspector]:
    inspector, notes = Inspector(), Notes()
    return [inspector.look("m1", topic, payload, notes) for payload in payloads], notes, inspector


def _readings(count: int, *, start: int = 0) -> list[bytes]:
    rng = random.Random(1)
    return [
        json.dumps({"ts": 1_767_600_000_000 + n * 1000, "seq": n, "w": rng.uniform(1, 9)}).encode()
        for n in range(start, start + count)
    ]


def _shapes(inspector: Inspector) -> set[str]:
    return {line.partition(" ")[2] for line in inspector.close()}


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"b": 1, "a": "x"}', "{a:s,b:n}"),
        (b'{"a": null, "c": [1], "d": {}, "e": true}', "{a:z,c:a,d:o,e:b}"),
        (b"[1, 2]", "a"),
        (b"21.5", "n"),
        (b'{"a": 1', "text"),
        (b"\xff\x00", "binary"),
        (b"[" * 5_000, "text"),
        (b"9" * 5_000, "text"),
        (b'{"a": ' + b"9" * 400 + b"}", "{a:n}"),
        (b"{" + b" " * inspection.MAX_BYTES, "large"),
        (b"", "text"),
    ],
)
def test_a_payload_has_a_shape(payload: bytes, text: str) -> None:
    _, _, inspector = _play([payload] * 6)
    assert _shapes(inspector) == {text}


def test_names_with_half_a_surrogate_pair_leave_the_gateway_in_utf_8() -> None:
    """A fleet's row with another text in it would be no row of the view: no shape of that second would be known."""
    _, notes, inspector = _play([b'{"\\ud800w": %d.5, "v": "x"}' % (n % 7) for n in range(30)])
    (line,) = notes.reading_lines((TOPIC,))
    assert line.endswith(r" \ud800w")
    assert _shapes(inspector) == {r"{\ud800w:n,v:s}"}


def test_readings_are_means_of_what_is_no_counter_and_no_clock() -> None:
    _, notes, _ = _play(_readings(30))
    assert {name for _, name in notes.readings} == {"w"}
    (line,) = notes.reading_lines((TOPIC,))
    place, mean, name = line.split(" ")
    assert (place, name) == ("0", "w")
    assert 1.0 < float(mean) < 9.0


def test_old_payloads_once_more_are_counted_and_a_duplicate_in_a_row_is_not() -> None:
    fresh = _readings(40)
    old, _, _ = _play([*fresh, fresh[-1], fresh[3], *_readings(2, start=40), fresh[4]])
    assert old == [0] * 41 + [1, 0, 0, 1]


def test_a_counter_that_starts_anew_is_no_replay() -> None:
    again = [payload.replace(b'"w"', b'"v"') for payload in _readings(30)]
    old, _, _ = _play([*_readings(30), *again])
    assert not any(old)


def test_old_counts_between_new_ones_are_a_replay_whatever_else_is_in_them() -> None:
    old_ones = [payload.replace(b'"w"', b'"v"') for payload in _readings(3)]
    old, _, _ = _play([*_readings(30), *old_ones, *_readings(2, start=30)])
    assert old == [0] * 33 + [3, 0]


def test_a_walk_is_no_counter() -> None:
    rng = random.Random(2)
    walk = [json.dumps({"v": rng.randrange(1_000_000)}).encode() for _ in range(300)]
    old, _, _ = _play(walk)
    assert not any(old)


def test_only_the_first_messages_of_a_second_and_then_one_in_some_are_looked_at() -> None:
    counting = Metrics()
    counts = counting.of("m1")
    for payload in _readings(1_000):
        counting.received(counts, "m1", TOPIC, payload)
    row: CloudMetric = counting.close(start=0, end=SECOND)[0]
    (shape,) = row.shapes
    looked = int(shape.split(" ")[2])
    assert looked == inspection.EAGER + 1_000 // inspection.STRIDE
    assert row.num_messages_received == 1_000


def test_no_more_than_the_budget_of_a_second_is_looked_at() -> None:
    inspector, notes = Inspector(), Notes()
    for number in range(inspection.PER_PERIOD + 10):
        inspector.look(f"m{number}", TOPIC, b"1", notes)
    assert notes.looked == inspection.PER_PERIOD
    inspector.close()
    inspector.look("m", TOPIC, b"1", notes)
    assert notes.looked == inspection.PER_PERIOD + 1


def test_memory_is_bounded_against_invented_topics_and_shapes() -> None:
    inspector = Inspector()
    for number in range(2 * inspection.MAX_STREAMS):
        inspector.look("m1", f"t/{number}", b'{"f%d": 1}' % number, Notes())
        inspector._looked = 0
    assert len(inspector._streams) == inspection.MAX_STREAMS
    assert len(inspector._shapes) <= 4 * inspection.MAX_SHAPES
    assert len(inspector.close()) == inspection.MAX_SHAPES


@given(st.lists(st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()), max_size=30))  # fmt: skip
def test_no_payload_breaks_it(payloads: list[bytes]) -> None:
    _, notes, inspector = _play(payloads)
    for line in notes.reading_lines((TOPIC,)):
        assert abs(float(line.split(" ", 2)[1])) < sys.float_info.max
    assert sum(count for found in notes.shapes.values() for count in found.values()) <= len(payloads)
    assert all(" " in line for line in inspector.close())
