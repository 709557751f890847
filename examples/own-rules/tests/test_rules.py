"""The rule and the handler, on the whole path: MQTT in, IoT rules, SNS, SQS, the handler, DynamoDB."""

import json
from typing import Any

import boto3
import pytest
from handler import TABLE, handle

from thingstorm import Stack


@pytest.fixture
def queue(fresh_stack: Stack) -> str:
    """What a template would create in the account: the SNS topic, its queue, the handler's table."""
    sns, sqs, dynamodb = (fresh_stack.boto(service) for service in ("sns", "sqs", "dynamodb"))
    topic = sns.create_topic(Name="overheated")["TopicArn"]
    url = sqs.create_queue(QueueName="overheated")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    raw = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=raw)
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pump", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pump", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return str(url)


def received(stack: Stack, queue: str) -> list[dict[str, Any]]:
    """The records of the event that Lambda would give the handler."""
    answer = stack.boto("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [{"messageId": one["MessageId"], "body": one["Body"]} for one in answer.get("Messages", [])]


def test_only_a_hot_pump_is_told_and_the_handler_writes_it_down(fresh_stack: Stack, queue: str) -> None:
    with fresh_stack.mqtt("pump-1") as pump, fresh_stack.mqtt("meter-1") as meter:
        for temperature in (60, 80, 81):
            pump.publish("dt/pump/pump-1/telemetry", {"temp_c": temperature})
        meter.publish("dt/meter/meter-1/telemetry", {"temp_c": 99})
    fresh_stack.settle()

    # everything is in the view ...
    assert fresh_stack.sql("SELECT device_id, count(*) AS n FROM telemetry GROUP BY 1 ORDER BY 1") == [
        {"device_id": "meter-1", "n": 1},
        {"device_id": "pump-1", "n": 3},
    ]
    # ... one message went to our queue ...
    records = received(fresh_stack, queue)
    (told,) = (json.loads(record["body"]) for record in records)
    assert (told["pump"], told["temp_c"]) == ("pump-1", 81)
    # ... and the handler, whose boto3 finds the stack by AWS_ENDPOINT_URL, makes of it what it should
    assert handle({"Records": records}, None) == {"batchItemFailures": []}
    assert boto3.resource("dynamodb").Table(TABLE).scan()["Items"] == [{"pump": "pump-1", "temp_c": 81}]


def test_a_message_that_cannot_be_read_is_reported_and_the_others_are_done(
    fresh_stack: Stack, queue: str
) -> None:
    for body in ("no json", '{"pump": "pump-2", "temp_c": 90}'):
        fresh_stack.boto("sqs").send_message(QueueUrl=queue, MessageBody=body)
    records = received(fresh_stack, queue)
    bad = next(record["messageId"] for record in records if record["body"] == "no json")
    assert handle({"Records": records}, None) == {"batchItemFailures": [{"itemIdentifier": bad}]}
    assert [item["pump"] for item in boto3.resource("dynamodb").Table(TABLE).scan()["Items"]] == ["pump-2"]
