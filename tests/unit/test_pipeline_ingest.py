import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest import TOUCH_MS, Update, _worth_writing, plan
from pipeline.items import plain_item

NOW = 1_700_000_000_000


def event(*bodies: Any, lane: str = "telemetry") -> dict[str, Any]:
    arn = f"arn:aws:sqs:us-east-1:000000000000:thingstorm-{lane}"
    return {
        "Records": [
            {"messageId": f"m{n}", "body": b if isinstance(b, str) else json.dumps(b), "eventSourceARN": arn}
            for n, b in enumerate(bodies)
        ]
    }


def reading(**values: Any) -> dict[str, Any]:
    return {"device_id": "d", "message_id": "i", "topic": "dt/x/d/t", "received_at": NOW, **values}


def test_a_reading_becomes_a_typed_item_and_touches_its_device() -> None:
    body = reading(device_type="x", payload={"ts": NOW - 5, "seq": 1, "t": 1.50, "fw": "2.0"})
    writes = plan(event(body))
    (item,) = writes.puts["telemetry"].values()
    assert item == {
        "device_id": {"S": "d"},
        "event_id": {"S": "1700000000000-i"},
        "message_id": {"S": "i"},
        "topic": {"S": "dt/x/d/t"},
        "received_at": {"N": "1700000000000"},
        "device_type": {"S": "x"},
        "payload": {"S": '{"ts":1699999999995,"seq":1,"t":1.5,"fw":"2.0"}'},
        "payload_bytes": {"N": "47"},
        "device_time": {"N": "1699999999995"},
    }
    assert writes.updates == [
        Update("d", "last_seen", NOW, {"last_seen": NOW, "device_type": "x", "firmware": "2.0"})
    ]
    assert writes.failures == {}


def test_what_a_table_cannot_hold_of_a_payload_stays_the_escape_it_was() -> None:
    """Half a surrogate pair: one message of a device would fail the batches of all others."""
    writes = plan(event(reading(payload={"fw": "\ud800", "\udfff": "\u00fc"})))
    (item,) = writes.puts["telemetry"].values()
    assert item["payload"] == {"S": '{"fw":"\\ud800","\\udfff":"\u00fc"}'}
    assert item["payload_bytes"] == {"N": "29"}
    assert [update.values["firmware"] for update in writes.updates] == ["\\ud800"]


def test_a_reading_without_a_json_payload_is_stored_without_one() -> None:
    (item,) = plan(event(reading())).puts["telemetry"].values()
    assert "payload" not in item
    assert "device_time" not in item


def test_the_same_reading_twice_in_a_batch_is_written_once() -> None:
    writes = plan(event(reading(), reading(), reading(message_id="j")))
    assert len(writes.puts["telemetry"]) == 2


def test_metrics_become_one_item_a_device_and_second() -> None:
    body = {
        "start": NOW,
        "end": NOW + 1000,
        "devices": [
            {"device_id": "d", "num_connects": 2, "topics": ["a"]},
            {"device_id": "$fleet", "num_devices": 1},
        ],
    }
    writes = plan(event(body, lane="device-metrics"))
    items = [plain_item(item) for item in writes.puts["device_metrics"].values()]
    assert items == [
        {"device_id": "d", "period_start": NOW, "period_end": NOW + 1000, "num_connects": 2, "topics": ["a"]},
        {"device_id": "$fleet", "period_start": NOW, "period_end": NOW + 1000, "num_devices": 1},
    ]


@pytest.mark.parametrize(
    ("told", "guard", "values"),
    [
        (
            {"eventType": "connected", "sessionIdentifier": "s", "ipAddress": "1.2.3.4"},
            "presence_at",
            {"connected": True, "session_id": "s", "source_ip": "1.2.3.4", "disconnect_reason": ""},
        ),
        (
            {"eventType": "disconnected", "disconnectReason": "CONNECTION_LOST"},
            "presence_at",
            {"connected": False, "session_id": "", "source_ip": "", "disconnect_reason": "CONNECTION_LOST"},
        ),
        (
            {"eventType": "quarantined", "reason": "odd"},
            "quarantine_at",
            {"quarantined": True, "quarantine_reason": "odd"},
        ),
        (
            {"eventType": "released", "reason": "ok"},
            "quarantine_at",
            {"quarantined": False, "quarantine_reason": "ok"},
        ),
    ],
)
def test_lifecycle_events_update_the_device(told: dict[str, Any], guard: str, values: dict[str, Any]) -> None:
    writes = plan(event({"clientId": "d", "timestamp": NOW, **told}, lane="device-events"))
    assert writes.updates == [Update("d", guard, NOW, values)]


def test_other_events_are_taken_and_change_nothing() -> None:
    body = {"clientId": "d", "timestamp": NOW, "eventType": "subscribed", "topics": ["a"]}
    writes = plan(event(body, lane="device-events"))
    assert (writes.updates, writes.puts, writes.failures) == ([], {}, {})


@pytest.mark.parametrize(
    ("body", "lane", "why"),
    [
        ("{broken", "telemetry", "not JSON"),
        ("[1]", "telemetry", "not a JSON object"),
        ({"device_id": "d"}, "telemetry", "'message_id'"),
        (reading(received_at="soon"), "telemetry", "'received_at'"),
        (reading(device_id=5), "telemetry", "'device_id'"),
        (reading(topic="\ud800"), "telemetry", "half a surrogate pair"),
        ({"start": 1, "end": 2}, "device-metrics", "'devices'"),
        ({"start": 1, "end": 2, "devices": [1]}, "device-metrics", "not an object"),
        ({"clientId": "d", "timestamp": NOW}, "device-events", "'eventType'"),
        (reading(), "elsewhere", "no table"),
        ("[" * 100_000, "telemetry", "not JSON"),
    ],
)
def test_a_poison_message_fails_alone_with_its_reason(body: Any, lane: str, why: str) -> None:
    records = [*event(body, lane=lane)["Records"], {**event(reading())["Records"][0], "messageId": "good"}]
    writes = plan({"Records": records})
    assert set(writes.failures) == {"m0"}
    assert why in writes.failures["m0"]
    assert len(writes.puts["telemetry"]) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "device_id",
        "message_id",
        "topic",
        "received_at",
        "payload",
        "devices",
        "clientId",
        "timestamp",
        "eventType",
        "start",
        "end",
    ]
)


@given(
    st.dictionaries(FIELDS, JSON | st.just(NOW) | st.just("d")) | JSON,
    st.sampled_from(["telemetry", "device-metrics", "device-events"]),
)
def test_any_body_is_written_or_fails_and_never_raises(body: Any, lane: str) -> None:
    writes = plan(event(body, lane=lane))
    assert set(writes.failures) <= {"m0"}
    if writes.failures:
        assert writes.failures["m0"]
    for items in writes.puts.values():
        assert all(plain_item(item)["device_id"] for item in items.values())


def touch(at: int, firmware: str = "") -> Update:
    return Update(
        "d", "last_seen", at, {"last_seen": at, "firmware": firmware} if firmware else {"last_seen": at}
    )


def test_a_mere_sighting_is_written_once_in_ten_seconds_and_new_firmware_at_once() -> None:
    known: dict[str, tuple[int, str]] = {}
    assert len(_worth_writing([touch(NOW), touch(NOW + 1)], known)) == 1
    assert _worth_writing([touch(NOW + 5)], known) == []
    assert len(_worth_writing([touch(NOW + 6, "2.0")], known)) == 1
    assert len(_worth_writing([touch(NOW + 6 + TOUCH_MS, "2.0")], known)) == 1
    assert _worth_writing([touch(NOW)], known) == []


def test_of_several_presence_events_the_newest_is_written() -> None:
    updates = [Update("d", "presence_at", at, {"connected": at == 2}) for at in (1, 2)]
    for given_order in (updates, updates[::-1]):
        assert [update.at for update in _worth_writing(given_order, {})] == [2]


def test_attributes_of_all_types_become_plain_values() -> None:
    item = {
        "s": {"S": "x"}, "i": {"N": "5"}, "f": {"N": "1.5"}, "b": {"BOOL": True}, "n": {"NULL": True},
        "l": {"L": [{"N": "1"}, {"S": "a"}]}, "m": {"M": {"k": {"N": "2"}}}, "ss": {"SS": ["a"]}, "ns": {"NS": ["1", "2.5"]},
    }  # fmt: skip
    assert plain_item(item) == {
        "s": "x", "i": 5, "f": 1.5, "b": True, "n": None, "l": [1, "a"], "m": {"k": 2}, "ss": ["a"], "ns": [1, 2.5],
    }  # fmt: skip
