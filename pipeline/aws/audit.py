"""Counts what is really stored, by reading it back. Blocking: call from a thread."""

import json
from typing import Any

from .archive import ObjectArchive
from .session import translated


@translated
def count_items(dynamodb: Any, table: str) -> int:
    """Items of a table."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, Select="COUNT")
    return sum(int(page["Count"]) for page in pages)


def count_archive(archive: ObjectArchive) -> int:
    """Records in all objects of the archive: every object is read, unpacked, and every line parsed."""
    return sum(len(archive.read_now(key)) for key in archive.keys_now())


@translated
def receive_all(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    """The bodies of a queue's messages as JSON, deleting them: the security team reads its alerts."""
    bodies: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        bodies += [json.loads(message["Body"]) for message in messages]
        entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    return bodies
