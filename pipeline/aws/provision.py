"""Makes what the path needs on an emulator, or finds it on AWS: run it as often as you like.

The list of resources is `template.yaml`. On AWS CloudFormation makes them (`thingstorm deploy --backend aws`), and here
they are only found. On an emulator they are made here, so that a start takes a fraction of a second.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.exceptions import ClientError

from contracts.errors import ConfigError, Terminal

from .session import ClientFactory, translated
from .template import Resource, Template, references

LANES: Final = ("telemetry", "device-metrics", "device-events")
"""Each lane is an SNS topic with a queue and a dead-letter queue of the same name, as the template has them."""

MAX_RECEIVES: Final = 5
VISIBILITY_SECONDS: Final = 30
"""What the template says, of the second unless another is given; a test holds them together."""


MADE: Final = (
    "AWS::SNS::Topic",
    "AWS::SNS::Subscription",
    "AWS::SQS::Queue",
    "AWS::DynamoDB::Table",
    "AWS::S3::Bucket",
)
_LEFT_OUT: Final[Mapping[str, str]] = {
    "AWS::CloudWatch::Alarm": "nothing watches on an emulator; `thingstorm doctor` and `dlq list` tell",
    "AWS::IAM::ManagedPolicy": "an emulator does not ask for permission",
    "AWS::IAM::Role": "an emulator does not ask for permission",
    "AWS::IoT::TopicRule": "the router runs pipeline/rules.yaml, whose rules these are",
    "AWS::KinesisFirehose::DeliveryStream": "pipeline/delivery.py is the delivery stream, with these settings",
    "AWS::Lambda::EventSourceMapping": "pipeline/worker.py is the mapping",
    "AWS::Lambda::Function": "pipeline/worker.py calls the handler in its own process",
    "AWS::Logs::LogGroup": "the handler logs with its process",
    "AWS::SQS::QueuePolicy": "an emulator does not ask for permission",
}
"""What is not made on an emulator, and what stands in its place."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What is there: `sns_topics` and `queues` by our names, `tables` by collection, the bucket.

    `delivery` are the settings of the delivery stream in AWS's shape (`ExtendedS3DestinationConfiguration`).
    """

    sns_topics: Mapping[str, str]
    queues: Mapping[str, str]
    queue_arns: Mapping[str, str]
    tables: Mapping[str, str]
    bucket: str
    delivery: Mapping[str, Any] = field(default_factory=dict)


@translated
def provision(
    factory: ClientFactory, *, prefix: str, visibility_seconds: int = VISIBILITY_SECONDS
) -> Resources:
    """Create all resources, named `PREFIX-NAME`; on AWS find them. Idempotent.

    `visibility_seconds` is that of the lanes' queues; on AWS it is what the stack was deployed with.

    Raises ConfigError for a template that this cannot read, Transient, Terminal (a table of another shape).
    """
    template = Template({"Prefix": prefix, "RunHandler": "false", "VisibilitySeconds": visibility_seconds})
    making = _Making(template, factory)
    if "real" in factory.capabilities:
        making.find(prefix)
    else:
        making.make()
    return making.resources(prefix)


class _Making:
    """The resources that are there so far: by logical id, the attributes that others refer to."""

    def __init__(self, template: Template, factory: ClientFactory) -> None:
        self._template = template
        self._factory = factory
        self._made: dict[str, dict[str, str]] = {}

    def make(self) -> None:
        """Everything of `MADE`, each after what it refers to, as many at once as that allows."""
        for one in self._template.resources.values():
            if one.kind not in MADE and one.kind not in _LEFT_OUT:
                raise ConfigError(
                    f"template.yaml: {one.logical_id} is a {one.kind}, which no emulator is given",
                    fix="teach pipeline/aws/provision.py to make it, or name it there among those left out",
                )
        left = {one.logical_id: one for one in self._template.of_kind(*MADE)}
        with ThreadPoolExecutor(max_workers=8) as pool:
            while left:
                ready = [one for one in left.values() if not left.keys() & set(references(one.properties))]
                for one, attributes in zip(ready, pool.map(self._one, ready), strict=True):
                    self._made[one.logical_id] = attributes
                    del left[one.logical_id]

    def find(self, stack: str) -> None:
        """The physical ids that CloudFormation gave. Raises Terminal if there is no such stack, or a part of it only."""
        found = _physical_ids(self._factory, stack)
        wanted = {one.logical_id: one for one in self._template.of_kind(*MADE)}
        if missing := sorted(wanted.keys() - found.keys()):
            raise Terminal(
                f"CloudFormation: the stack '{stack}' lacks {', '.join(missing)}",
                fix="bring it up to date with: thingstorm deploy --backend aws",
            )
        with ThreadPoolExecutor(max_workers=8) as pool:
            told = pool.map(lambda one: self._look(one, found[one.logical_id]), wanted.values())
            self._made = dict(zip(wanted, told, strict=True))

    def resources(self, prefix: str) -> Resources:
        def named(kind: str, key: str, attribute: str) -> dict[str, str]:
            return {
                str(self._properties(one)[key]).removeprefix(f"{prefix}-"): self._made[one.logical_id][
                    attribute
                ]
                for one in self._template.of_kind(kind)
            }

        (stream,) = self._template.of_kind("AWS::KinesisFirehose::DeliveryStream")
        settings = {**stream.properties["ExtendedS3DestinationConfiguration"]}
        settings.pop("RoleARN")
        return Resources(
            sns_topics=named("AWS::SNS::Topic", "TopicName", "Ref"),
            queues=named("AWS::SQS::Queue", "QueueName", "Ref"),
            queue_arns=named("AWS::SQS::Queue", "QueueName", "Arn"),
            tables=named("AWS::DynamoDB::Table", "TableName", "Ref"),
            bucket=self._made["ArchiveBucket"]["Ref"],
            delivery=self._template.resolve(settings, self._attribute),
        )

    def _attribute(self, logical_id: str, attribute: str) -> str:
        return self._made[logical_id][attribute]

    def _properties(self, one: Resource) -> Mapping[str, Any]:
        resolved: Mapping[str, Any] = self._template.resolve(one.properties, self._attribute)
        return resolved

    def _one(self, one: Resource) -> dict[str, str]:
        return _MAKERS[one.kind](self._factory, self._properties(one))

    def _look(self, one: Resource, physical_id: str) -> dict[str, str]:
        """What an existing resource says of itself."""
        if one.kind == "AWS::SQS::Queue":
            return {"Ref": physical_id, "Arn": _queue_arn(self._factory.client("sqs"), physical_id)}
        if one.kind == "AWS::DynamoDB::Table":
            _check_shape(self._factory.client("dynamodb"), physical_id, one.properties)
        if one.kind == "AWS::S3::Bucket":
            _check_bucket(self._factory.client("s3"), physical_id)
        arn = f"arn:aws:s3:::{physical_id}" if one.kind == "AWS::S3::Bucket" else physical_id
        return {"Ref": physical_id, "Arn": arn}


def _physical_ids(factory: ClientFactory, stack: str) -> dict[str, str]:
    pages = factory.client("cloudformation").get_paginator("list_stack_resources")
    try:
        return {
            one["LogicalResourceId"]: one.get("PhysicalResourceId", "")
            for page in pages.paginate(StackName=stack)
            for one in page["StackResourceSummaries"]
        }
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise Terminal(
            f"CloudFormation: there is no stack '{stack}' in this account and region",
            fix="make it with: thingstorm deploy --backend aws (or give the right aws.prefix and aws.region)",
        ) from None


def _topic(factory: ClientFactory, told: Mapping[str, Any]) -> dict[str, str]:
    return {"Ref": str(factory.client("sns").create_topic(Name=told["TopicName"])["TopicArn"])}


_QUEUE_ATTRIBUTES: Final = ("VisibilityTimeout", "MessageRetentionPeriod", "RedrivePolicy")


def _queue(factory: ClientFactory, told: Mapping[str, Any]) -> dict[str, str]:
    """CreateQueue with no attributes returns an existing queue's URL whatever its attributes are."""
    sqs = factory.client("sqs")
    url = str(sqs.create_queue(QueueName=told["QueueName"])["QueueUrl"])
    attributes = {
        name: json.dumps(told[name]) if name == "RedrivePolicy" else str(told[name])
        for name in _QUEUE_ATTRIBUTES
        if name in told
    }
    if attributes:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    return {"Ref": url, "Arn": _queue_arn(sqs, url)}


def _queue_arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def _subscription(factory: ClientFactory, told: Mapping[str, Any]) -> dict[str, str]:
    """Subscribing the same endpoint again gives the same subscription."""
    answer = factory.client("sns").subscribe(
        TopicArn=told["TopicArn"],
        Protocol=told["Protocol"],
        Endpoint=told["Endpoint"],
        Attributes={"RawMessageDelivery": str(told.get("RawMessageDelivery", False)).lower()},
    )
    return {"Ref": str(answer.get("SubscriptionArn", ""))}


def _bucket(factory: ClientFactory, told: Mapping[str, Any]) -> dict[str, str]:
    name = str(told["BucketName"])
    try:
        factory.client("s3").create_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            raise
    return {"Ref": name, "Arn": f"arn:aws:s3:::{name}"}


def _table(factory: ClientFactory, told: Mapping[str, Any]) -> dict[str, str]:
    dynamodb, name = factory.client("dynamodb"), str(told["TableName"])
    try:
        dynamodb.create_table(
            TableName=name,
            KeySchema=told["KeySchema"],
            AttributeDefinitions=told["AttributeDefinitions"],
            BillingMode=told["BillingMode"],
            StreamSpecification={"StreamEnabled": True, **told["StreamSpecification"]},
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        _check_shape(dynamodb, name, told)
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    if "TimeToLiveSpecification" in told:
        _expire(dynamodb, name, told["TimeToLiveSpecification"])
    return {"Ref": name}


def _expire(dynamodb: Any, name: str, told: Mapping[str, Any]) -> None:
    """Time to live; turning on what is on already is an error of the service, and no harm."""
    try:
        dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=told)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationException":
            raise


def _check_shape(dynamodb: Any, name: str, told: Mapping[str, Any]) -> None:
    """Raises Terminal for a table of that name with other keys, or without the stream that the view follows."""
    table = dynamodb.describe_table(TableName=name)["Table"]
    for what, found, wanted in (
        ("keys", _keys(table), _keys(told)),
        ("a stream of", _stream(table), told["StreamSpecification"]["StreamViewType"]),
    ):
        if found != wanted:
            raise Terminal(
                f"DynamoDB: the table {name} has {what} {found or 'nothing'}, and {wanted} is needed",
                fix="delete the table if it is not in use, or give another aws.prefix",
            )


def _check_bucket(s3: Any, name: str) -> None:
    """Raises Terminal if somebody deleted the stack's bucket."""
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
        raise Terminal(
            f"S3: the bucket {name} of the stack is not there",
            fix=f"make it again: aws s3api create-bucket --bucket {name}",
        ) from None


def _keys(table: Mapping[str, Any]) -> str:
    kinds = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}
    return ", ".join(f"{one['AttributeName']}:{kinds[one['AttributeName']]}" for one in table["KeySchema"])


def _stream(table: Mapping[str, Any]) -> str:
    return str(table.get("StreamSpecification", {}).get("StreamViewType", ""))


_MAKERS: Final[Mapping[str, Callable[[ClientFactory, Mapping[str, Any]], dict[str, str]]]] = {
    "AWS::SNS::Topic": _topic,
    "AWS::SNS::Subscription": _subscription,
    "AWS::SQS::Queue": _queue,
    "AWS::DynamoDB::Table": _table,
    "AWS::S3::Bucket": _bucket,
}
