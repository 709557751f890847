"""The event source mapping: what AWS refuses, the event it makes, what an answer means."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ConfigError
from pipeline.mapping import EventSourceMapping, event_of, failed_of, receives

ARN = "arn:aws:sqs:eu-west-1:123456789012:orders"


@pytest.mark.parametrize(
    ("settings", "arn", "what"),
    [
        ({"batch_size": 0}, ARN, "BatchSize 0"),
        ({"batch_size": 10_001}, ARN, "BatchSize 10001"),
        ({"batch_size": 11}, f"{ARN}.fifo", "BatchSize 11"),
        ({"batching_window": 301.0, "visibility_timeout": 900.0}, ARN, "MaximumBatchingWindowInSeconds 301"),
        ({"batching_window": 1.0}, f"{ARN}.fifo", "MaximumBatchingWindowInSeconds 1"),
        ({"batching_window": 30.0}, ARN, "visibility timeout"),
        ({"maximum_concurrency": 0}, ARN, "MaximumConcurrency 0"),
        ({"bisect_on_error": True}, f"{ARN}.fifo", "bisect"),
    ],
)
def test_what_aws_would_refuse_is_refused_with_its_mend(
    settings: dict[str, Any], arn: str, what: str
) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        EventSourceMapping(**settings).check(arn)
    assert caught.value.fix


def test_the_extremes_of_aws_are_taken() -> None:
    EventSourceMapping(batch_size=10_000, batching_window=300.0, visibility_timeout=301.0).check(ARN)
    EventSourceMapping(batch_size=10).check(f"{ARN}.fifo")


def test_the_event_has_the_documented_shape() -> None:
    """The keys and their spelling are those of the example event in AWS's guide "Using Lambda with Amazon SQS"."""
    message = {
        "MessageId": "059f36b4",
        "ReceiptHandle": "AQEB",
        "Body": "Test message.",
        "Attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1545082649183"},
        "MessageAttributes": {
            "kind": {"DataType": "String", "StringValue": "x"},
            "blob": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
        "MD5OfBody": "e4e68fb7",
        "MD5OfMessageAttributes": "00484c68",
    }
    assert event_of([message], ARN) == {
        "Records": [
            {
                "messageId": "059f36b4",
                "receiptHandle": "AQEB",
                "body": "Test message.",
                "attributes": {"ApproximateReceiveCount": "2", "SentTimestamp": "1545082649183"},
                "messageAttributes": {
                    "kind": {"stringValue": "x", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                    "blob": {"binaryValue": "AP8=", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
                },
                "md5OfBody": "e4e68fb7",
                "md5OfMessageAttributes": "00484c68",
                "eventSource": "aws:sqs",
                "eventSourceARN": ARN,
                "awsRegion": "eu-west-1",
            }
        ]
    }  # fmt: skip
    assert receives(message) == 2
    assert receives({}) == 1


EVERY = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, []),
        ({}, []),
        ("", []),
        ({"batchItemFailures": []}, []),
        ({"batchItemFailures": None}, []),
        ({"batchItemFailures": [{"itemIdentifier": "b"}]}, ["b"]),
        ({"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "b"}]}, ["b"]),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, EVERY),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, EVERY),
        ({"batchItemFailures": [{"itemIdentifer": "b"}]}, EVERY),
        ({"batchItemFailures": [{"itemIdentifier": "of another batch"}]}, EVERY),
        ({"batchItemFailures": "b"}, EVERY),
        ({"batchItemFailures": ["b"]}, EVERY),
        ("done", EVERY),
        (7, EVERY),
    ],
)
def test_an_answer_that_cannot_be_understood_fails_its_whole_batch(answer: Any, failed: list[str]) -> None:
    assert sorted(failed_of(answer, EVERY)) == failed


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["batchItemFailures", "itemIdentifier"]), inner)
        ),
    )
)
def test_no_answer_fails_what_was_not_in_the_batch(answer: Any) -> None:
    assert failed_of(answer, EVERY) <= set(EVERY)
