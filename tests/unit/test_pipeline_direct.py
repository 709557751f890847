"""Queues, tables and the path in memory: what of SQS and DynamoDB the direct path relies on."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ConfigError
from contracts.messages import SECOND, Change, Message
from pipeline.direct import DirectPath
from pipeline.memory import MAX_RECEIVES, VISIBILITY, MemoryQueue, MemoryTables
from pipeline.rules.engine import DEFAULT_RULES, Rule, load_rules

RULES = load_rules(DEFAULT_RULES)


def message(number: int, *, at: int = 0, device: str = "m1") -> Message:
    payload = json.dumps({"ts": at // 10**6, "seq": number}).encode()
    return Message(
        f"{number:022x}", device, "local", f"dt/meter/{device}/telemetry", payload, 1, retain=False,
        received_at=100 * SECOND + at,
    )  # fmt: skip


def path(**faults: Any) -> DirectPath:
    made = DirectPath(RULES, seed=1)
    made.faults.update(faults)
    return made


def run(made: DirectPath, seconds: int, *, start: int = 1) -> list[Change]:
    return [change for second in range(start, start + seconds) for change in made.step(second * SECOND)]


def telemetry(changes: list[Change]) -> list[Change]:
    return [change for change in changes if change.table == "telemetry"]


def test_a_received_message_is_invisible_until_the_timeout_and_dead_after_so_many_receives() -> None:
    queue = MemoryQueue("telemetry")
    queue.send("x")
    for receive in range(MAX_RECEIVES):
        at = receive * VISIBILITY
        (one,) = queue.receive(at, 10)
        assert queue.receive(at + VISIBILITY - 1, 10) == []
        assert (one.body, one.receives, queue.pending()) == ("x", receive + 1, 1)
    assert queue.receive(MAX_RECEIVES * VISIBILITY, 10) == []
    assert ([one.body for one in queue.dead_letters], queue.pending()) == (["x"], 0)


def test_what_is_deleted_does_not_come_again_and_what_is_put_back_was_never_received() -> None:
    queue = MemoryQueue("telemetry")
    queue.send("a")
    queue.send("b")
    batch = queue.receive(0, 10)
    queue.put_back(batch)
    assert [one.body for one in queue.receive(0, 10)] == ["a", "b"]
    queue.delete(batch[0].message_id)
    (left,) = queue.receive(VISIBILITY, 10)
    assert (left.body, left.receives) == ("b", 2)


@given(st.lists(st.sampled_from(["send", "receive", "delete", "back"]), max_size=60))
def test_no_message_is_ever_lost_by_a_queue(actions: list[str]) -> None:
    queue, taken, deleted = MemoryQueue("telemetry"), [], 0
    for number, action in enumerate(actions):
        if action == "send":
            queue.send(str(number))
        elif action == "receive":
            taken = queue.receive(number * VISIBILITY // 2, 3)
        elif action == "delete" and taken:
            before = queue.pending()
            queue.delete(taken.pop().message_id)
            deleted += before - queue.pending()
        elif action == "back" and taken:
            queue.put_back(taken)
            taken = []
    assert queue.sent == queue.pending() + len(queue.dead_letters) + deleted


def test_a_write_that_changes_nothing_leaves_no_record_and_an_older_update_is_refused() -> None:
    tables = MemoryTables()
    item = {"device_id": {"S": "m1"}, "event_id": {"S": "1"}, "n": {"N": "5"}}
    for _ in range(2):
        tables.batch_write_item(RequestItems={"telemetry": [{"PutRequest": {"Item": item}}]})
    (change,) = tables.take_changes()
    assert (change.kind, change.new, change.old) == (
        "INSERT",
        {"device_id": "m1", "event_id": "1", "n": 5},
        None,
    )

    def update(at: int) -> None:
        tables.update_item(
            TableName="devices", Key={"device_id": {"S": "m1"}},
            UpdateExpression="SET #0 = :0",
            ConditionExpression="attribute_not_exists(#0) OR #0 <= :0",
            ExpressionAttributeNames={"#0": "seen"}, ExpressionAttributeValues={":0": {"N": str(at)}},
        )  # fmt: skip

    update(5)
    update(7)
    with pytest.raises(tables.exceptions.ConditionalCheckFailedException):
        update(6)
    assert [(one.kind, one.new) for one in tables.take_changes()] == [
        ("INSERT", {"device_id": "m1", "seen": 5}),
        ("MODIFY", {"device_id": "m1", "seen": 7}),
    ]


def test_a_message_reaches_table_and_archive_by_the_rules_and_the_handler() -> None:
    made = path()
    assert made.accept([message(1), message(2)]) == 2
    changes = run(made, 1)
    assert [change.new and change.new["message_id"] for change in telemetry(changes)] == [
        f"{n:022x}" for n in (1, 2)
    ]
    assert (made.routed, made.archived, made.tables.count("telemetry"), made.pending()) == (2, 2, 2, 0)
    (device,) = [change for change in changes if change.table == "devices"]
    assert device.new is not None
    assert device.new["device_type"] == "meter"


@pytest.mark.parametrize(
    "fault", ["service_error", "handler_crash", "throttle", "duplicate_delivery", "reorder"]
)
def test_no_fault_loses_or_doubles_a_message(fault: str) -> None:
    made = path(**{fault: {"share": 0.4}})
    for number in range(200):
        made.accept([message(number, at=number)])
    changes = run(made, 4)
    made.faults.clear()
    changes += run(made, 20, start=5)
    rows = [str(change.new["message_id"]) for change in telemetry(changes) if change.new]
    assert sorted(rows) == [f"{number:022x}" for number in range(200)]
    assert (made.pending(), made.dead_letters) == (0, 0)


def test_a_lag_of_the_streams_holds_changes_back_in_order() -> None:
    made = path(stream_lag={"delay": 3.0})
    made.accept([message(1)])
    assert run(made, 2) == []
    assert made.pending() > 0
    made.faults.clear()
    made.accept([message(2)])
    assert made.step(3 * SECOND) == []
    assert [change.new and change.new["message_id"][-1] for change in telemetry(made.step(4 * SECOND))] == [
        "1",
        "2",
    ]


def test_poison_ends_as_dead_letters_alone() -> None:
    made = path()
    made.inject(3)
    made.accept([message(1)])
    changes = run(made, 30)
    assert len(telemetry(changes)) == 1
    assert (made.dead_letters, made.pending()) == (3, 0)


def test_a_rule_with_an_action_that_it_has_not_is_told_at_the_start(tmp_path: Any) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("rules: {r: {sql: \"SELECT * FROM 'dt/#'\", actions: [{sns: {targetArn: elsewhere}}]}}\n")
    rules: tuple[Rule, ...] = load_rules(file)
    with pytest.raises(ConfigError, match="elsewhere") as caught:
        DirectPath(rules, seed=1)
    assert "--path aws" in caught.value.fix
