"""The same calls as the path makes, and nothing else: what boto3 and the emulator can do at most.

One thread publishes, two receive, write and delete, one reads the stream: measured, more threads gain nothing on two
cores. It is the yardstick of `thingstorm bench pipeline`.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .provision import Resources
from .session import embedded_client, signed_client, unsigned_client

CLIENTS = {"ceiling": unsigned_client, "ceiling-signed": signed_client, "ceiling-loopback": embedded_client}
"""By subject of the bench: boto3 at its best on an emulator, as it comes, and with our HTTP beneath."""

CONSUMERS = 2
READ_PAUSE = 0.05

_ITEM = {
    "device_id": {"S": "meter-0000"},
    "message_id": {"S": f"{0:032x}"},
    "topic": {"S": "dt/meter/meter-0000/telemetry"},
    "received_at": {"N": "1700000000000"},
    "device_time": {"N": "1700000000000"},
    "device_type": {"S": "meter"},
    "payload_bytes": {"N": "100"},
}


class BareLoop:
    """Moves bodies from SNS to the table's stream until it is stopped; `seen` counts the stream's records."""

    def __init__(
        self, subject: str, resources: Resources, *, endpoint: str, bodies: Sequence[str], backlog: int
    ) -> None:
        make = CLIENTS[subject]
        self._clients = {
            name: make(name, endpoint=endpoint) for name in ("sns", "sqs", "dynamodb", "dynamodbstreams")
        }
        self._resources = resources
        self._bodies = bodies
        self._backlog = backlog
        self._stop = threading.Event()
        self._written = 0
        self._writing = threading.Lock()
        self.sent = self.seen = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Its threads run within."""
        work = [self._publish, self._follow, *[self._consume] * CONSUMERS]
        threads = [threading.Thread(target=one, daemon=True) for one in work]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            self._stop.set()
            for one in threads:
                one.join(5)

    def _publish(self) -> None:
        sns, arn = self._clients["sns"], self._resources.sns_topics["telemetry"]
        while not self._stop.is_set():
            if self.sent - self._written >= self._backlog:
                time.sleep(0.002)
                continue
            entries = [
                {"Id": str(n), "Message": self._bodies[(self.sent + n) % len(self._bodies)]}
                for n in range(10)
            ]
            sns.publish_batch(TopicArn=arn, PublishBatchRequestEntries=entries)
            self.sent += 10

    def _consume(self) -> None:
        sqs, url = self._clients["sqs"], self._resources.queues["telemetry"]
        while not self._stop.is_set():
            answer = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            if messages := answer.get("Messages", []):
                self._write([message["Body"] for message in messages])
                entries = [
                    {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
                    for n, message in enumerate(messages)
                ]
                sqs.delete_message_batch(QueueUrl=url, Entries=entries)

    def _write(self, bodies: list[str]) -> None:
        """Items as the handler makes them: what one costs the emulator depends on its attributes."""
        with self._writing:
            first, self._written = self._written, self._written + len(bodies)
        requests: list[Any] = [
            {
                "PutRequest": {
                    "Item": {**_ITEM, "event_id": {"S": f"{first + n:046d}"}, "payload": {"S": body[:100]}}
                }
            }
            for n, body in enumerate(bodies)
        ]
        self._clients["dynamodb"].batch_write_item(
            RequestItems={self._resources.tables["telemetry"]: requests}
        )

    def _follow(self) -> None:
        streams = self._clients["dynamodbstreams"]
        table = self._clients["dynamodb"].describe_table(TableName=self._resources.tables["telemetry"])
        arn = table["Table"]["LatestStreamArn"]
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")[
            "ShardIterator"
        ]
        while not self._stop.is_set():
            answer = streams.get_records(ShardIterator=iterator, Limit=1000)
            iterator = answer["NextShardIterator"]
            self.seen += len(answer["Records"])
            time.sleep(READ_PAUSE)
