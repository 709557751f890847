"""What a recording says of its fleet, with true names and with random ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ConfigError
from contracts.messages import SECOND
from simulator.anonymising import Anonymiser
from simulator.inferring import MAX_CHOICES, Sketch
from simulator.model import Scenario
from simulator.recording import read_recording
from simulator.scenario import load
from thingstorm.runtime.recorder import Recorder

NOON = 1_767_614_400 * SECOND


def feed(
    sketch: Sketch, payloads: list[Any], *, device: str = "d1", kind: str = "meter", gap: float = 2.0
) -> None:
    for number, payload in enumerate(payloads):
        sketch.add(
            device_id=device,
            device_type=kind,
            topic=f"dt/{kind}/{device}/telemetry",
            payload=payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
            qos=1,
            now=NOON + int(number * gap * SECOND),
        )


def inferred(payloads: list[Any]) -> dict[str, Any]:
    sketch = Sketch()
    feed(sketch, payloads)
    (group,) = sketch.scenario("s", seconds=10)["fleet"]
    fields: dict[str, Any] = group["payload"]
    return fields


def test_a_group_has_the_count_the_topic_and_the_interval_of_its_type() -> None:
    sketch = Sketch()
    for number in range(3):
        feed(sketch, [{"v": 1}] * 6, device=f"d{number}", gap=2.5)
    feed(sketch, [{"v": 1}], device="p", kind="pump")
    values = sketch.scenario("s", seconds=12.2)
    meter, pump = values["fleet"]
    assert (meter["group"], meter["count"], meter["topic"]) == ("meter", 3, "dt/meter/{device}/telemetry")
    assert (meter["every"], meter["qos"]) == ({"dist": "lognormal", "mean": "2.500s", "jitter": 0.0}, 1)
    assert pump["every"] == {"mean": "12.200s"}  # it spoke once in all that time
    assert values["duration"] == "13s"
    assert Scenario.model_validate(values).device_count == 4


def test_fields_are_walks_constants_and_choices() -> None:
    fields = inferred(
        [
            {
                "ts": 1,
                "seq": 1,
                "v": 5,
                "same": 7,
                "state": "on",
                "flag": True,
                "deep": {"a": [1]},
                "none": None,
            },
            {
                "ts": 2,
                "seq": 2,
                "v": 9.5,
                "same": 7,
                "state": "off",
                "flag": False,
                "deep": {"a": [1]},
                "none": None,
            },
            {
                "ts": 3,
                "seq": 3,
                "v": 8,
                "same": 7,
                "state": "on",
                "flag": True,
                "deep": {"a": [1]},
                "none": None,
            },
        ]
    )
    assert fields == {
        "v": {"walk": {"start": 5.0, "step": 4.5, "min": 5.0, "max": 9.5}},
        "same": {"const": 7},
        "state": {"choice": ["on", "off"]},
        "flag": {"choice": [True, False]},
        "deep": {"const": {"a": [1]}},
        "none": {"const": None},
    }


def test_many_texts_become_the_first_of_them() -> None:
    assert inferred([{"id": f"t{number}"} for number in range(50)]) == {
        "id": {"choice": [f"t{number}" for number in range(MAX_CHOICES)]}
    }


def test_steps_are_those_of_one_device() -> None:
    sketch = Sketch()
    feed(sketch, [{"v": 1}, {"v": 2}], device="low")
    feed(sketch, [{"v": 100}, {"v": 101}], device="high")
    (group,) = sketch.scenario("s", seconds=10)["fleet"]
    assert group["payload"]["v"]["walk"] == {"start": 1.0, "step": 1.0, "min": 1.0, "max": 101.0}


@pytest.mark.parametrize("payload", [b"plain", b"\xff\x00", b"[1]", b'{"v": NaN}', b"", b'{"v":' * 3000])
def test_what_is_no_object_has_no_fields(payload: bytes) -> None:
    assert inferred([payload]) == {}


def test_names_that_a_scenario_does_not_know_are_made_so() -> None:
    sketch = Sketch()
    for kind in ("Meter 3", "meter 3", "3", "", "x" * 60):
        feed(sketch, [{"cost": "5$ and $more"}], kind=kind)
    groups = Scenario.model_validate(sketch.scenario("s", seconds=10)).fleet
    assert [group.group for group in groups] == ["meter-3", "meter-3-2", "type-3", "type", "x" * 40]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.lists(st.text(max_size=8), min_size=1, max_size=4).map("/".join),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
                max_leaves=6,
            ),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_whatever_was_recorded_gives_a_scenario_that_loads(
    tmp_path_factory: pytest.TempPathFactory, messages: list[tuple[str, str, Any]]
) -> None:
    recorder = Recorder(tmp_path_factory.mktemp("r"), anonymise=False)
    for number, (device, rest, payload) in enumerate(messages):
        topic = f"dt/{rest}/{device}".replace("+", "").replace("#", "").replace("\x00", "")
        recorder.take(NOON + number * SECOND, topic, json.dumps({"v": payload}).encode(), 0)
    recorder.finish()
    recorder.close()
    assert load(recorder.folder / "scenario.yaml").device_count >= 1
    assert len(read_recording(recorder.folder / "recording.ndjson").rows) == len(messages)


def test_a_recorder_writes_what_came(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new" / "folder", anonymise=False)
    recorder.take(NOON, "dt/meter/m-1/telemetry", b'{"v": 1}', 1)
    recorder.take(NOON + SECOND, "status", b"\xff\xfe", 0)
    recorder.finish()
    recorder.close()
    first, second = read_recording(recorder.folder / "recording.ndjson").rows
    assert (first.client_id, first.payload, first.qos, first.at) == ("m-1", b'{"v": 1}', 1, NOON)
    assert (second.client_id, second.topic, second.payload) == ("status", "status", b"\xff\xfe")


def test_a_recorder_that_heard_nothing_says_so(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, anonymise=False)
    recorder.finish()
    recorder.close()
    assert not (tmp_path / "scenario.yaml").exists()
    with pytest.raises(ConfigError, match="nothing passed the broker"):
        recorder.check()


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--out"):
        Recorder(tmp_path / "file", anonymise=True)


def test_anonymous_recordings_hold_no_id_and_no_text(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, anonymise=True)
    body = {"owner": "alice", "seen": ["bob", "m-1"], "m-1": {"temp": 21.5, "ok": True}}
    recorder.take(NOON, "dt/meter/m-1/telemetry", json.dumps(body).encode(), 1)
    recorder.take(NOON + SECOND, "dt/meter/m-1/of-m-1", b"alice was here", 0)
    recorder.take(NOON + 2 * SECOND, "dt/meter/m-2/telemetry", b"\xfe\xffalice", 0)
    recorder.finish()
    recorder.close()
    written = (tmp_path / "recording.ndjson").read_text() + (tmp_path / "scenario.yaml").read_text()
    assert not re.search("alice|bob|m-1|m-2", written)
    first, second, third = read_recording(tmp_path / "recording.ndjson").rows
    assert first.client_id == second.client_id != third.client_id
    assert first.topic == f"dt/meter/{first.client_id}/telemetry"
    payload = json.loads(first.payload)
    assert payload[first.client_id] == {"temp": 21.5, "ok": True}  # numbers and the shape stay
    assert payload["seen"][1] == first.client_id
    assert (len(second.payload), len(third.payload)) == (len("alice was here"), 7)
    (group,) = yaml.safe_load((tmp_path / "scenario.yaml").read_text())["fleet"]
    assert (group["count"], group["topic"]) == (2, "dt/meter/{device}/telemetry")


def test_names_are_stable_and_of_one_recording() -> None:
    one, same, other = Anonymiser(b"k"), Anonymiser(b"k"), Anonymiser()
    assert one.device("m-1") == one.device("m-1") == same.device("m-1") != other.device("m-1")
    assert one.payload(b'"text"', "m-1") == one.payload(b'"text"', "m-2") != one.payload(b'"texts"', "m-1")


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none())
def test_numbers_stay(value: Any) -> None:
    assert json.loads(Anonymiser().payload(json.dumps({"v": value}).encode(), "d")) == {"v": value}
