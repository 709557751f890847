"""SNS topics that a delivery stream is subscribed to, as with protocol `firehose` on AWS.

The emulators do not deliver so, so a queue stands between: SNS fills it, a worker empties it into the stream.

Source: Amazon SNS developer guide, "Fanout to Firehose delivery streams" and "Archiving and analytics: message format".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from anyio import from_thread

from contracts.errors import UnknownName

from ..actions.base import RecordSink
from ..aws.provision import Resources
from ..aws.session import ClientFactory, translated

_KEPT: Final = (
    "Type",
    "MessageId",
    "TopicArn",
    "Subject",
    "Message",
    "Timestamp",
    "UnsubscribeURL",
    "MessageAttributes",
)
"""Of the notification, in the order of the developer guide; a record bears no signature."""


@translated
def subscribe(factory: ClientFactory, resources: Resources, topic: str, *, prefix: str) -> tuple[str, str]:
    """The URL and the ARN of the queue between. Idempotent. Raises UnknownName, Transient, Terminal."""
    if topic not in resources.sns_topics:
        raise UnknownName("SNS topic", topic, resources.sns_topics)
    sqs, topic_arn = factory.client("sqs"), resources.sns_topics[topic]
    url = str(sqs.create_queue(QueueName=f"{prefix}-archive-{topic}")["QueueUrl"])
    told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn = str(told["Attributes"]["QueueArn"])
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": _policy(arn, topic_arn)})
    factory.client("sns").subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
    return url, arn


def _policy(queue_arn: str, topic_arn: str) -> str:
    """This topic may send, nobody else."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def handler_into(stream: RecordSink) -> Any:
    """A handler, for a worker's thread, that returns once the stream has taken all records of the event."""

    def handle(event: Mapping[str, Any], _context: Any) -> dict[str, Sequence[Any]]:
        from_thread.run(stream.put, [_record(one["body"]) for one in event["Records"]])
        return {"batchItemFailures": []}

    return handle


def _record(body: str) -> bytes:
    """One line for one notification; a body that is none goes as it is."""
    try:
        told = json.loads(body)
        kept = {name: told[name] for name in _KEPT if name in told}
    except (ValueError, TypeError):
        return body.encode() + b"\n"
    return json.dumps(kept or told, separators=(",", ":")).encode() + b"\n"
