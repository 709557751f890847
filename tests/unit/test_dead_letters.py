"""Burying messages in a dead-letter queue: as many calls as its limits ask, and only what was taken counts. By botocore's stubs."""

from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from contracts.errors import UnknownName
from pipeline.actions.sqs import MAX_BYTES
from pipeline.dead_letters import MAX_ATTRIBUTES, DeadLetterQueue

ARN = "arn:aws:sqs:us-east-1:000000000000:q"


@pytest.fixture
def queue() -> tuple[DeadLetterQueue, Stubber]:
    make: Any = boto3.client
    sqs = make("sqs", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    stub = Stubber(sqs)
    stub.activate()
    return DeadLetterQueue("telemetry", sqs=sqs, url="https://sqs/dlq", source_url="https://sqs/q"), stub


def failed(number: int, body: str = "{}", **more: Any) -> tuple[dict[str, Any], str]:
    return {
        "MessageId": f"m{number}",
        "Body": body,
        "Attributes": {"ApproximateReceiveCount": "5"},
        **more,
    }, "why"


def taken(stub: Stubber, *ids: int, refused: tuple[int, ...] = ()) -> None:
    entries = [{"Id": str(n), "MessageBody": ANY, "MessageAttributes": ANY} for n in (*ids, *refused)]
    answer = {
        "Successful": [{"Id": str(n), "MessageId": "x", "MD5OfMessageBody": "d"} for n in ids],
        "Failed": [{"Id": str(n), "SenderFault": False, "Code": "InternalError"} for n in refused],
    }
    stub.add_response("send_message_batch", answer, {"QueueUrl": "https://sqs/dlq", "Entries": entries})


def test_large_messages_go_in_as_many_calls_as_256_kib_ask(queue: tuple[DeadLetterQueue, Stubber]) -> None:
    dead, stub = queue
    messages = [failed(n, "x" * (100 * 1024)) for n in range(5)]
    for ids in ((0, 1), (2, 3), (4,)):
        taken(stub, *ids)
    assert dead.bury(messages, ARN) == [message for message, _ in messages]
    stub.assert_no_pending_responses()


def test_the_limit_counts_bytes_and_attributes(queue: tuple[DeadLetterQueue, Stubber]) -> None:
    dead, stub = queue
    attributes = {"a": {"DataType": "Binary", "BinaryValue": b"x" * (MAX_BYTES // 2)}}
    taken(stub, 0)
    taken(stub, 1)
    dead.bury([failed(0, "ü" * (MAX_BYTES // 4)), failed(1, MessageAttributes=attributes)], ARN)
    stub.assert_no_pending_responses()


def test_ten_go_in_one_call_and_only_those_taken_are_told(queue: tuple[DeadLetterQueue, Stubber]) -> None:
    dead, stub = queue
    messages = [failed(n) for n in range(11)]
    taken(stub, *range(9), refused=(9,))
    taken(stub, refused=(10,))
    assert dead.bury(messages, ARN) == [message for message, _ in messages[:9]]
    stub.assert_no_pending_responses()


def test_a_message_keeps_its_group_and_as_many_attributes_as_fit(
    queue: tuple[DeadLetterQueue, Stubber],
) -> None:
    dead, stub = queue
    own = {f"a{n}": {"DataType": "String", "StringValue": "v"} for n in range(MAX_ATTRIBUTES)}
    system = {"ApproximateReceiveCount": "5", "MessageGroupId": "g"}
    notes = {
        "ErrorMessage": {"DataType": "String", "StringValue": "why"},
        "SourceMessageId": {"DataType": "String", "StringValue": "m0"},
        "SourceQueueArn": {"DataType": "String", "StringValue": ARN},
        "ReceiveCount": {"DataType": "Number", "StringValue": "5"},
    }
    kept = {name: own[name] for name in list(own)[: MAX_ATTRIBUTES - len(notes)]}
    entry = {
        "Id": "0",
        "MessageBody": "{}",
        "MessageAttributes": {**kept, **notes},
        "MessageGroupId": "g",
        "MessageDeduplicationId": "m0",
    }
    stub.add_response(
        "send_message_batch",
        {"Successful": [], "Failed": []},
        {"QueueUrl": "https://sqs/dlq", "Entries": [entry]},
    )
    dead.bury([failed(0, Attributes=system, MessageAttributes=own)], ARN)
    stub.assert_no_pending_responses()


def test_an_id_that_is_not_there_gives_back_all_that_was_looked_at(
    queue: tuple[DeadLetterQueue, Stubber],
) -> None:
    dead, stub = queue
    message = {"MessageId": "m1", "ReceiptHandle": "r1", "Body": "{}"}
    stub.add_response("receive_message", {"Messages": [message]})
    stub.add_response("receive_message", {"Messages": [message]})
    stub.add_response(
        "change_message_visibility",
        {},
        {"QueueUrl": "https://sqs/dlq", "ReceiptHandle": "r1", "VisibilityTimeout": 0},
    )
    with pytest.raises(UnknownName, match="m2") as caught:
        dead.redrive("m2")
    assert "m1" in caught.value.fix
    stub.assert_no_pending_responses()
