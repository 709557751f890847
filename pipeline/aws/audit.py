"""Counts what is really stored, by reading it back. Blocking: call from a thread."""

import gzip
import json
from typing import Any

from .session import translated


@translated
def count_items(dynamodb: Any, table: str) -> int:
    """Items of a table."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, Select="COUNT")
    return sum(int(page["Count"]) for page in pages)


@translated
def count_archive(s3: Any, bucket: str) -> int:
    """Records in all objects of the bucket: every object is read, unpacked, and every line parsed."""
    records = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            records += sum(1 for line in gzip.decompress(body).splitlines() if json.loads(line) is not None)
    return records


@translated
def receive_all(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    """The bodies of a queue's messages as JSON, deleting them: the security team reads its alerts."""
    bodies: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        bodies += [json.loads(message["Body"]) for message in messages]
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    return bodies
