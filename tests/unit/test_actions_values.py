"""Values out of messages that a target cannot take: the message is refused, with the reason, and the others are delivered."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from anyio import CapacityLimiter
from aws_stubs import stubbed
from botocore.stub import ANY

from contracts.errors import ConfigError, NotReady, Terminal, Transient
from contracts.messages import PublishProperties
from pipeline.actions.base import ActionContext, Item, Refused, Undelivered, build
from pipeline.actions.cloudwatch_logs import CloudwatchLogsAction
from pipeline.actions.cloudwatch_metric import CloudwatchMetricAction
from pipeline.actions.republish import RepublishAction
from pipeline.aws.session import ClientFactory

pytestmark = pytest.mark.anyio


class Broker:
    """Keeps what is republished; fails for topics that are named after an error."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes, int, PublishProperties | None]] = []

    async def republish(
        self, topic: str, payload: bytes, *, qos: int = 0, properties: PublishProperties | None = None
    ) -> None:
        errors = {"full": Transient, "stopped": NotReady, "wrong": ConfigError, "denied": Terminal}
        if topic in errors:
            raise errors[topic]("it cannot", fix="see why")
        self.published.append((topic, payload, qos, properties))


LONG = "x" * 65_536


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"topic": ""}, "no topic"),
        ({"topic": "a/+"}, "no topic"),
        ({"topic": "a/#"}, "no topic"),
        ({"topic": "a\0b"}, "no topic"),
        ({"topic": "ü" * 129}, "no topic"),
        ({"topic": "\ud800"}, "surrogates not allowed"),
        ({"topic": "a", "qos": "two"}, "invalid literal"),
        ({"topic": "a", "headers": {"payloadFormatIndicator": "TEXT"}}, "'TEXT' is none of UTF8_DATA"),
        ({"topic": "a", "headers": {"contentType": LONG}}, "contentType has more than 65535 bytes"),
        ({"topic": "a", "headers": {"responseTopic": "ü" * 32_768}}, "responseTopic has more than 65535"),
        ({"topic": "a", "headers": {"contentType": "\ud800"}}, "surrogates not allowed"),
        ({"topic": "a", "headers": {"correlationData": "no"}}, "correlationData is no base64"),
        ({"topic": "a", "headers": {"correlationData": "AAAA" * 21_846}}, "correlationData has more than"),
        ({"topic": "a", "headers": {"messageExpiry": "-1"}}, "messageExpiry '-1' is no number"),
        ({"topic": "a", "headers": {"messageExpiry": "4294967296"}}, "messageExpiry '4294967296'"),
        ({"topic": "a", "headers": {"userProperties": [{"key": "k", "value": LONG}]}}, "userProperties has"),
        ({"topic": "a", "headers": {"userProperties": [{"key": "\0", "value": ""}]}}, "null character"),
    ],
)
async def test_what_mqtt_cannot_carry_is_not_republished(fields: Mapping[str, Any], why: str) -> None:
    broker = Broker()
    with pytest.raises(Refused) as caught:
        await RepublishAction(broker).deliver([Item(b"1", 1, fields), Item(b"2", 2, {"topic": "$$aws/x"})])
    assert caught.value.refused.keys() == {0}
    assert why in caught.value.refused[0]
    assert broker.published == [("$aws/x", b"2", 0, None)]


async def test_properties_at_their_bounds_are_carried() -> None:
    broker = Broker()
    headers = {
        "payloadFormatIndicator": "UNSPECIFIED_BYTES",
        "contentType": LONG[1:],
        "responseTopic": "",
        "messageExpiry": "4294967295",
        "userProperties": [{"key": "k", "value": ""}],
    }
    await RepublishAction(broker).deliver([Item(b"1", 1, {"topic": "a", "qos": "1", "headers": headers})])
    ((topic, _, qos, told),) = broker.published
    assert (topic, qos) == ("a", 1)
    assert told == PublishProperties(0, LONG[1:], None, None, 4_294_967_295, (("k", ""),))


async def test_a_broker_that_is_full_or_stopped_gets_it_again() -> None:
    topics = ("full", "stopped", "wrong", "denied")
    with pytest.raises(Undelivered) as caught:
        await RepublishAction(Broker()).deliver([Item(b"1", 1, {"topic": topic}) for topic in topics])
    assert (caught.value.retry, caught.value.refused.keys()) == ((0, 1), {2, 3})


async def test_a_topic_that_a_message_names_with_half_a_pair_is_refused() -> None:
    client = ClientFactory(backend="embedded", endpoint="http://127.0.0.1:9").client("sns")
    action = build({"sns": {"targetArn": "arn:aws:sns:us-east-1:1:\ud800"}}, ActionContext(sns=client))
    with pytest.raises(Refused, match="no service can be asked"):
        await action.deliver([Item(b"1"), Item(b"2")])


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"metricTimestamp": "1e20"}, "beyond the calendar"),
        ({"metricTimestamp": "1e300"}, "beyond the calendar"),
        ({"metricTimestamp": "soon"}, "could not convert"),
        ({"metricValue": "many"}, "could not convert"),
    ],
)
async def test_a_metric_with_a_wrong_number_is_refused_alone(changed: Mapping[str, str], why: str) -> None:
    client, stub = stubbed("cloudwatch")
    action = CloudwatchMetricAction("metrics", lambda: client, CapacityLimiter(1))
    right = {
        "metricName": "m",
        "metricNamespace": "n",
        "metricUnit": "Count",
        "metricValue": "1.5",
        "metricTimestamp": "60",
    }
    stub.add_response("put_metric_data", {}, {"Namespace": "n", "MetricData": ANY})
    with pytest.raises(Refused) as caught:
        await action.deliver([Item(b"", None, {**right, **changed}), Item(b"", None, right)])
    assert caught.value.refused.keys() == {0}
    assert why in caught.value.refused[0]
    stub.assert_no_pending_responses()


async def test_log_events_that_are_none_are_refused_and_the_others_go_in_order() -> None:
    client, stub = stubbed("logs")
    action = CloudwatchLogsAction("g", lambda: client, CapacityLimiter(1), batched=True)
    results = [
        {"timestamp": 9, "message": "later"},
        {"timestamp": 1, "message": "\ud800"},
        {"timestamp": "1", "message": "x"},
        {"timestamp": 1},
        7,
        {"timestamp": 2, "message": "earlier"},
    ]
    events = [{"timestamp": 2, "message": "earlier"}, {"timestamp": 9, "message": "later"}]
    stub.add_client_error("create_log_stream", "ResourceAlreadyExistsException", "there")
    stub.add_response("put_log_events", {}, {"logGroupName": "g", "logStreamName": ANY, "logEvents": events})
    with pytest.raises(Refused) as caught:
        await action.deliver([Item(json.dumps(one).encode(), one) for one in results])
    assert caught.value.refused.keys() == {1, 2, 3, 4}
    assert "batchMode needs objects" in caught.value.refused[3]
    for code, error in (("ThrottlingException", Undelivered), ("InvalidParameterException", Refused)):
        stub.add_client_error("create_log_stream", code, "no")
        with pytest.raises(error):
            await action.deliver([Item(b"", results[0])])
    stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({"sns": {"targetArn": "t"}}, "no SNS client"),
        ({"sqs": {"queueUrl": "q"}}, "no AWS services"),
        ({"republish": {"topic": "t"}}, "no broker"),
        ({"http": {"url": "https://h"}}, "nothing confirms"),
    ],
)
async def test_an_action_without_what_it_needs_is_refused_when_it_is_built(spec: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        build(spec, ActionContext())
    assert caught.value.fix
    with pytest.raises(ConfigError, match="this backend has no"):
        build(spec, ActionContext(lacks=dict.fromkeys(spec, "it is another")))
