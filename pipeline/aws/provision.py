"""Creates what the path needs, and finds what is already there: run it as often as you like."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from .session import ClientFactory, translated

LANES = ("telemetry", "device-metrics", "device-events")
"""Each lane is an SNS topic with a queue and a dead-letter queue of the same name."""

MAX_RECEIVES = 5
VISIBILITY_SECONDS = 30
"""Six times the longest batch seen (5 s), as AWS advises for Lambda event sources."""

_TABLES: Mapping[str, tuple[str, str | None]] = {
    "telemetry": ("device_id:S", "event_id:S"),
    "devices": ("device_id:S", None),
    "device_metrics": ("device_id:S", "period_start:N"),
}


@dataclass(frozen=True, slots=True)
class Resources:
    """What was provisioned: `sns_topics` and `queues` by our names, `tables` by collection, the bucket."""

    sns_topics: Mapping[str, str]
    queues: Mapping[str, str]
    queue_arns: Mapping[str, str]
    tables: Mapping[str, str]
    bucket: str


@translated
def provision(factory: ClientFactory, *, prefix: str) -> Resources:
    """Create all resources, named `PREFIX-NAME`. Idempotent. Raises Transient, Terminal."""
    sqs, sns = factory.client("sqs"), factory.client("sns")
    names = [*LANES, *(f"{lane}-dlq" for lane in LANES), "security-team"]
    with ThreadPoolExecutor(max_workers=8) as pool:
        tables = pool.map(lambda name: _table(factory.client("dynamodb"), prefix, name), _TABLES)
        bucket = pool.submit(_bucket, factory.client("s3"), f"{prefix}-archive")
        sns_topics = dict(pool.map(lambda n: (n, _sns_topic(sns, f"{prefix}-{n}")), [*LANES, "alerts"]))
        queues = dict(pool.map(lambda n: (n, _queue(sqs, f"{prefix}-{n}")), names))
        arns = dict(pool.map(lambda n: (n, _arn(sqs, queues[n])), names))
        each: list[Callable[[], None]] = [
            _linker(factory, lane, sns_topic=sns_topics[lane], queue=queues[lane], arns=arns)
            for lane in LANES
        ]
        each.append(lambda: _subscribe(sns, sns_topics["alerts"], arns["security-team"]))
        for done in [pool.submit(link) for link in each]:
            done.result()
        return Resources(sns_topics, queues, arns, dict(zip(_TABLES, tables, strict=True)), bucket.result())


def _linker(
    factory: ClientFactory, lane: str, *, sns_topic: str, queue: str, arns: Mapping[str, str]
) -> Callable[[], None]:
    def link() -> None:
        redrive = {"deadLetterTargetArn": arns[f"{lane}-dlq"], "maxReceiveCount": MAX_RECEIVES}
        attributes = {"RedrivePolicy": json.dumps(redrive), "VisibilityTimeout": str(VISIBILITY_SECONDS)}
        factory.client("sqs").set_queue_attributes(QueueUrl=queue, Attributes=attributes)
        _subscribe(factory.client("sns"), sns_topic, arns[lane])

    return link


def _sns_topic(sns: Any, name: str) -> str:
    return str(sns.create_topic(Name=name)["TopicArn"])


def _queue(sqs: Any, name: str) -> str:
    """CreateQueue with no attributes returns an existing queue's URL whatever its attributes are."""
    return str(sqs.create_queue(QueueName=name)["QueueUrl"])


def _arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def _subscribe(sns: Any, sns_topic: str, queue_arn: str) -> None:
    """Subscribing the same endpoint again gives the same subscription."""
    sns.subscribe(
        TopicArn=sns_topic, Protocol="sqs", Endpoint=queue_arn, Attributes={"RawMessageDelivery": "true"}
    )


def _bucket(s3: Any, name: str) -> str:
    try:
        s3.create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    return name


def _table(dynamodb: Any, prefix: str, logical: str) -> str:
    name = f"{prefix}-{logical}"
    keys = [key.split(":") for key in _TABLES[logical] if key]
    try:
        dynamodb.create_table(
            TableName=name,
            KeySchema=[
                {"AttributeName": key, "KeyType": kind}
                for (key, _), kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in keys],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return name
