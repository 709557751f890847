"""A Lambda function behind the queue "overheated": writes down which pumps have to be switched off."""

import json
from collections.abc import Mapping
from typing import Any

import boto3

TABLE = "pumps-to-switch-off"


def handle(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Take the messages of an SQS event; those that cannot be read are reported and come again."""
    table = boto3.resource("dynamodb").Table(TABLE)
    failures = []
    for record in event["Records"]:
        try:
            told = json.loads(record["body"])
            item = {"pump": str(told["pump"]), "temp_c": int(told["temp_c"])}
        except (ValueError, KeyError, TypeError):
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        table.put_item(Item=item)
    return {"batchItemFailures": failures}
